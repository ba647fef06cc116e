"""The faces of scikit-image, and its patches without a face."""

import numpy as np

from abp_tf import extras
from abp_tf.data import collect


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Read 100 grey faces, enlarged from 25x25 to 32x32 unless the request has another size.

    Args:
        argument: must be empty.
        request: size, crop, colour and limit.

    Returns:
        uint8 `[n, h, w, c]`.

    Raises:
        ImportError: if scikit-image is missing.
        ValueError: if `argument` is not empty.
    """
    collect.refuse_argument("faces", argument)
    return _half(slice(0, 100), request)


def read_nonfaces(argument: str, request: collect.Request) -> collect.Pixels:
    """Read 100 patches of the same photographs without a face: negative examples for `faces`.

    Args:
        argument: must be empty.
        request: size, crop, colour and limit.

    Returns:
        uint8 `[n, h, w, c]`.

    Raises:
        ImportError: if scikit-image is missing.
        ValueError: if `argument` is not empty.
    """
    collect.refuse_argument("nonfaces", argument)
    return _half(slice(100, 200), request)


def _half(which: slice, request: collect.Request) -> collect.Pixels:
    with extras.needed("demo"):
        from skimage.data import lfw_subset
    # scikit-image stores brightness as 0..1.
    pixels = np.rint(lfw_subset()[which] * 255).astype(np.uint8)[..., None]
    images = ((f"patch {place}", image) for place, image in enumerate(pixels))
    return collect.Pixels(collect.stack(images, request, default_size=(32, 32)))

"""The handwritten digits of scikit-learn, which need no download."""

import numpy as np

from abp_tf import extras
from abp_tf.data import collect


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Read the 1797 grey digits, enlarged from 8x8 to 16x16 unless the request has another size.

    Args:
        argument: must be empty.
        request: size, crop, colour and limit.

    Returns:
        uint8 `[n, h, w, c]`, labelled with the digit.

    Raises:
        ImportError: if scikit-learn is missing.
        ValueError: if `argument` is not empty.
    """
    collect.refuse_argument("digits", argument)
    with extras.needed("demo"):
        from sklearn.datasets import load_digits
    # scikit-learn stores brightness as 0..16.
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    images = ((f"digit {place}", image) for place, image in enumerate(pixels))
    stacked = collect.stack(images, request, default_size=(16, 16))
    return collect.Pixels(stacked, labels=data.target[: request.limit].astype(np.int32))

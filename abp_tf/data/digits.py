"""The handwritten digits that come with scikit-learn: real, small, and there without a network."""

import numpy as np

from abp_tf import extras
from abp_tf.data import collect


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Reads the 1797 grey digits, enlarged from 8x8 to 16x16 unless another size is asked for.

    Args:
        argument: Must be empty.
        request: What was asked for.

    Returns:
        uint8 `[n, h, w, c]`, labelled with the digit.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If `argument` is not empty.
    """
    collect.refuse_argument("digits", argument)
    with extras.needed("demo"):
        from sklearn.datasets import load_digits
    # Brightness comes as 0..16.
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    images = ((f"digit {place}", image) for place, image in enumerate(pixels))
    stacked = collect.stack(images, request, default_size=(16, 16))
    return collect.Pixels(stacked, labels=data.target[: request.limit].astype(np.int32))

"""What every source shares: what was asked for, what is handed over, and how images are stacked."""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from abp_tf.data import convert


class Request(NamedTuple):
    """What `load` asks of a source; the meanings are those of its arguments."""

    size: tuple[int, int] | None = None
    crop: bool = True
    grey: bool | None = None
    limit: int | None = None
    test: bool = True  # whether a test set is wanted at all
    data_dir: str | None = None


class Pixels(NamedTuple):
    """What a source hands over: uint8, or float32 in [-1, 1], `[n, h, w, c]`; labels int32 `[n]`."""

    train: np.ndarray
    test: np.ndarray | None = None  # the source's own test set; None: cut it from `train`
    skipped: tuple[str, ...] = ()
    by_class: bool = False  # the order may mean classes, so the test set must not be its end
    labels: np.ndarray | None = None  # of the images of `train`; None: there are none
    test_labels: np.ndarray | None = None  # of those of `test`


def stack(
    images: Iterable[tuple[str, np.ndarray]],
    request: Request,
    default_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Fits images to the request one by one and stacks them.

    Only `request.limit` images are drawn, and each is kept at its final size alone.

    Args:
        images: Pairs of a name for messages and pixels `[h, w, c]`.
        request: What was asked for.
        default_size: (height, width) where the request names none; None keeps the native size.

    Returns:
        `[n, h, w, c]` in the dtype of the images; grey becomes colour where both occur.

    Raises:
        ValueError: If there is no image, or sizes differ and none was asked for.
    """
    size = request.size or default_size
    fitted: list[np.ndarray] = []
    first = ""
    for name, pixels in islice(images, request.limit):
        image = convert.fit(pixels, size, crop=request.crop, grey=request.grey)
        first = first or name
        if fitted and image.shape[:2] != fitted[0].shape[:2]:
            raise ValueError(
                "Expected images of one size (height x width), received "
                f"{_size(fitted[0])} ({first}) and {_size(image)} ({name}). Bring them to one "
                "size: size=64 for squares, size=(height, width) otherwise."
            )
        fitted.append(image)
    if not fitted:
        raise ValueError("Expected at least one image, received none.")
    if len({image.shape[-1] for image in fitted}) > 1:
        fitted = [convert.fit(image, grey=False) for image in fitted]
    return np.stack(fitted)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"


def refuse_argument(source: str, argument: str) -> None:
    """Raises ValueError if something follows the name of a source that takes nothing."""
    if argument:
        raise ValueError(f"Expected {source!r} alone, received '{source}:{argument}'.")


def demo_extra(package: str, error: ImportError) -> ImportError:
    """Names the extra to install when an optional package is missing."""
    message = f'This data set needs {package}, which is missing: pip install "abp_tf[demo]"'
    return ImportError(f"{message} ({error}).", name=error.name)

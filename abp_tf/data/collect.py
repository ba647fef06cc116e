"""What every source shares: what was asked for, what is handed over, and how images are stacked."""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from abp_tf import checks
from abp_tf.data import convert

# Part of the definition of every run that reads a folder: never change it.
_SPLIT_SEED = 0


class Request(NamedTuple):
    """What `load` asks of a source; the meanings are those of its arguments."""

    size: tuple[int, int] | None = None
    crop: bool = True
    grey: bool | None = None
    limit: int | None = None
    test: bool = True  # whether a test set is wanted at all
    data_dir: str | None = None
    missing: bool = False  # whether NaN is let pass, for entries that a mask hides


class Signals(NamedTuple):
    """Signals ready for training.

    Attributes:
        train: float32 `[n, *signal_shape]` in [-1, 1]: images `[n, h, w, c]`, sounds
            `[n, samples, 1]`, clips `[n, frames, h, w, c]`.
        test: float32 `[m, *signal_shape]` in [-1, 1]; m may be 0.
        name: The specification they came from.
        skipped: Files that could not be read.
        train_labels: int32 `[n]`, the class of each training example; None if the source has none.
        test_labels: int32 `[m]`, those of the test examples.
        kind: Of signal, a name that `abp_tf.signals.get` knows.
        names: Of the files of all examples, those for testing included, in the order of the source;
            None if it has no files.
        places: Where in that order each training and each test example stood, int64 `[n]` and `[m]`;
            None: the test examples are the last ones.
        train_mask: bool `[n, *signal_shape]` without channels, True where a training example is
            observed; None: all of it is.
        test_mask: Likewise of the test examples.
        header: What files of such signals hold beside their values, in JSON's types: `rate`, the
            samples of sounds or the frames of clips per second; of volumes what `load_volume` names.
    """

    train: np.ndarray
    test: np.ndarray
    name: str
    skipped: tuple[str, ...] = ()
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    kind: str = "image"
    names: tuple[str, ...] | None = None
    places: tuple[np.ndarray, np.ndarray] | None = None
    train_mask: np.ndarray | None = None
    test_mask: np.ndarray | None = None
    header: Mapping[str, Any] = MappingProxyType({})

    @property
    def rate(self) -> float | None:
        """Samples, or frames, per second; None where nothing says it."""
        return self.header.get("rate")


class Pixels(NamedTuple):
    """What a source hands over: uint8, or float32 in [-1, 1], `[n, h, w, c]`; labels int32 `[n]`."""

    train: np.ndarray
    test: np.ndarray | None = None  # the source's own test set; None: cut it from `train`
    skipped: tuple[str, ...] = ()
    by_class: bool = False  # the order may mean classes, so the test set must not be its end
    labels: np.ndarray | None = None  # of the images of `train`; None: there are none
    test_labels: np.ndarray | None = None  # of those of `test`
    names: tuple[str, ...] | None = None  # of the files of `train`; None: there are none
    places: tuple[np.ndarray, np.ndarray] | None = None  # of `train` and `test` before a cut


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


def cut(pixels: Pixels, share: float, spec: str) -> Pixels:
    """Keeps a share of the examples for testing: the last ones, or a fixed random choice.

    Args:
        pixels: Without a test set of their own; of any rank.
        share: In [0, 1), rounded to whole examples.
        spec: They came from, for messages.
    """
    count = len(pixels.train)
    # Halves go up: Python's round() would take them to the even neighbour.
    train_count = count - int(count * share + 0.5)
    if train_count < 1:
        raise ValueError(
            f"Expected at least one training example, but test_share={share:g} of the {count} "
            f"example(s) of {spec!r} leaves none. Lower test_share, or raise limit."
        )
    train, test = slice(train_count), slice(train_count, None)
    if pixels.by_class:
        # NumPy keeps the stream of RandomState for good; that of its newer generators may change.
        order = np.random.RandomState(_SPLIT_SEED).permutation(count)
        train, test = np.sort(order[train]), np.sort(order[test])
    images, labels = pixels.train, pixels.labels
    places = np.arange(count)
    pixels = pixels._replace(
        train=images[train], test=images[test], places=(places[train], places[test])
    )
    if labels is None:
        return pixels
    return pixels._replace(labels=labels[train], test_labels=labels[test])


def check_share(share: float) -> None:
    """Refuses a share of test examples that is none."""
    if not 0 <= share < 1:
        raise ValueError(f"Expected test_share in [0, 1), the share of the examples, received {share}.")


def check_limit(limit: int | None) -> None:
    """Refuses a number of examples below 1."""
    if limit is not None:
        checks.integer("Loading", "limit", limit, 1)


def pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Reads the side of a square, or (height, width), in pixels."""
    if size is None:
        return None
    sides = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(sides) != 2:
        raise ValueError(
            f"Loading expected `size` as one integer or (height, width), received {size!r}."
        )
    return tuple(checks.integer("Loading", "size", side, 1) for side in sides)


def find(spec: str, sources: dict, help_lines: dict[str, str]) -> tuple:
    """Splits a specification into the reader of its source and the argument for it.

    Raises:
        ValueError: If no source has that name; the message lists those there are.
    """
    name, _, argument = spec.partition(":")
    if name not in sources:
        known = "\n".join(f"  {line}" for line in help_lines.values())
        raise ValueError(f"Expected one of the sources below, received {spec!r}.\n{known}")
    return sources[name], argument


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"


def refuse_argument(source: str, argument: str) -> None:
    """Raises ValueError if something follows the name of a source that takes nothing."""
    if argument:
        raise ValueError(f"Expected {source!r} alone, received '{source}:{argument}'.")

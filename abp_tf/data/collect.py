"""Requests to sources, their results, and the stacking and splitting that all sources share."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, overload

import numpy as np

from abp_tf import checks
from abp_tf.data import convert, lazy

# Runs that read a folder depend on it: never change it.
_SPLIT_SEED = 0


class Request(NamedTuple):
    """The request of `load` to a source; the fields mean what the arguments of `load` mean."""

    size: tuple[int, int] | None = None
    crop: bool = True
    grey: bool | None = None
    limit: int | None = None
    test: bool = True  # whether a test set is wanted at all
    data_dir: str | None = None
    missing: bool = False  # whether NaN is allowed, for entries that a mask hides
    lazy: bool | None = False  # whether images are read when they are needed; None: if they are many


class Signals(NamedTuple):
    """Signals ready for training.

    Attributes:
        train: float32 `[n, *signal_shape]` in [-1, 1]: images `[n, h, w, c]`, sounds
            `[n, samples, 1]`, clips `[n, frames, h, w, c]`. `LazyRows` if they are read when they are
            needed.
        test: float32 `[m, *signal_shape]` in [-1, 1]; m may be 0.
        name: the specification they were loaded by, such as "digits" or "folder:photos".
        skipped: names of the files that could not be read.
        train_labels: int32 `[n]`, the class of each training example; None if the source has none.
        test_labels: int32 `[m]`, the class of each test example; None if the source has none.
        kind: name of the kind of signal, as `abp_tf.signals.get` takes it.
        names: file names of all examples, training and test, in the order of the source; None if the
            source has no files.
        places: positions of the training and of the test examples in the order of the source, int64
            `[n]` and `[m]`; None if the test examples are the last ones.
        train_mask: bool `[n, *signal_shape]`, for images and the like without the channel axis, True
            where a training example is observed; None if all entries are observed.
        test_mask: the mask of the test examples, of the same form.
        train_time: times of the training examples, float64 `[n]`, days of fields; None if unknown.
        test_time: times of the test examples, of the same form.
        header: values that files of such signals hold too, in JSON's types: `rate`, the
            samples of sounds or the frames of clips per second; for volumes and fields, what
            `load_volume` and `load_fields` return.
        forms: the form of each file in `names`; None unless the files are images that have been read.
    """

    train: np.ndarray | lazy.LazyRows
    test: np.ndarray | lazy.LazyRows
    name: str
    skipped: tuple[str, ...] = ()
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    kind: str = "image"
    names: tuple[str, ...] | None = None
    places: tuple[np.ndarray, np.ndarray] | None = None
    train_mask: np.ndarray | lazy.LazyRows | None = None
    test_mask: np.ndarray | lazy.LazyRows | None = None
    train_time: np.ndarray | None = None
    test_time: np.ndarray | None = None
    header: Mapping[str, Any] = MappingProxyType({})
    forms: tuple[convert.Form, ...] | None = None

    @property
    def rate(self) -> float | None:
        """Return the samples or frames per second; None if unknown."""
        return self.header.get("rate")


class Pixels(NamedTuple):
    """The result of a source: uint8, or float32 in [-1, 1], `[n, h, w, c]`; labels int32 `[n]`."""

    train: np.ndarray | lazy.LazyRows
    test: np.ndarray | lazy.LazyRows | None = None  # the source's own; None: cut it from `train`
    skipped: tuple[str, ...] = ()
    by_class: bool = False  # sorted by class, so the last images must not be the test set
    labels: np.ndarray | None = None  # labels of `train`; None if there are none
    test_labels: np.ndarray | None = None  # labels of `test`
    names: tuple[str, ...] | None = None  # file names of `train`; None if there are none
    places: tuple[np.ndarray, np.ndarray] | None = None  # positions of `train`, `test` in the source
    forms: tuple[convert.Form, ...] | None = None  # forms of the files in `names`


class Split(NamedTuple):
    """Examples for training and for testing, `[n, ...]` and `[m, ...]`, and their positions."""

    train: np.ndarray | lazy.LazyRows
    test: np.ndarray | lazy.LazyRows
    places: tuple[np.ndarray, np.ndarray]


def stack(
    images: Iterable[tuple[str, np.ndarray]],
    request: Request,
    default_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Fit images to the request one by one, and stack them.

    Only `request.limit` images are read, and each is kept in memory at its final size only.

    Args:
        images: pairs of a name for messages and pixels `[h, w, c]`.
        request: size, crop, colour and limit.
        default_size: (height, width) if the request has none; None keeps the native size.

    Returns:
        `[n, h, w, c]` in the dtype of the images; grey images become colour if any image is in colour.

    Raises:
        ValueError: if there is no image, or sizes differ and the request has no size.
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


def split(
    examples: np.ndarray | lazy.LazyRows, share: float, spec: str, by_class: bool = False
) -> Split:
    """Keep a share of the examples for testing: the last ones, or a fixed random choice.

    Args:
        examples: examples of any rank.
        share: share of the examples to keep for testing, in [0, 1), rounded to whole examples.
        spec: the specification they were loaded by, for messages.
        by_class: whether the examples are sorted by class, so that the choice must be random.

    Raises:
        ValueError: if no example is left for training.
    """
    count = len(examples)
    # Halves go up: Python's round() would take them to the even neighbour.
    train_count = count - int(count * share + 0.5)
    if train_count < 1:
        raise ValueError(
            f"Expected at least one training example, but test_share={share:g} of the {count} "
            f"example(s) of {spec!r} leaves none. Lower test_share, or raise limit."
        )
    if not by_class:
        places = np.arange(count)
        train, test = slice(train_count), slice(train_count, None)
        parts = lazy.take(examples, train), lazy.take(examples, test)
        return Split(*parts, (places[train], places[test]))
    # NumPy guarantees the stream of RandomState; that of its newer generators may change.
    order = np.random.RandomState(_SPLIT_SEED).permutation(count)
    chosen = np.sort(order[:train_count]), np.sort(order[train_count:])
    return Split(lazy.take(examples, chosen[0]), lazy.take(examples, chosen[1]), chosen)


def cut(pixels: Pixels, share: float, spec: str) -> Pixels:
    """Return examples with a test set, cut by `split`, its `places` and, with labels, `test_labels`.

    Args:
        pixels: examples without a test set.
        share: share of the examples to keep for testing, in [0, 1).
        spec: the specification they were loaded by, for messages.
    """
    found, labels = split(pixels.train, share, spec, pixels.by_class), pixels.labels
    pixels = pixels._replace(train=found.train, test=found.test, places=found.places)
    if labels is None:
        return pixels
    train, test = found.places
    return pixels._replace(labels=labels[train], test_labels=labels[test])


def check_share(share: float) -> None:
    """Refuse a share of test examples outside [0, 1)."""
    if not 0 <= share < 1:
        raise ValueError(f"Expected test_share in [0, 1), the share of the examples, received {share}.")


def check_limit(limit: int | None) -> None:
    """Refuse a number of examples below 1."""
    if limit is not None:
        checks.integer("Loading", "limit", limit, 1)


@overload
def pair(size: None) -> None: ...
@overload
def pair(size: int | Sequence[int]) -> tuple[int, int]: ...
def pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return a size in pixels as (height, width), given so or as the side of a square."""
    if size is None:
        return None
    sides: tuple = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(sides) != 2:
        raise ValueError(
            f"Loading expected `size` as one integer or (height, width), received {size!r}."
        )
    height, width = (checks.integer("Loading", "size", side, 1) for side in sides)
    return height, width


def find(spec: str, sources: dict, help_lines: dict[str, str]) -> tuple:
    """Return the reader of a specification's source, and the argument for it.

    Args:
        spec: name of a source, or name, colon and argument.
        sources: readers by name.
        help_lines: one line of help for each source, by name.

    Raises:
        ValueError: if no source has that name; the message lists the sources.
    """
    name, _, argument = spec.partition(":")
    if name not in sources:
        known = "\n".join(f"  {line}" for line in help_lines.values())
        raise ValueError(f"Expected one of the sources below, received {spec!r}.\n{known}")
    return sources[name], argument


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"


def refuse_argument(source: str, argument: str) -> None:
    """Raise ValueError if a source that takes no argument is given one."""
    if argument:
        raise ValueError(f"Expected {source!r} alone, received '{source}:{argument}'.")

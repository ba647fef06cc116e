"""Files, rates and windows of sounds, video clips and volumes."""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from abp_tf import checks
from abp_tf.data import collect, folder


class Recording(NamedTuple):
    """One recording: float32 or uint8 `[t, ...]`, time first, and its rate, None if unknown."""

    name: str
    values: np.ndarray
    rate: float | None


class Wanted(NamedTuple):
    """The windows to cut recordings into.

    Attributes:
        length: length of a window; None takes each recording whole.
        hop: distance from the start of one window to the start of the next; `length` by default.
        limit: largest number of windows; None for all.
    """

    length: int | None
    hop: int | None
    limit: int | None

    def check(self) -> None:
        """Raise ValueError unless all numbers that are given are positive integers."""
        for name, value in self._asdict().items():
            if value is not None:
                checks.integer("Loading", name, value, 1)

    @property
    def needed(self) -> int | None:
        """Length of a recording that holds all windows; None if recordings are needed whole."""
        if self.limit is None or self.length is None:
            return None
        return (self.limit - 1) * (self.hop or self.length) + self.length

    def count(self, recording: Recording) -> int:
        """Return the number of windows in a recording."""
        if self.length is None:
            return 1
        return max(0, (len(recording.values) - self.length) // (self.hop or self.length) + 1)


class Named(Protocol):
    """A named tuple with a field `name`, such as a `Recording`."""

    def _replace(self, *, name: str) -> Self: ...


R = TypeVar("R", bound=Named)


def from_files(
    argument: str,
    kind: str,
    extensions: Collection[str],
    read: Callable[[Path], R],
    count: Callable[[R], int],
    limit: int | None,
) -> tuple[list[R], dict[str, str]]:
    """Read a file, or all files below a folder that have one of the extensions.

    Args:
        argument: path of the file or the folder.
        kind: one word for the files in messages, such as "sound".
        extensions: extensions of the files to read below a folder, in lower case, with the dot. A
            single file may have any extension.
        read: function that reads one file; it raises ValueError for a file that cannot be used.
        count: function that returns the number of signals in a recording.
        limit: number of signals after which no further file is opened; None for all.

    Returns:
        The recordings in the natural order of their paths, and the skipped files of the folder with
        the reason for each. A warning names them.

    Raises:
        FileNotFoundError: if the path does not exist, or the folder holds no such file.
        ValueError: if the file, or every file of the folder, cannot be used.
    """
    if not argument:
        raise ValueError(f"Expected the path of a {kind} file or of a folder of them, received none.")
    path = Path(argument).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"Expected a {kind} file or a folder, but there is no {str(path)!r}.")
    if not path.is_dir():
        return [read(path)], {}
    names = folder.names_below(path, extensions)
    if not names:
        raise FileNotFoundError(
            f"Expected {kind} files ({', '.join(sorted(extensions))}) in or below {str(path)!r}, "
            "found none."
        )
    found: list[R] = []
    skipped: dict[str, str] = {}
    for name in names:
        if limit is not None and sum(map(count, found)) >= limit:
            break
        try:
            found.append(read(path / name)._replace(name=name))
        except ValueError as error:
            skipped[name] = str(error)
    where = f" in {str(path)!r}"
    if not found:
        raise ValueError(
            f"None of the {len(names)} {kind} files{where} can be used: {folder.listed(skipped)}"
        )
    if skipped:
        # Attributed to the caller of `load_sound` or `load_video`.
        warnings.warn(folder.warning(kind, skipped, where), stacklevel=4)
    return found, skipped


def rates_beside(beside: Mapping[str, np.ndarray], key: str, count: int, name: str) -> list:
    """Return the rate of each of the recordings in an array; None where no rate is stored.

    Args:
        beside: the arrays that were stored beside that of the recordings, by name.
        key: name of the array of rates: one number, or one for each recording.
        count: number of recordings.
        name: name of the array of recordings for messages.

    Raises:
        ValueError: if there are other numbers of rates, or rates that are not positive and finite.
    """
    if key not in beside:
        return [None] * count
    found = np.ravel(beside[key])
    numeric = found.dtype.kind in "iuf"
    if found.size not in (1, count) or not numeric or not ((found > 0) & (found < np.inf)).all():
        raise ValueError(
            f"Expected `{key}` beside {name} to be a positive number, or one for each of {count} "
            f"recordings, received {beside[key]}. Correct it, or leave it out."
        )
    return np.broadcast_to(found, count).tolist()


def one_rate(recordings: Iterable[Recording], option: str) -> float | None:
    """Return the rate that all recordings share; None if it is unknown.

    Args:
        recordings: one or more recordings.
        option: the argument that changes the rate, for the message.

    Raises:
        ValueError: if the rates differ.
    """
    rates = {recording.rate for recording in recordings}
    if len(rates) > 1:
        shown = ", ".join(sorted(f"{rate}" for rate in rates))
        raise ValueError(
            f"Expected recordings of one rate, received {shown} per second. Bring them to one: "
            f"{option}=... ."
        )
    return rates.pop()


def windows(
    recordings: list[Recording], wanted: Wanted, unit: str
) -> tuple[np.ndarray, dict[str, str]]:
    """Cut recordings into windows of equal length; the rest at their ends is not used.

    Args:
        recordings: one or more recordings.
        wanted: their length, distance and number.
        unit: the unit of `length` for messages, in the plural, such as "samples".

    Returns:
        The windows `[n, length, ...]`, and the recordings that are too short for one window, with the
        reason for each. A warning names them.

    Raises:
        ValueError: if no recording is as long as a window, or their shapes differ.
    """
    length, hop, limit = wanted
    if length is None:
        sizes = {len(recording.values) for recording in recordings}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected recordings of one length, received {min(sizes)} to {max(sizes)} {unit}. "
                "Cut them into windows: length=... ."
            )
        length = sizes.pop()
    shapes = {recording.values.shape[1:]: recording.name for recording in recordings}
    if len(shapes) > 1:
        shown = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
        raise ValueError(
            f"Expected frames of one size and colour, received {shown}. Bring them to one: "
            "size=64, and grey=True or grey=False."
        )
    cut, short = [], {}
    for name, values, _ in recordings:
        if len(values) < length:
            short[name] = f"{len(values)} {unit}, shorter than a window of {length}"
        cut += [values[at : at + length] for at in range(0, len(values) - length + 1, hop or length)]
    if not cut:
        raise ValueError(
            f"Expected a recording of at least {length} {unit}, received {folder.listed(short)}. "
            "Lower length, or give longer recordings."
        )
    if short:
        # Attributed to the caller of `load_sound` or `load_video`.
        warnings.warn(
            f"Skipped {len(short)} of {len(recordings)} recordings, which are too short: "
            f"{folder.listed(short)}. Lower length to use them.",
            stacklevel=3,
        )
    return np.stack(cut[:limit]), short


def leading(item: int | None, limit: int | None) -> int | None:
    """Return how many recordings of an array to read for the one numbered `item`, or else `limit`."""
    if item is None:
        return limit
    return item + 1 if item >= 0 else None


def chosen(array: np.ndarray, item: int | None, name: str) -> tuple[np.ndarray, slice]:
    """Return item `item` of an array as `[1, ...]`, or all of it for None, and the slice it is at."""
    if item is None:
        return array, slice(None)
    if not 0 <= item < len(array):
        raise ValueError(f"Expected item from 0 to {len(array) - 1} for {name}, received {item}.")
    return array[item : item + 1], slice(item, item + 1)


def split(signals: np.ndarray, share: float, spec: str, skipped, rate, kind: str) -> collect.Signals:
    """Return windows as `Signals`, of which the last `share` are the test set; see `collect.split`."""
    parts = collect.split(signals, share, spec)
    header = {} if rate is None else {"rate": rate}
    return collect.Signals(parts.train, parts.test, spec, tuple(skipped), kind=kind, header=header)

"""Fields whose frames are read when they are needed: `lazy_field`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from abp_tf.data import domain as domains
from abp_tf.data import folder_rows, grid_files, grids, joining, selection
from abp_tf.data.field import Field, decoded
from abp_tf.data.lazy import LazyRows

if TYPE_CHECKING:
    import xarray

# Frames that are read at a time to look at all, and frames that a domain is checked by.
_AT_ONCE, _CHECKED = 16, 64


def lazy_field(
    source: grid_files.Source,
    variable: str | Sequence[str] | None = None,
    *,
    domain: str | np.ndarray | bool | None = None,
    times: selection.Limits | None = None,
    region: Mapping[str, selection.Limits] | None = None,
    every: int = 1,
) -> Field:
    """Return a field whose frames are read when they are needed; `fit` takes it as any other.

    The domain "observed" reads all frames once, and any other is checked by 64 of them.

    Args:
        source: files as for `load_field`, whose other arguments these are too.
        variable: as for `load_field`.
        domain: as for `load_field`.
        times: as for `load_field`.
        region: as for `load_field`.
        every: as for `load_field`.

    Returns:
        A `Field` whose `signal` and `mask` are `LazyRows`, and whose `dataset` has coordinates alone;
        it cannot be saved.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as for `load_field`; errors of values are raised when they are read.
    """
    parts, names = _selected(source, variable, times, region, every)
    first = next(iter(parts.values()))
    frames = _Frames(list(parts.values()), names)
    thin = joining.joined({path: _thin(one, names[0]) for path, one in parts.items()}, names)
    axes = grids.axes(thin, names[0])
    found = grids.times(thin, axes.frames)
    signal, mask = frames.rows(0), frames.rows(1)
    if domain == "observed":
        begins = range(0, len(mask), _AT_ONCE)
        observed = np.logical_or.reduce([mask[at : at + _AT_ONCE].any(axis=0) for at in begins])[None]
    else:
        some = np.linspace(0, len(mask) - 1, min(len(mask), _CHECKED)).astype(int)
        observed = mask[some]
    others = first.drop_vars(names)
    inside = domains.domain(others, grids.axes(first, names[0]), domain, observed)
    units = tuple(str(first[name].attrs.get("units", "")) for name in names)
    coordinates = {
        name: one for name, one in others.variables.items() if set(one.dims) <= set(axes[1:])
    }
    dataset = thin.drop_dims(list(axes[1:])).assign(coordinates)
    lazy = (
        signal.map(lambda rows: np.where(inside, rows, np.float32(0))),
        mask.map(lambda rows: rows & inside),
    )
    return Field(
        # A field says that it has arrays, which is true for all that users load.
        *cast("tuple[np.ndarray, np.ndarray]", lazy),
        inside,
        found,
        tuple(names),
        units,
        axes,
        dataset,
        0,
    )


def is_large(
    source: grid_files.Source,
    variable: str | Sequence[str] | None,
    times: selection.Limits | None,
    region: Mapping[str, selection.Limits] | None,
    every: int,
) -> bool:
    """Return whether a field of programs is so large that it is read when it is needed.

    The arguments are those of `lazy_field`.
    """
    parts, names = _selected(source, variable, times, region, every)
    entries = sum(one[name].size for one in parts.values() for name in names)
    return entries * np.dtype(np.float32).itemsize > folder_rows.BYTES


def _selected(source, variable, times, region, every) -> tuple[dict[str, xarray.Dataset], list[str]]:
    """Return the datasets of files, with what is selected of them, and the names of the variables."""
    parts = grid_files.opened(source)
    names = grids.chosen(next(iter(parts.values())), variable)
    parts = selection.selected(parts, names[0], times, region, every)
    joining.check(parts, names)
    return parts, names


def _thin(dataset: xarray.Dataset, name: str) -> xarray.Dataset:
    """Return a dataset with a corner of its map, which is small enough to be joined with others."""
    return dataset.isel(dict.fromkeys(grids.axes(dataset, name)[1:], slice(0, 2)))


class _Frames:
    """Values and masks of frames of several files; those that were read last are kept.

    Args:
        datasets: datasets of the files, one after the other.
        names: names of the variables.
    """

    def __init__(self, datasets: list[xarray.Dataset], names: list[str]):
        self._datasets, self._names = datasets, names
        self._axes = grids.axes(datasets[0], names[0])
        counts = [one.sizes[self._axes.frames] if self._axes.frames else 1 for one in datasets]
        self._ends = np.cumsum(counts)
        # Values and masks of a batch are asked for one after the other, perhaps by two threads.
        self._lock = threading.Lock()
        self._last: tuple[bytes, tuple[np.ndarray, np.ndarray]] | None = None

    def rows(self, part: int) -> LazyRows:
        """Return the values, part 0, or the masks, part 1."""
        first = self._datasets[0][self._names[0]]
        shape = (*(first.sizes[dim] for dim in self._axes[1:]), len(self._names))
        kind = (np.float32, bool)[part]
        return LazyRows(lambda numbers: self._read(numbers)[part], int(self._ends[-1]), shape, kind)

    def _read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if self._last is None or self._last[0] != numbers.tobytes():
                self._last = numbers.tobytes(), self._of_files(numbers)
            return self._last[1]

    def _of_files(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sorted_numbers, back = np.unique(numbers, return_inverse=True)
        files = np.searchsorted(self._ends, sorted_numbers, side="right")
        found = []
        for file in np.unique(files):
            begin = self._ends[file - 1] if file else 0
            dataset = self._datasets[file]
            if self._axes.frames:
                frames = selection.as_slice(sorted_numbers[files == file] - begin)
                dataset = dataset.isel({self._axes.frames: frames})
            channels = [decoded(dataset, self._axes, name) for name in self._names]
            found.append([np.stack(arrays, axis=-1) for arrays in zip(*channels, strict=True)])
        signal, mask = (np.concatenate(arrays)[back] for arrays in zip(*found, strict=True))
        return signal, mask

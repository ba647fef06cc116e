"""Select a part of a field by times and coordinates, before anything of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from abp_tf import checks
from abp_tf.data import field_file, grids

if TYPE_CHECKING:
    import xarray

Limits = tuple[str | float | None, str | float | None]


def selected(
    parts: Mapping[str, xarray.Dataset],
    name: str,
    times: Limits | None,
    region: Mapping[str, Limits] | None,
    every: int,
) -> dict[str, xarray.Dataset]:
    """Return datasets with a part of their frames, rows and columns; files without any are left out.

    Args:
        parts: datasets by the names of their files, whose frames follow each other.
        name: name of a field.
        times: first and last time of the frames; None for an open end.
        region: lowest and highest value of coordinates by name, such as `{"lat": (35, 37)}`.
        every: take one frame of so many.

    Raises:
        ValueError: if a coordinate or times are not there, or nothing is selected.
    """
    checks.integer("load_field", "every", every, 1)
    if times is None and not region and every == 1:
        return dict(parts)
    found, done, known = {}, 0, []
    for path, dataset in parts.items():
        axes = grids.axes(dataset, name)
        for coordinate, limits in (region or {}).items():
            dataset = _between(dataset, coordinate, axes, limits)
        count = dataset.sizes[axes.frames] if axes.frames else 1
        chosen = np.ones(count, bool)
        if times is not None:
            labels = grids.labels(dataset, axes.frames)
            if labels is None:
                raise ValueError(f"`times` expected frames with times, but {path!r} has none.")
            known += [labels[0], labels[-1]]
            chosen = np.array([_inside(label, *times) for label in labels])
        numbers = np.flatnonzero(chosen)
        numbers = numbers[(done + np.arange(len(numbers))) % every == 0]
        done += chosen.sum()
        if len(numbers):
            found[path] = dataset.isel({axes.frames: as_slice(numbers)}) if axes.frames else dataset
    if not found:
        raise ValueError(
            f"`times` expected some of the frames, which are from {min(known)} to {max(known)}, "
            f"received {times}."
        )
    return found


def _between(dataset: xarray.Dataset, name: str, axes: grids.Axes, limits: Limits) -> xarray.Dataset:
    known = {str(one): v for one, v in dataset.variables.items() if v.dims in ((axes.y,), (axes.x,))}
    if name not in known:
        raise ValueError(
            f"`region` expected one of the coordinates of rows and columns, which are {list(known)}, "
            f"received {name!r}."
        )
    packing = field_file.packing(known[name])
    values = packing.values(packing.codes(known[name].values))
    low, high = _numbers(*limits)
    numbers = np.flatnonzero((values >= low) & (values <= high))
    if not len(numbers):
        raise ValueError(
            f"`region` expected a part of {name!r}, which is from {values.min():g} to "
            f"{values.max():g}, received {low:g} to {high:g}."
        )
    return dataset.isel({known[name].dims[0]: as_slice(numbers)})


def _inside(label: str, first, last) -> bool:
    """Return whether a time is between two; dates may be shorter: "2003" includes all of that year.

    Example:
        >>> _inside("2003-05-01T12:00", "2002", "2003-05"), _inside("2.5", 3, None)
        (True, False)
    """
    try:
        low, high = _numbers(first, last)
        return low <= float(label) <= high
    except ValueError:  # dates
        label = label.replace(" ", "T")
        start, end = ("" if limit is None else str(limit) for limit in (first, last))
        return start <= label and (not end or label[: len(end)] <= end)


def _numbers(low, high) -> tuple[float, float]:
    """Return limits as numbers, infinite for an open end."""
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


def as_slice(numbers: np.ndarray) -> slice | np.ndarray:
    """Return increasing numbers as a slice if they are evenly spaced, which files read best."""
    steps = np.unique(np.diff(numbers))
    if len(steps) > 1:
        return numbers
    step = int(steps[0]) if len(steps) else 1
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)

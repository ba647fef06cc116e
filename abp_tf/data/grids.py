"""Find fields, their axes and their times in datasets of xarray."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from abp_tf.data.grid_files import load_xarray

if TYPE_CHECKING:
    import xarray

_TIME_NAMES = {"time", "t", "date", "datetime", "day", "month", "year"}


class Axes(NamedTuple):
    """Names of the dimensions of a field; `frames` is None for a single map without such an axis."""

    frames: Hashable | None
    y: Hashable
    x: Hashable


def fields(dataset: xarray.Dataset) -> list[str]:
    """Return the names of the variables that may be fields: numbers on a map, over time if any are."""
    ranks = {}
    for name, variable in dataset.data_vars.items():
        flags = "flag_meanings" in variable.attrs or is_mask(name, variable.variable)
        if variable.dtype.kind in "iuf" and not flags:
            sizes = variable.sizes.items()
            ranks[name] = sum(size > 1 or _is_time(dataset, dim) for dim, size in sizes)
    most = 3 if max(ranks.values(), default=0) > 2 else 2
    return [name for name, rank in ranks.items() if rank >= most and isinstance(name, str)]


def is_mask(name: Hashable, variable: xarray.Variable) -> bool:
    """Return whether a variable is a mask of land or sea, by its name or its standard name."""
    kind = str(variable.attrs.get("standard_name", ""))
    return "mask" in str(name).lower() or kind in ("land_binary_mask", "sea_binary_mask")


def chosen(dataset: xarray.Dataset, variable: str | Sequence[str] | None) -> list[str]:
    """Return the names of the variables to load, which are on one grid.

    Args:
        dataset: the data.
        variable: one name or several; None if there is only one field.

    Raises:
        ValueError: if a variable is not there, is no field, there are several to choose from, or
            variables are on different grids.
    """
    known = fields(dataset)
    listed = ", ".join(f"{name} {_grid(dataset, name)}" for name in known) or "none"
    if variable is None:
        if len(known) != 1:
            raise ValueError(
                f"Expected one field, found {len(known)}: {listed}. Choose it by variable=NAME, or "
                "several on one grid by variable=[NAME, NAME]; programs have --variable NAME, or "
                "field:FILE:NAME,NAME."
            )
        return known
    names = [variable] if isinstance(variable, str) else list(variable)
    for name in names:
        if name not in dataset.variables or dataset[name].dtype.kind not in "iuf":
            raise ValueError(f"Expected a field, received variable {name!r}. There are: {listed}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected different variables, at least one, received {names}.")
    grids = {name: _grid(dataset, name) for name in names}
    if len(set(grids.values())) > 1:
        raise ValueError(
            "Expected variables on one grid, received "
            + ", ".join(f"{name} {grid}" for name, grid in grids.items())
            + ". Load them one by one, or interpolate them to one grid first."
        )
    return names


def check_errors(dataset: xarray.Dataset, names: Sequence[str], errors: Sequence[str]) -> None:
    """Raise an error unless each variable has a variable of standard errors, on its grid, in its unit.

    Args:
        dataset: the data.
        names: names of the variables.
        errors: names of their standard errors, in the same order.
    """
    if len(errors) != len(names):
        raise ValueError(f"`sigma` expected a variable for each of {names}, received {errors}.")
    chosen(dataset, [*names, *errors])
    for name, error in zip(names, errors, strict=True):
        units = [dataset[one].attrs.get("units", "") for one in (name, error)]
        if all(units) and units[0] != units[1]:
            raise ValueError(
                f"`sigma` expected {error!r} in the unit of {name!r}, {units[0]!r}, received "
                f"{units[1]!r}. Convert it."
            )


def _grid(dataset: xarray.Dataset, name: str) -> str:
    return "(" + ", ".join(f"{dim}: {size}" for dim, size in dataset[name].sizes.items()) + ")"


def axes(dataset: xarray.Dataset, name: str) -> Axes:
    """Return which dimensions of a variable are its frames, its rows and its columns.

    Frames are along the dimension of time, or else the first of three. Dimensions of size 1 are left
    out where there are more.

    Raises:
        ValueError: if there are fewer than two or more than three others.
    """
    sizes = dict(dataset[name].sizes)
    frames = next((dim for dim in sizes if _is_time(dataset, dim)), None)
    others = [dim for dim in sizes if dim != frames]
    for dim in list(others):
        if len(others) > 2 and sizes[dim] == 1:
            others.remove(dim)
    if frames is None and len(others) == 3:
        frames = others.pop(0)
    if len(others) != 2:
        remedy = ""
        if len(others) > 2:
            level = others[0]
            remedy = f"Choose one level: isel={{{level!r}: 0}}, or in train.fill --isel {level}=0."
        raise ValueError(
            f"Expected a variable over time and two axes of a map, received {name} "
            f"{_grid(dataset, name)}. {remedy}".rstrip()
        )
    return Axes(frames, *others)


def _is_time(dataset: xarray.Dataset, dim: Hashable) -> bool:
    return clock(dataset, dim) is not None or str(dim).lower() in _TIME_NAMES


def clock(dataset: xarray.Dataset, dim: Hashable) -> Hashable | None:
    """Return the name of the variable that holds the times of a dimension; None if there is none."""
    along = [name for name, variable in dataset.variables.items() if variable.dims == (dim,)]
    along.sort(key=lambda name: name != dim)
    return next((name for name in along if is_clock(name, dataset.variables[name])), None)


def is_clock(name: Hashable, variable: xarray.Variable) -> bool:
    """Return whether a variable holds times, by its type, its attributes or its name."""
    return (
        variable.dtype.kind in "mM"
        or " since " in str(variable.attrs.get("units", ""))
        or variable.attrs.get("standard_name") == "time"
        or variable.attrs.get("axis") == "T"
        or (str(name).lower() in _TIME_NAMES and variable.dtype.kind in "iufO")
    )


def relevant(dataset: xarray.Dataset, axes: Axes, names: Sequence[str]) -> xarray.Dataset:
    """Return a dataset with the named fields, and without other data that are on all axes of a field.

    Coordinates stay, and what is on fewer axes, such as masks, bounds and grid mappings.
    """
    whole = set(axes)
    left_out = [
        name for name, one in dataset.data_vars.items() if name not in names and whole <= set(one.dims)
    ]
    return dataset.drop_vars(left_out)


def times(dataset: xarray.Dataset, dim: Hashable | None) -> np.ndarray | None:
    """Return the times of frames in days, float64, or None if there are none.

    Dates become days since 1970-01-01, in the calendar of the file. Numbers without a unit are days.

    Raises:
        ValueError: if a time is missing, or times do not increase.

    Warns:
        UserWarning: if the unit of the times is not understood; then the result is None.
    """
    name = None if dim is None else clock(dataset, dim)
    if name is None:
        return None
    found = _decoded(dataset[name].variable)
    values, unit = found.values, str(found.attrs.get("units", ""))
    if values.dtype.kind == "M":
        days = (values - np.datetime64(0, "D")) / np.timedelta64(1, "D")
    elif values.dtype.kind == "m":
        days = values / np.timedelta64(1, "D")
    elif values.dtype.kind == "O":  # dates of other calendars
        epoch = type(values[0])(1970, 1, 1)
        days = np.array([(one - epoch).total_seconds() / 86400 for one in values])
    else:
        days = values.astype(np.float64)
    shown = _labels(dataset, name)
    if not np.isfinite(days).all():
        frame = int(np.argmin(np.isfinite(days)))
        raise ValueError(
            f"Expected a time for each frame, received {shown[frame]} for frame {frame} in {name!r}. "
            f"Leave out such frames: dataset.dropna({dim!r}, subset=[{name!r}])."
        )
    falling = np.flatnonzero(np.diff(days) <= 0)
    if len(falling):
        at = falling[0]
        raise ValueError(
            f"Expected times that increase, received {shown[at + 1]} after {shown[at]} in {name!r}, at "
            f"frame {at + 1}. Bring frames into order: dataset.sortby({name!r})"
            f".drop_duplicates({dim!r})."
        )
    if values.dtype.kind in "iuf" and unit not in ("", "1"):
        warnings.warn(
            f"The unit {unit!r} of {name!r} is not understood; frames are without times.", stacklevel=3
        )
        return None
    return days


def labels(dataset: xarray.Dataset, dim: Hashable | None) -> list[str] | None:
    """Return the times of frames as text, None if there are none."""
    name = None if dim is None else clock(dataset, dim)
    return None if name is None else _labels(dataset, name)


def _labels(dataset: xarray.Dataset, name: Hashable) -> list[str]:
    values = _decoded(dataset[name].variable).values
    if values.dtype.kind == "M":
        # As many digits as the times have: dates alone, if all are at midnight.
        return np.datetime_as_string(values, unit="auto").tolist()
    return values.astype(str).tolist()


def _decoded(times: xarray.Variable) -> xarray.Variable:
    """Return times as dates or durations, if their units are understood."""
    xarray = load_xarray()
    # Under a name of its own, so that no index is made of it.
    dataset = xarray.Dataset({"times": times})
    return xarray.decode_cf(dataset, decode_timedelta=True)["times"].variable

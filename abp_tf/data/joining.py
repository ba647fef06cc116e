"""Join the datasets of several files of one field along its frames."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from abp_tf.data import grids
from abp_tf.data.grid_files import load_xarray

if TYPE_CHECKING:
    import xarray

# Attributes that say what stored numbers mean: for one array, they must be the same in all files.
_MEANING = ("units", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
_DECODE = "Open each with xarray.open_dataset, which decodes them, and pass xarray.concat of them."


def check(parts: dict[str, xarray.Dataset], names: list[str]) -> None:
    """Refuse datasets by their files that cannot be joined.

    Raises:
        ValueError: if a field is missing in a file, or its grid, units or packing differ.
    """
    first, *rest = parts.items()
    for other in rest:
        for name in names:
            _check_alike(name, first, other)


def joined(parts: dict[str, xarray.Dataset], names: list[str]) -> xarray.Dataset:
    """Return datasets as one, whose frames follow each other in the given order.

    What is not along the frames, and all attributes, are those of the first dataset.

    Args:
        parts: datasets by the names of their files.
        names: names of the fields.
    """
    xarray = load_xarray()
    datasets = list(parts.values())
    if len(datasets) == 1:
        return datasets[0]
    axes = grids.axes(datasets[0], names[0])
    if axes.frames is None:
        datasets = [_framed(one, names) for one in datasets]
    elif len({_clock_units(one, axes.frames) for one in datasets}) > 1:
        # Each file counts from another day.
        options = {"mask_and_scale": False, "decode_coords": False, "decode_timedelta": False}
        datasets = [xarray.decode_cf(one, **options) for one in datasets]
    return xarray.concat(
        datasets,
        axes.frames or "frame",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )


def _framed(dataset: xarray.Dataset, names: list[str]) -> xarray.Dataset:
    """Return a dataset of single maps with an axis of frames, which a single time is along too."""
    single = [
        name for name, one in dataset.variables.items() if one.ndim == 0 and grids.is_clock(name, one)
    ]
    return dataset.assign({name: dataset[name].expand_dims("frame") for name in [*names, *single]})


def _clock_units(dataset: xarray.Dataset, frames: Hashable) -> str | None:
    name = grids.clock(dataset, frames)
    return None if name is None else str(dataset[name].attrs.get("units"))


def _check_alike(name: str, first, second) -> None:
    """Refuse a field of two files, each a name and a dataset, that cannot be one array."""
    (path, one), (other_path, two) = first, second
    if name not in two.variables:
        known = ", ".join(grids.fields(two)) or "none"
        raise ValueError(f"Expected {name!r} in each file, but {other_path!r} has {known}.")
    a, b = one[name], two[name]
    alike = a.dims == b.dims and all(
        a.sizes[dim] == b.sizes[dim]
        and (dim not in one.variables or np.array_equal(one[dim], two.get(dim, ())))
        for dim in grids.axes(one, name)[1:]
    )
    if not alike:
        raise ValueError(
            f"Expected {name!r} on one grid, but {path!r} and {other_path!r} have others: "
            f"{dict(a.sizes)} and {dict(b.sizes)}, or other coordinates. Interpolate them to one grid."
        )
    for key in _MEANING:
        here, there = (np.ravel(each.attrs.get(key)).tolist() for each in (a, b))
        if str(here) == str(there):  # as text, because NaN does not equal itself
            continue
        remedy = "Convert them to one unit." if key == "units" else _DECODE
        raise ValueError(
            f"Expected one {key!r} of {name!r} in all files, received {here} in {path!r} and "
            f"{there} in {other_path!r}. {remedy}"
        )
    if a.dtype != b.dtype:
        raise ValueError(
            f"Expected one type of {name!r} in all files, received {a.dtype} in {path!r} and {b.dtype} "
            f"in {other_path!r}. {_DECODE}"
        )

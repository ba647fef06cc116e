"""Find which positions of a field belong to it: a static mask, such as that of land."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from abp_tf.data import grids, packing

if TYPE_CHECKING:
    import xarray


# Share of observed entries that a mask may leave outside, as along a coast.
_TOLERATED = 0.01
_HELP = (
    "Give domain=NAME of a variable that is not 0 inside, domain='~NAME' of one that is 0 inside, an "
    "array [h, w], domain='observed' for the positions that are ever observed, or domain=False for "
    "all; programs have --domain NAME, ~NAME, observed and all."
)


def domain(dataset: xarray.Dataset, axes: grids.Axes, given, observed: np.ndarray) -> np.ndarray:
    """Return which positions of a field are inside, bool `[h, w, c]`.

    Args:
        dataset: the data.
        axes: the axes of the field.
        given: the argument `domain` of `load_field`.
        observed: the mask of the field, bool `[n, h, w, c]`.

    Raises:
        ValueError: if there is no such mask, it is none, or more than 1 % of the data is outside.
    """
    ever: np.ndarray = np.any(observed, axis=0)
    if given is False:
        return np.ones_like(ever)
    if isinstance(given, str) and given == "observed":
        return ever
    name = _found(dataset, axes) if given is None else given
    if name is None:
        return np.ones_like(ever)
    if isinstance(name, str):
        inside = _named(dataset, axes, name)
    else:
        inside, name = np.asarray(name), "the array"
        if inside.dtype != bool or inside.shape not in (ever.shape[:2], ever.shape):
            raise ValueError(
                f"`domain` expected bool of shape {ever.shape[:2]} or {ever.shape}, received "
                f"{inside.dtype} of {inside.shape}. {_HELP}"
            )
    inside = inside if inside.ndim == 3 else inside[..., None]
    inside = np.broadcast_to(inside, ever.shape)
    outside = np.sum(observed & ~inside)
    if outside > _TOLERATED * observed.sum():
        y, x, _ = np.argwhere(ever & ~inside)[0]
        inverse = "" if (ever & inside).any() else " Nothing inside is observed: the mask is inverted."
        raise ValueError(
            f"Expected observations inside the domain, but {outside} of {observed.sum()} are outside "
            f"by {name!r}, the first in row {y}, column {x}.{inverse} {_HELP}"
        )
    return inside.copy()


def _found(dataset: xarray.Dataset, axes: grids.Axes) -> str | None:
    """Return the name of the static mask of a dataset, with `~` for one of land, or None."""
    found = []
    for name, variable in dataset.variables.items():
        called = grids.is_mask(name, variable)
        if called and _is_static(variable, axes) and _read(variable, axes) is not None:
            of_land = variable.attrs.get("standard_name") == "land_binary_mask"
            found.append(f"~{name}" if of_land else str(name))
    if len(found) > 1:
        raise ValueError(f"Expected one mask of the domain, found {', '.join(found)}. {_HELP}")
    return found[0] if found else None


def _named(dataset: xarray.Dataset, axes: grids.Axes, name: str) -> np.ndarray:
    """Return the inside of the domain by a variable, bool `[h, w]`."""
    variable = dataset.variables.get(name.removeprefix("~"))
    if variable is None:
        known = ", ".join(map(str, dataset.variables))
        raise ValueError(f"`domain` expected one of the variables {known}, received {name!r}. {_HELP}")
    if not _is_static(variable, axes):
        raise ValueError(
            f"`domain` expected a variable on {axes[1:]}, received {name!r} on {variable.dims}. {_HELP}"
        )
    values = _read(variable, axes)
    if values is None:
        raise ValueError(
            f"`domain` expected 0 and 1, received {np.unique(variable.values)[:9]} in {name!r}. {_HELP}"
        )
    return values == (0 if name.startswith("~") else 1)


def _is_static(variable: xarray.Variable, axes: grids.Axes) -> bool:
    plane = {dim for dim, size in variable.sizes.items() if size > 1 or dim in axes[1:]}
    return plane == set(axes[1:])


def _read(variable: xarray.Variable, axes: grids.Axes) -> np.ndarray | None:
    """Return 0 and 1 of a mask and -1 where it is missing, `[h, w]`; None if it holds other values."""
    variable = variable.squeeze([dim for dim in variable.dims if dim not in axes[1:]])
    stored = variable.transpose(*axes[1:]).values
    if stored.dtype == bool:
        return stored.astype(np.int8)
    if stored.dtype.kind not in "iuf":
        return None
    packed = packing.Packing.of(stored.dtype, variable.attrs)
    codes = packed.codes(stored)
    known = packed.observed(codes)
    return np.where(known, codes, -1).astype(np.int8) if np.isin(codes[known], (0, 1)).all() else None

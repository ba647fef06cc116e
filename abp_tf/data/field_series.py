"""Write frames of a field to one NetCDF file, a part of the frames at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf import extras, files
from abp_tf.data import field_source


def save(
    path: Path,
    parts: Iterable[np.ndarray],
    names: Sequence[str],
    header: Mapping[str, Any],
    times: np.ndarray | None,
    what: str = "",
) -> Path:
    """Write frames with the variables, the coordinates and the domain of a header.

    Args:
        path: path of the file, which ends in .nc.
        parts: float `[m, h, w, variables]` one after the other, NaN where there is no value.
        names: names of all frames.
        header: as `abp_tf.data.load_fields` returns it.
        times: days of all frames, float64 `[n]`; None if they are not known.
        what: words before the name of each variable in its `long_name`.

    Returns:
        The path.
    """
    with extras.needed("fields"):
        import h5netcdf
    sides = [header["rows"], header["columns"]]
    along = "frame" if times is None else "time"
    dims = (along, *(side["name"] for side in sides))
    # To a path HDF5 would not write, because `aside` holds the lock that HDF5 asks for.
    with (
        files.aside(path) as temporary,
        open(temporary, "r+b") as raw,
        h5netcdf.File(raw, "w") as file,
    ):
        done = 0
        variables: list = []  # of h5netcdf, one for each channel
        for part in parts:
            if not variables:
                file.dimensions = dict(zip(dims, (len(names), *part.shape[1:3]), strict=True))
                _coordinates(file, sides, names, times)
                variables = [
                    _variable(
                        file, name, dims, part.shape[1:3], {"units": unit, "long_name": what + name}
                    )
                    for name, unit in zip(header["names"], header["units"], strict=True)
                ]
            inside = field_source.unpacked(header, part.shape[1:])
            part = part if inside is None else np.where(inside, part, np.nan)
            for number, variable in enumerate(variables):
                variable[done : done + len(part)] = part[..., number]
            done += len(part)
    return path


def _variable(file, name: str, dims, sides: tuple[int, int], attributes: Mapping):
    variable = file.create_variable(
        name, dims, np.float32, fillvalue=np.float32(np.nan), chunks=(1, *sides), compression="gzip"
    )
    variable.attrs.update(attributes)
    return variable


def _coordinates(file, sides: list, names: Sequence[str], times: np.ndarray | None) -> None:
    """Write the values of rows and columns, and the times or the names of the frames."""
    for side in sides:
        if side["values"] is not None:
            file.create_variable(side["name"], (side["name"],), data=np.array(side["values"]))
            file.variables[side["name"]].attrs["units"] = side["units"]
    if times is None:
        return
    file.create_variable("time", ("time",), data=np.asarray(times, np.float64))
    # Names of frames with dates are these dates, in a calendar of their own perhaps.
    first = np.datetime64(0, "D") + int(np.floor(times[0]))
    dated = str(names[0]).startswith(str(first))
    file.variables["time"].attrs["units"] = "days since 1970-01-01" if dated else "1"

"""Open files of gridded data with xarray, without decoding them.

Values are kept as the file stores them, so that they can be written back bit for bit;
`abp_tf.data.packing` decodes them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from abp_tf import extras
from abp_tf.data import folder

if TYPE_CHECKING:
    import xarray

    # Where fields come from, as `load_field` describes it.
    Paths = str | os.PathLike | Sequence[str | os.PathLike]
    Source = Paths | np.ndarray | xarray.Dataset | xarray.DataArray

_ARRAYS = (".npy", ".npz")
_GEOTIFF = (".tif", ".tiff")
_FILES = (*_ARRAYS, *_GEOTIFF, ".nc", ".nc4", ".cdf", ".h5")


def load_xarray():
    """Import xarray, or name the extra that installs it."""
    with extras.needed("fields"):
        import xarray
    return xarray


def opened(source: Any) -> dict[str, xarray.Dataset]:
    """Return the datasets of a source by their names; values are as stored, and read later if possible.

    Args:
        source: as for `abp_tf.data.load_field`.

    Raises:
        FileNotFoundError: if there is no such file, or a folder holds none.
        ValueError: if a file cannot be read.
    """
    xarray = load_xarray()
    if isinstance(source, xarray.DataArray):
        return {"the array": source.to_dataset(name=source.name or "field")}
    if isinstance(source, xarray.Dataset):
        return {"the dataset": source}
    if isinstance(source, np.ndarray):
        return {"the array": _of_arrays({"field": source})}
    if isinstance(source, str | os.PathLike):
        paths = _paths(Path(source).expanduser())
    else:
        paths = [Path(path).expanduser() for path in source]
    if not paths:
        raise ValueError("Expected at least one file, received an empty list.")
    return {str(path): _read(path) for path in paths}


def _paths(path: Path) -> list[Path]:
    """Return the path, or the paths of the files in a folder that is no Zarr store."""
    if not path.is_dir() or _is_zarr(path):
        return [path]
    found = [path / name for name in folder.names_below(path, _FILES)]
    if not found:
        raise FileNotFoundError(
            f"Expected files of fields ({', '.join(_FILES)}) in or below {str(path)!r}, found none."
        )
    return found


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _read(path: Path) -> xarray.Dataset:
    xarray = load_xarray()
    if not path.exists():
        raise FileNotFoundError(f"Expected a file of fields, but there is no {str(path)!r}.")
    suffix = path.suffix.lower()
    engine = None
    # Coordinates, bounds and grid mappings are told apart from data; nothing is converted.
    options = {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"}
    if path.is_dir():
        with extras.needed("fields"):
            import zarr  # noqa: F401
        engine, options["consolidated"] = "zarr", False
    elif suffix in _GEOTIFF:
        with extras.needed("fields"):
            import rioxarray  # noqa: F401
        engine = "rasterio"
    try:
        if suffix in _ARRAYS:
            return _of_arrays(_arrays(path))
        return xarray.open_dataset(path, engine=engine, **options)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"Expected NetCDF, Zarr, GeoTIFF, NPY or NPZ, but {str(path)!r} cannot be read: {error}"
        ) from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return {"field": content}
    with content:
        return {name: content[name] for name in content.files}


def _of_arrays(arrays: dict[str, np.ndarray]) -> xarray.Dataset:
    """Return arrays `[h, w]`, `[n, h, w]` and `[n, h, w, c]` as variables, one for each channel."""
    xarray = load_xarray()
    variables: dict[str, tuple] = {}
    sizes: dict[str, int] = {}

    def dimensions(shape):
        names = ("frame", "y", "x")[3 - len(shape) :]
        # Arrays of other sizes are on axes of their own.
        return [
            name if sizes.setdefault(name, size) == size else f"{name}_{size}"
            for name, size in zip(names, shape, strict=True)
        ]

    for name, array in arrays.items():
        if isinstance(array, np.ma.MaskedArray):
            array = np.ma.filled(array.astype(np.result_type(array.dtype, np.float32)), np.nan)
        if array.ndim in (2, 3):
            variables[name] = (dimensions(array.shape), array)
        elif array.ndim == 4:
            for channel in range(array.shape[-1]):
                own = name if array.shape[-1] == 1 else f"{name}_{channel}"
                variables[own] = (dimensions(array.shape[:3]), array[..., channel])
    for name in ("time", "times"):
        if name in arrays and arrays[name].shape == (sizes.get("frame"),):
            variables["time"] = ("frame", arrays[name])
    return xarray.Dataset(variables)

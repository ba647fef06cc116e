"""Load volumes by the name of their source: `load_volume`."""

import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from abp_tf import checks, extras, files
from abp_tf.data import clips, collect, convert, npz

VOLUME_SOURCES_HELP: dict[str, str] = {
    "volume": "volume:PATH: a NIfTI file (.nii, .nii.gz) or an array (.npy), or a folder of them",
    "npz": "npz:PATH[:KEY]: an array [d, h, w], [n, d, h, w] or [n, d, h, w, c], uint8 or floats in "
    "[-1, 1]",
}
_NIFTI = (".nii", ".nii.gz")


class Volumes(NamedTuple):
    """The volumes of one file, `[k, d, h, w, c]`, and the affine of a NIfTI file."""

    name: str
    values: np.ndarray
    affine: np.ndarray | None = None


def load_volume(
    spec: str,
    *,
    size: int | tuple[int, int, int] | None = None,
    window: tuple[float, float] | None = None,
    item: int | None = None,
    limit: int | None = None,
    test_share: float = 0.1,
    missing: bool = False,
) -> collect.Signals:
    """Load volumes by name as float32 `[n, d, h, w, c]` in [-1, 1], split for training and testing.

    The values of NIfTI files may have any unit: the window `(low, high)` is scaled to [-1, 1], and
    values outside are clipped. Arrays are uint8 or floats in [-1, 1], unless a window is given.

    Args:
        spec: "volume:PATH", of a file or a folder, or "npz:PATH[:KEY]".
        size: side of a cube or `(depth, height, width)` in voxels to resize volumes to, trilinearly;
            None keeps the size.
        window: the values that become -1 and 1; by default the lowest and the highest value of NIfTI
            files, and no scaling of arrays.
        item: number of the one volume to use, of an array of several; None for all.
        limit: largest number of volumes; None for all.
        test_share: share in [0, 1) of the volumes to keep for testing: the last ones.
        missing: whether volumes may hold NaN in voxels that a mask hides.

    Returns:
        The volumes, the names of their files, and a header to write them as NIfTI files: `affine`, if
        all volumes have the same, and `low` and `high`, the window.

    Raises:
        ImportError: if nibabel is missing.
        OSError: if files are missing.
        ValueError: if an argument is out of range, or a file cannot be used; the message names it.

    Example:
        >>> volumes = load_volume("volume:scans", size=64, window=(-1000, 1000))  # doctest: +SKIP
        >>> volumes.train.shape, volumes.header["low"]  # doctest: +SKIP
        ((45, 64, 64, 64, 1), -1000.0)
    """
    readers = {"volume": _from_files, "npz": _from_npz}
    read, argument = collect.find(spec, readers, VOLUME_SOURCES_HELP)
    collect.check_limit(limit)
    collect.check_share(test_share)
    if window is not None and not (len(window) == 2 and window[0] < window[1]):
        raise ValueError(f"Expected a window (low, high) with low < high, received {window}.")
    found, skipped = read(argument, item, missing, window is None, limit)
    if size is not None:
        depth, height, width = (size,) * 3 if isinstance(size, int) else size
        found = [_resized(volumes, (depth, height, width), missing) for volumes in found]
    shapes = {volumes.values.shape[1:]: volumes.name for volumes in found}
    if len(shapes) > 1:
        listed = ", ".join(f"{shape} ({name})" for shape, name in shapes.items())
        raise ValueError(
            f"Expected volumes of one shape, received {listed}. Bring them to one: size=... ."
        )
    names = []
    for volumes in found:
        names += files.numbered(volumes.name.removesuffix(".gz"), len(volumes.values))
    values = np.concatenate([volumes.values for volumes in found])[:limit]
    header = _common_affine(found)
    if window is None and found[0].affine is not None:
        window = (float(np.nanmin(values)), float(np.nanmax(values)))
        if window[0] == window[1]:
            raise ValueError(f"Expected volumes of several values, received only {window[0]:g}.")
    if window is not None:
        low, high = map(float, window)
        values = np.clip((values - low) * np.float32(2 / (high - low)) - 1, -1, 1)
        header |= {"low": low, "high": high}
    parts = collect.split(convert.to_signals(values), test_share, spec)
    return collect.Signals(
        parts.train,
        parts.test,
        spec,
        tuple(skipped),
        kind="volume",
        names=tuple(names[:limit]),
        places=parts.places,
        header=header,
    )


def _from_files(argument: str, item, missing: bool, ranged: bool, limit):
    if item is not None:
        raise ValueError(f"Expected item only for an array of volumes, received item={item}.")

    def read(path: Path) -> Volumes:
        name = str(path)
        if name.lower().endswith(_NIFTI):
            values, affine = _nifti(path, limit)
            return Volumes(path.name, _finite(values, name, missing), affine)
        if path.suffix.lower() != ".npy":
            raise ValueError(f"{name!r} is no volume: expected .nii, .nii.gz or .npy.")
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{name!r} cannot be read as an array: {error}.") from error
        return Volumes(path.name, _several(_usable(array, name, missing, ranged), name))

    extensions = (".nii", ".gz", ".npy")
    return clips.from_files(argument, "volume", extensions, read, lambda one: len(one.values), limit)


def _from_npz(argument: str, item, missing: bool, ranged: bool, limit):
    form = "volumes [d, h, w], [n, d, h, w] or [n, d, h, w, c] with 1 or 3 channels"
    rows = clips.leading(item, limit)

    def first(one: np.ndarray) -> int | None:
        return rows if one.ndim == 5 or (one.ndim == 4 and one.shape[-1] not in (1, 3)) else None

    array, name, *_ = npz.stored(
        argument, lambda one: one.ndim in (3, 4, 5) and one.size > 0, form, first=first
    )
    array = _several(_usable(array, name, missing, ranged), name)
    return [Volumes(npz.split(argument)[0].name, clips.chosen(array, item, name)[0])], {}


def _usable(array: np.ndarray, name: str, missing: bool, ranged: bool) -> np.ndarray:
    """Check the values of an array: uint8 or in [-1, 1], or any finite values if there is a window."""
    return npz.checked(array, name, missing) if ranged else _finite(array, name, missing)


def _nifti(path: Path, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values `[k, d, h, w, 1]` and the affine; the last of four axes counts volumes.

    At most `limit` volumes are read.
    """
    with extras.needed("volumes"):
        import nibabel
    try:
        image: Any = nibabel.load(path)  # of a class for volumes
        stored = image.dataobj
        if image.ndim == 4 and limit is not None:
            stored = stored[..., :limit]
        values = np.asarray(stored, np.float32)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} cannot be read as NIfTI: {error}") from error
    if values.ndim not in (3, 4) or not values.size:
        raise ValueError(f"{str(path)!r}: expected three or four axes, received {values.shape}.")
    values = values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0)
    return values[..., None], image.affine


def _several(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array as `[n, d, h, w, c]`; the last of four axes, if it is 1 or 3, counts channels."""
    if array.ndim == 4:
        return array[None] if array.shape[-1] in (1, 3) else array[..., None]
    array = array[None, ..., None] if array.ndim == 3 else array
    if array.ndim != 5 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"Expected volumes [d, h, w], [n, d, h, w] or [n, d, h, w, c] with 1 or 3 channels, "
            f"received shape {array.shape} in {name}."
        )
    return array


def _finite(values: np.ndarray, name: str, missing: bool) -> np.ndarray:
    values = values.astype(np.float32, copy=False)
    observed = values[~np.isnan(values)] if missing else values
    if not np.isfinite(observed).all() or not observed.size:
        raise ValueError(
            f"{name!r} holds NaN or infinity. Set unknown voxels to NaN and give a mask that hides "
            f"them (--mask npz:PATH). {checks.POLARITY}"
        )
    return values


def _resized(volumes: Volumes, size: tuple[int, int, int], missing: bool) -> Volumes:
    """Resize volumes trilinearly, averaging where they shrink, and adapt their affine."""
    values, shape = volumes.values, volumes.values.shape[1:4]
    if shape == size:
        return volumes
    if missing and np.isnan(values).any():
        raise ValueError(
            f"{volumes.name!r} holds NaN, which resizing would spread. Leave out size, or resize it "
            "before entries are set to NaN."
        )
    count, (depth, height, width), channels = len(values), size, values.shape[-1]
    flat = tf.reshape(tf.cast(values, tf.float32), (count * shape[0], *shape[1:], channels))
    flat = tf.image.resize(flat, (height, width), antialias=True)
    flat = tf.reshape(flat, (count, shape[0], height * width, channels))
    flat = tf.image.resize(flat, (depth, height * width), antialias=True)
    result = flat.numpy().reshape(count, depth, height, width, channels)
    if values.dtype == np.uint8:
        result = np.rint(result).astype(np.uint8)
    if volumes.affine is None:
        return volumes._replace(values=result)
    factors = np.divide(shape, size)
    # The centre of new voxel i has the old coordinate (i + 1/2) · factor − 1/2.
    change = np.diag([*factors, 1.0])
    change[:3, 3] = (factors - 1) / 2
    return volumes._replace(values=result, affine=volumes.affine @ change)


def _common_affine(found: list[Volumes]) -> dict[str, Any]:
    affines = [volumes.affine for volumes in found]
    if affines[0] is None:
        return {}
    if not all(one is not None and np.allclose(one, affines[0], atol=1e-4) for one in affines):
        warnings.warn(
            "The volumes have different affines, so results are written as arrays, not as NIfTI.",
            stacklevel=3,
        )
        return {}
    return {"affine": affines[0].tolist()}

"""Arrays of images in a NumPy .npz file."""

import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from abp_tf import checks
from abp_tf.data import collect

# Name of the array beside the images that holds their labels.
_LABELS = "labels"


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Reads one array of images `[n, h, w]` or `[n, h, w, c]`, with one or three channels.

    Their labels are the array of the name `labels`, if the file holds one.

    Args:
        argument: `PATH`, or `PATH:KEY` where the file holds several arrays of images.
        request: What was asked for.

    Returns:
        uint8 as stored, or float32 in [-1, 1]; `[n, h, w, c]`; with labels if there are any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no .npz, the array to take is not clear, or its shape, dtype or
            range are not those of images; or labels are not one integer for each image.
    """
    path, key = split(argument)
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npz file, but there is no file {str(path)!r}.")
    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"Expected an .npz file, but {str(path)!r} is none.") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(
            f"Expected an .npz file, but {str(path)!r} holds a bare array. Save it with "
            "np.savez_compressed(path, images=array)."
        )
    with archive:
        key, array = _chosen(archive, key, path)
        stored = _stored_labels(archive, key)
    name = f"array {key!r} of {str(path)!r}"
    if not _is_images(array):
        raise ValueError(
            f"Expected images [n, h, w] or [n, h, w, c] with 1 or 3 channels, received {name} of "
            f"shape {array.shape}. One image alone is saved as image[None]."
        )
    labels = None
    if stored is not None:
        labels = checks.labels(stored, len(array), f" of {name}")[: request.limit]
    array = _checked(array[: request.limit], name)
    if array.ndim == 3:
        array = array[..., None]
    images = ((f"image {place}", image) for place, image in enumerate(array))
    return collect.Pixels(collect.stack(images, request), labels=labels)


def split(argument: str) -> tuple[Path, str | None]:
    """Tells PATH:KEY from a path that holds a colon itself."""
    if not argument:
        raise ValueError("Expected a path, as in 'npz:images.npz', received 'npz:'.")
    whole = Path(argument).expanduser()
    path, colon, key = argument.rpartition(":")
    if whole.is_file() or not colon or not path.lower().endswith(".npz"):
        return whole, None
    return Path(path).expanduser(), key


def _is_images(array: np.ndarray) -> bool:
    if array.ndim not in (3, 4) or 0 in array.shape:
        return False
    # Without an axis of channels, so small a last axis means one colour image and not n grey ones.
    return (array.shape[-1] in (1, 3)) if array.ndim == 4 else (array.shape[-1] > 4)


def _chosen(archive: np.lib.npyio.NpzFile, key: str | None, path: Path) -> tuple[str, np.ndarray]:
    if key is not None:
        if key not in archive.files:
            raise ValueError(
                f"Expected one of the arrays of {str(path)!r}, {sorted(archive.files)}, received "
                f"the key {key!r}."
            )
        return key, _array(archive, key)
    shapes, found = {}, {}
    for name in archive.files:
        try:
            array = _array(archive, name)
        except ValueError:
            shapes[name] = "(not readable)"
            continue
        shapes[name] = str(array.shape)
        if _is_images(array):
            found[name] = array
    if len(found) == 1:
        return found.popitem()
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
    raise ValueError(
        "Expected exactly one array [n, h, w] or [n, h, w, c] with 1 or 3 channels in "
        f"{str(path)!r}, found {len(found)}; it holds {listed}. If one is meant, name it with "
        "npz:PATH:KEY."
    )


def _array(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return archive[key]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"The array {key!r} cannot be read: {error}.") from error


def _stored_labels(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray | None:
    if key == _LABELS or _LABELS not in archive.files:
        return None
    try:
        return _array(archive, _LABELS)
    except ValueError as error:
        raise ValueError(f"{error} Save labels as integers, or leave them out.") from error


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """Passes 8-bit values and floats in [-1, 1]; for others it says how to scale them."""
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        remedy = {
            "b": "Scale it with np.uint8(255) * x.",
            "u": "Scale 16 bits with np.rint(x / 257).astype(np.uint8).",
        }.get(array.dtype.kind, "Convert values in 0..255 with x.astype(np.uint8).")
        raise ValueError(
            f"Expected uint8 or floats in [-1, 1], received {array.dtype} in {name}. {remedy}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"Expected finite values, received NaN or infinity in {name}.")
    low, high = float(array.min()), float(array.max())
    if low < -1 or high > 1:
        scaling = "x / 127.5 - 1"
        if low < 0 or high > 255:
            scaling = f"2 * (x - {low:g}) / {high - low:g} - 1"
        raise ValueError(
            f"Expected floats in [-1, 1], received values from {low:g} to {high:g} in {name}. "
            f"Scale them with {scaling} before saving."
        )
    if low >= 0 and high > 0:
        # Inside the range, and yet hardly ever meant: the black of such images becomes mid-grey.
        warnings.warn(
            f"The values of {name} lie in [0, 1]. If 0 is black, scale them with 2 * x - 1 before "
            "saving.",
            stacklevel=4,
        )
    return array.astype(np.float32, copy=False)

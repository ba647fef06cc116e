"""Arrays in NumPy .npz files."""

import contextlib
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import checks, files
from abp_tf.data import collect

# Name of the array that holds the labels of the images.
_LABELS = "labels"

# Readers of the headers of arrays by version of the format. Later ones hold names of fields.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Read one array of images `[n, h, w]` or `[n, h, w, c]`, with one or three channels.

    The array `labels` of the file, if there is one, holds their labels.

    Args:
        argument: `PATH`, or `PATH:KEY` if the file holds several arrays of images.
        request: size, crop, colour and limit.

    Returns:
        uint8 as stored, or float32 in [-1, 1]; `[n, h, w, c]`; with labels if there are any.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no .npz, it holds no or several arrays of images and no KEY selects
            one, the array has another shape, dtype or range than images, or labels are not one integer
            for each image.
    """
    form = "images [n, h, w] or [n, h, w, c] with 1 or 3 channels"
    hint = " Save a single image as image[None]."
    array, name, beside, count = stored(
        argument, _is_images, form, hint, [_LABELS], lambda array: request.limit
    )
    labels = None
    if _LABELS in beside:
        labels = checks.labels(beside[_LABELS], count, f" of {name}")[: request.limit]
    array = checked(array, name, request.missing)
    if array.ndim == 3:
        array = array[..., None]
    images = ((f"image {place}", image) for place, image in enumerate(array))
    return collect.Pixels(collect.stack(images, request), labels=labels)


class Stored(NamedTuple):
    """An array of a file, or its first entries.

    Attributes:
        array: the array.
        name: its name for messages.
        beside: other arrays of the same file by name.
        count: number of entries along the first axis in the file.
    """

    array: np.ndarray
    name: str
    beside: dict[str, np.ndarray]
    count: int  # type: ignore[assignment]  # hides the method of tuples


def stored(
    argument: str,
    fits: Callable[[np.ndarray], bool],
    form: str,
    hint: str = "",
    beside: Sequence[str] = (),
    first: Callable[[np.ndarray], int | None] = lambda array: None,
) -> Stored:
    """Read one array of a file: array KEY, or the only one that fits.

    Args:
        argument: `PATH`, or `PATH:KEY` if the file holds several arrays that fit.
        fits: function that returns whether an array has the expected form. It may use the shape and
            the dtype of the array, not its values.
        form: the expected form in words, for messages.
        hint: end of the message for an array KEY that does not fit.
        beside: names of other arrays to read too, if the file holds them.
        first: function that returns how many entries along the first axis to read of an array of the
            shape and dtype of its argument; None for all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no .npz, or no array, or several, fit.
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
            "np.savez_compressed(path, name=array)."
        )
    with archive:
        key, outline = _chosen(archive, key, path, fits, form)
        name = f"array {key!r} of {str(path)!r}"
        if not fits(outline):
            raise ValueError(f"Expected {form}, received {name} of shape {outline.shape}.{hint}")
        array = _array(archive, key, first(outline))
        found = {one: _beside(archive, one) for one in beside if one in archive.files and one != key}
    return Stored(array, name, found, len(outline))


def split(argument: str) -> tuple[Path, str | None]:
    """Return PATH and KEY of `PATH:KEY`, and None for KEY if there is none; PATH may hold colons."""
    if not argument:
        raise ValueError("Expected a path, as in 'npz:images.npz', received 'npz:'.")
    whole = Path(argument).expanduser()
    path, colon, key = argument.rpartition(":")
    if whole.is_file() or not colon or not path.lower().endswith(".npz"):
        return whole, None
    return Path(path).expanduser(), key


def is_npz(argument: str) -> bool:
    """Return whether text is PATH or PATH:KEY of an .npz file."""
    return split(argument)[0].suffix.lower() == ".npz"


def write_rows(file, parts: Iterable[np.ndarray], count: int) -> None:
    """Write an array of `count` rows as NPY to a binary file, a part of the rows at a time."""
    begun = False
    for part in parts:
        if not begun:
            begun = True
            header = {
                "descr": np.lib.format.dtype_to_descr(part.dtype),
                "fortran_order": False,
                "shape": (count, *part.shape[1:]),
            }
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(part).tobytes())


def save_rows(path: Path, parts: Iterable[np.ndarray], count: int) -> Path:
    """Write an array of `count` rows as an NPY file, by `write_rows`; return the path."""
    with files.aside(path) as temporary, open(temporary, "wb") as file:
        write_rows(file, parts, count)
    return path


def _is_images(array: np.ndarray) -> bool:
    return is_pixels(array, (3, 4))


def is_pixels(array: np.ndarray, ranks: Sequence[int]) -> bool:
    """Return whether an array has one of the ranks, and from 4 axes on 1 or 3 channels last."""
    if array.ndim not in ranks or 0 in array.shape:
        return False
    # With fewer axes there are no channels: a last axis of up to 4 means one colour image.
    return array.shape[-1] in (1, 3) if array.ndim >= 4 else array.shape[-1] > 4


def _chosen(
    archive: np.lib.npyio.NpzFile, key: str | None, path: Path, fits: Callable, form: str
) -> tuple[str, np.ndarray]:
    """Return the name of the chosen array, and its outline."""
    if key is not None:
        if key not in archive.files:
            raise ValueError(
                f"Expected one of the arrays of {str(path)!r}, {sorted(archive.files)}, received "
                f"the key {key!r}."
            )
        return key, _outline(archive, key)
    shapes, found = {}, {}
    for name in archive.files:
        try:
            outline = _outline(archive, name)
        except ValueError:
            shapes[name] = "(not readable)"
            continue
        shapes[name] = str(outline.shape)
        if fits(outline):
            found[name] = outline
    if len(found) == 1:
        return found.popitem()
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
    raise ValueError(
        f"Expected exactly one array of {form} in {str(path)!r}, found {len(found)}; it holds "
        f"{listed}. Select one with npz:PATH:KEY."
    )


def _outline(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """Return an array of the shape and dtype of a stored one, without its values and their memory."""
    with _opened(archive, key) as (_, shape, _, dtype):
        return np.broadcast_to(np.zeros((), dtype), shape)


def _array(archive: np.lib.npyio.NpzFile, key: str, count: int | None = None) -> np.ndarray:
    """Return an array, or its first `count` entries.

    No more of the file is decompressed, unless the array is stored in the order of Fortran.
    """
    with _opened(archive, key) as (file, shape, fortran, dtype):
        if count is not None and not fortran:
            shape = (min(count, shape[0]), *shape[1:])
        size = math.prod(shape)
        values = np.frombuffer(file.read(size * dtype.itemsize), dtype, size)
        array = values.reshape(shape, order="F" if fortran else "C")
    return array if count is None else array[:count]


@contextlib.contextmanager
def _opened(archive: np.lib.npyio.NpzFile, key: str) -> Iterator[tuple]:
    """Yield the file of an array, read up to its values, its shape, whether in Fortran's order, dtype.

    Raises:
        ValueError: here or in the block: what is stored is no array, or damaged.
    """
    if archive.zip is None:
        raise ValueError(f"{key!r} cannot be read as an array: its file is closed.")
    name = key if key in archive.zip.namelist() else f"{key}.npy"
    try:
        with archive.zip.open(name) as file:
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"its format is {version}")
            shape, fortran, dtype = _HEADERS[version](file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, which are never unpickled")
            yield file, shape, fortran, dtype
    # RuntimeError: it is encrypted, or compressed in a way that Python does not know.
    # OverflowError: its header tells of more than any memory holds.
    except (ValueError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{key!r} of {archive.zip.filename!r} cannot be read as an array: {error}."
        ) from error


def _beside(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return _array(archive, key)
    except ValueError as error:
        raise ValueError(f"{error} Save {key} as integers, or leave them out.") from error


def checked(array: np.ndarray, name: str, missing: bool = False) -> np.ndarray:
    """Return an array of 8-bit values as it is, and of floats in [-1, 1] as float32.

    Args:
        array: the values, of any shape.
        name: name of the array for messages.
        missing: whether NaN is allowed.

    Raises:
        ValueError: for other types or values; the message gives the scaling.

    Warns:
        UserWarning: if floats lie in [0, 1], as of images that are not scaled to [-1, 1].
    """
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
    values = array[~np.isnan(array)] if missing else array
    if not np.isfinite(values).all() or not values.size:
        raise ValueError(
            f"Expected finite values, received NaN or infinity in {name}. NaN is allowed only in "
            "entries that a stored mask hides."
        )
    low, high = float(values.min()), float(values.max())
    if checks.outside(low, high, (-1, 1)):
        scaling = "x / 127.5 - 1"
        if low < 0 or high > 255:
            scaling = f"2 * (x - {low:g}) / {high - low:g} - 1"
        raise ValueError(
            f"Expected floats in [-1, 1], received values from {checks.digits(low)} to "
            f"{checks.digits(high)} in {name}. Scale them with {scaling} before saving."
        )
    if low >= 0 and high > 0:
        # In the range, but rarely intended: black would become mid-grey.
        warnings.warn(
            f"The values of {name} lie in [0, 1]. If 0 is black, scale them with 2 * x - 1 before "
            "saving.",
            stacklevel=4,
        )
    return array.astype(np.float32, copy=False)

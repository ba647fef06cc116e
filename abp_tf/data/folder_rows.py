"""Images of a folder that are read when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from abp_tf.data import collect, convert
from abp_tf.data.lazy import LazyRows, UnreadableError

# Above either, images are read when they are needed, if nobody says otherwise. They do not depend on
# the machine, so that all machines read a folder alike.
FILES, BYTES = 100_000, 2**30

_REMEDY = (
    "Move it away, or convert it to PNG, and begin again; "
    "`abp_tf.data.unreadable('folder:PATH')` lists all such images, and with --no-lazy (lazy=False) "
    "they are skipped."
)
# Number of broken images that a message names.
_NAMED = 5


def wanted(folder: Path, names: Sequence[str], request: collect.Request) -> bool:
    """Return whether images are read when they are needed: if it is asked for, or they are many.

    Args:
        folder: the folder.
        names: names of the files.
        request: size, crop, colour, limit and whether that is wanted.
    """
    if request.lazy is not None:
        return request.lazy
    count = min(len(names), request.limit or len(names))
    if count > FILES:
        return True
    for name in names[:count]:
        try:
            shape = _pixels(folder / name, request).shape
        except Exception:  # it is skipped with a warning, or named, where it is read
            continue
        return count * math.prod(shape) * np.dtype(np.float32).itemsize > BYTES
    return False


def rows(folder: Path, names: Sequence[str], request: collect.Request) -> LazyRows:
    """Return the images of a folder, of which only the first is read now: the others have its form.

    Args:
        folder: the folder.
        names: names of the files.
        request: size, crop and colour.

    Returns:
        rows of uint8 `[h, w, c]`.

    Raises:
        UnreadableError: here or when rows are read, if images cannot be read; the message names them.
        ValueError: likewise, if an image has another size, or is in colour where the first is grey.
    """
    shape = _read(folder, names, np.array([0]), request)[0].shape

    def read(numbers: np.ndarray) -> np.ndarray:
        found = _read(folder, names, numbers, request)
        for row, image in enumerate(found):
            if image.shape[-1] < shape[-1]:
                found[row] = image = convert.fit(image, grey=False)
            if image.shape != shape:
                _refuse(folder / names[numbers[row]], image.shape, folder / names[0], shape)
        return np.stack(found)

    return LazyRows(read, len(names), shape, np.uint8)


def unreadable(spec: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the images below a folder that cannot be read, and why; it reads all images.

    Args:
        spec: "folder:PATH".

    Example:
        >>> for name, why in unreadable("folder:photos"):  # doctest: +SKIP
        ...     print(name, why)
    """
    from abp_tf.data import folder

    path = Path(spec.removeprefix("folder:")).expanduser()
    for name in folder.image_names(path):
        try:
            _pixels(path / name, collect.Request())
        except Exception as error:
            yield name, f"{type(error).__name__}: {error}"


def forms(spec: str, names: Sequence[str]) -> tuple[convert.Form, ...]:
    """Return the forms of the images of a folder, from the heads of the files alone.

    Args:
        spec: "folder:PATH".
        names: names of the images.
    """
    from PIL import Image

    found, path = [], Path(spec.removeprefix("folder:")).expanduser()
    for name in names:
        try:
            with Image.open(path / name) as image:
                found.append(convert.form(image))
        except Exception as error:
            raise ValueError(
                f"Expected an image in {str(path / name)!r}, which cannot be read ({error}). {_REMEDY}"
            ) from error
    return tuple(found)


def _pixels(path: Path, request: collect.Request) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        pixels = convert.from_pil(image)
    return convert.fit(pixels, request.size, crop=request.crop, grey=request.grey)


def _read(folder: Path, names: Sequence[str], numbers: np.ndarray, request: collect.Request) -> list:
    """Return the pixels of images, whatever their forms; raise an error that names all broken ones."""
    found, broken = [], {}
    for number in numbers:
        try:
            found.append(_pixels(folder / names[number], request))
        # Pillow raises errors of many types for damaged files, struct.error included.
        except Exception as error:
            broken[int(number)] = f"{type(error).__name__}: {error}"
    if not broken:
        return found
    lines = [f"{str(folder / names[number])!r} ({why})" for number, why in broken.items()]
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    raise UnreadableError(
        f"Expected an image in {'; '.join(lines[:_NAMED])}{more}, which cannot be read. {_REMEDY}",
        list(broken),
        [names[number] for number in broken],
    )


def _refuse(path: Path, shape: tuple, first: Path, expected: tuple) -> None:
    if shape[:2] == expected[:2]:
        raise ValueError(
            f"Expected grey images like {str(first)!r}, received one in colour, {str(path)!r}. Give "
            "--grey (grey=True) or --no-grey (grey=False)."
        )
    sizes = ["x".join(map(str, sides[:2])) for sides in (expected, shape)]
    raise ValueError(
        f"Expected images of one size (height x width), received {sizes[0]} ({str(first)!r}) and "
        f"{sizes[1]} ({str(path)!r}). Bring them to one size: --size 64 (size=64) for squares."
    )

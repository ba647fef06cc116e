"""A folder of image files, flat or nested."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abp_tf.data import collect, convert, folder_rows
from abp_tf.printing import printable

if TYPE_CHECKING:
    from PIL import Image

# The number of unreadable files that a warning names; `skipped` holds all of them.
_NAMED = 5


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Read the image files below a folder, in the natural order of their paths.

    Hidden files and folders, files without the extension of an image, and folders reached by links
    are ignored. Files that cannot be read are skipped; one warning names them. If every image lies in
    one of at least two sub-folders, the sub-folders are the classes, numbered in their order.

    Images that are read lazily (`abp_tf.data.folder_rows`) are `LazyRows` of the files in their order.

    Args:
        argument: path of the folder.
        request: size, crop, colour and limit; no file beyond the limit is opened.

    Returns:
        uint8 `[n, h, w, c]`, the paths of images and of skipped files, relative to the folder, and
        labels.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
        NotADirectoryError: if the path is a file.
        ValueError: if no image can be read, or sizes differ and the request has no size.
    """
    if not argument:
        raise ValueError("Expected a path, as in 'folder:photos', received 'folder:'.")
    folder = Path(argument).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"Expected a folder of images, but there is no {str(folder)!r}.")
    if not folder.is_dir():
        raise NotADirectoryError(
            f"Expected a folder of images, received the file {str(folder)!r}. Give the folder it "
            "lies in, or read an array file with npz:PATH."
        )
    names = image_names(folder)
    if not names:
        raise FileNotFoundError(
            f"Expected image files such as .png or .jpg in or below {str(folder)!r}, found none."
        )
    if folder_rows.wanted(folder, names, request):
        names = names[: request.limit]
        return collect.Pixels(
            folder_rows.rows(folder, names, request),
            by_class=True,
            labels=_labels(names, names),
            names=tuple(names),
        )
    pixels, skipped, forms = _stacked(folder, names, request, f" in {str(folder)!r}")
    if skipped:
        # Attributed to the caller of `load`.
        warnings.warn(warning("image", skipped, f" in {str(folder)!r}"), stacklevel=3)
    read = tuple(name for name in names if name not in skipped)[: len(pixels)]
    return collect.Pixels(
        pixels,
        skipped=tuple(skipped),
        by_class=True,
        labels=_labels(names, read),
        names=read,
        forms=forms,
    )


def read_named(
    paths: Sequence[str | os.PathLike],
    request: collect.Request,
    look: Callable[[str, Image.Image], np.ndarray] | None = None,
) -> tuple[list[str], np.ndarray, tuple[convert.Form, ...]]:
    """Read image files, and those below folders as `read` does, and return them with their names.

    Args:
        paths: paths of files and folders.
        request: size, crop and colour, without a limit.
        look: function of the name of an image and the Pillow image that returns its pixels
            `[h, w, c]`; `convert.from_pil` by default.

    Returns:
        The names of the images, relative to their folders; uint8 `[n, h, w, c]`; and the forms of the
        files.

    Raises:
        FileNotFoundError: if there is no such file or folder, or no image in a folder.
        ValueError: if no image can be read, or sizes differ and the request has no size.
    """
    named: dict[str, str] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"Expected image files or folders, but there is no {str(path)!r}.")
        below = image_names(path) if path.is_dir() else None
        if below == []:
            raise FileNotFoundError(
                f"Expected image files such as .png or .jpg in or below {str(path)!r}, found none."
            )
        named |= {str(path): path.name} if below is None else {str(path / n): n for n in below}
    pixels, skipped, forms = _stacked(
        Path(), list(named), request, "", look and (lambda path, image: look(named[path], image))
    )
    if skipped:
        warnings.warn(warning("image", skipped, ""), stacklevel=2)
    return [name for path, name in named.items() if path not in skipped], pixels, forms


def _stacked(
    folder: Path, names: list[str], request: collect.Request, where: str, look: Callable | None = None
) -> tuple[np.ndarray, dict[str, str], tuple[convert.Form, ...]]:
    skipped: dict[str, str] = {}
    forms: list[convert.Form] = []
    try:
        pixels = collect.stack(_readable(folder, names, skipped, forms, look), request)
        return pixels, skipped, tuple(forms)
    except ValueError as error:
        if len(skipped) == len(names):
            raise ValueError(
                f"None of the {len(names)} image files{where} can be read: {listed(skipped)}."
            ) from error
        raise


def image_names(folder: Path) -> list[str]:
    """List the image files below a folder, in natural order."""
    from PIL import Image

    formats = Image.registered_extensions()  # also those Pillow can only write
    return names_below(folder, {end for end, name in formats.items() if name in Image.OPEN})


def names_below(folder: Path, extensions: Container[str]) -> list[str]:
    """List the files below a folder that have one of the extensions, in natural order.

    Args:
        folder: an existing folder.
        extensions: extensions of the files, in lower case, with the dot.

    Returns:
        Paths relative to the folder; hidden ones are left out.
    """
    return sorted(_below(str(folder), "", extensions), key=_natural)


def _below(folder: str, prefix: str, extensions: Container[str]) -> Iterator[str]:
    """Yield the paths of the files below a folder, after a prefix, without looking into any file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, f"{prefix}{entry.name}/", extensions)
            elif os.path.splitext(entry.name)[1].lower() in extensions and not entry.is_dir():
                yield prefix + entry.name


def _labels(names: list[str], read: Sequence[str]) -> np.ndarray | None:
    """Return the numbers of the sub-folders of the images that were read; None if there are no classes.

    Sub-folders of images beyond the limit count too, so that the limit does not change the numbers.
    """
    if not all("/" in name for name in names):
        return None
    classes = sorted({name.split("/")[0] for name in names}, key=_natural)
    if len(classes) < 2:
        return None
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name.split("/")[0]] for name in read], np.int32)


def _natural(name: str) -> tuple:
    """Return a key that sorts folder by folder, and numbers by value: 2.png before 10.png."""
    # Splitting at a group puts the numbers at odd positions: text is never compared with a number.
    parts = [
        tuple(int(piece) if place % 2 else piece for place, piece in enumerate(pieces))
        for pieces in (re.split("([0-9]+)", part) for part in name.split("/"))
    ]
    # The name itself orders 1.png and 01.png.
    return (parts, name)


def _readable(
    folder: Path,
    names: list[str],
    skipped: dict[str, str],
    forms: list[convert.Form],
    look: Callable | None,
) -> Iterator[tuple[str, np.ndarray]]:
    from PIL import Image

    for name in names:
        try:
            with Image.open(folder / name) as image:
                form = convert.form(image)
                pixels = look(name, image) if look else convert.from_pil(image)
        # Pillow raises errors of many types for damaged files, struct.error included.
        except Exception as error:
            skipped[name] = f"{type(error).__name__}: {error}"
            continue
        forms.append(form)
        yield name, pixels


def warning(kind: str, skipped: dict[str, str], where: str) -> str:
    """Return a warning that names the skipped files of a kind, with the reasons."""
    return (
        f"Skipped {len(skipped)} of the {kind} files{where}, which cannot be read: {listed(skipped)}."
    )


def listed(skipped: dict[str, str]) -> str:
    """Return the first of the skipped files, with the reasons, as text."""
    first = "; ".join(f"{name} ({why})" for name, why in list(skipped.items())[:_NAMED])
    more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return printable(first + more)

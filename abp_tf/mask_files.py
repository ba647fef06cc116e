"""Read masks from files.

Stored masks mark the damaged parts of images; `abp_tf.masks` draws random masks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from abp_tf import checks, files
from abp_tf.data import LazyRows, collect, convert, folder, folder_rows, npz
from abp_tf.data.collect import Signals

if TYPE_CHECKING:
    from PIL import Image

# The lowest brightness of an observed pixel: black-and-white scans have grey edges.
WHITE = 128

# The sources of stored masks, and how they are written.
FORMS = {"folder": "folder:PATH", "npz": "npz:PATH[:KEY]"}

# The largest number of names in an error message.
_NAMED = 3


def is_stored(spec: str | None) -> bool:
    """Return whether a specification is of masks in files, not of drawn masks or None."""
    return spec is not None and spec.partition(":")[0] in FORMS


def attach(
    images: Signals,
    spec: str,
    *,
    crop: bool = True,
    limited: bool = False,
    read: Callable[..., np.ndarray] | None = None,
) -> Signals:
    """Read the masks of images, and return the images with their masks.

    Args:
        images: the images, as `abp_tf.data.load` returns them.
        spec: "folder:PATH", a folder of image files that have the names of the images, apart from the
            suffix, and are brighter than mid-grey where a pixel is observed; or "npz:PATH[:KEY]", an
            array `[n, h, w]` with a mask for each image in the order of the source, or for each
            training image. The array is bool, 0 and 1, or uint8, 128 or more where observed.
        crop: whether the centre of the images was cut out when they were resized, as in `load`.
        limited: whether the images are the first of a larger set, of which the array may hold more
            masks.
        read: function that reads a folder, with the arguments of `by_name`, the default. Kinds of
            signal that are not images have other functions in `abp_tf.signals`.

    Returns:
        The images with `train_mask`, and `test_mask` unless all masks are for training images.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if names, number, shape or values of the masks do not fit the images, or a mask
            hides a whole image; the message names it.

    Warns:
        UserWarning: if no mask hides anything.

    Example:
        >>> attach(load("folder:photos"), "folder:masks").train_mask.dtype  # doctest: +SKIP
        dtype('bool')
    """
    kind, _, argument = spec.partition(":")
    if not argument:
        raise ValueError(f"Expected masks given as {FORMS[kind]!r}, received {spec!r}.")
    train, test = places(images)
    count = len(train) + len(test)
    if kind == "folder":
        if images.names is None:
            raise ValueError(
                f"Masks in a folder, {spec!r}, are matched to images by file names, but "
                f"{images.name!r} has none. Give the masks as npz:PATH, in the order of the images."
            )
        sides = images.train.shape[1:-1]
        forms = images.forms
        if isinstance(images.train, LazyRows) and images.name.startswith("folder:"):
            forms = folder_rows.forms(images.name, images.names)
        observed = (read or by_name)(argument, images.names, sides, crop=crop, forms=forms)
    else:
        # One more tells that there are more.
        observed = _of_array(argument, images.train.shape[1:-1], count + 1 if limited else None)
        if len(observed) == len(train) < count:
            return images._replace(train_mask=_checked(_hiding(observed, spec), train, images))
        if len(observed) != count and not (limited and len(observed) > count):
            raise ValueError(
                f"Expected a mask for each of {count} images, or for each of {len(train)} training "
                f"images, received {len(observed)} in {spec!r}. {checks.POLARITY}"
            )
        _hiding(observed, spec)
    return images._replace(
        train_mask=_checked(observed[train], train, images),
        test_mask=_checked(observed[test], test, images),
    )


def places(images: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of training and of test images in the order of their source."""
    count = len(images.train)
    return images.places or (np.arange(count), count + np.arange(len(images.test)))


def by_name(
    path: str,
    names: Sequence[str],
    size: Sequence[int],
    *,
    crop: bool = True,
    forms: Sequence[convert.Form] | None = None,
) -> np.ndarray:
    """Read the masks of images from a folder, matched by file names without suffixes.

    A mask is turned as its image is, unless it has an EXIF orientation of its own, or only the
    displayed image has its size or aspect ratio.

    Args:
        path: path of the folder.
        names: file names of the images, relative to their folder.
        size: (height, width) in pixels to resize the masks to.
        crop: whether the centre is cut out if the aspect ratio changes; else masks are stretched.
        forms: the forms of the images' files; None if they are not known.

    Returns:
        Bool `[n, height, width]`, True where observed: where a mask has a brightness of 128 or more.
        Transparent parts are black.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
        ValueError: if an image has no mask or two, or a mask has neither the size nor the aspect ratio
            of its image; the message names some of these images.
    """
    height, width = size
    request = collect.Request((height, width), crop, grey=True)
    known = dict(zip(map(files.stem, names), forms, strict=True)) if forms else {}
    unfit: list[str] = []

    def look(name: str, image: Image.Image) -> np.ndarray:
        form = known.get(files.stem(name))
        if form is None:
            return convert.from_pil(image, "black")
        exif = image.getexif()
        if convert.ORIENTATION not in exif and _alike((image.height, image.width), form[:2]):
            exif[convert.ORIENTATION] = form.orientation
        pixels = convert.from_pil(image, "black")
        if not _alike(pixels.shape[:2], form.shown):
            sizes = ("x".join(map(str, sides)) for sides in (pixels.shape[:2], form.shown))
            unfit.append("{} of {} for an image of {}".format(repr(name), *sizes))
        return pixels

    found, pixels, _ = folder.read_named([Path(path).expanduser()], request, look)
    if unfit:
        raise ValueError(
            f"Expected masks of the size or aspect ratio of their images (height x width), received "
            f"{len(unfit)} others in {path!r}: {_few(unfit)}. Make each mask on its image as it is "
            "displayed."
        )
    wanted = set(map(files.stem, names))
    rows: dict[PurePath, int] = {}
    for row, name in enumerate(found):
        other = rows.setdefault(files.stem(name), row)
        if other != row and files.stem(name) in wanted:
            raise ValueError(
                f"Expected one mask for each image in {path!r}, received {found[other]!r} and {name!r} "
                "for the same one. Remove one of them."
            )
    missing = [name for name in names if files.stem(name) not in rows]
    if missing:
        spare = [name for name in found if files.stem(name) not in wanted]
        raise ValueError(
            f"Expected a mask with the name of each of {len(names)} images in {path!r}, found none for "
            f"{len(missing)}: {_few([*map(repr, missing)])}. "
            + (
                f"Masks without an image: {_few([*map(repr, spare)])}."
                if spare
                else "There are no other masks."
            )
        )
    observed = pixels[..., 0] >= WHITE
    return _hiding(observed[[rows[files.stem(name)] for name in names]], path)


def _alike(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have one aspect ratio, up to rounding."""
    return size == other or abs(size[0] * other[1] - size[1] * other[0]) < sum(other) / 2


def _of_array(argument: str, shape: tuple[int, ...], most: int | None) -> np.ndarray:
    """Return an array of masks over the spatial axes of signals, or its `most` first ones.

    Returns:
        Bool `[n, *shape]`.
    """
    form, hint = f"masks {('n', *shape)}", " Resize them to the size of the images in the model."
    values, name, *_ = npz.stored(
        argument, lambda array: array.ndim > 1, form, hint, first=lambda array: most
    )
    if values.shape[1:] == (*shape, 1):
        values = values[..., 0]
    if values.shape[1:] != shape:
        raise ValueError(f"Expected {form}, received {name} of shape {values.shape}.{hint}")
    if values.dtype == np.uint8 and values.max(initial=0) > 1:
        return values >= WHITE
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"Expected masks of bool, of 0 and 1, or of uint8 brightness, received {values.dtype} from "
            f"{values.min()} to {values.max()} in {name}. {checks.POLARITY}"
        )
    return values.astype(bool)


def _hiding(observed: np.ndarray, source: str) -> np.ndarray:
    """Return the masks of a source; warn if they hide nothing."""
    if observed.all():
        warnings.warn(
            f"Masks: nothing is hidden by any of {len(observed)} masks of {source}. {checks.POLARITY} "
            "If all is observed, leave the masks out.",
            stacklevel=4,
        )
    return observed


def _checked(observed: np.ndarray, places: np.ndarray, images: Signals) -> np.ndarray:
    """Return the masks; refuse masks that hide a whole image."""
    empty = np.flatnonzero(~observed.any(axis=tuple(range(1, observed.ndim))))
    if len(empty):
        named = [images.names[p] if images.names else f"number {p}" for p in places[empty]]
        raise ValueError(
            f"Expected masks that leave something of every image observed, received masks that hide "
            f"everything for {len(empty)} of {len(observed)}: {_few([*map(repr, named)])}. "
            f"{checks.POLARITY} White is observed. Leave out images without observed pixels."
        )
    return observed


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")

"""Masks from files: what is observed of images, as their owner knows it.

Masks are drawn at random by `abp_tf.masks`; these belong to images that are damaged already.
"""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import numpy as np

from abp_tf import checks
from abp_tf.data import collect, folder, npz
from abp_tf.data.collect import Signals

# From this brightness on a pixel is observed: a scan of black and white has greys at its edges.
WHITE = 128

# The places that masks are read from, and how they are written.
FORMS = {"folder": "folder:PATH", "npz": "npz:PATH[:KEY]"}

# How many names an error tells.
_NAMED = 3


def is_stored(spec: str | None) -> bool:
    """Tells masks that are read from files from those that are drawn, and from none."""
    return spec is not None and spec.partition(":")[0] in FORMS


def attach(
    images: Signals,
    spec: str,
    *,
    crop: bool = True,
    limited: bool = False,
    read: Callable[..., np.ndarray] | None = None,
) -> Signals:
    """Reads the masks of images, and returns the images with them.

    Args:
        images: What `abp_tf.data.load` returned.
        spec: "folder:PATH", image files with the names of those the images came from, but for the
            suffix, brighter than half grey where a pixel is observed; or "npz:PATH[:KEY]", an
            array `[n, h, w]` with a mask for each image in the order of the source, or for each
            training image, of bool, of 0 and 1, or of uint8 brighter than half where observed.
        crop: Whether the centre was cut out of images that were resized; see `load`.
        limited: Whether the images are the first of more, so that there may be more masks.
        read: Reads a folder, with the arguments of `by_name`, which is the default; of signals that
            are no images `abp_tf.signals` has others.

    Returns:
        The images with `train_mask`, and `test_mask` unless all masks are for training images.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If names, number, shape or values of the masks do not fit the images, or
            nothing is observed of one of them; it is named.

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
                f"Masks of {spec!r} belong to images by the names of their files, but "
                f"{images.name!r} has none. Give the masks as npz:PATH, in the order of the images."
            )
        sides = images.train.shape[1:-1]
        observed = (read or by_name)(argument, images.names, sides, crop=crop)
    else:
        observed = _of_array(argument, images.train.shape[1:-1])
        if len(observed) == len(train) < count:
            return images._replace(train_mask=_checked(observed, train, images))
        if len(observed) != count and not (limited and len(observed) > count):
            raise ValueError(
                f"Expected a mask for each of {count} images, or for each of {len(train)} training "
                f"images, received {len(observed)} in {spec!r}. {checks.POLARITY}"
            )
    return images._replace(
        train_mask=_checked(observed[train], train, images),
        test_mask=_checked(observed[test], test, images),
    )


def places(images: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Tells where training and test images stood in the order of their source."""
    count = len(images.train)
    return images.places or (np.arange(count), count + np.arange(len(images.test)))


def by_name(path: str, names: Sequence[str], size: tuple[int, int], *, crop: bool = True) -> np.ndarray:
    """Reads from a folder the masks of images of these names, suffixes apart.

    Args:
        path: Of the folder.
        names: Of the images, relative to their folder.
        size: (height, width) the masks are brought to.
        crop: Whether the centre is cut out where the aspect ratio changes; else masks are
            stretched.

    Returns:
        Bool `[n, height, width]`, True where observed: where a mask is brighter than half grey.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If an image has no mask; some are named.
    """
    place = Path(path).expanduser()
    found, pixels = folder.read_named([place], collect.Request(tuple(size), crop, grey=True))
    rows = {_stem(name): place for place, name in enumerate(found)}
    missing = [name for name in names if _stem(name) not in rows]
    if missing:
        known = {_stem(name) for name in names}
        spare = [name for name in found if _stem(name) not in known]
        raise ValueError(
            f"Expected a mask for each of {len(names)} images by their names in {path!r}, found none "
            f"for {len(missing)}: {_few(missing)}. "
            + (f"Masks of no image are {_few(spare)}." if spare else "There are no other masks.")
        )
    observed = pixels[..., 0] >= WHITE
    return observed[[rows[_stem(name)] for name in names]]


def _of_array(argument: str, shape: tuple[int, ...]) -> np.ndarray:
    """Reads an array of masks over the spatial axes of signals; returns bool `[n, *shape]`."""
    form, hint = f"masks {('n', *shape)}", " Bring them to the size that images have in the model."
    values, name, _ = npz.stored(argument, lambda array: array.ndim > 1, form, hint)
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


def _checked(observed: np.ndarray, places: np.ndarray, images: Signals) -> np.ndarray:
    """Refuses masks that hide an image wholly."""
    empty = np.flatnonzero(~observed.any(axis=tuple(range(1, observed.ndim))))
    if len(empty):
        named = [images.names[p] if images.names else f"number {p}" for p in places[empty]]
        raise ValueError(
            f"Expected masks that show something of every image, but nothing is observed of "
            f"{len(empty)} of {len(observed)}: {_few(named)}. {checks.POLARITY} White is observed. "
            "Take images out of which nothing is known."
        )
    return observed


def _stem(name: str) -> PurePath:
    return PurePath(name).with_suffix("")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(map(repr, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")

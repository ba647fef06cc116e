"""Load textures by the name of their source: `load_texture`."""

from functools import partial
from pathlib import Path

import numpy as np

from abp_tf import checks, extras
from abp_tf.data import clips, collect, convert, npz

TEXTURE_SOURCES_HELP: dict[str, str] = {
    "brick": "brick: a brick wall, of scikit-image, grey, 512x512",
    "grass": "grass: of scikit-image, grey, 512x512",
    "gravel": "gravel: of scikit-image, grey, 512x512",
    "texture": "texture:PATH: one photograph",
    "npz": "npz:PATH[:KEY]: an array of photographs in a NumPy file, uint8 or floats in [-1, 1]",
}


def load_texture(
    spec: str,
    *,
    size: int | tuple[int, int] | None = None,
    crop: int | tuple[int, int] | None = None,
    count: int = 100,
    grey: bool | None = None,
    item: int | None = None,
    seed: int = 0,
    missing: bool = False,
) -> collect.Signals:
    """Load a texture by name as float32 `[n, h, w, c]` in [-1, 1]: whole, or random crops of it.

    A texture is learned from one photograph, so there is no test set.

    Args:
        spec: "brick", "grass", "gravel", "texture:PATH" or "npz:PATH[:KEY]".
        size: side of a square or (height, width) in pixels to resize the photograph to, its centre cut
            out if the aspect ratio changes; None keeps its size. It sets the scale of the texture.
        crop: side of a square or (height, width) of the crops; None takes the photograph whole.
        count: number of crops; several photographs are used in turn.
        grey: True turns colour into grey (ITU-R 601), False repeats grey in three channels, None
            keeps grey or colour.
        item: number of the one photograph to use, of an array of several; None for all.
        seed: seed of the random positions of the crops.
        missing: whether arrays of floats may hold NaN in entries that a mask hides.

    Returns:
        The texture as `train`; `test` has no examples.

    Raises:
        ImportError: if a package that the source needs is missing.
        OSError: if files are missing.
        ValueError: if an argument is out of range, the source is unknown, the file is no image, or
            the photograph is smaller than a crop.

    Example:
        >>> load_texture("brick", size=112, crop=64, count=10).train.shape
        (10, 64, 64, 1)
    """
    readers = {
        **{name: partial(_embedded, name) for name in ("brick", "grass", "gravel")},
        "texture": _from_file,
        "npz": _from_npz,
    }
    read, argument = collect.find(spec, readers, TEXTURE_SOURCES_HELP)
    checks.integer("load_texture", "count", count, 1)
    found = read(argument, item, missing)
    named = ((f"photograph {number}", photo) for number, photo in enumerate(found))
    photos = collect.stack(named, collect.Request(collect.pair(size), True, grey))
    if crop is not None:
        photos = _crops(photos, collect.pair(crop), count, seed)
    train = convert.to_signals(photos)
    return collect.Signals(train, train[:0], spec, kind="texture")


def _crops(photos: np.ndarray, sides: tuple[int, int], count: int, seed: int) -> np.ndarray:
    spare = [have - want for have, want in zip(photos.shape[1:3], sides, strict=True)]
    if min(spare) < 0:
        raise ValueError(
            f"Expected a photograph of at least {sides[0]}x{sides[1]} pixels, as large as a crop, "
            f"received {photos.shape[1]}x{photos.shape[2]}. Lower crop, or raise size."
        )
    # NumPy guarantees the stream of RandomState; that of its newer generators may change.
    random = np.random.RandomState(seed)
    places = np.stack([random.randint(side + 1, size=count) for side in spare], axis=1)
    return np.stack(
        [
            photos[number % len(photos)][top : top + sides[0], left : left + sides[1]]
            for number, (top, left) in enumerate(places)
        ]
    )


def _embedded(name: str, argument: str, item: int | None, missing: bool) -> list[np.ndarray]:
    collect.refuse_argument(name, argument)
    _refuse_item(item)
    with extras.needed("demo"):
        from skimage import data
    return [getattr(data, name)()[..., None]]


def _from_file(argument: str, item: int | None, missing: bool) -> list[np.ndarray]:
    from PIL import Image

    _refuse_item(item)
    if not argument:
        raise ValueError("Expected a path, as in 'texture:wall.jpg', received 'texture:'.")
    path = Path(argument).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a photograph, but there is no file {str(path)!r}.")
    try:
        with Image.open(path) as image:
            return [convert.from_pil(image)]
    # Pillow raises errors of many types for damaged files, struct.error included.
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as an image: {error}. Save it as PNG or JPEG."
        ) from error


def _from_npz(argument: str, item: int | None, missing: bool) -> list[np.ndarray]:
    form = "photographs [h, w], [n, h, w] or [n, h, w, c] with 1 or 3 channels"
    rows = clips.leading(item, None)
    array, name, *_ = npz.stored(
        argument, _is_photos, form, first=lambda one: rows if one.ndim > 2 else None
    )
    array = npz.checked(array, name, missing)
    array = array[None] if array.ndim == 2 else array
    array = array[..., None] if array.ndim == 3 else array
    return list(clips.chosen(array, item, name)[0])


def _is_photos(array: np.ndarray) -> bool:
    return array.dtype.kind in "uf" and npz.is_pixels(array, (2, 3, 4))


def _refuse_item(item: int | None) -> None:
    if item is not None:
        raise ValueError(f"Expected item only for an array of photographs, received item={item}.")

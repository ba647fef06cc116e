"""Images by name: `load` and the sources it knows."""

from collections.abc import Callable

import numpy as np

from abp_tf.data import collect, convert, digits, faces, folder, npz, tfds

# Each reads what follows its name and a colon.
SOURCES: dict[str, Callable[[str, collect.Request], collect.Pixels]] = {
    "digits": digits.read,
    "faces": faces.read,
    "nonfaces": faces.read_nonfaces,
    "tfds": tfds.read,
    "folder": folder.read,
    "npz": npz.read,
}

# One line about each, for the help of programs.
SOURCES_HELP: dict[str, str] = {
    "digits": "digits: 1797 handwritten digits of scikit-learn, grey, 16x16",
    "faces": "faces: 100 faces of scikit-image, grey, 32x32",
    "nonfaces": "nonfaces: 100 patches without one",
    "tfds": "tfds:NAME: images of TensorFlow Datasets, such as fashion_mnist or lsun/bedroom",
    "folder": "folder:PATH: image files in and below a folder",
    "npz": "npz:PATH[:KEY]: an array, uint8 or floats in [-1, 1]",
}


def load(
    spec: str,
    *,
    size: int | tuple[int, int] | None = None,
    crop: bool = True,
    grey: bool | None = None,
    limit: int | None = None,
    test_share: float = 0.1,
    data_dir: str | None = None,
    missing: bool = False,
) -> collect.Signals:
    """Loads images by name as float32 `[n, h, w, c]` in [-1, 1], split for training and testing.

    The last images are the test set, except where the order may mean classes (`folder`: a fixed
    random choice, both parts in the order of paths) and where the source has its own (`tfds`).

    Labels come along where there are any: the digits themselves; the integer feature "label" of
    `tfds`; the array `labels` of `npz`; the sub-folders of `folder`, numbered in their order, if
    every image lies in one and there are at least two.

    Args:
        spec: Name of a source, followed by a colon and its argument where it takes one: "digits",
            "faces", "nonfaces", "tfds:NAME", "folder:PATH" or "npz:PATH[:KEY]".
        size: Side of a square or (height, width) in pixels; None for the default of the source:
            16 for digits, 32 for faces and nonfaces, the size they have for all others.
        crop: Whether to cut out the centre where the aspect ratio changes; else images are
            stretched.
        grey: True turns colour into grey (ITU-R 601), False repeats grey in three channels, None
            keeps what there is; images of both kinds become colour.
        limit: Number of images to read, the first in order, before the split; of a source with
            its own test set, the number from each.
        test_share: Share in [0, 1) of the images to keep for testing, rounded to whole images; 0
            for none. A test set of the source's own is taken whole.
        data_dir: Where TensorFlow Datasets keeps its files; None for its default.
        missing: Whether arrays of floats may hold NaN, where masks will tell what is observed.

    Returns:
        The images, with the files that were skipped and with labels where there are any.

    Raises:
        ImportError: If the source needs a package that is missing.
        OSError: If files are missing or data cannot be fetched.
        ValueError: If an argument is out of range, the source is unknown, it holds no usable
            images, their sizes differ and `size` is None, no image is left for training, or labels
            are not one integer for each image.

    Example:
        >>> images = load("digits", limit=100)
        >>> images.train.shape, images.test.shape
        ((90, 16, 16, 1), (10, 16, 16, 1))
    """
    read, argument = collect.find(spec, SOURCES, SOURCES_HELP)
    collect.check_limit(limit)
    collect.check_share(test_share)
    sides = collect.pair(size)
    request = collect.Request(sides, crop, grey, limit, test_share > 0, data_dir, missing)
    pixels = read(argument, request)
    if pixels.test is None:
        pixels = collect.cut(pixels, test_share, spec)
    else:
        count = len(pixels.train)
        pixels = pixels._replace(places=(np.arange(count), count + np.arange(len(pixels.test))))
    return collect.Signals(
        convert.to_signals(pixels.train),
        convert.to_signals(pixels.test),
        spec,
        pixels.skipped,
        pixels.labels,
        pixels.test_labels,
        names=pixels.names,
        places=pixels.places,
    )

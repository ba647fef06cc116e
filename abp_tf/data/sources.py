"""Load images by the name of their source: `load`, and the list of sources."""

from collections.abc import Callable

import numpy as np

from abp_tf.data import collect, convert, digits, faces, folder, npz, tfds
from abp_tf.data.lazy import mapped

# Each reader takes the text after the name and a colon.
SOURCES: dict[str, Callable[[str, collect.Request], collect.Pixels]] = {
    "digits": digits.read,
    "faces": faces.read,
    "nonfaces": faces.read_nonfaces,
    "tfds": tfds.read,
    "folder": folder.read,
    "npz": npz.read,
}

# One line about each source, for the help of programs.
SOURCES_HELP: dict[str, str] = {
    "digits": "digits: 1797 handwritten digits of scikit-learn, grey, 16x16",
    "faces": "faces: 100 faces of scikit-image, grey, 32x32",
    "nonfaces": "nonfaces: 100 patches without faces",
    "tfds": "tfds:NAME: images of TensorFlow Datasets, such as fashion_mnist",
    "folder": "folder:PATH: images in and below a folder",
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
    lazy: bool | None = False,
) -> collect.Signals:
    """Load images by name as float32 `[n, h, w, c]` in [-1, 1], split for training and testing.

    The last images are the test set, with two exceptions. Images of `folder` may be sorted by class:
    a fixed random choice of them is the test set, and both parts keep the order of paths. `tfds` may
    have a test set of its own.

    Labels are loaded if there are any: the digits; the integer feature "label" of `tfds`; the array
    `labels` of `npz`; the sub-folders of `folder`, numbered in their order, if every image lies in one
    and there are at least two.

    Args:
        spec: name of a source, followed by a colon and its argument if it takes one: "digits",
            "faces", "nonfaces", "tfds:NAME", "folder:PATH" or "npz:PATH[:KEY]".
        size: side of a square or (height, width) in pixels; None for the default of the source:
            16 for digits, 32 for faces and nonfaces, the stored size for all others.
        crop: whether to cut out the centre if the aspect ratio changes; else images are stretched.
        grey: True turns colour into grey (ITU-R 601), False repeats grey in three channels, None
            keeps grey and colour; if there are images of both, all become colour.
        limit: number of images to read, the first in order, before the split; None for all. If the
            source has a test set of its own, so many are read from each set.
        test_share: share in [0, 1) of the images to keep for testing, rounded to whole images; 0
            for none. A test set of the source's own is used whole.
        data_dir: folder where TensorFlow Datasets keeps its files; None for its default.
        missing: whether arrays of floats may hold NaN in entries that a mask hides.
        lazy: True lists the images of a folder alone, and reads them when they are needed: `train` and
            `test` are `abp_tf.data.LazyRows`, which `fit` takes as it takes arrays, with the same
            result. False reads all of them now. None is True for folders of more than 100 000 images,
            or more than 1 GiB of them as float32. All images must have the number of channels of the
            first one, or fewer, and its size or `size`. An image that cannot be read is no longer
            skipped, but an error that names it, when it is needed.

    Returns:
        The images, with the names of the skipped files, and with labels if there are any.

    Raises:
        ImportError: if a package that the source needs is missing.
        OSError: if files are missing or data cannot be downloaded.
        ValueError: if an argument is out of range, the source is unknown, it holds no usable
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
    if lazy and read is not folder.read:
        raise ValueError(f"`lazy` expected a folder, folder:PATH, received {spec!r}. Leave it out.")
    request = collect.Request(sides, crop, grey, limit, test_share > 0, data_dir, missing, lazy)
    pixels = read(argument, request)
    if pixels.test is None:
        pixels = collect.cut(pixels, test_share, spec)
    return collect.Signals(
        mapped(pixels.train, convert.to_signals, dtype=np.float32),
        mapped(pixels.test, convert.to_signals, dtype=np.float32),
        spec,
        pixels.skipped,
        pixels.labels,
        pixels.test_labels,
        names=pixels.names,
        places=pixels.places,
        forms=pixels.forms,
    )

"""Image data sets of TensorFlow Datasets."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from abp_tf import checks, extras
from abp_tf.data import collect, convert

# Name of the feature that holds the class of an image.
_LABEL = "label"


def read(argument: str, request: collect.Request) -> collect.Pixels:
    """Read an image data set of TensorFlow Datasets, and prepare it first if necessary.

    Args:
        argument: name as TensorFlow Datasets writes it, with a configuration or a version if there is
            one: `mnist`, `lsun/bedroom`, `mnist:3.0.1`.
        request: size, crop, colour and limit; the limit applies to each split, in the order of
            storage.

    Returns:
        uint8 `[n, h, w, c]`; with a test set if the data set has a split "test", and with labels if
        it has an integer feature "label".

    Raises:
        ImportError: if preparing the data set needs a package that is missing.
        OSError: if the data are not prepared and cannot be downloaded.
        ValueError: if there is no such data set, or it has no image.
    """
    with extras.needed("datasets"):
        import tensorflow_datasets

    if not argument:
        raise ValueError("Expected a name, as in 'tfds:fashion_mnist', received 'tfds:'.")
    try:
        builder = tensorflow_datasets.builder(argument, data_dir=request.data_dir)
    except tensorflow_datasets.core.DatasetNotFoundError as error:
        raise ValueError(
            f"TensorFlow Datasets has no data set {argument!r}, neither built in nor prepared in "
            f"{request.data_dir or 'its default folder'}. Names are listed at "
            "https://www.tensorflow.org/datasets/catalog."
        ) from error
    except ImportError as error:
        raise _missing_package(argument, error) from error
    except ValueError as error:
        raise ValueError(f"TensorFlow Datasets refused the name {argument!r}: {error}") from error
    key = _image_key(argument, builder.info.features)
    _prepare(argument, builder)

    train, test = _splits(argument, list(builder.info.splits))
    train_pixels, labels = _read_split(argument, builder, train, key, request)
    if test is None:
        return collect.Pixels(train_pixels, labels=labels)
    if not request.test:
        none = None if labels is None else labels[:0]
        return collect.Pixels(train_pixels, train_pixels[:0], labels=labels, test_labels=none)
    test_pixels, test_labels = _read_split(argument, builder, test, key, request)
    if test_pixels.shape[1:] != train_pixels.shape[1:]:
        raise ValueError(
            f"Expected train and test images of one shape, received {train_pixels.shape[1:]} and "
            f"{test_pixels.shape[1:]} in {argument!r}. Give size and grey."
        )
    return collect.Pixels(train_pixels, test_pixels, labels=labels, test_labels=test_labels)


def _image_key(name: str, features: Any) -> str:
    from tensorflow_datasets import features as kinds

    found = [
        key
        for key, feature in (features.items() if isinstance(features, kinds.FeaturesDict) else ())
        if isinstance(feature, kinds.Image) and not isinstance(feature, kinds.LabeledImage)
    ]
    if "image" in found:
        return "image"
    if len(found) != 1:
        raise ValueError(
            f"Expected a data set with one image per example, received {name!r}, whose images are "
            f"{found or 'none'} and whose features are {list(features)}."
        )
    return found[0]


def _has_labels(features: Any) -> bool:
    from tensorflow_datasets import features as kinds

    label = features[_LABEL] if _LABEL in features else None  # FeaturesDict has no get()
    return (
        isinstance(label, kinds.Tensor)  # ClassLabel and Scalar are subclasses
        and label.shape == ()
        and np.issubdtype(label.np_dtype, np.integer)
    )


def _prepare(name: str, builder: Any) -> None:
    try:
        builder.download_and_prepare()
    except ImportError as error:
        raise _missing_package(name, error) from error
    # Downloads, archives and the code of data sets raise errors of many types.
    except Exception as error:
        raise OSError(
            f"The data of {name!r} are not in {str(builder.data_path)!r} and could not be downloaded "
            f"({type(error).__name__}: {error}). Check the network, or give the folder they were "
            "prepared in as data_dir."
        ) from error


def _missing_package(name: str, error: ImportError) -> ImportError:
    return ImportError(
        f"Preparing {name!r} needs the package {error.name!r}, which is missing: pip install "
        f"{error.name} ({error})",
        name=error.name,
    )


def _splits(name: str, splits: list[str]) -> tuple[str, str | None]:
    """Return the names of the splits for training and for testing, None if there is no test split."""
    if not splits or "train" in splits:
        return "train", "test" if "test" in splits else None
    if len(splits) == 1:
        return splits[0], None
    raise ValueError(f"Expected a data set with a split 'train', received {name!r} with {splits}.")


def _read_split(
    name: str, builder: Any, split: str, key: str, request: collect.Request
) -> tuple[np.ndarray, np.ndarray | None]:
    import tensorflow_datasets

    labelled = _has_labels(builder.info.features)
    wanted = [key, _LABEL] if labelled else [key]
    try:
        dataset = builder.as_dataset(
            split=split,
            # Decode only these features.
            decoders=tensorflow_datasets.decode.PartialDecoding(dict.fromkeys(wanted, True)),
            # One file after another keeps the order of storage and opens no file too early. The
            # data are read once, so there is nothing to cache.
            read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
    # TensorFlow Datasets raises this if the data are missing.
    except AssertionError as error:
        raise FileNotFoundError(
            f"The data of {name!r} are not in {str(builder.data_path)!r}: {error}"
        ) from error
    labels: list[int] = []
    pixels = collect.stack(_pixels(name, dataset, key, labels if labelled else None), request)
    where = f" of the split {split!r} of {name!r}"
    return pixels, checks.labels(labels, len(pixels), where) if labelled else None


def _pixels(
    name: str, dataset: Any, key: str, labels: list[int] | None
) -> Iterator[tuple[str, np.ndarray]]:
    from PIL import Image

    for place, example in enumerate(dataset.as_numpy_iterator()):
        if labels is not None:
            labels.append(example[_LABEL])
        array = example[key]
        if array.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"Expected images of 8 or 16 bits, received {array.dtype} in {name!r}. Save them "
                "as floats in [-1, 1] and read them with npz:PATH."
            )
        if array.dtype == np.uint16:
            array = np.rint(array / 257).astype(np.uint8)
        image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        yield f"image {place}", convert.from_pil(image)

"""Where features for the distances of `abp_tf.metrics` come from: networks that see images.

Distances by the features of a classifier trained on the spot can be compared with those by the
same classifier only. The Fréchet distance by the features of `inception`, and only that, may be
called FID.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks, data, files
from abp_tf.data import examples

# What convolutions of the classifier reduce height and width to, at least.
_SMALLEST = 8

_INCEPTION_SIDE = 299


class Extractor:
    """A function from images to the features a network makes of them.

    Args:
        network: from prepared images to features `[n, d]`.
        prepare: from some of the images to what the network takes, or an error; it also decides
            which images are welcome.
        batch_size: images that pass through the network at once.
        accuracy: of the classifier the network is part of, on images it was not trained on.

    Attributes:
        accuracy: as above; None if the network is no classifier trained here.
    """

    def __init__(
        self,
        network: keras.Model,
        prepare: Callable[[np.ndarray], np.ndarray | tf.Tensor],
        batch_size: int = 500,
        accuracy: float | None = None,
    ):
        self.accuracy = accuracy
        self._prepare = prepare
        self._batch_size = batch_size
        # One trace for batches of any size.
        self._network = tf.function(
            functools.partial(network, training=False),
            input_signature=[tf.TensorSpec(network.input_shape, tf.float32)],
            autograph=False,
        )

    def __call__(self, images: ArrayLike) -> np.ndarray:
        """Return the features of images.

        Args:
            images: floats `[n, h, w, c]`, as `abp_tf.data.load` scales them.

        Returns:
            float32 `[n, d]`.

        Raises:
            ValueError: other dtype or shape, no image, or values that are not finite.
        """
        images = np.asarray(images)
        starts = range(0, max(len(images), 1), self._batch_size)
        parts = (self._prepare(images[start : start + self._batch_size]) for start in starts)
        return np.concatenate([self._network(part).numpy() for part in parts])


def classifier(
    images: np.ndarray,
    labels: np.ndarray,
    directory: str | os.PathLike | None = None,
    seed: int = 0,
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    epochs: int = 11,
    batch_size: int = 100,
    verbose: int = 0,
) -> Extractor:
    """Train a small ConvNet classifier and return the 64 features before its decision.

    Convolutions of stride 2, a dense layer of 64 ReLU units, which are the features, and a dense
    layer of as many units as there are classes; Adam. It computes in float32 and leaves Keras's
    random state as it is.

    Args:
        images: float32 `[n, h, w, c]` in [-1, 1], such as `abp_tf.data.load(...).train`.
        labels: integers `[n]` from 0, such as `abp_tf.data.load(...).train_labels`.
        directory: where the classifier is kept and, for the same images, labels and settings,
            found again; None trains it each time.
        seed: of the initial weights, the order of the images, and the choice of those held out.
        held_out: images and labels to measure the accuracy on; None keeps a tenth of `images`
            out of the training for it.
        epochs: how often the classifier sees each image.
        batch_size: images per training step.
        verbose: what Keras shows of the training: 0 nothing, 1 a bar, 2 a line per epoch.

    Returns:
        An `Extractor` of features `[n, 64]`, with the accuracy on the held-out images.

    Raises:
        ValueError: images or labels are not as above, or of one class only.

    Example:
        >>> digits = abp_tf.data.load("digits", limit=300)
        >>> extract = classifier(digits.train, digits.train_labels, epochs=2)
        >>> extract(digits.test).shape
        (30, 64)
    """
    images, labels = _labelled(images, labels, np.shape(images)[1:])
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"Labels: expected at least two classes, received class {labels[0]} alone. Give images of "
            "others too."
        )
    classes = int(labels.max()) + 1
    if held_out is None:
        order = np.random.default_rng(seed).permutation(len(images))
        out, kept = np.split(order, [math.ceil(len(images) / 10)])
        held_out = images[out], labels[out]
        images, labels = images[kept], labels[kept]
    held_out = _labelled(*held_out, images.shape[1:])

    def train() -> keras.Model:
        return _trained(images, labels, classes, seed, epochs, batch_size, verbose)

    if directory is None:
        network = train()
    else:
        # The name tells all that the weights depend on, so that nothing stale is found.
        settings = repr((images.shape, classes, seed, epochs, batch_size)).encode()
        digest = examples.digest(settings, images, labels)
        path = Path(directory) / f"classifier-{digest[:16]}.keras"
        if not path.exists():
            with files.aside(path) as temporary:
                train().save(temporary)
        network = keras.models.load_model(path)

    prepare = functools.partial(checks.signals, shape=images.shape[1:], value_range=None)
    decisions = Extractor(network, prepare)(held_out[0]).argmax(axis=1)
    with _float32():
        features = keras.Model(network.inputs, network.get_layer("features").output)
    return Extractor(features, prepare, accuracy=float((decisions == held_out[1]).mean()))


def _labelled(images, labels, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if labels is None:
        raise ValueError(
            "Labels: expected one integer for each image, received None. Take a source that has "
            "labels, or `inception` for features without any."
        )
    if len(shape) != 3:
        raise ValueError(f"Images: expected shape ('n', h, w, c), received {('n', *shape)}.")
    images = checks.signals(images, shape, (-1, 1))
    labels = checks.labels(labels, len(images))
    if labels.min() < 0:
        raise ValueError(
            f"Labels: expected numbers from 0, received {labels.min()}. Leave out images without a "
            "class: `images[labels >= 0]`."
        )
    return images, labels


def _trained(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    epochs: int,
    batch_size: int,
    verbose: int,
) -> keras.Model:
    layers = keras.layers
    depth = max(2, math.ceil(math.log2(max(images.shape[1:3]) / _SMALLEST)))
    # Seeds of their own for all layers: Keras's global one is the caller's.
    draws = np.random.SeedSequence(seed).generate_state(depth + 2)
    initial = iter([keras.initializers.GlorotUniform(int(draw)) for draw in draws])
    with _float32():
        network = keras.Sequential([keras.Input(images.shape[1:])])
        for width in (32, *[64] * (depth - 1)):
            conv = layers.Conv2D(
                width, 3, 2, padding="same", activation="relu", kernel_initializer=next(initial)
            )
            network.add(conv)
        network.add(layers.Flatten())
        network.add(
            layers.Dense(64, activation="relu", kernel_initializer=next(initial), name="features")
        )
        network.add(layers.Dense(classes, kernel_initializer=next(initial)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, metrics=["accuracy"], jit_compile=False)
    random = np.random.default_rng(seed)
    for epoch in range(epochs):
        # Shuffled here, because Keras would do so by its global seed.
        order = random.permutation(len(images))
        network.fit(
            images[order],
            labels[order],
            batch_size=batch_size,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            verbose=verbose,
        )
    return network


def inception(weights: str | os.PathLike) -> Extractor:
    """Return the 2048 pooled features of InceptionV3, by which the Fréchet distance is called FID.

    Images are clipped and rounded to 8 bits, as those in files are, grey is repeated in three
    channels, and height and width become 299 by bilinear interpolation without antialiasing
    (Heusel et al., 2017). `keras.applications.InceptionV3` has weights of its own: compare
    with figures by the same file only. FID is for thousands of images; it takes a CPU long.

    Args:
        weights: file of the weights of `keras.applications.InceptionV3(include_top=False)`.
            Nothing is downloaded.

    Returns:
        An `Extractor` of features `[n, 2048]` from images of any size with 1 or 3 channels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no such weights.

    Example:
        >>> extract = inception("inception_v3.weights.h5")  # doctest: +SKIP
        >>> fid = abp_tf.metrics.frechet_distance(extract(samples), extract(images))  # doctest: +SKIP
    """
    path = Path(weights).expanduser()
    remedy = (
        "Make one where there is a network: keras.applications.InceptionV3(include_top=False)"
        '.save_weights("inception_v3.weights.h5").'
    )
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file with weights of InceptionV3, but there is no file {str(path)!r}. {remedy}"
        )
    with _float32(), warnings.catch_warnings():
        # Keras warns, and leaves layers at random, where a file lacks their weights.
        warnings.simplefilter("error", UserWarning)
        try:
            network = keras.applications.InceptionV3(
                include_top=False,
                weights=str(path),
                input_shape=(_INCEPTION_SIDE, _INCEPTION_SIDE, 3),
                pooling="avg",
            )
        except (ValueError, OSError, UserWarning) as error:
            raise ValueError(
                f"Expected weights of InceptionV3 without its top, but {str(path)!r} does not hold "
                f"them ({error}). {remedy}"
            ) from error
    return Extractor(network, _for_inception, batch_size=32)


def _for_inception(images: np.ndarray) -> tf.Tensor:
    shape = images.shape[1:]
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            f"Expected images [n, h, w, c] with 1 or 3 channels, received shape {images.shape}."
        )
    pixels = data.to_uint8(checks.signals(images, shape, None))
    if shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    resized = tf.image.resize(pixels, (_INCEPTION_SIDE, _INCEPTION_SIDE), antialias=False)
    return keras.applications.inception_v3.preprocess_input(resized)


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Make layers compute in float32, whatever the policy: distances are small differences."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)

"""Features of images for the distances of `abp_tf.metrics`, computed by networks.

Compare distances by the features of `classifier` only with distances by the same classifier. Only the
Fréchet distance by the features of `inception` may be called FID.
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

# The convolutions of the classifier reduce height and width to this or less.
_SMALLEST = 8

_INCEPTION_SIDE = 299


class Extractor:
    """A function that computes the features of images with a network.

    Args:
        network: a network from prepared images to features `[n, d]`.
        prepare: function that converts a batch of images to the input of the network; it raises
            ValueError for images that the network cannot have.
        batch_size: number of images that the network computes at once.
        accuracy: accuracy of the classifier that the network is part of, on images it was not trained
            on; None if there is no classifier.

    Attributes:
        accuracy: the argument `accuracy`.
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
            ValueError: if dtype or shape are different, there is no image, or values are not finite.
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
    """Train a small ConvNet classifier and return the 64 features before its last layer.

    The network has convolutions of stride 2, a dense layer of 64 ReLU units, which are the features,
    and a dense layer with one unit per class. It is trained with Adam in float32. Keras's random state
    does not change.

    Args:
        images: float32 `[n, h, w, c]` in [-1, 1], such as `abp_tf.data.load(...).train`.
        labels: integers `[n]` from 0, such as `abp_tf.data.load(...).train_labels`.
        directory: folder in which the classifier is stored and, for the same images, labels and
            settings, found again; None trains it each time.
        seed: seed of the initial weights, the order of the images, and the choice of those held out.
        held_out: images and labels to measure the accuracy on; None holds a tenth of `images` out.
        epochs: number of passes over the images.
        batch_size: number of images per training step.
        verbose: progress that Keras prints: 0 nothing, 1 a bar, 2 a line per epoch.

    Returns:
        An `Extractor` of features `[n, 64]`, with the accuracy on the held-out images.

    Raises:
        ValueError: if images or labels have another form, or there is only one class.

    Example:
        >>> digits = abp_tf.data.load("digits", limit=300)
        >>> extract = classifier(digits.train, digits.train_labels, epochs=2)
        >>> extract(digits.test).shape
        (30, 64)
    """
    images, labels = _labelled(images, labels, np.shape(images)[1:])
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"Labels: expected at least two classes, received class {labels[0]} only. Give images of "
            "other classes too."
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
        # The name has a digest of all that the weights depend on, so that no stale file is found.
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
            "Labels: expected one integer for each image, received None. Use a source with labels, "
            "or `inception`, which needs none."
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
    # Each layer has its own seed, so that Keras's global random state does not change.
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
        # Shuffled here, because Keras would use its global random state.
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
    """Return an extractor of the 2048 pooled features of InceptionV3, for the FID.

    Images are clipped and rounded to 8 bits, as image files are. Grey is repeated in three channels.
    Height and width become 299 by bilinear interpolation without antialiasing (Heusel et al., 2017).
    The weights of `keras.applications.InceptionV3` differ from those of other implementations: compare
    only distances by the same file. FID needs thousands of images, which takes long on a CPU.

    Args:
        weights: file of the weights of `keras.applications.InceptionV3(include_top=False)`.
            Nothing is downloaded.

    Returns:
        An `Extractor` of features `[n, 2048]` from images of any size with 1 or 3 channels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no such weights.

    Example:
        >>> extract = inception("inception_v3.weights.h5")  # doctest: +SKIP
        >>> fid = abp_tf.metrics.frechet_distance(extract(samples), extract(images))  # doctest: +SKIP
    """
    path = Path(weights).expanduser()
    remedy = (
        "Make one on a machine with internet access: keras.applications.InceptionV3(include_top=False)"
        '.save_weights("inception_v3.weights.h5").'
    )
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file with weights of InceptionV3, but there is no file {str(path)!r}. {remedy}"
        )
    with _float32(), warnings.catch_warnings():
        # Keras only warns, and keeps random weights, if a file lacks the weights of a layer.
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
    """Make new layers compute in float32, because distances are small differences."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)

"""Load Fashion-MNIST with its labels, and measure distances by features of a classifier."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import metrics
from abp_tf.metrics import features

TRAIN = 9000  # of 10 000; the other 1 000 are the test set


class Labelled(NamedTuple):
    """Hold images with their labels.

    Attributes:
        train: float32 `[n, 28, 28, 1]` in [-1, 1].
        test: likewise.
        labels: int32 `[n]`, of the training images.
        test_labels: int32 `[n]`, of the test images.
    """

    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    test_labels: np.ndarray


def load() -> Labelled:
    """Load the first 10 000 training images, from $ABP_TF_DATA or by tensorflow-datasets."""
    folder = os.environ.get("ABP_TF_DATA")
    if folder:
        with np.load(Path(folder) / "fashion_mnist_train10k.npz") as stored:
            images, labels = stored["images"], stored["labels"]
    else:
        import tensorflow_datasets as tfds

        stored = tfds.as_numpy(tfds.load("fashion_mnist", split="train[:10000]", batch_size=-1))
        images, labels = stored["image"][..., 0], stored["label"]
    images = (images[..., None] / 127.5 - 1).astype(np.float32)
    labels = labels.astype(np.int32)
    return Labelled(images[:TRAIN], images[TRAIN:], labels[:TRAIN], labels[TRAIN:])


def extractor(data: Labelled, directory: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Train a small classifier once, and return its function of 64 features before the logits.

    Args:
        data: images and labels.
        directory: directory where the classifier is stored.

    Returns:
        A function from images `[n, 28, 28, 1]` to features `[n, 64]`.
    """
    extract = features.classifier(
        data.train, data.labels, directory, held_out=(data.test, data.test_labels)
    )
    print(f"accuracy of the classifier on {len(data.test)} test images: {extract.accuracy:.1%}")
    return extract


def yardsticks(data: Labelled, extract: Callable) -> dict[str, float]:
    """Return distances of simple alternatives, for comparison."""
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    target = extract(data.test)
    padded = np.pad(data.test, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    blurred = sum(padded[:, i : i + 28, j : j + 28] for i in range(3) for j in range(3)) / 9
    pca = PCA(60).fit(data.train.reshape(TRAIN, -1))
    latent = random.normal(size=(2000, 60)) * np.sqrt(pca.explained_variance_)
    gaussian = np.clip(pca.inverse_transform(latent), -1, 1).reshape(-1, 28, 28, 1)
    noisy = data.test + 0.1 * random.normal(size=data.test.shape)
    others = {
        "2 000 training images": data.train[:2000],
        "test images + N(0, 0.1^2)": noisy,
        "test images blurred 3x3": blurred,
        "Gaussian on 60 principal components": gaussian,
    }
    return {
        name: metrics.frechet_distance(extract(images.astype(np.float32)), target)
        for name, images in others.items()
    }

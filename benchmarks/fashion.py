"""Load Fashion-MNIST with its labels, and measure syntheses of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import metrics
from abp_tf.metrics import features

from . import damages

TRAIN = 9000  # of 10 000; the other 1 000 are the test set
# What `figures` measures, with the number of digits that tables show.
FIGURES = {
    "distance": 1,
    "kernel": 2,
    "patches_5": 2,
    "patches_9": 2,
    "finest_power": 2,
    "precision": 2,
    "recall": 2,
    "largest_class": 2,
}


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


def load(quick: bool = False) -> Labelled:
    """Load the first 10 000 training images, from $ABP_TF_DATA or by tensorflow-datasets.

    Args:
        quick: whether to return a tenth of them.
    """
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
    step = 10 if quick else 1
    train, test = slice(0, TRAIN, step), slice(TRAIN, None, step)
    return Labelled(images[train], images[test], labels[train], labels[test])


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


def figures(images: np.ndarray, data: Labelled, extract: Callable) -> dict[str, float]:
    """Return the figures `FIGURES` of syntheses, or of other images, against the test images.

    Precision and recall are of as many images as there are test images. The class of an image is that
    of the training image whose features are nearest; the largest class is a share of all images.
    """
    from sklearn.neighbors import KNeighborsClassifier

    images = np.clip(images, -1, 1).astype(np.float32)
    found, target = extract(images), extract(data.test)
    shares = metrics.precision_recall(found[: len(target)], target)
    nearest = KNeighborsClassifier(1).fit(extract(data.train), data.labels)
    return {
        "distance": metrics.frechet_distance(found, target),
        "kernel": metrics.kernel_distance(found, target),
        "patches_5": metrics.nearest_patch_ratio(images, data.train, data.test, 5),
        "patches_9": metrics.nearest_patch_ratio(images, data.train, data.test, 9),
        "finest_power": metrics.power_ratio(images, data.test).finest,
        **shares._asdict(),
        "largest_class": float(np.bincount(nearest.predict(found)).max() / len(found)),
    }


def shown(rows: list[dict[str, float]]) -> list[str]:
    """Return the means of figures over seeds, with half of the range if there are several."""

    def text(values, digits):
        spread = f" ± {np.ptp(values) / 2:.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    return [text([row[key] for row in rows], digits) for key, digits in FIGURES.items()]


def gaussian(data: Labelled, count: int) -> np.ndarray:
    """Draw images from a Gaussian on 60 principal components of the training images."""
    from sklearn.decomposition import PCA

    pca = PCA(60, random_state=0).fit(data.train.reshape(len(data.train), -1))
    latent = np.random.default_rng(0).normal(size=(count, 60)) * np.sqrt(pca.explained_variance_)
    return pca.inverse_transform(latent).reshape(-1, *data.train.shape[1:])


def yardsticks(data: Labelled, extract: Callable) -> dict[str, dict[str, float]]:
    """Return the figures of simple alternatives, for comparison."""
    noise = np.random.default_rng(0).normal(0, 0.1, data.test.shape)
    others = {
        "2 000 training images": data.train[:2000],
        "test images + N(0, 0.1^2)": data.test + noise,
        "test images blurred 3x3": damages.blurred(data.test, 3),
        "Gaussian on 60 principal components": gaussian(data, 2000),
    }
    return {name: figures(images, data, extract) for name, images in others.items()}

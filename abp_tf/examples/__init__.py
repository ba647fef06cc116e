"""Models that the package carries, to try everything but learning at once.

`python -m benchmarks.carried` learns them and writes their files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from abp_tf.models import Generator

FOLDER = Path(__file__).parent


class Example(NamedTuple):
    """A model, and images that it has not learned from.

    Attributes:
        model: the model.
        images: float32 `[n, height, width, channels]` in [-1, 1].
    """

    model: Generator
    images: np.ndarray


def digits() -> Example:
    """Load a generator of handwritten digits, 16×16 pixels, and 20 digits it has not learned from.

    It has 16 latent variables, and an encoder, so that chains of new images begin near their ends. Its
    chains of training examples are left out: `fit` begins with new ones.

    Returns:
        The model, not compiled, and images `[20, 16, 16, 1]`.

    Example:
        >>> model, images = abp_tf.examples.digits()
        >>> mask = abp_tf.masks.block(len(images), (16, 16), size=6, seed=0)
        >>> whole = model.inpaint(images, mask)
        >>> error = np.abs(whole - images)[~mask].mean() / 2  # as a share of the range
        >>> bool(error < 0.15)
        True
    """
    model = keras.models.load_model(FOLDER / "digits.keras")
    with np.load(FOLDER / "digits.npz") as file:
        return Example(model, file["images"].astype(np.float32) / 127.5 - 1)

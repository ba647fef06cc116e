"""Generative ConvNets learned by maximum likelihood with Langevin dynamics."""

import keras

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"abp_tf runs on TensorFlow, but Keras uses the backend {keras.config.backend()!r}. Set the "
        "environment variable KERAS_BACKEND=tensorflow before Python starts, or remove it."
    )

from abp_tf import callbacks, data, interpolation, masks, metrics, networks, pictures
from abp_tf._version import __version__
from abp_tf.checks import DivergenceError
from abp_tf.generator import Generator
from abp_tf.langevin import Langevin

__all__ = [
    "DivergenceError",
    "Generator",
    "Langevin",
    "__version__",
    "callbacks",
    "data",
    "interpolation",
    "masks",
    "metrics",
    "networks",
    "pictures",
]

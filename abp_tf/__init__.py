"""Generative ConvNets learned by maximum likelihood with Langevin dynamics."""

import os

# Asked before Keras is imported, which fails in words of its own where the other one is missing.
_REMEDY = "Set the environment variable KERAS_BACKEND=tensorflow before Python starts."
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        f"abp_tf runs on TensorFlow, but KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}. {_REMEDY}"
    )

import keras

if keras.config.backend() != "tensorflow":  # chosen in Keras's own configuration file
    raise ImportError(
        f"abp_tf runs on TensorFlow, but Keras uses {keras.config.backend()!r}. {_REMEDY}"
    )

from abp_tf import (
    baselines,
    callbacks,
    data,
    features,
    interpolation,
    likelihood,
    masks,
    media,
    metrics,
    networks,
    pictures,
    signals,
    watch,
)
from abp_tf._version import __version__
from abp_tf.checks import DivergenceError
from abp_tf.client import Client
from abp_tf.coopnets import CoopNets
from abp_tf.descriptor import Descriptor
from abp_tf.generator import Generator
from abp_tf.langevin import Langevin
from abp_tf.operators import Blur, Coarser, Observation, Projection
from abp_tf.sizes import resized, synthesize_at
from abp_tf.wire import ServingError

__all__ = [
    "Blur",
    "Client",
    "Coarser",
    "CoopNets",
    "Descriptor",
    "DivergenceError",
    "Generator",
    "Langevin",
    "Observation",
    "Projection",
    "ServingError",
    "__version__",
    "baselines",
    "callbacks",
    "data",
    "features",
    "interpolation",
    "likelihood",
    "masks",
    "media",
    "metrics",
    "networks",
    "pictures",
    "resized",
    "signals",
    "synthesize_at",
    "watch",
]

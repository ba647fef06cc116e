"""Generative ConvNets trained by maximum likelihood with Langevin dynamics."""

import importlib
import os
from typing import TYPE_CHECKING

# Checked before Keras is imported, because Keras fails with another error if a backend is missing.
_REMEDY = "Set the environment variable KERAS_BACKEND=tensorflow before Python starts."
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        f"abp_tf runs on TensorFlow, but KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}. {_REMEDY}"
    )

import keras

if keras.config.backend() != "tensorflow":  # set in Keras's configuration file
    raise ImportError(
        f"abp_tf runs on TensorFlow, but Keras uses {keras.config.backend()!r}. {_REMEDY}"
    )

from abp_tf import (
    baselines,
    callbacks,
    data,
    display,
    examples,
    interpolation,
    masks,
    metrics,
    models,
    networks,
    sampling,
    signals,
)
from abp_tf._version import __version__
from abp_tf.errors import DivergenceError, ServingError
from abp_tf.models import CoopNets, Descriptor, EnergyPrior, Generator, TimePrior
from abp_tf.models.resize import resized, synthesize_at
from abp_tf.observation.bands import Mdct
from abp_tf.observation.operators import Blur, Coarser, Observation, Projection
from abp_tf.sampling import HMC, MALA, Langevin, Underdamped
from abp_tf.scaling import Scaling

if TYPE_CHECKING:
    from abp_tf.serving.async_client import AsyncClient
    from abp_tf.serving.client import Client

__all__ = [
    "HMC",
    "MALA",
    "AsyncClient",
    "Blur",
    "Client",
    "Coarser",
    "CoopNets",
    "Descriptor",
    "DivergenceError",
    "EnergyPrior",
    "Generator",
    "Langevin",
    "Mdct",
    "Observation",
    "Projection",
    "Scaling",
    "ServingError",
    "TimePrior",
    "Underdamped",
    "__version__",
    "baselines",
    "callbacks",
    "data",
    "display",
    "examples",
    "interpolation",
    "masks",
    "metrics",
    "models",
    "networks",
    "resized",
    "sampling",
    "signals",
    "synthesize_at",
]

# Imported on first use: these need gRPC, which is slow to load and which training does not need.
_LATER = {
    "AsyncClient": "abp_tf.serving.async_client",
    "Client": "abp_tf.serving.client",
}


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

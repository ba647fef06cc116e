"""What methods of models return, where it is more than an array."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """How likely signals are: `score` is `f(x)`, `energy` is `U(x)`; float32 `[n]` both."""

    score: np.ndarray
    energy: np.ndarray


class AutoEncoding(NamedTuple):
    """Where descents ended, `signal`, and `residual`, `‖x − s² ∂f/∂x‖` there, float32 `[n]`."""

    signal: np.ndarray
    residual: np.ndarray


class PosteriorSamples(NamedTuple):
    """Draws of whole signals from their posterior given what is observed.

    Attributes:
        samples: float32 `[n, k, *signal_shape]`.
        mean: over the k samples, `[n, *signal_shape]`.
        deviation: standard deviation over the k samples, same shape.
        r_hat: R̂ of each latent, float32 `[n, *latent_shape]`; NaN where chains are too short.
        effective_samples: effective sample size of each latent, same shape.
    """

    samples: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    r_hat: np.ndarray | None = None
    effective_samples: np.ndarray | None = None

"""Results of methods that return more than one array."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class PosteriorSamples(NamedTuple):
    """Draws of whole signals from the posterior, with diagnostics of the chains.

    A draw is `g(z)` with `z` drawn from the posterior, without the noise `σ ε` of single entries.
    `√(deviation² + σ²)` is the expected distance of the signal itself from the mean.

    Attributes:
        samples: draws, float32 `[n, k, *signal_shape]`.
        mean: mean of the k draws, `[n, *signal_shape]`.
        deviation: standard deviation of the k draws, same shape.
        r_hat: rank-normalized split R-hat of each latent, float32 `[n, *latent_shape]`; NaN if there
            are too few chains or draws (`abp_tf.sampling.convergence.diagnose`); None if the latents
            are not available.
        effective_samples: effective sample size of each latent, same shape; NaN or None as `r_hat`.

    Example:
        >>> samples = np.zeros((2, 16, 8, 8, 1), np.float32)
        >>> drawn = PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1))
        >>> low, high = drawn.intervals(0.9)
        >>> low.shape
        (2, 8, 8, 1)
    """

    samples: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    r_hat: np.ndarray | None = None
    effective_samples: np.ndarray | None = None

    def intervals(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the central interval of each entry that contains a share of its draws.

        Args:
            level: the share, between 0 and 1, such as 0.9. Intervals of k draws are too narrow unless
                `(1 − level) / 2` is well above `1 / k`.

        Returns:
            Lower and upper ends, float32 `[n, *signal_shape]` each: quantiles of the draws, with linear
            interpolation.

        Raises:
            ValueError: if the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"`level` expected a share between 0 and 1, received {level!r}.")
        ends = np.quantile(self.samples, [(1 - level) / 2, (1 + level) / 2], axis=1)
        low, high = ends.astype(np.float32)
        return low, high


class Score(NamedTuple):
    """Scores and energies of signals.

    Attributes:
        score: `f(x)`, float32 `[n]`.
        energy: `U(x)`, float32 `[n]`; signals of lower energy are likelier.
    """

    score: np.ndarray
    energy: np.ndarray


class AutoEncoding(NamedTuple):
    """Local minima of an energy, at which descents ended.

    Attributes:
        signal: last states of the descents, float32 `[n, *signal_shape]`.
        residual: `‖x − s² ∂f/∂x‖` at these states, float32 `[n]`.
    """

    signal: np.ndarray
    residual: np.ndarray

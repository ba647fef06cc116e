"""What methods of models return where one array is not enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class PosteriorSamples(NamedTuple):
    """Hold draws of whole signals from the posterior, and how well the chains agree.

    A draw is `g(z)` with `z` drawn from the posterior, without the noise `σ ε` of single entries:
    `√(deviation² + σ²)` is how far the signal itself is expected from the mean.

    Attributes:
        samples: float32 `[n, k, *signal_shape]`.
        mean: mean of the k samples, `[n, *signal_shape]`.
        deviation: standard deviation of the k samples, same shape.
        r_hat: rank-normalized split R-hat of each latent, float32 `[n, *latent_shape]`; NaN where
            there are too few chains or draws (`abp_tf.sampling.convergence.diagnose`); None where
            latents are not at hand.
        effective_samples: effective sample size of each latent; likewise.

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
        """Return the central interval of each entry that holds a share of its samples.

        Args:
            level: the share, between 0 and 1, such as 0.9. Intervals of k samples are too narrow
                where `(1 − level) / 2` is not well above `1 / k`.

        Returns:
            Lower and upper ends, float32 `[n, *signal_shape]` each: quantiles of the samples, with
            linear interpolation.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"`level` expected a share between 0 and 1, received {level!r}.")
        ends = np.quantile(self.samples, [(1 - level) / 2, (1 + level) / 2], axis=1)
        low, high = ends.astype(np.float32)
        return low, high


class Score(NamedTuple):
    """Hold how likely signals are.

    Attributes:
        score: `f(x)`, float32 `[n]`.
        energy: `U(x)`, float32 `[n]`; the less, the likelier.
    """

    score: np.ndarray
    energy: np.ndarray


class AutoEncoding(NamedTuple):
    """Hold where descents of an energy ended.

    Attributes:
        signal: float32 `[n, *signal_shape]`.
        residual: `‖x − s² ∂f/∂x‖` there, float32 `[n]`.
    """

    signal: np.ndarray
    residual: np.ndarray

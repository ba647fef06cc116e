"""Results of methods that return more than one array."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks, normal


class PosteriorSamples(NamedTuple):
    """Draws of whole signals from the posterior, with diagnostics of the chains.

    A draw is `g(z)` with `z` drawn from the posterior, without the noise `σ ε` of single entries. The
    value of an entry is a draw and noise: `intervals` and `total_deviation` are those of the value.

    Attributes:
        samples: draws, float32 `[n, k, *signal_shape]`.
        mean: mean of the k draws, `[n, *signal_shape]`.
        deviation: standard deviation of the k draws, same shape.
        r_hat: rank-normalized split R-hat of each latent, float32 `[n, *latent_shape]`; NaN if there
            are too few chains or draws (`abp_tf.sampling.convergence.diagnose`); None if the latents
            are not available.
        effective_samples: effective sample size of each latent, same shape; NaN or None as `r_hat`.
        sigma: standard deviation of the noise of each entry, in units of the signal, 0 where an entry
            is observed; it broadcasts against `mean`. None if it is not known.

    Example:
        >>> samples = np.zeros((2, 16, 8, 8, 1), np.float32)
        >>> drawn = PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1), sigma=0.3)
        >>> low, high = drawn.intervals(0.9)
        >>> low.shape, round(float(high.max()), 3)
        ((2, 8, 8, 1), 0.493)
    """

    samples: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    r_hat: np.ndarray | None = None
    effective_samples: np.ndarray | None = None
    sigma: ArrayLike | None = None

    @property
    def total_deviation(self) -> np.ndarray:
        """Standard deviation of the value itself, `√(deviation² + σ²)`, float32; 0 where observed.

        Raises:
            ValueError: if `sigma` is not known.
        """
        return np.sqrt(self.deviation**2 + self._noise() ** 2).astype(np.float32)

    @property
    def median(self) -> np.ndarray:
        """Median of the k draws, `[n, *signal_shape]`, which has the least expected absolute error."""
        return np.median(self.samples, axis=1)

    def intervals(self, level: float, noise: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the central interval that contains each entry with some probability.

        Args:
            level: the probability, between 0 and 1, such as 0.9.
            noise: whether the interval is that of the value itself, whose distribution is a mixture of
                the normal distributions around the k draws with deviation `sigma`. If False, it is that
                of `g(z)`, and contains this share of the draws: it is too narrow unless
                `(1 − level) / 2` is well above `1 / k`.

        Returns:
            Lower and upper ends, float32 `[n, *signal_shape]` each, equal where an entry is observed:
            quantiles of the mixture, or of the draws with linear interpolation if there is no noise.

        Raises:
            ValueError: if the level is not between 0 and 1, or the noise is not known.
        """
        checks.level(level)
        sigma = self._noise() if noise else np.zeros(self.mean.shape)
        shares = (1 - level) / 2, (1 + level) / 2
        # Row by row, because each draw takes part in each step.
        ends = [normal.mixture_quantiles(shares, *row) for row in zip(self.samples, sigma, strict=True)]
        low, high = np.stack(ends, axis=1).astype(np.float32)
        return low, high

    def stretched(self, factor: float) -> PosteriorSamples:
        """Return the samples with all deviations from the mean multiplied by a factor.

        With `abp_tf.metrics.calibration.conformal_factor` this corrects intervals that are too narrow
        or too wide; the samples are then no longer draws from the posterior.

        Args:
            factor: a positive number.

        Raises:
            ValueError: if the factor is not positive, or `sigma` is not known.
        """
        checks.positive("stretched", "factor", factor)
        samples = self.mean[:, None] + np.float32(factor) * (self.samples - self.mean[:, None])
        scaled = {"deviation": factor * self.deviation, "sigma": factor * self._noise()}
        return self._replace(
            samples=samples, **{key: part.astype(np.float32) for key, part in scaled.items()}
        )

    def _noise(self) -> np.ndarray:
        """Return `sigma` of each entry, of the shape of `mean`."""
        if self.sigma is None:
            raise ValueError(
                "Expected samples with the standard deviation `sigma` of their noise, received None. "
                "Give it by `drawn._replace(sigma=...)`, or leave the noise out: `drawn.deviation`, "
                "`drawn.intervals(level, noise=False)`."
            )
        return np.broadcast_to(np.asarray(self.sigma), self.mean.shape)


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

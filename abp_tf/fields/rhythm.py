"""Priors in time of the latents of frames: damped oscillations, learned by maximum likelihood."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

FRAMES = 300  # of which the likelihood is computed, at most
NUGGET = 1e-3  # variance of a latent that does not depend on other frames, at least


class Rhythm(NamedTuple):
    """Correlation of a latent with itself after a time `Δt`: `e^{−Δt/ℓ} (1 − a + a cos(2π Δt / P))`.

    With `a = 0` the latent is the autoregressive process `z_t | z_s ~ N(φ^Δt z_s, 1 − φ^{2Δt})` with
    `φ = e^{−1/ℓ}`.

    Attributes:
        length: ℓ, the time after which what is shared falls to 1/e, in units of the frames' times; 0
            for latents that are independent.
        share: a, the share of the oscillation, from 0 to 1.
        period: P, the period of the oscillation, in units of the frames' times.
    """

    length: float = 0.0
    share: float = 0.0
    period: float = 1.0

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Return the covariance of the latent at times `[n]`, float `[n, n]`; its variance is 1.

        Example:
            >>> Rhythm(length=2.0).covariance(np.array([0.0, 2.0])).round(2).tolist()
            [[1.0, 0.37], [0.37, 1.0]]
        """
        apart = np.abs(np.subtract.outer(times, times))
        if not self.length:
            return np.eye(len(times))
        wave = 1 - self.share + self.share * np.cos(2 * np.pi * apart / self.period)
        found = np.exp(-apart / self.length) * wave
        return (1 - NUGGET) * found + NUGGET * np.eye(len(times))


def learn(values: np.ndarray, variance: np.ndarray, times: np.ndarray) -> Rhythm:
    """Return the rhythm of the greatest likelihood of a latent that is known with errors.

    Args:
        values: posterior means of the latent, float `[n]`.
        variance: posterior variances, float `[n]`, from 0 to 1: 1 for frames without any observation.
        times: times of the frames, float `[n]`, increasing.

    Returns:
        A `Rhythm`, of length 0 if none makes the values more likely than independence by
        more than its number of parameters (Akaike, 1974).

    Example:
        >>> times = np.arange(60.0)
        >>> 7.5 < learn(np.cos(2 * np.pi * times / 8), np.full(60, 0.01), times).period < 8.5
        True
    """
    known = np.flatnonzero(variance < 0.9)[:FRAMES]
    if len(known) < 8:
        return Rhythm()
    # A mean of the posterior is drawn to 0; without its prior it is an observation with this noise.
    kept = 1 - variance[known]
    seen, noise, times = values[known] / kept, variance[known] / kept, times[known]
    step, span = np.median(np.diff(times)), times[-1] - times[0]
    lengths = step * np.geomspace(0.5, max(span / step, 1.0), 10)
    periods = step * np.geomspace(2.5, max(span / step / 2, 2.5), 60)
    found = [(_misfit(Rhythm(), seen, noise, times), Rhythm())]
    for length in lengths:
        found.append((_misfit(Rhythm(length), seen, noise, times) + 1, Rhythm(length)))
    for length, share, period in itertools.product(lengths[1::2], (0.5, 1.0), periods):
        one = Rhythm(length, share, period)
        found.append((_misfit(one, seen, noise, times) + 3, one))
    return Rhythm(*map(float, min(found)[1]))


def _misfit(rhythm: Rhythm, seen, noise, times) -> float:
    """Return `−log p` of the values up to a constant, with the best variance of the process."""
    root = np.linalg.cholesky(rhythm.covariance(times) + np.diag(noise))
    white = np.linalg.solve(root, seen)
    return float(len(seen) / 2 * np.log(np.mean(white**2)) + np.log(np.diag(root)).sum())

"""Convergence of chains: rank-normalized split R-hat, and effective sample size.

They are those of `arviz-stats`, which computes them array by array, 0.8 ms for each; a posterior has
tens of latents in each of a thousand rows, for which that takes a minute. Here all are computed at
once; the tests compare both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

CHUNK = 2**22  # numbers at a time, to bound memory
FEWEST, FEWEST_EFFECTIVE = 4, 10  # draws of each chain


class Convergence(NamedTuple):
    """Report how well chains agree, and what their draws are worth; see `diagnose`.

    Attributes:
        r_hat: about 1 where chains agree; above 1.05 they have not run long enough, or there were too
            few draws to tell. NaN with fewer than 2 chains or 4 draws of each.
        effective_samples: number of independent draws that would give means as exact as these draws
            do. NaN with fewer than 10 draws of each chain.
    """

    r_hat: np.ndarray
    effective_samples: np.ndarray


def diagnose(draws: ArrayLike) -> Convergence:
    """Compute R-hat and the effective sample size of each entry of each row.

    Rank-normalized split R-hat and bulk effective sample size (Vehtari, Gelman, Simpson, Carpenter,
    Bürkner, "Rank-normalization, folding, and localization", Bayesian Analysis 2021, arXiv
    1903.08008, sections 3 and 4). R-hat of few draws scatters: of 4 independent draws
    of each of 4 chains it is 1.2 on average, of 50 it is 1.01.

    Args:
        draws: `[n, chains, draws, ...]`, such as latents `[n, chains, draws, *latent_shape]`; draws
            of a chain in their order.

    Returns:
        A `Convergence` of float32 arrays `[n, ...]`. Entries of which a draw is not finite, or all
        draws are equal, are NaN.

    Raises:
        ValueError: for an array of fewer than 3 axes.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(2, 4, 100, 3))
        >>> r_hat, effective_samples = diagnose(draws)
        >>> r_hat.shape, bool(r_hat.max() < 1.05), bool(effective_samples.min() > 200)
        ((2, 3), True, True)
    """
    draws = np.asarray(draws)
    if draws.ndim < 3:
        raise ValueError(f"Expected draws of shape [n, chains, draws, ...], received {draws.shape}.")
    shape = draws.shape[:1] + draws.shape[3:]
    flat = np.moveaxis(draws, (1, 2), (-2, -1)).reshape(-1, *draws.shape[1:3])
    chunks = -(-flat.size // CHUNK) or 1
    parts = [_diagnose(part.astype(np.float64)) for part in np.array_split(flat, chunks)]
    found = (
        np.concatenate(part).astype(np.float32).reshape(shape) for part in zip(*parts, strict=True)
    )
    return Convergence(*found)


def _diagnose(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute R-hat and the effective sample size of `[m, chains, draws]`, `[m]` both."""
    count, chains, length = draws.shape
    r_hat, effective = np.full(count, np.nan), np.full(count, np.nan)
    good = np.isfinite(draws).all(axis=(1, 2)) & (np.ptp(draws, axis=(1, 2)) > 0)
    half = length // 2
    split = np.concatenate([draws[good, :, :half], draws[good, :, length - half :]], axis=1)
    if length >= FEWEST and good.any():
        scores = _normal_scores(split)
        if chains > 1:
            folded = np.abs(split - np.median(split, axis=(1, 2), keepdims=True))
            # Folding chains that never moved may leave nothing to compare: NaN, which does not count.
            r_hat[good] = np.fmax(_r_hat(scores), _r_hat(_normal_scores(folded)))
        if length >= FEWEST_EFFECTIVE:
            effective[good] = _effective_samples(scores)
    return r_hat, effective


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Replace draws by the normal quantiles of their ranks among all draws of all chains."""
    flat = draws.reshape(len(draws), -1)
    places = np.arange(flat.shape[1])
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    # Equal draws, such as those of refused proposals, share the mean of their places.
    fresh = np.ones(flat.shape, bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(fresh, places, 0), axis=1)
    ends = np.roll(fresh, -1, axis=1)  # the first is always fresh, and so the last an end
    last = np.where(ends, places, places[-1])[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, 1 + (first + last) / 2, axis=1)
    return tf.math.ndtri((ranks - 3 / 8) / (len(places) + 1 / 4)).numpy().reshape(draws.shape)


def _r_hat(scores: np.ndarray) -> np.ndarray:
    """Return the root of the variance of all draws over the mean variance within a chain, `[m]`."""
    length = scores.shape[2]
    within = scores.var(axis=2, ddof=1).mean(axis=1)
    between = scores.mean(axis=2).var(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that never moved: infinite, or NaN
        return np.sqrt(between / within + (length - 1) / length)


def _effective_samples(scores: np.ndarray) -> np.ndarray:
    """Return the number of draws over the autocorrelation time, `[m]`."""
    _, chains, length = scores.shape
    centred = scores - scores.mean(axis=2, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * length, axis=2)) ** 2
    covariance = np.fft.irfft(spectrum, 2 * length, axis=2)[..., :length].mean(axis=1) / length
    within = covariance[:, :1] * length / (length - 1)
    total = covariance[:, :1] + scores.mean(axis=2).var(axis=1, ddof=1)[:, None]
    correlation = 1 - (within - covariance) / total
    correlation[:, 0] = 1
    # Sums of two lags next to each other are positive and fall (Geyer 1992); noise is all that comes
    # after one that is not positive.
    pairs = (length - 1) // 2
    even, odd = correlation[:, : 2 * pairs : 2], correlation[:, 1 : 2 * pairs : 2]
    sums = even + odd
    stop = np.where((sums <= 0).any(axis=1), np.argmax(sums <= 0, axis=1), pairs - 1)[:, None]
    falling = np.minimum.accumulate(sums, axis=1)
    kept = np.where(np.arange(pairs) < stop, falling, 0).sum(axis=1)
    last, last_sum = (np.take_along_axis(part, stop, axis=1)[:, 0] for part in (even, sums))
    last = np.where(last_sum >= 0, last, np.maximum(last, 0))
    time = np.maximum(2 * kept + last - 1, 1 / math.log10(chains * length))
    return chains * length / time

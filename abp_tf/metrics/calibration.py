"""Calibration: whether error bars hold. Pure functions of NumPy arrays, computed in float64.

Signals are `[n, ...]` with the channel axis last, in any unit. All functions look at the entries of a
mask `where` alone, those that were hidden from the model: bool or 0/1, of the shape of the signals or
without the channel axis, 1 where an entry counts. Whatever the other entries hold, NaN included, does
not matter. A predictive distribution is given by k draws `[n, k, ...]` and by the standard deviation
`sigma` of noise around them, as in `abp_tf.results.PosteriorSamples`: it is a mixture of normal
distributions. A single draw, the mean, with the deviation as `sigma` is a normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks, normal
from abp_tf.metrics.entries import Entries
from abp_tf.results import PosteriorSamples

# Levels of the intervals of a `Calibration`.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class Spread(NamedTuple):
    """Spread against skill: entries in bins of increasing predicted deviation, of about equal counts.

    Attributes:
        deviation: root mean square of the predicted deviations, float64 `[bins]`.
        error: root mean square of the errors of the mean, float64 `[bins]`; equal to `deviation` where
            deviations hold.
    """

    deviation: np.ndarray
    error: np.ndarray


class Calibration(NamedTuple):
    """What `calibration` measures over hidden entries; NaN for examples without any.

    Attributes:
        levels: nominal levels of central intervals, float64 `[l]`.
        coverage: share of the entries inside their interval, float64 `[l]`; equal to `levels` where
            intervals hold.
        coverage_per_example: the same of each example, float64 `[n, l]`.
        crps: continuous ranked probability score, in units of the signal; lower is better.
        crps_per_example: the same of each example, float64 `[n]`.
        scaled_bias: mean of `(truth − mean) / deviation`; about 0 without bias.
        scaled_deviation: standard deviation of `(truth − mean) / deviation`; about 1 where deviations
            hold, above 1 where they are too small.
        scaled_deviation_per_example: the same of each example, float64 `[n]`.
        spread: spread against skill.
    """

    levels: np.ndarray
    coverage: np.ndarray
    coverage_per_example: np.ndarray
    crps: float
    crps_per_example: np.ndarray
    scaled_bias: float
    scaled_deviation: float
    scaled_deviation_per_example: np.ndarray
    spread: Spread


def calibration(
    truth: ArrayLike,
    drawn: PosteriorSamples,
    hidden: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    bins: int = 10,
) -> Calibration:
    """Measure how well draws and their noise predict the hidden entries of signals.

    The intervals are those of `drawn.intervals(level)`, the deviation is `drawn.total_deviation`. The
    mean of k draws has an error of its own: without noise `scaled_deviation` is above 1 by about
    `1 / k` even for draws from the exact posterior, and intervals cover less than their level.

    Args:
        truth: the complete signals `[n, ...]`.
        drawn: draws of each signal, with `sigma`.
        hidden: entries that count, 1 = hidden from the model.
        levels: levels of the intervals, between 0 and 1.
        bins: number of bins of `spread`.

    Raises:
        ValueError: if shapes do not match, no entry counts, an entry that counts is not finite, or
            `sigma` is not known.

    Example:
        >>> truth = np.random.default_rng(0).normal(0, 2, (4, 500, 1))
        >>> mean = np.zeros((4, 500, 1))
        >>> drawn = PosteriorSamples(mean[:, None], mean, mean, sigma=2.0)
        >>> found = calibration(truth, drawn, np.ones((4, 500)), levels=[0.5, 0.9])
        >>> found.coverage.round(2), round(found.scaled_deviation, 2)
        (array([0.5, 0.9]), 1.0)
    """
    deviation, entries = drawn.total_deviation, Entries(truth, hidden)
    predicted = (
        entries.pick_draws(drawn.samples),
        entries.pick_deviation("sigma", np.asarray(drawn.sigma)),
    )
    shares, scores = _inside(entries, *predicted, levels), _scores(entries, *predicted)
    scaled = entries.scaled(drawn.mean, deviation)
    return Calibration(
        np.asarray(levels, np.float64),
        np.array([entries.mean(inside) for inside in shares]),
        np.stack([entries.mean(inside, per_example=True) for inside in shares], axis=1),
        entries.mean(scores),
        entries.mean(scores, per_example=True),
        entries.mean(scaled),
        entries.deviation(scaled),
        entries.deviation(scaled, per_example=True),
        spread_skill(truth, drawn.mean, deviation, hidden, bins),
    )


def coverage(
    truth: ArrayLike, low: ArrayLike, high: ArrayLike, where: ArrayLike, per_example: bool = False
) -> float | np.ndarray:
    """Return the share of entries that lie in their interval, ends included.

    Args:
        truth: the complete signals `[n, ...]`.
        low: lower ends of the intervals, broadcast against `truth`.
        high: upper ends, likewise.
        where: entries that count.
        per_example: whether to return one share per example.

    Returns:
        A float, or float64 `[n]` if `per_example`, NaN for examples without entries that count.

    Raises:
        ValueError: if shapes do not match, no entry counts, or an entry that counts is not finite; this
            holds for all functions of this module.

    Example:
        >>> coverage([[0.0, 1.0, 5.0, np.nan]], -1.0, 2.0, where=[[1, 1, 1, 0]])
        0.6666666666666666
    """
    entries = Entries(truth, where)
    low, high = entries.pick("low", low), entries.pick("high", high)
    return entries.mean((low <= entries.truth) & (entries.truth <= high), per_example)


def coverage_by_level(
    truth: ArrayLike,
    samples: ArrayLike,
    where: ArrayLike,
    *,
    sigma: ArrayLike = 0.0,
    levels: Sequence[float] = LEVELS,
    per_example: bool = False,
) -> np.ndarray:
    """Return the share of entries that lie in their central interval, for several levels.

    An entry lies in the central interval of level L if the distribution function F of its predictive
    distribution has `|2 F(truth) − 1| ≤ L`, so that no interval is computed.

    Args:
        truth: the complete signals `[n, ...]`.
        samples: draws `[n, k, ...]`; for a normal distribution `mean[:, None]`.
        where: entries that count.
        sigma: standard deviation of the noise around the draws, broadcasts against `truth`; for a
            normal distribution its deviation. With 0 the intervals are quantiles of the draws.
        levels: levels of the intervals, between 0 and 1.
        per_example: whether to return the shares of each example.

    Returns:
        float64 `[levels]`, or `[n, levels]` if `per_example`, NaN for examples without entries that
        count.

    Example:
        >>> mean = np.zeros((1, 2))
        >>> coverage_by_level([[0.5, 2]], mean[:, None], [[1, 1]], sigma=1.0, levels=[0.68, 0.99])
        array([0.5, 1. ])
    """
    entries = Entries(truth, where)
    predicted = entries.pick_draws(samples), entries.pick_deviation("sigma", sigma)
    shares = _inside(entries, *predicted, levels)
    return np.stack([entries.mean(inside, per_example) for inside in shares], axis=-1)


def crps(
    truth: ArrayLike,
    samples: ArrayLike,
    where: ArrayLike,
    *,
    sigma: ArrayLike = 0.0,
    per_example: bool = False,
) -> float | np.ndarray:
    """Return the continuous ranked probability score of draws, `∫ (F(y) − [y ≥ truth])² dy`.

    The score is that of the distribution from which the draws are, estimated without bias (the "fair"
    score, Ferro, 2014): `E |x + σε − truth| − E |x − x' + √2 σε| / 2`, with the second mean over pairs
    of different draws. For normal noise the expectations over ε have a closed form (Grimit et al.,
    2006). A single draw is taken as the mean of a normal distribution.

    Args:
        truth: the complete signals `[n, ...]`.
        samples: draws `[n, k, ...]`; time grows as k².
        where: entries that count.
        sigma: standard deviation of the noise around the draws, broadcasts against `truth`.
        per_example: whether to return one score per example.

    Returns:
        The mean score, a float in units of the signal, or float64 `[n]` if `per_example`, NaN for
        examples without entries that count. Lower is better; 0 is a certain and true prediction.

    Example:
        >>> crps([[0.0]], [[[1.0], [2.0]]], where=[[1]])
        1.0
    """
    entries = Entries(truth, where)
    predicted = entries.pick_draws(samples), entries.pick_deviation("sigma", sigma)
    return entries.mean(_scores(entries, *predicted), per_example)


def crps_normal(
    truth: ArrayLike,
    mean: ArrayLike,
    deviation: ArrayLike,
    where: ArrayLike,
    per_example: bool = False,
) -> float | np.ndarray:
    """Return the continuous ranked probability score of normal distributions, in closed form.

    With `t = (truth − mean) / deviation` it is `deviation · (t (2Φ(t) − 1) + 2φ(t) − 1/√π)` (Gneiting
    et al., 2005, equation 5).

    Args:
        truth: the complete signals `[n, ...]`.
        mean: means, broadcast against `truth`.
        deviation: standard deviations, likewise; where it is 0, the score is the absolute error.
        where: entries that count.
        per_example: whether to return one score per example.

    Returns:
        As `crps` does.

    Example:
        >>> round(crps_normal([[1.0]], 1.0, 2.0, where=[[1]]), 4)
        0.4674
    """
    entries = Entries(truth, where)
    predicted = entries.pick("mean", mean)[None], entries.pick_deviation("deviation", deviation)
    return entries.mean(_scores(entries, *predicted), per_example)


def scaled_errors(
    truth: ArrayLike, mean: ArrayLike, deviation: ArrayLike, where: ArrayLike
) -> tuple[float, float]:
    """Return mean and standard deviation of the scaled errors, `(truth − mean) / deviation`.

    They are 0 and 1 if the deviations hold; above 1 the deviations are too small.

    Args:
        truth: the complete signals `[n, ...]`.
        mean: predictions, broadcast against `truth`.
        deviation: predicted standard deviations, likewise.
        where: entries that count.

    Returns:
        Two floats; not finite if a deviation is 0 where the error is not.

    Example:
        >>> scaled_errors([[1.0, 5.0]], 0.0, [[1.0, 1.0]], where=[[1, 1]])
        (3.0, 2.0)
    """
    entries = Entries(truth, where)
    scaled = entries.scaled(mean, deviation)
    return entries.mean(scaled), entries.deviation(scaled)


def spread_skill(
    truth: ArrayLike, mean: ArrayLike, deviation: ArrayLike, where: ArrayLike, bins: int = 10
) -> Spread:
    """Return predicted deviations and actual errors, in bins of entries of like deviation.

    Args:
        truth: the complete signals `[n, ...]`.
        mean: predictions, broadcast against `truth`.
        deviation: predicted standard deviations, likewise.
        where: entries that count.
        bins: number of bins; there are fewer if fewer entries count.

    Example:
        >>> spread_skill([[1.0, -1.0, 4.0, -4.0]], 0.0, [[1.0, 1.0, 2.0, 2.0]], [[1] * 4], bins=2)
        Spread(deviation=array([1., 2.]), error=array([1., 4.]))
    """
    checks.integer("spread_skill", "bins", bins, 1)
    entries = Entries(truth, where)
    deviation = entries.pick_deviation("deviation", deviation)
    error = entries.truth - entries.pick("mean", mean)
    order = np.argsort(deviation, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    squares = [[np.mean(values[part] ** 2) for part in parts] for values in (deviation, error)]
    return Spread(*np.sqrt(squares))


def conformal_factor(
    truth: ArrayLike, mean: ArrayLike, deviation: ArrayLike, where: ArrayLike, level: float
) -> float:
    """Return the factor of deviations with which normal intervals cover at a level (split conformal).

    With the factor f the intervals `mean ± f · deviation · Φ⁻¹((1 + level) / 2)` contain at least
    `⌈(m + 1) level⌉` of m entries, so that the interval of a new entry contains it with a probability
    of `level` or more, whatever the distribution of the errors (Lei et al., 2018). That holds for new
    entries that are exchangeable with these: entries that were not used for learning, hidden in the
    same manner. Errors of neighbouring entries are alike, so that coverage in a single example still
    varies. It corrects one level; errors that are not normal need other factors at other levels.

    Args:
        truth: known values of entries that were hidden from the model, such as those under moved gaps.
        mean: predictions, broadcast against `truth`.
        deviation: predicted standard deviations, likewise, positive where entries count.
        where: entries that count.
        level: level of the intervals, between 0 and 1.

    Returns:
        A float; below 1 if deviations are too large.

    Raises:
        ValueError: if fewer than `level / (1 − level)` entries count, or a deviation is 0.

    Example:
        >>> truth = np.random.default_rng(0).normal(0, 3, (1, 10_000))
        >>> round(conformal_factor(truth, 0.0, 1.0, np.ones((1, 10_000)), level=0.9), 1)
        3.0
    """
    checks.level(level)
    entries = Entries(truth, where)
    scaled = np.sort(np.abs(entries.scaled(mean, deviation)))
    if not np.isfinite(scaled).all():
        raise ValueError(
            "conformal_factor expected positive deviations in all entries, received some 0."
        )
    rank = math.ceil((len(scaled) + 1) * level)
    if rank > len(scaled):
        raise ValueError(
            f"conformal_factor expected {level / (1 - level):.4g} entries or more for the level "
            f"{level}, received {len(scaled)}. Hide more, or lower the level."
        )
    return float(scaled[rank - 1] / normal.quantile((1 + level) / 2))


def _inside(entries: Entries, draws, sigma, levels: Sequence[float]) -> list[np.ndarray]:
    """Return, for each level, which entries lie in their interval, bool `[m]`."""
    for level in levels:
        checks.level(level)
    needed = np.abs(2 * entries.by_block(normal.mixture_cdf, draws, sigma) - 1)
    return [needed <= level for level in levels]


def _scores(entries: Entries, draws, sigma) -> np.ndarray:
    """Return the ranked probability score of each entry, `[m]`."""

    def score(truth, draws, sigma):
        draws = draws - truth
        error = normal.expected_distance(draws, sigma).mean(axis=0)
        wider = math.sqrt(2) * sigma
        if len(draws) == 1:
            return error - normal.expected_distance(np.zeros_like(truth), wider) / 2
        # Distances from the truth are small, so that float32 is precise; pairs take most of the time.
        draws, wider = draws.astype(np.float32), wider.astype(np.float32)
        apart = sum(
            normal.expected_distance(draws[number:] - draws[number - 1], wider).sum(axis=0)
            for number in range(1, len(draws))
        )
        return error - apart / (len(draws) * (len(draws) - 1))

    return entries.by_block(score, draws, sigma)

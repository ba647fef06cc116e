"""Estimate log-likelihoods without a closed form: annealed importance sampling, Parzen windows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.observation import masking
from abp_tf.sampling.base import Energy
from abp_tf.sampling.mala import propose
from abp_tf.sampling.metropolis import Point, accept
from abp_tf.sampling.random import CHAIN, PRIOR, later, row_normal, row_seeds, row_uniform


class Normalizer(NamedTuple):
    """The result of annealed importance sampling.

    Attributes:
        log_normalizer: estimate of the log of the integral of `exp(−U)`.
        deviation: estimated relative error of the integral, about the error of its log: the standard
            deviation of the weights divided by their mean and by the root of the number of chains. For
            0.3 or more, use more distributions or shorter steps.
        acceptance: share of accepted proposals; 0.4 to 0.9 is good.
    """

    log_normalizer: float
    deviation: float
    acceptance: float


def log_normalizer(
    energy: Energy,
    shape: tuple[int, ...],
    base_sigma: float,
    *,
    distributions: int = 1000,
    step_size: float = 0.1,
    chains: int = 200,
    seed: int = 0,
) -> Normalizer:
    """Estimate `log ∫ exp(−U(x)) dx` by annealed importance sampling.

    Chains move from `N(0, s² I)` to `exp(−U)` through `distributions` densities `exp(−U_β)`,
    `U_β = (1 − β) ‖x‖²/(2s²) + β U`. At each density they make one Metropolis-adjusted Langevin step,
    which leaves the density invariant (Neal, "Annealed importance sampling", Statistics and Computing
    2001, arXiv physics/9803008). The estimate of the integral is unbiased; the estimate of its log is
    too low on average.

    Args:
        energy: the energy `U`, a function from `[n, *shape]` to `[n]`.
        shape: shape of one signal.
        base_sigma: standard deviation s of the first distribution, which should be as wide as the last
            or wider.
        distributions: number of densities; more make the estimate more accurate.
        step_size: step size δ of the Langevin steps.
        chains: number of independent chains.
        seed: seed of all noise.

    Returns:
        A `Normalizer`.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> half = lambda x: tf.reduce_sum(x**2, axis=-1) / 2
        >>> found = log_normalizer(half, (2,), base_sigma=2.0, distributions=100, step_size=0.8)
        >>> abs(found.log_normalizer - math.log(2 * math.pi)) < 0.1
        True
    """
    checks.positive("log_normalizer", "base_sigma", base_sigma)
    checks.positive("log_normalizer", "step_size", step_size)
    checks.integer("log_normalizer", "distributions", distributions, 2)
    checks.integer("log_normalizer", "chains", chains, 2)
    seeds = seed + np.arange(chains, dtype=np.int64)
    anneal = _annealing(energy, tuple(shape))
    weight, accepted = anneal(base_sigma, distributions, step_size, seeds)
    weight = weight.numpy().astype(np.float64)
    top = weight.max()
    scaled = np.exp(weight - top)
    base = 0.5 * math.prod(shape) * math.log(2 * math.pi * base_sigma**2)
    return Normalizer(
        float(base + top + np.log(scaled.mean())),
        float(scaled.std() / scaled.mean() / math.sqrt(chains)),
        float(accepted),
    )


@functools.lru_cache(maxsize=1)  # so an energy that is used again during training is traced once
def _annealing(energy: Energy, shape: tuple[int, ...]) -> Callable:
    """Return the compiled chains of an energy, for any numbers and seeds."""
    number = tf.TensorSpec([], tf.float32)
    specs = [number, tf.TensorSpec([], tf.int32), number, tf.TensorSpec([None], tf.int64)]

    @tf.function(input_signature=specs, autograph=False)
    def anneal(base_sigma, distributions, step_size, seeds):
        return _anneal(energy, list(shape), base_sigma, distributions, step_size, seeds)

    return anneal


def _anneal(energy, shape, base_sigma, distributions, step_size, seeds):
    """Return the logs of the chains' weights `[n]`, and the share of accepted proposals."""
    starts, moves = row_seeds(seeds, PRIOR), row_seeds(seeds, CHAIN)
    count = tf.cast(distributions, tf.float32)

    def look(x, beta):
        """Return the `Point` of `x` under `U_β`, and `U − U_0` at `x`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            base = masking.square(x) / (2 * base_sigma**2)
            excess = energy(x) - base
            value = base + beta * excess
        return Point(x, value, tape.gradient(value, x)), excess

    def body(number, x, weight, accepted):
        beta = tf.cast(number, tf.float32) / count
        here, excess = look(x, beta)
        weight -= excess / count
        noise = row_normal(later(moves, number), shape)
        proposal, log_ratio = propose(lambda x: look(x, beta)[0], here, step_size, noise)
        uniform = row_uniform(later(starts, number), [])
        there, moved = accept(here, proposal, log_ratio, uniform)
        return number + 1, there.state, weight, accepted + tf.reduce_mean(tf.cast(moved, tf.float32))

    _, _, weight, accepted = tf.while_loop(
        lambda number, *_: number <= distributions,
        body,
        (
            tf.constant(1),
            base_sigma * row_normal(starts, shape),
            tf.zeros(tf.shape(seeds)),
            tf.constant(0.0),
        ),
        parallel_iterations=1,
    )
    return weight, accepted / count


def annealed_log_likelihood(
    model: keras.Model, signals: ArrayLike, normalizer: Normalizer
) -> np.ndarray:
    """Return the log density of signals under a descriptor, `−U(x) − log ∫ exp(−U)`, in nats.

    It is the density at temperature 1, of scaled signals if the model has a scaling. The integral can
    be estimated for small signals only.

    Args:
        model: a `Descriptor`.
        signals: signals, float `[n, *signal_shape]`.
        normalizer: result of `log_normalizer(model.energy, model.signal_shape, ...)`.

    Returns:
        float64 `[n]`.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "softplus")])
        >>> model = abp_tf.Descriptor(network, reference_sigma=1.0, value_range=None)
        >>> found = log_normalizer(model.energy, (2,), base_sigma=1.5, distributions=20)
        >>> annealed_log_likelihood(model, np.zeros((5, 2), np.float32), found).shape
        (5,)
    """
    return -model.score(signals).energy.astype(np.float64) - normalizer.log_normalizer


def parzen_log_likelihood(
    samples: ArrayLike, signals: ArrayLike, bandwidth: float, rows: int = 100
) -> np.ndarray:
    """Return the log density of signals under a Gaussian kernel on each sample, in nats.

    It is `log (1/m) Σ_j N(x; x̃_j, h² I)`, the estimate of the CoopNets paper and others of its time
    (arXiv 1609.09408, after Goodfellow et al. 2014). In many dimensions it ranks models poorly. Use it
    only to compare with their tables, with as many samples, and the bandwidth of `parzen_bandwidth`.

    Args:
        samples: samples of the model, `[m, ...]`.
        signals: signals `[n, ...]` of the same shape.
        bandwidth: standard deviation h of the kernels, positive.
        rows: number of signals computed at a time, which limits the memory.

    Returns:
        float64 `[n]`.

    Raises:
        ValueError: if the shapes do not match, there are no samples or no signals, or the bandwidth is
            not positive.
    """
    samples, signals = (np.asarray(values, np.float64) for values in (samples, signals))
    if samples.shape[1:] != signals.shape[1:] or min(len(samples), len(signals)) < 1:
        raise ValueError(
            "Expected samples and signals of one shape [n, ...], received the shapes "
            f"{samples.shape} and {signals.shape}."
        )
    checks.positive("parzen_log_likelihood", "bandwidth", bandwidth)
    samples = samples.reshape(len(samples), -1)
    signals = signals.reshape(len(signals), -1)
    size = samples.shape[1]
    found = []
    for start in range(0, len(signals), rows):
        part = signals[start : start + rows]
        square = (part**2).sum(1)[:, None] - 2 * part @ samples.T + (samples**2).sum(1)
        exponent = -square / (2 * bandwidth**2)
        top = exponent.max(axis=1)
        found.append(top + np.log(np.exp(exponent - top[:, None]).mean(axis=1)))
    return np.concatenate(found) - 0.5 * size * math.log(2 * math.pi * bandwidth**2)


def parzen_bandwidth(
    samples: ArrayLike, validation: ArrayLike, candidates: Sequence[float] | np.ndarray
) -> float:
    """Return the bandwidth that gives validation signals the highest log density.

    Args:
        samples: samples of the model, `[m, ...]`.
        validation: signals `[n, ...]` other than those whose likelihood is reported.
        candidates: bandwidths to choose from, such as `np.logspace(-1, 0, 10)`.

    Returns:
        One of the candidates.
    """
    means = [parzen_log_likelihood(samples, validation, h).mean() for h in candidates]
    return float(candidates[int(np.argmax(means))])

"""Log-likelihoods of models that have no closed form: annealed importance sampling, Parzen windows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

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
    """What annealed importance sampling found.

    Attributes:
        log_normalizer: log of the integral of `exp(−U)`.
        deviation: standard deviation of the weights over their mean, divided by the root of the
            number of chains: the relative error of the integral, about that of its log. An estimate
            of 0.3 or more says that more distributions or shorter steps are needed.
        acceptance: share of the proposals that were accepted; between 0.4 and 0.9 is good.
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

    Chains go from `N(0, s² I)` to `exp(−U)` through `distributions` densities `exp(−U_β)`,
    `U_β = (1 − β) ‖x‖²/(2s²) + β U`, by a Metropolis-adjusted Langevin step in each, which leaves it
    invariant (Neal, "Annealed importance sampling", Statistics and Computing 2001, arXiv
    physics/9803008). The estimate of the integral is unbiased, that of its log is low on average.

    Args:
        energy: `U`, maps `[n, *shape]` to `[n]`.
        shape: of one signal.
        base_sigma: s of the first distribution, as wide as the last one or wider.
        distributions: number of them; more are nearer the truth.
        step_size: δ of the Langevin steps.
        chains: number of independent chains.
        seed: of all noise.

    Returns:
        A `Normalizer`.

    Raises:
        ValueError: for a number out of its range.

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


@functools.lru_cache(maxsize=1)  # an energy that is asked again, as training goes on, traces once
def _annealing(energy: Energy, shape: tuple[int, ...]) -> Callable:
    """Compile the chains of an energy, for any numbers and seeds."""
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
        """The point of `x` under `U_β`, and `U − U_0` there."""
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


def annealed_log_likelihood(model, signals: ArrayLike, normalizer: Normalizer) -> np.ndarray:
    """Log density of signals under a descriptor, `−U(x) − log ∫ exp(−U)`, in nats.

    It is the density at temperature 1; the constant is high-dimensional for all but small signals,
    for which alone it can be estimated.

    Args:
        model: a `Descriptor`.
        signals: float `[n, *signal_shape]`.
        normalizer: of its energy, by `log_normalizer(model.energy, model.signal_shape, ...)`.

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
    """Log density of signals under a Gaussian kernel on each sample, in nats.

    `log (1/m) Σ_j N(x; x̃_j, h² I)`, the estimate of the CoopNets paper and others of its time
    (arXiv 1609.09408, after Goodfellow et al. 2014). In many dimensions it ranks models poorly: use
    it to compare with those tables only, with as many samples, and the bandwidth of `parzen_bandwidth`.

    Args:
        samples: of the model, `[m, ...]`.
        signals: `[n, ...]` of the same shape.
        bandwidth: h, positive.
        rows: signals at a time; it bounds memory.

    Returns:
        float64 `[n]`.

    Raises:
        ValueError: for shapes that do not fit, none at all, or a bandwidth that is not positive.
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


def parzen_bandwidth(samples: ArrayLike, validation: ArrayLike, candidates: ArrayLike) -> float:
    """Choose the bandwidth under which validation signals are likeliest.

    Args:
        samples: of the model, `[m, ...]`.
        validation: signals `[n, ...]` that the likelihood is not reported on.
        candidates: bandwidths, e.g. `np.logspace(-1, 0, 10)`.

    Returns:
        One of the candidates.
    """
    means = [parzen_log_likelihood(samples, validation, h).mean() for h in candidates]
    return float(candidates[int(np.argmax(means))])

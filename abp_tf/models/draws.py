"""Samples from the posterior of latents, from several chains per row."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.results import PosteriorSamples
from abp_tf.sampling import convergence

# Chain s of a row with the seed i has the seed i + s · 2⁴⁰, which no other row is likely to use.
APART = 2**40
# Between two samples of one chain there are 1 / FURTHER of the steps before its first sample.
FURTHER = 10
# Median R̂ above which a warning is given, and draws of each chain below which R̂ means little: with 4
# independent draws it is 1.2 on average.
DISAGREEMENT, ENOUGH = 1.05, 50


class Count(NamedTuple("Count", [("samples", int), ("chains", int)])):
    """Number of samples of each row, and number of chains that they come from."""

    def __new__(cls, samples: int, chains: int):
        """Refuse numbers that do not fit together."""
        checks.integer("sample_posterior", "samples", samples, 1)
        checks.integer("sample_posterior", "chains", chains, 1)
        if samples % chains:
            raise ValueError(
                f"sample_posterior expected `chains` to be a divisor of samples={samples}, received "
                f"{chains}."
            )
        return super().__new__(cls, samples, chains)


def draw(model, signal, mask, seed, count: Count) -> dict:
    """Draw latents from the posterior of each row, and decode them.

    Args:
        model: a `LatentModel`.
        signal: data, float32 `[n, *observed_shape]`.
        mask: weights of the entries, same shape, 0 = hidden (`abp_tf.observation.masking`).
        seed: int64 `[n]`, one seed per row.
        count: numbers of samples and chains per row.

    Returns:
        "latent", `[n, samples, *latent_shape]`, and "samples", `[n, samples, *signal_shape]`. Sample
        number `s` comes from chain `s % chains`.
    """
    sampler = model.inference.for_draws()
    further = sampler.with_steps(-(-sampler.steps // FURTHER))
    signal, mask = (tf.repeat(part, count.chains, axis=0) for part in (signal, mask))
    first = tf.range(count.chains, dtype=tf.int64)

    def proceed(round_number, sampler, start=None):
        chain = tf.cast(round_number * count.chains, tf.int64) + first
        seeds = tf.reshape(seed[:, None] + chain * APART, [-1])
        latent = model.infer_latents(signal, mask, seeds, sampler, start)
        return latent, model.decode(latent)

    def body(number, latent, latents, signals):
        latent, decoded = proceed(number, further, latent)
        return number + 1, latent, latents.write(number, latent), signals.write(number, decoded)

    rounds = count.samples // count.chains
    latent, decoded = proceed(0, sampler)
    latents, signals = (
        tf.TensorArray(tf.float32, rounds, element_shape=[None, *shape]).write(0, part)
        for part, shape in ((latent, model.latent_shape), (decoded, model.signal_shape))
    )
    if rounds > 1:
        _, _, latents, signals = tf.while_loop(
            lambda number, *_: number < rounds,
            body,
            (tf.constant(1), latent, latents, signals),
            parallel_iterations=1,
        )

    def arranged(array, shape):
        parts = tf.reshape(array.stack(), [rounds, -1, count.chains, *shape])
        parts = tf.transpose(parts, [1, 0, 2, *range(3, 3 + len(shape))])
        return tf.reshape(parts, [-1, count.samples, *shape])

    return {
        "latent": arranged(latents, model.latent_shape),
        "samples": arranged(signals, model.signal_shape),
    }


def summarize(found: dict, count: Count, mask, data, sigma) -> PosteriorSamples:
    """Return samples with their mean, standard deviation and diagnostics.

    Args:
        found: NumPy arrays as `draw` returns them.
        count: numbers of samples and chains per row.
        mask: None if no entry of the samples is observed.
        data: `Examples` whose observed entries replace those of the samples, unless `mask` is None.
        sigma: standard deviation of the noise of entries that are not observed, broadcasts against
            them.
    """
    samples = found["samples"]
    mean, deviation = samples.mean(axis=1), samples.std(axis=1)
    sigma = np.broadcast_to(np.float32(sigma), mean.shape)
    if mask is not None:
        samples = np.where(data.mask[:, None], data.signal[:, None], samples)
        mean = np.where(data.mask, data.signal, mean)
        deviation, sigma = (np.where(data.mask, np.float32(0), part) for part in (deviation, sigma))
    latents = found["latent"]
    latents = latents.reshape(len(latents), -1, count.chains, *latents.shape[2:]).swapaxes(1, 2)
    r_hat, effective_samples = convergence.diagnose(latents)
    finite = r_hat[np.isfinite(r_hat)]
    disagreement = np.median(finite) if finite.size else 1.0
    if count.samples >= ENOUGH * count.chains and disagreement > DISAGREEMENT:
        warnings.warn(
            f"Chains of `sample_posterior` have not converged: the median R̂ of the latents is "
            f"{disagreement:.2f}, and should be below {DISAGREEMENT}. Raise the steps of "
            "`model.inference`.",
            stacklevel=3,
        )
    return PosteriorSamples(samples, mean, deviation, r_hat, effective_samples, sigma)

"""Samples from the posterior of latents, from several chains per row."""

from __future__ import annotations

import warnings

import numpy as np
import tensorflow as tf

from abp_tf.qualities import Quality
from abp_tf.results import PosteriorSamples
from abp_tf.sampling import convergence
from abp_tf.sampling.random import OPPOSITE

# Pair p of the chains of a row with the seed i has the seed i + p · 2⁴⁰, which no other row is likely
# to use.
APART = 2**40
# Median R̂ above which a warning is given, and draws of each chain below which R̂ means little: with 4
# independent draws it is 1.2 on average.
DISAGREEMENT, ENOUGH = 1.05, 50


def draw(model, signal, mask, seed, quality: Quality) -> dict:
    """Draw latents from the posterior of each row, and decode them.

    Chains run in pairs, whose normal random numbers have opposite signs (antithetic variates:
    Hammersley, Morton, "A new Monte Carlo technique: antithetic variates", Mathematical Proceedings of
    the Cambridge Philosophical Society 1956). Each chain is what it would be alone, and where signals
    are linear in latents the errors of two of them cancel in their mean and median.

    Args:
        model: a `LatentModel`.
        signal: data, float32 `[n, *observed_shape]`.
        mask: weights of the entries, same shape, 0 = hidden (`abp_tf.observation.masking`).
        seed: int64 `[n]`, one seed per row.
        quality: numbers of samples, chains and steps of each row.

    Returns:
        "latent", `[n, samples, *latent_shape]`, and "samples", `[n, samples, *signal_shape]`. Sample
        number `s` comes from chain `s % chains`.
    """
    sampler = model.inference.for_draws()
    first, further = map(sampler.with_steps, quality.steps(sampler.steps, model.warm))
    signal, mask = (tf.repeat(part, quality.chains, axis=0) for part in (signal, mask))
    number = np.arange(quality.chains)
    chains = number // 2 * APART + number % 2 * OPPOSITE

    def proceed(round_number, sampler, start=None):
        seeds = tf.cast(round_number * quality.chains, tf.int64) * APART + chains
        seeds = tf.reshape(seed[:, None] + seeds, [-1])
        latent = model.infer_latents(signal, mask, seeds, sampler, start)
        return latent, model.decode(latent)

    def body(number, latent, latents, signals):
        latent, decoded = proceed(number, further, latent)
        return number + 1, latent, latents.write(number, latent), signals.write(number, decoded)

    rounds = quality.samples // quality.chains
    latent, decoded = proceed(0, first)
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
        parts = tf.reshape(array.stack(), [rounds, -1, quality.chains, *shape])
        parts = tf.transpose(parts, [1, 0, 2, *range(3, 3 + len(shape))])
        return tf.reshape(parts, [-1, quality.samples, *shape])

    return {
        "latent": arranged(latents, model.latent_shape),
        "samples": arranged(signals, model.signal_shape),
    }


def median(samples: tf.Tensor) -> tf.Tensor:
    """Return the median of samples `[n, k, ...]` in each entry, `[n, ...]`."""
    count = samples.shape[1]
    middle = tf.sort(samples, axis=1)[:, (count - 1) // 2 : count // 2 + 1]
    return tf.reduce_mean(middle, axis=1)


def summarize(found: dict, quality: Quality, mask, data, sigma) -> PosteriorSamples:
    """Return samples with their mean, standard deviation and diagnostics.

    Args:
        found: NumPy arrays as `draw` returns them.
        quality: numbers of samples, chains and steps of each row.
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
    latents = latents.reshape(len(latents), -1, quality.chains, *latents.shape[2:]).swapaxes(1, 2)
    r_hat, effective_samples = convergence.diagnose(latents)
    finite = r_hat[np.isfinite(r_hat)]
    disagreement = np.median(finite) if finite.size else 1.0
    if quality.samples >= ENOUGH * quality.chains and disagreement > DISAGREEMENT:
        warnings.warn(
            f"Chains of `sample_posterior` have not converged: the median R̂ of the latents is "
            f"{disagreement:.2f}, and should be below {DISAGREEMENT}. Raise the steps of "
            "`model.inference`.",
            stacklevel=3,
        )
    return PosteriorSamples(samples, mean, deviation, r_hat, effective_samples, sigma)

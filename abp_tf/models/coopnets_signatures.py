"""The functions of a batch that CoopNets have: those of both models, with revised signals."""

from __future__ import annotations

import tensorflow as tf

from abp_tf import qualities
from abp_tf.observation import masking
from abp_tf.sampling.random import CHAIN, REVISION, row_seeds


def revision_seeds(seed: tf.Tensor) -> tf.Tensor:
    """Return the seed pairs of revisions of completed signals, int64 `[n, 2]`, from seeds `[n]`."""
    return row_seeds(seed, REVISION)  # the latents use CHAIN


def signatures(model, of_generator: dict, steps: int | None) -> dict:
    """Return functions with the specs of their inputs, by name.

    Args:
        model: a `CoopNets`.
        of_generator: functions of its generator, as `Generator.signatures` returns them.
        steps: number of steps of revisions; None means as many as in training.
    """
    sampler = model.langevin if steps is None else model.langevin.with_steps(steps)
    found = {**model.descriptor.signatures(steps), **of_generator}
    for name in set(map(qualities.signature, qualities.QUALITIES)) - {"inpaint"}:
        found.pop(name, None)  # a revised signal is one completion, not the median of several
    draft, specs_of_draft = found["synthesize"]
    _, specs_of_filled = found["inpaint"]

    def synthesize(seed):
        drafted = draft(seed)
        seeds = row_seeds(seed, CHAIN)
        revised, _ = sampler.sample(model.descriptor.energy, drafted["signal"], seeds)
        return {**drafted, "signal": revised}

    def inpaint(signal, mask, seed):
        mask = tf.cast(mask > 0.5, tf.float32)
        whole, latent, energy = model.complete(signal, mask, seed, sampler)
        error = tf.math.divide_no_nan(energy.squared_error, masking.entries(signal, mask))
        return {"signal": whole, "latent": latent, "error": error}

    return {
        **found,
        "synthesize": (synthesize, specs_of_draft),
        "inpaint": (inpaint, specs_of_filled),
    }

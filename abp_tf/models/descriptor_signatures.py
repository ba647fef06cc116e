"""The functions of a batch that a descriptor has; methods and exports run them."""

from __future__ import annotations

import tensorflow as tf

from abp_tf.observation import masking
from abp_tf.sampling import Sampler
from abp_tf.sampling.random import CHAIN, PRIOR, row_seeds


def signatures(model, steps: int | None = None, descent: Sampler | None = None) -> dict:
    """Return functions with the specs of their inputs, by name.

    They are `synthesize(seed)`, `refine(signal, seed)`, `score(signal)`, `inpaint(signal, mask,
    seed)` and, with a descent, `autoencode(signal)`. All inputs and outputs have the batch axis
    first; rows do not depend on each other.

    Args:
        model: a `Descriptor`.
        steps: number of steps of the chains; None means as many as the model's samplers have.
        descent: noise-free sampler of `autoencode`; None leaves it out.
    """
    langevin, inference = model.langevin, model.inference
    if steps is not None:
        langevin, inference = langevin.with_steps(steps), inference.with_steps(steps)
    seeds = tf.TensorSpec([None], tf.int64, name="seed")
    signals = tf.TensorSpec([None, *model.signal_shape], tf.float32, name="signal")
    masks = tf.TensorSpec([None, *model.signal_shape], tf.float32, name="mask")

    def synthesize(seed):
        start = model.noise(row_seeds(seed, PRIOR))
        return {"signal": inference.sample(model.energy, start, row_seeds(seed, CHAIN))[0]}

    def refine(signal, seed):
        return {"signal": langevin.sample(model.energy, signal, row_seeds(seed, CHAIN))[0]}

    def score(signal):
        return {"score": model.f(signal), "energy": model.energy(signal)}

    def inpaint(signal, mask, seed):
        start = model.noise(row_seeds(seed, PRIOR))
        return {"signal": model.fill(start, signal, mask, inference, row_seeds(seed, CHAIN))}

    found = {
        "synthesize": (synthesize, [seeds]),
        "refine": (refine, [signals, seeds]),
        "score": (score, [signals]),
        "inpaint": (inpaint, [signals, masks, seeds]),
    }
    if descent is None:
        return found

    def autoencode(signal):
        seeds = row_seeds(tf.zeros([tf.shape(signal)[0]], tf.int64), CHAIN)
        signal, _ = descent.sample(model.energy, signal, seeds)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(signal)
            f = tf.reduce_sum(model.f(signal))
        residual = signal - model.reference_sigma**2 * tape.gradient(f, signal)
        return {"signal": signal, "residual": tf.sqrt(masking.square(residual))}

    return {**found, "autoencode": (autoencode, [signals])}

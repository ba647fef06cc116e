"""The functions of a batch that a model with latents has; methods and exports run them."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

from abp_tf import networks
from abp_tf.models import draws
from abp_tf.observation import masking
from abp_tf.qualities import DEFAULT, QUALITIES, Quality, signature
from abp_tf.sampling.random import PRIOR, row_seeds


def signatures(model, quality: Quality) -> dict:
    """Return functions with the specs of their inputs, by name.

    They are `synthesize(seed)`, `reconstruct(signal, seed)`, `inpaint(signal, mask, seed)`,
    `sample_posterior(signal, mask, seed)` and `decode(latent)`, which accepts grids of any size if the
    network is fully convolutional; `inpaint_fast` and `inpaint_best`, which are `inpaint` with other
    qualities, if the model draws samples; and, for the methods alone, `infer_whole(signal, seed)`,
    `infer_masked(signal, mask, seed)`, `draw(signal, mask, seed)` and `fill(signal, mask, seed)`, whose
    masks hold the weights of entries. All inputs and outputs have the batch axis first; rows do not
    depend on each other.

    Args:
        model: a `LatentModel`.
        quality: numbers of samples, chains and steps of `sample_posterior`, `draw` and `fill`.
    """
    seeds = tf.TensorSpec([None], tf.int64, name="seed")
    signals = tf.TensorSpec([None, *model.observed_shape], tf.float32, name="signal")
    masks = tf.TensorSpec([None, *model.observed_shape], tf.float32, name="mask")
    network, grid = _of_any_grid(model.network)
    latents = tf.TensorSpec([None, *grid], tf.float32, name="latent")

    def synthesize(seed):
        latent = model.prior.draw(row_seeds(seed, PRIOR))
        return {"signal": model.decode(latent), "latent": latent}

    def reconstruct(signal, seed):
        latent, decoded, energy = model.explain(signal, None, seed)
        error = energy.squared_error / masking.entries(signal, None)
        return {"signal": decoded, "latent": latent, "error": error}

    def filled(signal, mask, seed, quality):
        """Fill in hidden entries by the median of samples, which has the least absolute error."""
        if not model.inference.draws_samples:
            return model.explain(signal, mask, seed)
        drawn = draws.draw(model, signal, mask, seed, quality)
        decoded, latent = draws.median(drawn["samples"]), tf.reduce_mean(drawn["latent"], axis=1)
        signal = masking.hide(signal, mask)
        return latent, decoded, model.energy_of_decoded(latent, decoded, signal, mask)

    def fill(signal, mask, seed):
        latent, decoded, _ = filled(signal, mask, seed, quality)
        return {"signal": decoded, "latent": latent}

    def inpaint(signal, mask, seed, quality):
        mask = tf.cast(mask > 0.5, tf.float32)
        latent, decoded, energy = filled(signal, mask, seed, quality)
        error = tf.math.divide_no_nan(energy.squared_error, masking.entries(signal, mask))
        return {"signal": tf.where(mask > 0.5, signal, decoded), "latent": latent, "error": error}

    def infer_whole(signal, seed):
        return infer_masked(signal, None, seed)

    def infer_masked(signal, mask, seed):
        latent, _, energy = model.explain(signal, mask, seed)
        return {"latent": latent, "energy": energy.total}

    def draw(signal, mask, seed):
        return draws.draw(model, signal, mask, seed, quality)

    def sample_posterior(signal, mask, seed):
        mask = tf.cast(mask > 0.5, tf.float32)
        drawn = draw(signal, mask, seed)["samples"]
        mean, deviation = tf.reduce_mean(drawn, axis=1), tf.math.reduce_std(drawn, axis=1)
        sigma = tf.zeros_like(mean) + model.signal_noise()
        if model.observation is None:
            observed = mask > 0.5
            drawn = tf.where(observed[:, None], signal[:, None], drawn)
            mean = tf.where(observed, signal, mean)
            deviation, sigma = (tf.where(observed, 0.0, part) for part in (deviation, sigma))
        return {"samples": drawn, "mean": mean, "deviation": deviation, "sigma": sigma}

    def decode(latent):
        return {"signal": tf.cast(network(model.prior(latent), training=False), tf.float32)}

    masked = [signals, masks, seeds]
    by_quality = {
        signature(name): (functools.partial(inpaint, quality=one), masked)
        for name, one in QUALITIES.items()
        if name == DEFAULT or model.inference.draws_samples
    }
    return {
        "synthesize": (synthesize, [seeds]),
        "reconstruct": (reconstruct, [signals, seeds]),
        **by_quality,
        "sample_posterior": (sample_posterior, masked),
        "decode": (decode, [latents]),
        "infer_whole": (infer_whole, [signals, seeds]),
        "infer_masked": (infer_masked, masked),
        "draw": (draw, masked),
        "fill": (fill, masked),
    }


@functools.lru_cache(maxsize=4)  # rebuilding a network takes a while
def _of_any_grid(network: keras.Model) -> tuple[keras.Model, tuple[int | None, ...]]:
    """Return the network, for grids of any size if it is fully convolutional, and its grid."""
    grid = tuple(network.input_shape[1:])
    if not networks.resizable(network):
        return network, grid
    sides = zip(grid[:-1], networks.free(network), strict=True)
    grid = (*(None if free else side for side, free in sides), grid[-1])
    return networks.resized(network, grid), grid

"""Watching chains of latents: what the training of a generator shows of itself."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf import observation


class LatentWatch:
    """Means over an epoch of what tells a good training of a generator from a bad one.

    `loss`: mean energy. `reconstruction_error`: mean squared error per observed entry. `latent_norm`:
    mean `‖z‖²/d`, near 1 when posterior and prior agree. `gradient_norm`: of the Langevin steps.
    """

    def __init__(self):
        names = ("loss", "reconstruction_error", "latent_norm", "gradient_norm")
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list:
        """The means, for Keras to reset."""
        return list(self._means.values())

    def report(self, energy, misfit, signal, mask, latent, info=None) -> dict:
        """Take in a batch; return the means so far by name.

        Args:
            energy: of each example, float32 `[n]`.
            misfit: `‖M ⊙ (y − S g(z))‖²` of each example, `[n]`.
            signal: data, float32 `[n, *observed_shape]`.
            mask: of observed entries, 1, or None.
            latent: where the chains ended, float32 `[n, *latent_shape]`.
            info: the `Info` of the chains, in training.
        """
        size = tf.cast(tf.size(latent[0]), tf.float32)
        values = {
            "loss": energy,
            "reconstruction_error": misfit / observation.entries(signal, mask),
            "latent_norm": observation.square(latent) / size,
        }
        if info is not None:
            values["gradient_norm"] = info.gradient_norm
        for name, value in values.items():
            self._means[name].update_state(value)
        return {name: self._means[name].result() for name in values}

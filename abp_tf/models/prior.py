"""The prior distribution of latents."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from abp_tf.observation import masking
from abp_tf.sampling.random import row_normal


@keras.saving.register_keras_serializable(package="abp_tf")
class Prior(keras.layers.Layer):
    """The prior of the latents, `z = μ + A u` with `u ~ N(0, I)`: parameter expansion.

    The rest of the package calls `u` the latent; `z` is the input of the network. At first `μ = 0` and
    `A = I`, which is the plain model. `absorb` moves mean and covariance of the chains into `μ` and
    `A`, so that `N(0, I)` is again the distribution of the latents while no decoded signal changes
    (PX-EM: Liu, Rubin, Wu 1998, Biometrika 85, 755–770). `μ` and `A` act on the last axis; all
    positions of a latent grid share them.

    To use another prior, write a subclass with its own `energy` and `draw`, and pass it to
    `Generator(prior=...)`.

    Args:
        latent_shape: shape of one latent.

    Attributes:
        frames: number of frames of an example that the network decodes one by one; 1 if it decodes all
            latents together.
        learns: whether `adapt` changes the prior. `Generator.fit` calls it at the end of each epoch.
    """

    frames = 1
    learns = False

    def __init__(self, latent_shape, **kwargs):
        # Chains are float32, whatever dtype the network computes in.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_shape = tuple(latent_shape)
        size = self.latent_shape[-1]
        self.mean = self.add_weight(shape=(size,), initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(
            shape=(size, size), initializer="identity", trainable=False, name="scale"
        )
        self.built = True

    def call(self, latent):
        """Return `z` of `u`, both `[n, *latent_shape]`."""
        return self.mean + tf.tensordot(latent, tf.transpose(self.scale), axes=1)

    def compute_output_shape(self, input_shape):
        """Return `input_shape`."""
        return input_shape

    def energy(self, latent: tf.Tensor) -> tf.Tensor:
        """Return `−log p(u)` up to a constant, `‖u‖² / 2`, of latents `[n, *latent_shape]`: `[n]`."""
        return masking.square(latent) / 2

    def draw(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw latents `u`, float32 `[n, *latent_shape]`, from seed pairs `[n, 2]`."""
        return row_normal(seeds, list(self.latent_shape))

    def precision(self) -> tf.Tensor | None:
        """Return the precision of the latents along their first axis, float32 `[d, T, T]`.

        `d` is the size of their last axis and `T` that of their first. None means that the latents are
        independent and have a precision of 1.
        """
        return None

    def share(self, weights: tf.Tensor) -> tf.Tensor:
        """Return the share of observed entries on which the latents depend, at least one per latent.

        Args:
            weights: weights of the entries, 0 = hidden, float32 `[n, *observed_shape]`.

        Returns:
            float32 `[n]`, or `[n, T]` for each position along the first axis of the latents; 0 where
            all is hidden. Of entries with unequal weights it is the share of as many equally weighted
            ones as have their information, times their squared weight (`masking.effective`).
        """
        # The curvature of few observed entries scatters about their share of the curvature of all.
        # With as many entries as latents, the largest stays below about 4 times the mean.
        entries, weight = masking.effective(weights)
        entries = tf.maximum(entries, math.prod(self.latent_shape))
        return weight * tf.minimum(entries / math.prod(weights.shape[1:]), 1.0)

    def adapt(self, latents: tf.Tensor) -> None:
        """Learn parameters of the prior from the latents of all chains, `[N, *latent_shape]`."""

    def absorb(self, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Move mean `m` and covariance `S²` of `latents` into `μ` and `A`; return `S⁻¹(u − m)` and `S`.

        Args:
            latents: latents of all chains, float32 `[N, *latent_shape]`.

        Returns:
            The whitened latents `u'`, same shape, which decode to the same signals as `latents` did;
            and `S`, float64 `[size, size]` with the size of the last axis, of `u = m + S u'`.
        """
        size = self.latent_shape[-1]
        rows = tf.reshape(tf.cast(latents, tf.float64), [-1, size])
        count = tf.cast(tf.shape(rows)[0], tf.float64)
        mean = tf.reduce_mean(rows, axis=0)
        covariance = tf.matmul(rows - mean, rows - mean, transpose_a=True) / count
        values, vectors = tf.linalg.eigh(covariance)
        # Few examples determine some directions badly; a lower bound keeps part of the prior there.
        values = tf.maximum(values, size / (count + size))
        root = tf.matmul(vectors * tf.sqrt(values), vectors, transpose_b=True)
        inverse = tf.matmul(vectors / tf.sqrt(values), vectors, transpose_b=True)
        scale = tf.cast(self.scale.value, tf.float64)
        self.mean.assign_add(tf.cast(tf.linalg.matvec(scale, mean), tf.float32))
        self.scale.assign(tf.cast(tf.matmul(scale, root), tf.float32))
        whitened = tf.matmul(rows - mean, inverse)
        return tf.reshape(tf.cast(whitened, tf.float32), tf.shape(latents)), root

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "latent_shape": self.latent_shape}

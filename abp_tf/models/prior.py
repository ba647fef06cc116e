"""The prior distribution of latents."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from abp_tf import latents as blocked
from abp_tf.distribution import replicas
from abp_tf.models import stateless
from abp_tf.observation import masking
from abp_tf.sampling.random import row_normal

# Latents that are converted to float64 at a time: a table may take a good part of the memory.
_BLOCK = 1 << 16


@keras.saving.register_keras_serializable(package="abp_tf")
class Prior(keras.layers.Layer):
    """The prior of the latents, `z = μ + A u` with `u ~ N(0, I)`: parameter expansion.

    The rest of the package calls `u` the latent; `z` is the input of the network. At first `μ = 0` and
    `A = I`, which is the plain model. `absorb` moves mean and covariance of the chains into `μ` and
    `A`, so that `N(0, I)` is again the distribution of the latents while no decoded signal changes
    (PX-EM: Liu, Rubin, Wu 1998, Biometrika 85, 755–770). `μ` and `A` act on the last axis; all
    positions of a latent grid share them. With several blocks each has its own.

    To use another prior, write a subclass with its own `energy` and `draw`, and pass it to
    `Generator(prior=...)`.

    Args:
        latent_shape: shape of one latent.
        blocks: shapes of the blocks of flat latents, as `networks.latent_blocks` returns them; None for
            one block.

    Attributes:
        means: μ of each block.
        scales: A of each block.
        frames: number of frames of an example that the network decodes one by one; 1 if it decodes all
            latents together.
        learns: whether `adapt` changes the prior. `Generator.fit` calls it at the end of each epoch.
        network: network that learns in each step, by `lesson`; None for none.
    """

    frames = 1
    learns = False
    network: keras.Model | None = None

    def __init__(self, latent_shape, blocks: blocked.Blocks | None = None, **kwargs):
        # Chains are float32, whatever dtype the network computes in.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_shape = tuple(latent_shape)
        self.blocks = tuple(tuple(shape) for shape in blocks or [self.latent_shape])
        self.means, self.scales = [], []
        for number, (*_, size) in enumerate(self.blocks):
            name = str(number or "")
            zeros = {"shape": (size,), "initializer": "zeros", "name": f"mean{name}"}
            self.means.append(self.add_weight(**zeros, trainable=False))
            square = {"shape": (size, size), "initializer": "identity", "name": f"scale{name}"}
            self.scales.append(self.add_weight(**square, trainable=False))
        self.built = True

    def call(self, latent: tf.Tensor) -> tf.Tensor:
        """Return `z` of `u`, both `[n, *latent_shape]`."""
        parts = zip(blocked.split(latent, self.blocks), self.means, self.scales, strict=True)
        return blocked.join([m + tf.tensordot(u, tf.transpose(scale), axes=1) for u, m, scale in parts])

    def inverse(self, z: tf.Tensor) -> tf.Tensor:
        """Return `u` of `z`, both `[n, *latent_shape]`: the latents of inputs of the network."""
        parts = zip(blocked.split(z, self.blocks), self.means, self.scales, strict=True)
        return blocked.join(
            [
                tf.tensordot(one - mean, tf.linalg.inv(tf.transpose(scale)), axes=1)
                for one, mean, scale in parts
            ]
        )

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
        """Return the share of observed entries on which the first block of latents depends.

        Args:
            weights: weights of the entries, 0 = hidden, float32 `[n, *observed_shape]`.

        Returns:
            float32 `[n]`, at least one entry per latent, or `[n, T]` for each position along the first
            axis of the latents; 0 where all is hidden. Of entries with unequal weights it is the share
            of as many equally weighted ones as have their information, times their squared weight
            (`masking.effective`).
        """
        # The curvature of few observed entries scatters about their share of the curvature of all.
        # With as many entries as latents, the largest stays below about 4 times the mean.
        entries, weight = masking.effective(weights)
        entries = tf.maximum(entries, math.prod(self.blocks[0]))
        return weight * tf.minimum(entries / math.prod(weights.shape[1:]), 1.0)

    def adapt(self, latents: tf.Tensor) -> None:
        """Learn parameters of the prior from the latents of all chains of this process.

        Of several processes each calls this with its own, and sums over all by `replicas.total`.

        Args:
            latents: float32 `[N, *latent_shape]`.
        """

    def lesson(self, latent: tf.Tensor, seeds: tf.Tensor, average: Callable) -> stateless.Lesson | None:
        """Return what the prior's `network` learns from a batch; None if there is no network.

        Args:
            latent: latents of the examples, draws from their posterior, float32 `[n, *latent_shape]`.
            seeds: seed pairs of the rows, int64 `[n, 2]`, for draws from the prior.
            average: function that averages over the rows of all replicas (`replicas.mean_over`).
        """
        return None

    def optimizer(self) -> keras.optimizers.Optimizer | None:
        """Return a new optimizer of the prior's `network`; None if there is no network."""
        return None

    def expect_expansions(self, expected: bool) -> None:
        """Prepare for an epoch in which `absorb` is called, or is not."""

    def absorb(self, latents: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Move mean `m` and covariance `S²` of each block of `latents` into its `μ` and `A`.

        Args:
            latents: latents of all chains of this process, float32 `[N, *latent_shape]`.

        Returns:
            The whitened latents `S⁻¹(u − m)`, same shape, which decode to the same signals as `latents`
            did; and `S` of each block, float64 `[size, size]`, the size of its last axis.
        """
        parts, roots = [], []
        for number, part in enumerate(blocked.split(latents, self.blocks)):
            mean, root, whitened = _whiten(part)
            scale = tf.cast(self.scales[number].value, tf.float64)
            self.means[number].assign_add(tf.cast(tf.linalg.matvec(scale, mean), tf.float32))
            self.scales[number].assign(tf.cast(tf.matmul(scale, root), tf.float32))
            parts.append(whitened)
            roots.append(root)
        return blocked.join(parts), roots

    def resized(self, latent_shape: tuple[int, ...]) -> Prior:
        """Return the same prior of latents of another shape; `μ` and `A` act on the channels alone."""
        other = type(self).from_config({**self.get_config(), "latent_shape": latent_shape})
        other.set_weights(self.get_weights())
        return other

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        blocks = self.blocks if len(self.blocks) > 1 else None
        return {**super().get_config(), "latent_shape": self.latent_shape, "blocks": blocks}


def _whiten(latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return mean `m` and root `S` of the covariance along the last axis, and `S⁻¹(u − m)`."""
    size = latents.shape[-1]
    rows = tf.reshape(latents, [-1, size])
    starts = range(0, max(len(rows), 1), _BLOCK)

    def each(function: Callable[[tf.Tensor], tf.Tensor]) -> list[tf.Tensor]:
        return [function(tf.cast(rows[at : at + _BLOCK], tf.float64)) for at in starts]

    count = tf.constant(len(rows), tf.float64)
    total = tf.add_n(each(lambda part: tf.reduce_sum(part, axis=0)))
    count, total = replicas.total((count, total))
    mean = total / count
    product = tf.add_n(each(lambda part: tf.matmul(part - mean, part - mean, transpose_a=True)))
    covariance = replicas.total(product) / count
    values, vectors = tf.linalg.eigh(covariance)
    # Few examples determine some directions badly; a lower bound keeps part of the prior there.
    values = tf.maximum(values, size / (count + size))
    root = tf.matmul(vectors * tf.sqrt(values), vectors, transpose_b=True)
    inverse = tf.matmul(vectors / tf.sqrt(values), vectors, transpose_b=True)
    whitened = each(lambda part: tf.cast(tf.matmul(part - mean, inverse), tf.float32))
    return mean, root, tf.reshape(tf.concat(whitened, axis=0), tf.shape(latents))

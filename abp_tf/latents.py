"""Latents: one persistent chain per training example, and the prior they are drawn from."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from abp_tf.chains import ChainTable
from abp_tf.noise import row_normal


@keras.saving.register_keras_serializable(package="abp_tf")
class LatentTable(ChainTable):
    """One latent per training example, addressed by the example's number.

    Warm-started chains are those of alternating back-propagation (arXiv 1606.08571).

    Args:
        latent_shape: shape of one latent.
        examples: number of rows; 0 leaves the table empty until `allocate`.
        seed: of the first draw, `N(0, I)`.
    """

    CONTENT = "latents"

    def __init__(self, latent_shape, examples: int = 0, seed: int = 0, **kwargs):
        self.seed = seed
        super().__init__(latent_shape, examples, **kwargs)

    @property
    def examples(self) -> int:
        """Number of rows."""
        return self.rows

    def draw(self, rows: int) -> tf.Tensor:
        """Draw from the prior."""
        return tf.random.stateless_normal([rows, *self.shape], [self.seed, 0])

    def claim(self, examples: int | None, fingerprint: int = 0, index=None) -> None:
        """Make sure that the chains are those of the data `fit` is about to use.

        Args:
            examples: number of examples; None where the data do not tell.
            fingerprint: checksum of the data, 0 where there is none.
            index: the examples' numbers, where they bring their own.

        Raises:
            ValueError: chains of other data are there, or a number does not fit the table.
        """
        if index is not None:
            examples = self.rows or examples
            if len(np.unique(index)) != len(index) or index.min() < 0 or index.max() >= examples:
                raise ValueError(
                    f"Index: expected distinct numbers from 0 to {examples - 1}, received "
                    f"{len(np.unique(index))} distinct ones among {len(index)}, from {index.min()} "
                    f"to {index.max()}."
                )
        if not examples:
            raise ValueError(
                "Persistent chains need to know the number of training examples, and the dataset "
                "does not tell. Say it: `Generator(..., examples=N)`."
            )
        other = self.fingerprint and fingerprint and self.fingerprint != fingerprint
        if self.rows and (self.rows != examples or other):
            raise ValueError(
                f"The chains belong to {self.rows} other training examples; these are {examples}"
                f"{' with other content' if other else ''}. Call `model.reset_chains()` to begin with "
                "other data."
            )
        if not self.rows:
            self.allocate(examples)
        self.fingerprint = fingerprint or self.fingerprint

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "latent_shape": self.shape,
            "examples": self.rows,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="abp_tf")
class Prior(keras.layers.Layer):
    """The prior of the latents, `z = μ + A u` with `u ~ N(0, I)`: parameter expansion.

    `u` is what the rest of the package calls the latent; `z` is what the network is fed. With
    `μ = 0` and `A = I`, where it starts, this is the plain model. `absorb` moves mean and covariance
    of the chains into `μ` and `A`, so that `N(0, I)` is again the distribution of the latents while
    no decoded signal changes (PX-EM: Liu, Rubin, Wu 1998, Biometrika 85, 755–770). `μ` and `A` act
    on the last axis, which positions of a latent grid share.

    Args:
        latent_shape: shape of one latent.
    """

    def __init__(self, latent_shape, **kwargs):
        # Chains stay float32 whatever the network computes in.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_shape = tuple(latent_shape)
        size = self.latent_shape[-1]
        self.mean = self.add_weight(shape=(size,), initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(
            shape=(size, size), initializer="identity", trainable=False, name="scale"
        )
        self.built = True

    def call(self, latent):
        """Map `u` to `z`, both `[n, *latent_shape]`."""
        return self.mean + tf.tensordot(latent, tf.transpose(self.scale), axes=1)

    def compute_output_shape(self, input_shape):
        """Return `input_shape`."""
        return input_shape

    def absorb(self, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Take mean `m` and covariance `S²` of `latents` into `μ` and `A`; return `S⁻¹(u − m)` and `S`.

        Args:
            latents: float32 `[N, *latent_shape]`, all chains.

        Returns:
            The whitened latents, same shape, what they decode to is what `latents` decoded to; and
            `S`, symmetric, float64 `[size, size]` with the size of the last axis.
        """
        size = self.latent_shape[-1]
        rows = tf.reshape(tf.cast(latents, tf.float64), [-1, size])
        count = tf.cast(tf.shape(rows)[0], tf.float64)
        mean = tf.reduce_mean(rows, axis=0)
        covariance = tf.matmul(rows - mean, rows - mean, transpose_a=True) / count
        values, vectors = tf.linalg.eigh(covariance)
        # Few examples say little about some directions: there the chains keep part of the prior.
        values = tf.maximum(values, size / (count + size))
        root = tf.matmul(vectors * tf.sqrt(values), vectors, transpose_b=True)
        inverse = tf.matmul(vectors / tf.sqrt(values), vectors, transpose_b=True)
        scale = tf.cast(self.scale.value, tf.float64)
        self.mean.assign_add(tf.cast(tf.linalg.matvec(scale, mean), tf.float32))
        self.scale.assign(tf.cast(tf.matmul(scale, root), tf.float32))
        whitened = tf.matmul(rows - mean, inverse)
        return tf.reshape(tf.cast(whitened, tf.float32), tf.shape(latents)), root

    def draw(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw latents `u ~ N(0, I)`, one from each seed pair of `[n, 2]`."""
        return row_normal(seeds, list(self.latent_shape))

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "latent_shape": self.latent_shape}

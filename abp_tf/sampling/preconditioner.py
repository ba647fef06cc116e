"""A preconditioner: Langevin dynamics in coordinates in which posteriors are round."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

CHUNK = 16  # latents at a time, to bound the memory of their derivatives


@keras.saving.register_keras_serializable(package="abp_tf")
class Preconditioner(keras.layers.Layer):
    """The linear map `R` of `u = u₀ + R w`; Langevin dynamics run on `w`.

    With `R Rᵀ = P` a step of `w` is a step `u ← u − (δ²/2) P ∇U(u) + δ √T R ε`: Langevin dynamics
    with the fixed metric `P⁻¹` (Roberts and Stramer 2002; Girolami and Calderhead 2011), which has
    the same equilibrium. `P` is the inverse of `s G + I`, where `G` is the mean over examples of
    `JᵀJ/σ²`, `J` is the derivative of the observed entries of the decoded signal, and `s` is the share
    of entries that the mask of the example marks as observed. So stiff and slack directions of the
    posterior are explored at one pace, whatever the network, σ and the mask; 0.5 is a step size to
    begin with. At first `G = 0` and `R = I`, which is the plain algorithm. `R` acts on the last axis of
    the latents, as `Prior` does.

    If the prior connects the `T` frames of a sequence, its precision takes the place of `I`, and each
    frame has its own `s`. Then `R` acts on time too, by the inverse Cholesky factor of a matrix `T × T`
    for each example and eigenvector of `G`.

    Args:
        latent_shape: shape of one latent.
    """

    def __init__(self, latent_shape, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_shape = tuple(latent_shape)
        size = self.latent_shape[-1]
        # Eigenvectors of G, as columns, and its eigenvalues: they give R for any share at little cost.
        self.vectors = self.add_weight(
            shape=(size, size), initializer="identity", trainable=False, name="vectors"
        )
        self.values = self.add_weight(
            shape=(size,), initializer="zeros", trainable=False, name="values"
        )
        self.built = True

    def call(self, displacement, share=None):
        """Return `R w`, `[n, *latent_shape]`; see `root`."""
        return self.root(share)(displacement)

    def root(self, share=None, precision=None) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function that multiplies displacements `w`, float32 `[n, *latent_shape]`, by `R`.

        Args:
            share: s of each example, float32 `[n]`, or of each position along the first axis of its
                latents, `[n, T]`; None means 1.
            precision: precision of the prior along the first axis, for each entry of the last axis,
                float32 `[size, T, T]`; None means `I`.
        """
        vectors = tf.convert_to_tensor(self.vectors)
        values = tf.reshape(tf.convert_to_tensor(self.values), [*[1] * len(self.latent_shape), -1])
        if share is not None:
            ones = [1] * (len(self.latent_shape) + 1 - share.shape.rank)
            values *= tf.reshape(share, [-1, *share.shape[1:], *ones])
        if precision is None:
            scale = tf.math.rsqrt(values + 1.0)

            def stretch(along):
                return along * scale
        else:
            stretch = self._stretch_in_time(values, vectors, precision)

        def root(displacement):
            along = tf.tensordot(displacement, vectors, axes=1)
            return tf.tensordot(stretch(along), tf.transpose(vectors), axes=1)

        return root

    def _stretch_in_time(self, values, vectors, precision) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return `R` in the coordinates of the eigenvectors, where only time is mixed."""
        frames, size = self.latent_shape[0], self.latent_shape[-1]
        # Latents of different precision are mixed by the eigenvectors; between two of these the prior
        # is left out. In float64, because strongly correlated frames have nearly singular matrices.
        values, vectors, precision = (
            tf.cast(part, tf.float64) for part in (values, vectors, precision)
        )
        prior = tf.tensordot(vectors**2, precision, [[0], [0]])
        rows = tf.reshape(values, [tf.shape(values)[0], -1, size]) * tf.ones([frames, 1], tf.float64)
        factor = tf.linalg.cholesky(prior + tf.linalg.diag(tf.transpose(rows, [0, 2, 1])))
        identity = tf.eye(frames, batch_shape=tf.shape(factor)[:2], dtype=tf.float64)
        inverse = tf.cast(tf.linalg.triangular_solve(factor, identity), tf.float32)

        def stretch(along):
            parts = tf.reshape(along, [-1, frames, along.shape[1:-1].num_elements() // frames, size])
            parts = tf.transpose(parts, [0, 3, 1, 2])
            parts = tf.matmul(inverse, parts, transpose_a=True)
            return tf.reshape(tf.transpose(parts, [0, 2, 3, 1]), tf.shape(along))

        return stretch

    def compute_output_shape(self, input_shape, share_shape=None):
        """Return `input_shape`."""
        return input_shape

    def estimate(self, decode: Callable, latents: tf.Tensor) -> None:
        """Set `G` to the mean of `JᵀJ/σ²` at `latents`.

        Args:
            decode: function that maps latents `[n, *latent_shape]` to the observed data of their
                signals, in units of σ, `[n, ...]`.
            latents: float32 `[n, *latent_shape]`, current states of some chains.
        """
        size = self.latent_shape[-1]
        parts = [_gram(decode, latents[at : at + CHUNK]) for at in range(0, latents.shape[0], CHUNK)]
        positions = tf.size(latents[0]) // size
        self._assign(tf.add_n(parts) / tf.cast(latents.shape[0] * positions, tf.float64))

    def grow(self, factor: tf.Tensor) -> None:
        """Multiply `G` by a factor, a scalar, such as that by which `1/σ²` has grown."""
        self.values.assign(self.values * tf.cast(factor, tf.float32))

    def follow(self, root: tf.Tensor) -> None:
        """Replace `G` by `Sᵀ G S`, for latents that are now written as `u = m + S u'`.

        Args:
            root: `S`, float64 `[size, size]`, as `Prior.absorb` returns it.
        """
        vectors, values = (tf.cast(part, tf.float64) for part in (self.vectors, self.values))
        metric = tf.matmul(vectors * values, vectors, transpose_b=True)
        self._assign(tf.transpose(root) @ metric @ root)

    def _assign(self, metric: tf.Tensor) -> None:
        values, vectors = tf.linalg.eigh(metric)
        self.values.assign(tf.cast(tf.maximum(values, 0.0), tf.float32))
        self.vectors.assign(tf.cast(vectors, tf.float32))

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "latent_shape": self.latent_shape}


def _gram(decode: Callable, latents: tf.Tensor) -> tf.Tensor:
    """Sum `JᵀJ` over examples and positions, `[size, size]` on the last axis of the latents."""
    size = latents.shape[-1]
    # With random signs, products between two positions of a grid average to 0.
    signs = tf.random.stateless_uniform(latents.shape[1:-1], [0, 0], 0, 2, tf.int32)
    signs = tf.cast(2 * signs - 1, tf.float32)[..., None]

    def derivative(number):
        tangent = tf.zeros_like(latents) + signs * tf.one_hot(number, size)
        with tf.autodiff.ForwardAccumulator(latents, tangent) as accumulator:
            signal = decode(latents)
        return tf.reshape(accumulator.jvp(signal), [-1])

    columns = tf.map_fn(derivative, tf.range(size), fn_output_signature=tf.float32)
    columns = tf.cast(columns, tf.float64)
    return tf.matmul(columns, columns, transpose_b=True)

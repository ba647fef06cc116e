"""A preconditioner: Langevin dynamics in coordinates in which posteriors are round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from abp_tf import latents as blocked
from abp_tf.sampling.base import norm, repeat

POWERS = 20  # power iterations for a largest eigenvalue
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

    Of several blocks each has its own `R`. The first, global one is as above. Of a grid of local
    latents `G` is the largest eigenvalue of `JᵀJ/σ²` times `I`: neighbours are coupled, so that the
    diagonal of `JᵀJ` would be too small. And `s` is 1 there, because all of a part of the signal may be
    observed.

    Args:
        latent_shape: shape of one latent.
        blocks: shapes of the blocks of flat latents, as `networks.latent_blocks` returns them; None for
            one block.
    """

    def __init__(self, latent_shape, blocks: blocked.Blocks | None = None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.latent_shape = tuple(latent_shape)
        self.blocks = tuple(tuple(shape) for shape in blocks or [self.latent_shape])
        # Eigenvectors of G, as columns, and its eigenvalues: they give R for any share at little cost.
        self.vectors, self.values = [], []
        for number, (*_, size) in enumerate(self.blocks):
            name = str(number or "")
            self.vectors.append(self._constant((size, size), "identity", f"vectors{name}"))
            self.values.append(self._constant((size,), "zeros", f"values{name}"))
        self.built = True

    def _constant(self, shape, initializer, name):
        return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

    def call(self, displacement, share=None):
        """Return `R w`, `[n, *latent_shape]`.

        Args:
            displacement: `w`, float32 `[n, *latent_shape]`.
            share: s of each example, float32 `[n]`; None means 1.
        """
        parts = []
        for number, part in enumerate(blocked.split(displacement, self.blocks)):
            values = tf.convert_to_tensor(self.values[number])
            if share is not None and number == 0:
                values *= _rows(share, part)
            vectors = self.vectors[number]
            along = tf.tensordot(part, vectors, axes=1) * tf.math.rsqrt(values + 1.0)
            parts.append(tf.tensordot(along, tf.transpose(vectors), axes=1))
        return blocked.join(parts)

    def compute_output_shape(self, input_shape, share_shape=None):
        """Return `input_shape`."""
        return input_shape

    def estimate(self, decode: Callable, latents: tf.Tensor, sigma: float) -> None:
        """Set `G` to the mean of `JᵀJ/σ²` at `latents`.

        Args:
            decode: function that maps latents `[n, *latent_shape]` to the observed data of their
                signals, `[n, ...]`.
            latents: float32 `[n, *latent_shape]`, current states of some chains.
            sigma: σ of the model, in units of the signal.
        """
        chunks = [latents[at : at + CHUNK] for at in range(0, latents.shape[0], CHUNK)]
        for number, shape in enumerate(self.blocks):
            measure = _gram if number == 0 else _largest
            parts = [measure(*self._alone(decode, chunk, number)) for chunk in chunks]
            positions = math.prod(shape[:-1]) if number == 0 else 1
            mean = tf.add_n(parts) / tf.cast(latents.shape[0] * positions, tf.float64)
            self._assign(number, mean / sigma**2)

    def follow(self, roots: Sequence[tf.Tensor]) -> None:
        """Replace `G` by `S G S`, for latents that are now written as `u = m + S u'`.

        Args:
            roots: `S` of each block, symmetric, float64 `[size, size]`, as `Prior.absorb` returns them.
        """
        for number, root in enumerate(roots):
            vectors, values = (
                tf.cast(part[number], tf.float64) for part in (self.vectors, self.values)
            )
            metric = tf.matmul(vectors * values, vectors, transpose_b=True)
            self._assign(number, root @ metric @ root)

    def _alone(self, decode, latents, number) -> tuple[Callable, tf.Tensor]:
        """Return `decode` as a function of one block, the others held fixed, and that block."""
        parts = blocked.split(latents, self.blocks)

        def decode_part(part):
            return decode(blocked.join([*parts[:number], part, *parts[number + 1 :]]))

        return decode_part, parts[number]

    def _assign(self, number: int, metric: tf.Tensor) -> None:
        values, vectors = tf.linalg.eigh(metric)
        self.values[number].assign(tf.cast(tf.maximum(values, 0.0), tf.float32))
        self.vectors[number].assign(tf.cast(vectors, tf.float32))

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        blocks = self.blocks if len(self.blocks) > 1 else None
        return {**super().get_config(), "latent_shape": self.latent_shape, "blocks": blocks}


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


def _largest(decode: Callable, latents: tf.Tensor) -> tf.Tensor:
    """Sum the largest eigenvalues of `JᵀJ` over examples, times `I` on the last axis of the latents."""
    direction = tf.random.stateless_normal(latents.shape, [0, 0])

    def product(direction):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(latents)
            with tf.autodiff.ForwardAccumulator(latents, direction) as accumulator:
                signal = decode(latents)
        return tape.gradient(signal, latents, output_gradients=accumulator.jvp(signal))

    def iterate(_, carry):
        along = product(carry[0])
        size = norm(along)
        return tf.math.divide_no_nan(along, _rows(size, latents)), size

    direction /= _rows(norm(direction), latents)
    _, size = repeat(iterate, (direction, tf.zeros([latents.shape[0]])), POWERS)
    return tf.cast(tf.reduce_sum(size), tf.float64) * tf.eye(latents.shape[-1], dtype=tf.float64)


def _rows(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Return a number per row so that it broadcasts against `like`."""
    return tf.reshape(values, [-1, *[1] * (like.shape.rank - 1)])

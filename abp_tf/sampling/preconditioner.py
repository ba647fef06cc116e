"""A preconditioner: Langevin dynamics in coordinates in which posteriors are round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from abp_tf import latents as blocked
from abp_tf.sampling.base import norm, repeat

POWERS = 20  # power iterations for a largest eigenvalue
FLOOR = 1e-3  # least eigenvalue of a grid's metric, relative to the largest
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

    Of several blocks each has its own `R`, the first, global one as above. Of a grid of local latents
    `G` is the mean Gram matrix of the channels of one position, times the factor that bounds `JᵀJ/σ²`
    of the whole grid: neighbours are coupled, so that without the factor steps would be far too long.
    There `s` is a share for each position, because all may be observed of one part of a signal and
    nothing of another, where latents move at the pace of their prior.

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
            square = {"shape": (size, size), "initializer": "identity", "name": f"vectors{name}"}
            self.vectors.append(self.add_weight(**square, trainable=False))
            zeros = {"shape": (size,), "initializer": "zeros", "name": f"values{name}"}
            self.values.append(self.add_weight(**zeros, trainable=False))
        self.built = True

    def call(self, displacement: tf.Tensor, share: Sequence[tf.Tensor] | None = None) -> tf.Tensor:
        """Return `R w`, `[n, *latent_shape]`; see `root`."""
        return self.root(share)(displacement)

    def root(
        self,
        share: Sequence[tf.Tensor] | None = None,
        precision: tf.Tensor | None = None,
        inverse: bool = False,
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function that multiplies displacements `w`, float32 `[n, *latent_shape]`, by `R`.

        Args:
            share: s of each block: of each example, float32 `[n]`, of each position of a grid, `[n,
                *positions]`, or of each frame, `[n, T]`; None means 1.
            precision: precision of the prior along the first axis of latents in one block, for each
                entry of the last axis, float32 `[size, T, T]`; None means `I`.
            inverse: whether the function multiplies by `R⁻¹` instead.
        """
        vectors = [tf.convert_to_tensor(one) for one in self.vectors]
        stretches = [
            self._stretch(number, share and share[number], precision, inverse)
            for number in range(len(self.blocks))
        ]

        def root(displacement):
            parts = []
            for number, part in enumerate(blocked.split(displacement, self.blocks)):
                along = stretches[number](tf.tensordot(part, vectors[number], axes=1))
                parts.append(tf.tensordot(along, tf.transpose(vectors[number]), axes=1))
            return blocked.join(parts)

        return root

    def _stretch(self, number, share, precision, inverse) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return `R` of a block, or its inverse, in the coordinates of its eigenvectors."""
        rank = len(self.blocks[number])
        values = tf.reshape(tf.convert_to_tensor(self.values[number]), [*[1] * rank, -1])
        if share is not None:
            values *= _broadcast(share, rank + 1)
        if precision is not None:
            vectors = tf.convert_to_tensor(self.vectors[number])
            return self._stretch_in_time(values, vectors, precision, inverse)
        scale = tf.sqrt(values + 1.0) if inverse else tf.math.rsqrt(values + 1.0)
        return lambda along: along * scale

    def _stretch_in_time(self, values, vectors, precision, inverse) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return `R`, or its inverse, in the coordinates of the eigenvectors, where time is mixed."""
        frames, size = self.latent_shape[0], self.latent_shape[-1]
        # Latents of different precision are mixed by the eigenvectors; between two of these the prior
        # is left out. In float64, because strongly correlated frames have nearly singular matrices.
        values, vectors, precision = (
            tf.cast(part, tf.float64) for part in (values, vectors, precision)
        )
        prior = tf.tensordot(vectors**2, precision, [[0], [0]])
        rows = tf.reshape(values, [tf.shape(values)[0], -1, size]) * tf.ones([frames, 1], tf.float64)
        factor = tf.linalg.cholesky(prior + tf.linalg.diag(tf.transpose(rows, [0, 2, 1])))
        if not inverse:
            identity = tf.eye(frames, batch_shape=tf.shape(factor)[:2], dtype=tf.float64)
            factor = tf.linalg.triangular_solve(factor, identity)
        factor = tf.cast(factor, tf.float32)

        def stretch(along):
            parts = tf.reshape(along, [-1, frames, along.shape[1:-1].num_elements() // frames, size])
            parts = tf.transpose(parts, [0, 3, 1, 2])
            parts = tf.matmul(factor, parts, transpose_a=True)
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
        chunks = [latents[at : at + CHUNK] for at in range(0, latents.shape[0], CHUNK)]
        for number, (*sides, _) in enumerate(self.blocks):
            parts = [self._alone(decode, chunk, number) for chunk in chunks]
            count = tf.cast(latents.shape[0] * math.prod(sides), tf.float64)
            metric = tf.add_n([_gram(*part) for part in parts]) / count
            if number > 0:
                metric = self._bound(metric, parts, latents.shape[0])
            self._assign(number, metric)

    def grow(self, factor: tf.Tensor) -> None:
        """Multiply `G` by a factor, a scalar, such as that by which `1/σ²` has grown."""
        for values in self.values:
            values.assign(values * tf.cast(factor, tf.float32))

    def follow(self, roots: Sequence[tf.Tensor]) -> None:
        """Replace `G` by `Sᵀ G S`, for latents that are now written as `u = m + S u'`.

        Args:
            roots: `S` of each block, float64 `[size, size]`, as `Prior.absorb` returns them.
        """
        for number, root in enumerate(roots):
            vectors, values = (
                tf.cast(part[number], tf.float64) for part in (self.vectors, self.values)
            )
            metric = tf.matmul(vectors * values, vectors, transpose_b=True)
            self._assign(number, tf.transpose(root) @ metric @ root)

    def _alone(self, decode, latents, number) -> tuple[Callable, tf.Tensor]:
        """Return `decode` as a function of one block, the others held fixed, and that block."""
        parts = blocked.split(latents, self.blocks)

        def decode_part(part):
            return decode(blocked.join([*parts[:number], part, *parts[number + 1 :]]))

        return decode_part, parts[number]

    @staticmethod
    def _bound(metric, parts, scale) -> tf.Tensor:
        """Return a multiple of a grid's `G` of single positions that bounds `JᵀJ/σ²` of the grid."""
        values, vectors = tf.linalg.eigh(metric)
        values = tf.maximum(values, FLOOR * values[-1]) + 1e-12
        inverse = tf.matmul(vectors / tf.sqrt(values), vectors, transpose_b=True)
        largest = [_largest(decode, one, tf.cast(inverse, tf.float32)) for decode, one in parts]
        factor = tf.cast(tf.add_n(largest), tf.float64) / scale
        return factor * tf.matmul(vectors * values, vectors, transpose_b=True)

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


def _largest(decode: Callable, latents: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Sum the largest eigenvalues of `C JᵀJ C` over examples, with `C` symmetric on the last axis."""

    def product(direction):
        direction = tf.tensordot(direction, scale, axes=1)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(latents)
            with tf.autodiff.ForwardAccumulator(latents, direction) as accumulator:
                signal = decode(latents)
        along = tape.gradient(signal, latents, output_gradients=accumulator.jvp(signal))
        return tf.tensordot(along, scale, axes=1)

    def iterate(_, carry):
        along = product(carry[0])
        size = norm(along)
        return tf.math.divide_no_nan(along, _broadcast(size, latents.shape.rank)), size

    direction = tf.random.stateless_normal(latents.shape, [0, 0])
    direction /= _broadcast(norm(direction), latents.shape.rank)
    _, size = repeat(iterate, (direction, tf.zeros([latents.shape[0]])), POWERS)
    return tf.reduce_sum(size)


def _broadcast(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Return numbers of rows, or of positions of rows, with axes of 1 behind them up to a rank."""
    more = [1] * (rank - values.shape.rank)
    return tf.reshape(values, tf.concat([tf.shape(values), more], axis=0))

"""A prior of latents that follow each other in time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.distribution import replicas
from abp_tf.models.prior import Prior
from abp_tf.observation import masking

# Largest correlation of the two frames that are closest in time. Beyond it the prior is so narrow
# between frames that chains of latents would need steps too short to move.
MOST = 0.999
# Half-widths of the grids, each around the best point of the one before, in which the correlation is
# searched, and their numbers of points.
SPREADS, POINTS = (0.5, 0.025, 0.00125), 41


@keras.saving.register_keras_serializable(package="abp_tf")
class TimePrior(Prior):
    """The prior `z_t | z_{t−1} ~ N(φ^Δt z_{t−1}, (1 − φ^{2Δt}) I)` of the latents of successive frames.

    An example is a sequence of `T` frames. Its latents, `[T, ..., d]`, are a stationary Gaussian
    process in time: those of each frame alone are `N(0, I)`, and those of two frames at the times `s`
    and `t` have the correlation `φ^|t − s|`. So a hidden frame is inferred from those around it. There
    is one `φ` for each of the `d` latents; with `φ = 0`, the plain prior, frames are independent. A
    network that decodes each frame by itself is `abp_tf.networks.frame_by_frame`.

    `φ` is learned from the chains at the end of each epoch, by maximum likelihood. Parameter expansion
    (`Prior`) turns the latents too, so that they become uncorrelated at different times.

    Chains of strongly correlated latents move slowly, and through a long run of hidden frames very
    slowly, unless the `Generator` has `preconditioning=True`.

    Args:
        latent_shape: shape of the latents of one sequence, frames first: `(T, d)` or `(T, ..., d)`.
        times: times of the `T` frames, increasing, in any unit; None means 0, 1, …, T − 1.
        correlation: first value of `φ`, the correlation of latents that are one unit of time apart, in
            [0, 1).
        learn: whether `φ` is learned; False keeps `correlation`.

    Attributes:
        correlation: `φ`, float32 weights `[d]`.

    Raises:
        ValueError: if an argument cannot be used.

    Example:
        >>> frame = abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
        >>> network = abp_tf.networks.frame_by_frame(frame, frames=10)
        >>> model = abp_tf.Generator(network, prior=TimePrior((10, 4), correlation=0.9))
        >>> model.synthesize(2).shape
        (2, 10, 16, 16, 1)
    """

    def __init__(
        self,
        latent_shape,
        times: Sequence[float] | None = None,
        correlation: float = 0.0,
        learn: bool = True,
        **kwargs,
    ):
        super().__init__(latent_shape, **kwargs)
        if len(self.latent_shape) < 2:
            raise ValueError(
                "TimePrior expected a latent_shape with frames first, (frames, latents), received "
                f"{self.latent_shape}. Build the network with `networks.frame_by_frame`."
            )
        self.frames, size = self.latent_shape[0], self.latent_shape[-1]
        self.times = None if times is None else tuple(map(float, times))
        self.learns = checks.instance_of(bool)("TimePrior", "learn", learn)
        self.gaps = _gaps(self.times, self.frames)
        most = MOST ** (1 / min(self.gaps, default=1.0))
        self._first = checks.share("TimePrior", "correlation", correlation)
        if self._first > most:
            raise ValueError(
                f"TimePrior expected a `correlation` of at most {most:g}, received {correlation!r}: "
                f"the two closest frames must have one of at most {MOST}. "
                "Lower it, or leave out frames."
            )
        self.correlation = self.add_weight(
            shape=(size,),
            initializer=keras.initializers.Constant(self._first),
            trainable=False,
            name="correlation",
        )

    def energy(self, latent: tf.Tensor) -> tf.Tensor:
        """Return `½ ‖z_0‖² + ½ Σ_t ‖z_t − φ^Δt z_{t−1}‖² / (1 − φ^{2Δt})` of latents, `[n]`."""
        decay = self._decay()
        before = tf.concat([tf.zeros_like(latent[:, :1]), latent[:, :-1]], axis=1)
        return masking.square((latent - decay * before) / tf.sqrt(1 - decay**2)) / 2

    def draw(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw sequences of latents, float32 `[n, *latent_shape]`, from seed pairs `[n, 2]`."""
        decay = self._decay()
        deviation = tf.sqrt(1 - decay**2)
        # One row after the other, so that a row is bit for bit the same in any batch.
        return tf.map_fn(lambda noise: _follow(decay, deviation * noise), super().draw(seeds))

    def precision(self) -> tf.Tensor:
        """Return the precision matrix in time of each latent under the prior, float32 `[d, T, T]`."""
        decay = tf.transpose(tf.reshape(self._decay(), [self.frames, -1]))
        inverse = 1 / (1 - decay**2)
        later = tf.pad((decay**2 * inverse)[:, 1:], [[0, 0], [0, 1]])
        beside = -(decay * inverse)[:, 1:]
        off = tf.linalg.diag(beside, k=1) + tf.linalg.diag(beside, k=-1)
        return tf.linalg.diag(inverse + later) + off

    def share(self, weights: tf.Tensor) -> tf.Tensor:
        """Return the share of observed entries of each frame, `[n, T]`; 0 for a hidden frame.

        If the first axis of the data is not that of the frames, it is the share of each example, `[n]`.

        Args:
            weights: weights of the entries, 0 = hidden, float32 `[n, *observed_shape]`.
        """
        if weights.shape[1] != self.frames:
            return super().share(weights)
        entries = math.prod(weights.shape[2:])
        count, weight = masking.effective(tf.reshape(weights, [-1, entries]))
        least = float(min(math.prod(self.latent_shape[1:]), entries))
        return tf.reshape(weight * tf.maximum(count, least) / entries, [-1, self.frames])

    def absorb(self, latents: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Move mean and covariance of `latents` into `μ` and `A`; see `Prior.absorb`.

        If `φ` is learned, a rotation `Q` also turns the whitened latents, so that different ones have
        no correlation from one frame to the next, as the prior assumes; `A` becomes `A S Q`.

        Returns:
            The latents `Qᵀ S⁻¹ (u − m)`, and a list of `S Q`.
        """
        latents, roots = super().absorb(latents)
        if not self.learns or self.frames == 1:
            return latents, roots
        size = self.latent_shape[-1]
        exact = tf.cast(latents, tf.float64)
        before, after = (tf.reshape(part, [-1, size]) for part in (exact[:, :-1], exact[:, 1:]))
        product = replicas.total(tf.matmul(before, after, transpose_a=True))
        _, turn = tf.linalg.eigh(product + tf.transpose(product))
        scale = self.scales[0]
        scale.assign(tf.cast(tf.cast(scale.value, tf.float64) @ turn, tf.float32))
        latents = tf.cast(tf.tensordot(exact, turn, axes=1), tf.float32)
        self.adapt(latents)
        return latents, [roots[0] @ turn]

    def adapt(self, latents: tf.Tensor) -> None:
        """Set `φ` to its maximum-likelihood value for the latents of all chains, `[N, *latent_shape]`.

        As the latents are draws from their posterior, this is the second half of a step of stochastic
        EM (Celeux and Diebolt 1985).
        """
        if self.frames == 1:
            return
        rows = np.asarray(latents, np.float64).reshape(-1, self.frames, *self.latent_shape[1:])
        rows = np.moveaxis(rows, 1, 0).reshape(self.frames, -1, self.latent_shape[-1])
        closest = self.gaps.min()
        found = _correlation(rows, self.gaps / closest)
        self.correlation.assign((found ** (1 / closest)).astype(np.float32))

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        config = {"times": self.times, "correlation": self._first, "learn": self.learns}
        return {**super().get_config(), **config}

    def _decay(self) -> tf.Tensor:
        """Return `φ^Δt` of each frame and latent, `[T, 1, ..., d]`; 0 for the first frame."""
        gaps = tf.constant(self.gaps[:, None], tf.float32)
        decay = tf.pad(tf.convert_to_tensor(self.correlation) ** gaps, [[1, 0], [0, 0]])
        return tf.reshape(decay, [self.frames, *[1] * (len(self.latent_shape) - 2), -1])


def _follow(decay: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Return `z_t = a_t z_{t−1} + b_t` of `a` and `b`, `[T, ...]`, for all `t` at once; `a_0` is 0."""
    reach, frames = 1, noise.shape[0]
    while reach < frames:  # each round doubles how far back a_t and b_t reach
        later = [[reach, 0], *[[0, 0]] * (noise.shape.rank - 1)]
        noise += decay * tf.pad(noise[:-reach], later)
        decay *= tf.pad(decay[:-reach], later)
        reach *= 2
    return noise


def _gaps(times: tuple[float, ...] | None, frames: int) -> np.ndarray:
    """Return the differences of successive times, float64 `[frames − 1]`, or raise ValueError."""
    if times is None:
        return np.ones(frames - 1)
    if len(times) != frames or not np.isfinite(times).all():
        raise ValueError(
            f"TimePrior expected {frames} times, one per frame, all finite, received {len(times)}, of "
            f"which {np.isfinite(times).sum()} are finite."
        )
    gaps = np.diff(times)
    if (gaps <= 0).any():
        at = int(np.argmax(gaps <= 0))
        raise ValueError(
            f"TimePrior expected increasing times, received {times[at]:g} followed by "
            f"{times[at + 1]:g} at frame {at + 1}. Sort the frames by time, and keep one of each time."
        )
    return gaps


def _correlation(rows: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return the correlation over a gap of 1 that makes sequences of variance 1 most likely.

    Args:
        rows: sequences, float64 `[T, N, d]`.
        gaps: from each frame to the next, `[T − 1]`; the smallest is 1.

    Returns:
        float64 `[d]`, in [0, 0.999].
    """
    parts = rows[:-1] ** 2, rows[1:] ** 2, rows[:-1] * rows[1:]
    count, *sums = replicas.total([np.float64(rows.shape[1]), *(part.sum(1) for part in parts)])
    earlier, later, product = (np.asarray(part) / np.asarray(count) for part in sums)

    def cost(correlation):
        """Return −2 log p of a sequence, up to a constant, `[d]`."""
        decay = correlation ** gaps[:, None]
        left = 1 - decay**2
        square = later - 2 * decay * product + decay**2 * earlier
        return (square / left + np.log(left)).sum(0)

    best = np.full(rows.shape[-1], 0.5)
    for spread in SPREADS:
        grid = np.clip(best + np.linspace(-spread, spread, POINTS)[:, None], 0, MOST)
        best = grid[np.argmin([cost(each) for each in grid], axis=0), np.arange(len(best))]
    return best

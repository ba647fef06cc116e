"""Linear operators through which a model observes signals: projections, coarser grids, blur, your own.

An operator belongs to the model. A mask belongs to an example and is part of the data; with both, the
mask marks which entries of the operator's output are observed.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks

ROUNDING = 1e-5  # rounding error of a mean of numbers, as a share of their range


class Observation(abc.ABC):
    """A fixed linear operator `S`: data are `y = S x + σ ε` instead of whole signals `x`.

    A subclass is a frozen dataclass that is registered with Keras and defines `__call__`. `S` must be a
    function of the fields and of the signal's shape alone, because a saved model stores nothing else of
    it.

    Example:
        >>> @keras.saving.register_keras_serializable("mine")
        ... @dataclasses.dataclass(frozen=True)
        ... class Every(Observation):
        ...     step: int
        ...     def __call__(self, signal):
        ...         return signal[:, :: self.step]
        >>> Every(2).observed_shape((10, 1))
        (5, 1)
    """

    @abc.abstractmethod
    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Return the observed data of signals, float32 `[n, *signal_shape]`: `[n, *observed_shape]`."""

    def observed_shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the observed data of one signal of `signal_shape`.

        Raises:
            ValueError: if the operator cannot observe such signals.
        """
        return tuple(self(tf.zeros([1, *signal_shape])).shape[1:])

    def observed_range(self, signal_range: tuple[float, float]) -> tuple[float, float] | None:
        """Return the interval of observed entries of signals in `signal_range`; None if unbounded."""
        return None

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]  # subclasses are dataclasses

    @classmethod
    def from_config(cls, config: dict) -> Observation:
        """Return the operator that `get_config` describes."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Projection(Observation):
    """Compressed sensing: `size` random projections of the flattened signal.

    The rows of `S` are orthonormal, uniformly distributed, and computed from the seed when they are
    needed, never stored. So σ keeps its unit: an entry of `y` is about as large as one of `x`, and as
    many projections as the signal has entries determine the signal. The first rows do not depend on the
    size.

    Args:
        size: number of projections, at most the number of entries of a signal.
        seed: integer seed of the projections, 0 to 2³² − 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> Projection(200).observed_shape((28, 28, 1))
        (200,)
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.integer("Projection", "size", self.size, 1)
        if checks.integer("Projection", "seed", self.seed, 0) >= 2**32:
            raise ValueError(f"Projection expected a `seed` below 2³², received {self.seed}.")

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Return the projections of signals, `[n, *signal_shape]`: `[n, size]`."""
        self.observed_shape(tuple(signal.shape[1:]))  # raises an error if they do not fit
        entries = math.prod(signal.shape[1:])
        rows = _orthonormal_rows(self.size, entries, self.seed)
        return tf.matmul(tf.reshape(signal, [-1, entries]), rows, transpose_b=True)

    def observed_shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `(size,)`."""
        if self.size > math.prod(signal_shape):
            raise ValueError(
                f"Projection expected a size of at most {math.prod(signal_shape)}, the number of "
                f"entries of a signal of shape {tuple(signal_shape)}, received {self.size}."
            )
        return (self.size,)


@functools.lru_cache(maxsize=4)
def _orthonormal_rows(size: int, entries: int, seed: int) -> tf.Tensor:
    """Return `size` random orthonormal rows, float32 `[size, entries]`."""
    # RandomState, because NumPy promises never to change its stream.
    draw = np.random.RandomState(seed).standard_normal((size, entries))
    columns, triangle = np.linalg.qr(draw.T)
    columns *= np.sign(np.diag(triangle))  # QR leaves the signs open; these are Gram and Schmidt's
    with tf.init_scope():  # one tensor, shared by all functions that are traced with it
        return tf.constant(columns.T, tf.float32)


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Coarser(Observation):
    """Super-resolution: means over cells of `factor` entries along every spatial axis.

    Args:
        factor: side of a cell; it divides all axes of the signal but the last, the channels.

    Raises:
        ValueError: if the factor is below 1.

    Example:
        >>> Coarser(4).observed_shape((28, 28, 3))
        (7, 7, 3)
    """

    factor: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.integer("Coarser", "factor", self.factor, 1)

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Return the means of signals, `[n, *spatial, channels]`, over cells."""
        self.observed_shape(tuple(signal.shape[1:]))  # raises an error if they do not fit
        shape = [-1, *signal.shape[1:]]
        for axis in range(1, len(shape) - 1):  # one by one, as TensorFlow has no gradient for more axes
            shape[axis] //= self.factor
            after = math.prod(shape[axis + 1 :])
            cells = tf.reshape(signal, [-1, shape[axis], self.factor, after])
            signal = tf.reduce_mean(cells, axis=2)
        return tf.reshape(signal, shape)

    def observed_shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with spatial axes divided by the factor."""
        *spatial, channels = _checked_grid(self, signal_shape)
        if any(side % self.factor for side in spatial):
            common = math.gcd(*spatial)
            valid = [factor for factor in range(1, common + 1) if common % factor == 0]
            below = [side - side % self.factor for side in spatial]
            near = f", or cut the signals to {below}" if all(below) else ""
            raise ValueError(
                f"Coarser expected a factor that divides the spatial axes {spatial} of the signal, "
                f"received {self.factor}. Use one of {valid}{near}."
            )
        return (*(side // self.factor for side in spatial), channels)

    def observed_range(self, signal_range: tuple[float, float]) -> tuple[float, float]:
        """Return the range of the signals, widened by the rounding error."""
        return _widened(signal_range)


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Blur(Observation):
    """Gaussian blur along every spatial axis.

    Beyond the border the signal continues as its mirror image, border entries included. The Gaussian is
    cut off at four standard deviations and sums to 1. This is `scipy.ndimage.gaussian_filter` with its
    default settings.

    Args:
        sigma: standard deviation of the Gaussian, in entries (pixels) of the signal; positive, and at
            most about a quarter of the shortest spatial axis.

    Raises:
        ValueError: if sigma is not positive.

    Example:
        >>> Blur(2.0).observed_shape((28, 28, 1))
        (28, 28, 1)
    """

    sigma: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.positive("Blur", "sigma", self.sigma)

    @property
    def radius(self) -> int:
        """Reach of the Gaussian to either side, in entries."""
        return int(4 * self.sigma + 0.5)

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Return blurred signals, `[n, *spatial, channels]`, blurred along one axis after another."""
        distance = np.arange(-self.radius, self.radius + 1)
        weights = np.exp(-0.5 * (distance / self.sigma) ** 2)
        weights = tf.constant(weights / weights.sum(), tf.float32)[:, None, None]
        rank = len(signal.shape)
        for axis in range(1, rank - 1):
            last = [*(other for other in range(rank) if other != axis), axis]
            back = np.argsort(last)
            lines = tf.transpose(signal, last)
            ends = [[0, 0]] * (rank - 1) + [[self.radius, self.radius]]
            padded = tf.pad(lines, ends, "SYMMETRIC")
            flat = tf.reshape(padded, [-1, padded.shape[-1], 1])
            blurred = tf.nn.conv1d(flat, weights, 1, "VALID")
            signal = tf.transpose(tf.reshape(blurred, tf.shape(lines)), back)
        return signal

    def observed_shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the signals, which blur does not change."""
        *spatial, _ = _checked_grid(self, signal_shape)
        if self.radius > min(spatial):
            raise ValueError(
                f"Blur expected a sigma of at most {(min(spatial) + 0.49) / 4:.3g}, a quarter of the "
                f"shortest of the spatial axes {spatial}, received {self.sigma}."
            )
        return tuple(signal_shape)

    def observed_range(self, signal_range: tuple[float, float]) -> tuple[float, float]:
        """Return the range of the signals, widened by the rounding error."""
        return _widened(signal_range)


def check(observation: Observation, signal_shape: tuple[int, ...]) -> None:
    """Refuse observations that are no operator, or that a model of such signals cannot learn through.

    Args:
        observation: object to check.
        signal_shape: shape of one signal of the model.

    Raises:
        ValueError: if it is no `Observation`, its output has another shape or dtype than it declares,
            or it has no gradient.
    """
    if not isinstance(observation, Observation):
        raise ValueError(
            "`observation` expected an operator such as abp_tf.Projection, Coarser or Blur, or None "
            f"for whole signals, received {observation!r}. A mask is part of the data: "
            'fit({"signal": ..., "mask": ...}).'
        )
    declared = tuple(observation.observed_shape(signal_shape))
    signal = tf.zeros([2, *signal_shape])
    with tf.GradientTape() as tape:
        tape.watch(signal)
        observed = observation(signal)
    if observed.shape != (2, *declared) or observed.dtype != tf.float32:
        raise ValueError(
            f"{observation} expected its `__call__` to return float32 "
            f"[n, {', '.join(map(str, declared))}], the `observed_shape` of signals {signal_shape}, "
            f"received {observed.dtype.name} {tuple(observed.shape)} for n = 2. Make them agree."
        )
    if tape.gradient(observed, signal) is None:
        raise ValueError(
            f"{observation} expected a gradient with respect to the signal, received none. Write "
            "`__call__` with differentiable TensorFlow operations."
        )


def _checked_grid(operator, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(signal_shape) < 2:
        raise ValueError(
            f"{type(operator).__name__} expected signals with spatial axes before the channel axis, "
            f"received the shape {tuple(signal_shape)}. Add a channel axis to the network's output."
        )
    return tuple(signal_shape)


def _widened(signal_range: tuple[float, float]) -> tuple[float, float]:
    low, high = signal_range
    slack = ROUNDING * (high - low)
    return low - slack, high + slack

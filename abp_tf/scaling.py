"""Scaling of data in their own units, such as °C, to the units in which networks work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.data.lazy import LazyRows
from abp_tf.fields.frames import read


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class Scaling:
    """An affine map of each channel or entry, `(x − centre) / unit`, with its inverse.

    A model that is built with a scaling learns in scaled units, takes and returns signals in their own
    units, and is saved and exported with it.

    With a `period` T the centre is that of the season, `centre + a cos(2πt/T) + b sin(2πt/T)`. Then
    signals need their times t, and so do a model's methods and exports: data have "time" beside
    "signal", and `synthesize` has `time`.

    Args:
        centre: values that become 0, float `[channels]` or `[*signal_shape]`.
        unit: values by which differences from the centre are divided, positive, of such a shape too.
        waves: a and b, float `[2, *centre.shape]`; None without a period.
        period: T, positive, in the unit of times; None if the centre does not depend on the season.

    Raises:
        ValueError: if a number is not finite, a unit or the period is not positive, or the waves do not
            fit the centre.

    Example:
        >>> celsius = np.array([[[10], [np.nan]], [[20], [12]]], np.float32)
        >>> scaling = Scaling.of(celsius, np.isfinite(celsius), by="range")
        >>> scaling
        Scaling(centre=[15.], unit=[5.])
        >>> scaling.scale(celsius)[..., 0]
        array([[-1. ,  nan],
               [ 1. , -0.6]], dtype=float32)
        >>> network = abp_tf.networks.linear((2, 1), latent_dim=1)
        >>> model = abp_tf.Generator(network, scaling=scaling)
        >>> model.inpaint(celsius, np.isfinite(celsius))[1]
        array([[20.],
               [12.]], dtype=float32)
    """

    centre: np.ndarray
    unit: np.ndarray
    waves: np.ndarray | None
    period: float | None

    def __init__(
        self,
        centre: ArrayLike,
        unit: ArrayLike,
        waves: ArrayLike | None = None,
        period: float | None = None,
    ):
        for name, given in {"centre": centre, "unit": unit, "waves": waves}.items():
            part = None if given is None else np.array(given, np.float32)
            if part is not None:
                part.flags.writeable = False
            object.__setattr__(self, name, part)
        object.__setattr__(self, "period", period)
        finite = np.isfinite(self.centre).all() and np.isfinite(self.unit).all()
        if not finite or (self.unit <= 0).any():
            raise ValueError(
                f"Scaling expected a finite centre and finite, positive units, received {self}. Give "
                "constant channels the unit 1."
            )
        if self.period is None and self.waves is None:
            return
        checks.positive("Scaling", "period", self.period)
        wanted = (2, *self.centre.shape)
        shape = () if self.waves is None else self.waves.shape
        if self.waves is None or shape != wanted or not np.isfinite(self.waves).all():
            raise ValueError(
                f"Scaling expected finite `waves` of shape {wanted}, amplitudes of cosine and sine, "
                f"received the shape {shape}. `Scaling.of(period=...)` computes them."
            )

    @classmethod
    def of(
        cls,
        signals: ArrayLike | Mapping[str, ArrayLike],
        mask: ArrayLike | None = None,
        *,
        by: str = "deviation",
        positions: bool = False,
        times: ArrayLike | None = None,
        period: float | None = None,
    ) -> Scaling:
        """Return the scaling of signals, from their observed entries alone.

        Args:
            signals: float `[n, *signal_shape]` in their own units, or a mapping with "signal", "mask"
                and "time", such as an `abp_tf.data.Field`; hidden entries may hold anything, NaN
                included.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None if `signals` has it, or all is observed.
            by: "deviation" gives each channel the mean 0 and the standard deviation 1; "range" gives it
                the interval [-1, 1]. A channel that does not vary, or is never observed, has the unit
                1, and one that is never observed the centre 0.
            positions: whether the mean over the examples is subtracted at each position first: it is
                part of the centre, and units are those of the differences from it. A position that is
                never observed has the mean of its channel.
            times: times of the examples, `[n]`, in any unit; by default those of `signals`.
            period: time from one season to the same, such as 365.25 days; the mean is then that of the
                season. At a position with few observations its season is drawn to that of its channel
                as by one observation. None for a mean that does not depend on time.

        Raises:
            ValueError: if the signals, the mask or the times cannot be used, or `by` is something else.

        Example:
            >>> days = np.arange(0, 730, 10)
            >>> warm = 15 + 5 * np.cos(2 * np.pi * days / 365)[:, None, None] * np.ones((73, 4, 1))
            >>> scaling = Scaling.of(warm, times=days, period=365)
            >>> bool(np.abs(scaling.waves[:, 0] - [5, 0]).max() < 0.1)
            True
        """
        checks.one_of("deviation", "range")("Scaling.of", "by", by)
        times = examples.parts(signals).get("time") if times is None else times
        whole, observed = _parts(signals, mask)
        season = np.ones((len(whole), 1))
        if period is not None:
            period = float(checks.positive("Scaling.of", "period", period))
            season = np.concatenate([season, _season(times, period, whole)], axis=1)
        done: list[np.ndarray] = []

        def rests() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            """Yield what is left of the signals without the means that are known, with their masks."""
            for rows in _slices(whole):
                one, seen = read(whole[rows], mask=None if observed is None else observed[rows])
                rest = np.where(seen, one.astype(np.float64), 0)
                for means in done:
                    rest = np.where(seen, rest - _weighted(season[rows], means, rest.ndim), 0)
                yield rest, seen, season[rows]

        for at_each_position in (False, True) if positions else (False,):
            done.append(_means(rests(), at_each_position))
        centre = sum(done, np.zeros(()))
        spread = [_spread(rest, seen) for rest, seen, _ in rests()]
        count, squares = (sum(part) for part in list(zip(*spread, strict=True))[:2])
        if by == "deviation":
            unit = np.sqrt(squares / np.maximum(count, 1))
        else:
            # Hidden entries are 0, a mean, and so between the ends of those that are observed.
            low = np.min([part[2] for part in spread], axis=0)
            high = np.max([part[3] for part in spread], axis=0)
            centre[0] += (low + high) / 2
            unit = (high - low) / 2
        # What rounding leaves of a channel without variation is no unit.
        size = np.abs(centre[0]).reshape(-1, centre.shape[-1]).max(axis=0)
        unit = np.where(unit > _ROUNDING * size, unit, 1)
        if not positions:
            centre = centre.reshape(len(centre), -1)
        return cls(centre[0], unit, None if period is None else centre[1:], period)

    def scale(
        self, signals: np.ndarray | tf.Tensor, times: ArrayLike | tf.Tensor | None = None
    ) -> np.ndarray | tf.Tensor:
        """Return signals in scaled units.

        Args:
            signals: float array or tensor in the units of the data, `[..., *signal_shape]`.
            times: times of the examples, an array or a tensor `[n]`; without effect unless the
                scaling has a period.
        """
        # Not a division, which TensorFlow would turn into this: arrays and tensors give the same bits.
        return (signals - self._centre(signals, times)) * (1 / self.unit)

    def restore(
        self, signals: np.ndarray | tf.Tensor, times: ArrayLike | tf.Tensor | None = None
    ) -> np.ndarray | tf.Tensor:
        """Return signals in the units of the data, the inverse of `scale`.

        Args:
            signals: float array or tensor in scaled units, `[..., *signal_shape]`.
            times: times of the examples, as for `scale`.
        """
        return signals * self.unit + self._centre(signals, times)

    def restore_deviation(self, deviation: float | np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """Return standard deviations in the units of the data.

        Args:
            deviation: a number, array or tensor in scaled units that broadcasts against signals.
        """
        return deviation * self.unit

    def scale_range(self, value_range: tuple[float, float]) -> tuple:
        """Return the ends of an interval in scaled units, with a period those of all seasons.

        Args:
            value_range: lowest and highest value in the units of the data.
        """
        low, high = value_range
        swing = np.float32(0) if self.waves is None else np.hypot(self.waves[0], self.waves[1])
        ends = low - self.centre - swing, high - self.centre + swing
        return tuple(end * (1 / self.unit) for end in ends)

    def check(self, signal_shape: tuple[int, ...]) -> None:
        """Raise an error unless a model of signals of a shape can use the scaling.

        Raises:
            ValueError: if the arrays are neither per channel nor of the shape of the signals.
        """
        for name in ("centre", "unit"):
            shape = getattr(self, name).shape
            if shape not in (signal_shape[-1:], signal_shape):
                raise ValueError(
                    f"Scaling expected a `{name}` of shape {signal_shape[-1:]} or {signal_shape} for "
                    f"signals of shape {signal_shape}, received {shape}. Compute it from such signals "
                    "with `Scaling.of`; without `positions` it serves signals of any size."
                )

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        arrays = {"centre": self.centre, "unit": self.unit, "waves": self.waves}
        lists = {name: None if part is None else part.tolist() for name, part in arrays.items()}
        return {**lists, "period": self.period}

    @classmethod
    def from_config(cls, config: dict) -> Scaling:
        """Return the scaling that `get_config` describes."""
        return cls(**config)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Scaling):
            return NotImplemented
        return self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # mypy knows no other way that objects have no hash

    def __repr__(self) -> str:
        def short(values):
            return str(values) if values.size <= 4 else f"<array of shape {values.shape}>"

        period = "" if self.period is None else f", period={self.period:g}"
        return f"Scaling(centre={short(self.centre)}, unit={short(self.unit)}{period})"

    def _centre(self, signals, times):
        """Return the centre, for signals of some times that of their seasons."""
        if self.period is None or self.waves is None:
            return self.centre
        season = _season(times, self.period, signals)
        wave = _weighted(season, self.waves, len(signals.shape))
        return self.centre + (tf.cast(wave, tf.float32) if tf.is_tensor(wave) else np.float32(wave))


# Share of a channel's mean below which its deviation is rounding.
_ROUNDING = 1e-7
# Number of examples that are read at a time where all are not in memory.
_AT_ONCE = 16


def _season(times, period: float, signals):
    """Return cosine and sine of the season of signals, float32 `[n, 2]`, an array or a tensor.

    In float32, because TensorFlow and NumPy differ in the last digits of float64: so both give the same
    bits.
    """
    if times is None:
        raise ValueError(
            "Scaling by a period expected times of the examples, received none. Give `times`, to a "
            f'model as "time" beside "signal". {checks.TIME}'
        )
    if tf.is_tensor(times):
        phase = tf.cast(times, tf.float64) * (2 * np.pi / period)
        return tf.cast(tf.stack([tf.cos(phase), tf.sin(phase)], axis=1), tf.float32)
    phase = checks.times(times, len(signals)) * (2 * np.pi / period)
    return np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)


def _weighted(season, weights: np.ndarray, rank: int):
    """Return sums of weights `[k, *shape]` with factors `[n, k]`: float64 `[n, 1, ..., *shape]`.

    Products of two numbers of float32 are exact in float64, so that arrays and tensors of them give the
    same bits, however a product and a sum are combined.

    Args:
        season: factors, an array or a tensor.
        weights: array of weights.
        rank: rank of the result.
    """
    shape = (-1, *[1] * (rank - weights.ndim), *weights.shape[1:])
    weights = weights.astype(np.float64)
    if tf.is_tensor(season):
        return tf.reshape(tf.tensordot(tf.cast(season, tf.float64), weights, axes=1), shape)
    return np.tensordot(season.astype(np.float64), weights, axes=1).reshape(shape)


def _means(parts: Iterable[tuple], at_each_position: bool) -> np.ndarray:
    """Return the weights of a linear regression on the season, whose first factor is 1.

    Args:
        parts: for some examples after the other, what is left of them, float `[n, *signal_shape]`, 0
            where hidden; their mask, bool, same shape; and their season, float `[n, k]`.
        at_each_position: whether each position has weights of its own, or each channel.

    Returns:
        `[k, *signal_shape]` or `[k, 1, ..., channels]`; 0 where nothing is observed.
    """
    gram: np.ndarray = np.zeros(())
    moment = gram
    for rest, mask, season in parts:
        squares = season[:, :, None] * season[:, None]
        gram = gram + np.tensordot(mask, squares, axes=(0, 0))  # [*signal_shape, k, k]
        moment = moment + np.tensordot(rest, season, axes=(0, 0))
    if not at_each_position:
        places = tuple(range(moment.ndim - 2))
        gram, moment = (part.sum(axis=places, keepdims=True) for part in (gram, moment))
    ridge = np.ones(moment.shape[-1])
    ridge[0] = 1e-12  # so small that the mean is that of what is observed
    weights = np.linalg.solve(gram + np.diag(ridge), moment[..., None])[..., 0]
    return np.moveaxis(weights, -1, 0)


def _spread(rest: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return count, sum of squares, lowest and highest value of each channel."""
    axes = tuple(range(rest.ndim - 1))
    return mask.sum(axes), (rest**2).sum(axes), rest.min(axes), rest.max(axes)


def _parts(signals, mask) -> tuple:
    """Return signals and their masks as arrays, or as `LazyRows` if the signals are these."""
    given = examples.masked(signals, mask)
    if isinstance(given["signal"], LazyRows):
        return given["signal"], given.get("mask")
    return read(given)


def _slices(signals) -> list[slice]:
    """Return slices of the signals that are read at a time, all of them if they are in memory."""
    if not isinstance(signals, LazyRows):
        return [slice(None)]
    return [slice(at, at + _AT_ONCE) for at in range(0, len(signals), _AT_ONCE)]

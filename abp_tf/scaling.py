"""Scaling of data in their own units, such as °C, to the units in which networks work."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.fields.frames import read


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Scaling:
    """An affine map of each channel or entry, `(x − centre) / unit`, with its inverse.

    A model that is built with a scaling learns in scaled units, takes and returns signals in their own
    units, and is saved and exported with it.

    Args:
        centre: values that become 0, float `[channels]` or `[*signal_shape]`.
        unit: values by which differences from the centre are divided, positive, of such a shape too.

    Raises:
        ValueError: if a number is not finite, or a unit is not positive.

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

    centre: ArrayLike
    unit: ArrayLike

    def __post_init__(self) -> None:
        """Keep float32 arrays, and check them."""
        for name in ("centre", "unit"):
            object.__setattr__(self, name, np.array(getattr(self, name), np.float32))
            getattr(self, name).flags.writeable = False
        finite = np.isfinite(self.centre).all() and np.isfinite(self.unit).all()
        if not finite or (self.unit <= 0).any():
            raise ValueError(
                f"Scaling expected a finite centre and finite, positive units, received {self}. Give "
                "constant channels the unit 1."
            )

    @classmethod
    def of(
        cls,
        signals,
        mask: ArrayLike | None = None,
        *,
        by: str = "deviation",
        positions: bool = False,
    ) -> Scaling:
        """Return the scaling of signals, from their observed entries alone.

        Args:
            signals: float `[n, *signal_shape]` in their own units, or a mapping with "signal" and
                "mask", such as an `abp_tf.data.Field`; hidden entries may hold anything, NaN included.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None if `signals` has it, or all is observed.
            by: "deviation" gives each channel the mean 0 and the standard deviation 1; "range" gives it
                the interval [-1, 1]. A channel that does not vary, or is never observed, has the unit
                1, and one that is never observed the centre 0.
            positions: whether the mean over the examples is subtracted at each position first: it is
                part of the centre, and units are those of the differences from it. A position that is
                never observed has the mean of its channel.

        Raises:
            ValueError: if the signals or the mask cannot be used, or `by` is something else.
        """
        checks.one_of("deviation", "range")("Scaling.of", "by", by)
        signals, mask = read(signals, mask=mask)
        mask = np.broadcast_to(mask, signals.shape)
        everything_but_channels = tuple(range(signals.ndim - 1))
        rest = np.where(mask, signals.astype(np.float64), 0)
        centre = _mean(rest, mask, everything_but_channels)
        rest = np.where(mask, rest - centre, 0)
        if positions:
            means = _mean(rest, mask, 0)
            centre, rest = centre + means, np.where(mask, rest - means, 0)
        if by == "deviation":
            unit = np.sqrt(_mean(rest**2, mask, everything_but_channels))
        else:
            # Hidden entries are 0 here, which is a mean and so between the ends.
            low, high = (end(rest, axis=everything_but_channels) for end in (np.min, np.max))
            centre, unit = centre + (low + high) / 2, (high - low) / 2
        return cls(centre, np.where(unit > 0, unit, 1))

    def scale(self, signals):
        """Return signals in scaled units.

        Args:
            signals: float array or tensor in the units of the data, `[..., *signal_shape]`.
        """
        # Not a division, which TensorFlow would turn into this: arrays and tensors give the same bits.
        return (signals - self.centre) * (1 / self.unit)

    def restore(self, signals):
        """Return signals in the units of the data, the inverse of `scale`.

        Args:
            signals: float array or tensor in scaled units, `[..., *signal_shape]`.
        """
        return signals * self.unit + self.centre

    def restore_deviation(self, deviation):
        """Return standard deviations in the units of the data.

        Args:
            deviation: a number, array or tensor in scaled units that broadcasts against signals.
        """
        return deviation * self.unit

    def check(self, signal_shape: tuple[int, ...]) -> None:
        """Raise an error unless signals of a shape can be scaled.

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
        return {"centre": self.centre, "unit": self.unit}

    def __eq__(self, other) -> bool:
        if not isinstance(other, Scaling):
            return NotImplemented
        return np.array_equal(self.centre, other.centre) and np.array_equal(self.unit, other.unit)

    __hash__ = None

    def __repr__(self) -> str:
        def short(values):
            return np.array2string(values, threshold=8, edgeitems=2, separator=", ")

        return f"Scaling(centre={short(self.centre)}, unit={short(self.unit)})"


def _mean(values: np.ndarray, mask: np.ndarray, axis) -> np.ndarray:
    """Return means over the entries where `mask` is True; 0 where there is none.

    Args:
        values: float, 0 where `mask` is False.
        mask: bool, same shape.
        axis: axis or axes of the mean.
    """
    return values.sum(axis=axis) / np.maximum(mask.sum(axis=axis), 1)

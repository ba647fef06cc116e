"""Frames on a grid: what of them is observed, and their pixel and frame means."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.fields import frames as fields

_ROUNDS = 20  # rounds between pixel and frame means


class Frames(NamedTuple):
    """Frames: `values` float32 `[n, *signal_shape]`, 0 where hidden, and `mask`, bool of that shape."""

    values: np.ndarray
    mask: np.ndarray


def read(
    owner: str,
    x: examples.SignalsLike,
    mask: ArrayLike | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Frames:
    """Check frames; unlike examples of other models they may have no observed entry at all.

    Args:
        owner: name of the class, for messages.
        x: float array `[n, *grid, channels]`, or a mapping of "signal" and "mask"; NumPy's masked
            arrays are allowed; hidden entries may hold anything.
        mask: bool or 0/1, 1 = observed; None if `x` has it, or everything is observed.
        shape: shape of one frame; None allows any.
        value_range: interval in which observed entries must lie; None lifts the check.

    Raises:
        ValueError: if `x` is not such an array; or, if any shape is allowed, a channel has no observed
            entry.
    """
    signal: Any = examples.parts(x).get("signal")
    if isinstance(signal, tf.data.Dataset) or np.ndim(signal) < 3:
        raise ValueError(
            f"{owner} expected an array of shape ('n', *grid, channels), received "
            f"{type(signal).__name__} of shape {np.shape(signal)}. Collect datasets into arrays, and "
            "add a channel axis to single fields."
        )
    signal, full = fields.read(x, shape, mask=mask, value_range=value_range)
    empty = np.flatnonzero(~full.any(axis=tuple(range(full.ndim - 1))))
    if shape is None and len(empty):
        raise ValueError(
            f"{owner} expected observed entries in every channel, received none in channel {empty[0]}. "
            f"{checks.POLARITY}"
        )
    return Frames(np.where(full, signal, np.float32(0)), full)


class FrameModel:
    """Methods that models of frames share; a subclass has `fit` and `_predict`.

    Args:
        value_range: interval in which observed entries must lie, and to which results are clipped; None
            turns both off.
    """

    def __init__(self, value_range: tuple[float, float] | None):
        self.value_range = None if value_range is None else (value_range[0], value_range[1])
        self.signal_shape: tuple[int, ...] | None = None

    def reconstruct(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, seed: int | ArrayLike = 0
    ) -> np.ndarray:
        """Predict whole frames, without noise, given their observed entries.

        Args:
            signals: float `[n, *signal_shape]`, frames of the fit or others, or a mapping with "mask".
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None means that all is observed, or that the mapping has the mask.
            seed: ignored, because nothing is drawn; other models use it.

        Returns:
            float32 `[n, *signal_shape]`, all entries, observed ones too (see `inpaint`).
        """
        return self._predict(self._read(signals, mask))

    def inpaint(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, seed: int | ArrayLike = 0
    ) -> np.ndarray:
        """Fill in hidden entries with their prediction; the arguments are those of `reconstruct`.

        Returns:
            float32 `[n, *signal_shape]`: observed entries untouched.
        """
        data = self._read(signals, mask)
        return np.where(data.mask, data.values, self._predict(data))

    def _read(self, signals, mask) -> Frames:
        self._check_fitted()
        name = type(self).__name__
        return read(name, signals, mask, shape=self.signal_shape, value_range=self.value_range)

    def _check_fitted(self) -> None:
        if self.signal_shape is None:
            raise ValueError(f"{type(self).__name__} expected to be fitted first. Call `fit(signals)`.")

    def _clip(self, values: np.ndarray) -> np.ndarray:
        return values if self.value_range is None else np.clip(values, *self.value_range)

    def _predict(self, data: Frames) -> np.ndarray:
        raise NotImplementedError


def means(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit `x_t = p + f_t` by least squares, in turns between p and f.

    Args:
        values: `[n, *grid]`, 0 where hidden.
        mask: bool, same shape, True where observed; at least one entry.

    Returns:
        p, float64 `[*grid]`, and f, float64 `[n, 1, ..., 1]` with mean 0 over the observed frames.
        Where a pixel is never observed p is the mean of the others; where a frame is not, f is 0.

    Example:
        >>> values = np.array([[[1.0], [2.0]], [[3.0], [0.0]]])
        >>> p, f = means(values, np.array([[[True], [True]], [[True], [False]]]))
        >>> p.ravel().round(3), f.ravel().round(3)
        (array([2., 3.]), array([-1.,  1.]))
    """
    axes = tuple(range(1, values.ndim))
    per_pixel, per_frame = mask.sum(0), mask.sum(axes, keepdims=True)
    seen = per_frame > 0
    frame = np.zeros(per_frame.shape)
    for _ in range(_ROUNDS):
        pixel = np.sum(mask * (values - frame), 0) / np.maximum(per_pixel, 1)
        pixel = np.where(per_pixel > 0, pixel, pixel[per_pixel > 0].mean())
        frame = np.sum(mask * (values - pixel), axes, keepdims=True) / np.maximum(per_frame, 1)
        shift = frame[seen].mean()
        frame, pixel = np.where(seen, frame - shift, 0), pixel + shift
    return pixel, frame


def fill_by_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill each channel by the sum of its pixel and frame means.

    Args:
        values: `[n, *grid, channels]`, 0 where hidden.
        mask: bool, same shape, True where observed; at least one entry of each channel.

    Returns:
        float64, same shape: observed entries untouched.
    """
    found = [sum(means(values[..., c], mask[..., c])) for c in range(values.shape[-1])]
    return np.where(mask, values, np.stack(found, axis=-1))


def fill_in_time(values: np.ndarray, mask: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Fill each pixel linearly in time; one that is never observed by the means.

    Args:
        values: `[n, *grid, channels]`, 0 where hidden.
        mask: bool, same shape, True where observed; at least one entry of each channel.
        times: times of the frames, `[n]`, increasing.
    """
    filled = fill_by_means(values, mask)
    for pixel in np.argwhere(mask.any(axis=0)):
        at = (slice(None), *pixel)
        seen = mask[at]
        filled[at] = np.interp(times, times[seen], values[at][seen])
    return filled

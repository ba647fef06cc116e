"""Frames on a grid: what of them is observed, and their pixel and frame means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.data import examples

_ROUNDS = 20  # rounds between pixel and frame means


class Frames(NamedTuple):
    """Frames: `values` float32 `[n, *signal_shape]`, 0 where hidden, and `mask`, bool of that shape."""

    values: np.ndarray
    mask: np.ndarray


def read(owner: str, x, mask=None, *, shape=None, value_range=None) -> Frames:
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
    parts = dict(x) if isinstance(x, Mapping) else {"signal": x}
    examples.check_keys(parts)
    if mask is not None and "mask" in parts:
        raise ValueError(
            f"{owner} expected one mask, received one in the data and another beside them."
        )
    mask = parts.get("mask") if mask is None else mask
    if isinstance(parts["signal"], tf.data.Dataset) or np.ndim(parts["signal"]) < 3:
        raise ValueError(
            f"{owner} expected an array of shape ('n', *grid, channels), received "
            f"{type(parts['signal']).__name__} of shape {np.shape(parts['signal'])}. Collect datasets "
            "into arrays, and add a channel axis to single fields."
        )
    signal, observed = checks.parted(parts["signal"])
    full = np.ones(signal.shape, bool) if observed is None else observed
    if mask is not None:
        full = full & checks.entries("Mask", mask, signal.shape, checks.POLARITY)
    signal = checks.signals(signal, shape or signal.shape[1:], value_range, full)
    empty = np.flatnonzero(~full.any(axis=tuple(range(full.ndim - 1))))
    if shape is None and len(empty):
        raise ValueError(
            f"{owner} expected observed entries in every channel, received none in channel {empty[0]}. "
            f"{checks.POLARITY}"
        )
    return Frames(np.where(full, signal, np.float32(0)), full)


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

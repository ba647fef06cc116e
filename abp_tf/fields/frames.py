"""Frames of a field: their entries, masks and units."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples


class Frames(NamedTuple):
    """Frames to fill: arrays `[n, *signal_shape]`, and `[n, points]` in standard units."""

    signal: np.ndarray
    mask: np.ndarray
    times: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    deviation: np.ndarray | None = None  # of the noise of each entry, if the data bring it


def apart(x: examples.SignalsLike) -> tuple[dict, np.ndarray | None]:
    """Return data without "sigma", the standard deviations of the noise of the entries; and these.

    Raises:
        ValueError: if the data are a path.
    """
    if isinstance(x, str | os.PathLike):
        path = os.fspath(x)
        raise ValueError(
            f"Expected frames, received the path {path!r}. Load it: abp_tf.data.load_field({path!r})."
        )
    given = examples.parts(x)
    return given, given.pop("sigma", None)


def read(
    x: examples.SignalsLike,
    shape: tuple[int, ...] | None = None,
    *,
    mask: ArrayLike | None = None,
    value_range: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of frames, and which of them are observed; frames may have none.

    Args:
        x: float `[n, *axes, channels]`, or a mapping with "signal" and "mask", 1 = observed; what NumPy
            masks of a masked array is hidden.
        shape: shape of one frame; by default that of the data.
        mask: bool or 0/1, 1 = observed; None if `x` has it, or everything is observed.
        value_range: interval in which observed entries must lie; None lifts the check.

    Returns:
        float32 and bool `[n, *axes, channels]`.

    Raises:
        ValueError: if the shapes do not fit, there are two masks, or observed entries are not finite or
            out of range.
    """
    parts = examples.masked(x, mask)
    examples.check_keys(parts)
    signal, seen = checks.parted(parts["signal"])
    full = np.ones(signal.shape, bool) if seen is None else seen
    if parts.get("mask") is not None:
        full = full & checks.entries("Mask", parts["mask"], signal.shape, checks.POLARITY)
    return checks.signals(signal, shape or signal.shape[1:], value_range, full), full


def standard_units(
    values: np.ndarray, observed: np.ndarray, channel: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the units of a field, and the levels of its frames.

    Args:
        values: float `[n, points]`, anything where hidden.
        observed: bool, same shape, True somewhere in each channel.
        channel: int `[points]`, the number of each point's channel.

    Returns:
        for each point the mean of its channel and the deviation about the means of pixels and frames,
        `[points]`; and, in this unit, the means of frames about those of pixels, `[n, points]`. Means
        of pixels are drawn to 0 as by one observation of 0.
    """
    centre, unit = np.zeros(values.shape[1]), np.ones(values.shape[1])
    levels = np.zeros(values.shape)
    for number in np.unique(channel):
        points = channel == number
        seen, part = observed[:, points], values[:, points]
        centre[points] = part[seen].mean()
        part = np.where(seen, part - part[seen].mean(), 0)
        pixel, level = np.zeros(points.sum()), np.zeros((len(part), 1))
        for _ in range(10):
            pixel = np.where(seen, part - level, 0).sum(0) / (seen.sum(0) + 1)
            count = np.maximum(seen.sum(1, keepdims=True), 1)
            level = np.where(seen, part - pixel, 0).sum(1, keepdims=True) / count
        rest = (part - pixel - level)[seen]
        unit[points] = max(np.sqrt(np.mean(rest**2)), 1e-12)
        levels[:, points] = level / unit[points]
    return centre, unit, levels

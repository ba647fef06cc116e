"""Masks of a batch: 1 where an entry of a signal is observed, 0 where it is hidden.

If the model has an operator (`abp_tf.observation.operators`), a signal here is the output of the
operator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf


def hide(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the signal with 0 in hidden entries, which may hold anything, NaN included.

    Args:
        signal: float32 `[n, *signal_shape]`.
        mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed. None means that all is
            observed.

    Returns:
        float32 `[n, *signal_shape]`.
    """
    if mask is None:
        return signal
    return tf.where(mask > 0.5, signal, tf.zeros_like(signal))


def residual(signal: tf.Tensor, decoded: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the errors of observed entries, `M ⊙ (x − g(z))`, float32 `[n, *signal_shape]`.

    Args:
        signal: float32 `[n, *signal_shape]`, the result of `hide`.
        decoded: `g(z)`, same shape.
        mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed. None means that all is
            observed.
    """
    difference = signal - decoded
    return difference if mask is None else mask * difference


def entries(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the number of observed entries of each example, float32 `[n]`."""
    observed = tf.ones_like(signal)
    if mask is not None:
        observed *= mask
    return tf.reduce_sum(observed, axis=list(range(1, signal.shape.rank)))


def local_shares(signal: tf.Tensor, mask: tf.Tensor, sides: Sequence[int]) -> tf.Tensor:
    """Return the share of observed entries near each position of a grid of latents.

    Near is the cell of a position, or the cell and its neighbours, whichever has the larger share: that
    is about where latents of the position act. Cells have a power of two of entries along each side,
    and the signal is in the middle of all cells together, as in `networks.field_generator`.

    Args:
        signal: float32 `[n, *signal_shape]`, with one, two or three sides.
        mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed.
        sides: sides of the grid, as many as the signal has.

    Returns:
        float32 `[n, *sides]`.

    Example:
        >>> mask = tf.constant([1.0, 1, 0, 0, 0, 0])[None, :, None]
        >>> local_shares(tf.zeros([1, 6, 1]), mask, [4]).numpy().round(2)
        array([[0.5 , 0.5 , 0.17, 0.  ]], dtype=float32)
    """
    observed = tf.reduce_mean(mask * tf.ones_like(signal), axis=-1, keepdims=True)
    spare, cell = [], []
    for grid, side in zip(sides, signal.shape[1:-1], strict=True):
        cell.append(2 ** math.ceil(math.log2(max(side / grid, 1))))
        more = grid * cell[-1] - side
        spare.append((more // 2, more - more // 2))
    observed = tf.pad(observed, [(0, 0), *spare, (0, 0)])
    own = tf.nn.avg_pool(observed, cell, cell, "VALID")
    near = tf.nn.avg_pool(own, 3, 1, "SAME")
    return tf.maximum(own, near)[..., 0]


def square(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each example, float32 `[n]`: a sum, not a mean, because σ is per entry."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank)))

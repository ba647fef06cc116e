"""Masks inside a step: 1 where an entry of a signal is observed, 0 where it is hidden.

Where a model has an operator (`abp_tf.observation.operators`), a signal here is what the operator
gives.
"""

from __future__ import annotations

import tensorflow as tf


def hide(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Put 0 where nothing is observed, so that hidden entries may hold anything, NaN included.

    Args:
        signal: float32 `[n, *signal_shape]`.
        mask: float32 of 0 and 1 that broadcasts against `signal`, or none: all is observed.

    Returns:
        float32 `[n, *signal_shape]`.
    """
    if mask is None:
        return signal
    return tf.where(mask > 0.5, signal, tf.zeros_like(signal))


def residual(signal: tf.Tensor, decoded: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """`M ⊙ (x − g(z))`, float32 `[n, *signal_shape]`.

    Args:
        signal: float32 `[n, *signal_shape]`, already passed through `hide`.
        decoded: `g(z)`, same shape.
        mask: as in `hide`.
    """
    difference = signal - decoded
    return difference if mask is None else mask * difference


def entries(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Number of observed entries of each example, float32 `[n]`."""
    seen = tf.ones_like(signal)
    if mask is not None:
        seen *= mask
    return tf.reduce_sum(seen, axis=list(range(1, signal.shape.rank)))


def square(residual: tf.Tensor) -> tf.Tensor:
    """`‖r‖²` of each example, float32 `[n]`: a sum, never a mean, which would change σ."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank)))

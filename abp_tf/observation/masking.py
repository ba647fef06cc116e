"""Masks of a batch: 1 where an entry of a signal is observed, 0 where it is hidden.

If the model has an operator (`abp_tf.observation.operators`), a signal here is the output of the
operator.
"""

from __future__ import annotations

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


def square(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each example, float32 `[n]`: a sum, not a mean, because σ is per entry."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank)))

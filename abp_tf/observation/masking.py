"""Masks of a batch: which entries of a signal are observed, and how much their errors count.

A mask is float32 and broadcasts against the signal. It is 0 where an entry is hidden. Where an entry
is observed it is 1 or, if the data bring the standard deviation `σᵢ` of the noise of each entry, its
weight `σ/σᵢ`: then `‖M ⊙ (x − g(z))‖² / (2σ²)` is the sum of `(xᵢ − gᵢ(z))² / (2σᵢ²)`. None means that
all is observed.

If the model has an operator (`abp_tf.observation.operators`), a signal here is the output of the
operator.
"""

from __future__ import annotations

import tensorflow as tf


def hide(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the signal with 0 in hidden entries, which may hold anything, NaN included.

    Args:
        signal: float32 `[n, *signal_shape]`.
        mask: weights of the entries, 0 = hidden; None means that all is observed.

    Returns:
        float32 `[n, *signal_shape]`.
    """
    if mask is None:
        return signal
    return tf.where(mask > 0, signal, tf.zeros_like(signal))


def residual(signal: tf.Tensor, decoded: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the weighted errors of observed entries, `M ⊙ (x − g(z))`, float32 `[n, *signal_shape]`.

    Args:
        signal: float32 `[n, *signal_shape]`, the result of `hide`.
        decoded: `g(z)`, same shape.
        mask: weights of the entries, 0 = hidden; None means that all is observed.
    """
    difference = signal - decoded
    return difference if mask is None else mask * difference


def observed(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return finite values with 0 in hidden entries, same shape; weights do not count."""
    return values if mask is None else tf.cast(mask > 0, values.dtype) * values


def entries(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the number of observed entries of each example, float32 `[n]`."""
    return tf.reduce_sum(squares(observed(tf.ones_like(signal), mask)), axis=-1)


def effective(weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return how many equally weighted entries have the information of all, and their squared weight.

    They are `(Σ wᵢ²)² / Σ wᵢ⁴` and `Σ wᵢ⁴ / Σ wᵢ²` for weights `wᵢ`: the number of observed entries and
    1 if these all have the weight 1.

    Args:
        weights: weights of the entries, 0 = hidden, float32 `[n, *signal_shape]`.

    Returns:
        float32 `[n]` both; 0 where all is hidden.
    """
    second, fourth = square(weights), square(weights**2)
    return tf.math.divide_no_nan(second**2, fourth), tf.math.divide_no_nan(fourth, second)


def square(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each example, float32 `[n]`: a sum, not a mean, because σ is per entry."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank)))


def squares(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each channel of each example, float32 `[n, channels]`."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank - 1)))

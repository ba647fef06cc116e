"""Masks of a batch: which entries of a signal are observed, and how much their errors count.

A mask is float32 and broadcasts against the signal. It is 0 where an entry is hidden. Where an entry
is observed it is 1 or, if the data bring the standard deviation `σᵢ` of the noise of each entry, its
weight `σ/σᵢ`: then `‖M ⊙ (x − g(z))‖² / (2σ²)` is the sum of `(xᵢ − gᵢ(z))² / (2σᵢ²)`. None means that
all is observed.

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


def local_shares(observed: tf.Tensor, sides: Sequence[int]) -> tf.Tensor:
    """Return the share of observed entries near each position of a grid of latents.

    Near is the cell of a position, or the cell and its neighbours, whichever has the larger share: that
    is about where latents of the position act. Cells have a power of two of entries along each side,
    and the signal is in the middle of all cells together, as in `networks.field_generator`.

    Args:
        observed: 1 where an entry is observed, 0 where it is hidden, float32 `[n, *signal_shape]`, with
            one, two or three sides; or squared weights of the entries.
        sides: sides of the grid, as many as the signal has.

    Returns:
        float32 `[n, *sides]`.

    Example:
        >>> observed = tf.constant([1.0, 1, 0, 0, 0, 0])[None, :, None]
        >>> local_shares(observed, [4]).numpy().round(2)
        array([[0.5 , 0.5 , 0.17, 0.  ]], dtype=float32)
    """
    spare, cell = [], []
    for grid, side in zip(sides, observed.shape[1:-1], strict=True):
        cell.append(2 ** math.ceil(math.log2(max(side / grid, 1))))
        more = grid * cell[-1] - side
        spare.append((more // 2, more - more // 2))
    observed = tf.reduce_mean(observed, axis=-1, keepdims=True)
    observed = tf.pad(observed, [(0, 0), *spare, (0, 0)])
    own = tf.nn.avg_pool(observed, cell, cell, "VALID")
    near = tf.nn.avg_pool(own, 3, 1, "SAME")
    return tf.maximum(own, near)[..., 0]


def square(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each example, float32 `[n]`: a sum, not a mean, because σ is per entry."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank)))


def squares(residual: tf.Tensor) -> tf.Tensor:
    """Return `‖r‖²` of each channel of each example, float32 `[n, channels]`."""
    return tf.reduce_sum(residual**2, axis=list(range(1, residual.shape.rank - 1)))

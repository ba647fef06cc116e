"""Latents of several blocks, stored flat: a vector of the whole signal, and grids of local latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

Blocks = tuple[tuple[int, ...], ...]  # shapes of the blocks of one latent, in their order


def split(latent: tf.Tensor, blocks: Blocks) -> list[tf.Tensor]:
    """Return the blocks of latents, each `[n, *shape]`.

    Args:
        latent: float `[n, D]`, blocks one after another; with one block `[n, *shape]`.
        blocks: shapes of the blocks, whose sizes sum to D.

    Example:
        >>> [part.shape[1:].as_list() for part in split(tf.zeros([5, 26]), ((2,), (2, 4, 3)))]
        [[2], [2, 4, 3]]
    """
    if len(blocks) == 1:
        return [latent]
    parts = tf.split(latent, [math.prod(shape) for shape in blocks], axis=-1)
    return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, blocks, strict=True)]


def join(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the latents of which `split` returns the blocks.

    Args:
        parts: one tensor `[n, *shape]` per block.
    """
    if len(parts) == 1:
        return parts[0]
    return tf.concat([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in parts], axis=-1)

"""Random numbers of each row: a pure function of its seeds, the same alone and in any batch."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Streams keep the different uses of one row's seed independent of each other.
PRIOR, CHAIN, DATA, POOL, LATENT, REVISION, START, INFERENCE = range(8)
ENCODER, PRIOR_LESSON = 8, 9

# Uses of random numbers in a chain besides noise: acceptance, lengths of steps, first velocities. The
# uses of a chain that follows another use of the same seeds begin with FURTHER.
ACCEPTANCE, LENGTH, VELOCITY, FURTHER = 1, 2, 3, 4

# A seed that is larger by this number draws the normal numbers of the smaller one with opposite signs.
OPPOSITE = 2**62
# The bit of the second integer of a pair that says so; no stream, number of an example or block has it.
_SIGN = tf.int64.min


def row_seeds(seed: tf.Tensor, stream: int) -> tf.Tensor:
    """Return seed pairs from one integer per row, as `infer` and served requests use them.

    Args:
        seed: int64 `[n]`, one seed per row. A seed `i + OPPOSITE` has the uniform numbers of `i`, and
            its normal numbers with opposite signs.
        stream: use of the random numbers: `PRIOR`, `CHAIN` or another constant of this module.

    Returns:
        int64 `[n, 2]`.
    """
    seed = tf.cast(seed, tf.int64)
    opposite = seed >= OPPOSITE
    stream = tf.where(opposite, stream + _SIGN, tf.cast(stream, tf.int64))
    return tf.stack([tf.where(opposite, seed - OPPOSITE, seed), stream], axis=-1)


def training_seeds(seed: int, stream: int, iteration: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Return seed pairs made from the model's seed, a stream, the iteration and the examples' numbers.

    An example's noise in an iteration depends on nothing else: not on its position, the rest of its
    batch or the number of replicas.

    Args:
        seed: integer seed of the model.
        stream: use of the random numbers: `PRIOR`, `CHAIN` or another constant of this module.
        iteration: number of the training iteration, an int64 scalar.
        index: numbers of the examples, int64 `[n]`.

    Returns:
        int64 `[n, 2]`.
    """
    key = _mix(_mix(seed, stream), iteration)
    index = tf.cast(index, tf.int64)
    return tf.stack([tf.fill(tf.shape(index), key), index], axis=-1)


def later(seeds: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """Return the seed pairs of block number `block` of a chain's noise; block 0 has `seeds`."""
    # The second integer of a pair holds a stream or an example's number, which are below 2³².
    return seeds + tf.stack([0, tf.bitwise.left_shift(tf.cast(block, tf.int64), 32)])


def apart(seeds: tf.Tensor, use: int) -> tf.Tensor:
    """Return seed pairs for another use than noise, such as `ACCEPTANCE`, of the same steps of a chain.

    Block `k` of the noise has the pair (a, b + k · 2³²), see `later`; block `k` of use `u` has
    (a, b + (k + u · 2²⁸) · 2³²). So no two of them have the same pair while a chain has fewer than 2²⁸
    blocks.

    Args:
        seeds: int64 `[n, 2]`, seed pairs of chains or of one of their blocks.
        use: `ACCEPTANCE` or another constant of this module.

    Returns:
        int64 `[n, 2]`.
    """
    return later(seeds, use * 2**28)


def _mix(first, second) -> tf.Tensor:
    """Hash two integers into one int64."""
    pair = tf.stack([tf.cast(first, tf.int64), tf.cast(second, tf.int64)])
    return tf.random.stateless_uniform([], pair, None, None, tf.int64, alg="philox")


def row_normal(seeds: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Draw `N(0, I)` for each row from its own seed pair.

    Args:
        seeds: int64 `[n, 2]`, one seed pair per row.
        shape: shape of one row's draw.

    Returns:
        float32 `[n, *shape]`; a row is bit for bit the same alone and in any batch.
    """
    opposite = tf.reshape(seeds[:, 1] < 0, [-1] + [1] * len(shape))
    drawn = _rows(tf.random.stateless_normal, seeds, shape)
    return tf.where(opposite, -drawn, drawn)


def row_uniform(seeds: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Draw uniform numbers from [0, 1) for each row; see `row_normal`."""
    return _rows(tf.random.stateless_uniform, seeds, shape)


def _rows(draw: Callable, seeds: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Draw numbers for each row from its seed pair without its sign."""
    pairs = tf.bitwise.bitwise_and(seeds, [-1, tf.int64.max])
    return tf.map_fn(
        lambda pair: draw(shape, pair, alg="philox"),
        pairs,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )

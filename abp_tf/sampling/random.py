"""Noise that belongs to a row: a pure function of its seeds, the same alone and in any batch."""

from __future__ import annotations

import tensorflow as tf

# Streams keep the different uses of one row's seed independent of each other.
PRIOR, CHAIN, DATA, POOL, LATENT, REVISION, START, INFERENCE = range(8)

# What the steps of a chain draw besides their noise: who is accepted, how long a step is.
ACCEPTANCE, LENGTH = 1, 2


def row_seeds(seed: tf.Tensor, stream: int) -> tf.Tensor:
    """Seed pairs `[n, 2]` from one integer per row, as `infer` and served requests use them.

    Args:
        seed: int64 `[n]`.
        stream: what the numbers are for, one of the streams above.

    Returns:
        int64 `[n, 2]`.
    """
    seed = tf.cast(seed, tf.int64)
    return tf.stack([seed, tf.fill(tf.shape(seed), tf.cast(stream, tf.int64))], axis=-1)


def training_seeds(seed: int, stream: int, iteration: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Seed pairs `[n, 2]` folded from (model seed, stream, iteration, example index).

    An example's noise in an iteration depends on nothing else: not on its place, its batch mates or
    the number of replicas.

    Args:
        seed: of the model.
        stream: what the numbers are for, one of the streams above.
        iteration: int64 scalar.
        index: int64 `[n]`, the examples' numbers.

    Returns:
        int64 `[n, 2]`.
    """
    key = _mix(_mix(seed, stream), iteration)
    index = tf.cast(index, tf.int64)
    return tf.stack([tf.fill(tf.shape(index), key), index], axis=-1)


def later(seeds: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """Seed pairs for the noise of a chain's block number `block`, an integer; 0 are `seeds`."""
    # Above all streams and examples' numbers, which the second of a pair holds.
    return seeds + tf.stack([0, tf.bitwise.left_shift(tf.cast(block, tf.int64), 32)])


def apart(seeds: tf.Tensor, use: int) -> tf.Tensor:
    """Seed pairs for another use than noise, such as `ACCEPTANCE`, of the same steps of a chain.

    Block `k` of the noise takes the pair (a, b + k · 2³²), see `later`; block `k` of use `u` takes
    (a, b + (k + u · 2²⁸) · 2³²). So no two of them share a pair while a chain has fewer than 2²⁸
    blocks.

    Args:
        seeds: int64 `[n, 2]`, of a row's chain or of a block of it.
        use: `ACCEPTANCE` or `LENGTH`.

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
        seeds: int64 `[n, 2]`.
        shape: of one row's draw.

    Returns:
        float32 `[n, *shape]`; a row is bit for bit the same alone and in any batch.
    """
    return tf.map_fn(
        lambda pair: tf.random.stateless_normal(shape, pair, alg="philox"),
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )


def row_uniform(seeds: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Draw uniform numbers from [0, 1) for each row; see `row_normal`."""
    return tf.map_fn(
        lambda pair: tf.random.stateless_uniform(shape, pair, alg="philox"),
        seeds,
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )

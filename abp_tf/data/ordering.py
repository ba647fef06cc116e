"""Turn checked arrays into batches: dicts of "signal", "index" and, if given, further parts.

Examples are numbered before they are shuffled, so that each keeps its own chain and its own noise.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from abp_tf.data.examples import Examples
from abp_tf.data.lazy import LazyRows
from abp_tf.distribution.shards import Shards


def shuffled(
    data: Examples,
    batch_size: int,
    *,
    seed: int,
    iteration: tf.Variable,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
    shards: Shards | None = None,
    longest: int | None = None,
) -> tf.data.Dataset:
    """Return one epoch of training batches, which depend on `seed` and `iteration` only.

    The iteration is read when an iterator is made. A training that was interrupted after any batch
    and restored therefore continues with the next batch.

    Of several shards each has its own order, and gives as many rows to each batch as the others, or
    fewer, or none, at the end of a pass over its examples.

    Args:
        data: the examples.
        batch_size: number of rows of a batch of all shards; the last one of a pass may have fewer.
        seed: seed of the random order.
        iteration: int64 scalar variable, the number of batches used so far.
        steps_per_epoch: number of batches in an epoch; by default one pass over the examples.
        shuffle: whether each pass is in a new random order.
        shards: the shards of the examples, of which the batches have those of this process; None means
            one.
        longest: number of examples of the largest shard of all processes; None if `data` hold the
            examples of all.

    Returns:
        A finite dataset of dicts. With several shards they have a "place" too, int64: row `k` of shard
        `v` has the place `k · shards + v` in the whole batch.

    Raises:
        ValueError: if the shards cannot give as many rows to each batch.
    """
    shards = shards or Shards()
    if batch_size % shards.count:
        raise ValueError(
            f"`batch_size` expected a multiple of the {shards.count} shards, each of which gives as "
            f"many rows to each batch, received {batch_size}."
        )
    share = batch_size // shards.count
    count = len(data.signal)
    index = np.arange(count) if data.index is None else data.index
    rows = {shard: np.flatnonzero(index % shards.count == shard) for shard in shards.own}
    per_pass = -(-(longest or _longest(index, shards)) // share)
    read = _gathering(data)

    def order(shard, number):
        """Return the rows of a shard in the order of a pass, as one row of its part of each batch."""
        chosen = tf.constant(rows[shard], tf.int64)
        if shuffle:
            pair = tf.stack([tf.constant(seed, tf.int64), number + (shard << 32)])
            chosen = tf.random.experimental.stateless_shuffle(chosen, pair)
        chosen = tf.pad(chosen, [[0, per_pass * share - len(rows[shard])]], constant_values=-1)
        return tf.reshape(chosen, [per_pass, share])

    def one_pass(number):
        parts = [order(shard, number) for shard in shards.own]
        return tf.data.Dataset.from_tensor_slices(tf.stack(parts, axis=-1))

    def epoch(_):
        done = tf.convert_to_tensor(iteration)
        passes = tf.data.Dataset.counter(done // per_pass, dtype=tf.int64)
        return passes.flat_map(one_pass).skip(done % per_pass)

    def gather(chosen):
        there = chosen >= 0
        row = tf.boolean_mask(chosen, there)
        batch = read(row)
        if shards.count > 1:
            rank, own = tf.unstack(tf.where(there), axis=1)
            batch["place"] = rank * shards.count + own * shards.workers + shards.worker
        return batch

    steps = steps_per_epoch or per_pass
    dataset = tf.data.Dataset.range(1).flat_map(epoch).take(steps)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.map(gather).prefetch(2)


def longest(data: Examples, shards: Shards) -> int:
    """Return the number of examples of the largest shard."""
    return _longest(np.arange(len(data.signal)) if data.index is None else data.index, shards)


def _longest(index: np.ndarray, shards: Shards) -> int:
    return int(np.bincount(index % shards.count).max())


def in_order(data: Examples, batch_size: int) -> tf.data.Dataset:
    """Return batches in the order of the arrays, numbered from 0 if the examples have no index."""
    places = tf.data.Dataset.range(len(data.signal)).batch(batch_size)
    return places.map(_gathering(data)).prefetch(2)


def _gathering(data: Examples):
    """Return the function of positions of examples that returns their batch, with their numbers."""
    if data.index is None:
        data = data._replace(index=np.arange(len(data.signal)))
    parts = {
        key: part if isinstance(part, LazyRows) else tf.constant(part)
        for key, part in data.batch().items()
    }

    def gather(place):
        return {key: _rows(part, place) for key, part in parts.items()}

    return gather


def _rows(part: tf.Tensor | LazyRows, place: tf.Tensor) -> tf.Tensor:
    if not isinstance(part, LazyRows):
        return tf.gather(part, place)

    def read(place):
        try:
            return part[place]
        except ValueError as error:
            # `abp_tf.models.batches.readable_errors` extracts the text.
            raise ValueError(f"<<{error}>>") from error

    rows = tf.numpy_function(read, [place], part.dtype)
    rows.set_shape([None, *part.shape[1:]])
    return rows

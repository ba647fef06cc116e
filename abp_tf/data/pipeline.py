"""From arrays or datasets to indexed batches: dicts of "signal", "index" and perhaps "mask".

An example's number is given before any shuffling, so its chain and its noise follow it everywhere.
"""

from __future__ import annotations

import warnings
import zlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from abp_tf import checks

ENUMERATE = (
    'Number the examples before any shuffle: `dataset.enumerate().map(lambda i, x: {"signal": x, '
    '"index": i}).shuffle(...).batch(...)`.'
)

MOSTLY = 0.95  # share of hidden entries above which a mask may be one of the wrong polarity


class Examples(NamedTuple):
    """Checked arrays: `signal` float32 `[n, ...]`, `mask` bool or none, `index` int64 or none."""

    signal: np.ndarray
    mask: np.ndarray | None = None
    index: np.ndarray | None = None

    def rows(self, start: int, stop: int | None = None) -> Examples:
        """Cut all three alike."""
        return Examples(*(part if part is None else part[start:stop] for part in self))

    def batch(self) -> dict:
        """Return the parts that are there, by name."""
        return {key: part for key, part in self._asdict().items() if part is not None}

    def fingerprint(self) -> int:
        """Return a cheap checksum of the observed entries of up to 64 examples."""
        chosen = np.linspace(0, len(self.signal) - 1, min(len(self.signal), 64)).astype(int)
        seen = self.signal[chosen]
        if self.mask is not None:
            seen = np.where(self.mask[chosen], seen, 0)
        return zlib.crc32(np.ascontiguousarray(seen, np.float32))


def examples(x, shape: tuple[int, ...], value_range) -> Examples:
    """Check an array, or a dict of arrays, and return `Examples`.

    Args:
        x: float array `[n, *shape]`, or a dict with "signal" and perhaps "mask" and "index".
        shape: of one signal.
        value_range: see `checks.signals`.

    Raises:
        ValueError: for all that `checks` refuses, unknown keys, and parts of different length.

    Warns:
        UserWarning: more than 95 % of all entries are hidden, as by a mask of the wrong polarity.
    """
    if isinstance(x, tuple):
        _refuse_labels()
    parts = dict(x) if isinstance(x, dict) else {"signal": x}
    _check_keys(parts)
    mask = parts.get("mask")
    if mask is not None:
        mask = checks.mask(mask, np.shape(parts["signal"]))
    signal = checks.signals(parts["signal"], shape, value_range, mask)
    if mask is not None and np.mean(mask) < 1 - MOSTLY:
        warnings.warn(
            f"Mask: {1 - np.mean(mask):.1%} of all entries are hidden. {checks.POLARITY} If that "
            "is what you meant, all is well.",
            stacklevel=4,
        )
    index = parts.get("index")
    if index is not None:
        index = np.asarray(index)
        if index.shape != (len(signal),) or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(
                f"Index: expected {len(signal)} integers, one per example, received shape "
                f"{index.shape} of dtype {index.dtype}. Leave it out to number arrays in order."
            )
        index = index.astype(np.int64)
    return Examples(signal, mask, index)


def shuffled(
    data: Examples,
    batch_size: int,
    *,
    seed: int,
    iteration: tf.Variable,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
) -> tf.data.Dataset:
    """One epoch of training batches; which ones is a function of (seed, iteration) alone.

    The iteration is read when an iterator is made, so a training that stopped after any batch and
    was restored goes on with the batch it would have seen.

    Args:
        data: the examples.
        batch_size: rows in all batches but the last of a pass.
        seed: of the order.
        iteration: int64 scalar variable, the number of batches seen so far.
        steps_per_epoch: batches in an epoch; by default one pass over the examples.
        shuffle: whether passes are in random order.

    Returns:
        A finite dataset of dicts.
    """
    count = len(data.signal)
    per_pass = -(-count // batch_size)
    tensors = {key: tf.constant(part) for key, part in data._replace(index=None).batch().items()}
    numbers = tf.range(count, dtype=tf.int64) if data.index is None else tf.constant(data.index)

    def one_pass(number):
        order = tf.range(count, dtype=tf.int64)
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(
                order, tf.stack([tf.constant(seed, tf.int64), number])
            )
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    def epoch(_):
        done = tf.convert_to_tensor(iteration)
        passes = tf.data.Dataset.counter(done // per_pass, dtype=tf.int64)
        return passes.flat_map(one_pass).skip(done % per_pass)

    def gather(place):
        batch = {key: tf.gather(part, place) for key, part in tensors.items()}
        return {**batch, "index": tf.gather(numbers, place)}

    steps = steps_per_epoch or per_pass
    dataset = tf.data.Dataset.range(1).flat_map(epoch).take(steps)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.map(gather).prefetch(2)


def in_order(data: Examples, batch_size: int) -> tf.data.Dataset:
    """Batches in the order of the arrays, numbered from 0 where they carry no index."""
    if data.index is None:
        data = data._replace(index=np.arange(len(data.signal)))
    return tf.data.Dataset.from_tensor_slices(data.batch()).batch(batch_size).prefetch(2)


def stream(
    dataset: tf.data.Dataset,
    shape: tuple[int, ...],
    value_range,
    *,
    rows: int | None = None,
    number: bool = False,
) -> tf.data.Dataset:
    """Check a user's batched dataset and bring its batches to the form of `in_order`.

    Args:
        dataset: batches of signals, or of dicts with "signal" and perhaps "mask" and "index".
        shape: of one signal.
        value_range: see `checks.signals`.
        rows: number of rows in the latent table, which every index must be below.
        number: give numbers to batches that have none, in the order they come.

    Raises:
        ValueError: for elements of another form, now; for bad values, when they come.
    """
    spec = dataset.element_spec
    if isinstance(spec, tuple):
        if len(spec) != 1:
            _refuse_labels()
        dataset, spec = dataset.map(lambda x: x), spec[0]
    if not isinstance(spec, dict):
        dataset, spec = dataset.map(lambda x: {"signal": x}), {"signal": spec}
    _check_keys(spec)
    _check_spec(spec, shape, value_range)
    if "index" not in spec:
        if rows is not None:
            raise ValueError(
                'Dataset: expected an "index" with every example, because each has a chain of its '
                f"own. {ENUMERATE} Or use chains='fresh', which needs none."
            )
        if number:
            dataset = dataset.scan(tf.constant(0, tf.int64), _number)
    return dataset.map(lambda batch: _checked(batch, len(shape), value_range, rows))


def has_masks(dataset: tf.data.Dataset) -> bool:
    """Whether the elements of a user's dataset come with masks."""
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) and len(spec) == 1 else spec
    return isinstance(spec, dict) and "mask" in spec


def count_examples(dataset: tf.data.Dataset) -> int | None:
    """Return the number of examples in a batched dataset if it is known without reading it."""
    count = int(dataset.unbatch().cardinality())
    return count if count >= 0 else None


def _number(done, batch):
    count = tf.shape(batch["signal"], tf.int64)[0]
    return done + count, {**batch, "index": tf.range(done, done + count)}


def _refuse_labels():
    raise ValueError(
        "Expected signals alone, received a tuple of several parts: the model learns without "
        'labels. Map the data to {"signal": ...}, with "mask" and "index" where there are any.'
    )


def _check_keys(parts) -> None:
    unknown = set(parts) - {"signal", "mask", "index"}
    if unknown or "signal" not in parts:
        raise ValueError(
            'Expected a dict with "signal" and perhaps "mask" and "index", received the keys '
            f"{sorted(map(str, parts))}."
        )


def _check_spec(spec: dict, shape, value_range) -> None:
    signal = spec["signal"]
    if not signal.dtype.is_floating:
        raise ValueError(
            f"Dataset: expected float32 signals, received {signal.dtype.name}. {checks.SCALING}"
        )
    rank = signal.shape.rank
    if rank == len(shape) and shape[-1] == 1 and signal.shape.is_compatible_with([None, *shape[:-1]]):
        raise ValueError(
            f"Dataset: expected signals {('n', *shape)}, received {tuple(signal.shape)}. Add the "
            "channel axis: `dataset.map(lambda x: x[..., None])`."
        )
    if rank == len(shape):
        raise ValueError(
            f"Dataset: expected batches of signals {('n', *shape)}, received single examples "
            f"{tuple(signal.shape)}. Add `.batch(batch_size)`."
        )
    if not signal.shape.is_compatible_with([None, *shape]):
        raise ValueError(f"Dataset: expected signals {('n', *shape)}, received {tuple(signal.shape)}.")
    index = spec.get("index")
    if index is not None and (index.shape.rank != 1 or not index.dtype.is_integer):
        raise ValueError(
            f"Dataset: expected an integer index per example, received shape {index.shape} of dtype "
            f"{index.dtype.name}. {ENUMERATE}"
        )
    mask = spec.get("mask")
    if mask is not None and not any(
        mask.shape.is_compatible_with(good)
        for good in ([None, *shape], [None, *shape[:-1]], [None, *shape[:-1], 1])
    ):
        raise ValueError(
            f"Dataset: expected a mask {('n', *shape[:-1])} or {('n', *shape)}, received "
            f"{tuple(mask.shape)}. {checks.POLARITY}"
        )


def _checked(batch: dict, rank: int, value_range, rows: int | None) -> dict:
    """Look at the values of one batch as they pass."""
    batch = {**batch, "signal": tf.cast(batch["signal"], tf.float32)}
    seen = batch["signal"]
    tests = []
    if "mask" in batch:
        mask = batch["mask"]
        if mask.shape.rank == rank:
            mask = mask[..., None]
        if mask.dtype != tf.bool:
            binary = tf.reduce_all((mask == 0) | (mask == 1))
            tests.append(
                checks.graph_assert(binary, f"Mask: values other than 0 and 1. {checks.POLARITY}")
            )
            mask = mask == 1
        anything = tf.reduce_all(tf.reduce_any(mask, axis=list(range(1, rank + 1))))
        tests.append(
            checks.graph_assert(anything, f"Mask: an example has nothing observed. {checks.POLARITY}")
        )
        batch["mask"] = mask
        seen = tf.where(mask, seen, tf.zeros_like(seen))
    finite = tf.reduce_all(tf.math.is_finite(seen))
    tests.append(
        checks.graph_assert(
            finite,
            "Signals: NaN or infinity in observed entries. Hide missing entries with a mask.",
        )
    )
    if value_range is not None:
        low, high = value_range
        inside = tf.reduce_all((seen >= low) & (seen <= high))
        text = f"Signals: values outside [{low:g}, {high:g}]. {checks.SCALING}"
        tests.append(checks.graph_assert(inside, text))
    if "index" in batch:
        index = tf.cast(batch["index"], tf.int64)
        batch["index"] = index
        if rows is not None:
            text = (
                f"Index: a number outside 0 to {rows - 1}, the rows of the chains. {ENUMERATE} If "
                "batches drop a remainder, say how many examples there are: Generator(examples=N)."
            )
            tests.append(checks.graph_assert(tf.reduce_all((index >= 0) & (index < rows)), text))
            single = tf.size(tf.unique(index)[0]) == tf.size(index)
            text = f"Index: two examples of a batch have the same number. {ENUMERATE}"
            tests.append(checks.graph_assert(single, text))
    with tf.control_dependencies(tests):
        return {key: tf.identity(part) for key, part in batch.items()}

"""Check datasets of the user, and turn them into batches like those of `abp_tf.data.ordering`."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.distribution.shards import Shards

ENUMERATE = (
    'Number the examples before any shuffle: `dataset.enumerate().map(lambda i, x: {"signal": x, '
    '"index": i}).shuffle(...).batch(...)`.'
)


def is_stream(x) -> bool:
    """Return whether data are a `tf.data.Dataset` or a `keras.utils.PyDataset`."""
    return isinstance(x, tf.data.Dataset | keras.utils.PyDataset)


def as_dataset(x, shuffle: bool = False, seed: int = 0, iteration=None) -> tf.data.Dataset:
    """Return the batches of a stream as a `tf.data.Dataset`.

    Args:
        x: a `tf.data.Dataset`, returned as it is; or a `keras.utils.PyDataset`, whose items are
            batches of signals, or dicts of arrays "signal" and optionally "mask", "index" and "time".
            If signals are masked arrays of NumPy, those of all batches must be.
        shuffle: whether the batches of a `PyDataset` are in a new random order each epoch.
        seed: seed of the random order.
        iteration: int64 variable, the number of batches used so far; it selects the order.
    """
    if isinstance(x, tf.data.Dataset):
        return x
    count = len(x)

    def parts(batch) -> dict:
        batch = keras.utils.unpack_x_y_sample_weight(batch)
        if any(part is not None for part in batch[1:]):
            examples.refuse_labels()
        found = examples.parts(batch[0])
        if isinstance(found.get("signal"), np.ma.MaskedArray):
            observed = ~np.ma.getmaskarray(found["signal"])
            if "mask" in found:
                observed &= checks.mask(found["mask"], observed.shape)
            found |= {"signal": found["signal"].data, "mask": observed}
        return found

    def epoch():
        done = 0 if iteration is None else int(iteration.numpy()) // count
        order = np.random.default_rng([seed, done]).permutation(count) if shuffle else range(count)
        for number in order:
            yield parts(x[int(number)])
        x.on_epoch_end()

    def spec(part):
        part = np.asarray(part)
        return tf.TensorSpec([None, *part.shape[1:]], part.dtype)

    specs = {name: spec(part) for name, part in parts(x[0]).items()}
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=specs)
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def stream(
    dataset: tf.data.Dataset,
    shape: tuple[int, ...],
    value_range,
    *,
    rows: int | None = None,
    number: bool = False,
    noise: bool = False,
    of_shard: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Check a user's batched dataset and bring its batches to the form of `ordering.in_order`.

    Args:
        dataset: batches of signals, or of dicts with "signal" and optionally "mask", "index", "sigma"
            and "time".
        shape: shape of one signal.
        value_range: lowest and highest value that observed entries may have; None for any.
        rows: number of rows in the latent table; every index must be smaller. None for no limit.
        number: whether to number the examples in order if they have no index.
        noise: whether data may bring "sigma", the standard deviation of the noise of each entry.
        of_shard: number of a shard, to which all examples must belong, and number of shards.

    Returns:
        A dataset of dicts that raises `InvalidArgumentError` when it reaches values out of range.

    Raises:
        ValueError: if the elements have another form.
    """
    spec = dataset.element_spec
    if isinstance(spec, tuple):
        if len(spec) != 1:
            examples.refuse_labels()
        dataset, spec = dataset.map(lambda x: x), spec[0]
    if not isinstance(spec, dict):
        dataset, spec = dataset.map(lambda x: {"signal": x}), {"signal": spec}
    examples.check_keys(spec, noise)
    _check_spec(spec, shape, value_range)
    if "index" not in spec:
        if rows is not None:
            raise ValueError(
                'Dataset: expected an "index" with every example, because each has a chain of its '
                f"own. {ENUMERATE} Or use chains='fresh', which needs none."
            )
        if number:
            dataset = dataset.scan(tf.constant(0, tf.int64), _number)
    return dataset.map(lambda batch: _checked(batch, len(shape), value_range, rows, of_shard))


def joined(
    datasets: list[tf.data.Dataset],
    shards: Shards,
    steps: int | None,
    most: Callable[[int], int] = int,
) -> tf.data.Dataset:
    """Return the batches of a process, joined from those of its shards.

    Args:
        datasets: batches of each shard of the process, as `stream` returns them.
        shards: the shards of the process.
        steps: number of batches per epoch of datasets that do not end; None means one pass over
            datasets that do. Shards that end before others give no rows.
        most: function that returns the largest of the numbers with which all processes call it.

    Raises:
        ValueError: if the datasets do not determine the same number of batches in all processes.
    """
    counts = [int(one.cardinality()) for one in datasets]
    if steps is None and min(counts) < 0:
        raise ValueError(
            "Datasets of shards: expected a known number of batches, received an unknown or infinite "
            "one. Assert it by `tf.data.experimental.assert_cardinality`, or repeat the datasets and "
            "give steps_per_epoch."
        )
    if steps is not None and max(counts) != tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "Datasets of shards: expected, with steps_per_epoch, datasets that do not end. Add "
            "`.repeat()`, or leave out steps_per_epoch."
        )

    def padded(dataset):
        nothing = {
            name: tf.zeros([size or 0 for size in (None, *spec.shape[1:])], spec.dtype)
            for name, spec in dataset.element_spec.items()
        }
        return dataset.concatenate(tf.data.Dataset.from_tensors(nothing).repeat())

    def join(*batches):
        places = [
            tf.range(tf.shape(batch["signal"], tf.int64)[0]) * shards.count + shard
            for shard, batch in zip(shards.own, batches, strict=True)
        ]
        parts = {name: tf.concat([one[name] for one in batches], axis=0) for name in batches[0]}
        return {**parts, "place": tf.concat(places, axis=0)}

    if steps is None:
        count = most(max(counts))
        datasets = [padded(one).take(count) for one in datasets]
    return tf.data.Dataset.zip(tuple(datasets)).map(join).prefetch(2)


def has_masks(dataset: tf.data.Dataset) -> bool:
    """Return whether the elements of a dataset hold masks."""
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) and len(spec) == 1 else spec
    return isinstance(spec, dict) and "mask" in spec


def count_examples(dataset: tf.data.Dataset) -> int | None:
    """Return the number of examples in a batched dataset; None if it must be read to count them."""
    count = int(dataset.unbatch().cardinality())
    return count if count >= 0 else None


def _number(done, batch):
    count = tf.shape(batch["signal"], tf.int64)[0]
    return done + count, {**batch, "index": tf.range(done, done + count)}


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
    time = spec.get("time")
    if time is not None and (
        time.shape.rank != 1 or not (time.dtype.is_floating or time.dtype.is_integer)
    ):
        raise ValueError(
            f"Dataset: expected one number of time per example, received shape {time.shape} of dtype "
            f"{time.dtype.name}. {checks.TIME}"
        )
    for name, meaning in (("mask", checks.POLARITY), ("sigma", checks.NOISE)):
        part = spec.get(name)
        if part is not None and not any(
            part.shape.is_compatible_with(good)
            for good in ([None, *shape], [None, *shape[:-1]], [None, *shape[:-1], 1])
        ):
            raise ValueError(
                f"Dataset: expected a {name} {('n', *shape[:-1])} or {('n', *shape)}, received "
                f"{tuple(part.shape)}. {meaning}"
            )


def _checked(batch: dict, rank: int, value_range, rows: int | None, of_shard=None) -> dict:
    """Return a checked batch of float32, bool, int64 and, of times, float64.

    Values are tested when they are read.
    """
    batch = {**batch, "signal": tf.cast(batch["signal"], tf.float32)}
    observed = batch["signal"]
    tests = []
    if "mask" in batch:
        mask = batch["mask"]
        if mask.shape.rank == rank:
            mask = mask[..., None]
        if mask.dtype != tf.bool:
            binary = tf.reduce_all((mask == 0) | (mask == 1))
            tests.append(require(binary, f"Mask: values other than 0 and 1. {checks.POLARITY}"))
            mask = mask == 1
        batch["mask"] = mask
        observed = tf.where(mask, observed, tf.zeros_like(observed))
    if "sigma" in batch:
        sigma = tf.cast(batch["sigma"], tf.float32)
        batch["sigma"] = sigma = sigma[..., None] if sigma.shape.rank == rank else sigma
        good = (sigma > 0) & tf.math.is_finite(sigma)
        good = tf.reduce_all(good | ~batch["mask"] if "mask" in batch else good)
        tests.append(require(good, f"Sigma: an observed entry without a positive one. {checks.NOISE}"))
    if "time" in batch:
        batch["time"] = time = tf.cast(batch["time"], tf.float64)
        finite = tf.reduce_all(tf.math.is_finite(time))
        tests.append(require(finite, f"Time: NaN or infinity. {checks.TIME}"))
    finite = tf.reduce_all(tf.math.is_finite(observed))
    tests.append(
        require(
            finite,
            "Signals: NaN or infinity in observed entries. Hide missing entries with a mask.",
        )
    )
    if value_range is not None:
        low, high = checks.widened(value_range)
        inside = tf.reduce_all((observed >= low) & (observed <= high))
        low, high = value_range
        text = f"Signals: values outside [{low:g}, {high:g}]. {checks.SCALING}"
        tests.append(require(inside, text))
    if "index" in batch:
        index = tf.cast(batch["index"], tf.int64)
        batch["index"] = index
        if rows is not None:
            text = (
                f"Index: a number outside 0 to {rows - 1}, the rows of the chains. {ENUMERATE} If "
                "batches drop a remainder, give the number of examples: Generator(examples=N)."
            )
            tests.append(require(tf.reduce_all((index >= 0) & (index < rows)), text))
            single = tf.size(tf.unique(index)[0]) == tf.size(index)
            text = f"Index: two examples of a batch have the same number. {ENUMERATE}"
            tests.append(require(single, text))
        if of_shard is not None:
            shard, shards = of_shard
            text = f"Index: a number that is not in shard {shard}: i mod {shards} must be {shard}."
            tests.append(require(tf.reduce_all(index % shards == shard), text))
    with tf.control_dependencies(tests):
        return {key: tf.identity(part) for key, part in batch.items()}


def require(condition: tf.Tensor, text: str) -> tf.Operation:
    """Return an assertion of a graph; `abp_tf.models.batches.readable_errors` extracts its text."""
    return tf.debugging.Assert(condition, [f"<<{text}>>"])

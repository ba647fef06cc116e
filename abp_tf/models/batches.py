"""Convert the data that `fit`, `evaluate` and `predict` receive to batches."""

from __future__ import annotations

import contextlib
import inspect
import re

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.data import examples, ordering, streams
from abp_tf.observation import masking


def for_training(model, x, batch_size, shuffle, steps_per_epoch) -> tuple[tf.data.Dataset, int | None]:
    """Return the dataset of an epoch, and the number of steps that Keras counts in it.

    Args:
        model: a `SignalModel`; its `accept` is called with the data.
        x: data in any form that `SignalModel.fit` accepts.
        batch_size: number of rows per batch of arrays; None means 32.
        shuffle: whether arrays are visited in random order.
        steps_per_epoch: number of batches per epoch; None means one pass.
    """
    for name, value in (("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch)):
        if value is not None:
            checks.integer("fit", name, value, 1)
    shards = model.ownership
    by_shard = callable(x) and not inspect.isgeneratorfunction(x)
    if not streams.is_stream(x) and not by_shard:
        data = _checked(model, x)
        # Without numbers all processes have all examples; with numbers each has its own.
        whole = data.index is None or shards.workers == 1
        dataset = ordering.shuffled(
            data,
            batch_size or 32,
            seed=model.seed,
            iteration=model.iteration.value,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            shards=shards,
            longest=None if whole else model.replicas.most(ordering.longest(data, shards)),
        )
        _check_parts(model, dataset.element_spec, "fit")
        known, fingerprint = (len(data.signal), data.fingerprint()) if whole else (None, 0)
        model.accept(known, fingerprint, data.index, data.mask is not None)
        return dataset, None
    if batch_size is not None:
        raise ValueError(
            f"fit expected no `batch_size` with a dataset, which has batches, received {batch_size}. "
            "Leave it out."
        )
    if by_shard:
        datasets = [streams.as_dataset(x(shard, shards.count)) for shard in shards.own]
    elif shards.workers == 1:
        datasets = [streams.as_dataset(x, shuffle, model.seed, model.iteration)]
    else:
        raise ValueError(
            f"fit expected, in {shards.workers} processes, a function of (shard, shards) that returns "
            "the dataset of the examples i with i mod shards = shard, received one dataset. Give such "
            "a function, or arrays."
        )
    masked = streams.has_masks(datasets[0])
    known = None
    if model.numbered(masked):
        known = model.tables[0].rows or (None if by_shard else streams.count_examples(datasets[0]))
    options = {"rows": known, "noise": model.noise_in_data}
    shape, value_range = model.observed_shape, model.observed_range
    if by_shard:
        datasets = [
            streams.stream(one, shape, value_range, of_shard=(shard, shards.count), **options)
            for shard, one in zip(shards.own, datasets, strict=True)
        ]
        dataset = streams.joined(datasets, shards, steps_per_epoch, model.replicas.most)
    else:
        dataset = streams.stream(datasets[0], shape, value_range, **options)
    _check_parts(model, dataset.element_spec, "fit")
    model.accept(known, 0, None, masked)
    return dataset, steps_per_epoch


def for_testing(model, x, batch_size, method: str) -> tf.data.Dataset:
    """Return the batches of data for `method`, "evaluate" or "predict", in their order."""
    if batch_size is not None:
        checks.integer(method, "batch_size", batch_size, 1)
    if streams.is_stream(x):
        dataset = streams.as_dataset(x)
        options = {"number": True, "noise": model.noise_in_data}
        dataset = streams.stream(dataset, model.observed_shape, model.observed_range, **options)
    else:
        data = _checked(model, x)
        dataset = ordering.in_order(data, batch_size or 32)
    _check_parts(model, dataset.element_spec, method)
    worker, workers = model.replicas.worker, model.replicas.workers
    if method == "evaluate" and workers > 1:  # each process has all data, and evaluates its part
        dataset = dataset.map(
            lambda batch: {name: part[worker::workers] for name, part in batch.items()}
        )
    return dataset


def single(model, x, method: str) -> dict:
    """Return one batch of arrays for `method`, as the tensors that a step receives."""
    data = _checked(model, x)
    masked = data.mask is not None
    _check_parts(model, data.batch(), method)
    if method == "fit":
        if model.numbered(masked):
            known = model.tables[0].rows
            if data.index is None or not known:
                raise ValueError(
                    'train_on_batch expected {"signal": ..., "index": ...} with the numbers of the '
                    "examples, because each example has a chain of its own, and a model built with "
                    "examples=N. Give both, or use chains='fresh'."
                )
            checks.index(data.index, known)
        else:
            model.accept(None, 0, data.index, masked)
    return {key: tf.constant(part) for key, part in data.batch().items()}


def split(model, x, share: float, validation_data) -> tuple[dict, dict]:
    """Return arrays without their last `share`, and that share for validation."""
    if validation_data is not None or streams.is_stream(x):
        raise ValueError(
            "`validation_split` expected arrays and no `validation_data`, received "
            f"{'a dataset' if validation_data is None else '`validation_data`'}. Use one of them."
        )
    if not 0 < share < 1:
        raise ValueError(f"`validation_split` expected a share in (0, 1), received {share}.")
    data = _checked(model, x)
    cut = int(len(data.signal) * (1 - share))
    if cut in (0, len(data.signal)):
        raise ValueError(f"`validation_split={share}` leaves one side of {cut} examples empty.")
    return data.rows(0, cut).batch(), data.rows(cut)._replace(index=None).batch()


def times(batch) -> tf.Tensor | None:
    """Return the times of the examples of a batch, as `unpack` takes it; None if it has none."""
    return keras.utils.unpack_x_y_sample_weight(batch)[0].get("time")


def unpack(model, batch) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """Return the signals, the mask and the examples' numbers of a batch.

    Args:
        model: a `SignalModel`.
        batch: dict with "signal" and optionally "mask", "index", "sigma" and "time", or a tuple that
            begins with one.

    Returns:
        the signals in scaled units, float32 `[n, *signal_shape]`, with 0 where an entry is hidden; the
        mask as weights of the entries, float32 (`abp_tf.observation.masking`), or None; and the
        examples' numbers, int64 `[n]`, which are their positions in the batch if it has no index.
    """
    batch = keras.utils.unpack_x_y_sample_weight(batch)[0]
    signal = model.scaled(batch["signal"], batch.get("time"))
    mask, index = batch.get("mask"), batch.get("index")
    if index is None:
        index = place(batch)
    if mask is not None:
        mask = tf.cast(mask, tf.float32)
        signal = masking.hide(signal, mask)
    if "sigma" in batch:
        seen = tf.ones([], tf.float32) if mask is None else mask
        mask = seen * model.noise_of_data() / tf.where(seen > 0, batch["sigma"], 1.0)
    return signal, mask, index


def place(batch) -> tf.Tensor:
    """Return the places of the rows in the whole batch, of all replicas and processes, int64 `[n]`."""
    batch = keras.utils.unpack_x_y_sample_weight(batch)[0]
    if "place" in batch:
        return batch["place"]
    return tf.range(tf.shape(batch["signal"], tf.int64)[0])


@contextlib.contextmanager
def readable_errors():
    """Raise the `ValueError` of a check that failed while TensorFlow read a dataset."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"<<(.*?)>>", str(error), re.DOTALL)
        if found is None:
            raise
        raise ValueError(found[1]) from None


def _checked(model, x) -> examples.Examples:
    return examples.examples(x, model.observed_shape, model.observed_range, model.noise_in_data)


def _check_parts(model, parts: dict, method: str) -> None:
    """Refuse a mask or the noise of entries where a method cannot use them, and missing times."""
    if "mask" in parts and method not in model.masked:
        raise ValueError(
            f"{type(model).__name__}.{method} expected whole signals, received a mask. Fill in hidden "
            "entries first, for instance with `Generator.inpaint`, or leave out the mask."
        )
    model.times(parts.get("time"), None, method)
    if "sigma" in parts and method == "fit" and model.learn_sigma:
        raise ValueError(
            'fit expected data without "sigma", the noise of each entry, because learn_sigma=True '
            "estimates the noise, received both. Set learn_sigma to False, or leave sigma out."
        )

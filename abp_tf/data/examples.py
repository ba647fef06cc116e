"""Turn arrays into batches: dicts of "signal", "index" and, if given, "mask", "sigma" and "time".

Examples are numbered before they are shuffled, so that each keeps its own chain and its own noise.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.data.lazy import LazyRows
from abp_tf.distribution.shards import Shards

MOSTLY = 0.95  # share of hidden entries above which `examples` warns that the polarity may be wrong
_SOME = 64  # masks that are looked at where all are not in memory


class Examples(NamedTuple):
    """Checked arrays, of which all but `signal` may be None.

    Attributes:
        signal: float32 `[n, ...]`; `LazyRows` if they are read when they are needed.
        mask: bool, True = observed, broadcasts against `signal`; or `LazyRows`.
        index: numbers of the examples, int64 `[n]`.
        sigma: standard deviation of the noise of each entry, float32, broadcasts against `signal`.
        time: times of the examples, float64 `[n]`, in the unit of the period of a scaling.
    """

    signal: np.ndarray
    mask: np.ndarray | None = None
    index: np.ndarray | None = None
    sigma: np.ndarray | None = None
    time: np.ndarray | None = None

    def rows(self, start: int, stop: int | None = None) -> Examples:
        """Return the rows from `start` to `stop` of all parts."""
        return Examples(*(part if part is None else part[start:stop] for part in self))

    def batch(self) -> dict:
        """Return the parts that are not None, by name."""
        return {key: part for key, part in self._asdict().items() if part is not None}

    def given(self) -> dict:
        """Return what methods of models take: signals, with their masks and times if there are any."""
        return self._replace(index=None, sigma=None).batch()

    def weights(self, sigma: np.ndarray) -> np.ndarray | None:
        """Return the weights of the entries' errors, `σ / σᵢ` where data bring a `σᵢ`; 0 where hidden.

        Args:
            sigma: σ of each channel, `[channels]`.

        Returns:
            an array that broadcasts against `signal`: the mask itself without `σᵢ`; None if all weights
            are 1.
        """
        if self.sigma is None:
            return self.mask
        seen = np.True_ if self.mask is None else self.mask
        return seen * np.float32(sigma) / np.where(seen, self.sigma, np.float32(1))

    def fingerprint(self) -> int:
        """Return a checksum of the observed entries of up to 64 examples."""
        chosen = np.linspace(0, len(self.signal) - 1, min(len(self.signal), 64)).astype(int)
        observed = self.signal[chosen]
        if self.mask is not None:
            observed = np.where(self.mask[chosen], observed, 0)
        return int(digest(observed.astype(np.float32, copy=False))[:8], 16)


def digest(*parts: np.ndarray | bytes | None) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other; None is skipped."""
    found = hashlib.sha256()
    for part in parts:
        if part is not None:
            found.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part)
    return found.hexdigest()


def examples(x, shape: tuple[int, ...], value_range, noise: bool = False) -> Examples:
    """Check an array, or a mapping of arrays, and return `Examples`.

    Args:
        x: float array `[n, *shape]`, or a mapping with "signal" and optionally "mask", "index",
            "sigma" and "time", such as a dict or a `data.Field`, or a tuple of one of them, as Keras
            takes for validation. Signals and mask may be `LazyRows`, which are checked when they are
            read. What NumPy's mask hides of a masked array is hidden, beside what "mask" hides.
        shape: shape of one signal.
        value_range: lowest and highest value that observed entries may have; None for any.
        noise: whether data may bring "sigma", the standard deviation of the noise of each entry.

    Raises:
        ValueError: if `checks` refuses a part, a key is unknown, or the lengths of parts differ.

    Warns:
        UserWarning: if more than 95 % of all entries are hidden, as by a mask of the wrong polarity.
    """
    if isinstance(x, tuple):
        if len(x) != 1:
            refuse_labels()
        x = x[0]
    if hasattr(x, "__next__") or inspect.isgeneratorfunction(x):
        raise ValueError(
            "Expected arrays, a tf.data.Dataset or a keras.utils.PyDataset, received a generator, "
            "which can be read only once. Use `tf.data.Dataset.from_generator(...).batch(...)`."
        )
    given = parts(x)
    check_keys(given, noise)
    mask = given.get("mask")
    if isinstance(given["signal"], LazyRows):
        signal, mask = _lazy(given["signal"], mask, shape, value_range)
        _refuse_lazy_noise(given)
    else:
        signal, observed = checks.parted(given["signal"])
        if mask is not None:
            mask = checks.mask(mask, signal.shape)
        if observed is not None:
            mask = checks.mask(observed if mask is None else mask & observed, signal.shape)
        signal = checks.signals(signal, shape, value_range, mask)
    share = 1 if mask is None else np.mean(mask[:_SOME] if isinstance(mask, LazyRows) else mask)
    if share < 1 - MOSTLY:
        warnings.warn(
            f"Mask: {1 - share:.1%} of all entries are hidden. {checks.POLARITY} Check "
            "the polarity of the mask; if it is right, ignore this warning.",
            stacklevel=4,
        )
    index = given.get("index")
    if index is not None:
        index = np.asarray(index)
        if index.shape != (len(signal),) or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(
                f"Index: expected {len(signal)} integers, one per example, received shape "
                f"{index.shape} of dtype {index.dtype}. Leave it out to number the examples in order."
            )
        index = index.astype(np.int64)
    sigma = given.get("sigma")
    if sigma is not None:
        sigma = checks.noise(sigma, signal.shape, mask)
    time = given.get("time")
    if time is not None:
        time = checks.times(time, len(signal))
    return Examples(signal, mask, index, sigma, time)


def _lazy(signal: LazyRows, mask, shape: tuple[int, ...], value_range) -> tuple:
    """Return signals and a mask whose rows are checked when they are read, and the first ones now."""

    def observed(rows):
        return checks.mask(rows, (len(rows), *shape))

    signal = signal.map(lambda rows: checks.signals(rows, shape, value_range))
    signal[:1]
    if mask is None:
        return signal, None
    if len(mask) != len(signal):
        raise ValueError(f"Mask: expected {len(signal)} rows like the signals, received {len(mask)}.")
    if isinstance(mask, LazyRows):
        return signal, mask.map(observed, observed(mask[:1]).shape[1:], bool)
    return signal, observed(mask)


def _refuse_lazy_noise(given: dict) -> None:
    if "sigma" in given:
        raise ValueError(
            'Expected data without "sigma", because the signals are read when they are needed. Give '
            "arrays with the noise of their entries."
        )


def parts(x) -> dict:
    """Return data as a dict: a copy of a mapping, or an array as "signal"."""
    return dict(x) if isinstance(x, Mapping) else {"signal": x}


def masked(signals, mask) -> dict:
    """Return the arguments of methods that take signals and a mask, which may be None, as a dict.

    Raises:
        ValueError: if signals are a mapping that has a mask of its own, beside another one.
    """
    given = parts(signals)
    if mask is None:
        return given
    if "mask" in given:
        raise ValueError(
            'Expected one mask, received one in the data, under the key "mask", and another beside '
            'them. Give x["signal"] and the mask.'
        )
    return {**given, "mask": mask}


def incomplete(signals, mask, shape: tuple[int, ...], value_range) -> Examples:
    """Check signals and mask of `inpaint`; return them, the mask of the shape of the signals."""
    data = examples(masked(signals, mask), shape, value_range)
    if data.mask is None:
        raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
    return data._replace(mask=np.broadcast_to(data.mask, data.signal.shape))


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
    return _longest(data.index, shards)


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


def refuse_labels():
    """Raise the error for tuples, such as pairs of signals and labels."""
    raise ValueError(
        "Expected only signals, received a tuple of several parts: the model learns without "
        'labels. Map the data to {"signal": ...}, with "mask", "index" and "time" if there are any.'
    )


def check_keys(parts, noise: bool = False) -> None:
    """Refuse dicts without the key "signal" or with unknown keys; `noise` allows "sigma"."""
    known = ["mask", "index", "time", *(["sigma"] if noise else [])]
    if set(parts) - {"signal", *known} or "signal" not in parts:
        raise ValueError(
            f'Expected a dict with "signal" and optionally {known}, received the keys '
            f"{sorted(map(str, parts))}."
        )

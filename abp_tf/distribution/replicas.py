"""What the replicas of a model compute together in a step of `fit`: sums, means, writes, descent.

The functions follow the context of `tf.distribute` in which they are called. On one device they cost
and change nothing. The replicas themselves are `abp_tf.distribution.strategy.Replicas`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def count() -> int:
    """Return the number of replicas that make this step; between steps, that of processes."""
    strategy = tf.distribute.get_strategy()
    between = tf.distribute.in_cross_replica_context()
    return workers_of(strategy)[1] if between else strategy.num_replicas_in_sync


def total(values: Any) -> Any:
    """Return sums of tensors over the replicas; between steps, over the processes.

    Args:
        values: nested structure of tensors of floating point, or None in their places; all replicas
            must have the same structure.
    """
    if count() == 1:
        return values
    if tf.distribute.in_cross_replica_context():
        values = tf.nest.map_structure(tf.convert_to_tensor, values)
        strategy = tf.distribute.get_strategy()
        if tf.executing_eagerly():
            forms = ((tuple(one.shape), one.dtype) for one in tf.nest.flatten(values))
            return _compiled(strategy, tuple(forms))(values)
        return _over_processes(strategy, values)
    flat = tf.nest.flatten(values)
    reduce = tf.distribute.get_replica_context().all_reduce
    for dtype in dict.fromkeys(part.dtype for part in flat if part is not None):
        chosen = [at for at, part in enumerate(flat) if part is not None and part.dtype == dtype]
        found = reduce(tf.distribute.ReduceOp.SUM, [flat[at] for at in chosen])
        for at, part in zip(chosen, found, strict=True):
            flat[at] = part
    return tf.nest.pack_sequence_as(values, flat)


def mean_over(rows: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the function that averages over rows, those of all replicas.

    It maps values, `[n, ...]`, to the share that the rows of this replica have in the mean: the sum of
    the shares of all replicas, which `total` returns, is the mean. So are sums of their gradients.

    Args:
        rows: any tensor that has one row for each row of this replica, `n`, which may be 0.
    """
    if count() == 1:
        return tf.reduce_mean
    number = total(counted(tf.cast(tf.shape(rows)[0], tf.float32)))

    def mean(values: tf.Tensor) -> tf.Tensor:
        entries = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
        return tf.math.divide_no_nan(counted(tf.reduce_sum(entries)), number)

    return mean


def counted(value: tf.Tensor) -> tf.Tensor:
    """Return a sum over the rows of this replica, or 0 if it has none and its row counts nothing."""
    some = getattr(_HERE, "some", None)
    if some is None or tf.distribute.in_cross_replica_context():
        return value
    return tf.math.multiply_no_nan(value, tf.cast(some, value.dtype))


def refuse_no_rows(inputs: tf.Tensor) -> tf.Tensor:
    """Return inputs of a network with BatchNorm, whose statistics every row enters.

    The step fails, with a text for `abp_tf.models.batches.readable_errors`, on a replica without rows.
    """
    some = getattr(_HERE, "some", None)
    if some is None:
        return inputs
    text = (
        f"BatchNorm expected at least one row for each of {count()} replicas in every batch, received "
        "fewer. Choose another batch_size, or leave out the last examples."
    )
    with tf.control_dependencies([tf.debugging.Assert(some, [f"<<{text}>>"])]):
        return tf.identity(inputs)


def merged(function: Callable, rows: Sequence = ()):
    """Run a function once in each process, where it may write variables, and return its result.

    Args:
        function: function of as many arguments as there are `rows`.
        rows: tensors with the rows of this replica first, or None; `function` receives those of all
            replicas of the process.
    """
    if not tf.distribute.has_strategy():
        return function(*rows)
    given = [at for at, part in enumerate(rows) if part is not None]
    some = getattr(_HERE, "some", None)
    if some is not None:
        rows = [
            part if part is None else part[: _rows(part) * tf.cast(some, tf.int32)] for part in rows
        ]

    def merge(strategy, *parts):
        whole = [None] * len(rows)
        for at, part in zip(given, parts, strict=True):
            values = strategy.experimental_local_results(part)
            with tf.device("/CPU:0"):  # where the chains are
                whole[at] = values[0] if len(values) == 1 else tf.concat(values, axis=0)
        return function(*whole)

    context = tf.distribute.get_replica_context()
    return context.merge_call(merge, args=[rows[at] for at in given])


def descend(optimizer: keras.optimizers.Optimizer, gradients: list, variables: list) -> None:
    """Apply gradients that are sums over all replicas; to be called in the function of `merged`.

    The optimizer then clips the gradient of the whole batch, not those of replicas.
    """
    pairs = zip(gradients, variables, strict=True)
    if not tf.distribute.in_cross_replica_context():
        optimizer.apply_gradients(pairs)
        return
    strategy = tf.distribute.get_strategy()
    worker, workers = workers_of(strategy)
    first = worker * strategy.num_replicas_in_sync // workers
    with _Summed(strategy, replica_id_in_sync_group=first):
        optimizer.apply_gradients(pairs)


class _Summed(tf.distribute.ReplicaContext):
    """Context in which an optimizer applies gradients that have been summed over replicas already.

    Keras's optimizers apply gradients in the context of a replica alone, and sum them there.
    """

    def all_reduce(self, reduce_op, value, options=None):
        """Return `value`, which is the same on all replicas."""
        return value


# Whether the replica that a thread computes has rows; unknown outside of steps of several replicas.
_HERE = threading.local()


@contextlib.contextmanager
def some_rows(some: tf.Tensor):
    """Set whether the replica that this thread computes has rows."""
    _HERE.some = some
    try:
        yield
    finally:
        _HERE.some = None


def _rows(part: tf.Tensor) -> tf.Tensor:
    return tf.shape(part)[0]


def _over_processes(strategy, values):
    """Return sums of tensors over processes, in the cross-replica context."""
    local = strategy.num_replicas_in_sync // workers_of(strategy)[1]

    def replica(values):
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % local == 0  # the others count nothing
        return total(tf.nest.map_structure(lambda v: tf.where(first, v, tf.zeros_like(v)), values))

    found = strategy.run(replica, (values,))
    return tf.nest.map_structure(lambda v: strategy.experimental_local_results(v)[0], found)


@functools.cache
def _compiled(strategy, forms: tuple) -> Callable:
    """Return `_over_processes` of a strategy as a compiled function, for calls between steps.

    There is one for tensors of each shape and type, because TensorFlow warns of functions of many.
    """
    return tf.function(functools.partial(_over_processes, strategy), autograph=False)


def workers_of(strategy) -> tuple[int, int]:
    """Return the number of this process, and the number of processes, of a strategy."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 0, 1
    tasks = resolver.cluster_spec().as_dict()
    names = [(kind, task) for kind in ("chief", "worker") for task in range(len(tasks.get(kind, [])))]
    if not names:
        return 0, 1
    return names.index((resolver.task_type, resolver.task_id)), len(names)

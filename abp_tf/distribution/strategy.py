"""Replicas of a model on several devices and machines, which Keras takes for its strategy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from abp_tf.distribution import replicas
from abp_tf.errors import ProcessLostError

STRATEGIES = (
    tf.distribute.OneDeviceStrategy,
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
)

# Callbacks of Keras that save a model, of which each process has a part; and those that only log.
SAVING = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
LOGGING = (keras.callbacks.CSVLogger, keras.callbacks.TensorBoard, keras.callbacks.RemoteMonitor)


class Replicas:
    """The devices and processes that train a model together.

    Keras's trainer takes it for the strategy of the model. It gives each process the whole batches of
    that process's dataset, and divides them among the devices of the process within a step. So Keras
    neither distributes datasets nor reduces what steps return.

    Args:
        strategy: strategy in whose scope the model is built.

    Attributes:
        strategy: the same strategy.
        workers: number of processes.
        worker: number of this process, from 0 on.
        chief: whether this process writes what all have in common: the one of number 0.
        local: number of devices of this process that hold a replica.

    Raises:
        ValueError: if models cannot learn under the strategy.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        if tf.distribute.has_strategy() and not isinstance(strategy, STRATEGIES):
            raise ValueError(
                f"Expected one of {', '.join(one.__name__ for one in STRATEGIES)}, received "
                f"{type(strategy).__name__}, under which chains and their losses would be wrong."
            )
        self.strategy = strategy
        self.worker, self.workers = replicas.workers_of(strategy)
        self.chief = self.worker == 0
        self.local = strategy.num_replicas_in_sync // self.workers

    @property
    def num_replicas_in_sync(self) -> int:
        """Number of replicas of all processes."""
        return self.strategy.num_replicas_in_sync

    @property
    def mirrored(self) -> bool:
        """Whether variables have a copy on each device."""
        return isinstance(self.strategy, STRATEGIES[1:])

    def check(self, model) -> None:
        """Refuse what cannot learn under the strategy; synchronize the BatchNorm of the networks.

        Args:
            model: a compiled `SignalModel`.

        Raises:
            ValueError: if the model and the strategy do not fit together.
        """
        name = type(model).__name__
        if tf.distribute.has_strategy() and tf.distribute.get_strategy() is not self.strategy:
            raise ValueError(
                f"{name}.fit expected the strategy that the model was built under, received another, "
                f"{type(tf.distribute.get_strategy()).__name__}. Build and compile the model in "
                "`with strategy.scope():`."
            )
        if not self.mirrored:
            return
        if model.jit_compile:
            raise ValueError(
                f"{name} expected jit_compile=False under {type(self.strategy).__name__}, because XLA "
                "compiles no sums over replicas, received True. Leave it out."
            )
        for optimizer, variables in model.learners():
            if not isinstance(optimizer.iterations.value, tf.distribute.DistributedValues):
                raise ValueError(
                    f"{name}.fit expected optimizers that were made in the scope of "
                    f"{type(self.strategy).__name__}, received {optimizer.name} from outside. Compile "
                    "the model in `with strategy.scope():`."
                )
            if optimizer.use_ema or any(variable.constraint for variable in variables):
                raise ValueError(
                    f"{name} expected optimizers without use_ema and weights without constraints under "
                    f"{type(self.strategy).__name__}, where Keras applies them to one replica alone, "
                    "received one. Leave them out."
                )
        if self.num_replicas_in_sync > 1:
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True

    def scope(self):
        """Return the scope of the strategy, a context in which variables are those of all replicas."""
        return self.strategy.scope()

    def experimental_distribute_dataset(self, dataset, options=None):
        """Return the dataset as it is: its batches are those of this process."""
        return dataset

    def run(self, step: Callable, args: tuple = (), kwargs=None):
        """Run a step on all replicas, each with its part of the rows of the batch.

        Args:
            step: function of a batch.
            args: the batch: a nested structure of tensors with the rows of this process first.
            kwargs: further arguments of `step`, the same for all replicas.

        Returns:
            what `step` returned: scalars, which are the same on all replicas; and other tensors joined
            along their first axis.
        """
        if self.num_replicas_in_sync == 1:
            return self.strategy.run(step, args, kwargs)

        def replica(data):
            part, rows = self._part(data)
            with replicas.some_rows(rows > 0):
                found = step(part)
            return keras.tree.map_structure(lambda v: v[:rows] if v.shape.rank else v, found)

        def joined(value):
            values = self.strategy.experimental_local_results(value)
            scalar = len(values) == 1 or values[0].shape.rank == 0
            return values[0] if scalar else tf.concat(values, axis=0)

        return keras.tree.map_structure(joined, self.strategy.run(replica, args))

    def _part(self, data) -> tuple[dict, tf.Tensor]:
        """Return the part of a batch that belongs to the replica that calls this, and its rows.

        Without rows it has one of ones, because not all layers compute on nothing. It counts nothing.
        """
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        batch = batch if isinstance(batch, dict) else {"signal": batch}
        count = tf.shape(batch["signal"], tf.int64)[0]
        batch = {"place": tf.range(count), **batch}
        first = self.worker * self.local
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group - first, tf.int64)
        begin, end = (at * count // self.local for at in (number, number + 1))
        missing = tf.cast(begin == end, tf.int64)

        def cut(part):
            more = tf.concat([[missing], tf.shape(part, tf.int64)[1:]], axis=0)
            fill = tf.cast(part.dtype.is_floating, part.dtype)
            return tf.concat([part[begin:end], tf.fill(more, fill)], axis=0)

        with tf.device("/CPU:0"):  # where the batch is; so a device receives its part alone
            return {name: cut(part) for name, part in batch.items()}, end - begin

    def chosen(self, callbacks: list) -> list:
        """Return the callbacks that this process runs; those that only write files run on the chief.

        Raises:
            ValueError: if a callback of Keras would save the part of the model of one process.
        """
        if self.workers == 1:
            return callbacks
        for one in callbacks:
            if isinstance(one, SAVING):
                raise ValueError(
                    f"fit expected no {type(one).__name__} in {self.workers} processes, each of which "
                    "has a part of the chains. Use `abp_tf.callbacks.Backup`."
                )
        return [one for one in callbacks if self.chief or not _only_writes(one)]

    @contextlib.contextmanager
    def readable_errors(self):
        """Raise a `ProcessLostError` where TensorFlow cannot reach another process any more."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            if self.workers == 1:
                raise
            raise ProcessLostError(
                f"Process {self.worker} of {self.workers} has lost another one, which has ended or "
                "cannot be reached. Start all processes again; with `abp_tf.callbacks.Backup` they "
                f"continue from the last backup. TensorFlow raised {type(error).__name__}."
            ) from None

    def between_steps(self):
        """Return a context in which `total` sums over the processes, for functions that all call."""
        return self.scope() if self.workers > 1 else contextlib.nullcontext()

    def total(self, values: Any) -> Any:
        """Return sums of tensors over all processes, each of which must call this; see `total`."""
        with self.between_steps():
            return replicas.total(values)

    def most(self, number: int) -> int:
        """Return the largest of the numbers with which all processes call this."""
        each = tf.one_hot(self.worker, self.workers, tf.cast(number, tf.float64), dtype=tf.float64)
        return int(tf.reduce_max(self.total(each)))

    def barrier(self) -> None:
        """Wait until all processes have come here."""
        self.total(tf.zeros([]))


def _only_writes(callback: keras.callbacks.Callback) -> bool:
    return isinstance(callback, LOGGING) or getattr(callback, "only_writes", False)

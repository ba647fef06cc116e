"""The base class of all models: they learn from signals without labels, by `fit`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks, serving
from abp_tf.data.collect import Signals
from abp_tf.distribution import replicas
from abp_tf.distribution.shards import Shards
from abp_tf.distribution.strategy import Replicas
from abp_tf.errors import DivergenceError
from abp_tf.models import batches, diagnostics, rows, units
from abp_tf.networks.checks import independent_rows
from abp_tf.sampling.random import training_seeds
from abp_tf.scaling import Scaling


class SignalModel(keras.Model):
    """A `keras.Model` that learns from signals without labels; examples may have numbers and times.

    A subclass computes a step in `train_step` and passes what it writes to `commit`.

    *Units.* With a `scaling`, networks, energies, chains and all functions of tensors work in scaled
    units; steps receive signals from `batches.unpack`. Methods that take or return arrays, `call` and
    exported functions convert, so that their signals are in the units of the data. Errors, scores and
    energies are reported in scaled units. If the scaling has a period, whatever converts signals needs
    their times: data have "time" beside "signal". A model without a period makes no use of times.

    *Settings.* The arguments of the constructor are attributes. Those in `adjustable` may be set at any
    time, also by callbacks, and take effect in the next call or the next step of `fit`. All others are
    fixed when the model is built.

    *Several devices and machines.* Models that are built and compiled in the scope of a `tf.distribute`
    strategy learn under it. Steps then run on all replicas, each with its part of the batch; what they
    have in common is computed by the functions of `abp_tf.distribution.replicas`.

    Args:
        value_range: interval in which whole signals must lie, in the units of the data; None lifts the
            check. "auto" is (-1, 1) without a `scaling`, and None with one.
        seed: integer seed of all noise and of the order of the examples.
        scaling: `abp_tf.Scaling` of the data to the units of the networks; None if they are the same.
        observation: operator through which the data are observed; None if the data are whole signals.
        reported: names of the means that the steps of the model report.
        shards: number of parts into which examples and chains are divided, a multiple of the number of
            processes that train the model. Results depend on it, and not on devices or processes.
        **kwargs: arguments of `keras.Model`, such as `name`.
    """

    # Settings that may change later, with a check of (class, name, value) that returns the value.
    adjustable: Mapping[str, Callable] = MappingProxyType({})
    # Methods of Keras that accept masks.
    masked: tuple[str, ...] = ("fit", "evaluate", "predict")
    # Whether data may bring the standard deviation of the noise of each entry.
    noise_in_data = False
    # Whether chains run through `network` during training, so that it must not have BatchNorm.
    independent_rows = True
    train_function: Any  # Keras sets it

    def __init__(
        self,
        *,
        value_range,
        seed: int,
        reported: tuple[str, ...],
        scaling: Scaling | None = None,
        observation=None,
        shards: int = 1,
        **kwargs,
    ):
        # Chains and energies are float32 under every policy; networks keep their own. Times that `call`
        # receives stay float64.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.replicas = Replicas(tf.distribute.get_strategy())
        self.shards = self._check_shards(shards)
        self._settings_version = 0
        # Settings with which Keras's functions were traced.
        self._compiled_versions: dict[str, int] = {}
        self._functions: dict[Hashable, Callable] = {}
        self._functions_version = 0
        if isinstance(value_range, str) and value_range == "auto":
            value_range = (-1.0, 1.0) if scaling is None else None
        self.value_range = checks.value_range(type(self).__name__, "value_range", value_range)
        self.seed = seed
        self.scaling = scaling
        self.observation = observation
        weight = {"shape": (), "dtype": "int64", "initializer": "zeros", "trainable": False}
        self.iteration = self.add_weight(name="iteration", **weight)
        self.fingerprint = self.add_weight(name="fingerprint", **weight)  # of the training data
        self.means = diagnostics.Means(reported)
        # A step that is not finite stops all later ones until `_train` has read what it returned.
        self._stopped = tf.Variable(False, trainable=False)
        self.rolls_back = False  # whether a callback restores an earlier state after divergence
        # Symptoms of trouble in the last epoch, each with cause and remedy.
        self.symptoms: dict[str, str] = {}
        self.built = True

    # Devices and machines.

    @property
    def distribute_strategy(self) -> Replicas:
        """The replicas of the model, which Keras takes for its strategy."""
        return self.replicas

    @property
    def ownership(self) -> Shards:
        """The shards of the examples and chains, with those that this process owns."""
        return Shards(self.shards, self.replicas.worker, self.replicas.workers)

    def _check_shards(self, shards: int) -> int:
        checks.integer(type(self).__name__, "shards", shards, 1)
        workers = self.replicas.workers
        if shards % workers:
            raise ValueError(
                f"{type(self).__name__} expected a number of shards that is a multiple of its "
                f"{workers} processes, received shards={shards}. Each process owns whole shards: set "
                f"shards to {workers}, or to a multiple of every number of processes to come."
            )
        return shards

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Do nothing, because all is built already; under strategies Keras would fail here."""

    # Settings.

    def __setattr__(self, name, value):
        """Set an attribute; settings are checked, and take effect in the next call."""
        if name in self.adjustable:
            value = self.adjustable[name](type(self).__name__, name, value)
            if name in self.__dict__ and getattr(self, name) == value:
                return
            if isinstance(getattr(type(self), name, None), property):
                object.__setattr__(self, name, value)  # a weight, which compiled functions read
                return
            super().__setattr__("_settings_version", self._settings_version + 1)
        elif name in inspect.signature(type(self).__init__).parameters and hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__}.{name} is fixed when the model is built. Build another model "
                f"with `{name}=...`; settings that may change are {', '.join(self.adjustable)}."
            )
        super().__setattr__(name, value)

    @property
    def settings_version(self) -> int:
        """Number that changes whenever a setting changes that functions are compiled with."""
        return self._settings_version

    def function(self, key: Hashable, make: Callable) -> Callable:
        """Return a compiled function; make it anew if a setting has changed.

        Args:
            key: hashable name under which the function is kept.
            make: function without arguments that returns a `tf.function`.
        """
        if self._functions_version != self.settings_version:
            self._functions, self._functions_version = {}, self.settings_version
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def run(
        self,
        name: str,
        inputs: list,
        batch_size: int = 100,
        verbose: int = 0,
        outputs: Sequence[str] | None = None,
        **options,
    ) -> dict:
        """Run one of the functions of `signatures(**options)` over the rows of arrays.

        Args:
            name: name of the signature.
            inputs: arrays, one for each input of the signature in units of the data (`in_units`), with
                the rows first.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
            outputs: names of the outputs to return; None returns all.
            **options: arguments of `signatures`.

        Returns:
            NumPy arrays by the names of the outputs.
        """

        def make():
            function, specs = self.in_units(*self.signatures(**options)[name])
            return tf.function(function, specs, autograph=False, jit_compile=False)

        checks.integer(type(self).__name__, "batch_size", batch_size, 1)
        key = (name, *sorted(options.items()))
        return rows.run(self.function(key, make), inputs, batch_size, verbose, outputs)

    # Units of the data.

    def scaled(
        self, signal: np.ndarray | tf.Tensor, time: ArrayLike | tf.Tensor | None = None
    ) -> np.ndarray | tf.Tensor:
        """Return signals of the data, an array or a tensor, in scaled units.

        Args:
            signal: signals, `[n, *signal_shape]`.
            time: their times, `[n]`; None if the scaling has no period.
        """
        return signal if self.scaling is None else self.scaling.scale(signal, time)

    def restored(
        self, signal: np.ndarray | tf.Tensor, time: ArrayLike | tf.Tensor | None = None
    ) -> np.ndarray | tf.Tensor:
        """Return signals in scaled units in the units of the data; arguments as for `scaled`."""
        return signal if self.scaling is None else self.scaling.restore(signal, time)

    @property
    def scaled_range(self) -> tuple | None:
        """Ends of `value_range` in scaled units, which broadcast against signals; None without one.

        If the scaling has a period they are the ends of all seasons.
        """
        if self.value_range is None or self.scaling is None:
            return self.value_range
        return self.scaling.scale_range(self.value_range)

    @property
    def timed(self) -> bool:
        """Whether signals need their times, because the scaling has a period."""
        return self.scaling is not None and self.scaling.period is not None

    def times(self, time: ArrayLike | tf.Tensor | None, count: int | None, method: str) -> list:
        """Return the times that functions of signals take: a list of one array, or an empty list.

        Args:
            time: one number or `[count]`; None if there are none.
            count: number of signals; None leaves the times unchecked.
            method: name of the method, for messages.

        Raises:
            ValueError: if the scaling has a period and there are no times, or they cannot be used.
        """
        if self.scaling is None or self.scaling.period is None:
            return []
        if time is None:
            remedy = "Give `time`" if method in _TIME_ARGUMENT else 'Add "time" to the data'
            raise ValueError(
                f"{type(self).__name__}.{method} expected the times of the signals, because the "
                f"scaling has the period {self.scaling.period:g}, received none. {remedy}, one number "
                "for each signal in the unit of the period; a `Field` has it if its file does."
            )
        return [time if count is None else checks.times(time, count)]

    def check_scaling(self) -> None:
        """Refuse a scaling that does not fit the signals."""
        if self.scaling is None:
            return
        checks.instance_of(Scaling)(type(self).__name__, "scaling", self.scaling)
        if self.observation is not None:
            raise ValueError(
                f"{type(self).__name__} expected a scaling or an observation, received both, "
                f"{self.observation} too. Scale the data before it observes them, by "
                "`Scaling.scale`, and leave out the scaling."
            )
        self.scaling.check(self.signal_shape)

    # Shape and range of the data.

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Shape of one example of the data."""
        if self.observation is None:
            return self.signal_shape
        return self.observation.observed_shape(self.signal_shape)

    @property
    def observed_range(self) -> tuple[float, float] | None:
        """Interval in which entries of the data must lie; None allows any value."""
        if self.observation is None or self.value_range is None:
            return self.value_range
        return self.observation.observed_range(self.value_range)

    # Parts that a subclass may override.

    @property
    def tables(self) -> list:
        """Tables of persistent chains that are part of the model's state."""
        return []

    def learners(self) -> list[tuple[keras.optimizers.Optimizer, list]]:
        """Return pairs of an optimizer and the variables it updates."""
        return [(self.optimizer, self.network.trainable_variables)]

    def observers(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks that `fit` runs before those of the user."""
        return []

    def numbered(self, masked: bool) -> bool:
        """Return whether each example has a chain of its own, for data with or without masks."""
        return False

    def accept(
        self, examples: int | None, fingerprint: int, index: np.ndarray | None, masked: bool
    ) -> None:
        """Prepare the model for the data that `fit` is about to use, or raise an error.

        Args:
            examples: number of examples; None if it is unknown.
            fingerprint: checksum of the data; 0 if there is none.
            index: numbers of the examples, if the data contain them; None otherwise.
            masked: whether the data have masks.
        """
        if fingerprint:
            self.fingerprint.assign(fingerprint)

    def may_match(self, fingerprint: int) -> bool:
        """Return whether data of this checksum may be those of the training so far; 0 is unknown."""
        known = int(self.fingerprint.numpy())
        return 0 in (fingerprint, known) or fingerprint == known

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        raise NotImplementedError

    # Learning.

    def fit(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight: None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Learn from signals; the arguments are those of `keras.Model.fit`, without labels.

        Args:
            x: float array `[n, *observed_shape]`, which is the shape of the signals unless the model
                has an `observation`; or a dict of arrays "signal" and "mask" (1 = observed, 0 =
                hidden); or a batched `tf.data.Dataset` or a `keras.utils.PyDataset` of signals or of
                dicts with "signal", "index" (the example's number, assigned before any shuffle) and
                optionally "mask"; or a function of (shard, shards) that returns such a dataset of the
                examples `i` with `i mod shards = shard`. Dicts for a `Generator` may have "sigma", the
                standard deviation of the noise of each entry, in units of the data, of the shape of a
                mask. If the scaling has a period they have "time", one number per example in its unit.
            y: must be None, as must `class_weight` and `sample_weight`: there are no labels.
            batch_size: number of rows per batch of arrays; 32 by default.
            epochs: number of the last epoch, as in `keras.Model.fit`.
            verbose: "auto", 0, 1 or 2, as in `keras.Model.fit`.
            callbacks: callbacks of Keras or of `abp_tf.callbacks`, in any order.
            validation_split: share of the arrays, cut from their end, that is used for validation.
            validation_data: data in any form that `x` accepts, evaluated after each epoch.
            shuffle: whether arrays are visited in a new random order in each epoch.
            class_weight: must be None.
            sample_weight: must be None.
            initial_epoch: number of epochs that are already done.
            steps_per_epoch: number of batches per epoch; one pass over the data by default.
            validation_steps: number of batches of the validation data; None uses all.
            validation_batch_size: number of rows per batch of validation arrays; `batch_size` by
                default.
            validation_freq: number of epochs from one validation to the next.

        Returns:
            A `keras.callbacks.History` of the means that the `train_step` of the model reports.

        Raises:
            ValueError: if data or options cannot be used.
            DivergenceError: if energies or gradients are not finite; weights and chains keep their last
                good values. With `abp_tf.callbacks.RollBack`, only after its last attempt.
            ProcessLostError: if another process that trains the model has ended.
        """
        self._check_trainable(y, class_weight, sample_weight)
        if validation_split:
            x, validation_data = batches.split(self, x, validation_split, validation_data)
        if validation_data is not None:
            size = batch_size if validation_batch_size is None else validation_batch_size
            validation_data = batches.for_testing(self, validation_data, size, "evaluate")
        dataset, steps_per_epoch = batches.for_training(self, x, batch_size, shuffle, steps_per_epoch)
        self._build_optimizers()
        callbacks = self.replicas.chosen(self.observers() + _ordered(callbacks))
        try:
            with batches.readable_errors(), self.replicas.readable_errors():
                return super().fit(
                    dataset,
                    epochs=epochs,
                    verbose=verbose if self.replicas.chief else 0,
                    callbacks=callbacks,
                    validation_data=validation_data,
                    shuffle=False,  # the dataset is already in its order
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps_per_epoch,
                    validation_steps=validation_steps,
                    validation_freq=validation_freq,
                )
        finally:
            self._initial_epoch = None  # set when a backup is resumed; valid for this call only
            self.rolls_back = False

    def commit(
        self,
        write: Callable[..., None],
        means: dict,
        *,
        sums: dict | tuple,
        rows: tuple = (),
        finite: tuple | list = (),
        weight: tf.Tensor | None = None,
    ) -> dict:
        """Write the results of a step, all or none of them; each step of each model ends here.

        Nothing is written unless all results of all replicas are finite, so that weights and chains
        keep their last good values. The decision is a branch of the graph, not an assertion, so it also
        works under XLA.

        Args:
            write: function of `sums` and `rows` that applies the gradients and writes the chains. It
                runs once in each process.
            means: values that the step reports, tensors by name; their means over the epoch are
                returned. A scalar is the share of this replica in the mean over the batch.
            sums: gradients and the like, a nested structure of tensors; `write` receives their sums
                over all replicas, which must be finite.
            rows: tensors with the rows of this replica first, or None; `write` receives those of all
                replicas of the process.
            finite: further tensors whose entries must all be finite.
            weight: weight of this batch in the means; None uses the number of entries of each tensor.

        Returns:
            The means over the epoch so far, and "written", a bool.
        """
        wrong = tf.cast(~_finite(finite), tf.float32)
        found = self.means.sums(means, weight)
        sums, found, wrong = replicas.total((sums, found, wrong))
        good = _finite([wrong, *tf.nest.flatten(sums)]) & (wrong == 0)

        def merged(*rows):
            def written():
                write(sums, *rows)
                self.iteration.assign_add(1)
                self.means.add(found, weighted=weight is not None)
                return tf.constant(True)

            def refused():
                self._stopped.assign(True)
                return tf.constant(False)

            return tf.cond(good & ~self._stopped, written, refused)

        done = replicas.merged(merged, rows)
        return {**self.means.results(means), "written": done}

    def step_seeds(self, stream: int, index: tf.Tensor) -> tf.Tensor:
        """Return seed pairs for the noise of the current training step.

        Args:
            stream: use of the noise, such as `abp_tf.sampling.random.CHAIN`.
            index: numbers of the examples, or of chains, int64 `[n]`.

        Returns:
            int64 `[n, 2]`, a function of the model's seed, the stream, the iteration and the number.
        """
        return training_seeds(self.seed, stream, self.iteration.value, index)

    def make_train_function(self, force: bool = False) -> None:
        """Compile a step of `fit`; compile it anew if a setting has changed."""
        if self._outdated("train", force):
            super().make_train_function(force=True)
            self._step, self.train_function = self.train_function, self._train

    def make_test_function(self, force: bool = False) -> None:
        """Compile a step of `evaluate`; compile it anew if a setting has changed."""
        super().make_test_function(self._outdated("test", force))

    def make_predict_function(self, force: bool = False) -> None:
        """Compile a step of `predict`; compile it anew if a setting has changed."""
        super().make_predict_function(self._outdated("predict", force))

    def _outdated(self, name: str, force: bool) -> bool:
        stale = self._compiled_versions.get(name) != self.settings_version
        self._compiled_versions[name] = self.settings_version
        return force or stale or getattr(self, f"{name}_function") is None

    def _train(self, iterator) -> dict:
        """Run a step; if it wrote nothing, stop the training or, with a roll-back, the epoch."""
        self.make_train_function()  # compiles anew if a callback has changed a setting
        logs = dict(self._step(iterator))
        if logs.pop("written"):
            return logs
        self._stopped.assign(False)
        if not self.rolls_back:
            raise DivergenceError(
                f"Training diverged at iteration {int(self.iteration.numpy())}: {self.remedy()} "
                "Weights and chains are as they were before this iteration."
            )
        self.symptoms = {diagnostics.DIVERGENCE: self.remedy().rstrip(".")}
        self.stop_training = True  # ends the epoch; `SymptomAlarm` lets the training continue
        return {}

    def evaluate(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: None = None,
        steps: int | None = None,
        **kwargs,
    ) -> Any:
        """Return the means that `test_step` reports, which measure how well the model explains signals.

        The arguments are those of `keras.Model.evaluate`; `x` is as for `fit`, without an index.
        """
        _refuse(y=y, sample_weight=sample_weight)
        data = batches.for_testing(self, x, batch_size, "evaluate")
        verbose = verbose if self.replicas.chief else 0
        with batches.readable_errors(), self.replicas.readable_errors():
            return super().evaluate(data, verbose=verbose, steps=steps, **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        **kwargs,
    ) -> np.ndarray:
        """Return what `predict_step` of the model computes for signals.

        The arguments are those of `keras.Model.predict`; `x` is as for `evaluate`.
        """
        data = batches.for_testing(self, x, batch_size, "predict")
        with batches.readable_errors():
            return super().predict(data, verbose=verbose, steps=steps, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: None = None,
        sample_weight: None = None,
        class_weight: None = None,
        return_dict: bool = False,
    ) -> Any:
        """Run one training step on a batch of signals.

        Args:
            x: array or dict of arrays as for `fit`. With persistent chains the dict must have an
                "index", and the model must be built with `examples=N` or have been fitted before.
            y: must be None.
            sample_weight: must be None.
            class_weight: must be None.
            return_dict: whether to return the values in a dict by name.
        """
        self._check_trainable(y, class_weight, sample_weight)
        if self.replicas.workers > 1:
            raise ValueError(
                f"train_on_batch expected one process, received one of {self.replicas.workers}, whose "
                "batches have to agree. Use `fit`."
            )
        batch = batches.single(self, x, "fit")
        self._build_optimizers()
        return super().train_on_batch(batch, return_dict=return_dict)

    def test_on_batch(
        self, x: Any, y: None = None, sample_weight: None = None, return_dict: bool = False
    ) -> Any:
        """Return the means of `test_step` for one batch; arguments as for `train_on_batch`."""
        _refuse(y=y, sample_weight=sample_weight)
        return super().test_on_batch(batches.single(self, x, "evaluate"), return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Return what `predict_step` computes for one batch, an array or a dict as for `fit`."""
        return super().predict_on_batch(batches.single(self, x, "predict"))

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return self.means.metrics

    def _build_optimizers(self) -> None:
        with self.distribute_strategy.scope():
            for optimizer, variables in self.learners():
                optimizer.build(variables)

    def _check_trainable(self, y, class_weight, sample_weight) -> None:
        _refuse(y=y, class_weight=class_weight, sample_weight=sample_weight)
        if not self.compiled:
            raise ValueError(
                "`fit` expected a compiled model. Call `model.compile(optimizer=...)` before, for "
                "instance with `keras.optimizers.Adam(1e-3, beta_1=0.5)`."
            )
        compiled = self.get_compile_config()
        if any(compiled.get(name) is not None for name in ("loss", "metrics", "weighted_metrics")):
            raise ValueError(
                f"{type(self).__name__} has its own loss, the energy, and its own metrics: "
                "call `compile(optimizer=...)` without `loss` and `metrics`."
            )
        learners = self.learners()
        if len(learners) > 1 and any(optimizer.use_ema for optimizer, _ in learners):
            raise ValueError(
                f"{type(self).__name__} has {len(learners)} networks that learn, each with an "
                "optimizer, and expected optimizers without use_ema: at the end of `fit` Keras takes "
                "the weights of all for those of one. Set use_ema=False."
            )
        for _, variables in learners:
            if not variables:
                raise ValueError(
                    f"{type(self).__name__}.fit expected a network with trainable weights, but all of "
                    "them are frozen. Set `network.trainable = True`."
                )
        if self.independent_rows:
            independent_rows(self.network)
        self.replicas.check(self)

    # Saving.

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Self:
        """Return a model with the arguments that `get_config` returned."""

        def revived(value):
            if isinstance(value, dict) and "class_name" in value:
                return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            return value

        return cls(**{name: revived(value) for name, value in config.items()})

    def get_weights(self) -> list:
        """Return all weights, followed by the states of the chains."""
        return [*super().get_weights(), *(table.states.numpy() for table in self.tables)]

    def set_weights(self, weights: list) -> None:
        """Set weights and chains to what `get_weights` returned; `EarlyStopping` uses it."""
        cut = len(weights) - len(self.tables)
        super().set_weights(weights[:cut])
        for table, states in zip(self.tables, weights[cut:], strict=True):
            table.put(states)

    def save(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs) -> None:
        """Save the model with its chains and optimizers to a `.keras` file; see `keras.Model.save`."""
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"save expected a path that ends in .keras, received {str(filepath)!r}: no other "
                "format of Keras stores the chains. To write a SavedModel for serving, use `export`."
            )
        if self.replicas.workers > 1 and any(table.rows and not table.apart for table in self.tables):
            raise ValueError(
                f"save expected one process, which has all chains, received one of "
                f"{self.replicas.workers}. Use `abp_tf.callbacks.Backup`, and make a file of its "
                "directory with `abp_tf.distribution.backup.gather`."
            )
        super().save(filepath, overwrite=overwrite, **kwargs)

    def export(
        self,
        filepath: str | os.PathLike,
        *,
        format: str = "tf_saved_model",
        examples: Signals | None = None,
        **options,
    ) -> Path:
        """Write the functions of `signatures` for serving, as a SavedModel.

        Args:
            filepath: the version directory, `…/<name>/<number>`, which must not exist.
            format: one of `abp_tf.serving.EXPORTERS`, such as "tf_saved_model".
            examples: `abp_tf.data.Signals` of a few examples to keep in the export, as
                `abp_tf.serving.examples.choose` returns them, for programs that show the model; None
                for none. Whoever has the export can read them.
            **options: of `signatures`; its defaults where they are left out.

        Returns:
            The path that was written.

        Raises:
            ValueError: if another format is given, or examples of another shape.
            FileExistsError: if the path exists.
        """
        return serving.exporter(format)(self, filepath, examples=examples, **options)

    def signatures(self, *args: Any, **options: Any) -> dict:
        """Return functions of a batch in scaled units, with the specs of their inputs, by name."""
        raise NotImplementedError

    @property
    def unexported(self) -> set[str]:
        """Names of the functions of `signatures` that an export does not contain."""
        return set()

    def exported_signatures(self, **options) -> dict:
        """Return the functions that an export contains: of `signatures`, in the units of the data."""
        return {
            name: self.in_units(*part)
            for name, part in self.signatures(**options).items()
            if name not in self.unexported
        }

    def in_units(self, function: Callable, specs: list) -> tuple[Callable, list]:
        """Return one of the functions of `signatures` as one in the units of the data.

        If the scaling has a period, it has one more input, `time`, the last one.
        """
        return units.in_units_of_data(self.scaling, function, specs)

    @property
    def exported_layers(self) -> list:
        """Layers whose weights an export contains."""
        return [self.network]


# Methods whose signals have no data to bring their times.
_TIME_ARGUMENT = ("synthesize", "interpolate", "call")


def _finite(tensors) -> tf.Tensor:
    """Return whether all entries of all tensors are finite, a bool; None has no entries."""
    finite = [tf.reduce_all(tf.math.is_finite(part)) for part in tensors if part is not None]
    return tf.reduce_all(finite)


def _ordered(callbacks) -> list:
    """Return callbacks sorted by their attribute `order`, so that the user's order does not matter."""
    return sorted(keras.tree.flatten(callbacks or []), key=lambda one: getattr(one, "order", 0))


def _refuse(**arguments) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"Expected no `{name}`, because this model learns from signals alone. Leave it out."
            )

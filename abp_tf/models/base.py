"""The base of all models: learning from signals without labels by `fit`, one step at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

import keras
import tensorflow as tf

from abp_tf import checks, serving
from abp_tf.errors import DivergenceError
from abp_tf.models import batches, diagnostics, rows


class SignalModel(keras.Model):
    """A `keras.Model` that learns from signals alone, each training example with its number.

    A subclass computes a step in `train_step` and hands what it wants to write to `commit`.

    *Settings.* The arguments of the constructor are attributes. Those in `adjustable` may be set at
    any time, inside callbacks too, and count from the next call, or the next step of `fit`, on; all
    others are fixed when the model is built.

    Args:
        value_range: interval that whole signals lie in; None lifts the check.
        seed: integer that all noise and the order of examples follow from.
        observation: operator through which data are observed; None: data are whole signals.
        reported: names of the means that steps report.
        **kwargs: arguments of `keras.Model`, such as `name`.
    """

    # What may be set after construction, with checks of (class, name, value) that return the value.
    adjustable: Mapping[str, Callable] = MappingProxyType({})
    # The methods of Keras that take masks.
    masked: tuple[str, ...] = ("fit", "evaluate", "predict")
    # Whether chains run through `network` while it learns, so that it may have no BatchNorm.
    independent_rows = True

    def __init__(
        self, *, value_range, seed: int, reported: tuple[str, ...], observation=None, **kwargs
    ):
        # Chains and energies are float32 under every policy; networks keep their own.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self._settings_version = 0
        self._compiled_versions = {}  # of Keras's functions: the settings they were traced with
        self._functions, self._functions_version = {}, 0
        self.value_range = checks.value_range(type(self).__name__, "value_range", value_range)
        self.seed = seed
        self.observation = observation
        weight = {"shape": (), "dtype": "int64", "initializer": "zeros", "trainable": False}
        self.iteration = self.add_weight(name="iteration", **weight)
        self.fingerprint = self.add_weight(name="fingerprint", **weight)  # of the training data
        self.means = diagnostics.Means(reported)
        # A step that was not finite stops all that follow it, until the host has taken notice.
        self._stopped = tf.Variable(False, trainable=False)
        self.rolls_back = False  # whether a callback takes back epochs that diverge
        self.symptoms = {}  # of trouble in the last epoch, each with cause and remedy
        self.built = True

    # Settings.

    def __setattr__(self, name, value):
        """Set an attribute; settings are checked, and count from the next call on."""
        if name in self.adjustable:
            value = self.adjustable[name](type(self).__name__, name, value)
            if name in self.__dict__ and getattr(self, name) == value:
                return
            super().__setattr__("_settings_version", self._settings_version + 1)
        elif name in inspect.signature(type(self).__init__).parameters and hasattr(self, name):
            raise AttributeError(
                f"{type(self).__name__}.{name} is fixed when the model is built. Build another model "
                f"with `{name}=...`; what may be set later is {', '.join(self.adjustable)}."
            )
        super().__setattr__(name, value)

    @property
    def settings_version(self) -> int:
        """Number that changes whenever a setting does."""
        return self._settings_version

    def function(self, key, make: Callable):
        """Return a compiled function, made by `make()` if the settings are new."""
        if self._functions_version != self.settings_version:
            self._functions, self._functions_version = {}, self.settings_version
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def run(self, name: str, inputs: list, batch_size=100, verbose=0, outputs=None, **options) -> dict:
        """Run one of the functions of `signatures(**options)` over rows of arrays.

        Args:
            name: of the signature.
            inputs: arrays, one per input of the signature.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.
            outputs: names of the outputs to return; None: all.
            **options: of `signatures`.

        Returns:
            NumPy arrays by the outputs' names.
        """

        def make():
            function, specs = self.signatures(**options)[name]
            return tf.function(function, specs, autograph=False, jit_compile=False)

        checks.integer(type(self).__name__, "batch_size", batch_size, 1)
        key = (name, *sorted(options.items()))
        return rows.run(self.function(key, make), inputs, batch_size, verbose, outputs)

    # What data are like.

    @property
    def observed_shape(self) -> tuple[int, ...]:
        """Shape of one example of the data."""
        if self.observation is None:
            return self.signal_shape
        return self.observation.observed_shape(self.signal_shape)

    @property
    def observed_range(self) -> tuple[float, float] | None:
        """Interval that entries of the data lie in; None: any value."""
        if self.observation is None or self.value_range is None:
            return self.value_range
        return self.observation.observed_range(self.value_range)

    # What a subclass may do in its own way.

    @property
    def tables(self) -> list:
        """Tables of chains that belong to the model's state."""
        return []

    def learners(self) -> list[tuple[keras.optimizers.Optimizer, list]]:
        """Return pairs of an optimizer and the variables it moves."""
        return [(self.optimizer, self.network.trainable_variables)]

    def observers(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks that `fit` runs before all others."""
        return []

    def numbered(self, masked: bool) -> bool:
        """Whether each example of data, with or without masks, has a chain of its own."""
        return False

    def accept(self, examples: int | None, fingerprint: int, index, masked: bool) -> None:
        """Take up the data that `fit` is about to use, or refuse them.

        Args:
            examples: their number; None where it is unknown.
            fingerprint: checksum of the data, 0 where there is none.
            index: the examples' numbers, where the data bring their own.
            masked: whether they have masks.
        """
        if fingerprint:
            self.fingerprint.assign(fingerprint)

    def may_be_of(self, fingerprint: int) -> bool:
        """Whether data of this checksum may be those of the training so far; 0 stands for unknown."""
        return 0 in (fingerprint, known := int(self.fingerprint.value)) or fingerprint == known

    def remedy(self) -> str:
        """Return what diverged, and what to change."""
        raise NotImplementedError

    # Learning.

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Learn from signals; the arguments are those of `keras.Model.fit`, without labels.

        Args:
            x: float array `[n, *observed_shape]`, which is the shape of the signals unless the model
                has an `observation`; or a dict of arrays "signal" and "mask" (1 = observed,
                0 = hidden); or a batched `tf.data.Dataset` or a `keras.utils.PyDataset` of signals or
                of dicts "signal", "index" (the example's number, given before any shuffle) and
                perhaps "mask".
            y: None, as are `class_weight` and `sample_weight`: there are no labels.
            batch_size: rows of a batch of arrays, 32 by default.
            epochs: number of the last epoch, as in `keras.Model.fit`.
            verbose: "auto", 0, 1 or 2, as in `keras.Model.fit`.
            callbacks: Keras's or those of `abp_tf.callbacks`, in any order.
            validation_split: share of the arrays, cut from the end, that is held out.
            validation_data: data of any form that `x` may have, for `evaluate` after each epoch.
            shuffle: whether arrays are visited in a new random order each epoch.
            class_weight: None.
            sample_weight: None.
            initial_epoch: number of epochs that count as done.
            steps_per_epoch: batches in an epoch; by default one pass over the data.
            validation_steps: batches of the validation data that are used; None: all.
            validation_batch_size: rows of a batch of validation arrays; `batch_size` by default.
            validation_freq: epochs from one validation to the next.

        Returns:
            A `keras.callbacks.History` of what the `train_step` of the model reports.

        Raises:
            ValueError: for data or options that cannot be used.
            DivergenceError: energies left the finite numbers; weights and chains are still good. With
                `abp_tf.callbacks.RollBack`, once it gives up.
        """
        self._check_trainable(y, class_weight, sample_weight)
        if validation_split:
            x, validation_data = batches.split(self, x, validation_split, validation_data)
        if validation_data is not None:
            size = batch_size if validation_batch_size is None else validation_batch_size
            validation_data = batches.for_testing(self, validation_data, size, "evaluate")
        dataset, steps_per_epoch = batches.for_training(self, x, batch_size, shuffle, steps_per_epoch)
        self._build_optimizers()
        try:
            with batches.readable_errors():
                return super().fit(
                    dataset,
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=self.observers() + _ordered(callbacks),
                    validation_data=validation_data,
                    shuffle=False,  # the data are in their order already
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps_per_epoch,
                    validation_steps=validation_steps,
                    validation_freq=validation_freq,
                )
        finally:
            self._initial_epoch = None  # where a backup was resumed must not outlive this call
            self.rolls_back = False

    def commit(self, finite: list, write: Callable[[], None], means: dict, weight=None) -> dict:
        """Write what a step has computed, all of it or nothing; every step of every model ends here.

        Nothing is written unless all is finite, so that what was learned so far stays good. It is a
        branch of the graph, no assertion, and holds under XLA too.

        Args:
            finite: tensors, losses and gradients, all of whose entries must be finite.
            write: makes the optimizer steps and writes the chains.
            means: what the step reports, tensors by name, of which means over the epoch are taken.
            weight: of this batch in the means; None: as many as the tensors have entries.

        Returns:
            The means so far, and "written", a bool.
        """
        good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in finite])

        def written():
            write()
            self.iteration.assign_add(1)
            self.means.update(means, weight)
            return tf.constant(True)

        def refused():
            self._stopped.assign(True)
            return tf.constant(False)

        done = tf.cond(good & ~self._stopped, written, refused)
        return {**self.means.results(means), "written": done}

    def make_train_function(self, force=False):
        """Compile a step of `fit`, anew where a setting has changed."""
        if self._outdated("train", force):
            super().make_train_function(force=True)
            self._step, self.train_function = self.train_function, self._train

    def make_test_function(self, force=False):
        """Compile a step of `evaluate`, anew where a setting has changed."""
        super().make_test_function(self._outdated("test", force))

    def make_predict_function(self, force=False):
        """Compile a step of `predict`, anew where a setting has changed."""
        super().make_predict_function(self._outdated("predict", force))

    def _outdated(self, name: str, force: bool) -> bool:
        stale = self._compiled_versions.get(name) != self.settings_version
        self._compiled_versions[name] = self.settings_version
        return force or stale or getattr(self, f"{name}_function") is None

    def _train(self, iterator) -> dict:
        """Make a step; where it wrote nothing, stop the training or, with a roll-back, the epoch."""
        self.make_train_function()  # a callback may have changed a setting
        logs = dict(self._step(iterator))
        if logs.pop("written"):
            return logs
        self._stopped.assign(False)
        if not self.rolls_back:
            raise DivergenceError(
                f"Training diverged at iteration {int(self.iteration.value)}: {self.remedy()} "
                "Weights and chains are as they were before this iteration."
            )
        self.symptoms = {diagnostics.DIVERGENCE: self.remedy().rstrip(".")}
        self.stop_training = True  # leaves the epoch; `SymptomAlarm` continues with the next
        return {}

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None, **kwargs
    ):
        """Return how well signals are explained: the means that `test_step` reports.

        The arguments are those of `keras.Model.evaluate`; `x` as for `fit`, an index is not needed.
        """
        _refuse(y=y, sample_weight=sample_weight)
        data = batches.for_testing(self, x, batch_size, "evaluate")
        with batches.readable_errors():
            return super().evaluate(data, verbose=verbose, steps=steps, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, **kwargs):
        """Run `predict_step` of the model on signals.

        The arguments are those of `keras.Model.predict`; `x` as for `evaluate`.
        """
        data = batches.for_testing(self, x, batch_size, "predict")
        with batches.readable_errors():
            return super().predict(data, verbose=verbose, steps=steps, **kwargs)

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict: bool = False
    ):
        """Make one step of learning on a batch of signals.

        Args:
            x: array or dict of arrays as for `fit`. With persistent chains the dict has an "index",
                and the model was built with `examples=N` or has been fitted before.
            y: None.
            sample_weight: None.
            class_weight: None.
            return_dict: whether to return values by name.
        """
        self._check_trainable(y, class_weight, sample_weight)
        batch = batches.single(self, x, "fit")
        self._build_optimizers()
        return super().train_on_batch(batch, return_dict=return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict: bool = False):
        """Return the means of `test_step` for a batch of signals; arguments as for `train_on_batch`."""
        _refuse(y=y, sample_weight=sample_weight)
        return super().test_on_batch(batches.single(self, x, "evaluate"), return_dict=return_dict)

    def predict_on_batch(self, x):
        """Run `predict_step` on a batch of signals, an array or a dict of arrays as for `fit`."""
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
        strategies = (self.distribute_strategy, tf.distribute.get_strategy())
        replicas = max(strategy.num_replicas_in_sync for strategy in strategies)
        if replicas > 1:
            raise ValueError(
                f"{type(self).__name__} learns on one replica, but the tf.distribute strategy has "
                f"{replicas}: build the model and call `fit` without it."
            )
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
        for _, variables in self.learners():
            if not variables:
                raise ValueError(
                    f"{type(self).__name__}.fit expected a network with trainable weights, but all of "
                    "them are frozen. Set `network.trainable = True`."
                )
        if self.independent_rows:
            checks.independent_rows(self.network)

    # Saving.

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        """Make a model from what `get_config` returned."""

        def revived(value):
            if isinstance(value, dict) and "class_name" in value:
                return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            return value

        return cls(**{name: revived(value) for name, value in config.items()})

    def get_weights(self) -> list:
        """Return all weights, and last the chains: one without the other would be of no use."""
        return [*super().get_weights(), *(table.states.numpy() for table in self.tables)]

    def set_weights(self, weights: list) -> None:
        """Take back what `get_weights` returned, as `EarlyStopping` does with the best weights."""
        cut = len(weights) - len(self.tables)
        super().set_weights(weights[:cut])
        for table, states in zip(self.tables, weights[cut:], strict=True):
            table.put(states)

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Save the model with its chains and optimizers to a `.keras` file; see `keras.Model.save`."""
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                f"save expected a path that ends in .keras, received {str(filepath)!r}: no other "
                "format of Keras holds the chains. A SavedModel for serving is written by `export`."
            )
        super().save(filepath, overwrite=overwrite, **kwargs)

    def export(self, filepath, *, format: str = "tf_saved_model", **options):
        """Write the functions of `signatures` for serving, as a SavedModel.

        Args:
            filepath: the version directory, `…/<name>/<number>`, which must not exist.
            format: one of `abp_tf.serving.EXPORTERS`, such as "tf_saved_model".
            **options: of `signatures`; its defaults where they are left out.

        Returns:
            The path written.

        Raises:
            ValueError: for another format.
            FileExistsError: something is at the path already.
        """
        return serving.exporter(format)(self, filepath, **options)

    def signatures(self, **options) -> dict:
        """Return functions with the specs of their inputs, by name; exports and methods run them."""
        raise NotImplementedError

    def exported_signatures(self, **options) -> dict:
        """Return those of `signatures(**options)` that an export has."""
        return self.signatures(**options)

    @property
    def exported_layers(self) -> list:
        """The layers an export needs."""
        return [self.network]


def _ordered(callbacks) -> list:
    """Return callbacks in an order that does not matter to the user, by their attribute `order`."""
    return sorted(keras.tree.flatten(callbacks or []), key=lambda one: getattr(one, "order", 0))


def _refuse(**arguments) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` was given, but this model learns from signals alone; leave it out."
            )

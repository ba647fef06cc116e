"""`fit`, `evaluate` and `predict` for models that learn from signals alone."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf import checks, observation
from abp_tf.data import pipeline, streams
from abp_tf.operators import Observed


class SignalTraining(Observed):
    """Keras's training methods, on signals without labels, each example with its number.

    A mixin for `keras.Model`s that have `signal_shape`, `value_range`, `seed` and `iteration`. What a
    kind of model does in its own way are the methods below up to `fit`.
    """

    # Whether every training example has a chain of its own in `table`, and thus needs a number.
    example_chains = False
    # Whether chains run through `network` while it learns, so that it may have no BatchNorm.
    row_wise_learning = True
    # Whether the epoch of a step that is not finite is taken back, which `watch.RollBack` announces.
    rolls_back = False
    # The methods that take masks.
    masked = ("fit", "evaluate", "predict")

    def _numbered(self, masked: bool) -> bool:
        """Whether every example of data with or without masks has a chain of its own in `table`."""
        return self.example_chains

    def _watchers(self) -> list:
        """Return callbacks that `fit` adds before all others."""
        return []

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        """Take up, or refuse, the data that `fit` is about to use; see `LatentTable.claim`."""

    def _learners(self) -> list:
        """Return pairs of an optimizer and the variables it moves."""
        return [(self.optimizer, self.network.trainable_variables)]

    def _remedy(self) -> str:
        """Say what to change after a divergence."""
        raise NotImplementedError

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
        """Learn from signals; the arguments of `keras.Model.fit`, but for labels.

        Args:
            x: float array `[n, *observed_shape]`, which is the shape of the signals unless the model
                has an `observation`; or a dict of arrays "signal" and "mask" (1 = observed,
                0 = hidden); or a batched `tf.data.Dataset` of signals or dicts "signal", "index"
                (the example's number, given before any shuffle) and perhaps "mask".
            y: must be None, as must `class_weight` and `sample_weight`: there are no labels.
            batch_size: rows of a batch of arrays, 32 by default.
            epochs: see `keras.Model.fit`, as for all arguments not listed here.
            verbose: see above.
            callbacks: see above; `abp_tf.callbacks` has some.
            validation_split: share of the arrays, cut from the end, that is held out.
            validation_data: what `x` may be, or anything `evaluate` takes.
            shuffle: whether arrays are visited in a new random order each epoch.
            class_weight: see `y`.
            sample_weight: see `y`.
            initial_epoch: see above.
            steps_per_epoch: see above.
            validation_steps: see above.
            validation_batch_size: `batch_size` by default.
            validation_freq: see above.

        Returns:
            A `keras.callbacks.History`; its entries are told by the `train_step` of the model.

        Raises:
            ValueError: for data or options that cannot be used.
            DivergenceError: energies left the finite numbers; weights and chains are still good. With
                `watch.RollBack` among the callbacks, once it gives up.
        """
        self._check_ready(y, class_weight, sample_weight)
        if validation_split:
            x, validation_data = self._split(x, validation_split, validation_data)
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation_data = self._test_data(validation_data, size, "evaluate")
        dataset, steps_per_epoch = self._training_data(x, batch_size, shuffle, steps_per_epoch)
        for optimizer, variables in self._learners():
            optimizer.build(variables)
        try:
            with checks.readable_errors():
                return super().fit(
                    dataset,
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=self._watchers() + list(keras.tree.flatten(callbacks or [])),
                    validation_data=validation_data,
                    shuffle=False,  # the data are in their order already
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps_per_epoch,
                    validation_steps=validation_steps,
                    validation_freq=validation_freq,
                )
        except checks.DivergenceError as error:
            if str(error) != checks.NOT_FINITE:  # one that says its remedy
                raise
            raise checks.DivergenceError(
                f"Training diverged at iteration {int(self.iteration.value)}: {self._remedy()} "
                "Weights and chains are as they were before this iteration."
            ) from None
        finally:
            self._initial_epoch = None  # where a backup was resumed must not outlive this call
            self.rolls_back = False

    def make_train_function(self, force=False):
        """Make what `fit` calls for each batch: a step, or the end of an epoch to take back."""
        before = self.train_function
        super().make_train_function(force)
        step = self.train_function
        if step is before:
            return

        def step_or_end(iterator):
            try:
                with checks.readable_errors():
                    return step(iterator)
            except checks.DivergenceError as error:
                if not self.rolls_back or str(error) != checks.NOT_FINITE:
                    raise
                self.signs = {checks.DIVERGENCE: self._remedy().rstrip(".")}
                self.stop_training = True  # leaves the epoch; `watch.ChainAlarm` goes on with the next
                return {}

        self.train_function = step_or_end

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        **kwargs,
    ):
        """Report how well signals are explained, as the `test_step` of the model tells.

        Arguments are those of `keras.Model.evaluate`; `x` as for `fit`, an index not needed.
        """
        _refuse(y=y, sample_weight=sample_weight)
        with checks.readable_errors():
            data = self._test_data(x, batch_size, "evaluate")
            return super().evaluate(data, verbose=verbose, steps=steps, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, **kwargs):
        """Run `predict_step` of the model on signals.

        Arguments are those of `keras.Model.predict`; `x` as for `evaluate`.
        """
        with checks.readable_errors():
            data = self._test_data(x, batch_size, "predict")
            return super().predict(data, verbose=verbose, steps=steps, **kwargs)

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
        return [*super().get_weights(), self.table.table.numpy()]

    def set_weights(self, weights: list) -> None:
        """Take back what `get_weights` returned, as `EarlyStopping` does with the best weights."""
        super().set_weights(weights[:-1])
        self.table.put(weights[-1])

    def _split(self, x, share, validation_data):
        if validation_data is not None or isinstance(x, tf.data.Dataset):
            raise ValueError(
                "`validation_split` cuts arrays; it was given together with "
                f"{'a dataset' if validation_data is None else '`validation_data`'}. Give one of them."
            )
        if not 0 < share < 1:
            raise ValueError(f"`validation_split` expected a share in (0, 1), received {share}.")
        data = pipeline.examples(x, self.observed_shape, self.observed_range)
        cut = int(len(data.signal) * (1 - share))
        if cut in (0, len(data.signal)):
            raise ValueError(f"`validation_split={share}` leaves one side of {cut} examples empty.")
        return data.rows(0, cut).batch(), data.rows(cut)._replace(index=None).batch()

    def _training_data(self, x, batch_size, shuffle, steps_per_epoch):
        """Return the dataset of an epoch, and the steps Keras is to count in it."""
        if not isinstance(x, tf.data.Dataset):
            data = pipeline.examples(x, self.observed_shape, self.observed_range)
            dataset = pipeline.shuffled(
                data,
                batch_size or 32,
                seed=self.seed,
                iteration=self.iteration.value,
                steps_per_epoch=steps_per_epoch,
                shuffle=shuffle,
            )
            self._inspect(dataset, "fit")
            self._accept(dataset, len(data.signal), data.fingerprint(), data.index)
            return dataset, None
        if batch_size is not None:
            raise ValueError("`batch_size` was given with a dataset, which has batches of its own.")
        numbered = self._numbered(streams.has_masks(x))
        rows = (self.table.rows or streams.count_examples(x)) if numbered else None
        dataset = streams.stream(x, self.observed_shape, self.observed_range, rows=rows)
        self._inspect(dataset, "fit")
        self._accept(dataset, rows)
        return dataset, steps_per_epoch

    def _test_data(self, x, batch_size, method) -> tf.data.Dataset:
        if isinstance(x, tf.data.Dataset):
            dataset = streams.stream(x, self.observed_shape, self.observed_range, number=True)
        else:
            data = pipeline.examples(x, self.observed_shape, self.observed_range)
            dataset = pipeline.in_order(data, batch_size or 32)
        self._inspect(dataset, method)
        return dataset

    def _inspect(self, dataset, method) -> None:
        if "mask" in dataset.element_spec and method not in self.masked:
            raise ValueError(
                f"{type(self).__name__}.{method} takes whole signals, received a mask. Fill in what "
                "is hidden first, for instance with `Generator.inpaint`, or leave out the mask."
            )

    def _check_ready(self, y, class_weight, sample_weight) -> None:
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
        if self.row_wise_learning:
            checks.independent_rows(self.network)


def unpack(batch: dict) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """Take a batch apart.

    Returns:
        the signals, float32 `[n, *signal_shape]`, with 0 where an entry is hidden; the mask as float32
        of 1 (observed) and 0 (hidden), or None; and the examples' numbers, int64 `[n]`, which are
        their places in the batch where it has none.
    """
    signal, mask, index = batch["signal"], batch.get("mask"), batch.get("index")
    if index is None:
        index = tf.range(tf.shape(signal, tf.int64)[0])
    if mask is not None:
        mask = tf.cast(mask, tf.float32)
        signal = observation.hide(signal, mask)
    return signal, mask, index


def _refuse(**arguments) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` was given, but this model learns from signals alone; leave it out."
            )

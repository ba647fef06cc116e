"""Restore the last good epoch when a symptom of trouble appears."""

from __future__ import annotations

import warnings

import keras

from abp_tf.errors import DivergenceError


class RollBack(keras.callbacks.Callback):
    """Restore the end of the last good epoch, with a lower learning rate, at a symptom of trouble.

    Symptoms are those of `abp_tf.models.diagnostics.symptoms` at the end of an epoch, and "divergence",
    a step that is not finite. Such a step does not stop `fit`; it ends its epoch at once, which then
    has no logs.

    Weights, optimizers, chains and the iteration are restored. The position of the callback in the list
    of callbacks does not matter. A training that was killed and resumed ends as one without
    interruption.

    Args:
        factor: factor by which learning rates are multiplied each time, in (0, 1).
        times: number of times in a row that an epoch is restored, after which training stops with a
            `DivergenceError`.

    Raises:
        ValueError: if an argument is out of its range and, from `fit`, if the model has no energy of
            signals or the learning rate is a schedule.

    Example:
        >>> model = abp_tf.Descriptor(abp_tf.networks.image_descriptor((16, 16, 1), width=4), pool=40)
        >>> model.compile(optimizer=keras.optimizers.Adam(5e-4))
        >>> roll_back = abp_tf.callbacks.RollBack()
        >>> history = model.fit(images, batch_size=20, epochs=2, callbacks=[roll_back])
    """

    order = -1  # before all other callbacks, which then read the state that training continues with

    def __init__(self, factor: float = 0.5, times: int = 4):
        super().__init__()
        if not 0 < factor < 1 or times < 1:
            raise ValueError(
                f"RollBack expected a factor in (0, 1) and times of 1 or more, received {factor} and "
                f"{times}."
            )
        self.factor = factor
        self.times = times
        self._good: tuple = ()  # the last good state, empty before the first epoch

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Refuse models and learning rates that cannot be restored; announce the roll-back."""
        if not hasattr(self.model, "past"):
            raise ValueError(
                "RollBack expected a Descriptor or CoopNets, whose energies have symptoms of trouble, "
                f"received {type(self.model).__name__}. Leave it out, and lower the step size or the "
                "learning rate if training diverges."
            )
        for optimizer in self._optimizers():
            if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
                raise ValueError(
                    "RollBack expected a learning rate that is a number, received a schedule. Use a "
                    "callback that multiplies the rate: keras.callbacks.LearningRateScheduler("
                    "lambda epoch, rate: rate * 0.9)."
                )
        self.model.rolls_back = True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Store the first state; a backup has been loaded by now."""
        if not self._good:
            self._good = self._state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Store the state of this epoch or, if it has symptoms, restore the last good one."""
        taken_back = self.model.past.taken_back
        if not self.model.symptoms:
            taken_back.assign(0)
            self._good = self._state()
            return
        count = int(taken_back.numpy()) + 1
        if count > self.times:
            raise DivergenceError(
                f"Rolling back {self.times} times in a row did not help against "
                f"{', '.join(self.model.symptoms)}: {next(iter(self.model.symptoms.values()))}."
            )
        rates = [
            self.factor * float(optimizer.learning_rate.numpy()) for optimizer in self._optimizers()
        ]
        self._restore(self._good)
        taken_back.assign(count)
        for optimizer, rate in zip(self._optimizers(), rates, strict=True):
            optimizer.learning_rate = rate
        shown = ", ".join(f"{rate:.2g}" for rate in rates)
        warnings.warn(
            f"Epoch {epoch + 1} is rolled back because of {', '.join(self.model.symptoms)}; training "
            f"continues from the last good one with the learning rate {shown}.",
            stacklevel=2,
        )

    def _optimizers(self) -> list:
        return [optimizer for optimizer, _ in self.model.learners()]

    def _state(self) -> tuple:
        variables = [v.numpy() for optimizer in self._optimizers() for v in optimizer.variables]
        return self.model.get_weights(), variables

    def _restore(self, state: tuple) -> None:
        weights, values = state
        self.model.set_weights(weights)
        variables = [v for optimizer in self._optimizers() for v in optimizer.variables]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

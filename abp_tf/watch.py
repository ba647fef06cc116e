"""Signs of trouble in the training of an energy: alarms, and rolling back."""

from __future__ import annotations

import warnings

import keras
import numpy as np

from abp_tf import checks
from abp_tf.sampling import Langevin

WARM_UP = 50  # iterations that are wild in good trainings too: epochs with any of them raise no alarm

# Limits that trainings on images that went well stayed far from.
COLLAPSED = 0.2  # standard deviation of the samples over that of the data
STIFF = 0.08  # drift of a step over the standard deviation of the data
SATURATED = 0.75  # share of entries out of range
RUNAWAY = 2.0  # energy gap over its spread, while it grows ...
GROWTH = 1.3  # ... by this factor, two epochs in a row
FLIGHT = 4.0  # growth of the mean of |f|, which is beyond its spread, two epochs in a row
IDLE = 0.12  # way of a whole revision over the standard deviation of the data


class Past(keras.layers.Layer):
    """What watching remembers of earlier epochs, kept with the model, and so in its backups.

    Attributes:
        gaps: energy gaps of the last epoch but one, and of the last, `[2]`.
        sizes: means of `|f|`, likewise; 0 of epochs that do not count.
        taken_back: epochs in a row that `RollBack` has taken back, a scalar.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        options = {"initializer": "zeros", "trainable": False}
        self.gaps = self.add_weight(shape=(2,), name="gaps", **options)
        self.sizes = self.add_weight(shape=(2,), name="sizes", **options)
        self.taken_back = self.add_weight(shape=(), dtype="int64", name="taken_back", **options)
        self.built = True

    def note(self, gap: float, size: float) -> None:
        """Go on to the next epoch."""
        for pair, value in ((self.gaps, gap), (self.sizes, size)):
            pair.assign([pair.numpy()[1], value])


def signs(
    logs: dict, langevin: Langevin, past_gaps=(0.0, 0.0), past_sizes=(0.0, 0.0)
) -> dict[str, str]:
    """Read the logs of an epoch for signs of trouble.

    Args:
        logs: what `abp_tf.chain_watch.ChainWatch` returned at the end of the epoch.
        langevin: of the training.
        past_gaps: energy gaps of the last epoch but one, and of the last.
        past_sizes: means of `|f|`, likewise.

    Returns:
        What is wrong, with cause and remedy, by the name of the sign: "collapse", "stiff chain",
        "runaway energy", "runaway f", "saturation", "generator too fast" (of CoopNets). Empty where
        all is well.
    """
    gap, spread = abs(logs["energy_gap"]), logs["energy_gap_spread"]
    deviation, drawn = logs["data_deviation"], logs["sample_deviation"]
    earlier, before = (abs(value) for value in past_gaps)
    found = {}
    if drawn < COLLAPSED * deviation:
        found["collapse"] = (
            "the samples are nearly alike, or a single one nearly flat, with a standard deviation of "
            f"{drawn:.2g} against {deviation:.2g} of the data. Either chains do not get away from "
            "where they start (raise the number of Langevin steps or the step size), or all fall into "
            "one mode (lower the learning rate, restart a larger share of the chains; in CoopNets "
            "lower the generator's learning rate below 3e-4 or give it BatchNorm)"
        )
    # Where chains are at equilibrium a step may move them as far as its noise does.
    noise = langevin.step_size * langevin.temperature**0.5
    if logs["drift"] > max(STIFF * deviation, noise):
        found["stiff chain"] = (
            f"a Langevin step moves an entry by {logs['drift']:.2g} without its noise, where data have "
            f"a standard deviation of {deviation:.2g}: gradients are too steep for the step size "
            f"{langevin.step_size:g}. Lower it or the learning rate, or set an energy_penalty"
        )
    if gap > RUNAWAY * spread and before > GROWTH * earlier > 0 and gap > GROWTH * before:
        found["runaway energy"] = (
            f"the energy gap grows, from {earlier:.3g} by {before:.3g} to {gap:.3g}, and samples do "
            "not follow. Raise the number of Langevin steps or the step size, lower the learning rate, "
            "or set an energy_penalty"
        )
    size, (smaller, small) = logs["score_size"], past_sizes
    if size > max(FLIGHT * small, spread) and small > FLIGHT * smaller > 0:
        found["runaway f"] = (
            f"the mean of |f| grows, from {smaller:.3g} by {small:.3g} to {size:.3g}, far beyond what "
            f"tells signals apart, {spread:.3g}. Lower the learning rate, or set an energy_penalty"
        )
    way = langevin.steps * logs["drift"]
    if "revision_error" in logs and langevin.steps and way < IDLE * deviation:
        found["generator too fast"] = (
            f"a revision of {langevin.steps} steps moves an entry by no more than {way:.2g} without "
            f"its noise, where data have a standard deviation of {deviation:.2g}: drafts are hardly "
            "revised, and nothing is left to learn from. Either drafts look like data and the "
            "generator is ahead of the descriptor (lower the generator's learning rate, or raise the "
            "descriptor's), or drafts do not and steps are too short for revisions to get anywhere "
            f"(raise the step size, {langevin.step_size:g}, or the number of steps)"
        )
    if logs["saturation"] > SATURATED:
        found["saturation"] = (
            f"{100 * logs['saturation']:.0f} % of the samples' entries are out of the value range. "
            "Lower the learning rate or the step size, use a finite reference_sigma, or set an "
            "energy_penalty"
        )
    return found


class ChainAlarm(keras.callbacks.Callback):
    """Warn, once of each, of the signs of trouble; `fit` of an energy adds it, before all others."""

    def __init__(self):
        super().__init__()
        self._told = set()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Note whether this epoch counts."""
        self.model.signs = {}
        self._warm = int(self.model.iteration.value) >= WARM_UP

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Look at the logs of the epoch."""
        model = self.model
        if checks.DIVERGENCE in model.signs:  # at a step that ended the epoch, not the training
            model.stop_training = False
            return
        past = (model.past.gaps.numpy(), model.past.sizes.numpy())
        model.signs = signs(logs, model.langevin, *past) if self._warm else {}
        model.past.note(logs["energy_gap"], logs["score_size"] if self._warm else 0.0)
        for name, text in model.signs.items():
            if name not in self._told:
                self._told.add(name)
                warnings.warn(f"After epoch {epoch + 1}, {name}: {text}.", stacklevel=2)


class RollBack(keras.callbacks.Callback):
    """Go back to where the last good epoch ended, with a lower learning rate, at a sign of trouble.

    Signs are those of `signs` at the end of an epoch, and "divergence", a step that is not finite: it
    ends its epoch at once, which then has no logs, instead of stopping `fit`.

    Weights, optimizers, chains and the iteration go back, so put it before `Backup` in the list. A
    training that was killed and resumed ends as one left alone.

    Args:
        factor: by which learning rates are multiplied each time, in (0, 1).
        times: in a row, after which training is given up with a `DivergenceError`.

    Raises:
        ValueError: for an argument out of its range and, from `fit`, for a model without energy of
            signals or a learning rate that is a schedule.

    Example:
        >>> backup = abp_tf.callbacks.Backup("run/model.keras")
        >>> model.fit(images, epochs=10, callbacks=[abp_tf.watch.RollBack(), backup])
    """

    def __init__(self, factor: float = 0.5, times: int = 4):
        super().__init__()
        if not 0 < factor < 1 or times < 1:
            raise ValueError(
                f"RollBack expected a factor in (0, 1) and times of 1 or more, received {factor} and "
                f"{times}."
            )
        self.factor = factor
        self.times = times
        self._good = None

    def on_train_begin(self, logs=None) -> None:
        """Refuse what cannot be taken back; announce that the rest will be."""
        if not hasattr(self.model, "past"):
            raise ValueError(
                "RollBack expected a Descriptor or CoopNets, whose energies show signs of trouble, "
                f"received {type(self.model).__name__}. Leave it out, and lower the step size or the "
                "learning rate where training diverges."
            )
        for optimizer in self._optimizers():
            if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
                raise ValueError(
                    "RollBack expected a learning rate that is a number, received a schedule. Let a "
                    "callback multiply the rate: keras.callbacks.LearningRateScheduler("
                    "lambda epoch, rate: rate * 0.9)."
                )
        self.model.rolls_back = True

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Keep what training begins with; a backup has been loaded by now."""
        if self._good is None:
            self._good = self._state()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Keep this epoch, or go back."""
        taken_back = self.model.past.taken_back
        if not self.model.signs:
            taken_back.assign(0)
            self._good = self._state()
            return
        count = int(taken_back.value) + 1
        if count > self.times:
            raise checks.DivergenceError(
                f"rolling back {self.times} times in a row did not help against "
                f"{', '.join(self.model.signs)}: {next(iter(self.model.signs.values()))}."
            )
        rates = [self.factor * float(optimizer.learning_rate) for optimizer in self._optimizers()]
        weights, chains = self._good
        for variable, value in zip(self._variables(), weights, strict=True):
            variable.assign(value)
        taken_back.assign(count)
        self.model.table.put(chains)
        for optimizer, rate in zip(self._optimizers(), rates, strict=True):
            optimizer.learning_rate = rate
        shown = ", ".join(f"{rate:.2g}" for rate in rates)
        warnings.warn(
            f"Epoch {epoch + 1} is taken back because of {', '.join(self.model.signs)}; training goes "
            f"on from the last good one with the learning rate {shown}.",
            stacklevel=2,
        )

    def _optimizers(self) -> list:
        return [optimizer for optimizer, _ in self.model._learners()]

    def _variables(self) -> list:
        parts = [optimizer.variables for optimizer in self._optimizers()]
        return [*self.model.weights, *(variable for part in parts for variable in part)]

    def _state(self) -> tuple:
        return [np.array(v) for v in self._variables()], self.model.table.table.numpy()

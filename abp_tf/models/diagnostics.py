"""Diagnostics that `fit` reports, and warnings of trouble with cause and remedy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from abp_tf.distribution import replicas
from abp_tf.sampling import Info, Sampler

DIVERGENCE = "divergence"  # the symptom of a step that was not finite
MARGIN = 0.05  # of the range's width, beyond which an entry counts as saturated

WARM_UP = 50  # first iterations, unsteady in good trainings too; epochs with any of them are skipped

# Limits that good trainings on images stayed far from.
COLLAPSED = 0.2  # standard deviation of the samples over that of the data
STIFF = 0.08  # drift of a step over the standard deviation of the data
SATURATED = 0.75  # share of entries out of range
RUNAWAY = 2.0  # energy gap over its spread, while it grows ...
GROWTH = 1.3  # ... by this factor, two epochs in a row
FLIGHT = 4.0  # growth of the mean of |f|, which is beyond its spread, two epochs in a row
IDLE = 0.12  # distance of a whole revision over the standard deviation of the data


class Past(keras.layers.Layer):
    """Diagnostics of earlier epochs, saved with the model and so in its backups.

    Attributes:
        gaps: energy gaps of the last two epochs, the later one last, `[2]`.
        sizes: means of `|f|` of the last two epochs, `[2]`; 0 for an epoch that does not count.
        taken_back: number of epochs in a row that `RollBack` has undone, a scalar.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        options = {"initializer": "zeros", "trainable": False}
        self.gaps = self.add_weight(shape=(2,), name="gaps", **options)
        self.sizes = self.add_weight(shape=(2,), name="sizes", **options)
        self.taken_back = self.add_weight(shape=(), dtype="int64", name="taken_back", **options)
        self.built = True

    def note(self, gap: float, size: float) -> None:
        """Append the energy gap and the mean of `|f|` of an epoch."""
        for pair, value in ((self.gaps, gap), (self.sizes, size)):
            pair.assign([pair.numpy()[1], value])


def symptoms(
    logs: dict, langevin: Sampler, past_gaps=(0.0, 0.0), past_sizes=(0.0, 0.0)
) -> dict[str, str]:
    """Return the symptoms of trouble in the logs of an epoch.

    Args:
        logs: means that the `train_step` of a `Descriptor` or `CoopNets` reported for the epoch.
        langevin: sampler of the training.
        past_gaps: energy gaps of the two epochs before, the later one last.
        past_sizes: means of `|f|` of the two epochs before, the later one last.

    Returns:
        Cause and remedy by the name of the symptom: "collapse", "stiff chain", "runaway energy",
        "runaway f", "saturation", "generator too fast" (CoopNets only). Empty if there is no trouble.
    """
    gap, spread = abs(logs["energy_gap"]), logs["energy_gap_spread"]
    deviation, drawn = logs["data_deviation"], logs["sample_deviation"]
    earlier, before = (abs(value) for value in past_gaps)
    found = {}
    if drawn < COLLAPSED * deviation:
        found["collapse"] = (
            "the samples are nearly alike, or a single one nearly flat, with a standard deviation of "
            f"{drawn:.2g} against {deviation:.2g} of the data. Either chains stay close to their first "
            "states (raise the number of Langevin steps or the step size), or all chains end in one "
            "mode (lower the learning rate, or restart a larger share of the chains; in CoopNets "
            "lower the generator's learning rate below 3e-4, or add BatchNorm to its network)"
        )
    # At equilibrium a step may move a chain as far as its noise does.
    step_size = getattr(langevin, "step_size", 0.0)  # a sampler of one's own may have none
    noise = step_size * getattr(langevin, "temperature", 1.0) ** 0.5
    if step_size and logs["drift"] > max(STIFF * deviation, noise):
        found["stiff chain"] = (
            f"a Langevin step moves an entry by {logs['drift']:.2g} without its noise, and data have "
            f"a standard deviation of {deviation:.2g}: gradients are too steep for the step size "
            f"{step_size:g}. Lower it or the learning rate, or set an energy_penalty"
        )
    if gap > RUNAWAY * spread and before > GROWTH * earlier > 0 and gap > GROWTH * before:
        found["runaway energy"] = (
            f"the energy gap grows, from {earlier:.3g} by {before:.3g} to {gap:.3g}, because samples "
            "lag behind. Raise the number of Langevin steps or the step size, lower the learning rate, "
            "or set an energy_penalty"
        )
    size, (smaller, small) = logs["score_size"], past_sizes
    if size > max(FLIGHT * small, spread) and small > FLIGHT * smaller > 0:
        found["runaway f"] = (
            f"the mean of |f| grows, from {smaller:.3g} by {small:.3g} to {size:.3g}, far beyond the "
            f"spread of f, {spread:.3g}. Lower the learning rate, or set an energy_penalty"
        )
    way = langevin.steps * logs["drift"]
    if "revision_error" in logs and langevin.steps and way < IDLE * deviation:
        longer = (
            f"the step size, {step_size:g}, or the number of steps" if step_size else "their number"
        )
        found["generator too fast"] = (
            f"a revision of {langevin.steps} steps moves an entry by no more than {way:.2g} without "
            f"its noise, and data have a standard deviation of {deviation:.2g}: drafts are hardly "
            "revised, so that the generator learns nothing. Either drafts look like data and the "
            "generator is ahead of the descriptor (lower the generator's learning rate, or raise the "
            "descriptor's), or drafts do not and the steps of revisions are too short "
            f"(raise {longer})"
        )
    if logs["saturation"] > SATURATED:
        found["saturation"] = (
            f"{100 * logs['saturation']:.0f} % of the samples' entries are out of the value range. "
            "Lower the learning rate or the step size, use a finite reference_sigma, or set an "
            "energy_penalty"
        )
    return found


class Weighted(NamedTuple):
    """Values of a batch, and the weight of each in the mean: 0 leaves a value out.

    Attributes:
        value: float32 `[n]`.
        weight: float32 `[n]`.
    """

    value: tf.Tensor
    weight: tf.Tensor


def per_entry(total: tf.Tensor, entries: tf.Tensor) -> Weighted:
    """Return sums over entries divided by their number; examples without entries do not count."""
    return Weighted(tf.math.divide_no_nan(total, entries), tf.cast(entries > 0, tf.float32))


class Mean(keras.metrics.Metric):
    """Mean over an epoch, of sums that all replicas know.

    Metrics of Keras have values of their own on each replica, and would be reduced at each reading.
    """

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32")
        self.total, self.count = (
            keras.Variable(0.0, dtype="float32", trainable=False, name=name)
            for name in ("total", "count")
        )

    def update_state(self, total: tf.Tensor, count: tf.Tensor) -> None:
        """Add the sum of some values, and their number."""
        self.total.assign_add(total)
        self.count.assign_add(count)

    def result(self) -> tf.Tensor:
        """Return the mean so far; 0 of no values."""
        return tf.math.divide_no_nan(self.total.value, self.count.value)


class Means:
    """Means over an epoch of the values that steps report.

    Args:
        names: names of all values that any step reports.
    """

    def __init__(self, names: tuple[str, ...]):
        self._means = {name: Mean(name) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means as metrics, which Keras resets at each epoch."""
        return list(self._means.values())

    def update(self, values: dict, weight=None) -> None:
        """Add the values of a batch, of all replicas.

        Args:
            values: tensors by name, of any shape, or `Weighted`. A scalar is the share of this replica
                in the mean over the batch.
            weight: weight of the mean of each tensor; None uses its number of entries.
        """
        sums = replicas.total(self.sums(values, weight))
        replicas.merged(lambda: self.add(sums, weighted=weight is not None))

    def sums(self, values: dict, weight=None) -> dict:
        """Return what `add` needs of the values of this replica: their sums by name, and weights."""

        def sum_of(part):
            return replicas.counted(tf.reduce_sum(part))

        found = {"weight": sum_of(tf.cast(1.0 if weight is None else weight, tf.float32))}
        for name, value in values.items():
            if isinstance(value, Weighted):
                part = sum_of(value.value * value.weight), sum_of(value.weight)
            elif (value := tf.cast(value, tf.float32)).shape.rank == 0:
                part = value, None
            elif weight is None:
                rows = tf.reduce_mean(value, axis=list(range(1, value.shape.rank)))
                part = sum_of(rows), sum_of(tf.cast(tf.size(rows), tf.float32))
            else:
                part = tf.reduce_mean(value) * found["weight"], found["weight"]
            found[name] = part
        return found

    def add(self, sums: dict, weighted: bool = False) -> None:
        """Add sums over all replicas of what `sums` returned.

        Args:
            sums: the sums.
            weighted: whether they were computed with a weight.
        """
        weight = sums["weight"] if weighted else tf.ones([])
        for name, (total, count) in ((name, sums[name]) for name in sums if name != "weight"):
            scalar = count is None
            self._means[name].update_state(
                total * weight if scalar else total, weight if scalar else count
            )

    def results(self, names) -> dict:
        """Return the current means of these names."""
        return {name: self._means[name].result() for name in names}


def chain_means(
    loss,
    signal,
    samples,
    of_data,
    of_samples,
    info: Info,
    sampler,
    value_range,
    mean: Callable = tf.reduce_mean,
) -> dict:
    """Return the diagnostics of the training of an energy on one batch, by name.

    `energy_gap`: mean of `f(data) − f(samples)`; in a good training it varies around 0.
    `square`: mean of the squared gap, from which `with_spread` computes `energy_gap_spread`, the
    standard deviation of the gap over pairs of data and samples.
    `drift`: root mean square over entries of a Langevin step without its noise.
    `data_deviation`, `sample_deviation`: standard deviation over a batch, averaged over entries; if the
    data or the samples are a single signal, over its entries.
    `score_size`: mean of `|f|` over data and samples.
    `saturation`: share of the samples' entries that are out of the value range by more than 5 % of
    its width; 0 without a range.

    Args:
        loss: loss of the step, a scalar.
        signal: data, float32 `[n, *signal_shape]`.
        samples: last states of the chains, float32 `[m, *signal_shape]`.
        of_data: `f` of the data, `[n]`.
        of_samples: `f` of the samples, `[m]`.
        info: diagnostics of the chains, as their sampler returns them.
        sampler: sampler of the chains.
        value_range: interval in which the data lie, in units of the samples; its ends may be arrays
            that broadcast against a sample. None if there is none.
        mean: function that averages over the rows of all replicas (`replicas.mean_over`).
    """
    moments, fewest = _moments((of_data, of_samples, signal, samples))
    (level, spread), (drawn_level, drawn_spread), of_signal, of_drawn = moments
    gap, variance = level - drawn_level, spread + drawn_spread
    size = mean(tf.abs(of_data)) + mean(tf.abs(of_samples))
    entries = tf.cast(math.prod(samples.shape[1:]), tf.float32)
    # The same on all replicas, of which each reports its share.
    same = {
        "energy_gap": gap,
        "square": gap**2 + variance,
        "data_deviation": _deviation(signal, of_signal, fewest == 1),
        "sample_deviation": _deviation(samples, of_drawn, fewest == 1),
    }
    return {
        **{name: value / replicas.count() for name, value in same.items()},
        "loss": loss,
        "score_size": 0.5 * size,
        "drift": 0.5 * sampler.step_size**2 * mean(info.gradient_norm) / tf.sqrt(entries),
        "saturation": _saturation(samples, value_range, mean),
    }


CHAIN_MEANS = (
    *("loss", "energy_gap", "square", "score_size", "drift", "data_deviation"),
    *("sample_deviation", "saturation"),
)


def with_spread(logs: dict) -> dict:
    """Return the means of `chain_means` with `energy_gap_spread` instead of `square`."""
    square = logs.pop("square") - logs["energy_gap"] ** 2
    return {**logs, "energy_gap_spread": tf.sqrt(tf.maximum(square, 0.0))}


def _saturation(samples, value_range, mean):
    if value_range is None:
        return tf.constant(0.0)
    low, high = value_range
    margin = MARGIN * (high - low)
    out = (samples < low - margin) | (samples > high + margin)
    return mean(tf.cast(out, tf.float32))


def _moments(parts: tuple) -> tuple[list[tuple[tf.Tensor, tf.Tensor]], tf.Tensor]:
    """Return mean and variance of each entry over the rows of all replicas, and the fewest rows.

    Args:
        parts: tensors `[n, ...]`, each with its own number of rows.
    """
    if replicas.count() == 1:
        found = [(tf.reduce_mean(one, 0), tf.math.reduce_variance(one, 0)) for one in parts]
        return found, tf.reduce_min([tf.shape(one)[0] for one in parts])

    def sums(one):
        exact = tf.cast(one, tf.float64)
        rows = tf.cast(tf.shape(one)[0], tf.float64)
        own = (rows, tf.reduce_sum(exact, 0), tf.reduce_sum(exact**2, 0))
        return [replicas.counted(part) for part in own]

    found, counts = [], []
    for count, first, second in replicas.total([sums(one) for one in parts]):
        mean, square = first / count, second / count
        pair = mean, tf.maximum(square - mean**2, 0)
        found.append(tuple(tf.cast(one, tf.float32) for one in pair))
        counts.append(count)
    return found, tf.reduce_min(counts)


def _deviation(signals: tf.Tensor, moments: tuple, single: tf.Tensor) -> tf.Tensor:
    """Return the standard deviation over a batch, averaged over entries; if single, over entries."""
    mean, variance = moments
    alone = signals if replicas.count() == 1 else mean  # a single signal is its own mean
    return tf.where(single, tf.math.reduce_std(alone), tf.reduce_mean(tf.sqrt(variance)))


class SymptomAlarm(keras.callbacks.Callback):
    """Warn, once of each, of symptoms of trouble; `fit` of an energy adds this callback."""

    def __init__(self):
        super().__init__()
        self._reported = set()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Clear the symptoms; note whether the epoch is past the first iterations."""
        self.model.symptoms = {}
        self._warm = int(self.model.iteration.numpy()) >= WARM_UP

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Find the symptoms of the epoch and warn of new ones."""
        model = self.model
        if DIVERGENCE in model.symptoms:  # it ended the epoch, not the training
            model.stop_training = False
            return
        past = (model.past.gaps.numpy(), model.past.sizes.numpy())
        model.symptoms = symptoms(logs, model.langevin, *past) if self._warm else {}
        model.past.note(logs["energy_gap"], logs["score_size"] if self._warm else 0.0)
        for name, text in model.symptoms.items():
            if name not in self._reported:
                self._reported.add(name)
                warnings.warn(f"After epoch {epoch + 1}, {name}: {text}.", stacklevel=2)


class StabilityAlarm(keras.callbacks.Callback):
    """Warn, once, when `δ² λmax / 4` passes 1; `fit` of a model with latents adds this callback.

    Above 1 the Langevin steps overshoot in the stiffest direction. Chains jump instead of settling, and
    energies may become infinite, which stops `fit` with a `DivergenceError`.
    """

    def __init__(self):
        super().__init__()
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compare the stability of the epoch with 1."""
        found = (logs or {}).get("stability", 0.0)
        if found >= 1 and not self._warned:
            self._warned = True
            # In CoopNets the chains of latents are the generator's.
            model = self.model.generator if hasattr(self.model, "generator") else self.model
            step_size = model.langevin.step_size
            warnings.warn(
                f"Langevin steps are too long: stability δ²λmax/4 is {found:.2f} after epoch "
                f"{epoch + 1}, and must stay below 1. Lower the step size from {step_size:g} to "
                f"{0.7 * step_size / found**0.5:.2g}, or raise sigma.",
                stacklevel=2,
            )

"""The choice of a field's settings, and of the width of its error bars, by moved gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from abp_tf.fields import gaps
from abp_tf.fields.frames import apart, read
from abp_tf.fields.model import FieldModel, FieldSettings
from abp_tf.metrics import calibration

# Values that are tried of each setting, one after the other; a search goes to a better neighbour.
TRIED = {
    "mean": (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "time": (0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
    "noise": (0.05, 0.1, 0.2, 0.4, 0.8),
    "space": (0.1, 0.3, 1.0, 3.0, 10.0),
    "decay": (0.005, 0.02, 0.05, 0.1, 0.2),
}
LATENTS = (1, 2, 4, 8, 16, 32)
FOLDS = 3  # choices of moved gaps that errors are means over


class Choice(NamedTuple):
    """Settings chosen by moved gaps.

    Attributes:
        settings: the `FieldSettings` of the least error.
        widening: factor of standard deviations with which nine in ten intervals of 90 % contain the
            observed values under moved gaps.
        errors: root mean squared error under moved gaps, in units of each channel's deviation, by
            settings.
    """

    settings: FieldSettings
    widening: float
    errors: dict[FieldSettings, float]

    def model(self, **options) -> FieldModel:
        """Return a model with the settings and the widening; options go to `FieldModel`."""
        return FieldModel(self.settings, widening=self.widening, **options)


def choose(
    x,
    *,
    times=None,
    domain=None,
    seed: int = 0,
    start: FieldSettings | None = None,
    known: Mapping[FieldSettings, float] | None = None,
    report: Callable[[FieldSettings, float], None] | None = None,
) -> Choice:
    """Choose settings by their errors at observed entries that gaps of other frames hide.

    Each setting in turn is moved to neighbouring values as long as the error falls. The number of
    latents comes last.

    Args:
        x: frames of one field, as `FieldModel.fit` takes them.
        times: times of the frames, as there.
        domain: domain of the field, as there.
        seed: seed of the moved gaps, and of draws.
        start: settings to begin with.
        known: errors by settings of a search of the same data and seed that was stopped: these settings
            are not tried again.
        report: function that is called with settings and their error as they are tried.

    Returns:
        A `Choice`.

    Raises:
        ValueError: if the data cannot be used, or all frames have the same gaps.

    Example:
        >>> frames = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).cumsum(1).cumsum(2)
        >>> mask = np.random.default_rng(1).random(frames.shape) > 0.3
        >>> choice = choose({"signal": frames, "mask": mask})
        >>> choice.model().fit({"signal": frames, "mask": mask}).inpaint().shape
        (8, 6, 6, 1)
    """
    trial = _Trial(x, times, domain, seed)
    errors = dict(known or {})

    def error(settings):
        if settings not in errors:
            errors[settings] = trial.error(settings)
            if report is not None:
                report(settings, errors[settings])
        return errors[settings]

    best = start or FieldSettings()
    if start is None and trial.count > 1:
        best = min(best, best._replace(mean=0.0, time=0.1), key=error)
    for name, tried in TRIED.items():
        best = _climb(best, name, tried, error)
    for latents in LATENTS:
        # Two latents can help where one does not.
        if latents > min(2 * best.latents + 2, trial.count // 4):
            break
        best = min(best, best._replace(latents=latents), key=error)

    return Choice(best, trial.widening(best), errors)


def widening(x, settings: FieldSettings, *, times=None, domain=None, seed: int = 0) -> float:
    """Return the factor of standard deviations that makes intervals of 90 % hold under moved gaps.

    It is what `choose` estimates for the settings that it chooses.

    Args:
        x: frames of one field, as `FieldModel.fit` takes them.
        settings: the settings of the model.
        times: times of the frames, as there.
        domain: domain of the field, as there.
        seed: seed of the moved gaps, and of draws.

    Raises:
        ValueError: as `choose` does.

    Example:
        >>> frames = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).cumsum(1).cumsum(2)
        >>> mask = np.random.default_rng(1).random(frames.shape) > 0.3
        >>> widening({"signal": frames, "mask": mask}, FieldSettings()) > 0
        True
    """
    return _Trial(x, times, domain, seed).widening(settings)


class _Trial:
    """Frames with moved gaps, to try settings on."""

    def __init__(self, x, times, domain, seed: int):
        self.times = getattr(x, "times", None) if times is None else times
        self.domain = getattr(x, "domain", None) if domain is None else domain
        data, sigma = apart(x)
        self.noise = {} if sigma is None else {"sigma": sigma}
        self.signal, mask = read(data)
        if self.domain is not None:
            mask = mask & self.domain
        self.seed, self.count, self.mask = seed, len(mask), mask
        self.folds = [gaps.moved(mask, seed + fold) for fold in range(FOLDS)]
        self.held = np.concatenate(self.folds)
        self.truth = np.concatenate([self.signal] * FOLDS)
        values = np.where(mask, self.signal, np.nan).reshape(-1, mask.shape[-1])
        self.unit = np.maximum(np.nanstd(values, axis=0), 1e-12)

    def fitted(self, settings: FieldSettings) -> Iterator[FieldModel]:
        for fold in self.folds:
            data = {"signal": self.signal, "mask": self.mask & ~fold, **self.noise}
            yield FieldModel(settings).fit(data, times=self.times, domain=self.domain)

    def error(self, settings: FieldSettings) -> float:
        filled = np.concatenate([model.inpaint() for model in self.fitted(settings)])
        return float(np.sqrt(np.mean(((filled - self.truth) / self.unit)[self.held] ** 2)))

    def widening(self, settings: FieldSettings) -> float:
        drawn = [model.sample_posterior(samples=32, seed=self.seed) for model in self.fitted(settings)]
        mean = np.concatenate([one.mean for one in drawn])
        deviation = np.concatenate([one.total_deviation for one in drawn])
        return calibration.conformal_factor(self.truth, mean, deviation, self.held, 0.9)


def _climb(best: FieldSettings, name: str, tried, error) -> FieldSettings:
    """Move one setting to neighbouring values as long as the error falls."""
    for step in (1, -1):
        while True:
            ahead = [v for v in tried if (v - getattr(best, name)) * step > 0]
            if not ahead:
                break
            moved = best._replace(**{name: min(ahead) if step > 0 else max(ahead)})
            if error(moved) >= error(best):
                break
            best = moved
    return best

"""The choice of a field's settings, and of the width of its error bars, by moved gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abp_tf.data import examples
from abp_tf.errors import ConvergenceError
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
RHYTHM_FRAMES = 20  # frames from which on latents may have a prior in time
# Bytes, measured: of a factorization, for each of its points and per log2 of their number, and of
# arrays for each entry of the data.
_PER_FACTOR, _PER_ENTRY = 41, 1100
FOLDS = 3  # choices of moved gaps that errors are means over


class Choice(NamedTuple):
    """Settings chosen by moved gaps.

    Attributes:
        settings: the `FieldSettings` of the least error.
        widening: factor of standard deviations with which nine in ten intervals of 90 % contain the
            observed values under moved gaps.
        errors: root mean squared error under moved gaps, in units of each channel's deviation, by
            settings; infinite where the equations could not be solved.
    """

    settings: FieldSettings
    widening: float
    errors: dict[FieldSettings, float]

    def model(self, **options) -> FieldModel:
        """Return a model with the settings and the widening; options go to `FieldModel`."""
        return FieldModel(self.settings, widening=self.widening, **options)


def choose(
    x: examples.SignalsLike,
    *,
    times: ArrayLike | None = None,
    domain: np.ndarray | None = None,
    seed: int = 0,
    start: FieldSettings | None = None,
    known: Mapping[FieldSettings, float] | None = None,
    report: Callable[[FieldSettings, float], None] | None = None,
) -> Choice:
    """Choose settings by their errors at observed entries that gaps of other frames hide.

    Each setting in turn is moved to neighbouring values as long as the error falls. The number of
    latents comes last, with and without a prior in time.

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
        ConvergenceError: if the equations could not be solved for any settings.

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
            try:
                errors[settings] = trial.error(settings)
            except ConvergenceError:
                errors[settings] = np.inf  # such settings are not chosen
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
        more = [best._replace(latents=latents, rhythm=False)]
        if trial.count >= RHYTHM_FRAMES:
            more.append(more[0]._replace(rhythm=True))
        best = min(best, *more, key=error)

    return Choice(best, trial.widening(best), errors)


def widening(
    x: examples.SignalsLike,
    settings: FieldSettings,
    *,
    times: ArrayLike | None = None,
    domain: np.ndarray | None = None,
    seed: int = 0,
) -> float:
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


def memory(mask: np.ndarray, domain: np.ndarray | None = None) -> float:
    """Return about how many bytes `choose` takes.

    Most of it are the factorizations of frames of different masks, whose entries per point grow with
    the logarithm of the points of a grid, and some float64 arrays of the size of the data.

    Args:
        mask: bool `[n, *axes, channels]`, True where observed.
        domain: bool `[*axes, channels]`, as for `choose`; None if all is domain.

    Example:
        >>> gigabytes = memory(np.ones((300, 200, 300, 1), bool)) / 2**30
        >>> 15 < gigabytes < 25
        True
    """
    points = mask[0].size if domain is None else int(domain.sum())
    different = len({row.tobytes() for row in mask})
    per_factor = _PER_FACTOR * np.log2(max(points, 2))
    return float(points * (different * per_factor + len(mask) * _PER_ENTRY))


class _Trial:
    """Frames with moved gaps, to try settings on."""

    def __init__(self, x, times, domain, seed: int):
        self.domain = getattr(x, "domain", None) if domain is None else domain
        data, sigma = apart(x)
        self.times = data.get("time") if times is None else times
        self.noise = {} if sigma is None else {"sigma": sigma}
        self.signal, mask = read(data)
        if self.domain is not None:
            mask = mask & self.domain
        self.seed, self.count, self.mask = seed, len(mask), mask
        self.folds = [gaps.moved(mask, seed + fold) for fold in range(FOLDS)]
        values = np.where(mask, self.signal, np.nan).reshape(-1, mask.shape[-1])
        self.unit = np.maximum(np.nanstd(values, axis=0), 1e-12)

    def fitted(self, settings: FieldSettings, held: np.ndarray) -> FieldModel:
        data = {"signal": self.signal, "mask": self.mask & ~held, **self.noise}
        return FieldModel(settings).fit(data, times=self.times, domain=self.domain)

    def error(self, settings: FieldSettings) -> float:
        def rest(held):
            return ((self.fitted(settings, held).inpaint() - self.signal) / self.unit)[held]

        return float(np.sqrt(np.mean(np.concatenate([*map(rest, self.folds)]) ** 2)))

    def widening(self, settings: FieldSettings) -> float:
        def moments(held):
            drawn = self.fitted(settings, held).sample_posterior(samples=32, seed=self.seed)
            return drawn.mean, drawn.total_deviation

        # Other gaps than those that settings are chosen by, which are the easier ones: in all frames.
        folds = [gaps.moved(self.mask, self.seed + FOLDS + n, every=True) for n in range(FOLDS)]
        mean, deviation = map(np.concatenate, zip(*map(moments, folds), strict=True))
        truth = np.concatenate([self.signal] * FOLDS)
        return calibration.conformal_factor(truth, mean, deviation, np.concatenate(folds), 0.9)


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

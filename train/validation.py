"""Cross-validation of filled fields by moved gaps, beside baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from abp_tf.baselines import DINEOF, OptimalInterpolation, frames
from abp_tf.data import Field, grids
from abp_tf.fields import gaps
from abp_tf.fields.choice import FOLDS
from abp_tf.metrics import calibration
from abp_tf.results import PosteriorSamples

# What fills a field: draws, or values without error bars, `[n, h, w, channels]`.
Method = Callable[[Field], PosteriorSamples | np.ndarray]


class Score(NamedTuple):
    """Errors at entries that moved gaps hide, in the unit of the variable.

    Attributes:
        rmse: root mean squared error.
        bias: mean of what is filled minus the truth.
        coverage_90: share of the entries inside their interval of 90 %; None without error bars.
        crps: continuous ranked probability score, lower is better; None without error bars.
    """

    rmse: float
    bias: float
    coverage_90: float | None = None
    crps: float | None = None


def means(given: Field) -> np.ndarray:
    """Fill a field by the means of pixels and frames."""
    return frames.fill_by_means(given.signal, given.mask)


def linear(given: Field) -> np.ndarray:
    """Fill each pixel linearly in time; those that are never observed by the means."""
    times = np.arange(len(given.signal)) if given.times is None else given.times
    return frames.fill_in_time(given.signal, given.mask, times)


def kriging(given: Field) -> PosteriorSamples:
    """Fill a field by optimal interpolation."""
    model = OptimalInterpolation(value_range=None).fit(given)
    return model.sample_posterior(given.signal, given.mask, samples=32)


def eof(given: Field) -> np.ndarray:
    """Fill a field by empirical orthogonal functions."""
    return DINEOF(value_range=None).fit(given).inpaint(given.signal, given.mask)


BASELINES: dict[str, Method] = {
    "optimal interpolation": kriging,
    "DINEOF": eof,
    "pixel and frame means": means,
    "linear in time": linear,
}


def comparable(field: Field, otherwise: str) -> bool:
    """Return whether gaps can be moved from one frame to another; print what follows if not."""
    empty = [
        name for name, seen in zip(field.names, field.mask.any((0, 1, 2)), strict=True) if not seen
    ]
    if empty:
        print(f"Nothing is observed of {', '.join(empty)}: {otherwise}.")
        return False
    try:
        gaps.moved(field.mask)
    except ValueError:
        print(f"The gaps of all frames are alike, so that none can be moved: {otherwise}.")
        return False
    return True


def other_gaps(mask: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Move gaps otherwise than `choose` does: of ten seeds, by that with the fewest common entries.

    Args:
        mask: bool `[n, ...]`, True where observed.
        seed: the seed by which settings were chosen.

    Returns:
        the entries to hide, bool like the mask, and the share of them that settings were chosen by.
    """
    chosen = np.any([gaps.moved(mask, seed + fold) for fold in range(FOLDS)], axis=0)

    def shared(other: int) -> float:
        held = gaps.moved(mask, other)
        return float((held & chosen).sum() / held.sum())

    best = min(range(seed + FOLDS, seed + FOLDS + 10), key=shared)
    return gaps.moved(mask, best), shared(best)


def validate(field: Field, method: Method, seed: int) -> dict:
    """Hide observed entries by gaps of other frames, fill them, and compare.

    Args:
        field: the field.
        method: what is compared with the baselines.
        seed: the seed by which settings were chosen; other gaps are moved here.

    Returns:
        `shared`, the share of the entries by which settings were chosen too; and for each of
        `variables` its `unit`, the number of hidden `entries`, that of the `frames` that they are in,
        of these the `worst`, with its `share` of the method's squared error, and `methods`, each with
        its `Score` as a dict; the first is "this model".

    Raises:
        ValueError: if the frames have the same gaps.
    """
    held, shared = other_gaps(field.mask, seed)
    mask = field.mask & ~held
    given = dataclasses.replace(field, mask=mask, signal=np.where(mask, field.signal, 0))
    found = {"this model": method(given)}
    plain = dataclasses.replace(given, sigma=None)  # baselines have one σ
    for name, fill in BASELINES.items():
        try:
            found[name] = fill(plain)
        except ValueError as error:  # such as too few frames; the other results are kept
            print(f"{name} is left out: {error}")

    def scores(channel):
        return {
            name: score(field.signal, filled, held, channel)._asdict() for name, filled in found.items()
        }

    variables = {
        variable: {
            "unit": unit,
            "entries": int(count),
            **_by_frame(field, found["this model"], held, channel),
            "methods": scores(channel),
        }
        for channel, (variable, unit, count) in enumerate(
            zip(field.names, field.units, held.sum((0, 1, 2)), strict=True)
        )
        if count
    }
    return {"shared": shared, "variables": variables}


def _by_frame(field: Field, filled: PosteriorSamples | np.ndarray, held, channel: int) -> dict:
    """Return in how many frames entries are hidden, and which of them has most of the squared error."""
    mean = filled.mean if isinstance(filled, PosteriorSamples) else filled
    errors = np.where(held, mean.astype(float) - field.signal, 0)[..., channel]
    squares = (errors**2).sum(axis=(1, 2))
    worst, total = int(np.argmax(squares)), squares.sum()
    labels = grids.labels(field.dataset, field.axes.frames)
    return {
        "frames": int(held[..., channel].any(axis=(1, 2)).sum()),
        "worst": labels[worst] if labels else f"number {worst}",
        "share": float(squares[worst] / total) if total else 0.0,
    }


def concentrated(variables: dict[str, dict]) -> list[str]:
    """Return a line for each variable whose errors of `validate` are mostly those of one frame."""
    return [
        f"{name}: {one['share']:.0%} of the squared error of this model is in one frame of "
        f"{one['frames']}, {one['worst']}. The figures, coverage too, depend on it."
        for name, one in variables.items()
        if one["share"] > max(0.25, 3 / one["frames"])
    ]


def score(truth: np.ndarray, filled: PosteriorSamples | np.ndarray, held, channel: int) -> Score:
    """Return the errors of one channel.

    Args:
        truth: float `[n, h, w, channels]`.
        filled: what a method returned.
        held: bool of the shape of the truth, True for the entries that count.
        channel: number of the channel.
    """
    drawn = filled if isinstance(filled, PosteriorSamples) else None
    mean = filled if drawn is None else drawn.mean
    truth, where = truth[..., channel], held[..., channel]
    errors = mean[..., channel][where].astype(float) - truth[where]
    found = Score(float(np.sqrt(np.mean(errors**2))), float(np.mean(errors)))
    if drawn is None:
        return found
    sigma = np.broadcast_to(drawn.sigma, mean.shape)[..., channel]
    samples = drawn.samples[..., channel]
    [share] = calibration.coverage_by_level(truth, samples, where, sigma=sigma, levels=[0.9])
    crps = calibration.crps(truth, samples, where, sigma=sigma)
    return found._replace(coverage_90=float(share), crps=float(crps))


def table(variables: dict[str, dict]) -> str:
    """Return the variables' scores of `validate` as text."""
    lines = []
    for variable, found in variables.items():
        unit = f" [{found['unit']}]" if found["unit"] else ""
        head = f"{variable}{unit}, {found['entries']} entries of {found['frames']} frames"
        width = max(len(head), *map(len, found["methods"]))
        lines.append(f"{head:{width}}{'RMSE':>10}{'bias':>10}{'in 90 %':>10}{'CRPS':>10}")
        for name, one in found["methods"].items():
            cells = [f"{one['rmse']:.4g}", f"{one['bias']:+.2g}"]
            cells.append("-" if one["coverage_90"] is None else f"{one['coverage_90']:.1%}")
            cells.append("-" if one["crps"] is None else f"{one['crps']:.4g}")
            lines.append(f"{name:{width}}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)

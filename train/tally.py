"""Sums over recovered signals, which add up over the parts of an archive, and the figures they give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from abp_tf import metrics
from abp_tf.display.gallery import drawable
from abp_tf.metrics.calibration import LEVELS, Calibration, calibration
from abp_tf.results import PosteriorSamples

from .damaged import Damaged

# Levels at which the coverage of intervals is reported.
_LEVELS = (0.5, 0.9)
# What is reported of how chains of samples agree, over all latents and images.
CONVERGENCE = {
    "r_hat_median": ("r_hat", np.median),
    "r_hat_maximum": ("r_hat", np.max),
    "effective_samples_median": ("effective_samples", np.median),
    "effective_samples_minimum": ("effective_samples", np.min),
    "effective_samples_maximum": ("effective_samples", np.max),
}
# Sums of squared errors of variables in their own units, and numbers of entries, have names with these.
_SQUARES, _COUNT = "squares of ", "entries of "


def sums(model, damaged: Damaged, recovered: np.ndarray, drawn: PosteriorSamples | None) -> Counter:
    """Return what is counted and summed over some signals; sums of all signals are its sum.

    Args:
        model: model that recovered the signals.
        damaged: the signals.
        recovered: recovered signals, `[n, *axes, channels]`.
        drawn: samples of the signals; None without.
    """
    found = Counter(images=len(damaged.signal))
    found.update(hidden(damaged))
    counted = damaged.counted
    if counted.any():
        found.update(_errors(model, damaged, recovered, counted))
        if drawn is not None:
            measured = calibration(damaged.truth, drawn, counted)
            found.update(of_calibration(measured, int(counted.sum())))
    if drawn is not None:
        found["samples"] = drawn.samples.shape[0] * drawn.samples.shape[1]
    return found


def hidden(damaged: Damaged) -> dict[str, int]:
    """Return the numbers of entries that exist, which are not land, and of those that are hidden."""
    if damaged.mask is None:
        return {}
    inside = damaged.kind.inside(damaged.header, damaged.signal.shape[1:])
    chosen = damaged.hidden[:, inside]
    return {"entries": chosen.size, "hidden": int(chosen.sum())}


def _errors(model, damaged: Damaged, recovered: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    """Return sums of errors on hidden entries, or on all where an operator observed the signals.

    Those of a model with a scaling are errors of pictures (`abp_tf.display.gallery.drawable`).
    """
    drawn = [drawable(model, one, time=damaged.time) for one in (damaged.truth, recovered)]
    ratios = metrics.psnr(*drawn, counted, per_example=True)
    ratios = ratios[~np.isnan(ratios)]
    count = int(counted.sum())
    found = {
        "counted": count,
        "absolute": count * metrics.absolute_error(*drawn, counted),
        "psnr": float(ratios.sum()),
        "psnr_images": len(ratios),
    }
    squares = damaged.kind.squares(damaged.truth, recovered, counted, damaged.header)
    for name, (total, entries) in squares.items():
        found |= {_SQUARES + name: total, _COUNT + name: entries}
    return found


def of_calibration(found: Calibration, count: int) -> dict[str, float]:
    """Return sums over the `count` entries of a calibration."""
    with np.errstate(invalid="ignore"):  # scaled errors may be infinite
        scaled_squares = found.scaled_deviation**2 + found.scaled_bias**2
    means = {
        "crps": found.crps,
        "scaled": found.scaled_bias,
        "scaled_squares": scaled_squares,
        **{_covered(level): share for level, share in zip(LEVELS, found.coverage, strict=True)},
    }
    return {"calibrated": count, **{name: count * float(mean) for name, mean in means.items()}}


def _covered(level: float) -> str:
    return f"covered_{100 * level:.0f}"


def figures(total: Mapping[str, float]) -> dict:
    """Return what is reported of sums by name; None for what is not known or not finite.

    Returns:
        `images`; `hidden`, the share of hidden entries; `mae_per_range` and `psnr`; the root mean
        squared errors of variables in their own units; and, of samples, `coverage_50`, `coverage_90`,
        `crps` and `scaled_deviation`.
    """

    def mean(name: str, count: str) -> float:
        return total.get(name, 0) / total[count] if total.get(count) else math.nan

    roots = {
        f"rmse {name}": math.sqrt(mean(_SQUARES + name, _COUNT + name))
        for name in (key.removeprefix(_SQUARES) for key in total if key.startswith(_SQUARES))
        if total[_COUNT + name]
    }
    bias = mean("scaled", "calibrated")
    variance = mean("scaled_squares", "calibrated") - bias * bias
    found = {
        "hidden": mean("hidden", "entries"),
        "mae_per_range": mean("absolute", "counted"),
        "psnr": mean("psnr", "psnr_images"),
        **roots,
        **{f"coverage_{100 * level:.0f}": mean(_covered(level), "calibrated") for level in _LEVELS},
        "crps": mean("crps", "calibrated"),
        "scaled_deviation": math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan,
    }
    finite = {name: value if math.isfinite(value) else None for name, value in found.items()}
    return {"images": total["images"], **finite}


def coverage(total: Mapping[str, float]) -> list[float] | None:
    """Return the share of entries inside their interval for each of `LEVELS`; None without samples."""
    count = total.get("calibrated")
    return [total[_covered(level)] / count for level in LEVELS] if count else None


def convergence(drawn: PosteriorSamples | None) -> dict:
    """Return R-hat and effective sample sizes as `CONVERGENCE` names them; all None without samples."""
    found = {}
    for name, (field, of) in CONVERGENCE.items():
        values = None if drawn is None else getattr(drawn, field)
        values = np.array([]) if values is None else values[np.isfinite(values)]
        found[name] = float(of(values)) if values.size else None
    return found

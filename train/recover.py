"""Recover hidden or indirectly observed signals: python -m train.recover --help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import Generator, checks, files, metrics, programs, qualities, runs, signals
from abp_tf.display import pictures
from abp_tf.display.gallery import drawable
from abp_tf.metrics.calibration import Calibration, calibration
from abp_tf.options import Option, at_least, positive
from abp_tf.results import PosteriorSamples

from . import options, parsing, report
from .damaged import Damaged, load

# Number of signals in the grid.
_SHOWN = 10
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


class Recovered(NamedTuple):
    """What a model made of them.

    Attributes:
        signal: float32 `[n, h, w, c]`.
        drawn: samples, of the posterior of a generator or completions by another model; None without.
    """

    signal: np.ndarray
    drawn: PosteriorSamples | None = None


# Options of the program by name.
OPTIONS = {
    "run": Option(str, "directory of the run", required=True, form="DIR"),
    "data": Option(
        str,
        "signals to recover: train or test for those of the run, with its masks; or another source, as "
        "for --data of train.generator, which is converted to the shape of the run's signals",
        required=True,
        form="SOURCE",
    ),
    "mask": options.masking(
        [signals.get(name) for name in signals.names()],
        "mask of the signals, by default that of the run",
    ),
    "truth": Option(str, "the complete signals, if those of --data are not complete", form="SOURCE"),
    "quality": Option(
        tuple(qualities.QUALITIES),
        "with a generator, how much time recovery may take: samples, chains and steps, of which more "
        f"have a smaller error; by default {qualities.DEFAULT}",
    ),
    "samples": Option(
        at_least(2),
        "number of samples of a signal, whose median is the recovered signal; a generator draws them "
        "from its posterior, by default as many as its quality has; other models complete the signals "
        "with K seeds, by default once",
        form="K",
    ),
    "chains": Option(
        positive(int),
        "with a generator, number of chains that draw the samples of a signal, a divisor of K; by "
        "default K, or that of its quality; fewer take less time. R-hat needs 2 chains of 4 samples, "
        "the effective sample size chains of 10",
        form="C",
    ),
    "count": Option(positive(int), "largest number of signals", 100),
    "seed": Option(int, "seed of inference and of random masks", 0),
    "out": Option(
        str,
        "new or empty directory for the results: observed/, recovered/, deviation/, grid.png, "
        "recovery.npz and recovery.json; where the truth is known, reliability.png with --samples",
        required=True,
        form="DIR",
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    return parsing.plain(
        "train.recover",
        "Recover damaged signals with the model of a run. Write the observed and recovered signals, "
        "the standard deviation of samples and, where the complete signals are known, the errors on "
        "hidden entries. A run that was learned with --observe observes signals by its operator.",
        OPTIONS,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    out = Path(arguments.out)
    if files.taken(out):
        raise FileExistsError(
            f"--out: expected a directory that is new or empty, but {arguments.out!r} is not. Nothing "
            "was changed."
        )
    if arguments.chains and (not arguments.samples or arguments.samples % arguments.chains):
        raise ValueError(
            f"--chains: expected a divisor of --samples {arguments.samples}, received "
            f"{arguments.chains}."
        )
    run = runs.Run.open(arguments.run)
    model = run.load_model()
    several = {name: getattr(arguments, name) for name in ("quality", "chains")}
    several = {name: value for name, value in several.items() if value}
    if several and not isinstance(model, Generator):
        raise ValueError(
            f"--{'/'.join(several)}: expected the run of a Generator, received that of a "
            f"{type(model).__name__}, which has no chains of latents. Leave the option out."
        )
    damaged = load(run, model, arguments)
    if damaged.mask is not None and damaged.mask.all():
        raise ValueError(
            f"--mask: expected a mask with hidden entries, but nothing is hidden. {checks.POLARITY}"
        )
    found = recover(model, damaged, arguments.samples, arguments.seed, **several)
    found = found._replace(signal=shown(damaged, found.signal))
    calibrated = calibrate(damaged, found.drawn)
    found_errors = errors(model, damaged, found.signal)
    summary = {
        **{name: value for name, value in vars(arguments).items() if name != "out"},
        "images": len(damaged.signal),
        "hidden": None if damaged.mask is None else hidden_share(damaged),
        **found_errors,
        **convergence(found.drawn),
        **figures(calibrated),
    }
    write(out, model, damaged, found)
    if calibrated is not None:
        title = f"Intervals of {found.drawn.samples.shape[1]} samples"
        shown_coverage = pictures.reliability(calibrated.levels, calibrated.coverage, title)
        pictures.save_png(out / "reliability.png", shown_coverage)
    files.write_json(out / "recovery.json", summary)
    for name in ("images", "hidden", *found_errors, *CONVERGENCE, *figures(None)):
        if summary[name] is not None:
            print(f"{name:26}{summary[name]:10.4g}")
    if damaged.truth is None:
        print("no errors: the complete signals are not known; give them by --truth SOURCE")
    print(f"written: {out}")
    return 0


def recover(model, damaged: Damaged, samples: int | None, seed: int, **several: int) -> Recovered:
    """Recover signals by the median of several samples, or once.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        damaged: observed parts of the signals.
        samples: number of samples of each signal; None means that of the quality, or with other models
            than a `Generator` a single completion.
        seed: seed of inference.
        **several: for a `Generator`: `quality` and `chains` of `sample_posterior`.
    """
    if damaged.mask is None:
        ask, given = model.reconstruct, model.observe(damaged.signal)
    else:
        ask, given = model.inpaint, damaged.given
    if isinstance(model, Generator):
        several = {"samples": samples, "chains": samples, **several}
        drawn = model.sample_posterior(given, seed=seed, **several)
        return Recovered(_clipped(model, drawn.median), drawn)
    if samples is None:
        return Recovered(_clipped(model, ask(given, seed=seed)))
    count = len(damaged.signal)
    found = np.stack([ask(given, seed=seed + number * count) for number in range(samples)], axis=1)
    # In double precision the mean of equal entries is exactly that entry, and their deviation 0.
    mean, deviation = (
        of(found, axis=1, dtype=np.float64).astype(np.float32) for of in (np.mean, np.std)
    )
    # A completion is a value itself: these models add no noise to what they draw.
    drawn = PosteriorSamples(found, mean, deviation, sigma=0.0)
    return Recovered(_clipped(model, drawn.median), drawn)


def _clipped(model, signal: np.ndarray) -> np.ndarray:
    """Return signals clipped to their range, if they have one; samples of energies may leave it."""
    return signal if model.value_range is None else np.clip(signal, *model.value_range)


def shown(damaged: Damaged, signal: np.ndarray) -> np.ndarray:
    """Return signals with NaN in entries that do not exist, such as land."""
    inside = damaged.kind.inside(damaged.header, signal.shape[1:])
    return signal if inside.all() else np.where(inside, signal, np.float32(np.nan))


def hidden_share(damaged: Damaged) -> float:
    """Return the share of the entries that exist, which are not land, that is hidden."""
    inside = damaged.kind.inside(damaged.header, damaged.signal.shape[1:])
    return float(np.mean(damaged.hidden[:, inside]))


def errors(model, damaged: Damaged, recovered: np.ndarray) -> dict:
    """Return the errors on hidden entries, or on all entries where an operator observed the signals.

    Returns:
        `mae_per_range` and `psnr`, of a model with a scaling those of pictures
        (`abp_tf.display.gallery.drawable`), both None where the truth is not known; and errors in the
        units of the signals' files, if they have such units.
    """
    truth, counted = damaged.truth, damaged.counted
    if not counted.any():
        return {"mae_per_range": None, "psnr": None}
    drawn = [drawable(model, one, time=damaged.time) for one in (truth, recovered)]
    return {
        "mae_per_range": metrics.absolute_error(*drawn, counted),
        "psnr": metrics.psnr(*drawn, counted),
        **damaged.kind.errors(truth, recovered, counted, damaged.header),
    }


def convergence(drawn: PosteriorSamples | None) -> dict:
    """Return R-hat and effective sample sizes as `CONVERGENCE` names them; all None without samples."""
    found = {}
    for name, (field, of) in CONVERGENCE.items():
        values = None if drawn is None else getattr(drawn, field)
        values = np.array([]) if values is None else values[np.isfinite(values)]
        found[name] = float(of(values)) if values.size else None
    return found


def calibrate(damaged: Damaged, drawn: PosteriorSamples | None) -> Calibration | None:
    """Return how well samples predict hidden entries; None without samples or truth."""
    if drawn is None or not damaged.counted.any():
        return None
    return calibration(damaged.truth, drawn, damaged.counted)


def figures(calibrated: Calibration | None) -> dict:
    """Return what is reported of a calibration; None for what is not known or not finite."""
    names = [*(f"coverage_{100 * level:.0f}" for level in _LEVELS), "crps", "scaled_deviation"]
    if calibrated is None:
        return dict.fromkeys(names)
    coverage = np.interp(_LEVELS, calibrated.levels, calibrated.coverage)
    values = [float(value) for value in (*coverage, calibrated.crps, calibrated.scaled_deviation)]
    return {name: v if np.isfinite(v) else None for name, v in zip(names, values, strict=True)}


def write(out: Path, model, damaged: Damaged, found: Recovered) -> None:
    """Write signals as files, a grid of the first ones, and all arrays.

    Args:
        out: directory to write to.
        model: model that recovered the signals.
        damaged: observed parts of the signals.
        found: recovered signals.
    """
    shown, arrays = {}, {"recovered": found.signal}
    if damaged.mask is not None:
        shown["observed"] = pictures.visible(damaged.signal, damaged.mask)
        arrays["mask"] = damaged.mask
    else:
        arrays["observed"] = model.observe(damaged.signal)
        observed = report.observed_images(model, damaged.signal)
        shown |= {} if observed is None else {"observed": observed}
    shown["recovered"] = found.signal
    if found.drawn is not None:
        arrays["deviation"] = found.drawn.deviation
        for name, one in zip(damaged.names, found.drawn.deviation, strict=True):
            damaged.kind.save_deviation(out / "deviation" / name, one, damaged.header)
    for folder, part in shown.items():
        for name, signal in zip(damaged.names, part, strict=True):
            damaged.kind.save(out / folder / name, signal, damaged.header)
    if found.drawn is not None and damaged.kind.deviation_drawn:
        # Values in [-1, 1] have a standard deviation in [0, 1], drawn from black to white.
        shown["deviation"] = 2 * found.drawn.deviation - 1
    if damaged.truth is not None:
        shown["truth"] = damaged.truth
    report.save_rows(
        out / "grid.png",
        damaged.kind,
        {key: part[:_SHOWN] for key, part in shown.items()},
        damaged.header,
    )
    with files.aside(out / "recovery.npz") as path:
        np.savez_compressed(path, name=np.array(damaged.names), **arrays)


if __name__ == "__main__":
    programs.run(main)

"""Recover hidden or indirectly observed signals: python -m train.recover --help."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from abp_tf import Generator, checks, data, files, mask_files, metrics, programs, runs, signals
from abp_tf.display import pictures
from abp_tf.options import Option, at_least, positive
from abp_tf.results import PosteriorSamples

from . import options, parsing, report

# Number of signals in the grid.
_SHOWN = 10
# What is reported of how chains of samples agree, over all latents and images.
CONVERGENCE = {
    "r_hat_median": ("r_hat", np.median),
    "r_hat_maximum": ("r_hat", np.max),
    "effective_samples_median": ("effective_samples", np.median),
    "effective_samples_minimum": ("effective_samples", np.min),
    "effective_samples_maximum": ("effective_samples", np.max),
}


class Damaged(NamedTuple):
    """Hold signals to recover.

    Attributes:
        signal: float32 `[n, *axes, channels]`; hidden entries may hold anything.
        mask: bool `[n, *axes]`, True where observed; None if an operator observes the signals.
        truth: the complete signals; None if they are not known.
        names: names of the files to write, without suffixes.
        kind: kind of signal.
        header: other contents of the signals' files, as in `abp_tf.data.Signals`.
    """

    signal: np.ndarray
    mask: np.ndarray | None
    truth: np.ndarray | None
    names: list[str]
    kind: signals.SignalKind
    header: Mapping[str, Any]


class Recovered(NamedTuple):
    """What a model made of them.

    Attributes:
        signal: float32 `[n, h, w, c]`.
        deviation: standard deviation of samples, same shape; None without samples.
        drawn: samples of the posterior, of a model that draws them.
    """

    signal: np.ndarray
    deviation: np.ndarray | None = None
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
    "samples": Option(
        at_least(2),
        "recover by the mean of K samples and write their standard deviation: a generator draws them "
        "from its posterior, other models complete the signals with K seeds",
        form="K",
    ),
    "chains": Option(
        positive(int),
        "with a generator, number of chains that draw the samples of a signal, a divisor of K; by "
        "default K; fewer take less time. R-hat needs 2 chains of 4 samples, the effective sample size "
        "chains of 10",
        form="C",
    ),
    "restarts": Option(
        at_least(2),
        "with a generator, infer latents by K chains and keep those of least energy, for posteriors "
        "where single chains get stuck; not with --samples",
        form="K",
    ),
    "count": Option(positive(int), "largest number of signals", 100),
    "seed": Option(int, "seed of inference and of random masks", 0),
    "out": Option(
        str,
        "new or empty directory for the results: observed/, recovered/, deviation/, grid.png, "
        "recovery.npz and recovery.json",
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
    if arguments.restarts and arguments.samples:
        raise ValueError(
            f"--restarts, --samples: expected one of the two, received {arguments.restarts} and "
            f"{arguments.samples}. Give one of the two."
        )
    if arguments.chains and (not arguments.samples or arguments.samples % arguments.chains):
        raise ValueError(
            f"--chains: expected a divisor of --samples {arguments.samples}, received "
            f"{arguments.chains}."
        )
    run = runs.Run.open(arguments.run)
    model = run.load_model()
    several = {name: getattr(arguments, name) for name in ("restarts", "chains")}
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
    summary = {
        **{name: value for name, value in vars(arguments).items() if name != "out"},
        "images": len(damaged.signal),
        "hidden": None if damaged.mask is None else float(1 - damaged.mask.mean()),
        **errors(damaged, found.signal),
        **convergence(found.drawn),
    }
    write(out, model, damaged, found)
    files.write_json(out / "recovery.json", summary)
    for name in ("images", "hidden", "mae_per_range", "psnr", *CONVERGENCE):
        if summary[name] is not None:
            print(f"{name:26}{summary[name]:10.4g}")
    if damaged.truth is None:
        print("no errors: the complete signals are not known; give them by --truth SOURCE")
    print(f"written: {out}")
    return 0


def load(run: runs.Run, model, arguments: argparse.Namespace) -> Damaged:
    """Load the signals that the options name, their masks, and the truth if it is known.

    Args:
        run: the run whose model recovers.
        model: the model of the run.
        arguments: options of the program.

    Raises:
        ValueError: signals, masks and truth do not fit each other or the run.
    """
    settings, spec, count = run.config["settings"], arguments.mask, arguments.count
    own = arguments.data in ("train", "test")
    observed = settings.get("observe")
    if observed and spec:
        raise ValueError(f"--mask: signals are observed by the run's own {observed!r}. Leave it out.")
    stored, kind = mask_files.is_stored(spec), signals.get(settings["kind"])
    like = functools.partial(
        runs.load_like, settings=settings, shape=model.signal_shape, header=run.config["data"]
    )
    if own:
        images = run.load_images()
    else:
        images = like(arguments.data, limit=count, mask=spec if stored else None)
    if stored and own:
        images = runs.attach_masks(images, spec, settings)
    part = report.sets(images).get(arguments.data if own else "train")
    if part is None:
        raise ValueError("--data: the run has no test signals. Give train, or another source.")
    positions = mask_files.places(images)[arguments.data == "test"]
    names = images.names and [images.names[position] for position in positions]
    mask, truth = part.mask, part.signal
    if mask is not None:
        truth = None
        if spec and not stored:
            raise ValueError("--mask: the run's signals have masks of their own. Leave it out.")
    elif not observed:
        mask = _drawn(kind, arguments, settings if own else {}, truth)
    if arguments.truth:
        # Signals that are matched by name may have any position.
        complete = like(arguments.truth, limit=None if own or names else count)
        truth = complete.train[_matching(complete, names, positions, arguments.truth)]
    return Damaged(
        part.signal[:count],
        None if mask is None else mask[:count],
        None if truth is None else truth[:count],
        files.stems(names or [f"{position:05}" for position in positions])[:count],
        kind,
        images.header,
    )


def _drawn(kind: signals.SignalKind, arguments, settings: dict, images: np.ndarray) -> np.ndarray:
    """Draw the masks of --mask or, without it, those that the run draws."""
    count, shape = len(images), images.shape[1:]
    if arguments.mask:
        return kind.draw_masks(arguments.mask, count, shape, arguments.seed)
    spec = settings.get("mask")
    if spec is None or mask_files.is_stored(spec):
        raise ValueError(f"--mask: expected a mask, because these signals have none. {checks.POLARITY}")
    return kind.draw_masks(spec, count, shape, settings["seed"])


def _matching(complete: data.Signals, names: list[str] | None, positions: np.ndarray, source: str):
    """Return positions among complete signals, by the names of damaged ones or by their positions."""
    if names and complete.names:
        found = {PurePath(name).with_suffix(""): i for i, name in enumerate(complete.names)}
        missing = [name for name in names if PurePath(name).with_suffix("") not in found]
        if missing:
            raise ValueError(
                f"--truth: expected signals of the same names, found none for {len(missing)} in "
                f"{source!r}, the first of them {missing[0]!r}."
            )
        return [found[PurePath(name).with_suffix("")] for name in names]
    if positions.max() >= len(complete.train):
        raise ValueError(
            f"--truth: expected {positions.max() + 1} signals in the order of the damaged ones, "
            f"received {len(complete.train)} from {source!r}."
        )
    return positions


def recover(model, damaged: Damaged, samples: int | None, seed: int, **several: int) -> Recovered:
    """Recover signals, once or by the mean of several samples.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        damaged: observed parts of the signals.
        samples: number of samples of each signal; None for a single reconstruction.
        seed: seed of inference.
        **several: for a `Generator`: `restarts` of `reconstruct` or `chains` of `sample_posterior`.
    """
    if damaged.mask is None:
        ask, inputs = model.reconstruct, (model.observe(damaged.signal),)
    else:
        ask, inputs = model.inpaint, (damaged.signal, damaged.mask)
    if samples is None:
        return Recovered(_clipped(ask(*inputs, seed=seed, **several)))
    if isinstance(model, Generator):
        several = {"chains": samples, **several}
        drawn = model.sample_posterior(*inputs, seed=seed, samples=samples, **several)
        return Recovered(_clipped(drawn.mean), drawn.deviation, drawn)
    count = len(damaged.signal)
    found = [ask(*inputs, seed=seed + number * count) for number in range(samples)]
    # In double precision the mean of equal entries is exactly that entry, and their deviation 0.
    mean, deviation = (of(found, axis=0, dtype=np.float64) for of in (np.mean, np.std))
    return Recovered(_clipped(mean.astype(np.float32)), deviation.astype(np.float32))


def _clipped(signal: np.ndarray) -> np.ndarray:
    """Return signals clipped to [-1, 1], the range of files; samples of energies may leave it."""
    return np.clip(signal, -1, 1)


def errors(damaged: Damaged, recovered: np.ndarray) -> dict:
    """Return the errors on hidden entries, or on all entries where an operator observed the signals.

    Returns:
        `mae_per_range` and `psnr`; both None where the truth is not known.
    """
    truth, mask = damaged.truth, damaged.mask
    if truth is None:
        return {"mae_per_range": None, "psnr": None}
    if mask is None:
        return {
            "mae_per_range": metrics.absolute_error(truth, recovered),
            "psnr": metrics.psnr(truth, recovered),
        }
    some = ~mask.all(axis=tuple(range(1, mask.ndim)))  # a signal without hidden entries has no PSNR
    return {
        "mae_per_range": metrics.recovery_error(truth, recovered, mask),
        "psnr": metrics.psnr(truth[some], recovered[some], ~mask[some]),
    }


def convergence(drawn: PosteriorSamples | None) -> dict:
    """Return R-hat and effective sample sizes as `CONVERGENCE` names them; all None without samples."""
    found = {}
    for name, (field, of) in CONVERGENCE.items():
        values = np.array([]) if drawn is None else getattr(drawn, field)
        values = values[np.isfinite(values)]
        found[name] = float(of(values)) if values.size else None
    return found


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
    if found.deviation is not None:
        arrays["deviation"] = found.deviation
        for name, one in zip(damaged.names, found.deviation, strict=True):
            damaged.kind.save_deviation(out / "deviation" / name, one, damaged.header)
    for folder, part in shown.items():
        for name, signal in zip(damaged.names, part, strict=True):
            damaged.kind.save(out / folder / name, signal, damaged.header)
    if found.deviation is not None and damaged.kind.deviation_drawn:
        # Values in [-1, 1] have a standard deviation in [0, 1], drawn from black to white.
        shown["deviation"] = 2 * found.deviation - 1
    if damaged.truth is not None:
        shown["truth"] = damaged.truth
    report.save_rows(
        out / "grid.png", damaged.kind, {key: part[:_SHOWN] for key, part in shown.items()}
    )
    with files.aside(out / "recovery.npz") as path:
        np.savez_compressed(path, name=np.array(damaged.names), **arrays)


if __name__ == "__main__":
    programs.run(main)

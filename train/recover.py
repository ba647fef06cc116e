"""Fill in what is hidden of images, with the model of a run: python -m train.recover --help."""

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

# Images in the grid.
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
    """Images to recover.

    Attributes:
        signal: float32 `[n, h, w, c]`; hidden entries may hold anything.
        mask: bool `[n, h, w]`, 1 = observed; None: the operator of the run observes the images.
        truth: the whole images; None: it is not known.
        names: of the files to write, without suffixes.
        kind: of signal.
        header: what their files hold besides; see `data.Signals`.
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


# Of the program, by name.
OPTIONS = {
    "run": Option(str, "directory of the run", required=True, form="DIR"),
    "data": Option(
        str,
        "the signals: a source as of train.generator, brought to the form of the run's own; or train, "
        "or test, for those of the run, with its masks",
        required=True,
        form="SOURCE",
    ),
    "mask": options.masking(
        [signals.get(name) for name in signals.names()],
        "what is hidden; the truth is known where it is hidden by this program",
    ),
    "truth": Option(str, "the same signals complete, where --data holds damaged ones", form="SOURCE"),
    "samples": Option(
        at_least(2),
        "recover by the mean of K samples, and write how much they deviate: of a generator, samples of "
        "the posterior; of other models, completions with K seeds",
        form="K",
    ),
    "chains": Option(
        positive(int),
        "of a generator: chains that the samples of a signal come from, a divisor of K; by default one "
        "for each; fewer take less time. R-hat needs 2 chains of 4 samples, the effective sample size "
        "chains of 10",
        form="C",
    ),
    "restarts": Option(
        at_least(2),
        "of a generator: infer latents by K chains and keep those of least energy, where chains get "
        "stuck; not with --samples",
        form="K",
    ),
    "count": Option(positive(int), "signals, at most", 100),
    "seed": Option(int, "of inference, and of masks that are drawn", 0),
    "out": Option(
        str,
        "directory to write, new or empty: observed/, recovered/, deviation/, grid.png, recovery.npz "
        "and recovery.json",
        required=True,
        form="DIR",
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    return parsing.plain(
        "train.recover",
        "Recover damaged signals with the model of a run: files of what was observed, of what was "
        "recovered and of how uncertain it is; and, where the truth is known, the errors on hidden "
        "entries. Of a run with --observe, signals are observed by its operator.",
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
        raise ValueError("--restarts: with --samples all chains are answers. Give one of the two.")
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
            f"--{'/'.join(several)}: a {type(model).__name__} has no chains of latents to choose from; "
            "only a Generator has. Leave it out."
        )
    damaged = load(run, model, arguments)
    if damaged.mask is not None and damaged.mask.all():
        raise ValueError(f"--mask: nothing is hidden, so nothing can be recovered. {checks.POLARITY}")
    found = recover(model, damaged, arguments.samples, arguments.seed, **several)
    told = {
        **{name: value for name, value in vars(arguments).items() if name != "out"},
        "images": len(damaged.signal),
        "hidden": None if damaged.mask is None else float(1 - damaged.mask.mean()),
        **errors(damaged, found.signal),
        **convergence(found.drawn),
    }
    write(out, model, damaged, found)
    files.write_json(out / "recovery.json", told)
    for name in ("images", "hidden", "mae_per_range", "psnr", *CONVERGENCE):
        if told[name] is not None:
            print(f"{name:26}{told[name]:10.4g}")
    if damaged.truth is None:
        print("no errors: the truth is not known; give it as --truth SOURCE")
    print(f"written: {out}")
    return 0


def load(run: runs.Run, model, arguments: argparse.Namespace) -> Damaged:
    """Load the images that the options name, their masks, and the truth if it is known.

    Raises:
        ValueError: images, masks and truth do not fit each other or the run.
    """
    settings, spec, count = run.config["settings"], arguments.mask, arguments.count
    own = arguments.data in ("train", "test")
    observed = settings.get("observe")
    if observed and spec:
        raise ValueError(f"--mask: images are observed by the run's own {observed!r}. Leave it out.")
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
        raise ValueError("--data: the run has no test images. Give train, or another source.")
    places = mask_files.places(images)[arguments.data == "test"]
    names = images.names and [images.names[place] for place in places]
    mask, truth = part.mask, part.signal
    if mask is not None:
        truth = None
        if spec and not stored:
            raise ValueError("--mask: the run's images have masks of their own. Leave it out.")
    elif not observed:
        mask = _drawn(kind, arguments, settings if own else {}, truth)
    if arguments.truth:
        # By names they may be anywhere among the images.
        complete = like(arguments.truth, limit=None if own or names else count)
        truth = complete.train[_matching(complete, names, places, arguments.truth)]
    return Damaged(
        part.signal[:count],
        None if mask is None else mask[:count],
        None if truth is None else truth[:count],
        files.stems(names or [f"{place:05}" for place in places])[:count],
        kind,
        images.header,
    )


def _drawn(kind: signals.SignalKind, arguments, settings: dict, images: np.ndarray) -> np.ndarray:
    """Draw masks: those that were asked for, or those of the run, as it draws them itself."""
    count, shape = len(images), images.shape[1:]
    if arguments.mask:
        return kind.draw_masks(arguments.mask, count, shape, arguments.seed)
    spec = settings.get("mask")
    if spec is None or mask_files.is_stored(spec):
        raise ValueError(f"--mask: nothing says what is hidden of these images. {checks.POLARITY}")
    return kind.draw_masks(spec, count, shape, settings["seed"])


def _matching(complete: data.Signals, names: list[str] | None, places: np.ndarray, source: str):
    """Return where the images of these names, or else of these places, are among complete ones."""
    if names and complete.names:
        found = {PurePath(name).with_suffix(""): place for place, name in enumerate(complete.names)}
        missing = [name for name in names if PurePath(name).with_suffix("") not in found]
        if missing:
            raise ValueError(
                f"--truth: expected images of the same names, found none for {len(missing)} in "
                f"{source!r}, the first of them {missing[0]!r}."
            )
        return [found[PurePath(name).with_suffix("")] for name in names]
    if places.max() >= len(complete.train):
        raise ValueError(
            f"--truth: expected {places.max() + 1} images in the order of the damaged ones, received "
            f"{len(complete.train)} from {source!r}."
        )
    return places


def recover(model, damaged: Damaged, samples: int | None, seed: int, **several: int) -> Recovered:
    """Recover images, by the mean of several samples if they are asked for.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        damaged: what is known of the images.
        samples: their number; None: the model's one best answer.
        seed: of inference.
        **several: of a `Generator`: `restarts`, or `chains` of the samples, by default as many.
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
    # In double precision the mean of equal entries is that entry, and their deviation 0.
    mean, deviation = (of(found, axis=0, dtype=np.float64) for of in (np.mean, np.std))
    return Recovered(_clipped(mean.astype(np.float32)), deviation.astype(np.float32))


def _clipped(signal: np.ndarray) -> np.ndarray:
    """Return signals as they are written: energies do not keep their samples inside the range."""
    return np.clip(signal, -1, 1)


def errors(damaged: Damaged, recovered: np.ndarray) -> dict:
    """Measure the errors on hidden entries, which all are where an operator observed; None: unknown."""
    truth, mask = damaged.truth, damaged.mask
    if truth is None:
        return {"mae_per_range": None, "psnr": None}
    if mask is None:
        return {
            "mae_per_range": metrics.absolute_error(truth, recovered),
            "psnr": metrics.psnr(truth, recovered),
        }
    some = ~mask.all(axis=tuple(range(1, mask.ndim)))  # of an image that is whole there is no ratio
    return {
        "mae_per_range": metrics.recovery_error(truth, recovered, mask),
        "psnr": metrics.psnr(truth[some], recovered[some], ~mask[some]),
    }


def convergence(drawn: PosteriorSamples | None) -> dict:
    """Return R-hat and effective sample sizes as `CONVERGENCE` names them; None: nothing to tell by."""
    found = {}
    for name, (field, of) in CONVERGENCE.items():
        values = np.array([]) if drawn is None else getattr(drawn, field)
        values = values[np.isfinite(values)]
        found[name] = float(of(values)) if values.size else None
    return found


def write(out: Path, model, damaged: Damaged, found: Recovered) -> None:
    """Write pictures by name, a grid of the first ones, and arrays."""
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
        # Values in [-1, 1] have a standard deviation in [0, 1]: black to white.
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

"""Recover hidden or indirectly observed signals: python -m train.recover --help."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import Generator, checks, data, files, programs, qualities, runs, signals
from abp_tf.data.examples import digest
from abp_tf.display import pictures
from abp_tf.options import Option, at_least, positive
from abp_tf.results import PosteriorSamples

from . import options, parsing, report, tally
from .damaged import Archive, Damaged, load
from .merging import SHOWN, merge
from .parts import WHOLE, Parts, shard

# Largest number of signals of a part, and of the entries of their samples, which bounds memory.
_ROWS, _ENTRIES = 100, 2**25
# Largest number of signals without --count, unless they are shared out.
_COUNT = 100
# Options that results do not depend on.
_APART = ("out", "shard", "merge")


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
    "count": Option(
        positive(int), f"largest number of signals; by default {_COUNT}, with --shard and --merge all"
    ),
    "seed": Option(int, "seed of inference and of random masks", 0),
    "shard": Option(
        shard,
        "recover share I of N of the signals, beside other processes with the same --out; a share that "
        "was stopped goes on",
        form="I/N",
    ),
    "merge": Option(bool, "write the results of all shares, with the same options otherwise", False),
    "out": Option(
        str,
        "directory for the results, new, empty or not finished: observed/, recovered/, deviation/, of "
        "fields one file each; grid.png, recovery.npz and recovery.json; where the truth is known, "
        "reliability.png with --samples",
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
    check(arguments, out)
    if arguments.merge:
        parts = Parts.open(out)
        parts.check(described(arguments))
    else:
        parts = work(arguments, out)
    if arguments.shard is None:
        merge(parts, out, described(arguments))
    return 0


def check(arguments: argparse.Namespace, out: Path) -> None:
    """Check options that do not depend on the run.

    Raises:
        FileExistsError: if the directory of the results holds other things.
        ValueError: if options do not fit each other.
    """
    if files.taken(out) and not Parts.unfinished(out):
        raise FileExistsError(
            f"--out: expected a directory that is new or empty, but {arguments.out!r} is not. Nothing "
            "was changed."
        )
    if arguments.chains and (not arguments.samples or arguments.samples % arguments.chains):
        raise ValueError(
            f"--chains: expected a divisor of --samples {arguments.samples}, received "
            f"{arguments.chains}."
        )
    if arguments.merge and arguments.shard:
        raise ValueError(
            f"--merge: expected no --shard, received {arguments.shard}. Run all shares, then merge."
        )
    if arguments.count is None and not (arguments.merge or arguments.shard):
        arguments.count = _COUNT


def described(arguments: argparse.Namespace) -> dict:
    """Return the options that results depend on, by name."""
    return {name: value for name, value in vars(arguments).items() if name not in _APART}


def work(arguments: argparse.Namespace, out: Path) -> Parts:
    """Recover those parts of a share that are not there yet; return all parts.

    Raises:
        ValueError: if options, signals and model do not fit each other.
    """
    run = runs.Run.open(arguments.run)
    model = run.load_model()
    several = {name: getattr(arguments, name) for name in ("quality", "chains")}
    several = {name: value for name, value in several.items() if value}
    if several and not isinstance(model, Generator):
        raise ValueError(
            f"--{'/'.join(several)}: expected the run of a Generator, received that of a "
            f"{type(model).__name__}, which has no chains of latents. Leave the option out."
        )
    archive = load(run, model, arguments)
    about = {
        **described(arguments),
        "signals": len(archive),
        "rows": rows(model, arguments),
        "names": digest("\n".join(archive.names).encode()),
        "model": files.digest(run.weights_path),
        "kind": archive.kind.name,
        "header": dict(archive.header),
    }
    check_hidden(archive, about["rows"])
    parts, share = Parts.begin(out, about), arguments.shard or WHOLE
    for part in parts.missing(share):
        numbers = parts.numbers(part)
        if len(parts) > 1:
            print(f"signals {numbers[0] + 1} to {numbers[-1] + 1} of {len(archive)}", flush=True)
        readable, damaged = archive.rows(numbers)
        skipped = [archive.names[number] for number in np.setdiff1d(numbers, readable)]
        if not len(readable):
            parts.write(part, share, {}, Counter(), skipped)
            continue
        seeds = [arguments.seed + readable + k * len(archive) for k in range(arguments.samples or 1)]
        found = recover(model, damaged, arguments.samples, seeds, **several)
        found = found._replace(signal=shown(damaged, found.signal))
        sums = tally.sums(model, damaged, found.signal, found.drawn)
        arrays = write(out, model, damaged, found, numbers[0] < SHOWN)
        parts.write(part, share, arrays, sums, skipped)
    if arguments.shard:
        print(f"share {share} is done; {len(parts.missing())} of {len(parts)} parts are missing")
    return parts


def rows(model, arguments: argparse.Namespace) -> int:
    """Return the number of signals of a part."""
    usual = qualities.QUALITIES[arguments.quality or qualities.DEFAULT].samples
    samples = arguments.samples or (usual if isinstance(model, Generator) else 1)
    return max(1, min(_ROWS, _ENTRIES // (samples * int(np.prod(model.signal_shape)))))


def check_hidden(archive: Archive, count: int) -> None:
    """Refuse masks that hide nothing, those of all signals or, if they are drawn, of the first ones."""
    masks = archive.part.mask
    if archive.draw is not None or isinstance(masks, data.LazyRows):
        masks = archive.rows(np.arange(min(count, len(archive))))[1].mask
    if masks is not None and masks[: len(archive)].all():
        raise ValueError(
            f"--mask: expected a mask with hidden entries, but nothing is hidden. {checks.POLARITY}"
        )


def recover(
    model, damaged: Damaged, samples: int | None, seeds: list[np.ndarray], **several: int
) -> Recovered:
    """Recover signals by the median of several samples, or once.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        damaged: observed parts of the signals.
        samples: number of samples of each signal; None means that of the quality, or with other models
            than a `Generator` a single completion.
        seeds: seeds of the signals `[n]`; of other models than a `Generator`, for each completion.
        **several: for a `Generator`: `quality` and `chains` of `sample_posterior`.
    """
    if damaged.mask is None:
        ask, given = model.reconstruct, model.observe(damaged.signal)
    else:
        ask, given = model.inpaint, damaged.given
    if isinstance(model, Generator):
        several = {"samples": samples, "chains": samples, **several}
        drawn = model.sample_posterior(given, seed=seeds[0], **several)
        return Recovered(_clipped(model, drawn.median), drawn)
    if samples is None:
        return Recovered(_clipped(model, ask(given, seed=seeds[0])))
    found = np.stack([ask(given, seed=seed) for seed in seeds], axis=1)
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


def write(out: Path, model, damaged: Damaged, found: Recovered, first: bool) -> dict[str, np.ndarray]:
    """Write signals as files, each its own, and return arrays of them for the results of all signals.

    Args:
        out: directory to write to.
        model: model that recovered the signals.
        damaged: observed parts of the signals.
        found: recovered signals.
        first: whether the signals are among those of the grid.

    Returns:
        arrays of recovery.npz; those that `merge` needs of the samples; and signals for files and the
        grid, whose names begin with "shown_".
    """
    kind, shown = damaged.kind, {}
    arrays = {"name": np.array(damaged.names), "recovered": found.signal}
    if damaged.mask is not None:
        shown["observed"] = pictures.visible(damaged.signal, damaged.mask)
        arrays["mask"] = damaged.mask
    else:
        arrays["observed"] = model.observe(damaged.signal)
        observed = report.observed_images(model, damaged.signal)
        shown |= {} if observed is None else {"observed": observed}
    shown["recovered"] = found.signal
    if found.drawn is not None:
        shown["deviation"] = arrays["deviation"] = found.drawn.deviation
        for name in ("r_hat", "effective_samples"):
            if getattr(found.drawn, name) is not None:
                arrays[name] = getattr(found.drawn, name)
    if not kind.together:
        for folder, part in shown.items():
            save = kind.save_deviation if folder == "deviation" else kind.save
            for name, signal in zip(damaged.names, part, strict=True):
                save(out / folder / name, signal, damaged.header)
    elif damaged.time is not None:
        arrays["time"] = damaged.time
    if first and damaged.truth is not None:
        shown["truth"] = damaged.truth
    kept = shown if first else {"observed": shown.get("observed")} if kind.together else {}
    return arrays | {f"shown_{name}": part for name, part in kept.items() if part is not None}


if __name__ == "__main__":
    programs.run(main)

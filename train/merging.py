"""Write the results of an archive from its parts, with one part after the other in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from abp_tf import files, signals
from abp_tf.display import pictures
from abp_tf.metrics.calibration import LEVELS
from abp_tf.results import PosteriorSamples

from . import report, tally
from .parts import Parts

# Number of signals in the grid.
SHOWN = 10
# Arrays of recovery.npz.
_ARRAYS = ("name", "recovered", "mask", "observed", "deviation")


def merge(parts: Parts, out: Path, settings: dict) -> None:
    """Write the results of all signals from those of the parts, and remove the parts.

    Args:
        parts: all parts.
        out: directory of the results.
        settings: options of the program that recovery.json keeps.

    Raises:
        ValueError: if parts are missing; the message names the shares to run again.
    """
    parts.check_complete()
    kind, header = signals.get(parts.about["kind"]), parts.about["header"]
    total = parts.sums()
    if not total["images"]:
        raise ValueError(f"None of {parts.about['signals']} signals can be read.")
    write_grid(out, parts, kind, header)
    if kind.together:
        write_together(out, parts, kind, header)
    if coverage := tally.coverage(total):
        title = f"Intervals of {total['samples'] // total['images']} samples"
        pictures.save_png(out / "reliability.png", pictures.reliability(LEVELS, coverage, title))
    parts.save(out / "recovery.npz", list(_ARRAYS), total["images"])
    told = {**tally.figures(total), **tally.convergence(diagnostics(parts))}
    files.write_json(out / "recovery.json", {**settings, **told, "skipped": parts.skipped()})
    parts.remove()
    files.clean(out)
    for name, value in told.items():
        if value is not None:
            print(f"{name:26}{value:10.4g}")
    if told["mae_per_range"] is None:
        print("no errors: the complete signals are not known; give them by --truth SOURCE")
    print(f"written: {out}")


def write_grid(out: Path, parts: Parts, kind: signals.SignalKind, header: dict) -> None:
    """Draw the first signals: what was observed, what was recovered, its deviation and the truth."""
    names = [f"shown_{name}" for name in ("observed", "recovered", "deviation", "truth")]
    found: dict[str, list] = {}
    for part in first(parts.read(*names)):
        for name, array in part.items():
            found.setdefault(name.removeprefix("shown_"), []).append(array)
    grid = {name: np.concatenate(arrays)[:SHOWN] for name, arrays in found.items()}
    if "deviation" in grid:
        # Values in [-1, 1] have a standard deviation in [0, 1], drawn from black to white.
        grid["deviation"] = 2 * grid["deviation"] - 1
        if not kind.deviation_drawn:
            del grid["deviation"]
    report.save_rows(out / "grid.png", kind, grid, header)


def first(parts: Iterator[dict]) -> Iterator[dict]:
    """Yield the first parts, until they have the signals of the grid."""
    seen = 0
    for part in parts:
        if seen >= SHOWN or "shown_recovered" not in part:
            return
        yield part
        seen += len(part["shown_recovered"])


def write_together(out: Path, parts: Parts, kind: signals.SignalKind, header: dict) -> None:
    """Write one file of all observed, recovered and deviating values, of a kind that has such files."""
    names, times = [], []
    for part in parts.read("name", "time"):
        names += part["name"].tolist()
        times += part["time"].tolist() if "time" in part else []
    for name, what in (("shown_observed", ""), ("recovered", ""), ("deviation", "deviation of ")):
        if next(parts.read(name), None):
            found = (part[name] for part in parts.read(name))
            path = out / name.removeprefix("shown_")
            kind.save_all(path, found, names, header, np.array(times) if times else None, what)


def diagnostics(parts: Parts) -> PosteriorSamples:
    """Return R-hat and effective sample sizes of all signals, without the samples."""
    found: dict[str, list] = {"r_hat": [], "effective_samples": []}
    for part in parts.read(*found):
        for name, array in part.items():
            found[name].append(array)
    joined = {name: np.concatenate(arrays) for name, arrays in found.items() if arrays}
    return PosteriorSamples(None, None, None, **joined)

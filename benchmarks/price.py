"""Compare methods of recovery by error and time: python -m benchmarks.price --help.

Every method recovers the same unseen images at several costs: a generator at its qualities, with an
encoder and without, and by the long chains of `benchmarks.recovery`; CoopNets; a VAE by descent and by
pseudo-Gibbs sampling; PCA. Errors are MAE/range on hidden entries. Models are stored in the run
directory, so that only times are measured again. Times are those of this machine, of one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np

from abp_tf import Generator, files, programs, qualities
from abp_tf.metrics.calibration import calibration

from . import cells, methods, recovery

CASES = ("fashion pepper:0.5", "fashion pepper:0.9", "fashion block:13", "olivetti pepper:0.9")
METHODS = ("ABP", "VAE", "PCA", "CoopNets")
# Number of images whose time is not counted, because functions are compiled for them.
FIRST = 2


def learned(name: str, case: str, arguments) -> tuple[object, dict, methods.Data]:
    """Return a model of a case, learned or read from the run directory, with settings and data."""
    source, mask = case.split()
    data = recovery.load(source, arguments.quick)
    dtype = "mixed_bfloat16" if name in ("ABP", "CoopNets") else None
    settings = methods.settings(name, source, arguments.quick, dtype, mask)
    if name == "ABP":
        settings["encoder"] = True
    key = {**settings, "data": source, "images": len(data.train), "learned_with": mask}
    folder = cells.folder_of(arguments.run, f"{case}-{name}".replace(" ", "-").replace(":", ""), key)
    path = folder / "model.keras"
    if path.exists():
        return keras.saving.load_model(path), settings, data
    print(f"[{case}, {name}] {settings}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    masks = recovery.drawn(mask, data.train, 0)
    model, seconds = methods.timed(methods.METHODS[name].learn, settings, data.train, masks)
    files.write_json(folder / "learned.json", {"seconds": seconds, "settings": key})
    if isinstance(model, keras.Model):
        model.save(path)
    return model, settings, data


def without_encoder(model: Generator) -> Generator:
    """Return a generator of the same weights whose chains begin at draws from the prior."""
    other = Generator.from_config({**model.get_config(), "encoder": False})
    for one, given in zip(other.exported_layers, model.exported_layers, strict=False):
        one.set_weights(given.get_weights())
    return other


def ways(name: str, model, settings: dict) -> dict[str, Callable]:
    """Return functions that recover images under a mask, by label."""
    if name == "ABP":
        cold = without_encoder(model)
        count, chains = settings["samples"], settings["chains"]

        def long(images, mask):
            options = {"samples": count, "chains": chains}
            return cold.sample_posterior(images, mask, quality="best", **options).median

        short = {
            f"ABP, {start}: {quality}": _inpaint(one, quality)
            for start, one in (("encoder", model), ("prior", cold))
            for quality in qualities.QUALITIES
        }
        return {**short, f"ABP, prior: {count} draws of {chains} chains": long}
    if name == "VAE":
        return {
            f"VAE{label}": way
            for steps in (20, 50, 200)
            for label, way in _of_vae(model, settings, steps).items()
        }
    found = methods.METHODS[name].ways(model, settings)
    return {f"{name}: {label}": way for label, way in found.items()}


def _inpaint(model: Generator, quality: str) -> Callable:
    return lambda images, mask: model.inpaint(images, mask, quality=quality)


def _of_vae(model, settings: dict, steps: int) -> dict[str, Callable]:
    by = partial(methods.by, model, settings)
    found = {f", descent: {steps} steps": by("gradient", steps)}
    if steps < settings["inference_steps"]:
        return found
    gibbs = by("gibbs", settings["passes"])
    for count in (settings["samples"], 4 * settings["samples"]):
        found[f", pseudo-Gibbs: median of {count}"] = methods.median(gibbs, count)
    return {**found, ", pseudo-Gibbs: one": gibbs}


def calibrated(model: Generator, images: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return the coverage of 90 % intervals of samples from short chains and from long ones."""
    hidden = ~np.broadcast_to(mask[..., None], images.shape)
    found = {}
    for start, one in (("encoder", model), ("prior", without_encoder(model))):
        drawn = one.sample_posterior(images, mask, quality="best")
        found[start] = float(calibration(images, drawn, hidden, levels=(0.9,)).coverage[0])
    return found


def compare(case: str, arguments) -> list[dict]:
    """Recover the images of a case by all methods; return a row for each way."""
    rows = []
    for name in arguments.methods:
        model, settings, data = learned(name, case, arguments)
        if arguments.learn:
            continue
        images = data.test[: 10 if arguments.quick else arguments.images]
        mask = recovery.drawn(case.split()[1], images, 1)
        for label, way in ways(name, model, settings).items():
            way(images[:FIRST], mask[:FIRST])
            found, seconds = methods.timed(way, images, mask)
            row = {"case": case, "way": label, "seconds": 1000 * seconds / len(images)}
            rows.append({**row, "error": recovery.errors(images, found, mask)["mae"]})
            print(f"  {rows[-1]}", flush=True)
        if name == "ABP":
            for start, share in calibrated(model, images, mask).items():
                rows.append({"case": case, "way": f"ABP, {start}: best", "coverage": share})
                print(f"  {rows[-1]}", flush=True)
    return rows


def draw(rows: list[dict], path: Path) -> None:
    """Draw a curve of error against seconds for each method, a panel for each case."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(5 * len(cases), 4), layout="constrained")
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        own = [row for row in rows if row["case"] == case and "error" in row]
        for name in dict.fromkeys(row["way"].partition(":")[0] for row in own):
            of = sorted((r["seconds"], r["error"]) for r in own if r["way"].partition(":")[0] == name)
            axes.plot(*zip(*of, strict=True), marker="o", label=name)
        axes.set(
            title=case,
            xlabel="seconds per 1 000 images",
            ylabel="MAE/range",
            xscale="log",
            yscale="log",
        )
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def tables(rows: list[dict]) -> str:
    """Return a Markdown table of all ways for each case."""
    found = []
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        coverage = {row["way"]: row["coverage"] for row in own if "coverage" in row}
        lines = [
            [
                row["way"],
                f"{row['seconds']:.1f}",
                f"{row['error']:.4f}",
                f"{coverage[row['way']]:.1%}" if row["way"] in coverage else "",
            ]
            for row in own
            if "error" in row
        ]
        columns = ["way", "s per 1 000", "MAE/range", "coverage of 90 %"]
        found.append(f"{case}:\n\n{cells.table(columns, lines)}")
    return "\n\n".join(found)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.price", description=__doc__)
    add = parser.add_argument
    add("--run", type=Path, default=Path("runs/benchmarks/price"), help="directory [%(default)s]")
    add("--cases", nargs="+", choices=CASES, default=list(CASES), help="by default all")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="by default all")
    add("--images", type=int, default=200, help="number of images to recover [%(default)s]")
    add("--learn", action="store_true", help="learn the models and stop, to measure times later")
    add("--quick", action="store_true", help="few images and epochs, to show the form of the table")
    add("--results", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.run = arguments.run.with_name(arguments.run.name + "-quick")
    rows = [row for case in arguments.cases for row in compare(case, arguments)]
    if arguments.learn:
        return 0
    arguments.run.mkdir(parents=True, exist_ok=True)
    draw(rows, arguments.run / "price.png")
    if arguments.results:
        files.write_json(arguments.results, rows)
    print("\n" + tables(rows))
    print(f"\n{arguments.run}: price.png")
    return 0


if __name__ == "__main__":
    programs.run(main)

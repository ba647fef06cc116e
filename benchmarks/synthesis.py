"""Synthesis by every model, on Fashion-MNIST: python -m benchmarks.synthesis.

Distance is the Fréchet distance of classifier features between 2 000 syntheses (of a descriptor's pool
as many as it has chains, 1 000) and 1 000 unseen images; mean and spread are over seeds. Cells are
kept, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from abp_tf import files, metrics, pictures, programs
from train import coopnets, descriptor

from . import cells, fashion, reconstruction

COUNT = 2000
GENERATORS = {"plain ABP": reconstruction.PLAIN, "expanded ABP": reconstruction.EXPANDED}
ENERGIES = {
    "descriptor": (descriptor, {"epochs": 8}),
    "CoopNets": (coopnets, {"epochs": 8}),
    "CoopNets with latent steps": (coopnets, {"epochs": 8, "latent_steps": 10}),
}


def settle(name: str, seed: int) -> dict:
    """Return the settings that a model is learned with."""
    if name in GENERATORS:
        return {**GENERATORS[name], "seed": seed}
    program, given = ENERGIES[name]
    return program.settle({"data": "fashion_mnist", "seed": seed, **given})


def learn(name: str, settings: dict, data: fashion.Labelled) -> tuple[float, dict[str, Callable]]:
    """Learn a model; return the seconds it took, and its ways to synthesize."""
    if name in GENERATORS:
        model, seconds = reconstruction.train(settings, data)
        return seconds, {"from N(0, I)": model.synthesize}
    model = ENERGIES[name][0].build(settings, data.train.shape[1:], len(data.train))
    began = time.perf_counter()
    model.fit(data.train, batch_size=settings["batch_size"], epochs=settings["epochs"], verbose=2)
    seconds = time.perf_counter() - began
    if ENERGIES[name][0] is coopnets:
        return seconds, {
            "revised": model.synthesize,
            "generator": lambda count: model.synthesize(count, revised=False),
        }
    return seconds, {
        # As many as there are chains, each once.
        "pool": lambda count: model.synthesize(min(count, model.pool), from_noise=False),
        "from noise": model.synthesize,
    }


def measure(learned: tuple[float, dict], data: fashion.Labelled, extract, place: Path) -> dict:
    """Measure each way to synthesize; write its pictures, with the nearest training images."""
    seconds, ways = learned
    target = extract(data.test)
    found = {}
    for name, synthesize in ways.items():
        synthesize(100)  # traced
        began = time.perf_counter()
        drawn = np.clip(synthesize(COUNT), -1, 1)
        took = time.perf_counter() - began
        features = extract(drawn)
        found[name] = {
            "distance": metrics.frechet_distance(features, target),
            "kernel": metrics.kernel_distance(features, target),
            "seconds": seconds,
            "seconds_per_1000": 1000 * took / len(drawn),
        }
        file = name.partition("N(")[0].strip().replace(" ", "_")
        pictures.save_png(place / f"{file}.png", pictures.grid(drawn[:96], columns=12))
        few = drawn[:12]
        nearest = [data.train[np.argmin(((data.train - x) ** 2).sum((1, 2, 3)))] for x in few]
        beside = pictures.rows([few, np.stack(nearest)], ["synthesis", "nearest"])
        pictures.save_png(place / f"{file}_nearest.png", beside)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.synthesis", description=__doc__)
    parser.add_argument("--run", default="runs/benchmarks/synthesis", help="where cells are kept")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    names = [*GENERATORS, *ENERGIES]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run)
    data = fashion.load()
    extract = fashion.extractor(data, directory)

    figures: dict[str, list[dict]] = {}
    for seed in range(arguments.seeds):
        for name in arguments.models:
            settings = settle(name, seed)
            found = cells.cell(
                directory,
                f"{name.replace(' ', '-')}-{seed}",
                settings,
                lambda place, name=name, settings=settings: measure(
                    learn(name, settings, data), data, extract, place
                ),
            )
            for way, row in found.items():
                figures.setdefault(f"{name}, {way}", []).append(row)

    rows = []
    for name, found in figures.items():
        distances = [row["distance"] for row in found]
        rows.append(
            [
                name,
                f"{np.mean(distances):.1f}",
                f"{np.ptp(distances) / 2:.1f}" if len(found) > 1 else "one seed",
                f"{np.mean([row['kernel'] for row in found]):.2f}",
                f"{np.mean([row['seconds'] for row in found]):.0f}",
                f"{np.mean([row['seconds_per_1000'] for row in found]):.1f}",
            ]
        )
    columns = ["model", "distance", "±", "kernel", "training s", "s per 1 000"]
    print(f"\n{cells.table(columns, rows)}\n")
    marks = fashion.yardsticks(data, extract)
    print(cells.table(["yardstick", "distance"], [[k, f"{v:.1f}"] for k, v in marks.items()]))
    files.write_json(directory / "table.json", {"figures": figures, "yardsticks": marks})
    print(f"\nPictures: {directory}/*/*.png")
    return 0


if __name__ == "__main__":
    programs.run(main)

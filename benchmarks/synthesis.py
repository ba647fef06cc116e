"""Measure synthesis by every model, on Fashion-MNIST: python -m benchmarks.synthesis.

The distance is the Fréchet distance of classifier features between 2 000 syntheses (for the pool of a
descriptor 1 000, as many as it has chains) and 1 000 test images. Precision and recall are of the same
features, of 1 000 syntheses. Patches are compared with the nearest of training patches: above 1 for
grain, below 1 for blur. The finest power is that at wavelengths of 2 to 2.67 pixels, over that of test
images. Figures are means over seeds, with half of their range. The batch effect of an energy is the
largest change of an entry of a revised image with its batch. MAE/range is that of reconstructions of
test images. Cells are stored with pictures and model,
so that an interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from abp_tf import Generator, files, metrics, programs
from abp_tf.display import pictures
from train import coopnets, descriptor

from . import cells, fashion, reconstruction

SYNTHESES = 2000
QUICK = {"epochs": 1, "width": 4, "syntheses": 100}
GENERATORS = {
    "plain ABP": reconstruction.PLAIN,
    "expanded ABP": reconstruction.EXPANDED,
    "ABP with a learned prior": reconstruction.LEARNED_PRIOR,
}
# CoopNets with the energy and the drafts of the papers.
SCORE = {"energy": "score", "kernel_size": 5}
ENERGIES = {
    "descriptor": (descriptor, {"epochs": 8}),
    "CoopNets": (coopnets, {"epochs": 8}),
    "descriptor with a score": (descriptor, {"epochs": 8, "energy": "score"}),
    "CoopNets with a score": (coopnets, {"epochs": 8, **SCORE}),
    # Steps of 0.1, as published, overshoot here: energies rise, and drafts become poor (distance 164).
    # With batch normalization, as in the other models, latent steps do harm; see benchmarks/README.md.
    "CoopNets with latent steps": (
        coopnets,
        {"epochs": 8, **SCORE, "latent_steps": 10, "latent_step_size": 0.03, "batch_norm": True},
    ),
}


def settle(name: str, seed: int) -> dict:
    """Return the settings of a model."""
    common = {"syntheses": SYNTHESES}
    if name in GENERATORS:
        return {**GENERATORS[name], "seed": seed, **common}
    program, given = ENERGIES[name]
    return program.settle({"data": "fashion_mnist", "seed": seed, **given}) | common


class Learned(NamedTuple):
    """Hold a learned model.

    Attributes:
        model: the model.
        seconds: seconds of training.
        ways: functions by name from a number of images to syntheses.
    """

    model: keras.Model
    seconds: float
    ways: dict[str, Callable[[int], np.ndarray]]


def learn(name: str, settings: dict, data: fashion.Labelled) -> Learned:
    """Learn a model by its name and settings."""
    if name in GENERATORS:
        model, seconds = reconstruction.train(settings, data)
        return Learned(model, seconds, {"from the prior": model.synthesize})
    model = ENERGIES[name][0].build(settings, data.train.shape[1:], len(data.train))
    began = time.perf_counter()
    model.fit(data.train, batch_size=settings["batch_size"], epochs=settings["epochs"], verbose=2)
    seconds = time.perf_counter() - began
    if ENERGIES[name][0] is coopnets:
        ways = {
            "revised": model.synthesize,
            "generator": lambda count: model.synthesize(count, revised=False),
        }
    else:
        ways = {
            # At most the number of chains, each once.
            "pool": lambda count: model.synthesize(min(count, model.pool), from_noise=False),
            "from noise": model.synthesize,
        }
    return Learned(model, seconds, ways)


def batch_effect(model: keras.Model, images: np.ndarray) -> float:
    """Return the largest difference between images revised alone and in a batch, with equal noise."""
    together = model.refine(images)
    alone = np.concatenate([model.refine(x[None], seed=i) for i, x in enumerate(images)])
    return float(np.abs(together - alone).max())


def measure(
    learned: Learned, settings: dict, data: fashion.Labelled, extract: Callable, folder: Path
) -> dict:
    """Measure each way to synthesize, and write the model, syntheses and nearest training images."""
    learned.model.save(folder / "model.keras")
    found = {}
    energy = not isinstance(learned.model, Generator)
    if energy:
        own = {"batch_effect": batch_effect(learned.model, data.test[:20])}
    else:
        own = {"mae": metrics.absolute_error(data.test, learned.model.reconstruct(data.test))}
    for name, synthesize in learned.ways.items():
        synthesize(100)  # traces the function
        began = time.perf_counter()
        drawn = np.clip(synthesize(settings["syntheses"]), -1, 1)
        took = time.perf_counter() - began
        found[name] = {
            **fashion.figures(drawn, data, extract),
            "seconds": learned.seconds,
            "seconds_per_1000": 1000 * took / len(drawn),
            **own,
        }
        file = name.replace(" ", "_")
        pictures.save_png(folder / f"{file}.png", pictures.grid(drawn[:96], columns=12))
        few = drawn[:12]
        nearest = [data.train[np.argmin(((data.train - x) ** 2).sum((1, 2, 3)))] for x in few]
        beside = pictures.rows([few, np.stack(nearest)], ["synthesis", "nearest"])
        pictures.save_png(folder / f"{file}_nearest.png", beside)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.synthesis", description=__doc__)
    parser.add_argument(
        "--run", default="runs/benchmarks/synthesis", help="directory of the cells [%(default)s]"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds [3]")
    names = [*GENERATORS, *ENERGIES]
    usual = [name for name in names if not name.endswith("with a score")]
    parser.add_argument(
        "--models", nargs="+", choices=names, default=usual, help="models; by default %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="use a tenth of the data and one epoch")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))
    data = fashion.load(arguments.quick)
    extract = fashion.extractor(data, directory)

    figures: dict[str, list[dict]] = {}
    for seed in range(arguments.seeds):
        for name in arguments.models:
            settings = settle(name, seed) | (QUICK if arguments.quick else {})
            found = cells.cell(
                directory,
                f"{name.replace(' ', '-')}-{seed}",
                settings,
                lambda folder, name=name, settings=settings: measure(
                    learn(name, settings, data), settings, data, extract, folder
                ),
            )
            for way, row in found.items():
                figures.setdefault(f"{name}, {way}", []).append(row)

    rows = []
    for name, found in figures.items():
        effects = [row["batch_effect"] for row in found if "batch_effect" in row]
        means = {key: np.mean([row[key] for row in found]) for key in found[0]}
        rows.append(
            [
                name,
                *fashion.shown(found),
                f"{means['seconds']:.0f}",
                f"{means['seconds_per_1000']:.1f}",
                f"{max(effects):.0e}" if effects else "",
                f"{means['mae']:.4f}" if "mae" in means else "",
            ]
        )
    measures = [key.replace("_", " ") for key in fashion.FIGURES]
    columns = ["model", *measures, "training s", "s per 1 000", "batch effect", "MAE/range"]
    print(f"\n{cells.table(columns, rows)}\n")
    marks = fashion.yardsticks(data, extract)
    rows = [[name, *fashion.shown([row])] for name, row in marks.items()]
    print(cells.table(["yardstick", *measures], rows))
    files.write_json(directory / "table.json", {"figures": figures, "yardsticks": marks})
    print(f"\nPictures: {directory}/*/*.png")
    return 0


if __name__ == "__main__":
    programs.run(main)

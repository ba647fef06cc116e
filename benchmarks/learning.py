"""Measure the time to a held-out error, by settings of learning: python -m benchmarks.learning --help.

Each way of learning a data set runs once for the same number of epochs, with a learning rate that falls
along a cosine. At the ends of some epochs the error of unseen signals is measured: the mean absolute
error as a share of the range, of the median of a few draws from the posterior on hidden entries, or, of
complete signals, that of their reconstruction. Seconds are those of the processor, all cores together,
without the measurements and the first iteration, in which functions are traced. Cells are stored, so
that an interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from abp_tf import Generator, Langevin, metrics, networks, programs

from . import cells, price, recovery, textures
from .kinds import folder

# Settings that all ways share, by data set. Networks are small, so that the whole takes half an hour.
IMAGES = {"latent_dim": 60, "width": 8, "hidden": 256, "sigma": 0.25, "mask": "pepper:0.9"}
DATA = {
    "clothes, nine in ten pixels hidden": {**IMAGES, "images": 3000, "epochs": 6, "points": 3},
    "faces, nine in ten pixels hidden": {**IMAGES, "images": 350, "epochs": 12, "points": 6},
    "crops of bricks": {
        "latent_channels": 3, "width": 8, "sigma": 0.15, "mask": None, "images": 24, "crop": 64,
        "epochs": 40, "points": 5,
    },
    "clothes, complete": {**IMAGES, "images": 3000, "epochs": 4, "points": 4, "mask": None},
}  # fmt: skip
# Ways of learning: settings that replace those of the first.
FIRST = {
    "steps": 3,
    "step_size": 0.5,
    "batch_size": 25,
    "rate": 4e-3,
    "encoder": None,
    "restarts": False,
}
WAYS = {
    "3 steps": {},
    "6 steps": {"steps": 6},
    "10 steps": {"steps": 10},
    "3 steps of 0.8": {"step_size": 0.8},
    "batch 50": {"batch_size": 50, "rate": 5.6e-3},
    "batch 100": {"batch_size": 100, "rate": 8e-3},
    "rate / 4": {"rate": 1e-3},
    "restarts": {"restarts": True},
}
# The same for crops, of which there are few; there is no encoder of them.
FEW = {"batch_size": 4}
FEW_WAYS = {**WAYS, "batch 50": {"batch_size": 8}, "batch 100": {"batch_size": 16}}
TESTED = 50


class Signals(NamedTuple):
    """Hold training signals and unseen ones, float32 `[n, h, w, c]`, with masks or None."""

    train: np.ndarray
    mask: np.ndarray | None
    test: np.ndarray
    test_mask: np.ndarray | None


def load(name: str, settings: dict) -> Signals:
    """Load the signals of a data set."""
    if name == "crops of bricks":
        with np.load(folder() / "seed_textures_224.npz") as stored:
            photo = stored["images"][list(stored["names"]).index("brick1")] / np.float32(127.5) - 1
        crops = [
            textures.crops({"crop": settings["crop"], "crops": count}, part)
            for count, part in ((settings["images"], photo[:128, :128]), (16, photo[128:, 128:]))
        ]
        return Signals(crops[0], None, crops[1], None)
    data = recovery.load("olivetti" if name.startswith("faces") else "fashion", False)
    train, test = data.train[: settings["images"]], data.test[:TESTED]
    if not settings["mask"]:
        return Signals(train, None, test, None)
    masks = [recovery.drawn(settings["mask"], one, seed) for seed, one in enumerate((train, test))]
    return Signals(train, masks[0], test, masks[1])


def build(settings: dict, signals: Signals) -> Generator:
    """Build and compile the model of a cell."""
    keras.utils.set_random_seed(settings["seed"])
    shape = signals.train.shape[1:]
    if "crop" in settings:
        channels, width = settings["latent_channels"], settings["width"]
        network = networks.texture_generator(
            shape, channels, width, padding="valid", dtype="mixed_bfloat16"
        )
    else:
        keys = ("latent_dim", "width", "hidden")
        given = {key: settings[key] for key in keys}
        network = networks.image_generator(shape, **given, dtype="mixed_bfloat16")
    step_size = settings["step_size"]
    model = Generator(
        network,
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], step_size),
        inference=Langevin(40, 0.5, cool=20),
        expansion=0.6,
        preconditioning=True,
        encoder=settings["restarts"],
        seed=settings["seed"],
    )
    iterations = settings["epochs"] * -(-len(signals.train) // settings["batch_size"])
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"], iterations, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate, beta_1=0.5))
    return model


def error(model: Generator, signals: Signals) -> float:
    """Return the error of the unseen signals, whose chains begin at draws from the prior."""
    if model.encoder is not None:
        model = price.without_encoder(model)
    truth, mask = signals.test, signals.test_mask
    if mask is None:
        return metrics.absolute_error(truth, model.reconstruct(truth, seed=0).clip(-1, 1))
    drawn = model.sample_posterior(truth, mask, samples=4, chains=2, seed=0)
    return metrics.recovery_error(truth, np.median(drawn.samples, axis=1).clip(-1, 1), mask)


class Curve(keras.callbacks.Callback):
    """Record the error of unseen signals, with the epochs and seconds of learning so far.

    Args:
        measure: function from the model to an error.
        every: epochs from one measurement to the next.
    """

    def __init__(self, measure: Callable[[Generator], float], every: int):
        super().__init__()
        self.measure, self.every, self.points = measure, every, []
        self._began = None

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Begin to count after the first iteration."""
        if self._began is None:
            self._began = time.process_time()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Measure; the clock stands still meanwhile."""
        if (epoch + 1) % self.every:
            return
        now = time.process_time()
        seconds = round(now - self._began, 1)
        point = {"epochs": epoch + 1, "seconds": seconds, "error": self.measure(self.model)}
        point |= {name: float(logs[name]) for name in ("latent_norm", "stability")}
        self.points.append(point)
        self._began += time.process_time() - now


class Restarts(keras.callbacks.Callback):
    """Restart the chains of all examples where the encoder says, every second epoch.

    Args:
        signals: the training signals.
    """

    def __init__(self, signals: Signals):
        super().__init__()
        self.signals = signals

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Draw new states from the encoder."""
        if epoch % 2 == 0:
            return
        model, signals = self.model, self.signals
        for at in range(0, len(signals.train), 500):
            numbers = np.arange(at, min(at + 500, len(signals.train)))
            seen, mask = signals.train[numbers], None
            if signals.mask is not None:
                mask = np.broadcast_to(signals.mask[numbers][..., None], seen.shape).astype(np.float32)
                seen = seen * mask
            (states,) = model.starts(tf.constant(seen), mask, numbers + 10**6 * epoch)
            model.table.write(numbers, states)


def learn(name: str, settings: dict) -> dict:
    """Learn one way; return the points of its curve."""
    signals = load(name, settings)
    model = build(settings, signals)
    every = settings["epochs"] // settings["points"]
    curve = Curve(lambda model: error(model, signals), every)
    callbacks = [Restarts(signals)] if settings["restarts"] else []
    data = signals.train
    data = data if signals.mask is None else {"signal": data, "mask": signals.mask}
    model.fit(
        data,
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        callbacks=[*callbacks, curve],
        verbose=0,
    )
    return {"points": curve.points}


def reached(points: list[dict], limit: float) -> dict | None:
    """Return the first point with at most an error, None if there is none."""
    return next((point for point in points if point["error"] <= limit), None)


def rows(found: dict[str, list[dict]]) -> list[list]:
    """Return a row for each way: least error, seconds and epochs to 5 and 2 % above the best."""
    best = min(point["error"] for points in found.values() for point in points)
    result = []
    for way, points in found.items():
        row = [way, f"{min(point['error'] for point in points):.4f}", points[-1]["seconds"]]
        for margin in (1.05, 1.02):
            point = reached(points, margin * best)
            row.append(f"{point['seconds']:.0f}, {point['epochs']}" if point else "not")
        result.append([*row, f"{points[0]['latent_norm']:.1f}"])
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.learning", description=__doc__)
    add = parser.add_argument
    add("--run", default="runs/benchmarks/learning", help="directory of the cells [%(default)s]")
    add("--data", nargs="+", choices=list(DATA), default=list(DATA), help="data sets; by default all")
    add("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="ways; by default all")
    add("--results", type=Path,
        help="JSON file of cells; its cells are not computed again, others are added")  # fmt: skip
    add("--quick", action="store_true", help="use few signals and two epochs")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))
    if arguments.results:
        cells.restore(directory, arguments.results)
    columns = ["way", "least error", "seconds in all", "within 5 %: seconds, epochs", "within 2 %",
               "‖z‖²/d at first"]  # fmt: skip
    for name in arguments.data:
        found = {}
        for way in arguments.ways:
            few = "crop" in DATA[name]
            if few and way == "restarts":
                continue
            own = {**FEW, **FEW_WAYS[way]} if few else WAYS[way]
            settings = {**DATA[name], **FIRST, **own, "seed": 0}
            if arguments.quick:
                settings |= {
                    "images": min(settings["images"], 60),
                    "epochs": 2,
                    "points": 2,
                    "width": 2,
                }

            def fill(_, name=name, settings=settings):
                return learn(name, settings)

            label = f"{name}-{way}".replace(", ", "-").replace(" ", "_").replace("/", "over")
            found[way] = cells.cell(directory, label, settings, fill)["points"]
        print(f"\n{name}\n\n{cells.table(columns, rows(found))}", flush=True)
    if arguments.results:
        cells.keep(directory, arguments.results)
    return 0


if __name__ == "__main__":
    programs.run(main)

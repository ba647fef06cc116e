"""What the training programs have in common: from options to a run directory with a learned model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras

from abp_tf import callbacks, data, files, runs, signals
from abp_tf.data.examples import Examples
from abp_tf.display.gallery import seen
from abp_tf.signals import SignalKind

from . import options, parsing

# What a resumed run may be given anew.
CHANGEABLE = {"epochs"}


class Recipe(NamedTuple):
    """What one training program does in its own way.

    Attributes:
        name: of the program, as config.json keeps it.
        description: what it does, for --help.
        table: makes its options for a kind of signal.
        settle: completes the options that were given to the settings of a run.
        build: makes and compiles the model from settings, the shape of a signal and the number of
            training examples.
        watchers: callbacks, from model, settings, images and the directory for TensorBoard.
        report: writes the pictures of the learned model and returns its figures, from model,
            settings, images and run.
    """

    name: str
    description: str
    table: Callable[[SignalKind], options.Table]
    settle: Callable[[dict], dict]
    build: Callable[[dict, tuple[int, ...], int], keras.Model]
    watchers: Callable[[keras.Model, dict, data.Images, Path], list[keras.callbacks.Callback]]
    report: Callable[[keras.Model, dict, data.Images, runs.Run], dict]


def learn(recipe: Recipe, argv: list[str] | None) -> int:
    """Begin a run, or go on with one; return the exit code of the program."""
    given = parsing.parse(recipe.name, recipe.description, recipe.table, argv)
    path, resume = given.pop("run"), given.pop("resume", False)
    if resume:
        run = runs.Run.open(path)
        settings = _resumed(recipe, run, given)
        images = run.load_images()
    else:
        settings = recipe.settle(given)
        images = runs.load_images(settings)
        settings = enough(settings, len(images.train))
    shape = images.train.shape[1:]
    model = recipe.build(settings, shape, len(images.train))
    training = Examples(seen(model, images.train), runs.training_mask(settings, images))
    watchers = recipe.watchers(model, settings, images, Path(path) / "logs")
    # Nothing is written before all of the above has succeeded.
    if not resume:
        run = runs.Run.create(path, recipe.name, settings, images)
    counts = f"{len(images.train)} training and {len(images.test)} test"
    print(f"{counts} {signals.get(images.kind).plural} of {shape}")

    began = time.perf_counter()
    try:
        model.fit(
            training.batch(),
            batch_size=settings["batch_size"],
            epochs=settings["epochs"],
            steps_per_epoch=settings["steps_per_epoch"],
            callbacks=[
                *watchers,
                callbacks.HistoryFile(run.path / "history.json"),
                keras.callbacks.TensorBoard(run.logs, write_graph=False),
                callbacks.Backup(run.model_path),
            ],
        )
    except KeyboardInterrupt:
        print(f"\nInterrupted. Continue with --run {path} --resume; evaluate it as it is.")
        return 130
    seconds = time.perf_counter() - began
    metrics = {"seconds": round(seconds, 1), **recipe.report(model, settings, images, run)}
    files.write_json(run.path / "metrics.json", metrics)
    print(f"Run {run.path}: model.keras, metrics.json, pictures/, logs/ (tensorboard --logdir {path})")
    return 0


def enough(settings: dict, examples: int) -> dict:
    """Return settings whose epochs have the least number of iterations, if none was given.

    Args:
        settings: of a run.
        examples: for training.
    """
    one_pass, least = -(-examples // settings["batch_size"]), settings["least_steps_per_epoch"]
    if settings["steps_per_epoch"] or one_pass >= least:
        return settings
    return {**settings, "steps_per_epoch": least}


def rate(settings: dict, examples: int, name: str = "learning_rate"):
    """Return a learning rate of the settings, or its schedule over the iterations of the run."""
    initial = settings[name]
    steps = settings["steps_per_epoch"] or -(-examples // settings["batch_size"])
    iterations = settings["epochs"] * steps
    if settings["schedule"] == "cosine":
        return keras.optimizers.schedules.CosineDecay(initial, iterations, alpha=0.05)
    if settings["schedule"] == "late-cosine":
        half = iterations // 2
        return keras.optimizers.schedules.CosineDecay(
            initial, iterations - half, alpha=0.1, warmup_target=initial, warmup_steps=half
        )
    return initial


def _resumed(recipe: Recipe, run: runs.Run, given: dict) -> dict:
    """Return the run's own settings, with what may change taken from the command line."""
    if run.config["program"] != recipe.name:
        raise ValueError(
            f"{run.path} is a run of train.{run.config['program']}; resume it with that program."
        )
    settings = run.config["settings"]
    for name, value in given.items():
        if name not in CHANGEABLE and settings.get(name) != value:
            raise ValueError(
                f"--resume goes on with the run's own settings: its {name} is {settings.get(name)!r}, "
                f"not {value!r}. Leave the option out, or begin another run."
            )
    return {**settings, **given}

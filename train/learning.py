"""Run a training program: from its options to a run directory with a learned model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras

from abp_tf import Scaling, callbacks, data, files, runs, signals
from abp_tf.data.examples import Examples
from abp_tf.display import gallery
from abp_tf.distribution import backup
from abp_tf.signals import SignalKind

from . import machines, options, parsing

# Settings that may change when a run is resumed.
CHANGEABLE = {"epochs"}


class Recipe(NamedTuple):
    """Describe the parts of one training program.

    Attributes:
        name: name of the program, which config.json stores.
        description: what the program does, for --help.
        table: function from a kind of signal to the options of the program.
        settle: function from the options that were given to all settings of a run.
        build: function from settings, the shape of a signal, the number of training examples and the
            scaling of their kind to a compiled model.
        callbacks: function from model, settings, signals and the directory for TensorBoard to the
            callbacks of `fit`.
        report: function from model, settings, signals and run that writes pictures of the learned
            model and returns its errors and scores by name.
    """

    name: str
    description: str
    table: Callable[[SignalKind], options.Table]
    settle: Callable[[dict], dict]
    build: Callable[[dict, tuple[int, ...], int, Scaling | None], keras.Model]
    callbacks: Callable[[keras.Model, dict, data.Images, Path], list[keras.callbacks.Callback]]
    report: Callable[[keras.Model, dict, data.Images, runs.Run], dict]


def learn(recipe: Recipe, argv: list[str] | None) -> int:
    """Start or resume a run, in this process or in several.

    Args:
        recipe: the training program.
        argv: words of its command line; None for those of the process.

    Returns:
        The exit code: 0, or 130 after an interruption from the keyboard.

    Raises:
        ValueError: options or data are not valid.
        FileExistsError: the directory of a new run is not empty.
        ProcessLostError: one of several processes has ended.
    """
    given = parsing.parse(recipe.name, recipe.description, recipe.table, argv)
    path, resume = Path(given.pop("run")), given.pop("resume", False)
    workers, strategy = given.pop("workers", 1), given.pop("strategy", None)
    machines.check(workers, strategy)
    run = runs.Run.open(path) if resume else None
    settings = _resumed(recipe, run, given) if run else recipe.settle(given)
    settings = divided(settings, given, max(workers, machines.processes(), 1))
    try:
        if workers == 1:
            _learn(recipe, path, run, settings, machines.scope(strategy))
        else:
            module = f"{__package__}.{recipe.name}"
            machines.start(module, parsing.without_workers(argv), workers)
    except KeyboardInterrupt:
        begun = f"Continue with --run {path} --resume, or evaluate the run as it is."
        print(f"\nInterrupted. {begun if runs.Run.begun(path) else 'Nothing was written.'}")
        return 130
    return 0


def _learn(recipe: Recipe, path: Path, run: runs.Run | None, settings: dict, scope) -> None:
    """Learn in this process, which may be one of several; the first one writes the run.

    Args:
        recipe: the training program.
        path: directory of the run.
        run: the run to resume; None for a new one.
        settings: settings of the run.
        scope: scope of the strategy to build the model in.
    """
    if run:
        images = run.load_images()
    else:
        images = runs.load_images(settings)
        settings = enough(settings, len(images.train))
        if "lazy" in settings:  # a run goes on as it began, also on another machine
            settings = {**settings, "lazy": isinstance(images.train, data.LazyRows)}
    shape, mask = images.train.shape[1:], runs.training_mask(settings, images)
    scaling = signals.get(images.kind).scaling(images, mask)
    with scope:
        model = recipe.build(settings, shape, len(images.train), scaling)
    training = gallery.given(model, Examples(images.train, mask, time=images.train_time))
    recorders = recipe.callbacks(model, settings, images, path / "logs")
    with model.replicas.readable_errors():
        # Nothing is written before everything so far has succeeded, in all processes.
        model.replicas.barrier()
        if model.replicas.chief:
            run = run or runs.Run.create(path, recipe.name, settings, images)
            counts = f"{len(images.train)} training and {len(images.test)} test"
            print(f"{counts} {signals.get(images.kind).plural} of {shape}")
            if settings.get("lazy"):
                print("They are read when they are needed; --no-lazy reads all of them at the start.")
        model.replicas.barrier()
        began = time.perf_counter()
        model.fit(
            training,
            batch_size=settings["batch_size"],
            epochs=settings["epochs"],
            steps_per_epoch=settings["steps_per_epoch"],
            callbacks=[
                *recorders,
                callbacks.HistoryFile(path / "history.json"),
                keras.callbacks.TensorBoard(path / "logs", write_graph=False),
                callbacks.Backup(path / "model.keras"),
            ],
        )
        if model.replicas.chief:
            seconds = round(time.perf_counter() - began, 1)
            whole = backup.gather(run.shards, run.model_path) if model.shards > 1 else model
            metrics = {"seconds": seconds, **recipe.report(whole, settings, images, run)}
            files.write_json(run.path / "metrics.json", metrics)
            written = "model.keras, metrics.json, pictures/, logs/"
            print(f"Run {run.path}: {written} (tensorboard --logdir {path})")
        model.replicas.barrier()  # the others wait, because the first one fails without them


def divided(settings: dict, given: dict, processes: int) -> dict:
    """Return settings with the number of shards, by default that of the processes.

    A default size of batches is raised to the next one that the shards can share.

    Args:
        settings: settings of a run.
        given: the options that were given.
        processes: number of processes that learn.

    Raises:
        ValueError: if processes cannot share the shards, or shards the batches.
    """
    shards = settings["shards"] or processes
    if shards % processes:
        raise ValueError(
            f"--shards: expected a multiple of the {processes} processes, received {shards}. A run "
            "keeps the number that it begins with: choose one that all numbers of processes to come "
            "divide, or another number of processes."
        )
    batch_size = -(-settings["batch_size"] // shards) * shards
    if given.get("batch_size", batch_size) != batch_size:
        raise ValueError(
            f"--batch-size: expected a multiple of the {shards} shards, each of which gives as many "
            f"examples to a batch, received {given['batch_size']}."
        )
    return {**settings, "shards": shards, "batch_size": batch_size}


def enough(settings: dict, examples: int) -> dict:
    """Return settings whose epochs have at least `least_steps_per_epoch` iterations.

    Args:
        settings: settings of a run; an explicit `steps_per_epoch` is kept.
        examples: number of training examples.
    """
    one_pass, least = -(-examples // settings["batch_size"]), settings["least_steps_per_epoch"]
    if settings["steps_per_epoch"] or one_pass >= least:
        return settings
    return {**settings, "steps_per_epoch": least}


def rate(settings: dict, examples: int, name: str = "learning_rate"):
    """Return a learning rate of the settings, or its schedule over the iterations of the run.

    Args:
        settings: settings of a run.
        examples: number of training examples.
        name: name of the setting that holds the initial learning rate.
    """
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
    """Return the settings of the run, with those that may change taken from the options.

    Raises:
        ValueError: the run belongs to another program, or an option differs from its setting.
    """
    if run.config["program"] != recipe.name:
        raise ValueError(
            f"--resume: expected a run of train.{recipe.name}, received {run.path}, a run of "
            f"train.{run.config['program']}. Resume it with that program."
        )
    settings = run.config["settings"]
    given = json.loads(json.dumps(given))  # as the settings are stored
    for name, value in given.items():
        if name not in CHANGEABLE and settings.get(name) != value:
            raise ValueError(
                f"--resume continues with the run's settings: its {name} is {settings.get(name)!r}, "
                f"not {value!r}. Leave the option out, or start another run."
            )
    return {**settings, **given}

"""Compare the programs' defaults with the best settings known: python -m benchmarks.defaults --help.

`train.generator` learns signals of each kind with no option but data, mask and epochs. The settings of
the other benchmarks learn the same signals, under the same masks, for as many passes or iterations.
Errors of both are measured alike: MAE/range on hidden entries, of unseen images by the median of a few
draws; for textures and sounds the distances of `benchmarks.kinds`. Seconds are those of the processor,
all cores together; those of a program include its error curves and pictures. Cells are stored, so that
an interrupted benchmark continues where it stopped. $ABP_TF_DATA names the folder of the data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

import abp_tf
from abp_tf import Langevin, data, metrics, programs, runs
from abp_tf.metrics import perceptual
from train import generator

from . import cells, methods, recovery, sounds, textures, videos
from .kinds import folder


class Learned(NamedTuple):
    """Hold what a program has learned from.

    Attributes:
        train: training signals, float32 `[n, ...]`.
        mask: their masks, bool, True where observed; None if all is observed.
        header: values beside them, such as the rate of sounds.
        iterations: number of iterations.
        epochs: number of epochs.
    """

    train: np.ndarray
    mask: np.ndarray | None
    header: dict
    iterations: int
    epochs: int


class Task(NamedTuple):
    """Describe one row of the table.

    Attributes:
        words: options of the program.
        best: function that learns what the program has learned by the best settings known.
        error: function from a model and what it has learned to its error.
    """

    words: str
    best: Callable[[Learned], keras.Model]
    error: Callable[[keras.Model, Learned], float]


# Images and faces.


def prepare(name: str, count: int, target: Path) -> Path:
    """Write the first training images of a data set to a file, which the program is given."""
    images = recovery.load(name, False).train[:count]
    path = target / f"{name}-{count}.npz"
    np.savez(path, images=data.to_uint8(images))
    return path


def best_images(name: str) -> Callable[[Learned], keras.Model]:
    """Return the function that learns images by the settings of `benchmarks.recovery`."""

    def learn(learned):
        settings = methods.settings("ABP", name, False, None, "pepper:0.9")
        if not settings["passes_per_epoch"]:
            settings["epochs"] = learned.epochs
        return methods.learn_abp(settings, learned.train, learned.mask)

    return learn


def image_error(name: str) -> Callable[[keras.Model, Learned], float]:
    """Return the function that measures the error of unseen images."""

    def measure(model, _):
        model.inference = Langevin(150, 0.5)
        truth = recovery.load(name, False).test[:50]
        mask = recovery.drawn("pepper:0.9", truth, 1)
        drawn = model.sample_posterior(truth, mask, samples=12, chains=4, seed=0)
        return metrics.recovery_error(truth, np.median(drawn.samples, axis=1).clip(-1, 1), mask)

    return measure


# One texture, one sound, one clip.


def photo() -> np.ndarray:
    """Return the photograph of bricks, float32 `[h, w, 3]` in [-1, 1]."""
    with np.load(folder() / "seed_textures_224.npz") as stored:
        return stored["images"][1] / np.float32(127.5) - 1


def best_texture(learned: Learned) -> keras.Model:
    """Learn a texture by the settings of `benchmarks.textures`."""
    settings = textures.settings("brick1", "generator", False)
    return textures.learn_generator({**settings, "iterations": learned.iterations}, photo())[0]


def texture_error(model: keras.Model, _: Learned) -> float:
    """Return the sliced Wasserstein distance of half of a synthesis to half of the photograph."""
    truth = photo()
    drawn = abp_tf.synthesize_at(model, truth.shape[:2], seed=1)[0]
    return textures.figures(drawn, truth)["wasserstein"]


def best_sound(learned: Learned) -> keras.Model:
    """Learn a sound by the settings of `benchmarks.sounds`."""
    settings = {**sounds.settings("sound1", "gap", False), "iterations": learned.iterations}
    return sounds.learn(settings, learned.train[0], learned.mask)[0]


def sound_error(model: keras.Model, learned: Learned) -> float:
    """Return the distance in dB of what fills the gap to the recording."""
    gap = np.flatnonzero(~learned.mask[0])
    found = model(model.latents).numpy()[0][gap[0] : gap[-1] + 1]
    return perceptual.spectrogram_distance(found, learned.train[0], learned.header["rate"])


def best_clip(learned: Learned) -> keras.Model:
    """Learn a clip by the settings of `benchmarks.videos`."""
    settings = {**videos.settings("fire", "missing frames", False), "iterations": learned.iterations}
    return videos.learn(settings, learned.train[0], learned.mask[0])[0]


def clip_error(model: keras.Model, learned: Learned) -> float:
    """Return MAE/range on the hidden frames."""
    found = model(model.latents).numpy()
    return metrics.recovery_error(learned.train, found, learned.mask)


def tasks(quick: bool, target: Path) -> dict[str, Task]:
    """Return the tasks by the name of their row.

    Args:
        quick: whether to use few signals and one or two epochs.
        target: directory for files of images.
    """
    at = folder()
    epochs = dict.fromkeys(("clothes", "faces", "texture", "sound", "clip"), 1)
    if not quick:
        epochs = {"clothes": 10, "faces": 10, "texture": 3, "sound": 10, "clip": 6}
    clothes = prepare("fashion", 60 if quick else 2000, target)
    faces = prepare("olivetti", 20 if quick else 300, target)
    hidden = "--mask pepper:0.9"
    return {
        "clothes, nine in ten pixels hidden": Task(
            f"--data npz:{clothes} {hidden} --epochs {epochs['clothes']}",
            best_images("fashion"),
            image_error("fashion"),
        ),
        "faces, nine in ten pixels hidden": Task(
            f"--data npz:{faces} {hidden} --epochs {epochs['faces']}",
            best_images("olivetti"),
            image_error("olivetti"),
        ),
        "texture: bricks": Task(
            f"--kind texture --data npz:{at / 'seed_textures_224.npz'}:images --item 1 "
            f"--epochs {epochs['texture']}",
            best_texture,
            texture_error,
        ),
        "sound: a bird's song with a gap of 0.5 s": Task(
            f"--kind sound --data npz:{at / 'seed_audio.npz'}:audio --item 0 --mask gap:5512 "
            f"--epochs {epochs['sound']}",
            best_sound,
            sound_error,
        ),
        "clip: fire, half of the frames hidden": Task(
            f"--kind video --data npz:{at / 'video_fire_pot_64.npz'}:frames --length 96 "
            f"--mask frames:0.5 --epochs {epochs['clip']}",
            best_clip,
            clip_error,
        ),
    }


def compute(task: Task, target: Path) -> dict:
    """Learn by the program and by the best settings; return errors and seconds of both."""
    began = time.process_time()
    code = generator.main(["--run", str(target / "run"), *task.words.split()])
    if code:
        raise KeyboardInterrupt
    seconds = time.process_time() - began
    run = runs.Run.open(target / "run")
    images, settings = run.load_images(), run.config["settings"]
    model = run.load_model()
    learned = Learned(
        images.train,
        runs.training_mask(settings, images),
        dict(images.header),
        int(model.iteration.value),
        settings["epochs"],
    )
    found = {"default": task.error(model, learned), "default_seconds": round(seconds)}
    began = time.process_time()
    model = task.best(learned)
    found["best_seconds"] = round(time.process_time() - began)
    return {**found, "best": task.error(model, learned), "iterations": learned.iterations}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.defaults", description=__doc__)
    add = parser.add_argument
    add("--run", default="runs/benchmarks/defaults", help="directory of the cells [%(default)s]")
    add("--tasks", nargs="+", help="first words of the rows, such as clothes; by default all rows")
    add("--results", type=Path,
        help="JSON file of cells; its cells are not computed again, others are added")  # fmt: skip
    add("--quick", action="store_true", help="use few signals and one epoch")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))
    directory.mkdir(parents=True, exist_ok=True)
    if arguments.results:
        cells.restore(directory, arguments.results)
    rows = []
    for name, task in tasks(arguments.quick, directory).items():
        short = name.partition(",")[0].partition(":")[0]
        if arguments.tasks and short not in arguments.tasks:
            continue
        # The defaults that a cell depends on are settings of it, so that others make another cell.
        words = task.words.replace(str(folder()), "").replace(str(directory), "")
        kind = abp_tf.signals.get(_kind(task.words))
        settings = {"words": words, "defaults": dict(kind.defaults["generator"])}

        def fill(target, task=task):
            return compute(task, target)

        found = cells.cell(directory, short, settings, fill)
        rows.append([
            name,
            f"{found['default']:.4g}",
            f"{found['best']:.4g}",
            f"{100 * (found['default'] / found['best'] - 1):+.0f} %",
            f"{found['default_seconds']:.0f} / {found['best_seconds']:.0f}",
        ])  # fmt: skip
    if arguments.results:
        cells.keep(directory, arguments.results)
    columns = ["", "program", "best settings", "difference", "seconds"]
    print(f"\n{cells.table(columns, rows)}")
    return 0


def _kind(words: str) -> str:
    options = words.split()
    return options[options.index("--kind") + 1] if "--kind" in options else "image"


if __name__ == "__main__":
    programs.run(main)

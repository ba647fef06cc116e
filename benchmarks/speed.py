"""Measure the speed of a training step, as a share of the machine's peak: python -m benchmarks.speed.

A step of a generator is 10 Langevin steps and one learning step on 100 images of 28×28, through
`model.fit`. Descriptor and CoopNets are those of `train.descriptor` and `train.coopnets`, with 20
Langevin steps. Where PyTorch is installed, it runs the generator's step in the same rounds.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):  # before TensorFlow: loaded after it, the compiler crashes
    import torch._dynamo  # noqa: F401

import argparse
import importlib.util
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from abp_tf import Generator, Langevin, networks, programs
from train import coopnets, descriptor

from . import cells, torch_step

SHAPE, LATENT_DIM, WIDTH, BATCH, STEPS = (28, 28, 1), 60, 32, 100, 10


class StepTimes(keras.callbacks.Callback):
    """Record the seconds of every training step."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        """Record the start of a step."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Record the duration of the step."""
        self.seconds.append(time.perf_counter() - self._began)


def forward_flops(network: keras.Model) -> int:
    """Count the multiplications and additions of the forward pass of one example."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += 2 * layer.kernel.shape.num_elements() * np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * layer.kernel.shape.num_elements() * np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * layer.kernel.shape.num_elements()
    return int(total)


def peak(dtype: tf.DType, size: int = 2048, repeats: int = 12) -> float:
    """Measure the best GFLOP/s of a square matrix product."""
    first = tf.cast(tf.random.normal([size, size]), dtype)
    product = tf.function(lambda: tf.matmul(first, first))
    product()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def make(dtype: str = "float32", examples: int | None = None) -> Generator:
    """Build the generator that is timed."""
    network = networks.image_generator(SHAPE, LATENT_DIM, WIDTH, hidden=0, kernel_size=5, dtype=dtype)
    model = Generator(network, langevin=Langevin(STEPS, 0.1), examples=examples)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
    return model


def make_energy(program, dtype: str) -> tuple[keras.Model, float]:
    """Build the model of a training program; return it and the operations of a step on one image."""
    settings = program.settle({"data": "fashion_mnist", "precision": dtype})
    model = program.build(settings, SHAPE, 1000)
    # A Langevin step is a forward and a backward pass with respect to the image. Learning is a forward
    # and a backward pass with respect to weights and inputs of layers, for data and for samples.
    work = (2 * settings["steps"] + 6) * forward_flops(model.network)
    if program is coopnets:
        work += 4 * forward_flops(model.generator.network)
    return model, work


def dataset(examples: int) -> tf.data.Dataset:
    """Return batches of a few images whose indices are spread over a table of any size."""
    images = tf.random.stateless_uniform([1000, *SHAPE], [0, 0], -1.0, 1.0)
    numbers = tf.data.Dataset.range(0, examples, max(examples // 1000, 1)).batch(BATCH)
    return numbers.map(lambda i: {"signal": tf.gather(images, i % 1000), "index": i}).repeat()


def time_steps(model: Generator, steps: int, epochs: int = 1) -> list[float]:
    """Return the seconds of steps of `fit`, without the first one, which fills caches."""
    times = StepTimes()
    model.fit(
        dataset(max(sum(table.rows for table in model.tables), 1000)),
        steps_per_epoch=steps,
        epochs=epochs,
        verbose=0,
        callbacks=[times],
    )
    return times.seconds[1:]


def timer(model: Generator) -> Callable[[int], list[float]]:
    """Return a function that times a number of steps of a model."""
    return lambda steps: time_steps(model, steps + 1)


def torch_timers() -> dict[str, Callable[[int], list[float]]]:
    """Return functions that time a number of steps in PyTorch, by form; none if it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, *SHAPE)).astype(np.float32)
    made = {
        name: torch_step.step(images, LATENT_DIM, WIDTH, STEPS, **form)
        for name, form in torch_step.FORMS.items()
    }
    return {name: lambda n, one=one: [one() for _ in range(n)] for name, one in made.items()}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=__doc__)
    parser.add_argument("--steps", type=int, default=6, help="number of timed steps in a round [6]")
    parser.add_argument("--rounds", type=int, default=8, help="number of rounds [8]")
    arguments = parser.parse_args(argv)

    first = "float32, 1 000 rows"
    models = {
        first: make(examples=1000),
        "float32, 1 000 000 rows": make(examples=1_000_000),
        "mixed_bfloat16, 1 000 rows": make("mixed_bfloat16", examples=1000),
    }
    one = (2 * STEPS + 3) * forward_flops(models[first].network)
    work = dict.fromkeys(models, one)
    for name, program in (("descriptor", descriptor), ("CoopNets", coopnets)):
        for dtype in ("float32", "mixed_bfloat16"):
            models[f"{name}, {dtype}"], work[f"{name}, {dtype}"] = make_energy(program, dtype)
    work = {name: BATCH * operations / 1e9 for name, operations in work.items()}
    timers = {name: timer(model) for name, model in models.items()} | torch_timers()
    work = {name: work.get(name, work[first]) for name in timers}
    for time_of in timers.values():
        time_of(2)  # compile
    # All models take turns, and ratios are of one round: a busy moment of the machine affects all.
    peaks, seconds = [], {name: [] for name in timers}
    for number in range(arguments.rounds):
        peaks.append(peak(tf.float32))
        # The order alternates, so that no model always runs while the machine is cool and fast.
        for name in list(timers)[:: -1 if number % 2 else 1]:
            seconds[name].append(np.median(timers[name](arguments.steps)))
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
    rows = []
    for name, found in seconds.items():
        rates = work[name] / np.array(found)
        # Speeds are relative to float32 of the same model, or to the small table.
        base = np.array(seconds.get(name.replace("mixed_bfloat16", "float32"), seconds[first]))
        if "rows" in name or name in torch_step.FORMS:
            base = np.array(seconds[first])
        share, speed = np.median(rates / peaks), np.median(base / found)
        rows.append(
            [
                name,
                f"{1e3 * np.median(found):.0f} ms",
                f"{np.median(rates):.0f}",
                f"{share:.0%}",
                f"{speed:.2f}",
            ]
        )
    print(f"\n{work[first]:.1f} GFLOP a generator's step", end="; matrix products: ")
    print(f"float32 {np.median(peaks):.0f}, bfloat16 {peak(tf.bfloat16):.0f} GFLOP/s\n")
    print(cells.table(["step", "median", "GFLOP/s", "of float32 peak", "speed"], rows))
    return 0


if __name__ == "__main__":
    programs.run(main)

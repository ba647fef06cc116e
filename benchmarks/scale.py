"""Measure how the cost of training grows: python -m benchmarks.scale --help.

* workers: steps of one process and of two, each with a core and 100 images of its own; sums over them.
* rows: steps, and memory, of a generator with few and with many chains.
* images: reading a folder for `fit`, image by image, with few and with many images.

What is compared takes turns in one run, and ratios are of one round. Processes that wait use no core.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from abp_tf import Generator, Langevin, data, files, networks, programs
from abp_tf.models import batches

from . import cells, cost
from .speed import BATCH, SHAPE, STEPS, WIDTH
from .turns import Process, Times, answers, in_turns

LATENT_DIM, SIDE, FILES = 100, 64, 1000  # sides of images in files; number of them in one folder
FLOATS = (1, 10**5, 10**6, 10**7)  # of which sums over the workers are timed
PARTS = ("workers", "rows", "images")


def make(**options) -> Generator:
    """Build the generator whose steps are timed."""
    network = networks.image_generator(SHAPE, LATENT_DIM, WIDTH, hidden=0, kernel_size=5)
    model = Generator(network, langevin=Langevin(STEPS, 0.1), **options)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
    return model


def random_images(count: int) -> np.ndarray:
    """Return images, float32 `[count, 28, 28, 1]`; time does not depend on what they show."""
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


# Workers and devices.


def learner(cluster: tuple, number: int, gpus: int = 0) -> Callable:
    """Return a function of ("steps", count) and ("sum", floats), for a worker or a process alone.

    Args:
        cluster: addresses of all workers; empty for a process alone.
        number: number of this worker.
        gpus: number of GPUs of this process; 0 computes on one core.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = contextlib.nullcontext()
    if cluster:
        task = {"type": "worker", "index": number}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": cluster}, "task": task})
        strategy = tf.distribute.MultiWorkerMirroredStrategy().scope()
    elif gpus:
        strategy = tf.distribute.MirroredStrategy([f"GPU:{n}" for n in range(gpus)]).scope()
    shards = max(len(cluster), 1)
    with strategy:
        model = make(shards=shards)
    batch = BATCH * max(shards, gpus)
    images = random_images(10 * batch)

    def steps(count: int) -> dict:
        times = Times()
        model.fit(images, batch_size=batch, steps_per_epoch=count, verbose=0, callbacks=[times])
        return times.medians()

    def sums(floats: int) -> float:
        values, seconds = tf.zeros([floats]), []
        for _ in range(12):
            began = time.perf_counter()
            model.replicas.total(values).numpy()
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds[2:]))

    return lambda kind, count: {"steps": steps, "sum": sums}[kind](count)


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def scaling(rounds: int, steps: int) -> dict:
    """Compare one worker with two, and two that have nothing in common, on a core each."""
    first, second, *_ = sorted(os.sched_getaffinity(0))
    cores = ({first}, {second})
    cluster = tuple(f"localhost:{port}" for port in free_ports(2))
    apart = [Process(learner, (), 0, cores=core) for core in cores]
    pair = [Process(learner, cluster, number, cores=core) for number, core in enumerate(cores)]
    groups = {"one": [[one] for one in apart], "two apart": [apart], "two": [pair]}
    found = in_turns(groups, rounds, steps)
    sums = {floats: answers(pair, "sum", floats)[0] for floats in FLOATS}
    for process in (*apart, *pair):
        process.end()
    base = np.array(found["one"]["step"])
    rows = []
    for name, values in found.items():
        seconds = np.array(values["step"])
        shown = [f"{1e3 * np.median(values[kind]):.0f} ms" for kind in ("step", "cores")]
        rows.append([name, *shown, f"{np.median(base / seconds):.1%}"])
    print("\n" + cells.table(["workers", "step", "CPU time of each", "one / this"], rows))
    waiting = np.median(np.array(found["two"]["step"]) - found["two apart"]["step"])
    print(f"\nin collectives and waiting for each other: {1e3 * waiting:.1f} ms of a step\n")
    print(
        cells.table(
            ["floats that two workers sum", "median"],
            [[f"{floats:,}", f"{1e3 * seconds:.2f} ms"] for floats, seconds in sums.items()],
        )
    )
    parameters = make().network.count_params()
    print(f"\nThe network has {parameters:,} parameters.")
    return {"steps": found, "sums": sums, "parameters": parameters}


def devices(rounds: int, steps: int) -> dict:
    """Compare 1, 2 and 4 mirrored GPUs, of those that there are."""
    present = len(tf.config.list_physical_devices("GPU"))
    if present < 2:
        print(f"\nMirrored devices were not compared: that needs two GPUs, and there are {present}.")
        return {}
    counts = [count for count in (1, 2, 4) if count <= present]
    groups = {str(count): [[Process(learner, (), 0, count)]] for count in counts}
    found = in_turns(groups, rounds, steps)
    base = np.array(found["1"]["step"])
    rows = [
        [name, f"{1e3 * np.median(values['step']):.1f} ms", f"{np.median(base / values['step']):.1%}"]
        for name, values in found.items()
    ]
    print("\n" + cells.table(["GPUs", "step", "one / this"], rows))
    return found


# Rows of the table of chains.


def keeper(rows: int) -> Callable:
    """Return a function of ("steps", count), ("rows", count) and ("memory", 0), of `rows` chains.

    ("expand", 0) moves all chains and expands the latents.
    """
    images = tf.constant(random_images(1000))
    with cost.measured() as drawn:
        model = make(examples=rows)

    def some(step) -> tf.Tensor:
        """Return different numbers of chains from all over the table, which no cache holds."""
        apart = rows // BATCH
        own = tf.random.stateless_uniform([BATCH], [0, step], 0, apart, tf.int64)
        return apart * tf.range(BATCH, dtype=tf.int64) + own

    def batch(step):
        index = some(step)
        return {"signal": tf.gather(images, index % 1000), "index": index}

    requests = itertools.count()

    @tf.function
    def read_and_write(index):
        model.table.write(index, model.table.read(index) + 1.0)

    def steps(count: int) -> dict:
        times, begin = Times(), 1000 * next(requests)
        dataset = tf.data.Dataset.counter(begin).map(batch).prefetch(2)
        model.fit(dataset, steps_per_epoch=count, verbose=0, callbacks=[times])
        return times.medians()

    def transfers(count: int) -> float:
        seconds = []
        for number in range(count):
            index = some(tf.constant(-1 - number, tf.int64))
            began = time.perf_counter()
            read_and_write(index)
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds[2:]))

    def memory(_) -> dict:
        return {**drawn, "resident": cost.resident()}

    def expand(_) -> dict:
        for part in np.split(np.arange(rows), 100):  # so that no memory is left over from it
            read_and_write(tf.constant(part))
        with cost.measured() as found:
            model.expand()
        return found

    kinds = {"steps": steps, "rows": transfers, "memory": memory, "expand": expand}
    return lambda kind, count: kinds[kind](count)


def table_rows(counts: list[int], expanded: int, rounds: int, steps: int) -> dict:
    """Compare tables of some numbers of chains; expand the latents of another number of chains."""
    keepers = {f"{rows:,}": Process(keeper, rows) for rows in counts}
    found = in_turns({name: [[one]] for name, one in keepers.items()}, rounds, steps)
    base, lines = None, []
    for name, process in keepers.items():
        [seconds], [memory] = answers([process], "rows", 200), answers([process], "memory", 0)
        found[name] |= {"rows": seconds, "memory": memory}
        process.end()
        step = np.array(found[name]["step"])
        base = step if base is None else base
        lines.append(
            [
                name,
                f"{1e3 * np.median(step):.0f} ms",
                f"{np.median(step / base):.3f}",
                f"{1e3 * seconds:.2f} ms",
                f"{seconds / np.median(step):.2%}",
                f"{memory['resident']:,} MB",
                f"{memory['seconds']} s",
            ]
        )
    process = Process(keeper, expanded)
    [found["expand"]] = answers([process], "expand", 0)
    process.end()
    columns = ["chains", "step", "over the first", "read, written", "of a step", "memory", "drawn in"]
    print("\n" + cells.table(columns, lines))
    size, found["expand"]["chains"] = expanded * LATENT_DIM * 4 / 1e6, expanded
    print(
        f"\nLatents of {expanded:,} chains, {size:.0f} MB, are expanded in "
        f"{found['expand']['seconds']} s with {found['expand']['MB']} MB of memory besides."
    )
    return found


# Images that are read when they are needed.


def write_images(folder: Path, count: int) -> None:
    """Write smooth random pictures of 64×64 as JPEG, 1 000 in each folder."""
    random = np.random.default_rng(0)
    for number in range(count):
        if number % FILES == 0:
            part = folder / f"{number // FILES:05}"
            part.mkdir(parents=True)
        pixels = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        pixels.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(part / f"{number:08}.jpg")


def reader(folder: Path) -> Callable:
    """Return a function of a number of images that reads so many as `fit` does."""
    network = networks.image_generator((SIDE, SIDE, 3), LATENT_DIM, width=8)
    model = Generator(network, chains="fresh")
    model.compile("sgd")

    def read(count: int) -> dict:
        began, before = time.perf_counter(), cost.resident()
        images = data.load(f"folder:{folder}", lazy=True, test_share=0.0).train
        dataset, _ = batches.for_training(model, images, BATCH, True, None)
        batch = iter(dataset)
        next(batch)
        first, resident = time.perf_counter() - began, []
        for _ in range(min(count, len(images)) // BATCH - 1):
            next(batch)
            resident.append(cost.resident())
        seconds = time.perf_counter() - began - first
        rate = BATCH * len(resident) / seconds
        return {"first": first, "rate": rate, "MB": max(resident) - before, "images": len(images)}

    return read


def lazy_images(counts: list[int]) -> dict:
    """Compare folders of some numbers of images."""
    found, lines = {}, []
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            folder = Path(place) / str(count)
            write_images(folder, count)
            process = Process(reader, folder)
            [values] = answers([process], count)
            process.end()
            found[count] = values
            shown = [f"{values['first']:.1f} s", f"{values['rate']:,.0f}", f"{values['MB']} MB"]
            lines.append([f"{count:,}", *shown])
    print("\n" + cells.table(["images", "until the first batch", "images a second", "memory"], lines))
    return found


@contextlib.contextmanager
def _timed(name: str) -> Iterator[None]:
    began = time.time()
    print(f"\n## {name}", flush=True)
    yield
    print(f"\n({name}: {time.time() - began:.0f} s)", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured [all]")
    add("--rounds", type=int, default=8, help="number of rounds [%(default)s]")
    add("--steps", type=int, default=6, help="timed steps of a round [%(default)s]")
    add(
        "--quick",
        action="store_true",
        help="few rounds, chains and images, to see the form of the tables",
    )
    add("--results", type=Path, help="JSON file for the figures; other parts in it are kept")
    arguments = parser.parse_args(argv)
    rounds, steps = (2, 2) if arguments.quick else (arguments.rounds, arguments.steps)
    rows, expanded, images = ([10**3, 10**5, 10**7], 10**6, [10**3, 10**4, 10**5])
    if arguments.quick:
        rows, expanded, images = [10**3, 10**5], 10**5, [200, 1000]
    results = arguments.results
    found = json.loads(results.read_text()) if results and results.exists() else {}
    compute = {
        "workers": lambda: {**scaling(rounds, steps), "devices": devices(rounds, steps)},
        "rows": lambda: table_rows(rows, expanded, rounds, steps),
        "images": lambda: lazy_images(images),
    }
    for part in arguments.parts:
        with _timed(part):
            found[part] = compute[part]()
        if results:
            files.write_json(results, found)
    return 0


if __name__ == "__main__":
    programs.run(main)

"""The server's throughput, latency and memory: python -m benchmarks.serving.

Each cell is measured in turns: by client threads that send ready-made requests to a server in another
process, and by as many threads that call the same SavedModel in this one. Both have the same processor
cores, which the clients share with the server. Weights are random, time does not depend on them; the
inference has a tenth of the default's steps, beside which the network would take no visible time.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import keras
import numpy as np
import psutil
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc

from abp_tf import Generator, Langevin, networks, programs
from export.process import ServerProcess

from . import cells

SHAPE, LATENT_DIM, WIDTH = (28, 28, 1), 60, 32
NAME = "timed"
SIGNATURES = ("synthesize", "reconstruct", "inpaint")
BATCHES = (1, 16, 64)
CLIENTS = (1, 4, 8)
TURNS = 2


def export(directory: Path) -> Path:
    """Export the model that is timed; return the directory of its versions."""
    keras.utils.set_random_seed(0)
    network = networks.image_generator(SHAPE, LATENT_DIM, WIDTH)
    model = Generator(network, inference=Langevin(20, 0.1, cool=10))
    return model.export(directory / NAME / "1").parent


def inputs(signature: str, rows: int) -> dict[str, tf.Tensor]:
    """Return the inputs of a signature for so many rows."""
    rng = np.random.default_rng(0)
    arrays = {
        "seed": np.arange(rows),
        "signal": rng.uniform(-1, 1, (rows, *SHAPE)).astype(np.float32),
        "mask": (rng.uniform(size=(rows, *SHAPE)) < 0.5).astype(np.float32),
    }
    names = {"synthesize": ["seed"], "reconstruct": ["signal", "seed"]}
    return {name: tf.constant(arrays[name]) for name in names.get(signature, arrays)}


def request(signature: str, rows: int) -> predict_pb2.PredictRequest:
    """Return a request for them."""
    spec = model_pb2.ModelSpec(name=NAME, signature_name=signature)
    tensors = inputs(signature, rows).items()
    return predict_pb2.PredictRequest(
        model_spec=spec, inputs={name: tf.make_tensor_proto(value) for name, value in tensors}
    )


def load(ask: Callable[[], object], clients: int, seconds: float) -> tuple[list[float], float]:
    """Call a function from threads for a while, each at least once.

    Returns:
        The seconds of each call, and the seconds all took together.
    """
    times: list[float] = []
    failures: list[Exception] = []
    end = time.perf_counter() + seconds

    def client():
        while True:
            began = time.perf_counter()
            try:
                ask()
            except Exception as error:  # raised again below, by the thread that measures
                failures.append(error)
                return
            times.append(time.perf_counter() - began)
            if time.perf_counter() >= end:
                return

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times, time.perf_counter() - began


def measure(stub, signatures, seconds: float) -> list[list]:
    """Return the rows of the table of throughput and latency."""
    result = []
    for signature, batch, clients in itertools.product(SIGNATURES, BATCHES, CLIENTS):
        tensors, message = inputs(signature, batch), request(signature, batch)

        def served(message=message):
            return stub.Predict(message)

        def in_process(signature=signature, tensors=tensors):
            return [value.numpy() for value in signatures[signature](**tensors).values()]

        measured: dict = {served: [[], 0.0], in_process: [[], 0.0]}
        for ask in (served, in_process):
            ask()
        for ask in (served, in_process) * TURNS:
            times, took = load(ask, clients, seconds / TURNS)
            measured[ask][0] += times
            measured[ask][1] += took
        rates = [batch * len(times) / took for times, took in measured.values()]
        p50, p99 = np.percentile(measured[served][0], [50, 99]) * 1e3
        figures = [f"{value:.1f}" for value in (*rates, p50, p99)]
        ratio = f"{rates[0] / rates[1]:.2f}"
        result.append([signature, batch, clients, *figures, ratio, len(measured[served][0])])
        print(" ".join(map(str, result[-1])), flush=True)
    return result


def memory(stub, process: psutil.Process, minutes: float) -> str:
    """Load the server with requests of every kind; tell its resident memory at each sixth of them."""
    kinds = itertools.product(SIGNATURES, (1, 3, 16))
    messages = itertools.cycle([request(signature, rows) for signature, rows in kinds])
    lock, seen = threading.Lock(), []

    def ask():
        with lock:
            message = next(messages)
        stub.Predict(message)

    for _ in range(6):  # the first is taken after a load as well
        load(ask, 4, minutes * 60 / 6)
        seen.append(process.memory_info().rss / 2**20)
    return ", ".join(f"{size:.0f}" for size in seen) + " MB"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="of load for each figure")
    parser.add_argument("--memory-minutes", type=float, default=5)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        directory = export(Path(folder))
        loaded = tf.saved_model.load(str(directory / "1"))
        log = Path(folder) / "log"
        with (
            ServerProcess(log, "--model", f"{NAME}={directory}") as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            rows = measure(stub, loaded.signatures, arguments.seconds)
            sizes = memory(stub, psutil.Process(server.process.pid), arguments.memory_minutes)
    columns = ["signature", "batch", "clients", "rows/s served", "rows/s in process"]
    print("\n" + cells.table([*columns, "p50 ms", "p99 ms", "ratio", "requests"], rows))
    print(f"\nMemory of the server at each sixth of {arguments.memory_minutes:g} minutes: {sizes}")
    return 0


if __name__ == "__main__":
    programs.run(main)

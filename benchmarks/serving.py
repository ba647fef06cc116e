"""Measure throughput, latency and memory of the server: python -m benchmarks.serving.

Each row of the table is measured in turns: by client threads that send prepared requests to a server in
another process, one at a time for the latency and two at a time like `abp_tf.Client`; and by as many
threads that call the same SavedModel in this process. Clients and server share the processor cores.
Weights are random, because time does not depend on them. Inference has a tenth of the default number of
steps, so that its time does not hide that of the server.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import keras
import numpy as np
import psutil
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc

from abp_tf import Generator, Langevin, networks, programs
from abp_tf.serving.channel import BlockingChannel, Certificates, run
from abp_tf.serving.connection import Line
from export.process import ServerProcess

from . import cells

SHAPE, LATENT_DIM, WIDTH = (28, 28, 1), 60, 32
NAME = "timed"
SIGNATURES = ("synthesize", "reconstruct", "inpaint")
BATCHES = (1, 16, 64)
CLIENTS = (1, 4, 8)
# Seconds of each turn. Many short turns let changes in the speed of the machine affect all alike.
TURN = 1.0


def export(directory: Path) -> Path:
    """Export the model that is measured, and return the directory of its versions."""
    keras.utils.set_random_seed(0)
    network = networks.image_generator(SHAPE, LATENT_DIM, WIDTH)
    model = Generator(network, inference=Langevin(20, 0.1, cool=10))
    return model.export(directory / NAME / "1").parent


def inputs(signature: str, rows: int) -> dict[str, tf.Tensor]:
    """Return inputs of a signature with the given number of rows."""
    rng = np.random.default_rng(0)
    arrays = {
        "seed": np.arange(rows),
        "signal": rng.uniform(-1, 1, (rows, *SHAPE)).astype(np.float32),
        "mask": (rng.uniform(size=(rows, *SHAPE)) < 0.5).astype(np.float32),
    }
    names = {"synthesize": ["seed"], "reconstruct": ["signal", "seed"]}
    return {name: tf.constant(arrays[name]) for name in names.get(signature, arrays)}


def request(signature: str, rows: int) -> predict_pb2.PredictRequest:
    """Return a request of a signature with the given number of rows."""
    spec = model_pb2.ModelSpec(name=NAME, signature_name=signature)
    tensors = inputs(signature, rows).items()
    return predict_pb2.PredictRequest(
        model_spec=spec, inputs={name: tf.make_tensor_proto(value) for name, value in tensors}
    )


def load(
    client: Callable[[Callable[[], bool]], Iterator], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Run clients for some time, each for at least one request.

    Args:
        client: function that returns an iterator, which completes one request at each step; its
            argument is a function that returns whether the time is over.
        clients: number of clients, each in a thread of its own.
        seconds: time after which the clients send no further requests.

    Returns:
        The seconds of each request, and the seconds until the last one ended.
    """
    times: list[float] = []
    last: list[float] = []
    failures: list[Exception] = []
    end = time.perf_counter() + seconds

    def work():
        try:
            before = time.perf_counter()
            for _ in client(lambda: time.perf_counter() >= end):
                after = time.perf_counter()
                times.append(after - before)
                before = after
            last.append(before)
        except Exception as error:  # raised again below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times, max(last) - began


def measure(stub, channel: BlockingChannel, signatures, seconds: float) -> list[list]:
    """Return the rows of the table of throughput and latency."""
    result = []
    for signature, batch, clients in itertools.product(SIGNATURES, BATCHES, CLIENTS):
        tensors, message = inputs(signature, batch), request(signature, batch)

        def one_at_a_time(over, message=message):
            while True:
                yield stub.Predict(message)
                if over():
                    return

        def two_at_a_time(over, message=message, rows=range(batch)):
            line = Line(channel, timeout=600)
            line.send(rows, message)
            while not over():
                line.send(rows, message)
                yield run(line.receive())
            yield run(line.receive())

        def in_process(over, signature=signature, tensors=tensors):
            while True:
                yield [value.numpy() for value in signatures[signature](**tensors).values()]
                if over():
                    return

        measured: dict = {one_at_a_time: [[], 0.0], two_at_a_time: [[], 0.0], in_process: [[], 0.0]}
        for client in measured:
            load(client, 1, 0)
        while min(took for _, took in measured.values()) < seconds:
            for client, found in measured.items():
                times, took = load(client, clients, TURN)
                found[0] += times
                found[1] += took
        rates = [batch * len(times) / took for times, took in measured.values()]
        p50, p99 = np.percentile(measured[one_at_a_time][0], [50, 99]) * 1e3
        figures = [f"{value:.1f}" for value in (p50, p99, *rates)]
        ratio = f"{rates[1] / rates[2]:.2f}"
        result.append([signature, batch, clients, *figures, ratio, len(measured[two_at_a_time][0])])
        print(" ".join(map(str, result[-1])), flush=True)
    return result


def memory(stub, process: psutil.Process, minutes: float) -> str:
    """Send requests of every kind for some minutes, and return the memory at each sixth of the time."""
    kinds = itertools.product(SIGNATURES, (1, 3, 16))
    messages = itertools.cycle([request(signature, rows) for signature, rows in kinds])
    lock, sizes = threading.Lock(), []

    def client(over):
        while not over():
            with lock:
                message = next(messages)
            yield stub.Predict(message)

    for _ in range(6):  # the first size is measured after requests too
        load(client, 4, minutes * 60 / 6)
        sizes.append(process.memory_info().rss / 2**20)
    return ", ".join(f"{size:.0f}" for size in sizes) + " MB"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=10, help="shortest time of each measurement [10]"
    )
    parser.add_argument(
        "--memory-minutes",
        type=float,
        default=5,
        help="minutes of requests while memory is measured [5]",
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        directory = export(Path(folder))
        loaded = tf.saved_model.load(str(directory / "1"))
        log = Path(folder) / "log"
        with (
            ServerProcess(log, "--model", f"{NAME}={directory}") as server,
            grpc.insecure_channel(server.address) as plain,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(plain)
            channel = BlockingChannel(server.address, Certificates())
            rows = measure(stub, channel, loaded.signatures, arguments.seconds)
            sizes = memory(stub, psutil.Process(server.process.pid), arguments.memory_minutes)
    columns = ["signature", "batch", "clients", "p50 ms", "p99 ms", "rows/s, one at a time"]
    columns += ["rows/s, two under way", "rows/s in process", "ratio", "requests"]
    print("\n" + cells.table(columns, rows))
    print(f"\nMemory of the server at each sixth of {arguments.memory_minutes:g} minutes: {sizes}")
    return 0


if __name__ == "__main__":
    programs.run(main)

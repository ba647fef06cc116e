"""The processes and devices that a training program learns on.

`--workers N` starts N processes on this machine. A process finds the others, and which of them it is,
in the variable TF_CONFIG, as on several machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import BinaryIO

import tensorflow as tf

from abp_tf.errors import ProcessLostError
from abp_tf.printing import printable

# Lines that are shown of what a process wrote that failed.
_LINES = 20


def processes() -> int:
    """Return the number of processes that TF_CONFIG names; 0 if it names none.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        found = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            'TF_CONFIG: expected JSON such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}, received {os.environ["TF_CONFIG"]!r}.'
        ) from None
    return sum(len(found.get(kind, [])) for kind in ("chief", "worker"))


def check(workers: int, strategy: str | None) -> None:
    """Refuse numbers of processes and strategies that the machine or its environment do not allow.

    Args:
        workers: number of processes to start, 1 for none beside this one.
        strategy: name of a strategy, "mirrored" or "none"; None if none is given.

    Raises:
        ValueError: if so.
    """
    if workers > 1 and processes():
        raise ValueError(
            f"--workers: expected no TF_CONFIG in the environment with it, received {workers} and a "
            "TF_CONFIG, by which this process is already one of several. Leave one of them out."
        )
    if strategy == "none" and (workers > 1 or processes()):
        raise ValueError(
            "--strategy: expected one process with none, received several, which learn together by a "
            "strategy. Leave it out."
        )
    if workers > 1 and tf.config.list_physical_devices("GPU"):
        raise ValueError(
            f"--workers: expected a machine without GPUs, which several processes cannot share, "
            f"received {workers} processes and a GPU. Use --strategy mirrored for several GPUs, or set "
            "CUDA_VISIBLE_DEVICES=-1."
        )


def scope(strategy: str | None):
    """Return the scope of the strategy to build a model in; to be called before TensorFlow computes.

    Args:
        strategy: "mirrored" uses all devices of this machine, "none" the first; None uses all GPUs if
            there are several. One of several processes uses all GPUs that it has.
    """
    if processes():
        return tf.distribute.MultiWorkerMirroredStrategy().scope()
    several = len(tf.config.list_physical_devices("GPU")) > 1
    if strategy == "mirrored" or (strategy is None and several):
        return tf.distribute.MirroredStrategy().scope()
    return contextlib.nullcontext()


def start(module: str, argv: list[str], count: int) -> None:
    """Run a program in several processes of this machine until all have ended.

    The first process writes to the terminal; what another one wrote is shown if it ends with an error.
    Then, and when this process is interrupted, all are ended.

    Args:
        module: module of the program.
        argv: words of its command line.
        count: number of processes.

    Raises:
        ProcessLostError: if a process ends with an error.
    """
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
    threads = max(1, _cores() // count)
    print(f"Starting {count} processes of {threads} thread{'s' * (threads > 1)} each", flush=True)
    defaults = {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    with contextlib.ExitStack() as stack:
        logs = [None, *(stack.enter_context(tempfile.TemporaryFile()) for _ in range(count - 1))]
        stack.enter_context(_ended_by_sigterm())
        started: list[subprocess.Popen] = []
        stack.callback(_end, started)
        # Ctrl-C reaches all processes of a terminal; this one alone handles it.
        with _ignored(signal.SIGINT):
            for number, log in enumerate(logs):
                task = {"type": "worker", "index": number}
                config = json.dumps({"cluster": {"worker": addresses}, "task": task})
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module, *argv],
                        env={**defaults, **os.environ, "TF_CONFIG": config},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        codes = _wait(started)
        failed = [number for number, code in enumerate(codes) if code]
        for number in failed:
            if logs[number]:
                _show(logs[number], f"process {number}: ")
    if failed:
        how = "; ".join(f"process {number} {_described(codes[number])}" for number in failed)
        raise ProcessLostError(
            f"Of {count} processes {how}, and the others were ended. What the run has saved is kept: "
            "continue it with --resume, if what ended the process is mended."
        )


def _wait(started: list[subprocess.Popen]) -> list[int | None]:
    """Return exit codes as soon as all processes have ended or one has failed; None where one runs."""
    while True:
        codes = [process.poll() for process in started]
        if any(codes) or None not in codes:
            return codes
        time.sleep(0.2)


def _end(started: list[subprocess.Popen]) -> None:
    """End all processes that still run, by SIGKILL, because TensorFlow catches SIGTERM."""
    for process in started:
        process.kill()
    for process in started:
        process.wait()


def _show(log: BinaryIO, prefix: str) -> None:
    log.seek(0)
    for line in log.read().decode(errors="replace").splitlines()[-_LINES:]:
        print(f"{prefix}{printable(line)}", file=sys.stderr)


def _described(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


@contextlib.contextmanager
def _ignored(number: int):
    """Start processes that ignore a signal, as they go on to do."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def _ended_by_sigterm():
    """End the program by an exception at SIGTERM, so that nothing that it started is left behind."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Time steps of several processes in turns, so that a busy moment of the machine affects all alike."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable

import numpy as np

from .speed import StepTimes


class Times(StepTimes):
    """Record the seconds of every training step, and those of all cores of the process."""

    def __init__(self):
        super().__init__()
        self.of_cores = []

    def on_train_batch_begin(self, batch, logs=None):
        """Record the start of a step."""
        self._spent = time.process_time()
        super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        """Record the duration of the step."""
        super().on_train_batch_end(batch, logs)
        self.of_cores.append(time.process_time() - self._spent)

    def medians(self) -> dict:
        """Return the median seconds of all steps but the first, which fills caches."""
        return {"step": np.median(self.seconds[1:]), "cores": np.median(self.of_cores[1:])}


class Process:
    """A process of its own, which computes on request.

    Args:
        serve: function of further arguments that returns a function of requests.
        *arguments: the arguments.
        cores: numbers of the cores on which it runs; None for all.
    """

    def __init__(self, serve: Callable[..., Callable], *arguments, cores: set[int] | None = None):
        context, everywhere = multiprocessing.get_context("spawn"), os.sched_getaffinity(0)
        self._end, other = context.Pipe()
        os.sched_setaffinity(0, cores or everywhere)  # the process inherits it, with all its threads
        context.Process(target=_served, args=(other, serve, arguments), daemon=True).start()
        os.sched_setaffinity(0, everywhere)
        other.close()  # so that the end of the process is an error and not a silence

    def send(self, *request) -> None:
        """Send a request."""
        self._end.send(request)

    def receive(self):
        """Return the answer to the last request."""
        return self._end.recv()

    def end(self) -> None:
        """End the process."""
        self._end.close()


def _served(connection, serve: Callable[..., Callable], arguments: tuple) -> None:
    with contextlib.suppress(EOFError):
        answer = serve(*arguments)
        while True:
            connection.send(answer(*connection.recv()))


def answers(processes: list[Process], *request) -> list:
    """Return the answers of processes that compute at the same time."""
    for process in processes:
        process.send(*request)
    return [process.receive() for process in processes]


def in_turns(groups: dict, rounds: int, steps: int) -> dict:
    """Return the median seconds of the steps of groups of processes, one list of rounds for each.

    Args:
        groups: for each name lists of processes that compute together, which are used in turn.
        rounds: number of rounds.
        steps: number of steps of each group in a round.
    """
    found: dict = {name: {"step": [], "cores": []} for name in groups}
    for choices in groups.values():
        for processes in choices:
            answers(processes, "steps", 2)  # compile
    for number in range(rounds):
        # The order alternates, so that no group always runs while the machine is cool and fast.
        for name in list(groups)[:: -1 if number % 2 else 1]:
            processes = groups[name][number % len(groups[name])]
            medians = answers(processes, "steps", steps + 1)
            for kind, values in found[name].items():
                values.append(float(np.mean([one[kind] for one in medians])))
        print(f"round {number + 1} of {rounds}", flush=True)
    return found

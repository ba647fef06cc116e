"""Compute requests in batches.

A request never waits for others to join its batch: a free worker takes the oldest request, together
with the requests for the same function that have arrived meanwhile. One event loop manages the
requests; threads read their values and compute them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from .servable import Request

# Function from the outputs of a request and the seconds they took to the message of the response.
Finish = Callable[[dict[str, np.ndarray], float], bytes]


@dataclass(eq=False)
class _Pending:
    """Hold a request, the function that makes its response, and the future of the response."""

    request: Request
    finish: Finish
    response: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches:
    """Distribute requests over workers, in batches.

    Args:
        workers: number of batches that are computed at a time. There may be twice as many full batches,
            which gain nothing by waiting, so that no core is idle while another batch ends.
        rows: largest number of rows of a batch of several requests; a single one may have more.
        entries: largest number of entries of the signals of its responses, likewise.
        note: function that receives the number of rows of each batch.

    Attributes:
        running: number of batches that are being computed.
    """

    def __init__(self, workers: int, rows: int, entries: int, note: Callable[[int], None]):
        self.rows, self.entries, self.note = rows, entries, note
        self._threads = ThreadPoolExecutor(2 * workers, thread_name_prefix="predict")
        self._workers, self.running = workers, 0
        self._waiting: deque[_Pending] = deque()
        self._computed = 0

    @property
    def load(self) -> int:
        """Return the number of requests that wait or are computed, also for clients that have gone."""
        return len(self._waiting) + self._computed

    async def submit(self, request: Request, finish: Finish) -> bytes:
        """Compute a request when its turn comes.

        Args:
            request: the request, parsed by its servable.
            finish: function that makes the response, called in a worker's thread.

        Returns:
            The message of the response.

        Raises:
            RefusedError: a value is not valid, or TensorFlow failed to compute the request.
        """
        pending = _Pending(request, finish)
        self._waiting.append(pending)
        self._start()
        try:
            return await pending.response
        except asyncio.CancelledError:  # the client has gone; a batch that has started continues
            if pending in self._waiting:
                self._waiting.remove(pending)
            raise

    def close(self) -> None:
        """Cancel the requests that wait; batches that have started continue to their end."""
        for pending in self._waiting:
            pending.response.cancel()
        self._waiting.clear()
        self._threads.shutdown(wait=False)

    def _start(self) -> None:
        while self._waiting:
            batch, full = self._next()
            if self.running >= self._workers * (2 if full else 1):
                return
            for pending in batch:
                self._waiting.remove(pending)
            self.note(sum(pending.request.rows for pending in batch))
            work = asyncio.get_running_loop().run_in_executor(self._threads, _compute, batch)
            self.running += 1
            self._computed += len(batch)
            work.add_done_callback(lambda work, batch=batch: self._end(work.result(), batch))

    def _next(self) -> tuple[list[_Pending], bool]:
        """Return the oldest request with others that fit into its batch, and whether that is full."""
        batch, rows, entries, full = [], 0, 0, False
        for pending in self._waiting:
            request = pending.request
            if batch and request.kind != batch[0].request.kind:
                continue
            more_rows, more_entries = rows + request.rows, entries + request.entries
            if batch and (more_rows > self.rows or more_entries > self.entries):
                full = True
                continue
            batch.append(pending)
            rows, entries = more_rows, more_entries
        return batch, full or rows >= self.rows or entries >= self.entries

    def _end(self, results: list[bytes | Exception], batch: list[_Pending]) -> None:
        self.running -= 1
        self._computed -= len(batch)
        for pending, result in zip(batch, results, strict=True):
            if pending.response.done():  # its client has gone
                continue
            if isinstance(result, Exception):
                pending.response.set_exception(result)
            else:
                pending.response.set_result(result)
        self._start()


def _compute(batch: list[_Pending]) -> list[bytes | Exception]:
    """Return the message of each response of a batch, or the error of its request."""
    results: dict[int, bytes | Exception] = {}
    values: dict[int, dict[str, np.ndarray]] = {}
    for number, pending in enumerate(batch):
        try:
            values[number] = pending.request.servable.values(pending.request)
        except Exception as error:
            results[number] = error
    valid = [batch[number] for number in values]
    results.update(zip(values, _together(valid, list(values.values())), strict=True))
    return [results[number] for number in range(len(batch))]


def _together(batch: list[_Pending], values: list[dict[str, np.ndarray]]) -> list[bytes | Exception]:
    """Compute requests of one kind in one call, or one by one if that fails."""
    if not batch:
        return []
    started = time.perf_counter()
    first = batch[0].request
    whole = {name: np.concatenate([one[name] for one in values]) for name in values[0]}
    try:
        outputs = first.servable.run(first.signature, whole)
        seconds = time.perf_counter() - started
        messages, end = [], 0
        for pending in batch:
            start, end = end, end + pending.request.rows
            part = {name: value[start:end] for name, value in outputs.items()}
            messages.append(pending.finish(part, seconds))
        return messages
    except Exception as error:
        if len(batch) == 1:
            return [error]
        # Requests that need too much memory together may succeed one by one, and an error is returned
        # to the client of its own request alone.
        single = zip(batch, values, strict=True)
        return [result for pending, its in single for result in _together([pending], [its])]

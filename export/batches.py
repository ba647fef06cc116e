"""Requests that wait at the same time are computed together.

Nothing waits for company: a free worker takes the oldest request, and with it what has come meanwhile
for the same function. All of it is one event loop's; only the computing is done by threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from .servable import Question


@dataclass(eq=False)
class _Asked:
    """A question, what makes its answer a message, and where that is waited for."""

    question: Question
    finish: Callable[[dict[str, np.ndarray], float], bytes]
    answer: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches:
    """Workers, and the questions that wait for them.

    Args:
        workers: how many batches are computed at a time.
        rows: of several questions together, at most; one alone may have more.
        entries: of the signals of a batch's answer, likewise.
        note: is told the rows of each batch.
    """

    def __init__(self, workers: int, rows: int, entries: int, note: Callable[[int], None]):
        self.rows, self.entries, self.note = rows, entries, note
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="predict")
        self._free = workers
        self._waiting: deque[_Asked] = deque()
        self._computed = 0

    @property
    def load(self) -> int:
        """How many questions wait or are being computed, those whose clients have gone included."""
        return len(self._waiting) + self._computed

    async def answer(
        self, question: Question, finish: Callable[[dict[str, np.ndarray], float], bytes]
    ) -> bytes:
        """Answer a question when its turn comes.

        Args:
            question: of a servable.
            finish: takes the outputs and the seconds that computing took, in a worker's thread, and
                returns what is to be sent.

        Raises:
            RefusedError: TensorFlow refused to compute it.
        """
        asked = _Asked(question, finish)
        self._waiting.append(asked)
        self._start()
        try:
            return await asked.answer
        except asyncio.CancelledError:  # the client is gone; what is computed already is computed on
            if asked in self._waiting:
                self._waiting.remove(asked)
            raise

    def close(self) -> None:
        """Take no more; what is being computed ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._free and self._waiting:
            batch = self._take()
            self._free -= 1
            self._computed += len(batch)
            self.note(sum(asked.question.rows for asked in batch))
            work = asyncio.get_running_loop().run_in_executor(self._threads, _compute, batch)
            work.add_done_callback(lambda work, batch=batch: self._end(work, batch))

    def _take(self) -> list[_Asked]:
        """Take the oldest question off those that wait, and others that can be computed with it."""
        first = self._waiting.popleft()
        batch, rows, entries = [first], first.question.rows, first.question.entries
        for asked in list(self._waiting):
            question = asked.question
            if (
                question.kind == first.question.kind
                and rows + question.rows <= self.rows
                and entries + question.entries <= self.entries
            ):
                self._waiting.remove(asked)
                batch.append(asked)
                rows, entries = rows + question.rows, entries + question.entries
        return batch

    def _end(self, work: asyncio.Future, batch: list[_Asked]) -> None:
        self._free += 1
        self._computed -= len(batch)
        if not work.cancelled():
            error = work.exception()
            for place, asked in enumerate(batch):
                if asked.answer.done():  # its client is gone
                    continue
                if error is None:
                    asked.answer.set_result(work.result()[place])
                else:
                    asked.answer.set_exception(error)
        self._start()


def _compute(batch: list[_Asked]) -> list[bytes]:
    """Return the messages that answer a batch."""
    started = time.perf_counter()
    questions = [asked.question for asked in batch]
    first = questions[0]
    values = first.values
    if len(batch) > 1:
        values = {name: np.concatenate([one.values[name] for one in questions]) for name in values}
    outputs = first.servable.run(first.signature, values)
    seconds = time.perf_counter() - started
    messages, end = [], 0
    for asked in batch:
        start, end = end, end + asked.question.rows
        part = {name: value[start:end] for name, value in outputs.items()}
        messages.append(asked.finish(part, seconds))
    return messages

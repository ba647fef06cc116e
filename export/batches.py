"""Requests that wait at the same time are computed together.

Nothing waits for company: a free worker takes the oldest request, and with it what has come meanwhile
for the same function. All of it is one event loop's; reading values and computing is done by threads.
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

# Makes the message that answers a question of its outputs and the seconds they took.
Finish = Callable[[dict[str, np.ndarray], float], bytes]


@dataclass(eq=False)
class _Asked:
    """A question, what makes its answer a message, and where that is waited for."""

    question: Question
    finish: Finish
    answer: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches:
    """Workers, and the questions that wait for them.

    Args:
        workers: how many batches are computed at a time; of those that nothing more fits into, which
            gain nothing by waiting, twice as many, so that no core is idle while another ends.
        rows: of several questions together, at most; one alone may have more.
        entries: of the signals of a batch's answer, likewise.
        note: is told the rows of each batch.

    Attributes:
        running: how many batches are being computed.
    """

    def __init__(self, workers: int, rows: int, entries: int, note: Callable[[int], None]):
        self.rows, self.entries, self.note = rows, entries, note
        self._threads = ThreadPoolExecutor(2 * workers, thread_name_prefix="predict")
        self._workers, self.running = workers, 0
        self._waiting: deque[_Asked] = deque()
        self._computed = 0

    @property
    def load(self) -> int:
        """How many questions wait or are being computed, for clients that have gone too."""
        return len(self._waiting) + self._computed

    async def answer(self, question: Question, finish: Finish) -> bytes:
        """Answer a question when its turn comes.

        Args:
            question: of a servable.
            finish: is called in a worker's thread.

        Raises:
            RefusedError: for its values, or TensorFlow refused to compute it.
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
        """Forget what waits; what is being computed ends by itself."""
        for asked in self._waiting:
            asked.answer.cancel()
        self._waiting.clear()
        self._threads.shutdown(wait=False)

    def _start(self) -> None:
        while self._waiting:
            batch, full = self._next()
            if self.running >= self._workers * (2 if full else 1):
                return
            for asked in batch:
                self._waiting.remove(asked)
            self.note(sum(asked.question.rows for asked in batch))
            work = asyncio.get_running_loop().run_in_executor(self._threads, _compute, batch)
            self.running += 1
            self._computed += len(batch)
            work.add_done_callback(lambda work, batch=batch: self._end(work.result(), batch))

    def _next(self) -> tuple[list[_Asked], bool]:
        """Return the oldest question and others that fit with it, and whether nothing more does."""
        batch, rows, entries, full = [], 0, 0, False
        for asked in self._waiting:
            question = asked.question
            if batch and question.kind != batch[0].question.kind:
                continue
            more_rows, more_entries = rows + question.rows, entries + question.entries
            if batch and (more_rows > self.rows or more_entries > self.entries):
                full = True
                continue
            batch.append(asked)
            rows, entries = more_rows, more_entries
        return batch, full or rows >= self.rows or entries >= self.entries

    def _end(self, answers: list[bytes | Exception], batch: list[_Asked]) -> None:
        self.running -= 1
        self._computed -= len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            if asked.answer.done():  # its client is gone
                continue
            if isinstance(answer, Exception):
                asked.answer.set_exception(answer)
            else:
                asked.answer.set_result(answer)
        self._start()


def _compute(batch: list[_Asked]) -> list[bytes | Exception]:
    """Return the messages that answer a batch, or why there is none."""
    found: dict[int, bytes | Exception] = {}
    values: dict[int, dict[str, np.ndarray]] = {}
    for place, asked in enumerate(batch):
        try:
            values[place] = asked.question.servable.values(asked.question)
        except Exception as error:
            found[place] = error
    good = [batch[place] for place in values]
    found.update(zip(values, _together(good, list(values.values())), strict=True))
    return [found[place] for place in range(len(batch))]


def _together(batch: list[_Asked], values: list[dict[str, np.ndarray]]) -> list[bytes | Exception]:
    """Compute questions of one kind at once."""
    if not batch:
        return []
    started = time.perf_counter()
    first = batch[0].question
    whole = {name: np.concatenate([one[name] for one in values]) for name in values[0]}
    try:
        outputs = first.servable.run(first.signature, whole)
        seconds = time.perf_counter() - started
        messages, end = [], 0
        for asked in batch:
            start, end = end, end + asked.question.rows
            part = {name: value[start:end] for name, value in outputs.items()}
            messages.append(asked.finish(part, seconds))
        return messages
    except Exception as error:
        if len(batch) == 1:
            return [error]
        # What is too much together may do alone, and an error is told to whom it belongs.
        alone = zip(batch, values, strict=True)
        return [answer for asked, its in alone for answer in _together([asked], [its])]

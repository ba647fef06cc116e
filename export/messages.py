"""Receive and parse the messages of requests, within bounds on memory and time.

A client can start a message and never finish it. A message of 15 MB can hold a million inputs, which
take seconds to parse, while no other thread of the process runs, and a hundred times the memory.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
from google.protobuf.message import DecodeError, Message

from .refusal import RefusedError, invalid

# Seconds in which a message usually arrives. The number of messages that take longer is limited.
_PROMPT = 0.1

# glibc keeps the many small pieces of messages that never became whole, until this is called.
_release_memory = getattr(ctypes.CDLL(None), "malloc_trim", lambda kept: None)

# Larger messages, in bytes, are parsed beside the event loop.
_SMALL = 2**16

# Largest number of fields of a larger message, in all levels. Valid requests have about forty.
_FIELDS = 1000

# Levels of a request: the request, its inputs, their tensors, the shapes of these. In each level the
# next one is field 2. Fields 14 and 15 of a tensor hold messages without bound; no input uses them.
_TENSOR, _SHAPE = 3, 4
_NEXT, _NESTED = 2, (14, 15)


class Messages:
    """Receive and parse messages, with bounds over all connections.

    The messages that are complete and wait for their response may take `limit` bytes, and those that
    arrive slowly as much. If too many arrive slowly, the oldest of them is refused, so that prompt
    messages are never kept waiting.

    Args:
        limit: largest number of bytes of the messages that wait, and of those that arrive slowly.
        largest: largest number of bytes of one message.
    """

    def __init__(self, limit: int, largest: int):
        self._limit, self._slow_limit = max(limit, largest), max(limit // largest, 1)
        self._waiting = 0
        self._slow: deque[asyncio.Future] = deque()  # the oldest first
        # One thread, because a message can take eight times its number of bytes while it is parsed.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parse")

    def close(self) -> None:
        """Stop the thread that parses messages."""
        self._parser.shutdown(wait=False)

    @asynccontextmanager
    async def receive(self, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Receive the message of a call; it counts as waiting until the block ends.

        Raises:
            RefusedError: RESOURCE_EXHAUSTED, if too many messages wait or arrive slowly;
                INVALID_ARGUMENT, if there is no message.
        """
        data = await self._read(context)
        if data is grpc.aio.EOF:
            raise invalid("Expected a message, received none.")
        if self._waiting + len(data) > self._limit:
            raise _exhausted(
                f"Expected requests of at most {self._limit} bytes at a time, received {len(data)} "
                f"bytes while {self._waiting} bytes wait."
            )
        self._waiting += len(data)
        try:
            yield data
        finally:
            self._waiting -= len(data)

    async def _read(self, context: grpc.aio.ServicerContext) -> bytes:
        reading = asyncio.ensure_future(context.read())
        # It is never cancelled, because gRPC may still write to it; it ends with the call, and may end
        # with an exception that nobody else retrieves.
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.wait({reading}, timeout=_PROMPT)
        if not reading.done():
            refused = asyncio.get_running_loop().create_future()
            self._slow.append(refused)
            if len(self._slow) > self._slow_limit:
                self._slow.popleft().set_result(None)
            try:
                await asyncio.wait({reading, refused}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if refused in self._slow:
                    self._slow.remove(refused)
                if not self._slow:
                    # Later, because gRPC frees the pieces after the call has ended.
                    asyncio.get_running_loop().call_later(1, _release_memory, 0)
        if not reading.done():
            raise _exhausted(
                f"Expected at most {self._slow_limit} messages that arrive slowly, received more, of "
                "which this was the oldest."
            )
        return reading.result()

    async def parse(self, kind: type[Message], data: bytes) -> Message:
        """Parse a message, a large one beside the event loop.

        Args:
            kind: class of the message.
            data: the message as bytes.

        Raises:
            RefusedError: INVALID_ARGUMENT, if it is not a message of this class or has too many fields.
        """
        try:
            if len(data) <= _SMALL:
                return kind.FromString(data)
            if crowded(data, _FIELDS):
                raise invalid(
                    f"Expected a {kind.__name__} of at most {_FIELDS} fields, received more in "
                    f"{len(data)} bytes."
                )
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._parser, kind.FromString, data)
        except DecodeError:
            raise invalid(
                f"Expected a {kind.__name__}, received {len(data)} bytes that are not one."
            ) from None


def _exhausted(text: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{text} Try again later.")


def crowded(data: bytes, largest: int) -> bool:
    """Return whether a request has too many fields, counted without parsing it.

    Fields are counted in all levels, from the request down to the shapes of its tensors. The values of
    a tensor are one field, packed or as bytes. Fields that valid requests do not have and that hold
    messages of their own are too many in any number.

    Args:
        data: the request as bytes.
        largest: largest number of fields.

    Example:
        >>> crowded(bytes([26, 0]) * 10, largest=10), crowded(bytes([26, 0]) * 10, largest=9)
        (False, True)
    """
    parts, count = [(0, len(data), 1)], 0
    try:
        while parts:
            at, end, level = parts.pop()
            while at < end:
                count += 1
                tag, at = _varint(data, at)
                number, wire_type = tag >> 3, tag & 7
                if count > largest or wire_type not in (0, 1, 2, 5):
                    return True
                if level == _TENSOR and number in _NESTED:
                    return True
                size = {1: 8, 5: 4}.get(wire_type, 0)
                if wire_type in (0, 2):
                    value, at = _varint(data, at)
                    size = value if wire_type == 2 else 0
                if wire_type == 2 and number == _NEXT and level < _SHAPE:
                    parts.append((at, min(at + size, end), level + 1))
                at += size
    except IndexError:  # the data end within a field, which the parser refuses
        pass
    return False


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of at most ten bytes, and the position of the next byte."""
    value = 0
    for place in range(10):
        value |= (data[at + place] & 127) << 7 * place
        if data[at + place] < 128:
            break
    return value, at + place + 1

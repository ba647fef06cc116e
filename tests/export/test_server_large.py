"""Requests that are large, in number or in size, cost neither memory nor the time of others."""

import collections
import contextlib
import itertools
import random
import threading
import time
from concurrent import futures

import grpc
import psutil
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.odd_requests import HEALTH, LARGE, METHOD, Unfinished, good, mutated

MB = 2**20


class Others:
    """Sends a known-good request again and again, in a thread; `waits` has the seconds of each.

    A `with` block of it checks that all were answered alike, each within some seconds: 2 where tests
    run beside each other.
    """

    def __init__(self, address, seconds=2):
        self.seconds = seconds
        self.waits, self.wrong = [], []
        self._begun, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._ask, args=[address])

    def _ask(self, address):
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            call, message = stub.Predict, good()
            right = call(message, timeout=60)
            self._begun.set()
            while not self._stop.is_set():
                started = time.perf_counter()
                try:
                    found = call(message, timeout=60)
                except grpc.RpcError as error:
                    found = error.code()
                self.waits.append(time.perf_counter() - started)
                if found != right:
                    self.wrong.append(found)
                self._stop.wait(0.02)

    def __enter__(self):
        self._thread.start()
        assert self._begun.wait(60)
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert not self.wrong
            assert self.waits
            assert max(self.waits) < self.seconds


@pytest.fixture(scope="module")
def large(start_server, light):
    """A server with the limits that it has by default."""
    result = start_server("--model", f"digits={light}")
    assert result.address
    return result


@pytest.fixture
def memory(large):
    """Return a function of the bytes by which the process of `large` has grown since its first use.

    Memory is given back soon, and not at once: it waits for that as long as there are 100 MB or more.
    """
    process = psutil.Process(large.process.pid)
    with grpc.insecure_channel(large.address) as channel:
        for _ in range(20):
            channel.unary_unary(METHOD)(good().SerializeToString(), timeout=60)
    before = process.memory_info().rss

    def grown(seconds=5):
        end = time.monotonic() + seconds
        while (more := process.memory_info().rss - before) >= 100 * MB and time.monotonic() < end:
            time.sleep(0.1)
        return more

    return grown


@pytest.mark.parametrize("name", LARGE)
def test_millions_of_parts_hold_neither_others_nor_memory(large, memory, name):
    method, message = LARGE[name]()
    with grpc.insecure_channel(large.address) as channel, Others(large.address):
        call = channel.unary_unary(method)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as error:
                call(message, timeout=120)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert len(error.value.details()) < 1000
        assert memory() < 100 * MB


@contextlib.contextmanager
def unfinished(address, count, size):
    """Give connections that have sent as much of a message each as the server took."""
    methods = itertools.cycle([METHOD, HEALTH])
    connections = [Unfinished(address, size, next(methods)) for _ in range(count)]
    try:
        for one in connections:
            one.send()
        yield connections
    finally:
        for one in connections:
            one.close()


def refused(connections, expected):
    """How many of the connections are refused: as many as expected, or after some seconds."""
    end = time.monotonic() + 10
    while (count := sum(one.refused for one in connections)) < expected and time.monotonic() < end:
        for one in connections:
            one.look(0.001)
    return count


def test_messages_that_are_never_finished_are_bounded(start_server, light):
    options = "--max-message-mb", 4, "--max-pending-mb", 8
    small = start_server("--model", f"digits={light}", *options)
    process = psutil.Process(small.process.pid)
    with Others(small.address) as others:
        while len(others.waits) < 20:
            time.sleep(0.01)
        before = process.memory_info().rss
        with unfinished(small.address, 40, 4 * MB) as connections:
            assert refused(connections, 38) >= 38
            assert process.memory_info().rss - before < 50 * MB


def refusal(call, message):
    """The code of the answer to a message."""
    try:
        call(message, timeout=60)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


@pytest.mark.slow
def test_ten_thousand_malformed_requests(large, memory):
    """Of many kinds, with large ones and unfinished ones among them; figures with `pytest -s`."""
    rng, codes, huge = random.Random(0), collections.Counter(), [make() for make in LARGE.values()]
    done = threading.Event()

    def keep_unfinished():
        with unfinished(large.address, 24, 15 * MB) as connections:
            done.wait(60)
            return refused(connections, 8)

    with (
        grpc.insecure_channel(large.address) as channel,
        Others(large.address, seconds=1) as others,
        futures.ThreadPoolExecutor(5) as pool,
    ):
        silent = pool.submit(keep_unfinished)
        calls = {method: channel.unary_unary(method) for method, _ in huge}
        for number in range(0, 10_000, 100):
            messages = [huge[number // 100 % len(huge)], *((METHOD, mutated(rng)) for _ in range(99))]
            codes.update(pool.map(lambda one: refusal(calls[one[0]], one[1]), messages))
        during = memory(0)
        done.set()
        given_up = silent.result()
    time.sleep(2)
    print(
        f"\n{dict(codes)}, {given_up} of 24 unfinished ones refused; resident memory grew by "
        f"{during / MB:.0f} MB, and {memory(0) / MB:.0f} MB at the end, to "
        f"{psutil.Process(large.process.pid).memory_info().rss / MB:.0f} MB; {len(others.waits)} "
        f"known-good requests, the longest {max(others.waits):.3f} s"
    )
    assert set(codes) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}
    assert codes["INVALID_ARGUMENT"] > 5000
    assert given_up >= 8  # more, where others arrived slowly too
    assert memory() < 100 * MB

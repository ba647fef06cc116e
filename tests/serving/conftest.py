import asyncio
import inspect
import socket

import pytest

from tests.fake_server import Fake, started
from tests.tested_client import package


class Driven:
    """An `AsyncClient` with an event loop of its own, in which its coroutines run at once."""

    def __init__(self, *arguments, **options):
        self._runner = asyncio.Runner()
        self._client = package.AsyncClient(*arguments, **options)

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **options: self._runner.run(found(*arguments, **options))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request):
    """Make a client, of the one class and then of the other."""
    return Driven if request.param == "AsyncClient" else package.Client


@pytest.fixture
def client(server, connect):
    with connect(server.address, "digits") as result:
        yield result


@pytest.fixture
def fake(connect):
    """Return a function that starts a `Fake` and returns it, with a client of it."""
    ends = []

    def start(shape=(8, 8, 1), outputs=1, workers=1, **options):
        servicer = Fake(shape, outputs)
        server, address = started(servicer, workers=workers)
        client = connect(address, "digits", **options)
        ends.extend([client.close, lambda: server.stop(None).wait()])
        return servicer, client

    yield start
    for end in ends:
        end()


@pytest.fixture
def free():
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"

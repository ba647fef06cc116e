import socket

import pytest

import abp_tf
from tests.fake_server import Fake, started


@pytest.fixture
def fake():
    """Return a function that starts a `Fake` and returns it, with a client of it."""
    ends = []

    def start(shape=(8, 8, 1), outputs=1, workers=1, **options):
        servicer = Fake(shape, outputs)
        server, address = started(servicer, workers=workers)
        client = abp_tf.Client(address, "digits", **options)
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

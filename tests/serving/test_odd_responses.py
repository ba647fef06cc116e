"""What a server may send instead of a response: the client refuses it before it is expanded."""

import time

import grpc
import psutil
import pytest

from tests.fake_server import noise
from tests.tested_client import messages, package


def shaped(*sizes, values=1):
    """Return what gives an answer so many values for a shape."""

    def spoil(answer):
        signal = answer.outputs["signal"]
        signal.Clear()
        signal.dtype = messages.DT_FLOAT
        signal.float_val.extend([1.0] * values)
        for size in sizes:
            signal.tensor_shape.dim.add(size=size)

    return spoil


# What is wrong with an answer, and what makes it so.
ODD = {
    "a few bytes for gigabytes": shaped(1, 40_000, 40_000, 1),
    "fewer values": shaped(1, 8, 8, 1, values=63),
    "more values": shaped(1, 8, 8, 1, values=65),
    "no values": shaped(1, 8, 8, 1, values=0),
    "negative": shaped(1, -8, -8, 1, values=64),
    "another rank": shaped(1, 64, values=64),
    "no rank": shaped(values=1),
    "more channels": shaped(1, 8, 4, 2, values=64),
    "more rows": shaped(2, 8, 4, 1, values=64),
    "another dtype": lambda answer: setattr(answer.outputs["signal"], "dtype", 2),
    "no dtype": lambda answer: setattr(answer.outputs["signal"], "dtype", 999),
    "half the bytes": lambda answer: setattr(answer.outputs["signal"], "tensor_content", bytes(128)),
    "missing": lambda answer: answer.outputs.pop("signal"),
    "one more": lambda answer: answer.outputs["another"].CopyFrom(answer.outputs["signal"]),
    "another model": lambda answer: setattr(answer.model_spec, "name", "faces"),
}
ODD_METADATA = {
    "nothing": lambda answer: answer.metadata.clear(),
    "no signatures": lambda answer: setattr(answer.metadata["signature_def"], "type_url", "a/b"),
    "no message": lambda answer: setattr(answer.metadata["signature_def"], "value", b"\xff" * 9),
    "another model": lambda answer: setattr(answer.model_spec, "name", "faces"),
}


def refused(client):
    """The error of a request whose response is odd."""
    with pytest.raises(package.ServingError, match=r"Response of 127.0.0.1:\d+ .*'digits'") as caught:
        client.ask("echo", signal=noise(1, 8, 8, 1))
    assert caught.value.code is grpc.StatusCode.INTERNAL
    return str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_odd_responses_are_refused_before_they_are_expanded(fake, name):
    servicer, client = fake((None, None, 1))
    client.ask("echo", signal=noise(1, 8, 8, 1))
    servicer.spoil = ODD[name]
    process = psutil.Process()
    memory, started_at = process.memory_info().rss, time.monotonic()
    refused(client)
    assert time.monotonic() - started_at < 10
    assert process.memory_info().rss - memory < 100 * 2**20
    # What is right is taken again.
    servicer.spoil = lambda answer: None
    assert client.ask("echo", signal=noise(1, 8, 8, 1))


@pytest.mark.parametrize("name", ODD_METADATA)
def test_odd_signatures_are_refused(fake, name):
    servicer, client = fake()
    servicer.spoil = ODD_METADATA[name]
    refused(client)


def test_rows_of_several_shapes_are_refused(fake):
    servicer, client = fake((None, None, 1), batch_size=1)
    shapes = iter([(1, 8, 8, 1), (1, 4, 16, 1)])
    servicer.change = lambda values: values.reshape(next(shapes))
    with pytest.raises(package.ServingError, match=r"\(1, 8, 8, 1\).*\(1, 4, 16, 1\)"):
        client.ask("echo", signal=noise(2, 8, 8, 1))


def test_a_response_of_another_version_is_refused(fake):
    _, client = fake(version=2)
    with pytest.raises(package.ServingError, match="'digits', version 1"):
        client.ask("echo", signal=noise(1, 8, 8, 1))


def test_outputs_that_a_method_needs_and_a_signature_lacks(fake):
    servicer, client = fake()
    servicer.function = "score"
    with pytest.raises(package.ServingError, match=r"'energy', 'score'.* are missing"):
        client.score(noise(1, 8, 8, 1))


def test_what_a_server_says_does_not_reach_the_terminal_raw(fake):
    servicer, client = fake()
    client.ask("echo", signal=noise(1, 8, 8, 1))
    servicer.failures, servicer.details = [grpc.StatusCode.INTERNAL], "a\x1b]0;b\x07\n\u202ec"
    with pytest.raises(package.ServingError) as caught:
        client.ask("echo", signal=noise(1, 8, 8, 1))
    assert r"a\x1b]0;b\x07 \u202ec" in str(caught.value)
    servicer.spoil = lambda answer: setattr(answer.model_spec, "name", "fa\x1b[2Jces")
    assert "\x1b" not in refused(client)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_proxy_is_not_asked_for_this_machine(connect, fake, free, monkeypatch, variable):
    monkeypatch.setenv(variable, f"http://{free}")
    _, client = fake(timeout=10)
    for host in ("127.0.0.1", "localhost"):
        address = client.address.replace("127.0.0.1", host)
        with connect(address, "digits", timeout=10) as other:
            assert other.ask("echo", signal=noise(1, 8, 8, 1))

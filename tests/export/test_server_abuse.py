"""What clients can do to a server: nonsense, silence, and leaving; and it answers on as before."""

import random
import socket
import time

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import abp_tf
from tests.odd_requests import METHOD, good, mutated

REQUESTS = 1000
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"}


def answer(address):
    """The answer to one good request."""
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(good(), timeout=60).SerializeToString(deterministic=True)


def test_malformed_requests_get_proper_codes_and_cost_little(server):
    process = psutil.Process(server.process.pid)
    before, rng, codes = answer(server.address), random.Random(0), {}
    memory = process.memory_info().rss
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(REQUESTS):
            try:
                call(mutated(rng), timeout=60)
                code = "OK"
            except grpc.RpcError as error:
                code = error.code().name
            codes[code] = codes.get(code, 0) + 1
    assert codes.keys() <= ALLOWED, codes
    assert codes["INVALID_ARGUMENT"] > REQUESTS / 2, codes
    assert process.memory_info().rss - memory < 100 * 2**20
    assert answer(server.address) == before


def test_an_absurd_shape_in_a_tiny_message_allocates_nothing(server):
    process = psutil.Process(server.process.pid)
    memory = process.memory_info().rss
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "digits"
    message.inputs["seed"].dtype = tf.int64.as_datatype_enum
    message.inputs["seed"].int64_val.append(1)
    message.inputs["seed"].tensor_shape.dim.add(size=2 * 10**8)
    assert len(message.SerializeToString()) < 60
    with grpc.insecure_channel(server.address) as channel:
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(METHOD)(message.SerializeToString(), timeout=60)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert process.memory_info().rss - memory < 50 * 2**20


@pytest.fixture(scope="module")
def texture(start_server, export_only, tmp_path_factory):
    """A server, as "texture", of a model whose `decode` takes grids of any size; 32x32 from 4x4."""
    directory = tmp_path_factory.mktemp("models") / "texture"
    network = abp_tf.networks.texture_generator((32, 32, 3), 2, 4, levels=3)
    langevin = abp_tf.Langevin(2, 0.1)
    model = abp_tf.Generator(network, langevin=langevin, inference=langevin)
    export_only(model, directory / "1", "synthesize", "decode")
    result = start_server("--model", f"texture={directory}", "--max-message-mb", 1)
    assert result.address
    return result


def grid(*shape):
    """A request of a few bytes: every entry of the grid is the one value that is sent."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "texture", "decode"
    latent = message.inputs["latent"]
    latent.dtype = tf.float32.as_datatype_enum
    latent.float_val.append(1)
    for side in shape:
        latent.tensor_shape.dim.add(size=side)
    assert len(message.SerializeToString()) < 80
    return message


def seeds(rows):
    """A request of a few bytes for as many textures."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "texture", "synthesize"
    message.inputs["seed"].dtype = tf.int64.as_datatype_enum
    message.inputs["seed"].int64_val.append(1)
    message.inputs["seed"].tensor_shape.dim.add(size=rows)
    return message


@pytest.mark.parametrize("shape", [(1, 300, 300, 2), (1, 1, 90_000, 2), (200, 20, 30, 2), None])
def test_a_few_bytes_that_ask_for_a_large_answer_are_refused(texture, shape):
    """The inputs themselves are within the limit on entries, 2 ** 18; their answers are not."""
    message, entries = seeds(100), 100 * 32 * 32 * 3
    if shape is not None:
        message, entries = grid(*shape), np.prod(shape[:3]) * 8 * 8 * 3
    process = psutil.Process(texture.process.pid)
    memory = process.memory_info().rss
    with grpc.insecure_channel(texture.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(message, timeout=60)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for part in ("at most 262144 entries", f"would have {entries}.", "fewer rows", "--max-message-mb"):
        assert part in error.value.details()
    assert process.memory_info().rss - memory < 20 * 2**20


def test_a_grid_whose_answer_is_within_the_limit_is_decoded(texture):
    with grpc.insecure_channel(texture.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for shape in ((1, 36, 37, 2), (8, 4, 40, 2)):
            found = tf.make_ndarray(stub.Predict(grid(*shape), timeout=60).outputs["signal"])
            assert found.shape == (shape[0], 8 * shape[1], 8 * shape[2], 3)
            assert 2**17 < found.size <= 2**18


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def test_random_bytes_on_the_socket(server):
    before, rng = answer(server.address), random.Random(1)
    for size in (1, 24, 1000, 100_000):
        with connect(server.address) as connection:
            try:
                connection.sendall(rng.randbytes(size))
            except ConnectionError:
                pass  # it has hung up on us, which is an answer
    assert answer(server.address) == before


def test_half_open_connections_and_streams(server):
    """Sockets that say nothing, and streams that begin a call whose message never comes."""
    before = answer(server.address)
    silent = [connect(server.address) for _ in range(50)]
    with grpc.insecure_channel(server.address) as channel:
        never = [channel.stream_unary(METHOD).future(_nothing()) for _ in range(100)]
        time.sleep(0.5)
        assert answer(server.address) == before
        for call in never:
            call.cancel()
    for connection in silent:
        connection.close()
    assert answer(server.address) == before


def _nothing(seconds=3):
    time.sleep(seconds)
    return
    yield


def test_clients_that_vanish_in_the_middle(server):
    before = answer(server.address)
    message = good(rows=64).SerializeToString()
    for _ in range(5):
        channel = grpc.insecure_channel(server.address)
        calls = [channel.unary_unary(METHOD).future(message) for _ in range(4)]
        time.sleep(0.05)
        for call in calls:
            call.cancel()
        channel.close()
    assert answer(server.address) == before


def test_more_requests_than_admitted_are_refused_and_deadlines_hold(start_server, light):
    small = start_server(
        "--model", f"digits={light}", "--max-requests", 2, "--workers", 1, "--max-rows", 4096
    )
    answer(small.address)
    message = good(rows=4096).SerializeToString()
    with grpc.insecure_channel(small.address) as channel:
        call = channel.unary_unary(METHOD)
        calls = [call.future(message, timeout=120) for _ in range(6)]
        codes = [_code(each) for each in calls]
        assert codes.count("OK") >= 2
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
        started = time.perf_counter()
        with pytest.raises(grpc.RpcError) as error:
            call(message, timeout=0.05)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.perf_counter() - started < 5
    assert answer(small.address)


def test_a_deadline_that_passes_while_waiting_takes_no_worker(start_server, light):
    one = start_server("--model", f"digits={light}", "--workers", 1, "--max-rows", 4096)
    answer(one.address)
    message = good(rows=4096).SerializeToString()
    with grpc.insecure_channel(one.address) as channel:
        call = channel.unary_unary(METHOD)
        started = time.perf_counter()
        call(message)
        alone = time.perf_counter() - started
        first = call.future(message)
        waiting = [call.future(message, timeout=alone / 10) for _ in range(20)]
        assert {_code(each) for each in waiting} == {"DEADLINE_EXCEEDED"}
        started = time.perf_counter()
        first.result()
        answer(one.address)
        # Had the twenty been worked on, this would take twenty times as long.
        assert time.perf_counter() - started < 8 * alone


def _code(call):
    try:
        call.result()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name

"""Versions that come, go and are broken while a server runs."""

import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def request(version=None):
    result = predict_pb2.PredictRequest()
    result.model_spec.name = "digits"
    if version is not None:
        result.model_spec.version.value = version
    result.inputs["seed"].CopyFrom(tf.make_tensor_proto(np.arange(4)))
    return result


@pytest.fixture
def directory(light, tmp_path):
    return shutil.copytree(light, tmp_path / "digits")


def add(directory, number):
    """Put another version in place, as an export does: aside, then renamed."""
    shutil.copytree(directory / "1", directory / ".aside")
    (directory / ".aside").rename(directory / str(number))


def status(address):
    question = get_model_status_pb2.GetModelStatusRequest()
    question.model_spec.name = "digits"
    with grpc.insecure_channel(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return {one.version: one for one in stub.GetModelStatus(question).model_version_status}


def test_swaps_under_traffic_without_a_failed_request(start_server, directory):
    server = start_server("--model", f"digits={directory}", "--poll", 0.1)
    address, stop = server.address, threading.Event()
    seen, failures = [], []

    def traffic():
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    seen.append(stub.Predict(request(), timeout=60).model_spec.version.value)
                except grpc.RpcError as error:
                    failures.append(error.details())
                stop.wait(0.02)  # a swap takes seconds: no more than some tens of requests see it

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in (2, 3):
        add(directory, number)
        server.wait_for(f"now serving version {number}")
    answered = len(seen)
    while len(seen) < answered + 20 and not failures:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert seen[0] == 1
    assert seen[-1] == 3
    found = status(address)
    assert found[3].state == found[3].AVAILABLE
    assert found[1].state == found[1].END
    assert not found[1].status.error_message


def test_a_broken_version_is_reported_and_the_good_one_kept(start_server, directory):
    server = start_server("--model", f"digits={directory}", "--poll", 0.1)
    address = server.address
    add(directory, 2)
    server.wait_for("now serving version 2")
    torn = directory / "3" / "saved_model.pb"
    shutil.copytree(directory / "1", directory / ".aside")
    warmup = directory / ".aside" / "assets.extra" / "tf_serving_warmup_requests"
    warmup.write_bytes(warmup.read_bytes()[:100])
    (directory / ".aside").rename(directory / "4")
    server.wait_for("refused digits version 4: .*truncated")
    shutil.copytree(directory / "1", directory / ".aside")
    graph = (directory / ".aside" / "saved_model.pb").read_bytes()
    (directory / ".aside" / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
    (directory / ".aside").rename(directory / "3")
    assert "Expected a complete export" in server.wait_for("refused digits version 3: (.*)")[1]
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request()).model_spec.version.value == 2
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(request(3))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
    found = status(address)
    assert found[2].state == found[2].AVAILABLE
    assert found[3].state == found[3].END
    assert "saved_model" in found[3].status.error_message
    # It is refused once, not at each look, and taken up when it is whole.
    time.sleep(0.5)
    assert server.log.count("refused digits version 3") == 1
    torn.write_bytes(graph)
    server.wait_for("now serving version 3")


def test_several_versions_by_number(start_server, directory):
    add(directory, 2)
    add(directory, 10)
    (directory / "notes").mkdir()
    (directory / "11").write_text("a file is no version")
    server = start_server("--model", f"digits={directory}", "--keep", 2)
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        versions = [stub.Predict(request(number)).model_spec.version.value for number in (None, 2, 10)]
        assert versions == [10, 2, 10]
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(request(1))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert "[2, 10]" in error.value.details()


def test_a_version_whose_directory_goes_is_replaced_or_kept(start_server, directory):
    add(directory, 2)
    server = start_server("--model", f"digits={directory}", "--poll", 0.1)
    address = server.address
    shutil.rmtree(directory / "2")
    server.wait_for("now serving version 1")
    shutil.rmtree(directory / "1")
    time.sleep(0.5)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request()).model_spec.version.value == 1

"""Versions that come, go and are broken while a server runs."""

import errno
import json
import os
import shutil
import threading
import time
import types

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

from abp_tf.serving import saved_model
from export import model

ABOUT = f"assets.extra/{saved_model.ABOUT}"


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


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def loop(path):
    (path.parent / "loop").symlink_to("loop")


# What is wrong with a version: a file of it, and what is done to that.
ODD = {
    "pipe": ("saved_model.pb", pipe),
    "pipe of variables": ("variables/variables.index", pipe),
    "loop": ("saved_model.pb", loop),
    "no object": (ABOUT, lambda path: path.write_text("[]")),
    "no range": (ABOUT, lambda path: change(path, value_range="no")),
    "one end": (ABOUT, lambda path: change(path, value_range=[1])),
    "nothing between": (ABOUT, lambda path: change(path, value_range=[1, -1])),
    "text for numbers": (ABOUT, lambda path: change(path, value_range=["a", "b"])),
    "no number": (ABOUT, lambda path: path.write_text(path.read_text().replace("-1", "NaN"))),
    "no shape": (ABOUT, lambda path: change(path, signal_shape=8)),
    "another shape": (ABOUT, lambda path: change(path, signal_shape=[2**40, 8, 1])),
    "negative shape": (ABOUT, lambda path: change(path, latent_shape=[-4])),
    "nested": (ABOUT, lambda path: path.write_text("[" * 100_000)),
    "binary": (ABOUT, lambda path: path.write_bytes(bytes(range(256)))),
}


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_version_leaves_the_good_one(directory, monkeypatch, name):
    part, spoil = ODD[name]
    add(directory, 2)
    spoil(directory / "2" / part)
    load, good = model.Servable, loader()  # to load the good one takes seconds
    monkeypatch.setattr(model, "Servable", lambda path: (load if path.name == "2" else good)(path))
    found = model.Model("digits", directory)
    loading = threading.Thread(target=found.refresh, daemon=True)  # which a pipe would hold for ever
    loading.start()
    loading.join(30)
    assert list(found.loaded) == [1]
    assert "digits/2" in found.statuses[2].error
    assert str(directory) not in found.statuses[2].error


def test_odd_directories_are_passed_over(directory, monkeypatch):
    for number in (2**63, "9" * 200, "²"):
        shutil.copytree(directory / "1", directory / str(number))
    (directory / "8").symlink_to("8")
    (directory / "7").mkdir()
    os.mkfifo(directory / "6")
    monkeypatch.setattr(model, "Servable", loader())
    found = model.Model("digits", directory)
    found.refresh()
    assert list(found.loaded) == [1]
    add(directory, 9)
    found.refresh()
    assert list(found.loaded) == [9]


def loader(*failures):
    """Return what takes the place of `Servable`: it fails as told, and then needs `saved_model.pb`."""
    left = list(failures)

    def load(path):
        if left:
            raise left.pop(0)
        (path / "saved_model.pb").read_bytes()
        return types.SimpleNamespace(signatures=[])

    return load


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_load_that_failed_for_a_passing_reason_is_tried_again(directory, monkeypatch, error):
    now = 1000.0
    monkeypatch.setattr(model.time, "monotonic", lambda: now)
    monkeypatch.setattr(model, "Servable", loader(error, error))
    found = model.Model("digits", directory)
    for pause in (0, 59, 61, 119):
        now += pause
        found.refresh()
        assert not found.loaded  # after a minute it fails again, and waits for two
    now += 62
    found.refresh()
    assert list(found.loaded) == [1]


def test_what_cannot_be_looked_at_does_not_stop_the_search(directory, monkeypatch):
    add(directory, 2)
    stat = os.stat

    def refuse(path, *arguments, **options):
        if os.path.join(directory, "2") in str(path) and str(path) != str(directory / "2"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert model._stamp(directory / "2") == ()
    assert model._stamp(directory / "1")


def test_clients_are_told_no_absolute_paths(directory, monkeypatch):
    error = OSError(2, "No such file", str(directory / "1" / "saved_model.pb"), None, "/etc/own/keys")
    monkeypatch.setattr(model, "Servable", loader(error))
    found = model.Model("digits", directory)
    found.refresh()
    told = found.statuses[1].error
    assert told.endswith("No such file: 'digits/1/saved_model.pb' -> 'keys'")


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

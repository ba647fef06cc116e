"""The server as a program: how it starts, what it refuses to start with, and how it ends."""

import asyncio
import shutil
import signal
import socket
import threading
import urllib.request

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from abp_tf.serving import saved_model
from export import measures
from export import server as program
from export.process import ServerProcess


def request(rows=1, signature="synthesize"):
    result = predict_pb2.PredictRequest()
    result.model_spec.name, result.model_spec.signature_name = "digits", signature
    result.inputs["seed"].CopyFrom(tf.make_tensor_proto(np.arange(rows)))
    if signature == "reconstruct":
        signal = np.zeros((rows, 8, 8, 1), np.float32)
        result.inputs["signal"].CopyFrom(tf.make_tensor_proto(signal))
    return result


def test_sigterm_finishes_what_is_under_way(start_server, light):
    server = start_server("--model", f"digits={light}", "--max-rows", 4096)
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request())
        calls = [stub.Predict.future(request(4096, "reconstruct")) for _ in range(3)]
        # Under way, not only sent: one that came after it would find the others admitted.
        stub.Predict(request())
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert not all(call.done() for call in calls)
        assert server.stop() == 0
        assert [one.status for one in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        assert [len(tf.make_ndarray(call.result().outputs["error"])) for call in calls] == [4096] * 3
    assert "stopped" in server.log


def test_a_port_in_use_is_an_error(server, start_server, light):
    port = server.address.rsplit(":", 1)[1]
    second = start_server("--model", f"digits={light}", "--port", port)
    assert second.process.wait(60) == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in second.log
    with socket.create_server(("127.0.0.1", 0)) as taken:
        third = start_server("--model", f"digits={light}", "--metrics-port", taken.getsockname()[1])
        assert third.process.wait(60) == 1
        assert "in use" in third.log


def test_two_models_metrics_and_ctrl_c(light, tmp_path):
    """As a program is started, `python -m export.server`; other tests fork theirs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    models = "--model", f"digits={light}", "--model", f"others={light}"
    options = "--metrics-port", port, "--host", "0.0.0.0"
    with ServerProcess(tmp_path / "log", *models, *options) as server:
        ask_and_interrupt(server, port)


def ask_and_interrupt(server, port):
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(3):
            stub.Predict(request())
        with pytest.raises(grpc.RpcError):
            stub.Predict(request(signature="draw"))
        message = request()
        message.model_spec.name = "others"
        assert stub.Predict(message).model_spec.name == "others"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'abp_tf_requests_total{code="OK",method="Predict"} 4.0' in text
    assert 'abp_tf_requests_total{code="FAILED_PRECONDITION",method="Predict"} 1.0' in text
    assert 'abp_tf_answer_seconds_count{model="digits",signature="synthesize"} 3.0' in text
    assert 'abp_tf_model_version{model="digits",version="1"} 1.0' in text
    assert server.log.count("WARNING everyone who reaches 0.0.0.0 can use the models") == 1
    (listening,) = (
        one.laddr.ip
        for one in psutil.Process(server.process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    )
    assert listening == "127.0.0.1"  # although requests are accepted from everywhere
    assert server.stop(signal.SIGINT) == 0
    assert "stopped" in server.log
    assert "Traceback" not in server.log


def test_silent_connections_leave_the_metrics_port_free(monkeypatch):
    monkeypatch.setattr(measures, "_SECONDS", 0.5)

    async def get(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        text = await reader.read()
        writer.close()
        return text

    async def besiege():
        counts = measures.Measures({})
        counts.count("Predict", "OK")
        server = await counts.serve("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        async with asyncio.timeout(20):
            # All are closed, those beyond the bound at once and the others in time.
            assert [await reader.read() for reader, _ in silent] == [b""] * 50
            text = await get(port)
        assert b'abp_tf_requests_total{code="OK",method="Predict"} 1.0' in text
        for _, writer in silent:
            writer.close()
        server.close()

    threads = threading.active_count()
    asyncio.run(besiege())
    assert threading.active_count() == threads
    options = program.parser().parse_args(["--model", "a=b", "--host", "0.0.0.0"])
    assert options.metrics_host == "127.0.0.1"


@pytest.fixture
def other_export(tmp_path):
    """A SavedModel that is none of ours, and says it is."""

    class Doubling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def double(self, x):
            return {"y": 2 * x}

    module = Doubling()
    path = tmp_path / "doubling" / "1"
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.double})
    (path / "assets.extra").mkdir()
    about = '{"value_range": null, "signal_shape": [1], "latent_shape": null}'
    (path / "assets.extra" / saved_model.ABOUT).write_text(about)
    return path.parent


def test_directories_it_cannot_serve(light, other_export, tmp_path):
    def refused(kind, *words, named=None):
        with pytest.raises(kind) as error:
            program.open_models(named, keep=1)
        for word in words:
            assert word in str(error.value)

    empty = tmp_path / "empty"
    empty.mkdir()
    refused(ValueError, "found none", "export.saved_model", named=[("digits", empty)])
    refused(NotADirectoryError, "digits", named=[("digits", tmp_path / "absent")])
    refused(
        ValueError, "Expected signatures of abp_tf", "serving_default(x)", named=[("d", other_export)]
    )
    refused(ValueError, "received 'digits' twice", named=[("digits", light)] * 2)
    unmarked = shutil.copytree(light, tmp_path / "unmarked")
    (unmarked / "1" / "assets.extra" / saved_model.ABOUT).unlink()
    refused(ValueError, "Expected a complete export", named=[("digits", unmarked)])


def test_the_program_tells_in_one_line(start_server, tmp_path):
    server = start_server("--model", f"digits={tmp_path}")
    assert server.process.wait(60) == 1
    assert "error: --model digits: expected a version directory" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "digits"],
        ["--model", "digits=x", "--port", "70000"],
        ["--model", "digits=x", "--keep", "0"],
        ["--model", "digits=x", "--max-requests", "many"],
        [],
    ],
)
def test_options_that_mean_nothing(options, capsys):
    with pytest.raises(SystemExit) as end:
        program.parser().parse_args(options)
    assert end.value.code == 2
    assert "expected" in capsys.readouterr().err or not options

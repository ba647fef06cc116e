"""Requests that wait at the same time are computed together, and answered as if they were alone."""

import re
import socket
import time
import urllib.request

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import abp_tf


def request(signature, *wanted, **inputs):
    result = predict_pb2.PredictRequest(output_filter=wanted)
    result.model_spec.name, result.model_spec.signature_name = "digits", signature
    for name, value in inputs.items():
        result.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return result


def batches(port):
    """How many batches the server has computed, or begun with, and how many rows they have."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return [float(re.search(rf"abp_tf_batch_rows_{what} (\S+)", text)[1]) for what in ("count", "sum")]


def test_they_are_put_together_and_answered_as_alone(start_server, exported, digits):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_server(
        "--model", f"digits={exported}", "--workers", 1, "--batch-rows", 16, "--max-rows", 4096,
        "--metrics-port", port,
    )  # fmt: skip
    several = [request("synthesize", seed=np.arange(3) + 10 * number) for number in range(8)]
    several.append(request("synthesize", seed=np.arange(20)))
    several += [
        request("reconstruct", signal=digits[[number]], seed=np.array([number])) for number in range(3)
    ]
    several.append(request("reconstruct", "error", signal=digits[3:5], seed=np.arange(3, 5)))
    rows = np.zeros((4096, 8, 8, 1), np.float32)
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        expected = [stub.Predict(each, timeout=60) for each in several]
        before, rows_before = batches(port)
        long = stub.Predict.future(request("reconstruct", signal=rows, seed=np.arange(4096)))
        while batches(port)[0] == before:  # until the only worker is busy
            time.sleep(0.005)
        calls = [stub.Predict.future(each, timeout=60) for each in several]
        found = [call.result() for call in calls]
        long.result()
    for answer, same in zip(found, expected, strict=True):
        assert answer.model_spec == same.model_spec
        assert answer.outputs.keys() == same.outputs.keys()
        for name, tensor in answer.outputs.items():
            received, alone = tf.make_ndarray(tensor), tf.make_ndarray(same.outputs[name])
            np.testing.assert_allclose(received, alone, atol=1e-4)
    assert found[-1].outputs.keys() == {"error"}
    # The long one; 5 and 3 of those with three seeds; the one of twenty; and the reconstructions.
    after, rows_after = batches(port)
    assert after - before == 5
    assert rows_after - rows_before == 4096 + 24 + 20 + 5


def test_a_client_has_two_requests_under_way_where_the_server_takes_them(start_server, exported):
    one = start_server("--model", f"digits={exported}", "--max-requests", 1)
    with abp_tf.Client(one.address, "digits", batch_size=4) as client:
        drawn = client.synthesize(30, seed=3)
        np.testing.assert_allclose(drawn[26:], client.synthesize(4, seed=29), atol=1e-4)
    assert "RESOURCE_EXHAUSTED" in one.log  # the second was sent, refused, and sent again

"""Requests that wait at the same time are computed together, and answered as if they were alone."""

import asyncio
import re
import socket
import threading
import time
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.batches import Batches
from export.refusal import RefusedError, invalid
from export.servable import Request


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


def test_they_are_put_together_and_answered_as_alone(start_server, light, digits):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_server(
        "--model", f"digits={light}", "--workers", 1, "--batch-rows", 16, "--max-rows", 4096,
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
        longest = request("reconstruct", signal=rows, seed=np.arange(4096))
        long = [stub.Predict.future(longest, timeout=300) for _ in range(3)]
        # Until the only worker is busy, and the one that full batches have besides.
        while batches(port)[0] < before + 2 and not long[0].done():
            time.sleep(0.005)
        calls = [stub.Predict.future(each, timeout=300) for each in several]
        found = [call.result() for call in calls]
        for call in long:
            call.result()
    for answer, same in zip(found, expected, strict=True):
        assert answer.model_spec == same.model_spec
        assert answer.outputs.keys() == same.outputs.keys()
        for name, tensor in answer.outputs.items():
            received, alone = tf.make_ndarray(tensor), tf.make_ndarray(same.outputs[name])
            np.testing.assert_allclose(received, alone, atol=1e-4)
    assert found[-1].outputs.keys() == {"error"}
    # The long ones; 5 and 3 of those with three seeds; the one of twenty; and the reconstructions.
    after, rows_after = batches(port)
    assert after - before == 3 + 4
    assert rows_after - rows_before == 3 * 4096 + 24 + 20 + 5


class Gated:
    """Computes, once it may, twice the seeds it is given; some it refuses, and with some it breaks."""

    def __init__(self):
        self.gate = threading.Event()
        self.computed = []

    def values(self, asked):
        if -1 in asked.inputs["seed"]:
            raise invalid("no such seed")
        return asked.inputs

    def run(self, signature, values):
        assert self.gate.wait(30)
        self.computed.append((signature, values["seed"].tolist()))
        if 13 in values["seed"]:
            raise MemoryError("thirteen")
        return {"double": 2 * values["seed"]}

    def question(self, *seeds, signature="synthesize", entries=1):
        return Request(
            self, signature, {"seed": np.array(seeds)}, {"seed": (len(seeds),)}, entries * len(seeds)
        )


def asked_of(gated, questions, meanwhile=lambda batches, tasks: None, rows=6, entries=100):
    """Ask one after the other of a single worker; return the answers, and what it told of rows."""
    noted = []

    async def ask():
        batches = Batches(1, rows, entries, noted.append)
        tasks = []
        for each in questions:
            answer = batches.submit(each, lambda outputs, _: bytes(outputs["double"].tolist()))
            tasks.append(asyncio.create_task(answer))
            await asyncio.sleep(0)
        assert batches.load == len(questions)
        meanwhile(batches, tasks)
        await asyncio.sleep(0)
        gated.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert batches.load == 0
        batches.close()
        return answers

    return asyncio.run(ask()), noted


def test_what_is_of_one_kind_and_fits_is_taken_with_the_oldest():
    gated, other = Gated(), Gated()
    other.gate.set()
    asked = [
        gated.question(0),
        gated.question(*range(20, 26)),  # full: the second that is under way while the others come
        gated.question(1, 2),
        gated.question(3, signature="decode"),
        other.question(4),
        gated.question(5, 6, 7),
        gated.question(8, 9),  # one row too many
        gated.question(10),
    ]
    answers, noted = asked_of(gated, asked)
    assert [list(each) for each in answers] == [(2 * each.inputs["seed"]).tolist() for each in asked]
    assert sorted(gated.computed) == [
        ("decode", [3]), ("synthesize", [0]), ("synthesize", [1, 2, 5, 6, 7, 10]),
        ("synthesize", [8, 9]), ("synthesize", [20, 21, 22, 23, 24, 25]),
    ]  # fmt: skip
    assert other.computed == [("synthesize", [4])]
    assert noted == [1, 6, 6, 1, 1, 2]


@pytest.mark.parametrize(("rows", "begun"), [([1, 6, 6, 1, 1], 2), ([1, 5], 1), ([1, 5, 2], 2)])
def test_a_full_batch_does_not_wait_for_a_worker_and_one_that_may_grow_does(rows, begun):
    gated, seen = Gated(), []
    asked_of(
        gated,
        [gated.question(*range(20, 20 + count)) for count in rows],
        meanwhile=lambda batches, _: seen.append(batches.running),
    )
    assert seen == [begun]


def test_signals_that_are_large_together_are_computed_apart():
    gated = Gated()
    large = [gated.question(number, entries=60) for number in range(3)]
    answers, noted = asked_of(gated, [*large, gated.question(3, entries=200)])
    assert answers == [bytes([0]), bytes([2]), bytes([4]), bytes([6])]
    assert noted == [1, 1, 1, 1]


def test_an_error_is_told_to_whom_it_belongs():
    gated = Gated()
    answers, noted = asked_of(gated, [gated.question(each) for each in (0, 1, -1, 13, 2)])
    assert answers[:2] == [bytes([0]), bytes([2])]
    assert isinstance(answers[2], RefusedError)
    assert isinstance(answers[3], MemoryError)
    assert answers[4] == bytes([4])
    assert noted == [1, 4]


def test_what_nobody_waits_for_is_not_computed():
    gated = Gated()
    answers, _ = asked_of(
        gated,
        [gated.question(each) for each in range(4)],
        meanwhile=lambda _, tasks: [tasks[place].cancel() for place in (0, 2)],
    )
    assert [isinstance(each, asyncio.CancelledError) for each in answers] == [True, False, True, False]
    assert [seeds for _, seeds in gated.computed] == [[0], [1, 3]]  # the first was under way


def test_closing_forgets_what_waits():
    gated = Gated()
    answers, noted = asked_of(
        gated,
        [gated.question(each) for each in range(3)],
        meanwhile=lambda batches, _: batches.close(),
    )
    assert answers[0] == bytes([0])
    assert all(isinstance(each, asyncio.CancelledError) for each in answers[1:])
    assert noted == [1]

"""Messages of requests: how many may wait, and how many may arrive slowly."""

import asyncio

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from export import messages
from export.refusal import RefusedError
from tests.odd_requests import good


class Call:
    """The context of a call whose message comes when it is told to."""

    def __init__(self, data=None):
        self.arrived = asyncio.get_running_loop().create_future()
        if data is not None:
            self.arrived.set_result(data)

    async def read(self):
        return await self.arrived


async def received(inbox, call):
    async with inbox.receive(call) as data:
        return data


def code(task):
    return task.exception().code.name


def test_what_waits_is_bounded_over_all_calls():
    async def run():
        inbox = messages.Messages(limit=10, largest=5)
        async with inbox.receive(Call(b"12345")), inbox.receive(Call(b"1234")):
            with pytest.raises(RefusedError, match=r"10 bytes.*2 bytes while 9 bytes") as error:
                await received(inbox, Call(b"12"))
            assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await received(inbox, Call(b"1")) == b"1"
        assert await received(inbox, Call(b"12345")) == b"12345"
        with pytest.raises(RefusedError, match="received none"):
            await received(inbox, Call(grpc.aio.EOF))

    asyncio.run(run())


def test_of_messages_that_arrive_slowly_the_oldest_is_refused(monkeypatch):
    monkeypatch.setattr(messages, "_PROMPT", 0.01)

    async def run():
        inbox = messages.Messages(limit=10, largest=5)
        calls = [Call() for _ in range(4)]
        tasks = []
        for call in calls:
            tasks.append(asyncio.create_task(received(inbox, call)))
            await asyncio.sleep(0.05)
        assert [task.done() for task in tasks] == [True, True, False, False]
        assert {code(task) for task in tasks[:2]} == {"RESOURCE_EXHAUSTED"}
        assert await received(inbox, Call(b"1")) == b"1"  # prompt ones never wait
        calls[2].arrived.set_result(b"2")
        assert await tasks[2] == b"2"
        tasks[3].cancel()  # its client goes away
        with pytest.raises(asyncio.CancelledError):
            await tasks[3]
        assert not inbox._slow

    asyncio.run(run())


def test_large_messages_are_parsed_beside_the_loop(monkeypatch):
    monkeypatch.setattr(messages, "_SMALL", 10)

    async def run():
        inbox = messages.Messages(limit=10, largest=5)
        message = good()
        assert await inbox.parse(predict_pb2.PredictRequest, message.SerializeToString()) == message
        for data in (b"\x12\x7f" * 20, b"\x80" * 20):
            with pytest.raises(RefusedError, match=f"{len(data)} bytes that are not one"):
                await inbox.parse(predict_pb2.PredictRequest, data)
        inbox.close()
        with pytest.raises(RuntimeError, match="after shutdown"):
            await inbox.parse(predict_pb2.PredictRequest, message.SerializeToString())

    asyncio.run(run())


def test_fields_are_counted_in_all_levels():
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "digits"
    for number in range(3):  # an input, its name and tensor, the shape of this and its two sides
        dims = message.inputs[f"input {number}"].tensor_shape.dim
        dims.add(size=2**40)
        dims.add(size=1)
    data = message.SerializeToString()
    assert not messages.crowded(data, 1 + 3 * 6)
    assert messages.crowded(data, 3 * 6)


@pytest.mark.parametrize("field", ["variant_val", "resource_handle_val"])
def test_fields_that_hold_messages_without_bound_are_too_many(field):
    message = good()
    getattr(message.inputs["signal"], field).add()
    assert not messages.crowded(good().SerializeToString(), 100)
    assert messages.crowded(message.SerializeToString(), 100)

"""Requests as strangers send them: malformed, huge, and never finished."""

import random
import socket
import time

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

METHOD = "/tensorflow.serving.PredictionService/Predict"
METADATA = METHOD.replace("/Predict", "/GetModelMetadata")
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH = "/grpc.health.v1.Health/Check"
SIZES = [-1, 0, 1, 7, 8, 2**31, 2**62, -(2**63)]


def good(signature="reconstruct", rows=2):
    """Return a request that a server of `digits` answers."""
    values = {
        "synthesize": {"seed": np.arange(rows)},
        "reconstruct": {"signal": np.zeros((rows, 8, 8, 1), np.float32), "seed": np.arange(rows)},
        "inpaint": {
            "signal": np.zeros((rows, 8, 8, 1), np.float32),
            "mask": np.ones((rows, 8, 8, 1), np.float32),
            "seed": np.arange(rows),
        },
        "decode": {"latent": np.zeros((rows, 4), np.float32)},
    }[signature]
    result = predict_pb2.PredictRequest()
    result.model_spec.name, result.model_spec.signature_name = "digits", signature
    for name, value in values.items():
        result.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return result


def mutated(rng: random.Random) -> bytes:
    """Return a good request with one to three things wrong with it, or with its bytes."""
    message = good(rng.choice(["synthesize", "reconstruct", "inpaint", "decode"]), rng.randint(1, 3))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(message.inputs) or ["seed"])
        tensor = message.inputs[name]  # protobuf makes what is missing
        rng.choice(
            [
                lambda name=name: message.inputs.pop(name),
                lambda t=tensor: setattr(t, "dtype", rng.randint(0, 300)),
                lambda t=tensor: setattr(t, "tensor_content", rng.randbytes(rng.randint(0, 600))),
                lambda t=tensor: setattr(t, "tensor_content", t.tensor_content[:-1]),
                lambda t=tensor: t.float_val.extend([float("nan"), 1e38, -0.0]),
                lambda t=tensor: t.int64_val.extend([2**63 - 1, -(2**63)]),
                lambda t=tensor: t.string_val.append(rng.randbytes(9)),
                lambda t=tensor: t.tensor_shape.dim.add(size=rng.choice(SIZES)),
                lambda t=tensor: t.tensor_shape.ClearField("dim"),
                lambda t=tensor: [setattr(d, "size", rng.choice(SIZES)) for d in t.tensor_shape.dim],
                lambda t=tensor: setattr(t.tensor_shape, "unknown_rank", True),
                lambda: message.output_filter.append(rng.choice(["signal", "latent", "", "no such"])),
                lambda: setattr(message.model_spec, "name", rng.choice(["", "dig", "é" * 3000])),
                lambda: setattr(message.model_spec, "signature_name", rng.choice(["", "draw"])),
                lambda: setattr(message.model_spec.version, "value", rng.choice([-1, 0, 2**63 - 1])),
                lambda: setattr(message.model_spec, "version_label", "stable"),
                lambda: message.inputs["another"].CopyFrom(tf.make_tensor_proto([1.0])),
            ]
        )()
    data = bytearray(message.SerializeToString())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def _names():
    """A good request with 1.7 million inputs more, of names of six digits."""
    more = b"".join(b"\x12\x07\n\x05%05x" % number for number in range(1_700_000))
    return good().SerializeToString() + more


def _signal(part: bytes) -> bytes:
    """A good request with more fields in its signal."""
    message = good()
    message.inputs["signal"].MergeFromString(part)
    return message.SerializeToString()


def _field(tag: int, content: bytes) -> bytes:
    size, prefix = len(content), bytes([tag])
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return prefix + bytes([size]) + content


# Methods and messages of 15 MB, by what there are millions of; all are invalid.
LARGE = {
    "inputs": lambda: (METHOD, _names()),
    "output_filter": lambda: (METHOD, good().SerializeToString() + b"\x1a\x00" * 7_500_000),
    "dims": lambda: (METHOD, _signal(_field(0x12, b"\x12\x00" * 7_500_000))),
    "string_val": lambda: (METHOD, _signal(b"\x42\x00" * 7_500_000)),
    "nested tensors": lambda: (METHOD, _signal(_field(0x7A, b"\x1a\x00" * 7_500_000))),
    "nested handles": lambda: (METHOD, _signal(_field(0x72, b"\x32\x00" * 7_500_000))),
    "values": lambda: (METHOD, _signal(_field(0x52, b"\x01" * 15_000_000))),
    "versions": lambda: (METHOD, _field(0x0A, b"\x12\x00" * 7_500_000)),
    "metadata_field": lambda: (METADATA, b"\x12\x00" * 7_500_000),
    "unknown fields": lambda: (STATUS, b"\x7a\x00" * 7_500_000),
    "groups": lambda: (METHOD, b"\x13\x14" * 7_500_000),
    "name of a service": lambda: (HEALTH, _field(0x0A, b"a" * 15_000_000)),
    "zeros": lambda: (METHOD, bytes(15_000_000)),
}


class Unfinished:
    """A connection by HTTP/2 that sends a part of a message as fast as the server lets it.

    Args:
        address: address of the server, "host:port".
        size: bytes of the message, of which the last is never sent.
        method: the method that it calls.
    """

    def __init__(self, address, size, method=METHOD):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        names = {":method": "POST", ":scheme": "http", ":path": method, ":authority": host}
        names |= {"te": "trailers", "content-type": "application/grpc"}
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in names.items())
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0))
        self.socket.sendall(_frame(1, 4, 1, block))
        self.socket.sendall(_frame(0, 0, 1, bytes(1) + size.to_bytes(4, "big")))
        self.left = size - 1
        self.windows, self.received = {0: 65530, 1: 65530}, b""
        self.initial, self.refused = 65535, False

    def send(self, seconds=0.3):
        """Send what the server lets through, until it has let nothing through for a while."""
        end = time.monotonic() + seconds
        while self.left and not self.refused and time.monotonic() < end:
            size = min(self.left, 16384, *self.windows.values())
            if size > 0:
                self.socket.sendall(_frame(0, 0, 1, bytes(size)))
                self.left -= size
                self.windows = {stream: window - size for stream, window in self.windows.items()}
                end = time.monotonic() + seconds
            self.look(0 if size > 0 else 0.02)

    def look(self, seconds=0.0):
        """Take in what the server has sent."""
        self.socket.settimeout(seconds or 1e-6)
        try:
            data = self.socket.recv(2**16)
            self.refused |= not data
            self.received += data
        except (TimeoutError, BlockingIOError):
            pass
        except ConnectionError:
            self.refused = True
        self.socket.settimeout(10)
        while len(self.received) >= 9 + int.from_bytes(self.received[:3], "big"):
            size = int.from_bytes(self.received[:3], "big")
            kind, flags = self.received[3:5]
            stream = int.from_bytes(self.received[5:9], "big")
            self._take(kind, flags, stream, self.received[9 : 9 + size])
            self.received = self.received[9 + size :]

    def _take(self, kind, flags, stream, content):
        if kind == 8 and stream in self.windows:
            self.windows[stream] += int.from_bytes(content, "big")
        elif kind == 4 and not flags & 1:
            for at in range(0, len(content), 6):
                if content[at : at + 2] == b"\x00\x04":
                    initial = int.from_bytes(content[at + 2 : at + 6], "big")
                    self.windows[1] += initial - self.initial
                    self.initial = initial
            self.socket.sendall(_frame(4, 1, 0))
        elif kind == 6 and not flags & 1:
            self.socket.sendall(_frame(6, 1, 0, content))
        elif kind in (1, 3, 7):  # the answer, before there was a question
            self.refused = True

    def close(self):
        self.socket.close()


def _text(text):
    return bytes([len(text)]) + text.encode()


def _frame(kind, flags, stream, content=b""):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content

"""What `Client` sends and receives: connection, arrays as messages, errors."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.errors import ServingError

# What gRPC lets through by default, less what names, shapes and headers take.
MESSAGE_BYTES = 4 * 2**20 - 2**16

# Answers are functions of the request, so asking again is safe. The pauses are about 0.2, 0.4, 0.8
# and 1.6 seconds.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]})),
    # gRPC keeps 256 KB of a request for another attempt, and never repeats a larger one.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # By itself it waits longer and longer before it connects again, up to two minutes, and fails
    # requests meanwhile, also when the server is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # One row alone may be larger than the default.
    ("grpc.max_receive_message_length", -1),
]

_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "If no server runs there, start one with `abp-tf serve --model "
    "{model}=DIRECTORY --port {port}`, or give the address of another. If it wants TLS, give its root "
    "certificate.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No answer within {timeout:g} s: check the address, raise the "
    "timeout, or lower the batch size.",
    grpc.StatusCode.NOT_FOUND: "`abp-tf client status` lists the versions of a model.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The server is at a limit of its own: ask later, or lower the "
    "batch size.",
    grpc.StatusCode.UNIMPLEMENTED: "What listens there is no TensorFlow Serving.",
}


# What servers say that have enough to do: this package's, and TensorFlow Serving.
_TOO_MANY = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


class Signature(NamedTuple):
    """What a function of a served model takes and gives: `tf.TensorSpec`s by name."""

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]


def channel(address: str, root_certificates: str | os.PathLike | None) -> grpc.Channel:
    """Prepare a connection; it is made when the first request is sent.

    Args:
        address: "host:port".
        root_certificates: file of certificates (PEM) for TLS; None: plain text.
    """
    if root_certificates is None:
        return grpc.insecure_channel(address, _OPTIONS)
    with open(root_certificates, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, credentials, _OPTIONS)


def error(cause: grpc.RpcError, address: str, model: str, timeout: float) -> ServingError:
    """Turn gRPC's error into one that says what was asked, what came, and what to do."""
    details = " ".join((cause.details() or "").split()).rstrip(".")
    remedy = _REMEDIES.get(cause.code(), "").format(
        model=model, port=address.rpartition(":")[2], timeout=timeout
    )
    text = f"Asked {address} for the model {model!r}: {cause.code().name}, {details}. {remedy}"
    return ServingError(text.rstrip(), cause.code())


def specs(infos) -> dict[str, tf.TensorSpec]:
    """Read the inputs, or the outputs, of a signature from a server's metadata."""
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name=name)
        for name, info in sorted(infos.items())
    }


def checked(name: str, wanted: dict[str, tf.TensorSpec], given: dict, value_range) -> dict:
    """Check the inputs of a function before they are sent.

    Args:
        name: of the function.
        wanted: its inputs.
        given: arrays by name; None counts as not given, and `seed` is 0 by default.
        value_range: see `checks.signals`.

    Returns:
        Arrays by name with the same number of rows; those of a mask are bool.

    Raises:
        ValueError: for inputs that are missing, unknown, of another shape or dtype, or out of range.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if "seed" in wanted and len(wanted) > 1:
        given.setdefault("seed", 0)
    if set(given) != set(wanted):
        raise ValueError(
            f"{name} expected the inputs {sorted(wanted)}, received {sorted(given)}."
            + (f" {checks.POLARITY}" if "mask" in set(wanted) - set(given) else "")
        )
    arrays = {}
    if "signal" in wanted:
        parts = {key: given[key] for key in ("signal", "mask") if key in wanted}
        shape = _shape(wanted["signal"], np.shape(given["signal"]))
        data = examples.examples(parts, shape, value_range)
        arrays["signal"] = data.signal
        if data.mask is not None:
            arrays["mask"] = np.broadcast_to(data.mask, data.signal.shape)
    for key in sorted(set(wanted) - {"signal", "mask", "seed"}):
        arrays[key] = _plain(key, given[key], wanted[key])
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{name} expected as many rows in each input, received {counts}.")
    if "seed" in wanted:
        count = next(iter(counts.values()), np.size(given["seed"]))
        arrays["seed"] = checks.seeds(given["seed"], count)
    return arrays


def _shape(spec: tf.TensorSpec, received: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one row, with the received sizes where the function takes any."""
    dims = [None] * len(received) if spec.shape.rank is None else spec.shape.as_list()
    if len(dims) == len(received):
        dims = [size if dim is None else dim for dim, size in zip(dims, received, strict=True)]
    return tuple(dims[1:])


def _plain(key: str, value, spec: tf.TensorSpec) -> np.ndarray:
    array = np.asarray(value)
    shape, kind = _shape(spec, array.shape), spec.dtype.as_numpy_dtype
    wanted = np.floating if spec.dtype.is_floating else np.integer if spec.dtype.is_integer else kind
    if array.ndim == 0 or array.shape[1:] != shape or not np.issubdtype(array.dtype, wanted):
        raise ValueError(
            f"{key}: expected {spec.dtype.name} of shape {('n', *shape)}, received {array.dtype} of "
            f"shape {array.shape}."
        )
    if len(array) == 0:
        raise ValueError(f"{key}: expected at least one row, received none.")
    if spec.dtype.is_floating and not np.isfinite(array).all():
        raise ValueError(f"{key}: expected finite values, received NaN or infinity.")
    return array


def rows_per_request(
    signature: Signature, inputs: dict[str, np.ndarray], answer: dict[str, np.ndarray] | None = None
) -> int:
    """Return how many rows a request may have, so that neither it nor its answer is too large.

    Args:
        signature: of the function that is asked.
        inputs: all rows of them.
        answer: to the first row; without it that row is asked alone where the signature does not tell
            the size of its outputs.
    """
    sent = sum(part[0].size * signature.inputs[key].dtype.size for key, part in inputs.items())
    if answer is not None:
        received = sum(part[0].nbytes for part in answer.values())
    elif all(spec.shape[1:].is_fully_defined() for spec in signature.outputs.values()):
        received = sum(
            math.prod(spec.shape[1:]) * spec.dtype.size for spec in signature.outputs.values()
        )
    else:
        return 1
    return max(1, MESSAGE_BYTES // max(sent, received))


def request(
    model: model_pb2.ModelSpec,
    name: str,
    signature: Signature,
    inputs: dict[str, np.ndarray],
    rows: np.ndarray,
) -> predict_pb2.PredictRequest:
    """Return the request for some rows; after the last of the inputs the first comes again.

    Args:
        model: that is asked.
        name: of its function.
        signature: of that function.
        inputs: all rows of them; a seed grows by their number each time they come again.
        rows: numbers of rows, `[n]`.
    """
    message = predict_pb2.PredictRequest(model_spec=model)
    message.model_spec.signature_name = name
    for key, part in inputs.items():
        values = part[rows % len(part)]
        if key == "seed":
            values = values + rows // len(part) * len(part)
        values = np.ascontiguousarray(values, signature.inputs[key].dtype.as_numpy_dtype)
        message.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    return message


class Line:
    """Requests under way; their answers are received in the order in which they were sent.

    Args:
        method: of a stub.
        timeout: seconds that the answer to a request may take; for one that is sent behind others,
            so many for each of them too.
    """

    def __init__(self, method: grpc.UnaryUnaryMultiCallable, timeout: float):
        self._method, self._timeout = method, timeout
        self.under_way: deque[tuple] = deque()

    def send(self, rows: np.ndarray, message: predict_pb2.PredictRequest) -> None:
        """Send a request for some rows."""
        before = len(self.under_way)
        timeout = self._timeout * (1 + before)
        self.under_way.append((rows, message, self._method.future(message, timeout=timeout), timeout))

    @property
    def timeout(self) -> float:
        """Seconds that the first of them may take."""
        return self.under_way[0][-1]

    def receive(self) -> tuple[np.ndarray, predict_pb2.PredictResponse]:
        """Wait for the first answer; return it, and the rows it was asked for.

        Raises:
            grpc.RpcError: there is none.
        """
        rows, message, call, timeout = self.under_way[0]
        if timeout > self._timeout and call.code() in _TOO_MANY:
            # A server that takes few requests at a time may take it when the others are answered.
            for _, _, other, _ in self.under_way:
                other.code()
            answer = self._method(message, timeout=timeout)
        else:
            answer = call.result()
        self.under_way.popleft()
        return rows, answer

    def close(self) -> None:
        """Take back what is still under way."""
        for _, _, call, _ in self.under_way:
            call.cancel()


def arrays(name: str, outputs, count: int) -> dict[str, np.ndarray]:
    """Read the outputs of an answer to `count` rows.

    Raises:
        ValueError: the function does not answer row by row.
    """
    answer = {key: tf.make_ndarray(proto) for key, proto in outputs.items()}
    shapes = {key: part.shape for key, part in answer.items()}
    if any(shape[:1] != (count,) for shape in shapes.values()):
        raise ValueError(
            f"{name} was asked for {count} rows and answered with the shapes {shapes}. Expected one "
            "row for each, as models exported by this package give them."
        )
    return answer

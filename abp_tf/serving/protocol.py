"""Messages between `Client` and a server: connection, arrays, errors."""

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

# gRPC's default limit, minus room for names, shapes and headers.
MESSAGE_BYTES = 4 * 2**20 - 2**16

# A response is a function of the request, so retries are safe. The pauses are about 0.2, 0.4, 0.8 and
# 1.6 seconds.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]})),
    # By default gRPC keeps 256 KB of a request for retries, and never repeats a larger one.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # By default the pauses before it reconnects grow to two minutes. Requests fail meanwhile, even if
    # the server is available again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # One row alone may be larger than the default.
    ("grpc.max_receive_message_length", -1),
]

_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "If no server runs there, start one with `abp-tf serve --model "
    "{model}=DIRECTORY --port {port}`, or use the address of another. If it requires TLS, set the root "
    "certificates.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No response within {timeout:g} s: check the address, raise the "
    "timeout, or lower the batch size.",
    grpc.StatusCode.NOT_FOUND: "`abp-tf client status` lists the versions of a model.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The server has reached one of its limits: try later, or lower "
    "the batch size.",
    grpc.StatusCode.UNIMPLEMENTED: "The program at this address is not TensorFlow Serving.",
}


# Codes of servers that are busy: the one of this package, and TensorFlow Serving.
_TOO_MANY = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


class Signature(NamedTuple):
    """Inputs and outputs of a function of a served model: `tf.TensorSpec`s by name."""

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]


def channel(address: str, root_certificates: str | os.PathLike | None) -> grpc.Channel:
    """Return a connection, which is made when the first request is sent.

    Args:
        address: address of the server, "host:port".
        root_certificates: path of a file of certificates (PEM) for TLS; None uses no encryption.
    """
    if root_certificates is None:
        return grpc.insecure_channel(address, _OPTIONS)
    with open(root_certificates, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, credentials, _OPTIONS)


def error(cause: grpc.RpcError, address: str, model: str, timeout: float) -> ServingError:
    """Return a `ServingError` with the request, gRPC's error and a remedy."""
    details = " ".join((cause.details() or "").split()).rstrip(".")
    remedy = _REMEDIES.get(cause.code(), "").format(
        model=model, port=address.rpartition(":")[2], timeout=timeout
    )
    text = f"Request to {address} for the model {model!r}: {cause.code().name}, {details}. {remedy}"
    return ServingError(text.rstrip(), cause.code())


def specs(infos) -> dict[str, tf.TensorSpec]:
    """Return the inputs, or the outputs, of a signature in a server's metadata."""
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name=name)
        for name, info in sorted(infos.items())
    }


def checked(name: str, wanted: dict[str, tf.TensorSpec], given: dict, value_range) -> dict:
    """Return the inputs of a function, checked before they are sent.

    Args:
        name: name of the function.
        wanted: specs of its inputs by name.
        given: arrays by name; None counts as missing, and `seed` is 0 by default.
        value_range: interval in which observed entries must lie; None lifts the check.

    Returns:
        Arrays by name, all with the same number of rows; a mask is bool.

    Raises:
        ValueError: if inputs are missing, unknown, of another shape or dtype, or out of range.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if "seed" in wanted and len(wanted) > 1:
        given.setdefault("seed", 0)
    parts = {key: given[key] for key in ("signal", "mask") if key in given}
    needed = set(wanted) - (
        {"mask"} if checks.parted(given.get("signal", ()))[1] is not None else set()
    )
    if not needed <= set(given) <= set(wanted):
        raise ValueError(
            f"{name} expected the inputs {sorted(wanted)}, received {sorted(given)}."
            + (f" {checks.POLARITY}" if "mask" in set(wanted) - set(given) else "")
        )
    arrays = {}
    if "signal" in wanted:
        shape = _shape(wanted["signal"], np.shape(given["signal"]))
        data = examples.examples(parts, shape, value_range)
        arrays["signal"] = data.signal
        if data.mask is not None:
            if "mask" not in wanted:
                raise ValueError(
                    f"{name} expected whole signals, received a NumPy masked array. Fill in its masked "
                    "entries first, by inpaint."
                )
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
    """Return the shape of one row, with the received sizes where the function allows any."""
    dims = [None] * len(received) if spec.shape.rank is None else spec.shape.as_list()
    if len(dims) == len(received):
        dims = [size if dim is None else dim for dim, size in zip(dims, received, strict=True)]
    return tuple(dims[1:])


def _plain(key: str, value, spec: tf.TensorSpec) -> np.ndarray:
    array, observed = checks.parted(value)
    if observed is not None:
        raise ValueError(f"{key}: expected an array without a mask, received a NumPy masked array.")
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
    signature: Signature, inputs: dict[str, np.ndarray], result: dict[str, np.ndarray] | None = None
) -> int:
    """Return the number of rows per request that keeps request and response below the limit.

    Args:
        signature: signature of the function.
        inputs: arrays of all rows, by name.
        result: outputs of the first rows, if there are any yet. Without them one row is requested if
            the signature does not determine the size of its outputs.
    """
    sent = sum(part[0].size * signature.inputs[key].dtype.size for key, part in inputs.items())
    if result is not None:
        received = sum(part[0].nbytes for part in result.values())
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
    """Return the request for some rows; row numbers beyond the inputs repeat them from the first.

    Args:
        model: specification of the model.
        name: name of its function.
        signature: signature of the function.
        inputs: arrays of all rows, by name; each repetition raises a seed by the number of rows.
        rows: numbers of the rows, `[n]`.
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
    """Requests under way; their responses are received in the order of sending.

    Args:
        method: method of a gRPC stub.
        timeout: seconds that one request may take; a request sent behind others has as many more for
            each of them.
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
        """Seconds that the first request under way may take."""
        return self.under_way[0][-1]

    def receive(self) -> tuple[np.ndarray, predict_pb2.PredictResponse]:
        """Wait for the response to the first request; return its rows and the response.

        Raises:
            grpc.RpcError: if the request fails.
        """
        rows, message, call, timeout = self.under_way[0]
        if timeout > self._timeout and call.code() in _TOO_MANY:
            # A server that accepts few requests at a time may accept it once the others are done.
            for _, _, other, _ in self.under_way:
                other.code()
            response = self._method(message, timeout=timeout)
        else:
            response = call.result()
        self.under_way.popleft()
        return rows, response

    def close(self) -> None:
        """Cancel the requests that are still under way."""
        for _, _, call, _ in self.under_way:
            call.cancel()


def arrays(name: str, outputs, count: int) -> dict[str, np.ndarray]:
    """Return the outputs of a response as arrays.

    Args:
        name: name of the function, for errors.
        outputs: messages of the outputs, by name.
        count: number of rows that were requested.

    Raises:
        ValueError: if an output does not have one row for each row of the request.
    """
    found = {key: tf.make_ndarray(proto) for key, proto in outputs.items()}
    shapes = {key: part.shape for key, part in found.items()}
    if any(shape[:1] != (count,) for shape in shapes.values()):
        raise ValueError(
            f"{name} expected {count} rows in each output, received the shapes {shapes}. Use a model "
            "that was exported by this package."
        )
    return found

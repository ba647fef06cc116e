"""Messages of requests and responses, made from arrays and turned into arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from abp_tf import checks
from abp_tf.data import examples

# gRPC's default limit, minus room for names, shapes and headers.
MESSAGE_BYTES = 4 * 2**20 - 2**16

# Fields of a `TensorProto` that hold values outside `tensor_content`, by dtype.
FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
}


class Signature(NamedTuple):
    """Inputs and outputs of a function of a served model: `tf.TensorSpec`s by name."""

    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]


def specs(infos) -> dict[str, tf.TensorSpec]:
    """Return the inputs, or the outputs, of a signature in a server's metadata.

    Raises:
        TypeError: if a dtype does not exist.
        ValueError: if a dtype is none of `FIELDS`, or a shape is unknown or without rows.
    """
    found = {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name=name)
        for name, info in sorted(infos.items())
    }
    for name, spec in found.items():
        if not spec.shape.rank or spec.dtype not in FIELDS:
            dtypes = ", ".join(dtype.name for dtype in FIELDS)
            raise ValueError(f"{name}: expected rows of {dtypes}, received {spec}.")
    return found


def specs_of(found: Mapping[str, np.ndarray]) -> dict[str, tf.TensorSpec]:
    """Return the specs of arrays, for any number of rows of the same shape."""
    return {
        key: tf.TensorSpec([None, *part.shape[1:]], part.dtype, name=key) for key, part in found.items()
    }


def checked(name: str, wanted: dict[str, tf.TensorSpec], given: dict, value_range) -> dict:
    """Return the inputs of a function, checked before they are sent.

    Args:
        name: name of the function.
        wanted: specs of its inputs by name.
        given: arrays by name; None counts as missing, and `seed` is 0 by default. A `time` may be one
            number for all rows; it is left out if the function has no such input.
        value_range: interval in which observed entries must lie; None lifts the check.

    Returns:
        Arrays by name, all with the same number of rows; a mask is bool, a time float64.

    Raises:
        ValueError: if inputs are missing, unknown, of another shape or dtype, or out of range.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if "time" not in wanted:
        given.pop("time", None)
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
            + (f" {checks.TIME}" if "time" in set(wanted) - set(given) else "")
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
    for key in sorted(set(wanted) - {"signal", "mask", "seed", "time"}):
        arrays[key] = _plain(key, given[key], wanted[key])
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{name} expected as many rows in each input, received {counts}.")
    count = next(iter(counts.values()), np.size(given.get("seed", 0)))
    if "seed" in wanted:
        arrays["seed"] = checks.seeds(given["seed"], count)
    if "time" in wanted:
        arrays["time"] = checks.times(given["time"], count)
    return arrays


def _shape(spec: tf.TensorSpec, received: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one row, with the received sizes where the function allows any."""
    dims = spec.shape.as_list()
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


def arrays(
    name: str,
    wanted: Mapping[str, tf.TensorSpec],
    outputs: Mapping[str, tensor_pb2.TensorProto],
    count: int,
) -> dict[str, np.ndarray]:
    """Return the outputs of a response as arrays, checked before memory is allocated for them.

    Args:
        name: name of the function, for errors.
        wanted: specs of its outputs by name.
        outputs: tensors of the response by name.
        count: number of rows that were requested.

    Returns:
        Arrays by name, each with the dtype and shape of its spec and `count` rows.

    Raises:
        ValueError: if outputs are missing or unknown, if a dtype, shape or number of rows differs, or
            if there are more or fewer values than a shape has entries.
    """
    if len(outputs) != len(wanted) or any(key not in outputs for key in wanted):
        received = sorted(itertools.islice(outputs, len(wanted) + 1))
        raise ValueError(f"{name} expected the outputs {sorted(wanted)}, received {received}.")
    shapes = {
        key: _checked_shape(f"{name}: {key}", spec, outputs[key], count) for key, spec in wanted.items()
    }
    return {key: values(outputs[key], shape) for key, shape in shapes.items()}


def _checked_shape(
    name: str, spec: tf.TensorSpec, tensor: tensor_pb2.TensorProto, count: int
) -> tuple[int, ...]:
    """Return the shape of an output; ValueError if it is not as its spec says."""
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim[: spec.shape.rank + 1])
    same = tensor.dtype == spec.dtype.as_datatype_enum and min(shape, default=-1) >= 0
    if not (same and spec.shape.is_compatible_with(shape) and shape[0] == count):
        raise ValueError(
            f"{name} expected {spec.dtype.name} of shape {(count, *spec.shape[1:])}, received the "
            f"dtype number {tensor.dtype} and the shape {shape}."
        )
    # TensorFlow would repeat the last value if there were fewer than the shape has entries.
    received = len(getattr(tensor, FIELDS[spec.dtype]))
    if tensor.tensor_content:
        received = len(tensor.tensor_content) / spec.dtype.size
    if received != math.prod(shape):
        raise ValueError(
            f"{name} expected {math.prod(shape)} values for the shape {shape}, received {received:g}."
        )
    return shape


def values(tensor: tensor_pb2.TensorProto, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of a tensor; the last one is repeated where there are fewer than entries.

    Args:
        tensor: a tensor of a dtype among `FIELDS`, with at most as many values as entries.
        shape: its shape.
    """
    dtype = tf.as_dtype(tensor.dtype)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype).reshape(shape)
    found = np.asarray(getattr(tensor, FIELDS[dtype]), dtype.as_numpy_dtype)
    return np.pad(found, (0, math.prod(shape) - len(found)), mode="edge").reshape(shape)

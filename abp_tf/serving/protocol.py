"""Messages of requests and responses, made from arrays and turned into arrays without TensorFlow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..data import examples
from . import messages_pb2 as messages

# gRPC's default limit, minus room for names, shapes and headers.
MESSAGE_BYTES = 4 * 2**20 - 2**16

# Batch sizes that a server runs before its first client; export/deploy pads to these.
WARMUP_ROWS = (1, 4, 16)

# Functions of samples, which may lie outside the range of the data.
UNBOUNDED = frozenset(("refine", "score"))

# Types of tensors by their number in a message.
DTYPES: dict[messages.DataType, np.dtype] = {
    messages.DT_FLOAT: np.dtype(np.float32),
    messages.DT_DOUBLE: np.dtype(np.float64),
    messages.DT_INT32: np.dtype(np.int32),
    messages.DT_INT64: np.dtype(np.int64),
}

# Fields of a tensor that hold values outside `tensor_content`, by the number of its type.
FIELDS = {
    messages.DT_FLOAT: "float_val",
    messages.DT_DOUBLE: "double_val",
    messages.DT_INT32: "int_val",
    messages.DT_INT64: "int64_val",
}

# Name of the message of signatures in TensorFlow Serving.
_SIGNATURES = "tensorflow.serving.SignatureDefMap"

_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


class Spec(NamedTuple):
    """Shape and type of an input or an output of a function.

    Attributes:
        shape: sizes of the axes, rows first; None where any size is allowed.
        dtype: type of the entries.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Return whether arrays of a shape are allowed."""
        return len(shape) == len(self.shape) and all(
            wanted in (None, size) for wanted, size in zip(self.shape, shape, strict=True)
        )


class Signature(NamedTuple):
    """Inputs and outputs of a function of a served model: a `Spec` of each by name."""

    inputs: dict[str, Spec]
    outputs: dict[str, Spec]


def specs(infos: Mapping[str, messages.TensorInfo]) -> dict[str, Spec]:
    """Return the inputs, or the outputs, of a signature in a server's metadata.

    Raises:
        ValueError: if a dtype is none of `DTYPES`, or a shape is unknown, impossible or without rows.
    """
    found = {}
    for name, info in sorted(infos.items()):
        sizes = [dim.size for dim in info.tensor_shape.dim]
        if info.tensor_shape.unknown_rank or min(sizes, default=-2) < -1 or info.dtype not in DTYPES:
            dtypes = ", ".join(dtype.name for dtype in DTYPES.values())
            raise ValueError(
                f"{name}: expected rows of {dtypes}, received the dtype number {info.dtype} and the "
                f"shape {sizes}."
            )
        shape = tuple(None if size == -1 else size for size in sizes)
        found[name] = Spec(shape, DTYPES[info.dtype])
    return found


def signatures(response: messages.GetModelMetadataResponse) -> dict[str, Signature]:
    """Return the functions in a server's metadata by name.

    Raises:
        ValueError: if there are none, or inputs or outputs that `specs` refuses.
        DecodeError: if they cannot be parsed.
    """
    packed = response.metadata["signature_def"]
    if packed.type_url.rpartition("/")[2] != _SIGNATURES:
        raise ValueError("expected the signatures of the model, received none.")
    found = messages.SignatureDefMap.FromString(packed.value)
    return {
        name: Signature(specs(definition.inputs), specs(definition.outputs))
        for name, definition in sorted(found.signature_def.items())
        if definition.inputs  # the server runs the others while it loads the model
    }


def specs_of(found: Mapping[str, np.ndarray]) -> dict[str, Spec]:
    """Return the specs of arrays, for any number of rows of the same shape."""
    return {key: Spec((None, *part.shape[1:]), part.dtype) for key, part in found.items()}


def checked(name: str, wanted: dict[str, Spec], given: dict, value_range) -> dict:
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


def _shape(spec: Spec, received: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the shape of one row, with the received sizes where the function allows any."""
    dims = spec.shape
    if len(dims) == len(received):
        dims = tuple(size if dim is None else dim for dim, size in zip(dims, received, strict=True))
    return dims[1:]


def _plain(key: str, value, spec: Spec) -> np.ndarray:
    array, observed = checks.parted(value)
    if observed is not None:
        raise ValueError(f"{key}: expected an array without a mask, received a NumPy masked array.")
    shape = _shape(spec, array.shape)
    wanted = np.floating if spec.dtype.kind == "f" else np.integer
    if array.ndim == 0 or array.shape[1:] != shape or not np.issubdtype(array.dtype, wanted):
        raise ValueError(
            f"{key}: expected {spec.dtype.name} of shape {('n', *shape)}, received {array.dtype} of "
            f"shape {array.shape}."
        )
    if len(array) == 0:
        raise ValueError(f"{key}: expected at least one row, received none.")
    if spec.dtype.kind == "f" and not np.isfinite(array).all():
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
    sent = sum(part[0].size * signature.inputs[key].dtype.itemsize for key, part in inputs.items())
    if result is not None:
        received = sum(part[0].nbytes for part in result.values())
    else:
        received = 0
        for spec in signature.outputs.values():
            sizes = [size for size in spec.shape[1:] if size is not None]
            if len(sizes) < len(spec.shape) - 1:
                return 1
            received += math.prod(sizes) * spec.dtype.itemsize
    return max(1, MESSAGE_BYTES // max(sent, received))


def request(
    model: messages.ModelSpec,
    name: str,
    signature: Signature,
    inputs: dict[str, np.ndarray],
    rows: np.ndarray,
) -> messages.PredictRequest:
    """Return the request for some rows; row numbers beyond the inputs repeat them from the first.

    Args:
        model: specification of the model.
        name: name of its function.
        signature: signature of the function.
        inputs: arrays of all rows, by name; each repetition raises a seed by the number of rows.
        rows: numbers of the rows, `[n]`.
    """
    message = messages.PredictRequest(model_spec=model)
    message.model_spec.signature_name = name
    for key, part in inputs.items():
        values = part[rows % len(part)]
        if key == "seed":
            values = values + rows // len(part) * len(part)
        write(values.astype(signature.inputs[key].dtype, copy=False), message.inputs[key])
    return message


def arrays(
    name: str,
    wanted: Mapping[str, Spec],
    outputs: Mapping[str, messages.TensorProto],
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


def _checked_shape(name: str, spec: Spec, tensor: messages.TensorProto, count: int) -> tuple[int, ...]:
    """Return the shape of an output; ValueError if it is not as its spec says."""
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim[: len(spec.shape) + 1])
    same = DTYPES.get(tensor.dtype) == spec.dtype and min(shape, default=-1) >= 0
    if not (same and spec.takes(shape) and shape[0] == count):
        raise ValueError(
            f"{name} expected {spec.dtype.name} of shape {(count, *spec.shape[1:])}, received the "
            f"dtype number {tensor.dtype} and the shape {shape}."
        )
    # TensorFlow would repeat the last value if there were fewer than the shape has entries.
    received: float = len(getattr(tensor, FIELDS[tensor.dtype]))
    if tensor.tensor_content:
        received = len(tensor.tensor_content) / spec.dtype.itemsize
    if received != math.prod(shape):
        raise ValueError(
            f"{name} expected {math.prod(shape)} values for the shape {shape}, received {received:g}."
        )
    return shape


def values(tensor: messages.TensorProto, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of a tensor; the last one is repeated where there are fewer than entries.

    Args:
        tensor: a tensor of a dtype among `DTYPES`, with at most as many values as entries.
        shape: its shape.
    """
    dtype = DTYPES[tensor.dtype]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    found = np.asarray(getattr(tensor, FIELDS[tensor.dtype]), dtype)
    return np.pad(found, (0, math.prod(shape) - len(found)), mode="edge").reshape(shape)


def write(values: np.ndarray, tensor: messages.TensorProto) -> None:
    """Write an array of a dtype among `DTYPES` into an empty tensor of a message."""
    tensor.dtype = _NUMBERS[values.dtype]
    tensor.tensor_content = values.tobytes()
    for side in values.shape:
        tensor.tensor_shape.dim.add(size=side)

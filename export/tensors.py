"""Convert the tensors of requests to arrays.

The declared shapes are compared with the signature before any memory is allocated: a message of 41
bytes can declare an input of gigabytes, or request an output of that size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from abp_tf import checks
from abp_tf.serving import protocol

from .refusal import invalid, quoted


def measure(
    inputs: Mapping[str, tensor_pb2.TensorProto],
    specs: Mapping[str, tf.TensorSpec],
    *,
    max_rows: int,
    max_entries: int,
    signal_entries: int,
    latent_entries: int,
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Check the shapes of the inputs of a request.

    Args:
        inputs: tensors of the request by name.
        specs: inputs of the signature by name, each `[n, …]`, float32, float64 or int64.
        max_rows: largest `n`.
        max_entries: largest number of entries of one input, and of the signals of the response.
        signal_entries: number of entries of a signal of the trained size.
        latent_entries: number of entries of its latents.

    Returns:
        Shapes by name, all with the same number of rows, and the number of entries of the signals of
        the response.

    Raises:
        RefusedError: INVALID_ARGUMENT, for names, dtypes, shapes or numbers of values that do not fit.
    """
    # One name more than there are inputs, so that one of them is wrong: there may be thousands.
    extra = sorted(set(itertools.islice(inputs, len(specs) + 1)) - specs.keys())
    missing = sorted(name for name in specs if name not in inputs)
    if missing or extra:
        raise invalid(
            f"Expected the inputs {sorted(specs)}; "
            + "; ".join(
                [f"missing: {missing}"] * bool(missing)
                + [f"not an input: {quoted(', '.join(extra))}"] * bool(extra)
            )
        )
    shapes = {name: _shape(name, inputs[name], spec) for name, spec in specs.items()}
    rows = {name: shape[0] for name, shape in shapes.items()}
    if len(set(rows.values())) > 1:
        raise invalid(f"Expected inputs with the same number of rows, received {rows}.")
    count = next(iter(rows.values()))
    if not 1 <= count <= max_rows:
        raise invalid(f"Expected 1 to {max_rows} rows, received {count}. Split larger requests.")
    for name, shape in shapes.items():
        if math.prod(shape) > max_entries:
            raise invalid(f"{name}: expected at most {max_entries} entries, received shape {shape}.")
        _check_size(name, inputs[name], shape)
    # Latents of convolutional networks may have any size, and the size of signals is proportional.
    grid = math.prod(shapes["latent"][1:]) / latent_entries if "latent" in shapes else 1
    entries = round(count * grid * signal_entries)
    if entries > max_entries:
        raise invalid(
            f"Expected inputs whose response has at most {max_entries} entries, received the shapes "
            f"{shapes}, whose response would have {entries}. Send fewer rows"
            f"{' or a smaller grid' * (grid > 1)}, or start the server with a larger --max-message-mb."
        )
    return shapes, entries


def read(
    inputs: Mapping[str, tensor_pb2.TensorProto],
    shapes: Mapping[str, tuple[int, ...]],
    value_range: tuple[float, float] | None,
) -> dict[str, np.ndarray]:
    """Return the inputs of a request as arrays, and check their values.

    Args:
        inputs: tensors of the request by name.
        shapes: shapes of the inputs, as `measure` returns them.
        value_range: interval of the observed entries of `signal`; None lifts the check.

    Raises:
        RefusedError: INVALID_ARGUMENT, for values that are not finite or out of range.
    """
    values = {name: protocol.values(inputs[name], shape) for name, shape in shapes.items()}
    _check_values(values, value_range)
    return values


def _shape(name: str, tensor: tensor_pb2.TensorProto, spec: tf.TensorSpec) -> tuple[int, ...]:
    if tensor.dtype != spec.dtype.as_datatype_enum:
        try:
            received = tf.as_dtype(tensor.dtype).name
        except TypeError:
            received = f"number {tensor.dtype}"
        raise invalid(f"{name}: expected dtype {spec.dtype.name}, received {received}.")
    expected = ["n", *("any" if side is None else side for side in spec.shape[1:])]
    if tensor.tensor_shape.unknown_rank or len(tensor.tensor_shape.dim) != spec.shape.rank:
        rank = "no" if tensor.tensor_shape.unknown_rank else len(tensor.tensor_shape.dim)
        raise invalid(f"{name}: expected shape {expected}, received {rank} axes.")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if min(shape) < 0 or not spec.shape[1:].is_compatible_with(shape[1:]) or 0 in shape[1:]:
        raise invalid(f"{name}: expected shape {expected}, received {list(shape)}.")
    return shape


def _check_size(name: str, tensor: tensor_pb2.TensorProto, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of more or fewer values than its shape has entries; one value may stand for all.

    What does not belong to it is refused too, because it would be kept while the request waits.
    """
    field, count = protocol.FIELDS[tensor.dtype], math.prod(shape)
    received = {found.name for found, _ in tensor.ListFields()}
    values = "tensor_content" if tensor.tensor_content else field
    extra = sorted(received - {"dtype", "tensor_shape", "version_number", values})
    if extra:
        raise invalid(f"{name}: expected values in {values} alone, received {', '.join(extra)} too.")
    if tensor.tensor_content:
        size, expected = len(tensor.tensor_content), count * protocol.DTYPES[tensor.dtype].itemsize
        if size != expected:
            raise invalid(f"{name}: expected {expected} bytes for shape {shape}, received {size}.")
        return
    size = len(getattr(tensor, field))
    if not 1 <= size <= count:
        raise invalid(f"{name}: expected {count} values for shape {shape}, received {size}.")


def _check_values(values: Mapping[str, np.ndarray], value_range) -> None:
    for name in values.keys() & {"mask", "latent", "time"}:
        if not np.isfinite(values[name]).all():
            raise invalid(f"{name}: expected finite values, received NaN or infinity.")
    if "signal" not in values:
        return
    signal, mask = values["signal"], values.get("mask")
    try:
        observed = None if mask is None else mask > 0.5
        checks.signals(signal, signal.shape[1:], value_range, observed)
    except ValueError as error:
        raise invalid(str(error)) from None

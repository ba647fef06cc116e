"""Load one version of an exported model and run its signatures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from abp_tf.serving.protocol import UNBOUNDED
from abp_tf.serving.saved_model import ABOUT, DEFAULT

from .refusal import RefusedError, invalid, quoted
from .tensors import measure, read

# Names and dtypes of the inputs that exports of this package have.
INPUTS = {
    "seed": tf.int64,
    "signal": tf.float32,
    "mask": tf.float32,
    "latent": tf.float32,
    "time": tf.float64,
}

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Servable:
    """Load a SavedModel that `abp_tf` exported.

    Args:
        directory: directory of the version, `…/<name>/<number>`.

    Raises:
        ValueError: the directory is missing, damaged, or not an export of this package.

    Attributes:
        signature_defs: definitions of the signatures by name, for `GetModelMetadata`.
        specs: inputs of each signature by name.
        value_range: interval of the entries of signals, None without one.
    """

    def __init__(self, directory: Path):
        try:
            _check_files(directory)
            description = saved_model_pb2.SavedModel.FromString(
                (directory / "saved_model.pb").read_bytes()
            )
            properties = _properties(directory / "assets.extra" / ABOUT)
            # The reference keeps the variables alive that the functions use.
            self._loaded = tf.saved_model.load(str(directory))
        # TensorFlow does not document which errors a damaged file raises.
        except (OSError, ValueError, KeyError, DecodeError, RuntimeError, tf.errors.OpError) as error:
            what = str(error).splitlines()[0] if str(error) else ""
            raise ValueError(
                f"Expected a complete export of abp_tf in {directory}: {type(error).__name__}: {what}. "
                "Export it again with `python -m export.saved_model`."
            ) from error
        self.value_range = properties.value_range
        self._signal_entries = math.prod(properties.signal_shape)
        self._latent_entries = math.prod(properties.latent_shape)
        self.signature_defs = dict(description.meta_graphs[0].signature_def)
        self._functions = dict(self._loaded.signatures)
        self.specs = {
            name: dict(function.structured_input_signature[1])
            for name, function in self._functions.items()
        }
        self._check(directory, properties)
        self._warm_up(directory / "assets.extra" / "tf_serving_warmup_requests")

    @property
    def signatures(self) -> list[str]:
        """Return the names of the signatures, without the default, which repeats one of them."""
        return sorted(set(self.specs) - {DEFAULT})

    def _check(self, directory: Path, properties: _Properties) -> None:
        wrong = [
            f"{name}({', '.join(sorted(specs))})"
            for name, specs in self.specs.items()
            if not specs
            or any(
                INPUTS.get(key) != spec.dtype or not spec.shape.rank or spec.shape[0] is not None
                for key, spec in specs.items()
            )
        ]
        if wrong or DEFAULT not in self.specs:
            raise ValueError(
                f"Expected signatures of abp_tf with inputs among {sorted(INPUTS)}, each with rows "
                f"first, received in {directory}: {', '.join(wrong) or 'no ' + DEFAULT}. Export the "
                "model with `python -m export.saved_model`."
            )
        # Only outputs are compared, because the signals of inputs may be observations of another shape.
        shapes = {"signal": properties.signal_shape, "latent": properties.latent_shape}
        for function in self._functions.values():
            for key, spec in function.structured_outputs.items():
                if key in shapes and not spec.shape[1:].is_compatible_with(shapes[key]):
                    raise ValueError(
                        f"{directory}: expected the shape {spec.shape[1:]} of {key} as in the "
                        f"signatures, received {shapes[key]} in {ABOUT}. Export the model again."
                    )

    def _warm_up(self, records: Path) -> None:
        """Run the recorded requests, so that the first client does not wait for tracing."""
        for record in tf.data.TFRecordDataset(str(records)) if records.exists() else ():
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in log.request.inputs.items()}
            self._call(log.request.model_spec.signature_name or DEFAULT, inputs)

    def parse(
        self,
        signature: str,
        inputs,
        outputs: Sequence[str] = (),
        *,
        max_rows: int,
        max_entries: int,
    ) -> Request:
        """Check the signature, the outputs and the shapes of a request.

        Args:
            signature: name of the signature.
            inputs: `TensorProto`s by name.
            outputs: names of the outputs to return; empty for all.
            max_rows: largest number of rows.
            max_entries: largest number of entries of an input and of the signals of the response.

        Raises:
            RefusedError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs of
                wrong names, dtypes or shapes, or outputs that do not exist.
        """
        if signature not in self.specs:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Expected one of the signatures {self.signatures}, received {quoted(signature)}.",
            )
        known = self._functions[signature].structured_outputs
        outputs = outputs[: len(known) + 1]  # one more than there are, so that one of them is wrong
        if set(outputs) - set(known) or len(set(outputs)) != len(outputs):
            raise invalid(
                f"output_filter: expected some of {sorted(known)}, each once, received "
                f"{quoted(', '.join(outputs))}."
            )
        shapes, entries = measure(
            inputs,
            self.specs[signature],
            max_rows=max_rows,
            max_entries=max_entries,
            signal_entries=self._signal_entries,
            latent_entries=self._latent_entries,
        )
        return Request(self, signature, inputs, shapes, entries)

    def values(self, request: Request) -> dict[str, np.ndarray]:
        """Return the inputs of a request as arrays.

        Raises:
            RefusedError: INVALID_ARGUMENT, for values that are not finite or out of range.
        """
        value_range = None if request.signature in UNBOUNDED else self.value_range
        return read(request.inputs, request.shapes, value_range)

    def run(self, signature: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature and return its outputs.

        Args:
            signature: name of the signature.
            values: its inputs by name.

        Raises:
            RefusedError: with the code of TensorFlow's error.
        """
        try:
            return self._call(signature, values)
        except tf.errors.OpError as error:  # TensorFlow and gRPC use the same codes
            text = error.message.splitlines()[0] if error.message else type(error).__name__
            raise RefusedError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), text) from error

    def _call(self, signature: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value) for name, value in values.items()}
        return {name: value.numpy() for name, value in self._functions[signature](**tensors).items()}


class _Properties(NamedTuple):
    """Hold the contents of the file `abp_tf.json`; a model without latents has `latent_shape` ()."""

    value_range: tuple[float, float] | None
    signal_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]


def _properties(path: Path) -> _Properties:
    """Read the file `abp_tf.json` of an export.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds anything else.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    try:
        limits, *shapes = found["value_range"], found["signal_shape"], found["latent_shape"] or []
        low, high = (-1, 1) if limits is None else limits
        valid = -math.inf < low < high < math.inf
        valid = valid and all(type(side) is int and side > 0 for shape in shapes for side in shape)
        result = _Properties(None if limits is None else (low, high), *map(tuple, shapes))
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"{path.name}: expected value_range, signal_shape and latent_shape, received "
            f"{quoted(str(found))}."
        )
    return result


def _check_files(directory: Path) -> None:
    """Refuse entries of an export that are neither files nor folders: to read a pipe takes for ever.

    Raises:
        ValueError: with the name of the entry.
    """
    for pattern in ("*", "*/*"):  # the depth of a SavedModel
        for path in directory.glob(pattern):
            if not (os.path.isfile(path) or os.path.isdir(path)):
                raise ValueError(f"{path.relative_to(directory)}: expected a file or a folder.")


class Request(NamedTuple):
    """Hold a request with checked shapes, whose values are still in the tensors that were received.

    Attributes:
        servable: model version to run.
        signature: name of the signature.
        inputs: `TensorProto`s by name.
        shapes: shapes of the inputs, all with the same number of rows.
        entries: number of entries of the signals of the response.
    """

    servable: Servable
    signature: str
    inputs: Mapping[str, tensor_pb2.TensorProto]
    shapes: dict[str, tuple[int, ...]]
    entries: int

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return next(iter(self.shapes.values()))[0]

    @property
    def kind(self) -> tuple:
        """Return a key that is equal for requests that can be computed in one batch."""
        sides = sorted((name, shape[1:]) for name, shape in self.shapes.items())
        return id(self.servable), self.signature, sides

"""One version of an exported model, loaded and ready to answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from abp_tf.serving.saved_model import ABOUT, DEFAULT, UNBOUNDED

from .refusal import RefusedError, invalid, quoted
from .tensors import measure, read

# What the inputs of an export of this package are called, and their dtypes.
INPUTS = {"seed": tf.int64, "signal": tf.float32, "mask": tf.float32, "latent": tf.float32}

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Servable:
    """A SavedModel that `abp_tf` exported.

    Args:
        directory: the version directory, `…/<name>/<number>`.

    Raises:
        ValueError: it is not there, is broken, or is not an export of this package.
    """

    def __init__(self, directory: Path):
        about = directory / "assets.extra" / ABOUT
        try:
            description = saved_model_pb2.SavedModel.FromString(
                (directory / "saved_model.pb").read_bytes()
            )
            told = json.loads(about.read_text(encoding="utf-8"))
            self.value_range = told["value_range"]
            self._signal_entries = math.prod(told["signal_shape"])
            self._latent_entries = math.prod(told["latent_shape"] or [])  # a descriptor has none
            # The object behind them goes away with its last reference, the functions need it.
            self._loaded = tf.saved_model.load(str(directory))
        # What a damaged file makes the loader raise is not documented; whatever it is, it is told.
        except (OSError, ValueError, KeyError, DecodeError, RuntimeError, tf.errors.OpError) as error:
            what = str(error).splitlines()[0] if str(error) else ""
            raise ValueError(
                f"{directory} is not a whole export of abp_tf ({type(error).__name__}: {what}). "
                "Export it again with `python -m export.saved_model`."
            ) from error
        self.signature_defs = dict(description.meta_graphs[0].signature_def)
        self._functions = dict(self._loaded.signatures)
        self.specs = {
            name: dict(function.structured_input_signature[1])
            for name, function in self._functions.items()
        }
        self._check(directory)
        self._warm_up(directory / "assets.extra" / "tf_serving_warmup_requests")

    @property
    def signatures(self) -> list[str]:
        """Names of the signatures, without the default, which is one of them."""
        return sorted(set(self.specs) - {DEFAULT})

    def _check(self, directory: Path) -> None:
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
                f"{directory} has other signatures than abp_tf exports: "
                f"{', '.join(wrong) or 'no ' + DEFAULT}. Expected inputs are {sorted(INPUTS)}, each "
                "with rows first. Export the model with `python -m export.saved_model`."
            )

    def _warm_up(self, records: Path) -> None:
        """Answer the recorded requests, so that the first client does not wait for tracing."""
        for record in tf.data.TFRecordDataset(str(records)) if records.exists() else ():
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in log.request.inputs.items()}
            self._call(log.request.model_spec.signature_name or DEFAULT, inputs)

    def question(
        self,
        signature: str,
        inputs,
        wanted: Iterable[str] = (),
        *,
        max_rows: int,
        max_entries: int,
    ) -> Question:
        """Read a request.

        Args:
            signature: its name.
            inputs: `TensorProto`s by name.
            wanted: names of the outputs to return; none for all.
            max_rows: see `tensors.measure`.
            max_entries: see `tensors.measure`.

        Raises:
            RefusedError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs of
                wrong names, dtypes or shapes.
        """
        if signature not in self.specs:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Expected one of the signatures {self.signatures}, received {quoted(signature)}.",
            )
        outputs = self._functions[signature].structured_outputs
        unknown = set(wanted) - set(outputs)
        if unknown or len(set(wanted)) != len(list(wanted)):
            raise invalid(
                f"output_filter: expected some of {sorted(outputs)}, each once, received "
                f"{quoted(', '.join(wanted))}."
            )
        shapes, entries = measure(
            inputs,
            self.specs[signature],
            max_rows=max_rows,
            max_entries=max_entries,
            signal_entries=self._signal_entries,
            latent_entries=self._latent_entries,
        )
        return Question(self, signature, inputs, shapes, entries)

    def values(self, question: Question) -> dict[str, np.ndarray]:
        """Return the inputs of a question as arrays.

        Raises:
            RefusedError: INVALID_ARGUMENT.
        """
        value_range = None if question.signature in UNBOUNDED else self.value_range
        return read(question.inputs, question.shapes, value_range)

    def run(self, signature: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of a signature.

        Raises:
            RefusedError: by the code of TensorFlow's error.
        """
        try:
            return self._call(signature, values)
        except tf.errors.OpError as error:  # TensorFlow's codes are those of gRPC
            text = error.message.splitlines()[0] if error.message else type(error).__name__
            raise RefusedError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), text) from error

    def _call(self, signature: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value) for name, value in values.items()}
        return {name: value.numpy() for name, value in self._functions[signature](**tensors).items()}


class Question(NamedTuple):
    """A request whose inputs have good shapes; their values, which take more room, wait as they came.

    Attributes:
        servable: that is asked.
        signature: of it.
        inputs: `TensorProto`s by name.
        shapes: of them, all with the same number of rows.
        entries: of the signals of the answer.
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
        """Return what questions that can be answered together have in common."""
        sides = sorted((name, shape[1:]) for name, shape in self.shapes.items())
        return id(self.servable), self.signature, sides

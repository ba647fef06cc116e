"""Implement TensorFlow Serving's gRPC services for a few loaded models.

Requests arrive as bytes and are parsed here, so that requests that cannot be parsed are refused with
the same codes and counted in the same way as all others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from abp_tf.serving.saved_model import DEFAULT

from .batches import Batches
from .measures import Measures
from .model import Model
from .refusal import RefusedError, invalid, quoted
from .tensors import write

log = logging.getLogger(__name__)

# Largest number of entries of the signals of a batch: 128 grey images of 32x32.
_TOGETHER = 2**17


class Limits(NamedTuple):
    """Hold the limits of a server.

    Attributes:
        rows: largest number of rows of a request.
        message: largest number of bytes of a request.
        requests: largest number of requests that are computed or wait; others are refused.
        workers: number of batches that are computed at a time; twice as many if they are full.
        batch_rows: largest number of rows of a batch; 1 computes each request alone. Large signals are
            computed alone in any case, because a batch of them could exceed the clients' timeouts.
    """

    rows: int = 256
    message: int = 16 * 2**20
    requests: int = 64
    workers: int = 2
    batch_rows: int = 128


class Service:
    """Implement `Predict`, `GetModelMetadata` and `GetModelStatus`.

    Args:
        models: served models by name.
        limits: limits of the server.
        measures: counters of the requests.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits, measures: Measures):
        self.models, self.limits, self.measures = models, limits, measures
        self._batches = Batches(limits.workers, limits.batch_rows, _TOGETHER, measures.rows)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for a `grpc.aio` server; it refuses other methods as UNIMPLEMENTED."""
        prediction = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]
        model = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
        methods = {
            prediction.full_name: {"Predict": self.predict, "GetModelMetadata": self.metadata},
            model.full_name: {"GetModelStatus": self.status},
        }
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    name: grpc.unary_unary_rpc_method_handler(self._guarded(name, method))
                    for name, method in listed.items()
                },
            )
            for service, listed in methods.items()
        ]

    def close(self) -> None:
        """Cancel the requests that wait; those that are computed continue to their end."""
        self._batches.close()

    async def predict(self, request: bytes) -> bytes:
        """Compute the outputs of a signature and return a `PredictResponse`."""
        if self._batches.load >= self.limits.requests:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Expected fewer than {self.limits.requests} requests at a time. Try again later.",
            )
        message = _parsed(predict_pb2.PredictRequest, request)
        name, signature = message.model_spec.name, message.model_spec.signature_name or DEFAULT
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        names = list(message.output_filter)
        parsed = servable.parse(
            signature,
            message.inputs,
            names,
            max_rows=self.limits.rows,
            max_entries=self.limits.message // 4,
        )

        def finish(outputs: Mapping[str, np.ndarray], seconds: float) -> bytes:
            # Only here are the names known to exist. Labels of arbitrary names would be without bound.
            self.measures.seconds(name, signature, seconds)
            response = predict_pb2.PredictResponse(
                model_spec=model_pb2.ModelSpec(name=name, signature_name=signature)
            )
            response.model_spec.version.value = version
            for key in names or outputs:
                write(outputs[key], response.outputs[key])
            return response.SerializeToString()

        return await self._batches.submit(parsed, finish)

    async def metadata(self, request: bytes) -> bytes:
        """Return a `GetModelMetadataResponse` with the signatures of a version."""
        message = _parsed(get_model_metadata_pb2.GetModelMetadataRequest, request)
        if list(message.metadata_field) != ["signature_def"]:
            raise invalid(
                "metadata_field: expected 'signature_def' alone, received "
                f"{quoted(', '.join(message.metadata_field))}."
            )
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=model_pb2.ModelSpec(name=message.model_spec.name)
        )
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=servable.signature_defs))
        return response.SerializeToString()

    async def status(self, request: bytes) -> bytes:
        """Return a `GetModelStatusResponse` with the states of all versions or of the requested one."""
        message = _parsed(get_model_status_pb2.GetModelStatusRequest, request)
        model, version = self._model(message.model_spec), _version(message.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, status in sorted(model.statuses.items(), reverse=True):
            if version in (None, number):
                found = response.model_version_status.add(version=number, state=status.state)
                if status.error:
                    found.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                    found.status.error_message = status.error
        if not response.model_version_status:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Expected one of the versions {sorted(model.statuses)} of {model.name!r}, received "
                f"{version}.",
            )
        return response.SerializeToString()

    def _model(self, spec: model_pb2.ModelSpec) -> Model:
        if not spec.name:
            raise invalid(f"model_spec: expected the name of a model, one of {sorted(self.models)}.")
        if spec.name not in self.models:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Expected one of the models {sorted(self.models)}, received {quoted(spec.name)}.",
            )
        return self.models[spec.name]

    def _guarded(self, name: str, method: Callable[[bytes], Awaitable[bytes]]) -> Callable:
        """Return a handler that runs a method, counts the request and returns errors as codes."""

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            code = grpc.StatusCode.OK
            try:
                return await method(request)
            except RefusedError as refusal:
                code = refusal.code
                log.info("%s refused %s: %s", name, code.name, refusal)
                await context.abort(code, str(refusal))
            except asyncio.CancelledError:  # the client has gone, or its deadline has passed
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                log.exception("%s failed", name)
                await context.abort(
                    code, "Internal error of the server. The log of the server has the details."
                )
            finally:
                self.measures.count(name, code.name)

        return handle


def _parsed(kind: type[Message], data: bytes) -> Message:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise invalid(
            f"Expected a {kind.__name__}, received {len(data)} bytes that are not one."
        ) from None


def _version(spec: model_pb2.ModelSpec) -> int | None:
    if spec.WhichOneof("version_choice") == "version_label":
        raise invalid(
            f"Expected a version number, received the label {quoted(spec.version_label)}. This server "
            "has no labels."
        )
    return spec.version.value if spec.HasField("version") else None

"""Implement TensorFlow Serving's gRPC services, and that of health checks, for a few loaded models.

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
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from abp_tf.serving.protocol import write
from abp_tf.serving.saved_model import DEFAULT

from .access import check_token
from .batches import Batches
from .health import Health
from .measures import Measures
from .messages import Messages
from .model import Model
from .refusal import RefusedError, invalid, quoted

log = logging.getLogger(__name__)

# Largest number of entries of the signals of a batch: 128 grey images of 32x32.
_TOGETHER = 2**17


Method = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes | None]]


class Limits(NamedTuple):
    """Hold the limits of a server.

    Attributes:
        rows: largest number of rows of a request.
        message: largest number of bytes of a request.
        pending: largest number of bytes of the requests of all connections that wait for their
            responses, and likewise of those that arrive slowly.
        requests: largest number of requests that are computed or wait; others are refused.
        workers: number of batches that are computed at a time; twice as many if they are full.
        batch_rows: largest number of rows of a batch; 1 computes each request alone. Large signals are
            computed alone in any case, because a batch of them could exceed the clients' timeouts.
    """

    rows: int = 256
    message: int = 16 * 2**20
    pending: int = 256 * 2**20
    requests: int = 64
    workers: int = 2
    batch_rows: int = 128


class Service:
    """Implement `Predict`, `GetModelMetadata`, `GetModelStatus`, and the health checks of `Health`.

    Args:
        models: served models by name.
        limits: limits of the server.
        measures: counters of the requests.
        token: bearer token that requests must have, except for health checks; None accepts all.

    Attributes:
        health: the health checks.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        limits: Limits,
        measures: Measures,
        token: str | None = None,
    ):
        self.models, self.limits, self.measures = models, limits, measures
        self.health = Health(models)
        self._token = token
        self._messages = Messages(limits.pending, limits.message)
        self._batches = Batches(limits.workers, limits.batch_rows, _TOGETHER, measures.rows)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for a `grpc.aio` server; it refuses other methods as UNIMPLEMENTED."""
        prediction = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]
        model = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
        methods = {
            prediction.full_name: {"Predict": self.predict, "GetModelMetadata": self.metadata},
            model.full_name: {"GetModelStatus": self.status},
        }
        # As streams of one message, whose arrival this package bounds and gRPC does not.
        handlers = {
            service: {
                name: grpc.stream_unary_rpc_method_handler(self._guarded(name, method, self._token))
                for name, method in listed.items()
            }
            for service, listed in methods.items()
        }
        check = self._guarded("Check", self.health.check)
        watch = self._guarded("Watch", self.health.watch)
        handlers["grpc.health.v1.Health"] = {
            "Check": grpc.stream_unary_rpc_method_handler(check),
            "Watch": grpc.stream_stream_rpc_method_handler(watch),
        }
        return [
            grpc.method_handlers_generic_handler(service, listed)
            for service, listed in handlers.items()
        ]

    def close(self) -> None:
        """Cancel the requests that wait; those that are computed continue to their end."""
        self._batches.close()
        self._messages.close()

    async def predict(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Compute the outputs of a signature and return a `PredictResponse`."""
        self._check_load()
        message = await self._messages.parse(predict_pb2.PredictRequest, request)
        self._check_load()  # others may have arrived meanwhile
        name, signature = message.model_spec.name, message.model_spec.signature_name or DEFAULT
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        parsed = servable.parse(
            signature,
            message.inputs,
            message.output_filter,
            max_rows=self.limits.rows,
            max_entries=self.limits.message // 4,
        )
        names = list(message.output_filter)

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

    async def metadata(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return a `GetModelMetadataResponse` with the signatures of a version."""
        message = await self._messages.parse(get_model_metadata_pb2.GetModelMetadataRequest, request)
        fields = message.metadata_field[:2]  # a second one is wrong
        if fields != ["signature_def"]:
            raise invalid(
                f"metadata_field: expected 'signature_def' alone, received {quoted(', '.join(fields))}."
            )
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=model_pb2.ModelSpec(name=message.model_spec.name)
        )
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=servable.signature_defs))
        return response.SerializeToString()

    async def status(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return a `GetModelStatusResponse` with the states of all versions or of the requested one."""
        message = await self._messages.parse(get_model_status_pb2.GetModelStatusRequest, request)
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

    def _check_load(self) -> None:
        if self._batches.load >= self.limits.requests:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Expected fewer than {self.limits.requests} requests at a time. Try again later.",
            )

    def _model(self, spec: model_pb2.ModelSpec) -> Model:
        if not spec.name:
            raise invalid(f"model_spec: expected the name of a model, one of {sorted(self.models)}.")
        if spec.name not in self.models:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Expected one of the models {sorted(self.models)}, received {quoted(spec.name)}.",
            )
        return self.models[spec.name]

    def _guarded(self, name: str, method: Method, token: str | None = None) -> Callable:
        """Return a handler that runs a method, counts the request and returns errors as codes."""

        async def handle(_, context: grpc.aio.ServicerContext) -> bytes | None:
            code = grpc.StatusCode.OK
            try:
                check_token(token, context)
                return await self._received(method, context)
            except RefusedError as refusal:
                code, text = refusal.code, str(refusal)
                log.info("%s refused %s: %s", name, code.name, text)
                # The frames of a traceback would hold the request until the next garbage collection.
                refusal.__traceback__ = None
            except asyncio.CancelledError:  # the client has gone, or its deadline has passed
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                text = "Internal error of the server. The log of the server has the details."
                log.exception("%s failed", name)
            finally:
                self.measures.count(name, code.name)
            try:
                await context.abort(code, text)
            except grpc.aio.AbortError as error:
                # gRPC keeps it with the call and raises it again. With these frames, which have the
                # call, it would hold what has arrived of the message in the same way.
                error.__traceback__ = None

        return handle

    async def _received(self, method: Method, context: grpc.aio.ServicerContext) -> bytes | None:
        """Receive the message of a call and run a method with it."""
        async with self._messages.receive(context) as request:
            return await method(request, context)


def _version(spec: model_pb2.ModelSpec) -> int | None:
    if spec.WhichOneof("version_choice") == "version_label":
        raise invalid(
            f"Expected a version number, received the label {quoted(spec.version_label)}. This server "
            "has no labels."
        )
    return spec.version.value if spec.HasField("version") else None

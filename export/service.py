"""TensorFlow Serving's gRPC services over a few loaded models.

Requests are taken as bytes and parsed here, so that what cannot be parsed is refused by the same
codes and counted in the same way as everything else.
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

# Entries of the signals that are computed together at most, 128 images of 32x32 in grey.
_TOGETHER = 2**17


class Limits(NamedTuple):
    """What one server takes on.

    Attributes:
        rows: of one request.
        message: bytes of one request.
        requests: how many are worked on or wait at a time; more are refused.
        workers: how many batches of them are computed at a time; twice as many if they are full.
        batch_rows: of requests that are computed together; 1: each alone. Large signals are computed
            alone in any case: together they take long, and some may find that their time is over.
    """

    rows: int = 256
    message: int = 16 * 2**20
    requests: int = 64
    workers: int = 2
    batch_rows: int = 128


class Service:
    """Answers `Predict`, `GetModelMetadata` and `GetModelStatus`.

    Args:
        models: by name.
        limits: see `Limits`.
        measures: where requests are counted.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits, measures: Measures):
        self.models, self.limits, self.measures = models, limits, measures
        self._batches = Batches(limits.workers, limits.batch_rows, _TOGETHER, measures.rows)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return what a `grpc.aio` server is to be given; other methods are UNIMPLEMENTED."""
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
        """Forget what waits for a worker; what is being worked on ends by itself."""
        self._batches.close()

    async def predict(self, request: bytes) -> bytes:
        """Answer with the outputs of a signature."""
        if self._batches.load >= self.limits.requests:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self.limits.requests} requests are being worked on or wait. Try again later.",
            )
        message = _parsed(predict_pb2.PredictRequest, request)
        name, signature = message.model_spec.name, message.model_spec.signature_name or DEFAULT
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        wanted = list(message.output_filter)
        question = servable.question(
            signature,
            message.inputs,
            wanted,
            max_rows=self.limits.rows,
            max_entries=self.limits.message // 4,
        )

        def finish(outputs: Mapping[str, np.ndarray], seconds: float) -> bytes:
            # Observed only here, where names are known to be ours: a label for each name that clients
            # think of would be without bound.
            self.measures.seconds(name, signature, seconds)
            answer = predict_pb2.PredictResponse(
                model_spec=model_pb2.ModelSpec(name=name, signature_name=signature)
            )
            answer.model_spec.version.value = version
            for key in wanted or outputs:
                write(outputs[key], answer.outputs[key])
            return answer.SerializeToString()

        return await self._batches.answer(question, finish)

    async def metadata(self, request: bytes) -> bytes:
        """Answer with the signatures of a version."""
        message = _parsed(get_model_metadata_pb2.GetModelMetadataRequest, request)
        if list(message.metadata_field) != ["signature_def"]:
            raise invalid(
                "metadata_field: expected 'signature_def' alone, received "
                f"{quoted(', '.join(message.metadata_field))}."
            )
        version, servable = self._model(message.model_spec).find(_version(message.model_spec))
        answer = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=model_pb2.ModelSpec(name=message.model_spec.name)
        )
        answer.model_spec.version.value = version
        answer.metadata["signature_def"].Pack(SignatureDefMap(signature_def=servable.signature_defs))
        return answer.SerializeToString()

    async def status(self, request: bytes) -> bytes:
        """Answer with the state of each version, or of the one asked for."""
        message = _parsed(get_model_status_pb2.GetModelStatusRequest, request)
        model, version = self._model(message.model_spec), _version(message.model_spec)
        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, status in sorted(model.statuses.items(), reverse=True):
            if version in (None, number):
                found = answer.model_version_status.add(version=number, state=status.state)
                if status.error:
                    found.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                    found.status.error_message = status.error
        if not answer.model_version_status:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND, f"There is no version {version} of {model.name!r}."
            )
        return answer.SerializeToString()

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
        """Return a method as a handler that counts, and says no in proper codes."""

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            code = grpc.StatusCode.OK
            try:
                return await method(request)
            except RefusedError as refusal:
                code = refusal.code
                log.info("%s refused %s: %s", name, code.name, refusal)
                await context.abort(code, str(refusal))
            except asyncio.CancelledError:  # the client went away, or its deadline is over
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                log.exception("%s failed", name)
                await context.abort(code, "An error of the server; its log has more.")
            finally:
                self.measures.count(name, code.name)

        return handle


def _parsed(kind: type[Message], data: bytes) -> Message:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise invalid(f"Expected a {kind.__name__}; {len(data)} bytes that are none came.") from None


def _version(spec: model_pb2.ModelSpec) -> int | None:
    if spec.WhichOneof("version_choice") == "version_label":
        raise invalid(
            f"Unrecognized version label {quoted(spec.version_label)}; give a version number."
        )
    return spec.version.value if spec.HasField("version") else None

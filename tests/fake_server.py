"""A small server of TensorFlow Serving's protocol that misbehaves when it is told to."""

import time
from concurrent import futures

import grpc
import numpy as np

from tests.tested_client import messages, protocol


class Fake:
    """Echoes the signals it is sent, from one function; notes rows and bytes of requests."""

    def __init__(self, shape=(8, 8, 1), outputs=1):
        self.shape, self.outputs = shape, outputs
        self.rows, self.sizes, self.failures, self.seconds = [], [], [], 0
        self.waited_for = []  # whether each response is still waited for, when it is ready
        self.versions = iter([])
        self.change = lambda values: values
        self.spoil = lambda answer: None
        self.function, self.details = "echo", "as told,\nin two lines"

    def metadata(self, request, context):
        answer = messages.GetModelMetadataResponse()
        found = messages.SignatureDefMap()
        definition = found.signature_def[self.function]
        names = ["signal", *(f"copy{number}" for number in range(1, self.outputs))]
        for part, listed in ((definition.inputs, names[:1]), (definition.outputs, names)):
            for name in listed:
                part[name].dtype = messages.DT_FLOAT
                for size in (None, *self.shape):
                    part[name].tensor_shape.dim.add(size=-1 if size is None else size)
        packed = answer.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = found.SerializeToString()
        answer.model_spec.CopyFrom(request.model_spec)
        self.spoil(answer)
        return answer

    def predict(self, request, context):
        self.sizes.append(request.ByteSize())
        code = self.failures.pop(0) if self.failures else None
        if code:
            context.abort(code, self.details)
        time.sleep(self.seconds)
        self.waited_for.append(context.is_active())
        signal = request.inputs["signal"]
        shape = tuple(dim.size for dim in signal.tensor_shape.dim)
        values = self.change(protocol.values(signal, shape))
        self.rows.append(len(values))
        answer = messages.PredictResponse()
        answer.model_spec.CopyFrom(request.model_spec)
        answer.model_spec.version.value = next(self.versions, 1)
        for number in range(self.outputs):
            protocol.write(values, answer.outputs[f"copy{number}" if number else "signal"])
        self.spoil(answer)
        return answer


def started(servicer, address="127.0.0.1:0", workers=1):
    # No limits of its own: those of gRPC are what the client has to keep.
    # By one worker requests are answered in the order of their arrival.
    result = grpc.server(futures.ThreadPoolExecutor(workers), options=[("grpc.so_reuseport", 0)])
    handlers = {
        "Predict": (servicer.predict, messages.PredictRequest),
        "GetModelMetadata": (servicer.metadata, messages.GetModelMetadataRequest),
    }
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            function, request.FromString, lambda answer: answer.SerializeToString()
        )
        for name, (function, request) in handlers.items()
    }
    service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods)
    result.add_generic_rpc_handlers([service])
    port = result.add_insecure_port(address)
    result.start()
    return result, f"127.0.0.1:{port}"


def noise(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

"""A small server of TensorFlow Serving's protocol that misbehaves when it is told to."""

import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class Fake(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Echoes the signals it is sent, from one function; notes rows and bytes of requests."""

    def __init__(self, shape=(8, 8, 1), outputs=1):
        self.shape, self.outputs = shape, outputs
        self.rows, self.sizes, self.failures, self.seconds = [], [], [], 0
        self.versions = iter([])
        self.change = lambda values: values
        self.spoil = lambda answer: None
        self.function, self.details = "echo", "as told,\nin two lines"

    def GetModelMetadata(self, request, context):  # noqa: N802
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        found = get_model_metadata_pb2.SignatureDefMap()
        definition = found.signature_def[self.function]
        names = ["signal", *(f"copy{number}" for number in range(1, self.outputs))]
        for part, listed in ((definition.inputs, names[:1]), (definition.outputs, names)):
            for name in listed:
                part[name].dtype = tf.float32.as_datatype_enum
                for size in (None, *self.shape):
                    part[name].tensor_shape.dim.add(size=-1 if size is None else size)
        answer.metadata["signature_def"].Pack(found)
        answer.model_spec.CopyFrom(request.model_spec)
        self.spoil(answer)
        return answer

    def Predict(self, request, context):  # noqa: N802
        self.sizes.append(request.ByteSize())
        code = self.failures.pop(0) if self.failures else None
        if code:
            context.abort(code, self.details)
        time.sleep(self.seconds)
        values = self.change(tf.make_ndarray(request.inputs["signal"]))
        self.rows.append(len(values))
        answer = predict_pb2.PredictResponse()
        answer.model_spec.CopyFrom(request.model_spec)
        answer.model_spec.version.value = next(self.versions, 1)
        for number in range(self.outputs):
            name = f"copy{number}" if number else "signal"
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        self.spoil(answer)
        return answer


def started(servicer, address="127.0.0.1:0", workers=1):
    # No limits of its own: those of gRPC are what the client has to keep.
    # By one worker requests are answered in the order of their arrival.
    result = grpc.server(futures.ThreadPoolExecutor(workers), options=[("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, result)
    port = result.add_insecure_port(address)
    result.start()
    return result, f"127.0.0.1:{port}"


def noise(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

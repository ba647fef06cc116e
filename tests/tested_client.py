"""The client that is tested: of `abp_tf`, or of `abp_tf_client` where TensorFlow is not installed."""

import importlib

try:
    import abp_tf as package
except ModuleNotFoundError:
    import abp_tf_client as package

messages = importlib.import_module(f"{package.__name__}.serving.messages_pb2")
protocol = importlib.import_module(f"{package.__name__}.serving.protocol")

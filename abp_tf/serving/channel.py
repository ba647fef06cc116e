"""Channels of a client to a server, which block or are awaited, behind one interface.

The methods of calls are coroutines in both cases. Those of `BlockingChannel` never suspend, so that
`run` can drive what is written for both without an event loop.
"""

from __future__ import annotations

import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from . import messages_pb2 as messages
from .access import loopback

Result = TypeVar("Result")

# Methods of the server, with the types of their responses.
PREDICT = ("tensorflow.serving.PredictionService/Predict", messages.PredictResponse)
METADATA = (
    "tensorflow.serving.PredictionService/GetModelMetadata",
    messages.GetModelMetadataResponse,
)
STATUS = ("tensorflow.serving.ModelService/GetModelStatus", messages.GetModelStatusResponse)
Method = tuple[str, type[Message]]

# A response is a function of the request, so retries are safe. The pauses are about 0.2, 0.4, 0.8 and
# 1.6 seconds.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]})),
    # By default gRPC keeps 256 KB of a request for retries, and never repeats a larger one.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # By default the pauses before it reconnects grow to two minutes. Requests fail meanwhile, even if
    # the server is available again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Refuse compressed responses: a small one can expand without bound.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # One row alone may be larger than the default.
    ("grpc.max_receive_message_length", -1),
]


class Call(Protocol):
    """A request that was sent."""

    async def response(self) -> Any:
        """Return the response; raise a `grpc.RpcError` if the request failed."""

    async def code(self) -> grpc.StatusCode:
        """Wait for the end of the request and return its status."""

    def cancel(self) -> None:
        """Cancel the request."""


class Certificates:
    """Files for TLS.

    Args:
        root_certificates: path of a file of certificates (PEM) for TLS; None uses no encryption.
        certificate: path of the client's certificate chain (PEM), for servers that require one.
        key: path of its private key (PEM).

    Raises:
        ValueError: if some of the three files are missing for a client's certificate.
        OSError: if a file cannot be read.

    Attributes:
        credentials: credentials of a channel, None without encryption.
    """

    def __init__(
        self,
        root_certificates: str | os.PathLike | None = None,
        certificate: str | os.PathLike | None = None,
        key: str | os.PathLike | None = None,
    ):
        own = [certificate, key]
        if any(own) and not all([root_certificates, *own]):
            raise ValueError(
                "Expected `root_certificates`, `certificate` and `key` for a client's certificate, "
                f"received {root_certificates}, {certificate} and {key}."
            )
        self.credentials = None
        if root_certificates is not None:
            chain, private = (Path(path).read_bytes() if path else None for path in own)
            root = Path(root_certificates).read_bytes()
            self.credentials = grpc.ssl_channel_credentials(root, private, chain)

    def channel(self, library: Any, address: str) -> Any:
        """Return a channel, which connects when the first request is sent.

        Args:
            library: `grpc` or `grpc.aio`.
            address: address of the server, "host:port".
        """
        options = list(_OPTIONS)
        if loopback(address.rpartition(":")[0]):
            # A proxy of the environment would connect to its own machine instead of this one.
            options.append(("grpc.enable_http_proxy", 0))
        if self.credentials is None:
            return library.insecure_channel(address, options)
        return library.secure_channel(address, self.credentials, options)


class BlockingChannel:
    """A channel whose calls block their thread; several threads may use it.

    Args:
        address: address of the server, "host:port".
        certificates: files for TLS.
        metadata: metadata of each request, pairs of names and values.
    """

    def __init__(
        self, address: str, certificates: Certificates, metadata: list[tuple[str, str]] | None = None
    ):
        self._metadata = metadata
        self._channel = certificates.channel(grpc, address)

    def start(self, method: Method, message: Message, timeout: float) -> Call:
        """Send a request, which may take `timeout` seconds."""
        path, response = method
        send = self._channel.unary_unary(f"/{path}", _bytes, response.FromString)
        return _BlockingCall(send.future(message, timeout=timeout, metadata=self._metadata))

    async def close(self) -> None:
        """Close the channel, and cancel its calls."""
        self._channel.close()


class _BlockingCall:
    def __init__(self, future: Any):
        self._future = future

    async def response(self) -> Any:
        return self._future.result()

    async def code(self) -> grpc.StatusCode:
        return self._future.code()

    def cancel(self) -> None:
        self._future.cancel()


class AwaitedChannel:
    """A channel whose calls are awaited in one event loop. Arguments as for `BlockingChannel`."""

    def __init__(
        self, address: str, certificates: Certificates, metadata: list[tuple[str, str]] | None = None
    ):
        self._address, self._certificates, self._metadata = address, certificates, metadata
        # Made by the first request, because it belongs to the event loop that runs then.
        self._channel: Any = None

    def start(self, method: Method, message: Message, timeout: float) -> Call:
        """Send a request, which may take `timeout` seconds."""
        path, response = method
        if self._channel is None:
            self._channel = self._certificates.channel(grpc.aio, self._address)
        send = self._channel.unary_unary(f"/{path}", _bytes, response.FromString)
        return _AwaitedCall(send(message, timeout=timeout, metadata=self._metadata))

    async def close(self) -> None:
        """Close the channel, and cancel its calls."""
        if self._channel is not None:
            await self._channel.close()


class _AwaitedCall:
    def __init__(self, call: Any):
        self._call = call

    async def response(self) -> Any:
        return await self._call

    async def code(self) -> grpc.StatusCode:
        return await self._call.code()

    def cancel(self) -> None:
        self._call.cancel()


Channel = BlockingChannel | AwaitedChannel


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that awaits calls of `BlockingChannel` alone, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("Expected a coroutine that does not suspend, received one that does.")

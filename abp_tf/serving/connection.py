"""Requests of a client to a server, and errors for what goes wrong on either side."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from ..errors import ServingError
from ..printing import printable
from . import messages_pb2 as messages
from . import protocol
from .channel import METADATA, PREDICT, STATUS, Call, Channel, Result
from .protocol import Signature, Spec

_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "If no server runs there, start one with `abp-tf serve --model "
    "{model}=DIRECTORY --port {port}`, or use the address of another. If it requires TLS, set the root "
    "certificates, and a certificate and its key if it requires those of clients.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No response within {timeout:g} s: check the address, raise the "
    "timeout, or lower the batch size.",
    grpc.StatusCode.NOT_FOUND: "`client.status()`, or `abp-tf client status`, lists the versions of a "
    "model.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The server has reached one of its limits: try later, or lower "
    "the batch size.",
    grpc.StatusCode.UNAUTHENTICATED: "Set the token of the server: `token`, or `--token-file`.",
    grpc.StatusCode.UNIMPLEMENTED: "The program at this address is not TensorFlow Serving.",
}

# Codes of servers that are busy: the one of this package, and TensorFlow Serving.
_TOO_MANY = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


class Version(NamedTuple):
    """A version of a model on a server: its number, its state such as "AVAILABLE", and its error."""

    number: int
    state: str
    error: str


class Line:
    """Requests under way; their responses are received in the order of sending.

    Args:
        channel: channel to the server.
        timeout: seconds that one request may take; a request sent behind others has as many more for
            each of them.
    """

    def __init__(self, channel: Channel, timeout: float):
        self._channel, self._timeout = channel, timeout
        self.under_way: deque[tuple[np.ndarray, messages.PredictRequest, Call, float]] = deque()

    def send(self, rows: np.ndarray, message: messages.PredictRequest) -> None:
        """Send a request for some rows."""
        timeout = self._timeout * (1 + len(self.under_way))
        call = self._channel.start(PREDICT, message, timeout)
        self.under_way.append((rows, message, call, timeout))

    @property
    def timeout(self) -> float:
        """Return the seconds that the first request under way may take."""
        return self.under_way[0][-1]

    async def receive(self) -> tuple[np.ndarray, messages.PredictResponse]:
        """Wait for the response to the first request; return its rows and the response.

        Raises:
            grpc.RpcError: if the request fails.
        """
        rows, message, call, timeout = self.under_way[0]
        if timeout > self._timeout and await call.code() in _TOO_MANY:
            # A server that accepts few requests at a time may accept it once the others are done.
            for _, _, other, _ in self.under_way:
                await other.code()
            call = self._channel.start(PREDICT, message, timeout)
        response = await call.response()
        self.under_way.popleft()
        return rows, response

    def close(self) -> None:
        """Cancel the requests that are still under way."""
        for _, _, call, _ in self.under_way:
            call.cancel()


class Connection:
    """Send requests for one model, and check the responses before they are used.

    All methods raise `ServingError` if the server cannot be reached or returns an error, and for
    responses that are not those of this model or not as its signatures say.

    Args:
        channel: channel to the server.
        address: address of the server, for errors.
        spec: name of the model, with a version or a label if there is one.
        timeout: seconds that one request may take.
    """

    def __init__(
        self,
        channel: Channel,
        address: str,
        spec: messages.ModelSpec,
        timeout: float,
    ):
        self.channel, self.address, self.spec, self.timeout = channel, address, spec, timeout
        self._cached: dict[str, Signature] | None = None

    async def status(self) -> list[Version]:
        """Return the versions of the model on the server, or only that of `spec`, by number."""
        request = messages.GetModelStatusRequest(model_spec=self.spec)
        name = messages.ModelVersionStatus.State.Name

        async def receive() -> list[Version]:
            response = await self.channel.start(STATUS, request, self.timeout).response()
            return sorted(
                Version(one.version, name(one.state), _line_of(one.status.error_message))
                for one in response.model_version_status
            )

        return await self._checked(receive())

    async def signatures(self) -> dict[str, Signature]:
        """Return the functions of the model by name."""
        request = messages.GetModelMetadataRequest(
            model_spec=self.spec, metadata_field=["signature_def"]
        )

        async def receive() -> dict[str, Signature]:
            response = await self.channel.start(METADATA, request, self.timeout).response()
            self._check_model(response.model_spec)
            return protocol.signatures(response)

        return await self._checked(receive())

    async def signature(self, name: str) -> Signature:
        """Return one function of the model, from the server only if necessary.

        Raises:
            ValueError: if the model has no such function.
        """
        # Requested anew after an error: the server may have changed to a version of other shapes.
        # A local variable, because other threads may clear the attribute meanwhile.
        found = self._cached or await self.signatures()
        self._cached = found
        if name not in found:
            self._cached = None
            raise ValueError(
                f"Expected one of the functions of the model {self.spec.name!r}, {list(found)}, "
                f"received {name!r}."
            )
        return found[name]

    def line(self) -> Line:
        """Return a `Line` of requests of this model."""
        return Line(self.channel, self.timeout)

    async def receive(
        self, line: Line, name: str, outputs: Mapping[str, Spec]
    ) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
        """Wait for the response to the first request of a line.

        Args:
            line: requests under way.
            name: name of their function.
            outputs: specs of its outputs by name.

        Returns:
            Rows of the request, outputs by name, and the version of the model that computed them.
        """

        async def receive() -> tuple[np.ndarray, dict[str, np.ndarray], int]:
            rows, response = await line.receive()
            self._check_model(response.model_spec)
            found = protocol.arrays(name, outputs, response.outputs, len(rows))
            return rows, found, response.model_spec.version.value

        return await self._checked(receive(), line)

    def refused(self, text: str) -> ServingError:
        """Return the error for a response that is not as expected."""
        self._cached = None
        return ServingError(
            f"Response of {self.address} for the model {self.spec.name!r}: {_line_of(text)}",
            grpc.StatusCode.INTERNAL,
        )

    def _check_model(self, received: messages.ModelSpec) -> None:
        """Raise ValueError unless a response is of this model and of the requested version."""
        same = received.name == self.spec.name
        if self.spec.HasField("version"):
            same = same and received.version.value == self.spec.version.value
        if not same:
            raise ValueError(
                f"expected the model {self.spec.name!r}, received {received.name[:80]!r}, version "
                f"{received.version.value}."
            )

    async def _checked(
        self, receiving: Coroutine[Any, Any, Result], line: Line | None = None
    ) -> Result:
        try:
            return await receiving
        except grpc.RpcError as cause:
            self._cached = None
            raise self._error(cause, line.timeout if line else self.timeout) from cause
        except (ValueError, TypeError, DecodeError) as cause:
            raise self.refused(str(cause)) from cause

    def _error(self, cause: grpc.RpcError, timeout: float) -> ServingError:
        """Return a `ServingError` with the request, gRPC's error and a remedy."""
        remedy = _REMEDIES.get(cause.code(), "").format(
            model=self.spec.name, port=self.address.rpartition(":")[2], timeout=timeout
        )
        text = (
            f"Request to {self.address} for the model {self.spec.name!r}: {cause.code().name}, "
            f"{_line_of(cause.details() or '').rstrip('.')}. {remedy}"
        )
        return ServingError(text.rstrip(), cause.code())


def _line_of(text: str) -> str:
    """Return a server's text on one line, without characters that control a terminal."""
    return printable(" ".join(text.split()))

"""Implement gRPC's health service, whose messages are bounded like those of all other requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError

from abp_tf import extras

from .refusal import RefusedError, invalid, quoted

with extras.needed("serving"):
    from grpc_health.v1 import health_pb2

# Largest number of bytes of a request, which holds one name.
_LARGEST = 1000

Status = health_pb2.HealthCheckResponse.ServingStatus


class Health:
    """Implement `Check` and `Watch` for a server and its models, which are served until it stops.

    Args:
        names: names of the models.
    """

    def __init__(self, names: Iterable[str]):
        self._names = {"", *names}  # the empty name is that of the server
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Report from now on that nothing is served."""
        self._stopping.set()

    async def check(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Return a `HealthCheckResponse`.

        Raises:
            RefusedError: NOT_FOUND, if there is no model of that name.
        """
        name = _name(request)
        if name not in self._names:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Expected one of the services {sorted(self._names)}, received {quoted(name)}.",
            )
        return self._response(Status.SERVING)

    async def watch(self, request: bytes, context: grpc.aio.ServicerContext) -> None:
        """Write a `HealthCheckResponse` now, and another when the server stops."""
        known = _name(request) in self._names
        await context.write(self._response(Status.SERVING if known else Status.SERVICE_UNKNOWN))
        await self._stopping.wait()
        await context.write(self._response(Status.NOT_SERVING))

    def _response(self, status: int) -> bytes:
        if self._stopping.is_set():
            status = Status.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status).SerializeToString()


def _name(request: bytes) -> str:
    if len(request) > _LARGEST:
        raise invalid(f"Expected at most {_LARGEST} bytes, received {len(request)}.")
    try:
        return health_pb2.HealthCheckRequest.FromString(request).service
    except DecodeError:
        raise invalid(
            f"Expected a HealthCheckRequest, received {len(request)} bytes that are not one."
        ) from None

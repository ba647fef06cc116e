"""The page and its requests over HTTP, for one studio."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import grpc

from abp_tf import extras
from abp_tf.errors import DivergenceError, ServingError
from abp_tf.serving.access import loopback

from .studio import Studio

with extras.needed("page"):
    import anyio
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
# Largest number of bytes of a request that is no upload: a mask of a grid of 8 million entries.
_REQUEST = 2**21
# Seconds within which a request must have arrived.
_ARRIVAL = 60.0
# Requests that are computed at a time; others wait.
_AT_ONCE = 4
# Codes of a server that cannot be reached.
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
# Nothing is loaded from elsewhere, no other page may embed this one, and pictures are inside responses.
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class _Secured:
    """Add headers to all responses of an application."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                pairs = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *pairs]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def application(studio: Studio, host: str, upload_bytes: int) -> Starlette:
    """Return the application of the page.

    Requests hold JSON, but for uploads, and are refused beyond their size. Responses are JSON; those of
    refusals have an `error`, and `away` if the server cannot be reached.

    Args:
        studio: the studio that answers requests.
        host: address that the page listens on. On an address of this machine alone, requests for other
            hosts are refused, so that no other page in the browser reaches it by a name of its own.
        upload_bytes: largest size of an uploaded file.
    """
    limiter = None

    async def answered(function: Callable[[], dict]) -> JSONResponse:
        nonlocal limiter
        limiter = limiter or anyio.CapacityLimiter(_AT_ONCE)
        try:
            return JSONResponse(await anyio.to_thread.run_sync(function, limiter=limiter))
        except ServingError as error:
            away = error.code in _AWAY
            return _refusal(503 if away else 502, str(error), away=away)
        except DivergenceError as error:
            return _refusal(502, str(error))
        except (ValueError, ImportError) as error:
            return _refusal(400, str(error))

    async def page(request: Request) -> FileResponse:
        return FileResponse(STATIC / "page.html")

    async def about(request: Request) -> JSONResponse:
        return await answered(lambda: {**studio.about(), "upload_bytes": upload_bytes})

    async def upload(request: Request) -> JSONResponse:
        content, name = await _body(request, upload_bytes), request.query_params.get("name", "")
        return await answered(lambda: studio.upload(name, content))

    def of_json(method: Callable[[dict], dict]) -> Callable:
        async def handle(request: Request) -> JSONResponse:
            # Other pages in the browser cannot send this type without being asked first.
            if request.headers.get("content-type") != "application/json":
                raise HTTPException(415, "Expected the content type application/json.")
            try:
                content = json.loads(await _body(request, _REQUEST))
            except (ValueError, RecursionError) as error:
                raise HTTPException(400, f"Expected JSON: {error}") from error
            if not isinstance(content, dict):
                raise HTTPException(400, "Expected an object in JSON.")
            return await answered(lambda: method(content))

        return handle

    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _refusal(error.status_code, error.detail)

    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("%s failed", request.url.path, exc_info=error)
        return _refusal(500, "The page has failed; its log has the reason.")

    methods = {"draw": studio.draw, "complete": studio.complete, "slide": studio.slide}
    hosts = ["localhost", "127.0.0.1", "[::1]", host] if loopback(host) else ["*"]
    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/about", about),
            Route("/api/upload", upload, methods=["POST"]),
            *(Route(f"/api/{name}", of_json(one), methods=["POST"]) for name, one in methods.items()),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(_Secured), Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={HTTPException: refused, Exception: failed},
    )


def _refusal(code: int, text: str, **more) -> JSONResponse:
    return JSONResponse({"error": text, **more}, code)


async def _body(request: Request, largest: int) -> bytes:
    """Return the body of a request.

    What is beyond `largest` is received too and dropped, because browsers show a response only once
    they have sent their request.

    Raises:
        HTTPException: if it is larger than `largest`, or does not arrive in time.
    """
    found, size = bytearray(), 0
    try:
        async with asyncio.timeout(_ARRIVAL):
            async for part in request.stream():
                size += len(part)
                if size <= largest:
                    found += part
    except TimeoutError:
        raise HTTPException(408, f"Expected the request within {_ARRIVAL:g} s.") from None
    if size > largest:
        raise HTTPException(
            413, f"Expected at most {largest} bytes, received {size}. Choose a smaller file."
        )
    return bytes(found)

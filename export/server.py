"""Serve exported models over TensorFlow Serving's gRPC protocol: python -m export.server --help.

A small server for the laptop and for tests. It speaks the protocol of TensorFlow Serving over the
same directories, with the same status codes, and has no REST.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

import grpc

from abp_tf import extras, programs

from .measures import Measures
from .model import Model
from .service import Limits, Service

with extras.needed("serving"):
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

log = logging.getLogger(__name__)

# Seconds between looks for new versions are an option, these are not: pings find out connections
# whose other end is gone, and idle or half-open ones are closed.
_CONNECTIONS = [
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_concurrent_streams", 128),
    # Or a second server would bind the same port without a word and take half of the connections.
    ("grpc.so_reuseport", 0),
    # No compressed messages: a small one can expand without bound.
    ("grpc.compression_enabled_algorithms_bitset", 1),
]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    limits = Limits()
    result = argparse.ArgumentParser(prog="export.server", description=__doc__.split("\n")[0])
    add = result.add_argument
    add("--model", action="append", required=True, metavar="NAME=DIR", type=_named_directory,
        help="a directory of versions, and the name it is served by; may be repeated")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 opens the server to all")
    add("--port", type=_port, default=8500, help="0 takes a free one, which the log tells")
    add("--keep", type=_count, default=1, metavar="N", help="how many versions to have loaded")
    add("--poll", type=float, default=1.0, metavar="SECONDS", help="between looks for new versions")
    add("--max-rows", type=_count, default=limits.rows, help="of one request")
    add("--max-message-mb", type=_count, default=limits.message // 2**20,
        help="of one request; larger ones are refused by gRPC itself, uncounted")  # fmt: skip
    add("--max-requests", type=_count, default=limits.requests,
        help="worked on or waiting at a time; others are refused with RESOURCE_EXHAUSTED")  # fmt: skip
    add(
        "--workers",
        type=_count,
        default=limits.workers,
        help="batches of them worked on at a time; twice as many if they are full",
    )
    add("--batch-rows", type=_count, default=limits.batch_rows,
        help="of waiting requests that are computed together, which changes answers by rounding; 1: "
        "each alone")  # fmt: skip
    add("--grace", type=float, default=120.0, metavar="SECONDS",
        help="for requests under way after SIGTERM or Ctrl-C")  # fmt: skip
    add("--tls-certificate", metavar="FILE", help="PEM certificate chain; needs --tls-key")
    add("--tls-key", metavar="FILE", help="PEM private key; needs --tls-certificate")
    add("--metrics-port", type=_port, help="answer Prometheus here, on the same host")
    return result


def _named_directory(text: str) -> tuple[str, Path]:
    name, equals, directory = text.partition("=")
    if not (name and equals and directory):
        raise argparse.ArgumentTypeError(f"expected NAME=DIRECTORY, received {text!r}")
    return name, Path(directory)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, received {text}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, received {text}")
    return int(text)


def open_models(named: list[tuple[str, Path]], keep: int) -> dict[str, Model]:
    """Load the newest versions of each directory.

    Raises:
        ValueError: a name was given twice, or there is no version to serve in a directory.
    """
    models: dict[str, Model] = {}
    for name, directory in named:
        if name in models:
            raise ValueError(f"--model: {name!r} was given twice. Give each model its own name.")
        if not directory.is_dir():
            raise NotADirectoryError(
                f"--model {name}: expected a directory of versions, but {directory} is none."
            )
        model = models[name] = Model(name, directory.resolve(), keep)
        model.refresh()
        if not model.loaded:
            why = "; ".join(status.error for status in model.statuses.values())
            raise ValueError(
                why
                or f"--model {name}: expected a version directory such as {directory}/1, found none. "
                "Export one with `python -m export.saved_model`."
            )
    return models


def credentials(certificate: str | None, key: str | None) -> grpc.ServerCredentials | None:
    """Return what TLS needs, or None without files.

    Raises:
        ValueError: only one of the two was given.
        OSError: a file cannot be read.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("TLS expected both --tls-certificate and --tls-key, received one of them.")
    return grpc.ssl_server_credentials([(Path(key).read_bytes(), Path(certificate).read_bytes())])


async def serve(arguments: argparse.Namespace, models: dict[str, Model], tls) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    limits = Limits(
        arguments.max_rows,
        arguments.max_message_mb * 2**20,
        arguments.max_requests,
        arguments.workers,
        arguments.batch_rows,
    )
    measures = Measures(models)
    server = grpc.aio.server(
        options=[
            *_CONNECTIONS,
            ("grpc.max_receive_message_length", limits.message),
            ("grpc.max_send_message_length", -1),
        ]
    )
    service = Service(models, limits, measures)
    server.add_generic_rpc_handlers(service.handlers())
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in models:
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)

    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"{host}:{arguments.port}"
    try:
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {address}: {error}. Is the port in use?") from error
    if arguments.metrics_port is not None:
        measures.serve(arguments.host, arguments.metrics_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    log.info("serving on %s:%d%s: %s", host, port, " with TLS" if tls else "", ", ".join(models))

    poll = asyncio.create_task(_poll(models, arguments.poll))
    await stop.wait()
    log.info("stopping: requests under way have %g s", arguments.grace)
    await checks.enter_graceful_shutdown()
    await server.stop(arguments.grace)
    service.close()
    poll.cancel()
    log.info("stopped")


async def _poll(models: dict[str, Model], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        for model in models.values():
            try:
                await asyncio.to_thread(model.refresh)
            except Exception:  # whatever it was, what is loaded is served on
                log.exception("looking for new versions of %s failed", model.name)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tls = credentials(arguments.tls_certificate, arguments.tls_key)
    models = open_models(arguments.model, arguments.keep)
    asyncio.run(serve(arguments, models, tls))
    return 0


if __name__ == "__main__":
    programs.run(main)

"""Serve exported models over TensorFlow Serving's gRPC protocol: python -m export.server --help.

A small server for a laptop and for tests. It implements the gRPC protocol of TensorFlow Serving for the
same model directories, with the same status codes, and without REST.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

import grpc

from abp_tf import programs
from abp_tf.options import Formatter
from abp_tf.serving.access import loopback, read_token

from .access import credentials
from .measures import Measures
from .model import Model
from .service import Limits, Service

log = logging.getLogger(__name__)

# Pings detect connections whose client has gone; idle and half-open connections are closed.
_CONNECTIONS = [
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_concurrent_streams", 128),
    # Otherwise a second server could bind the same port silently and receive half of the connections.
    ("grpc.so_reuseport", 0),
    # Without probes of the connection, no more of a message is read than this server asks for.
    ("grpc.http2.bdp_probe", 0),
    # Refuse compressed messages: a small one can expand without bound.
    ("grpc.compression_enabled_algorithms_bitset", 1),
]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    limits = Limits()
    result = argparse.ArgumentParser(
        prog="export.server",
        description="Serve exported models over TensorFlow Serving's gRPC protocol. Defaults are in "
        "brackets.",
        formatter_class=Formatter,
    )
    add = result.add_argument
    add("--model", action="append", required=True, metavar="NAME=DIR", type=_named_directory,
        help="name of a model and directory of its versions; several are possible")  # fmt: skip
    add("--host", default="127.0.0.1",
        help="address to listen on; 0.0.0.0 accepts other machines too [%(default)s]")  # fmt: skip
    add("--port", type=_port, default=8500,
        help="port to listen on; 0 chooses a free port, which the log names [%(default)s]")  # fmt: skip
    add("--keep", type=_count, default=1, metavar="N",
        help="number of versions of each model to keep loaded [%(default)s]")  # fmt: skip
    add("--poll", type=float, default=1.0, metavar="SECONDS",
        help="time between checks for new versions [%(default)s]")  # fmt: skip
    add("--max-rows", type=_count, default=limits.rows, metavar="N",
        help="largest number of rows of a request [%(default)s]")  # fmt: skip
    add("--max-message-mb", type=_count, default=limits.message // 2**20, metavar="MB",
        help="largest size of a request, whatever its rows [%(default)s]")  # fmt: skip
    add("--max-pending-mb", type=_count, default=limits.pending // 2**20, metavar="MB",
        help="largest size of all requests that wait for their responses, and of those that arrive "
        "slowly, of which the oldest are refused [%(default)s]")  # fmt: skip
    add("--max-requests", type=_count, default=limits.requests, metavar="N",
        help="largest number of requests that are computed or wait; others are refused with "
        "RESOURCE_EXHAUSTED [%(default)s]")  # fmt: skip
    add("--workers", type=_count, default=limits.workers, metavar="N",
        help="number of batches computed at a time, twice as many if full [%(default)s]")  # fmt: skip
    add("--batch-rows", type=_count, default=limits.batch_rows, metavar="N",
        help="largest number of rows of a batch of several requests; batches change results by "
        "rounding errors; 1 computes each request alone [%(default)s]")  # fmt: skip
    add("--grace", type=float, default=120.0, metavar="SECONDS",
        help="time to finish requests after SIGTERM or Ctrl-C [%(default)s]")  # fmt: skip
    add("--tls-certificate", metavar="FILE",
        help="certificate chain for TLS (PEM); needs --tls-key")  # fmt: skip
    add("--tls-key", metavar="FILE", help="private key for TLS (PEM); needs --tls-certificate")
    add("--tls-client-ca", metavar="FILE",
        help="certificates (PEM); only clients with a certificate that one of these has signed are "
        "accepted; by default all clients")  # fmt: skip
    add("--token-file", metavar="FILE",
        help="file of a bearer token; only requests with this token are accepted; by default all "
        "requests. Without TLS the token can be read on its way")  # fmt: skip
    add("--metrics-port", type=_port, metavar="PORT",
        help="port of metrics for Prometheus; by default none")  # fmt: skip
    add("--metrics-host", default="127.0.0.1", metavar="HOST",
        help="address for the metrics, which need neither token nor certificate "
        "[%(default)s]")  # fmt: skip
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
    """Load the newest versions of each model.

    Args:
        named: names of models with the directories of their versions.
        keep: number of versions to keep loaded.

    Returns:
        The models by name.

    Raises:
        ValueError: a name occurs twice, or a directory holds no version that can be served.
        NotADirectoryError: a path is not a directory.
    """
    models: dict[str, Model] = {}
    for name, directory in named:
        if name in models:
            raise ValueError(
                f"--model: expected different names, received {name!r} twice. Rename one of the models."
            )
        if not directory.is_dir():
            raise NotADirectoryError(
                f"--model {name}: expected a directory of versions, but {directory} is not a directory."
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


async def serve(
    arguments: argparse.Namespace,
    models: dict[str, Model],
    tls: grpc.ServerCredentials | None,
    token: str | None,
) -> None:
    """Serve models until SIGTERM or SIGINT, then finish the requests that have started.

    Args:
        arguments: options of the program.
        models: models by name.
        tls: credentials for TLS; None for plain text.
        token: bearer token that requests must have; None accepts all.

    Raises:
        OSError: the port is in use.
    """
    limits = Limits(
        arguments.max_rows,
        arguments.max_message_mb * 2**20,
        arguments.max_pending_mb * 2**20,
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
    service = Service(models, limits, measures, token)
    server.add_generic_rpc_handlers(service.handlers())
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    address = f"{host}:{arguments.port}"
    try:
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {address}: {error}. Is the port in use?") from error
    if arguments.metrics_port is not None:
        await measures.serve(arguments.metrics_host, arguments.metrics_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    log.info("serving on %s:%d%s: %s", host, port, " with TLS" if tls else "", ", ".join(models))
    if not (token or arguments.tls_client_ca or loopback(host)):
        log.warning(
            "everyone who reaches %s can use the models: set --token-file or --tls-client-ca", host
        )

    poll = asyncio.create_task(_poll(models, arguments.poll))
    await stop.wait()
    log.info("stopping: requests may continue for %g s", arguments.grace)
    service.health.stop()
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
            except Exception:  # the loaded versions are served in any case
                log.exception("checking for new versions of %s failed", model.name)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tls = credentials(arguments.tls_certificate, arguments.tls_key, arguments.tls_client_ca)
    token = read_token(arguments.token_file) if arguments.token_file else None
    models = open_models(arguments.model, arguments.keep)
    asyncio.run(serve(arguments, models, tls, token))
    return 0


if __name__ == "__main__":
    programs.run(main)

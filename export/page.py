"""Show what a served model does on a page in the browser: python -m export.page --help."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import socket
import sys
import tempfile
from pathlib import Path

from abp_tf import data, extras, programs, signals
from abp_tf.errors import ServingError
from abp_tf.options import Formatter
from abp_tf.serving import examples, saved_model
from abp_tf.serving.access import loopback

from . import connecting
from .process import ServerProcess
from .web.app import application
from .web.studio import Studio

with extras.needed("page"):
    import uvicorn

log = logging.getLogger(__name__)

# Connections that are open at a time.
_CONNECTIONS = 64


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    result = argparse.ArgumentParser(
        prog="export.page",
        description="Show what a served model does on a page in the browser: draw signals, hide a part "
        "of one and complete it, go from one to another. Defaults are in brackets.",
        formatter_class=Formatter,
        parents=[connecting.parser(named=False)],
    )
    add = result.add_argument
    add("--model-dir", metavar="DIR",
        help="directory of the versions of a model; a server of it is started on this machine, and "
        "--server is not used")  # fmt: skip
    add("--examples", metavar="DIR",
        help="directory of the versions of a model, exported with --examples, whose examples are "
        "shown; by default those of --model-dir")  # fmt: skip
    add("--kind", choices=signals.names(), metavar="NAME",
        help=f"kind of signal: {', '.join(signals.names())}; by default that of the examples, or the "
        "usual kind of the shape of the model's signals")  # fmt: skip
    add("--rate", type=float, metavar="NUMBER",
        help="samples or frames per second of the model's signals; by default those of the "
        "examples")  # fmt: skip
    add("--host", default="127.0.0.1",
        help="address of the page; 0.0.0.0 accepts other machines too [%(default)s]")  # fmt: skip
    add("--port", type=int, default=8600,
        help="port of the page; 0 chooses a free one [%(default)s]")  # fmt: skip
    add("--max-upload-mb", type=int, default=16, metavar="MB",
        help="largest size of an uploaded file [%(default)s]")  # fmt: skip
    return result


def find_examples(directory: str) -> data.Signals | None:
    """Return the examples of the newest version of a model that has some; None if none has.

    Args:
        directory: directory of the versions.

    Raises:
        OSError: if the directory cannot be read.
        ValueError: if the file of the examples is damaged.
    """
    numbered = {saved_model.version_number(path.name): path for path in Path(directory).iterdir()}
    versions = [numbered[number] for number in sorted(numbered.keys() - {None}, reverse=True)]
    found = (examples.read(path / saved_model.EXTRA) for path in versions)
    return next((one for one in found if one is not None), None)


@contextlib.contextmanager
def served(arguments: argparse.Namespace):
    """Start a server of --model-dir, if it is given, and set the address and the model's name."""
    if arguments.model_dir is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        name = arguments.model = arguments.model or Path(arguments.model_dir).resolve().name
        named = f"{name}={arguments.model_dir}"
        with ServerProcess(Path(folder) / "log", "--model", named) as server:
            arguments.server = server.address
            yield


def serve(studio: Studio, arguments: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        OSError: if the port is in use.
    """
    host = arguments.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    app = application(studio, host, arguments.max_upload_mb * 2**20)
    with socket.create_server((host, arguments.port), family=family) as listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"Open http://{shown}:{listening.getsockname()[1]}/ in a browser. Ctrl-C ends it.",
              flush=True)  # fmt: skip
        if not loopback(host):
            log.warning("everyone who reaches %s can use the model and read its examples", shown)
        settings = uvicorn.Config(
            app, log_level="warning", limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=5
        )
        uvicorn.Server(settings).run(sockets=[listening])


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.model is None and arguments.model_dir is None:
        raise ValueError("Expected --model, the name of a model on the server, or --model-dir.")
    if arguments.max_upload_mb < 1:
        raise ValueError(f"--max-upload-mb: expected 1 or more, received {arguments.max_upload_mb}.")
    directory = arguments.examples or arguments.model_dir
    few = find_examples(directory) if directory else None
    if arguments.examples and few is None:
        raise ValueError(
            f"--examples: expected an export with examples in {directory!r}, found none. Export the "
            "model with `abp-tf export --examples 8`."
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Otherwise SIGTERM ends the process at once, and a server that it started goes on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), served(arguments):
        with connecting.connect(arguments, None) as client:
            header = {} if arguments.rate is None else {"rate": arguments.rate}
            studio = Studio(client, arguments.kind, few, header)
            try:
                studio.outline()
            except ServingError as error:
                log.warning("%s", error)  # the page says so too, until the server is there
            serve(studio, arguments)
    return 0


if __name__ == "__main__":
    programs.run(main)

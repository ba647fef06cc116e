"""A server in a process of its own, for programs that need one for a while."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self


class ServerProcess:
    """`export.server` on a free port of this machine, logging to a file; a context manager.

    Args:
        log: file for the log.
        *options: of the program, `--port` excepted.

    Example:
        >>> with ServerProcess("server.log", "--model", "digits=models/digits") as server:
        ...     client = abp_tf.Client(server.address, model="digits")  # doctest: +SKIP
    """

    def __init__(self, log: str | os.PathLike, *options):
        self._log_path = Path(log)
        environment = dict(os.environ)
        if __package__ == "export":  # in a checkout, which need not be the working directory
            paths = [str(Path(__file__).resolve().parents[1]), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        command = [sys.executable, "-m", f"{__package__}.server", "--port", "0", *map(str, options)]
        with self._log_path.open("w") as stream:
            self.process = subprocess.Popen(command, stderr=stream, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return self._log_path.read_text()

    @property
    def address(self) -> str:
        """The "host:port", once the server answers there."""
        return self.wait_for(r"serving on ([^ ]+:\d+)")[1]

    def wait_for(self, pattern: str, seconds: float = 300) -> re.Match:
        """Return the match of a regular expression in the log, once it is there.

        Raises:
            RuntimeError: the process ended, or it took longer than `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Asked first: what a process says as it ends is in the log when it has ended.
            code = self.process.poll()
            if found := re.search(pattern, self.log):
                return found
            if code is not None:
                raise RuntimeError(f"The server ended with exit code {code}:\n{self.log}")
            time.sleep(0.05)
        raise RuntimeError(
            f"Expected {pattern!r} in {self._log_path} within {seconds:g} s:\n{self.log}"
        )

    def stop(self, number: int = signal.SIGTERM, seconds: float = 90) -> int:
        """Send a signal, if the process lives, wait for its end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

"""Run a server in a process of its own, for programs that need one for a while."""

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
    """Run `export.server` on a free port of this machine; a context manager.

    Args:
        log: file that the server writes its log to.
        *options: options of the program, without `--port`.

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
        """Return the log of the server so far."""
        return self._log_path.read_text()

    @property
    def address(self) -> str:
        """Wait until the server listens, and return its "host:port"."""
        return self.wait_for(r"serving on ([^ ]+:\d+)")[1]

    def wait_for(self, pattern: str, seconds: float = 300) -> re.Match:
        """Wait for a regular expression to match in the log.

        Args:
            pattern: the regular expression.
            seconds: longest time to wait.

        Returns:
            The match.

        Raises:
            RuntimeError: the process ended, or nothing matched within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Before reading the log, which holds the last lines of a process once it has ended.
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
        """Send a signal, if the process still runs, and wait for its end.

        Args:
            number: the signal.
            seconds: longest time to wait, after which the process is killed.

        Returns:
            The exit code.

        Raises:
            subprocess.TimeoutExpired: the process had to be killed.
        """
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

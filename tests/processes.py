"""Processes that start at once: forked from one that has imported everything, which takes seconds."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

from abp_tf import programs
from export import page, server
from export.process import ServerProcess

PROGRAMS = ("generator", "descriptor", "coopnets", "evaluate", "recover")
# TensorFlow starts its threads with the first operation and BLAS with its import, so that nothing
# but the main thread is there to be forked.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, *(f"train.{name}" for name in PROGRAMS)])


class Process:
    """A function in a process of its own, with what the tests use of `subprocess.Popen`.

    Args:
        log: file for what it writes on both streams.
        function: of a module; what it returns or raises becomes the exit code as in a program.
        *arguments: of the function.
    """

    def __init__(self, log, function, *arguments):
        self._process = CONTEXT.Process(target=_run, args=(str(log), function, arguments))
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self.poll()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


def _run(log, function, arguments):
    # A forked process has the group of the tests, and ignores Ctrl-C where they run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(stream, standard)
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(function(*arguments))


def run_program(main, *words):
    """Run a program's `main` in this process with a command line, and end the process as it would."""
    programs.run(main, [str(word) for word in words])


class Server(ServerProcess):
    """`ServerProcess` that starts at once."""

    def __init__(self, log, *options):
        self._log_path = Path(log)
        self._log_path.touch()
        self.process = Process(log, run_program, server.main, "--port", 0, *options)


class Page(Server):
    """The program `export.page` on a free port, which starts at once."""

    def __init__(self, log, *options):
        self._log_path = Path(log)
        self._log_path.touch()
        self.process = Process(log, run_program, page.main, "--port", 0, *options)

    @property
    def url(self):
        return self.wait_for(r"Open (http://[^ ]+)/ in")[1]

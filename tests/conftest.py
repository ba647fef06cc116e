import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

import abp_tf


@pytest.fixture(scope="session")
def digits():
    """120 real digits of 8x8 pixels, float32 [120, 8, 8, 1] in [-1, 1]."""
    return abp_tf.data.load("digits", size=8, limit=120, test_share=0.0).train


@pytest.fixture
def make_model():
    """Return a function that makes a tiny compiled generator; keywords go to Generator."""

    def make(learning_rate=1e-2, **options):
        keras.utils.set_random_seed(1)
        network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
        options.setdefault("langevin", abp_tf.Langevin(5, 0.1))
        options.setdefault("inference", abp_tf.Langevin(8, 0.1, cool=4))
        model = abp_tf.Generator(network, **options)
        model.compile(optimizer=keras.optimizers.Adam(learning_rate))
        return model

    return make


@pytest.fixture(scope="session")
def learned(digits):
    """A tiny generator after two epochs on `digits`; tests do not train it further."""
    keras.utils.set_random_seed(1)
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    model = abp_tf.Generator(
        network,
        langevin=abp_tf.Langevin(5, 0.1),
        inference=abp_tf.Langevin(8, 0.1, cool=4),
        expansion=1.0,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    model.fit(digits, batch_size=50, epochs=2, verbose=0)
    return model


@pytest.fixture
def masks_of_digits(digits):
    return abp_tf.masks.pepper(len(digits), (8, 8), 0.4, seed=3)


def state(model):
    """Everything a resumed training must have in common with one left alone."""
    parts = [np.asarray(weight) for weight in model.weights]
    parts += [np.asarray(value) for value in model.optimizer.variables]
    if model.chains == "persistent":
        parts.append(model.latents)
    return parts


@pytest.fixture
def assert_same_state():
    def check(first, second):
        for one, other in zip(state(first), state(second), strict=True):
            np.testing.assert_array_equal(one, other)

    return check


class Server:
    """`python -m export.server` in a process of its own, on a free port, logging to a file."""

    def __init__(self, log, *options):
        self.log_path = log
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "export.server", "--port", "0", *map(str, options)]
        with open(log, "w") as stream:
            self.process = subprocess.Popen(command, stderr=stream, env=environment)

    @property
    def log(self):
        return self.log_path.read_text()

    def wait_for(self, pattern, seconds=60):
        """Return the match of a pattern in the log, once it is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Asked first: what a process says as it ends is in the log when it has ended.
            ended = self.process.poll() is not None
            if found := re.search(pattern, self.log):
                return found
            assert not ended, f"the server ended with {self.process.returncode}:\n{self.log}"
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in {seconds} s:\n{self.log}")

    @property
    def address(self):
        return self.wait_for(r"serving on ([^ ]+:\d+)")[1]

    def stop(self, number=signal.SIGTERM, seconds=60):
        """Send a signal, if the process lives, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


@pytest.fixture(scope="session")
def exported(learned, tmp_path_factory):
    """The directory of versions of `learned`, with the one version 1."""
    directory = tmp_path_factory.mktemp("models") / "digits"
    learned.export(directory / "1")
    return directory


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """Return a function that starts a server with options; all are stopped in the end."""
    started = []

    def start(*options):
        log = tmp_path_factory.mktemp("server") / "log"
        started.append(Server(log, *options))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(start_server, exported):
    """A server of `exported`, as the model "digits"."""
    result = start_server("--model", f"digits={exported}", "--max-rows", 64)
    result.directory = exported
    assert result.address
    return result

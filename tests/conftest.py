import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

import abp_tf
from export.process import ServerProcess


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


@pytest.fixture
def make_baseline():
    """Return a function that makes a tiny compiled baseline of 8x8 images."""

    def build(kind, learning_rate=2e-3, batch_norm=None, **options):
        keras.utils.set_random_seed(1)
        batch_norm = kind is abp_tf.baselines.GAN if batch_norm is None else batch_norm
        network = abp_tf.networks.image_generator(
            (8, 8, 1), latent_dim=8, width=8, kernel_size=3, batch_norm=batch_norm
        )
        options.setdefault("inference", abp_tf.baselines.Descent(steps=30, learning_rate=0.1))
        model = kind(network, **options)
        model.compile(optimizer=keras.optimizers.Adam(learning_rate, beta_1=0.5))
        return model

    return build


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
    optimizers = [optimizer for optimizer, _ in model.learners()] if model.compiled else []
    variables = [*model.weights, *(value for one in optimizers for value in one.variables)]
    parts = [np.asarray(variable) for variable in variables]
    parts += [table.states.numpy() for table in model.tables]
    return parts


@pytest.fixture
def assert_same_state():
    def check(first, second):
        for one, other in zip(state(first), state(second), strict=True):
            np.testing.assert_array_equal(one, other)

    return check


@pytest.fixture(scope="session")
def exported(learned, tmp_path_factory):
    """The directory of versions of `learned`, with the one version 1."""
    directory = tmp_path_factory.mktemp("models") / "digits"
    learned.export(directory / "1", samples=4, chains=2)
    return directory


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """Return a function that starts a server with options; all are stopped in the end."""
    started = []

    def start(*options):
        log = tmp_path_factory.mktemp("server") / "log"
        started.append(ServerProcess(log, *options))
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

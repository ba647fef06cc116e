import contextlib
import functools
import os
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf.serving import examples

# Two devices, for strategies; without one, all operations run on the first.
[CPU] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

# Files that share fixtures which take long to make: one worker tests them all, as it does each other
# file. (Groups of pytest-xdist 3.8 have no effect with pytest 9.2.)
TOGETHER = {
    "serving": re.compile("tests/(export|serving)/"),
    "programs": re.compile("tests/train/"),
}

# What takes longest comes first, so that workers end at about the same time.
LONG = [
    re.compile(f"tests/({names})")
    for names in (
        "export|serving|train",
        "models|callbacks|signals|baselines|test_readme",
        "metrics|sampling|test_",
    )
]


def pytest_collection_modifyitems(items):
    """Put the tests of long files first; those of a file stay in their order."""

    @functools.cache
    def place(path):
        return next((n for n, files in enumerate(LONG) if files.search(path)), len(LONG))

    items.sort(key=lambda item: place(item.nodeid.split("::")[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give all tests of a file, and of files that share fixtures, to one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return next((name for name, files in TOGETHER.items() if files.search(path)), path)

    config.option.loadscopereorder = False  # which would put files of few tests last
    return Together(config, log)


@pytest.fixture(scope="session")
def digits():
    """120 real digits of 8x8 pixels, float32 [120, 8, 8, 1] in [-1, 1]."""
    return abp_tf.data.load("digits", size=8, limit=120, test_share=0.0).train


@pytest.fixture(scope="session")
def mirrored():
    """A strategy of two replicas; a second one would take the first one's sums for its own."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


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
    return [*parts, *(table.states.numpy() for table in model.tables)]


@pytest.fixture
def assert_same_state():
    def check(first, second):
        for one, other in zip(state(first), state(second), strict=True):
            np.testing.assert_array_equal(one, other)

    return check


class Start:
    """Where a model was before it learned: trained from there again, it is not traced again."""

    def __init__(self, model):
        self.model = model
        self.weights = [(weight, weight.numpy()) for weight in model.weights]

    def restore(self):
        self.model.reset_chains()
        for weight, value in self.weights:
            weight.assign(value)
        for optimizer, _ in self.model.learners():
            for variable in optimizer.variables:
                if variable is not optimizer._learning_rate:
                    variable.assign(np.zeros(variable.shape, variable.dtype))


@pytest.fixture
def start_of():
    """Return `Start`: give it a compiled model that has not learned yet."""
    return Start


@pytest.fixture(scope="session")
def exported(learned, digits, tmp_path_factory):
    """The directory of versions of `learned`, with the one version 1 and three examples."""
    directory = tmp_path_factory.mktemp("models") / "digits"
    few = examples.choose(abp_tf.data.Signals(digits, digits[:0], "digits"), 3)
    learned.export(directory / "1", examples=few, samples=4, chains=2)
    return directory


@pytest.fixture(scope="session")
def export_only():
    """Return a function that exports some of a model's signatures: the fewer, the sooner it loads."""

    def export(model, path, *names):
        whole = type(model).exported_signatures

        def some(self, **options):
            found = whole(self, **options)
            return {name: found[name] for name in names}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(model), "exported_signatures", some)
            return model.export(path)

    return export


@pytest.fixture(scope="session")
def light(learned, export_only, tmp_path_factory):
    """As `exported`, with "synthesize" and "reconstruct" alone: for what loads it again and again."""
    directory = tmp_path_factory.mktemp("models") / "digits"
    export_only(learned, directory / "1", "synthesize", "reconstruct")
    return directory


@pytest.fixture(scope="session")
def digit_run(tmp_path_factory):
    """Return a function of "generator", "descriptor" or "coopnets" that makes a `DigitRun`, once.

    Tests may evaluate a run and do not train it further.
    """
    from tests import digit_runs

    return functools.cache(
        lambda name: digit_runs.make(name, tmp_path_factory.mktemp("runs") / "digits")
    )


@pytest.fixture(scope="module")
def loaded_once():
    """The model of a run is loaded once, and traced once, until it is trained further."""
    from abp_tf import runs

    load = functools.cache(lambda path, time: keras.models.load_model(path))

    def load_model(run):
        return load(run.model_path, run.model_path.stat().st_mtime_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "load_model", load_model)
        yield


@contextlib.contextmanager
def servers(tmp_path_factory):
    """Give a function that starts a server with options; all are stopped in the end."""
    from tests.processes import Server  # which not all tests need

    started = []

    def start(*options):
        started.append(Server(tmp_path_factory.mktemp("server") / "log", *options))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """Return a function that starts a server with options; all are stopped in the end."""
    with servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def server(exported, tmp_path_factory):
    """A server of `exported`, as the model "digits"; no test changes what it serves."""
    with servers(tmp_path_factory) as start:
        result = start("--model", f"digits={exported}", "--max-rows", 64, "--max-message-mb", 1)
        assert result.address
        yield result


@pytest.fixture(scope="session")
def energy():
    """A descriptor that has learned nothing."""
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.image_descriptor((8, 8, 1), 4)
    return abp_tf.Descriptor(network, langevin=abp_tf.Langevin(5, 0.3), pool=2)


@pytest.fixture(scope="session")
def energy_server(energy, tmp_path_factory):
    """A server of `energy`, as the model "digits"."""
    directory = tmp_path_factory.mktemp("models") / "energy"
    energy.export(directory / "1")
    with servers(tmp_path_factory) as start:
        result = start("--model", f"digits={directory}")
        assert result.address
        yield result

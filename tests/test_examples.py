"""The examples in docstrings run, and give what they show."""

import doctest
import importlib
import math
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
import export
import train


def examples() -> list[doctest.DocTest]:
    """All docstrings with examples, of every module of the package."""
    finder, found = doctest.DocTestFinder(), []
    for package in (abp_tf, train, export):
        prefix = f"{package.__name__}."
        for info in pkgutil.walk_packages(package.__path__, prefix):
            found += finder.find(importlib.import_module(info.name), info.name)
    return sorted(test for test in found if test.examples)


EXAMPLES = examples()


@pytest.fixture(scope="module")
def names():
    """What every example may use beside the names of its module."""
    keras.utils.set_random_seed(1)
    images = abp_tf.data.load("digits", limit=40, test_share=0.0).train
    network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
    model = abp_tf.Generator(
        network, langevin=abp_tf.Langevin(5, 0.1), inference=abp_tf.Langevin(8, 0.1, cool=4)
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.fit(images, batch_size=20, epochs=1, verbose=0)
    return {
        **{"abp_tf": abp_tf, "keras": keras, "math": math, "np": np, "tf": tf},
        **{"images": images, "network": network, "model": model},
        "masks": abp_tf.masks.pepper(len(images), (16, 16), 0.5, seed=0),
    }


@pytest.fixture
def without_progress_bars():
    keras.utils.disable_interactive_logging()
    yield
    keras.utils.enable_interactive_logging()


@pytest.mark.usefixtures("without_progress_bars")
@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_example(example, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example.globs = {**names, **example.globs}
    said = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


def test_examples_are_found():
    assert {"abp_tf.data.sources.load", "abp_tf.networks.image.image_generator"} < {
        example.name for example in EXAMPLES
    }

"""Fixtures of the tests of the client where TensorFlow is missing: a plugin of pytest.

Servers and models are those of another process, described by the file that ABP_TF_TESTS names.
"""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from tests.remote_models import remote


@pytest.fixture(scope="session")
def other():
    with open(os.environ["ABP_TF_TESTS"]) as file:
        return SimpleNamespace(**json.load(file))


@pytest.fixture(scope="session")
def models(other):
    return remote(tuple(other.models), "learned", "energy")


@pytest.fixture
def learned(models):
    return models[0]


@pytest.fixture
def energy(models):
    return models[1]


@pytest.fixture(scope="session")
def server(other):
    return SimpleNamespace(address=other.server)


@pytest.fixture(scope="session")
def energy_server(other):
    return SimpleNamespace(address=other.energy_server)


@pytest.fixture(scope="session")
def digits(other):
    return np.load(other.arrays)["digits"]


@pytest.fixture
def masks_of_digits(other):
    return np.load(other.arrays)["masks"]

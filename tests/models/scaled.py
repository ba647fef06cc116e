"""Small models of data in their own units, and of the same data scaled before."""

import keras
import numpy as np
import pytest

from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.baselines import GAN, VAE, Descent

SHAPE = (4, 3, 2)
RNG = np.random.default_rng(0)
# °C and Pa; what is hidden holds NaN.
WHOLE = (RNG.normal(size=(24, *SHAPE)) * [4, 300] + [15, 101_300]).astype(np.float32)
MASK = RNG.random(WHOLE.shape) > 0.3
DAMAGED = np.where(MASK, WHOLE, np.float32(np.nan))
BATCH = {"batch_size": 8, "verbose": 0}


def decoder():
    layers = [keras.layers.Dense(6, "silu"), keras.layers.Dense(24), keras.layers.Reshape(SHAPE)]
    return keras.Sequential([keras.Input((3,)), *layers])


def scorer(shape=SHAPE):
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, "silu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input(shape), *layers])


def generator(**options):
    langevin, inference = Langevin(3, 0.2), Langevin(6, 0.2, cool=3)
    return Generator(decoder(), sigma=0.5, langevin=langevin, inference=inference, **options)


def descriptor(**options):
    steps = {"langevin": Langevin(3, 0.1), "inference": Langevin(6, 0.1), "pool": 12}
    return Descriptor(scorer(), reference_sigma=1.0, **{**steps, **options})


def coopnets(**options):
    options = {"value_range": None, **options}
    return CoopNets(generator(**options), descriptor(chains="short-run", **options))


def encoder():
    layers = [keras.layers.Flatten(), keras.layers.Dense(6)]
    return keras.Sequential([keras.Input((4, 3, 4)), *layers])


def vae(**options):
    return VAE(decoder(), encoder=encoder(), inference=Descent(5, 0.1), **options)


def gan(**options):
    return GAN(decoder(), discriminator=scorer((4, 3, 4)), inference=Descent(5, 0.1), **options)


MODELS = {
    "generator": generator,
    "descriptor": descriptor,
    "coopnets": coopnets,
    "vae": vae,
    "gan": gan,
}
QUICK = ("generator", "descriptor")
# The others share what is tested with these.
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


def pair(name, scaling, data, scale):
    """Return a model of data in their units, and one of data that were scaled before.

    Args:
        name: name of the model.
        scaling: scaling of the first one.
        data: what it learns from, a dict of arrays.
        scale: function that scales its signals.
    """
    made = []
    for options, given in (
        ({"scaling": scaling}, data),
        ({"value_range": None}, {**data, "signal": scale(data["signal"])}),
    ):
        keras.utils.set_random_seed(1)
        model = MODELS[name](**options)
        rate = keras.optimizers.Adam(1e-2)
        model.compile(*[rate] if name != "coopnets" else [rate, keras.optimizers.Adam(1e-3)])
        model.fit(given, epochs=2, **BATCH)
        made.append(model)
    return made


def learned(model):
    """Return all that a model has learned: weights and chains."""
    weights = [variable.numpy() for variable in model.weights if "fingerprint" not in variable.path]
    return [*weights, *(table.states.numpy() for table in model.tables)]


def assert_close(found, expected, unit=1):
    """Results of two models are equal to rounding, relative to the units of the channels."""
    np.testing.assert_allclose(found / unit, expected / unit, atol=2e-3)

"""Small models of images of 8×8, of which tests compare trainings that should be equal."""

import keras

import abp_tf
from abp_tf.baselines import Descent
from abp_tf.sampling import Langevin


def top_down(**options):
    return abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3, **options)


def energy(**options):
    return abp_tf.networks.image_descriptor((8, 8, 1), width=4, kernel_size=3, **options)


def generator(optimizer=keras.optimizers.Adam, rate=1e-2, **options):
    options = {"langevin": Langevin(3, 0.1), "inference": Langevin(4, 0.1, cool=2), **options}
    model = abp_tf.Generator(top_down(), **options)
    model.compile(optimizer(rate))
    return model


def descriptor(**options):
    model = abp_tf.Descriptor(energy(), **{"langevin": Langevin(3, 0.3), **options})
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def coopnets(batch_norm=False, optimizer=keras.optimizers.Adam, shards=1, **options):
    chains = {"langevin": Langevin(2, 0.1), "inference": Langevin(4, 0.1, cool=2), "shards": shards}
    first = abp_tf.Generator(top_down(batch_norm=batch_norm), **chains)
    revision = {"langevin": Langevin(3, 0.1), "chains": "short-run", "shards": shards}
    model = abp_tf.CoopNets(first, abp_tf.Descriptor(energy(), **revision), **options)
    model.compile(optimizer(2e-4), optimizer(5e-4))
    return model


def baseline(kind, batch_norm, optimizer=keras.optimizers.Adam, shards=1):
    network = top_down(batch_norm=batch_norm)
    model = kind(network, inference=Descent(steps=3, learning_rate=0.1), shards=shards)
    model.compile(optimizer(2e-3))
    return model


def sgd(rate):
    return keras.optimizers.SGD(rate, clipnorm=0.1)

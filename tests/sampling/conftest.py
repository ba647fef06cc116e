import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling import random


@pytest.fixture
def run():
    """Return a function that runs a sampler, compiled, on rows with seeds of their own."""

    def run(sampler, energy, start, first_seed=0, **options):
        seeds = random.row_seeds(first_seed + np.arange(len(start)), random.CHAIN)
        function = tf.function(lambda u, s: sampler.sample(energy, u, s), **options)
        state, info = function(tf.constant(start, tf.float32), seeds)
        return state.numpy(), info

    return run


PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.fixture
def gaussian():
    """Return a function that makes the energy of a Gaussian by its mean and precision."""

    def make(mean=0.0, precision=PRECISION):
        precision = tf.constant(precision, tf.float32)

        def energy(u):
            centred = u - mean
            return 0.5 * tf.reduce_sum(centred * tf.matmul(centred, precision), axis=-1)

        return energy

    return make

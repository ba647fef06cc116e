import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling import random as noise


def test_noise_is_standard_normal_and_differs_between_rows_streams_and_iterations():
    index = tf.range(300, dtype=tf.int64)
    draws = {
        (stream, iteration): tf.function(noise.row_normal)(
            noise.training_seeds(7, stream, iteration, index), [10, 20]
        ).numpy()
        for stream in (noise.PRIOR, noise.CHAIN)
        for iteration in (0, 1)
    }
    values = np.stack(list(draws.values()))
    assert abs(values.mean()) < 0.01
    assert abs(values.var() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.06  # uniform noise of unit variance has 1.8
    assert np.abs(np.corrcoef(values.reshape(4, -1)) - np.eye(4)).max() < 0.02
    assert len(np.unique(values.reshape(-1, 200)[:, 0])) == 1200


@pytest.mark.parametrize("count", [1, 4, 100])
def test_noise_of_a_row_is_bit_for_bit_the_same_alone_and_in_any_batch(count):
    draw = tf.function(noise.row_normal)
    index = np.arange(100)
    whole = draw(noise.training_seeds(3, noise.CHAIN, 5, index), [6, 4]).numpy()
    order = np.random.default_rng(0).permutation(100)[:count]
    part = draw(noise.training_seeds(3, noise.CHAIN, 5, index[order]), [6, 4]).numpy()
    assert (part == whole[order]).all()
    by_seed = draw(noise.row_seeds(index, noise.CHAIN), [6, 4]).numpy()
    alone = draw(noise.row_seeds(order, noise.CHAIN), [6, 4]).numpy()
    assert (alone == by_seed[order]).all()


def test_opposite_seeds_have_opposite_normal_numbers_and_equal_uniform_ones():
    seeds = tf.range(5, dtype=tf.int64)
    for use in (lambda pairs: pairs, lambda pairs: noise.later(noise.apart(pairs, noise.VELOCITY), 3)):
        here, there = (
            use(noise.row_seeds(one, noise.CHAIN)) for one in (seeds, seeds + noise.OPPOSITE)
        )
        normal = noise.row_normal(here, [6]).numpy()
        np.testing.assert_array_equal(noise.row_normal(there, [6]), -normal)
        uniform = noise.row_uniform(here, [6]).numpy()
        np.testing.assert_array_equal(noise.row_uniform(there, [6]), uniform)
    assert np.abs(normal).min() > 0

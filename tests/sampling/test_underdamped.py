"""Underdamped Langevin dynamics against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from abp_tf import Langevin, Underdamped
from abp_tf.sampling.random import CHAIN, row_seeds

CURVATURE = np.float32([0.5, 1.0, 4.0])
ROWS = 20_000


def quadratic(state):
    return 0.5 * tf.reduce_sum(CURVATURE * (state - 1.0) ** 2, axis=-1)


def drawn(sampler, start=0.0, rows=ROWS):
    state = tf.fill([rows, 3], tf.constant(start, tf.float32))
    seeds = row_seeds(tf.range(rows, dtype=tf.int64), CHAIN)
    return tf.function(sampler.sample, autograph=False)(quadratic, state, seeds)[0].numpy()


@pytest.mark.parametrize("step_size", [0.2, 0.9])
@pytest.mark.parametrize("friction", [0.5, 2.0])
def test_moments_of_a_quadratic_are_exact_at_long_steps(step_size, friction):
    state = drawn(Underdamped(round(40 / step_size), step_size, friction=friction))
    np.testing.assert_allclose(state.mean(axis=0), 1.0, atol=0.04)
    np.testing.assert_allclose(state.var(axis=0), 1 / CURVATURE, rtol=0.05)
    # At the long step the unadjusted chain is far from it where the curvature is largest.
    if step_size == 0.9:
        biased = drawn(Langevin(60, step_size)).var(axis=0)
        assert biased[-1] > 2 / CURVATURE[-1]


def test_fewer_steps_forget_the_start():
    after = {
        name: np.abs(drawn(sampler, start=9.0, rows=2000).mean(axis=0) - 1.0)
        for name, sampler in (("slow", Langevin(20, 0.4)), ("fast", Underdamped(20, 0.4)))
    }
    assert after["slow"][0] > 3
    assert after["fast"][0] < 0.5 * after["slow"][0]


def test_temperatures_and_cooling():
    cold = drawn(Underdamped(200, 0.4, temperature=0.0), rows=3)
    np.testing.assert_allclose(cold, 1.0, atol=1e-3)
    warm = drawn(Underdamped(100, 0.4, temperature=0.25), rows=4000)
    np.testing.assert_allclose(warm.var(axis=0), 0.25 / CURVATURE, rtol=0.1)
    np.testing.assert_allclose(drawn(Underdamped(5, 0.4, cool=800), rows=4), 1.0, atol=1e-3)


def test_a_row_depends_on_its_seed_alone():
    whole, alone = drawn(Underdamped(7, 0.3), rows=5), drawn(Underdamped(7, 0.3), rows=1)
    np.testing.assert_allclose(whole[:1], alone, atol=1e-6)
    assert np.unique(whole[:, 0]).size == 5


def test_settings():
    sampler = Underdamped(5, 0.4, cool=2, friction=3.0)
    assert Underdamped.from_config(sampler.get_config()) == sampler
    assert sampler.for_draws() == Underdamped(5, 0.4, friction=3.0)
    for bad in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"`friction`.*received"):
            Underdamped(5, 0.4, friction=bad)

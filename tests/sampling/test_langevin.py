import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import Langevin
from abp_tf.sampling import base
from abp_tf.sampling import langevin as dynamics
from abp_tf.sampling import random as noise


def run(energy, start, langevin, first_seed=0):
    seeds = noise.row_seeds(first_seed + np.arange(len(start)), noise.CHAIN)
    function = tf.function(lambda u, s: langevin.sample(energy, u, s))
    state, info = function(tf.constant(start, tf.float32), seeds)
    return state.numpy(), info


def gaussian(mean, precision):
    precision = tf.constant(precision, tf.float32)

    def energy(u):
        centred = u - mean
        return 0.5 * tf.reduce_sum(centred * tf.matmul(centred, precision), axis=-1)

    return energy


PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize("held", [2**16, 7])
def test_stationary_moments_are_the_exact_ones_of_the_unadjusted_chain(monkeypatch, held):
    # With 7 numbers held at once the noise is drawn two steps at a time.
    monkeypatch.setattr(base, "HELD", held)
    # A large step, where δ for δ², δ² for δ²/2 or uniform noise would show at once.
    step_size = 0.9
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    found, _ = run(gaussian(mean, PRECISION), np.zeros((20_000, 3)), Langevin(60, step_size))
    exact = np.linalg.inv(PRECISION) @ np.linalg.inv(np.eye(3) - step_size**2 * PRECISION / 4)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.05)
    # Far from the covariance of the target, so the test can tell the two apart.
    assert np.abs(exact - np.linalg.inv(PRECISION)).max() > 0.5


def test_temperature_scales_the_covariance():
    found, _ = run(gaussian(0.0, PRECISION), np.zeros((20_000, 3)), Langevin(60, 0.5, 0.25))
    exact = 0.25 * np.linalg.inv(PRECISION) @ np.linalg.inv(np.eye(3) - 0.25 * PRECISION / 4)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.01)


def test_without_temperature_it_descends_to_the_mean_at_rate_half_delta_squared():
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    found, info = run(gaussian(mean, PRECISION), np.zeros((2, 3)), Langevin(400, 0.5, 0.0))
    np.testing.assert_allclose(found, [mean, mean], atol=1e-5)
    assert np.all(info.final_energy < 1e-8)
    one, _ = run(gaussian(mean, PRECISION), np.zeros((1, 3)), Langevin(1, 0.5, 0.0))
    np.testing.assert_allclose(one[0], 0.125 * PRECISION @ mean, rtol=1e-5)


def test_cooling_ends_at_the_mode():
    found, _ = run(gaussian(2.0, PRECISION), np.zeros((3, 3)), Langevin(20, 0.5, cool=600))
    np.testing.assert_allclose(found, 2.0, atol=1e-4)


def test_info_tells_energies_before_and_after_and_the_gradient_norm():
    energy = gaussian(0.0, np.eye(2))
    start = np.array([[3.0, 4.0], [0.0, 1.0]])
    state, info = run(energy, start, Langevin(1, 0.2))
    np.testing.assert_allclose(info.initial_energy, [12.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(info.gradient_norm, [5.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(info.final_energy, 0.5 * (state**2).sum(-1), rtol=1e-5)


def test_zero_steps_change_nothing():
    state, info = run(gaussian(0.0, np.eye(2)), np.ones((3, 2)), Langevin(0, 0.1))
    assert (state == 1).all()
    assert (info.gradient_norm.numpy() == 0).all()


def test_stability_is_the_largest_eigenvalue():
    largest = np.linalg.eigvalsh(PRECISION).max()
    found = dynamics.stability(gaussian(0.0, PRECISION), tf.zeros([2, 3]), 0.6, iterations=60)
    np.testing.assert_allclose(found, 0.36 * largest / 4, rtol=1e-4)


def test_config_round_trip():
    langevin = Langevin(20, 0.3, 0.5, cool=10)
    assert Langevin.from_config(langevin.get_config()) == langevin
    serialized = keras.saving.serialize_keras_object(langevin)
    assert keras.saving.deserialize_keras_object(serialized) == langevin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": -1, "step_size": 0.1}, "`steps`.*-1"),
        ({"steps": 2.5, "step_size": 0.1}, "`steps`.*2.5"),
        ({"steps": 1, "step_size": 0.0}, "positive `step_size`"),
        ({"steps": 1, "step_size": float("nan")}, "positive `step_size`"),
        ({"steps": 1, "step_size": 0.1, "temperature": -1}, "`temperature`"),
        ({"steps": 1, "step_size": 0.1, "cool": -2}, "`cool`"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Langevin(**arguments)


def test_blocks_of_noise_belong_to_their_rows_and_differ(monkeypatch):
    monkeypatch.setattr(base, "HELD", 7)
    start = np.zeros((6, 3))
    flat = gaussian(0.0, np.zeros((3, 3)))
    paths = [run(flat, start, Langevin(steps, 1.0), first_seed=4)[0] for steps in (2, 4, 5)]
    moves = np.diff(np.stack([start, *paths]), axis=0)
    assert np.abs(np.corrcoef(moves.reshape(3, -1)) - np.eye(3)).max() < 0.8
    alone, _ = run(flat, start[:1], Langevin(5, 1.0), first_seed=7)
    np.testing.assert_array_equal(alone[0], paths[2][3])

import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling import Langevin, base, langevin

PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize("held", [2**16, 7])
def test_stationary_moments_are_the_exact_ones_of_the_unadjusted_chain(
    run, gaussian, monkeypatch, held
):
    # With 7 numbers held at once the noise is drawn two steps at a time.
    monkeypatch.setattr(base, "HELD", held)
    # A large step, where δ for δ², δ² for δ²/2 or uniform noise would show at once.
    step_size = 0.9
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    found, _ = run(Langevin(60, step_size), gaussian(mean, PRECISION), np.zeros((5000, 3)))
    exact = np.linalg.inv(PRECISION) @ np.linalg.inv(np.eye(3) - step_size**2 * PRECISION / 4)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.08)
    # Far from the covariance of the target, so the test can tell the two apart.
    assert np.abs(exact - np.linalg.inv(PRECISION)).max() > 0.5


def test_temperature_scales_the_covariance(run, gaussian):
    found, _ = run(Langevin(60, 0.5, 0.25), gaussian(0.0, PRECISION), np.zeros((5000, 3)))
    exact = 0.25 * np.linalg.inv(PRECISION) @ np.linalg.inv(np.eye(3) - 0.25 * PRECISION / 4)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.02)


def test_without_temperature_it_descends_to_the_mean_at_rate_half_delta_squared(run, gaussian):
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    found, info = run(Langevin(400, 0.5, 0.0), gaussian(mean, PRECISION), np.zeros((2, 3)))
    np.testing.assert_allclose(found, [mean, mean], atol=1e-5)
    assert np.all(info.final_energy < 1e-8)
    one, _ = run(Langevin(1, 0.5, 0.0), gaussian(mean, PRECISION), np.zeros((1, 3)))
    np.testing.assert_allclose(one[0], 0.125 * PRECISION @ mean, rtol=1e-5)


def test_cooling_ends_at_the_mode(run, gaussian):
    found, _ = run(Langevin(20, 0.5, cool=600), gaussian(2.0, PRECISION), np.zeros((3, 3)))
    np.testing.assert_allclose(found, 2.0, atol=1e-4)


def test_info_tells_energies_before_and_after_and_the_gradient_norm(run, gaussian):
    energy = gaussian(0.0, np.eye(2))
    start = np.array([[3.0, 4.0], [0.0, 1.0]])
    state, info = run(Langevin(1, 0.2), energy, start)
    np.testing.assert_allclose(info.initial_energy, [12.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(info.gradient_norm, [5.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(info.final_energy, 0.5 * (state**2).sum(-1), rtol=1e-5)


def test_zero_steps_change_nothing(run, gaussian):
    state, info = run(Langevin(0, 0.1), gaussian(0.0, np.eye(2)), np.ones((3, 2)))
    assert (state == 1).all()
    assert (info.gradient_norm.numpy() == 0).all()


def test_stability_is_the_largest_eigenvalue(gaussian):
    largest = np.linalg.eigvalsh(PRECISION).max()
    found = langevin.stability(gaussian(0.0, PRECISION), tf.zeros([2, 3]), 0.6, iterations=60)
    np.testing.assert_allclose(found, 0.36 * largest / 4, rtol=1e-4)


def test_blocks_of_noise_belong_to_their_rows_and_differ(run, gaussian, monkeypatch):
    monkeypatch.setattr(base, "HELD", 7)
    start = np.zeros((6, 3))
    flat = gaussian(0.0, np.zeros((3, 3)))
    paths = [run(Langevin(steps, 1.0), flat, start, first_seed=4)[0] for steps in (2, 4, 5)]
    moves = np.diff(np.stack([start, *paths]), axis=0)
    assert np.abs(np.corrcoef(moves.reshape(3, -1)) - np.eye(3)).max() < 0.8
    alone, _ = run(Langevin(5, 1.0), flat, start[:1], first_seed=7)
    np.testing.assert_array_equal(alone[0], paths[2][3])

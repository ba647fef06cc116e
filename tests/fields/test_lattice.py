"""The posterior on a lattice, against dense algebra and a Kalman smoother."""

import numpy as np
import pytest

from abp_tf.errors import ConvergenceError
from abp_tf.fields.lattice import Lattice, Roughness, differences, steps
from abp_tf.fields.rhythm import Rhythm

NOISE = 0.1
TIMES = np.array([0.0, 1.0, 2.0, 4.0])
PRECISION = np.array([1.0, 0.01])


def made(time: float, rhythms: list | None = None, noise=lambda shape: NOISE):
    """Return a lattice with holes and latents, its data, and the covariance of its frames."""
    random = np.random.default_rng(0)
    domain = random.random((5, 6, 2)) > 0.2
    space, along = differences(domain), steps(TIMES)
    points = space.shape[1]
    mask = random.random((len(TIMES), points)) > 0.4
    lattice = Lattice(space, along, mask, Roughness(2.0, time, 0.5), noise(mask.shape))
    loading = random.normal(size=(points, 2))
    lattice.load(loading, PRECISION)
    of_frame = (space.T @ space).toarray() + 0.25 * np.eye(points)
    prior = np.kron(np.eye(len(TIMES)), of_frame)
    prior += time * np.kron(along.T @ along, np.eye(points))
    covariance = np.linalg.inv(2 * prior)
    if rhythms is None:
        covariance += np.kron(np.eye(len(TIMES)), loading / PRECISION @ loading.T)
        return lattice, random.normal(size=mask.shape), mask, covariance
    of_latents = [Rhythm(*one).covariance(TIMES) for one in rhythms]
    lattice.load(loading, np.linalg.inv(of_latents))
    for column, one in zip(loading.T, of_latents, strict=True):
        covariance += np.kron(one, np.outer(column, column))
    return lattice, random.normal(size=mask.shape), mask, covariance


def varied(shape):
    """Return a variance of the noise for each entry."""
    return np.random.default_rng(3).uniform(0.02, 0.5, shape)


@pytest.mark.parametrize(
    ("time", "rhythms", "noise"),
    [
        (0.0, None, lambda shape: NOISE),
        (0.3, None, lambda shape: NOISE),
        (0.3, None, varied),
        (0.0, [(3.0, 0.0, 1.0), (5.0, 0.8, 2.5)], varied),
    ],
)
def test_mean_and_draws_are_those_of_dense_kriging(time, rhythms, noise):
    lattice, data, mask, covariance = made(time, rhythms, noise)
    seen = mask.ravel()
    variances = np.broadcast_to(lattice.noise, mask.shape).ravel()[seen]
    inverse = np.linalg.inv(covariance[np.ix_(seen, seen)] + np.diag(variances))
    mean = covariance[:, seen] @ inverse @ data.ravel()[seen]
    variance = np.diag(covariance - covariance[:, seen] @ inverse @ covariance[seen])

    def whole(field, latent):
        return (field + latent @ lattice.loading.T).ravel()

    np.testing.assert_allclose(whole(*lattice.mean(data, tolerance=1e-8)), mean, atol=1e-6)
    random = np.random.default_rng(1)
    draws = np.stack([whole(*lattice.draw(data, random)) for _ in range(2000)])
    np.testing.assert_allclose((draws.mean(0) - mean) / np.sqrt(variance), 0, atol=0.1)
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.15)


def test_latent_covariances_are_those_of_independent_frames():
    lattice, _, mask, _ = made(0.0)
    points = mask.shape[1]
    prior = 2 * ((lattice.space.T @ lattice.space).toarray() + 0.25 * np.eye(points))
    for seen, found in zip(mask, lattice.latent_covariance, strict=True):
        field = np.linalg.inv(prior)[np.ix_(seen, seen)] + NOISE * np.eye(seen.sum())
        loading = lattice.loading[seen]
        wanted = np.linalg.inv(loading.T @ np.linalg.solve(field, loading) + np.diag(PRECISION))
        np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_one_point_in_time_is_smoothed_as_by_a_kalman_smoother():
    """A field without decay at one point is a random walk with noise."""
    random = np.random.default_rng(0)
    times = np.array([0.0, 1, 2, 3, 5, 6, 9])
    data = random.normal(size=len(times)).cumsum()
    mask = np.array([1, 1, 0, 1, 0, 1, 1], bool)
    step = 1 / (2.0 * 0.7)  # variance of a step of the walk in the median time, 1
    space = differences(np.ones((1, 1, 1), bool))
    lattice = Lattice(space, steps(times), mask[:, None], Roughness(2.0, 0.7, 1e-6), NOISE)
    found, _ = lattice.mean(data[:, None], tolerance=1e-10)

    mean, variance = np.zeros(len(times)), np.zeros(len(times))
    ahead, before = 0.0, 1e9
    predicted = []
    for t in range(len(times)):
        if t:
            ahead, before = mean[t - 1], variance[t - 1] + step * (times[t] - times[t - 1])
        predicted.append(before)
        gain = mask[t] * before / (before + NOISE)
        mean[t], variance[t] = ahead + gain * (data[t] - ahead), (1 - gain) * before
    for t in reversed(range(len(times) - 1)):
        mean[t] += variance[t] / predicted[t + 1] * (mean[t + 1] - mean[t])
    np.testing.assert_allclose(found[:, 0], mean, atol=1e-5)


def test_iterations_that_do_not_converge_are_an_error(monkeypatch):
    lattice, data, _, _ = made(0.3)
    monkeypatch.setattr("abp_tf.fields.lattice.ITERATIONS", 2)
    with pytest.raises(ConvergenceError, match=r"2 iterations.*time=0\.3"):
        lattice.mean(data)

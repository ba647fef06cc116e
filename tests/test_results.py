import numpy as np
import pytest
from scipy import stats

from abp_tf.results import PosteriorSamples


def of(samples, sigma=None):
    return PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1), sigma=sigma)


def test_intervals_without_noise_are_quantiles_of_the_samples():
    samples = np.random.default_rng(0).normal(size=(3, 200, 4, 2)).astype(np.float32)
    drawn = of(samples)
    low, high = drawn.intervals(0.8, noise=False)
    assert low.shape == high.shape == (3, 4, 2)
    assert low.dtype == high.dtype == np.float32
    inside = (samples >= low[:, None]) & (samples <= high[:, None])
    np.testing.assert_allclose(inside.mean(axis=1), 0.8, atol=0.011)
    assert ((samples < low[:, None]).mean(axis=1) > 0.08).all()
    exact = of(np.arange(11.0)[None, :, None], sigma=0.0)
    for noise in (True, False):
        np.testing.assert_allclose(exact.intervals(0.6, noise), [[[2.0]], [[8.0]]])
    for level in (0, 1, 90, float("nan")):
        with pytest.raises(ValueError, match=f"`level`.*{level}"):
            drawn.intervals(level, noise=False)


def test_intervals_of_the_value_contain_new_values():
    random = np.random.default_rng(1)
    # Two modes: the mean lies between them, where no value is.
    centers = random.choice([-2.0, 2.0], (2, 64, 5, 1)).astype(np.float32)
    drawn = of(centers, sigma=[0.5])
    rows = random.integers(0, 64, 20_000)
    values = centers[:, rows] + random.normal(0, 0.5, (2, 20_000, 5, 1))
    for level in (0.2, 0.9):
        low, high = drawn.intervals(level)
        assert low.shape == (2, 5, 1)
        inside = (low[:, None] <= values) & (values <= high[:, None])
        np.testing.assert_allclose(inside.mean(axis=1), level, atol=0.015)
    np.testing.assert_allclose(drawn.total_deviation, values.std(axis=1), rtol=0.02)


def test_noise_of_each_channel_and_observed_entries():
    value = np.float32([[[17.3, -5.1], [0.1, 0.2]]])
    samples = np.repeat(value[:, None], 3, axis=1)
    sigma = np.where([[[1], [0]]], 0, np.float32([0.5, 2.0]))  # the first position is observed
    drawn = of(samples, sigma)
    low, high = drawn.intervals(0.9)
    for end in (low, high):
        np.testing.assert_array_equal(end[:, 0], value[:, 0])
    np.testing.assert_array_equal(drawn.total_deviation[0], [[0, 0], [0.5, 2.0]])
    width = 2 * stats.norm.ppf(0.95)
    np.testing.assert_allclose((high - low)[0, 1], [0.5 * width, 2 * width], rtol=1e-5)


def test_stretched_scales_deviations_about_the_mean():
    samples = np.random.default_rng(2).normal(3, 1, (2, 9, 4, 1)).astype(np.float32)
    samples[0, :, 0] = 1.7  # observed
    sigma = np.full((2, 4, 1), 0.3, np.float32)
    sigma[0, 0] = 0
    drawn = of(samples, sigma)
    wider = drawn.stretched(1.5)
    np.testing.assert_allclose(wider.total_deviation, 1.5 * drawn.total_deviation, rtol=1e-5)
    np.testing.assert_allclose(wider.samples.std(axis=1), wider.deviation, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(wider.mean, drawn.mean)
    for before, after in zip(drawn.intervals(0.7), wider.intervals(0.7), strict=True):
        np.testing.assert_allclose(after - drawn.mean, 1.5 * (before - drawn.mean), atol=1e-4)
    for end in (*wider.intervals(0.7), *wider.samples.swapaxes(0, 1)):
        assert end[0, 0] == np.float32(1.7)
    for bad in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"`factor`, received {bad}"):
            drawn.stretched(bad)


def test_unknown_noise_is_refused_where_it_counts():
    drawn = of(np.zeros((1, 2, 3, 1), np.float32))
    for ask in (
        lambda: drawn.total_deviation,
        lambda: drawn.intervals(0.9),
        lambda: drawn.stretched(2.0),
    ):
        with pytest.raises(ValueError, match=r"`sigma`.*received None.*noise=False"):
            ask()

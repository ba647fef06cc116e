import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from abp_tf import normal

X = np.linspace(-9, 9, 181)


def mixture(centers, deviation):
    """Return the distribution function of one mixture, by SciPy."""
    return lambda x: stats.norm.cdf(x, centers, deviation).mean()


def test_distribution_function_and_quantile():
    np.testing.assert_allclose(normal.cdf(X), stats.norm.cdf(X), atol=1e-15)
    for share in (1e-6, 0.05, 0.5, 0.975):
        assert normal.quantile(share) == pytest.approx(stats.norm.ppf(share), abs=1e-12)


@pytest.mark.parametrize("deviation", [0.01, 1.0, 3.0])
def test_expected_distance_is_the_integral(deviation):
    for difference in (-4.0, 0.0, 0.3):
        expected, _ = integrate.quad(
            lambda y, d=difference: abs(y) * stats.norm.pdf(y, d, deviation),
            difference - 12 * deviation,
            difference + 12 * deviation,
            points=[0.0, difference],
        )
        found = normal.expected_distance(np.array([difference]), np.array([deviation]))
        assert found[0] == pytest.approx(expected, rel=1e-6)
    found = normal.expected_distance(np.array([-2.0, -2.0]), np.array([0.0, deviation]))
    assert found[0] == 2.0 <= found[1]


@pytest.mark.parametrize("k", [1, 2, 9])
def test_quantiles_of_mixtures(k):
    random = np.random.default_rng(k)
    centers, deviation = 300 + 4 * random.standard_normal((k, 12)), random.uniform(0.05, 3, 12)
    shares = [0.05, 0.3, 0.99]  # not between two modes, where all quantiles are nearly right
    found = normal.mixture_quantiles(shares, centers, deviation)
    for entry in range(12):
        cdf = mixture(centers[:, entry], deviation[entry])
        for row, share in enumerate(shares):
            expected = optimize.brentq(lambda x, s=share, f=cdf: f(x) - s, 200, 400, xtol=1e-12)
            assert found[row, entry] == pytest.approx(expected, abs=1e-5 * (10 + deviation[entry]))
        at = normal.mixture_cdf(found[:, entry], centers[:, [entry] * 3], deviation[[entry] * 3])
        np.testing.assert_allclose(at, [cdf(x) for x in found[:, entry]], atol=1e-12)


def test_without_noise_quantiles_are_those_of_the_draws():
    centers = np.random.default_rng(0).standard_normal((7, 5))
    deviation = np.array([0.0, 1.0, 0.0, 0.0, 1.0])
    found = normal.mixture_quantiles([0.1, 0.6], centers, deviation)
    exact = np.quantile(centers, [0.1, 0.6], axis=0)
    np.testing.assert_allclose(found[:, deviation == 0], exact[:, deviation == 0])
    assert (np.abs(found - exact)[:, deviation > 0] > 0.01).all()
    for row, share in enumerate((0.1, 0.6)):
        np.testing.assert_allclose(normal.mixture_cdf(found[row], centers, deviation), share, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "draws", "share"),
    [
        (0.5, [1, 2], 0),
        (2.5, [1, 2], 1),
        (1, [1, 2, 3], 0),
        (3, [3, 2, 1], 1),
        (1.25, [2, 1, 3], 0.125),
        (1, [1, 1, 1], 0.5),  # an interval of any level contains it
        (1, [1, 1, 1, 1, 2], 0.5),
        (1, [1, 1, 2, 3, 4], 0.25),
        (4, [4, 3, 2, 1, 4], 0.75),
        (1, [1], 0.5),
        (1, [2], 0),
        (1, [0], 1),
    ],
)
def test_ranks_among_draws(x, draws, share):
    found = normal.mixture_cdf(np.array([x]), np.float64(draws)[:, None], np.zeros(1))
    assert found == [share]
    # Intervals contain what these shares say they do.
    needed = abs(2 * share - 1)
    for level in (0.02, 0.3, 0.74, 0.76, 0.98):
        ends = (1 - level) / 2, (1 + level) / 2
        low, high = normal.mixture_quantiles(ends, np.float64(draws)[:, None], np.zeros(1))
        assert (low <= x <= high) == (needed <= level), level


def test_far_apart_draws_are_precise():
    centers = np.array([[-1e4], [1e4]])
    found = normal.mixture_quantiles([0.25, 0.75], centers, np.array([1e-2]))
    np.testing.assert_allclose(found[:, 0], [-1e4, 1e4], atol=0.02)
    assert math.isfinite(found.sum())

import re

import numpy as np
import pytest
from scipy import integrate, stats

from abp_tf.metrics import calibration
from abp_tf.results import PosteriorSamples

SHAPE = (6, 20, 50, 1)


def of(samples, sigma):
    return PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1), sigma=sigma)


def drawn_world(draws=40, spread=1.0, sigma=0.5, seed=0):
    """Return true values, draws of g(z) from the same distribution as theirs, and a mask of 0.3."""
    random = np.random.default_rng(seed)
    center = random.normal(0, 5, SHAPE)
    truth = center + random.normal(0, spread, SHAPE) + random.normal(0, sigma, SHAPE)
    samples = center[:, None] + random.normal(0, spread, (SHAPE[0], draws, *SHAPE[1:]))
    return truth, samples.astype(np.float32), random.random(SHAPE[:-1]) < 0.3


def score_by_integral(cdf, truth):
    below, _ = integrate.quad(lambda y: cdf(y) ** 2, truth - 40, truth, limit=500)
    above, _ = integrate.quad(lambda y: (1 - cdf(y)) ** 2, truth, truth + 40, limit=500)
    return below + above


class TestCoverage:
    def test_ends_count_and_other_entries_do_not(self):
        truth = np.array([[0.0, 1.0, 5.0, np.nan], [3.0, np.inf, 0.0, 2.0]])
        where = [[1, 1, 1, 0], [0, 0, 0, 1]]
        assert calibration.coverage(truth, 0.0, 1.0, where) == 0.5
        found = calibration.coverage(truth, 0.0, np.full((2, 4), 2.0), where, per_example=True)
        np.testing.assert_allclose(found, [2 / 3, 1])

    def test_an_example_without_entries_has_none(self):
        found = calibration.coverage(np.zeros((2, 3, 1)), -1, 1, [[1, 0, 0], [0, 0, 0]], True)
        np.testing.assert_array_equal(found, [1, np.nan])

    @pytest.mark.parametrize("sigma", [0.0, 0.5])
    def test_by_level_is_that_of_the_intervals(self, sigma):
        truth, samples, where = drawn_world(draws=9, sigma=sigma)
        levels = [0.15, 0.5, 0.9]
        drawn = of(samples, sigma)
        options = {"sigma": sigma, "levels": levels}
        found = calibration.coverage_by_level(truth, samples, where, **options)
        each = calibration.coverage_by_level(truth, samples, where, **options, per_example=True)
        assert each.shape == (6, 3)
        for level, share, shares in zip(levels, found, each.T, strict=True):
            ends = drawn.intervals(level)
            assert share == pytest.approx(calibration.coverage(truth, *ends, where), abs=1e-3)
            expected = calibration.coverage(truth, *ends, where, per_example=True)
            np.testing.assert_allclose(shares, expected, atol=4e-3)

    def test_normal_distributions(self):
        random = np.random.default_rng(3)
        mean, deviation = random.normal(0, 3, SHAPE), random.uniform(0.1, 2, SHAPE)
        truth, where = random.normal(mean, deviation), np.ones(SHAPE)
        found = calibration.coverage_by_level(truth, mean[:, None], where, sigma=deviation)
        np.testing.assert_allclose(found, calibration.LEVELS, atol=0.02)
        low, high = stats.norm.interval(0.9, mean, deviation)
        assert found[8] == calibration.coverage(truth, low, high, where)


class TestScores:
    def test_normal_is_the_integral(self):
        random = np.random.default_rng(4)
        truth, mean = random.normal(0, 2, (2, 4, 1)), random.normal(0, 1, (2, 4, 1))
        deviation = random.uniform(0.2, 3, (2, 4, 1))
        expected = [
            score_by_integral(stats.norm(m, s).cdf, x)
            for x, m, s in zip(truth.flat, mean.flat, deviation.flat, strict=True)
        ]
        found = calibration.crps_normal(truth, mean, deviation, np.ones((2, 4)))
        assert found == pytest.approx(np.mean(expected), rel=1e-6)
        each = calibration.crps_normal(truth, mean, deviation, np.ones((2, 4)), per_example=True)
        np.testing.assert_allclose(each, np.reshape(expected, (2, 4)).mean(axis=1), rtol=1e-6)
        assert calibration.crps_normal([[3.0]], 1.0, 0.0, [[1]]) == 2.0

    def test_draws_by_the_definition_with_pairs(self):
        truth, samples, where = drawn_world(draws=5)
        distance = np.abs(samples - truth[:, None]).mean(axis=1)
        pairs = np.abs(samples[:, :, None] - samples[:, None]).sum(axis=(1, 2)) / (5 * 4)
        expected = (distance - pairs / 2)[where].mean()
        assert calibration.crps(truth, samples, where) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("sigma", [0.0, 0.7])
    def test_few_draws_score_as_their_distribution_on_average(self, sigma):
        # The score of k draws is an unbiased estimate of that of N(0, 1 + sigma²), for any k.
        random = np.random.default_rng(5)
        truth, where = random.normal(0.8, 1.5, (1, 100_000)), np.ones((1, 100_000))
        exact = calibration.crps_normal(truth, 0.0, np.hypot(1, sigma), where)
        for draws in (2, 6):
            samples = random.normal(size=(1, draws, 100_000))
            found = calibration.crps(truth, samples, where, sigma=sigma)
            assert found == pytest.approx(exact, abs=0.012)

    def test_noise_around_draws_by_integrals(self):
        draws, sigma = np.array([-1.0, 0.5, 3.0]), 0.7
        others = [abs(a - b) for i, a in enumerate(draws) for j, b in enumerate(draws) if i != j]
        scale = np.sqrt(2) * sigma
        pairs = stats.foldnorm.mean(np.array(others) / scale, scale=scale).mean()
        for truth in (-4.0, 0.6):
            # The score of the mixture itself counts pairs of a draw with itself too.
            own = 2 * sigma / np.sqrt(np.pi)
            of_mixture = score_by_integral(lambda y: stats.norm.cdf(y, draws, sigma).mean(), truth)
            expected = of_mixture + (2 * pairs + own) / 6 - pairs / 2
            found = calibration.crps([[truth]], draws[None, :, None], [[1]], sigma=sigma)
            assert found == pytest.approx(expected, rel=1e-6)

    def test_what_does_not_fit(self):
        with pytest.raises(ValueError, match=r"`deviation`.*\(1, 3\).*received \(1, 2\)"):
            calibration.crps_normal(np.zeros((1, 3)), 0.0, np.ones((1, 2)), np.ones((1, 3)))

    def test_the_true_distribution_scores_best(self):
        truth, samples, where = drawn_world()
        best = calibration.crps(truth, samples, where, sigma=0.5)
        center = samples.mean(axis=1, keepdims=True)
        for other in (
            samples + 0.5,
            center + 0.4 * (samples - center),
            center + 2 * (samples - center),
        ):
            assert calibration.crps(truth, other, where, sigma=0.5) > 1.02 * best


class TestScaledErrors:
    def test_moments(self):
        random = np.random.default_rng(7)
        deviation = random.uniform(0.1, 3, SHAPE)
        truth = 2.0 + deviation * random.normal(0.5, 1.7, SHAPE)
        bias, spread = calibration.scaled_errors(truth, 2.0, deviation, np.ones(SHAPE))
        assert bias == pytest.approx(0.5, abs=0.07)
        assert spread == pytest.approx(1.7, abs=0.05)

    def test_certain_errors(self):
        where = [[1, 1]]
        assert calibration.scaled_errors([[1.0, 3.0]], 1.0, [[0.0, 2.0]], where) == (0.5, 0.5)
        found = calibration.scaled_errors([[1.0, 3.0]], 2.0, [[0.0, 2.0]], where)
        assert not np.isfinite(found).any()


class TestSpread:
    def test_bins_of_increasing_deviation(self):
        random = np.random.default_rng(8)
        deviation = random.uniform(0.5, 4, (1, 50_000))
        truth = random.normal(0, deviation)
        found = calibration.spread_skill(truth, 0.0, deviation, np.ones((1, 50_000)), bins=5)
        assert found.deviation.shape == (5,)
        assert (np.diff(found.deviation) > 0.3).all()
        np.testing.assert_allclose(found.error, found.deviation, rtol=0.05)
        flat = calibration.spread_skill(truth, 0.0, 2.0, np.ones((1, 50_000)), bins=5)
        np.testing.assert_allclose(flat.deviation, 2)

    def test_few_entries_and_bad_numbers(self):
        found = calibration.spread_skill([[3.0, 4.0]], 0.0, [[2.0, 1.0]], [[1, 1]])
        np.testing.assert_array_equal(found, [[1, 2], [4, 3]])
        with pytest.raises(ValueError, match=r"`bins`.*received 0"):
            calibration.spread_skill([[3.0]], 0.0, 1.0, [[1]], bins=0)


class TestConformal:
    def test_factor_by_hand(self):
        truth = np.arange(1.0, 10.0)[None]  # of 9 entries, 0.8 · 10 = 8 must be inside
        found = calibration.conformal_factor(truth, 0.0, 2.0, np.ones((1, 9)), 0.8)
        assert found == pytest.approx(4 / stats.norm.ppf(0.9))

    @pytest.mark.parametrize("level", [0.5, 0.9])
    def test_new_entries_are_covered_whatever_their_distribution(self, level):
        random = np.random.default_rng(9)
        shares = []
        for _ in range(400):
            errors = random.standard_t(3, (1, 60)) * 3
            known = np.ones((1, 60), bool)
            known[:, 30:] = False
            factor = calibration.conformal_factor(errors, 0.0, 1.0, known, level)
            half = factor * stats.norm.ppf((1 + level) / 2)
            shares.append(calibration.coverage(errors, -half, half, ~known))
        # Between level and level + 1 / (m + 1), on average over what is known.
        assert level - 0.015 < np.mean(shares) < level + 1 / 31 + 0.015

    def test_what_cannot_be(self):
        truth, where = np.ones((1, 8)), np.ones((1, 8))
        with pytest.raises(ValueError, match=r"9 entries .* 0\.9, received 8"):
            calibration.conformal_factor(truth, 0.0, 1.0, where, 0.9)
        with pytest.raises(ValueError, match="positive deviations"):
            calibration.conformal_factor(truth, 0.0, 0.0, where, 0.5)
        with pytest.raises(ValueError, match=r"`level`.*1\.5"):
            calibration.conformal_factor(truth, 0.0, 1.0, where, 1.5)

    def test_it_corrects_samples(self):
        truth, samples, where = drawn_world(seed=10)
        center = samples.mean(axis=1, keepdims=True)
        drawn = of(center + 0.3 * (samples - center), 0.15)
        known = where.copy()
        known[:, :, 25:] = False
        new = where & ~known
        before = calibration.calibration(truth, drawn, new, levels=[0.9])
        total = drawn.total_deviation
        factor = calibration.conformal_factor(truth, drawn.mean, total, known, 0.9)
        after = calibration.calibration(truth, drawn.stretched(factor), new, levels=[0.9])
        assert before.coverage[0] < 0.5
        assert after.coverage[0] == pytest.approx(0.9, abs=0.03)
        assert after.crps < before.crps


class TestCalibration:
    def test_draws_from_the_posterior_are_calibrated(self):
        truth, samples, where = drawn_world()
        found = calibration.calibration(truth, of(samples, 0.5), where)
        np.testing.assert_array_equal(found.levels, calibration.LEVELS)
        np.testing.assert_allclose(found.coverage, found.levels, atol=0.03)
        assert found.scaled_bias == pytest.approx(0, abs=0.05)
        assert found.scaled_deviation == pytest.approx(1, abs=0.05)
        assert found.coverage_per_example.shape == (6, 10)
        np.testing.assert_allclose(found.coverage_per_example, np.tile(found.levels, (6, 1)), atol=0.08)
        assert found.spread.error.shape == (10,)
        deviation = np.sqrt(1 + 0.5**2)
        assert found.crps == pytest.approx(deviation / np.sqrt(np.pi), rel=0.03)
        counts = where.sum(axis=(1, 2))
        for whole, each in (
            (found.crps, found.crps_per_example),
            (found.coverage, found.coverage_per_example),
        ):
            np.testing.assert_allclose(whole, np.average(each, axis=0, weights=counts))
        row = calibration.scaled_errors(truth[2:3], of(samples, 0.5).mean[2:3], deviation, where[2:3])
        assert found.scaled_deviation_per_example[2] == pytest.approx(row[1], rel=0.05)

    @pytest.mark.parametrize(
        ("change", "deviation", "coverage"),
        [
            (lambda s, c: s + 2.0, (0.95, 1.1), (0.4, 0.6)),  # a bias: covered too rarely
            (lambda s, c: c + 0.2 * (s - c), (2.0, 2.4), (0.5, 0.65)),  # too certain
            (lambda s, c: c + 5 * (s - c), (0.15, 0.3), (0.999, 1.0)),  # too uncertain
        ],
    )
    def test_what_is_wrong_shows(self, change, deviation, coverage):
        truth, samples, where = drawn_world()
        samples = change(samples, samples.mean(axis=1, keepdims=True))
        found = calibration.calibration(truth, of(samples, 0.5), where, levels=[0.9])
        assert deviation[0] < found.scaled_deviation < deviation[1]
        assert coverage[0] <= found.coverage[0] <= coverage[1]
        best = calibration.calibration(truth, of(drawn_world()[1], 0.5), where).crps
        assert found.crps > 1.05 * best

    def test_noise_belongs_to_the_value(self):
        truth, samples, where = drawn_world(spread=0.2, sigma=1.0)
        without = calibration.calibration(truth, of(samples, 0.0), where, levels=[0.9])
        assert without.coverage[0] < 0.4
        found = calibration.calibration(truth, of(samples, 1.0), where, levels=[0.9])
        assert found.coverage[0] == pytest.approx(0.9, abs=0.03)

    def test_what_is_not_hidden_does_not_count(self):
        truth, samples, where = drawn_world(draws=3)
        where[4] = False
        other_truth, other = np.where(where[..., None], truth, np.nan), samples.copy()
        other[~np.broadcast_to(where[:, None, ..., None], other.shape)] = np.inf
        drawn = of(samples, 0.5)
        broken = PosteriorSamples(other, *drawn[1:3], sigma=0.5)
        broken.mean[~where] = np.nan
        found, expected = (
            calibration.calibration(x, d, where)
            for x, d in ((other_truth, broken), (truth, of(samples, 0.5)))
        )
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, two)
        assert np.isnan(found.crps_per_example).tolist() == [False] * 4 + [True, False]
        masked = np.ma.masked_invalid(other_truth)
        everywhere = calibration.calibration(masked, broken, np.ones(SHAPE))
        assert everywhere.crps == expected.crps

    def test_entries_do_not_depend_on_blocks(self, monkeypatch):
        truth, samples, where = drawn_world(draws=3)
        expected = calibration.calibration(truth, of(samples, 0.5), where)
        monkeypatch.setattr("abp_tf.metrics.entries._BLOCK", 7)
        found = calibration.calibration(truth, of(samples, 0.5), where)
        np.testing.assert_allclose(found.crps_per_example, expected.crps_per_example, rtol=1e-12)
        np.testing.assert_array_equal(found.coverage_per_example, expected.coverage_per_example)

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"truth": np.full((2, 3, 1), np.nan)}, "`truth`.*received 6 NaN"),
            ({"hidden": np.zeros((2, 3))}, "`where`.*received none"),
            ({"hidden": np.ones((2, 4))}, "where: expected shape (2, 3) or (2, 3, 1), received (2, 4)"),
            ({"hidden": np.full((2, 3), 0.5)}, "where: expected only 0 and 1"),
            ({"levels": [0.5, 90]}, "`level`.*90"),
            ({"samples": np.zeros((2, 5, 4, 1))}, "(2, 'k', 3, 1)"),
            ({"samples": np.zeros((2, 0, 3, 1))}, "received (2, 0, 3, 1)"),
            ({"samples": np.full((2, 5, 3, 1), np.inf)}, "`samples`.*received 30"),
            ({"sigma": None}, "`sigma`.*None"),
            ({"sigma": -1.0}, "`sigma`.*received -1"),
        ],
    )
    def test_bad_input(self, change, part):
        given = {"truth": np.zeros((2, 3, 1)), "hidden": np.ones((2, 3)), "levels": [0.5]}
        drawn = PosteriorSamples(
            np.zeros((2, 5, 3, 1)), np.zeros((2, 3, 1)), np.zeros((2, 3, 1)), sigma=1
        )
        drawn = drawn._replace(**{key: change[key] for key in change if key not in given})
        given |= {key: change[key] for key in change if key in given}
        part = re.escape(part).replace(r"\.\*", ".*")
        with pytest.raises(ValueError, match=part):
            calibration.calibration(drawn=drawn, **given)

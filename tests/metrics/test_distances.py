import re

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from abp_tf import metrics


class TestRefusals:
    @pytest.mark.parametrize(
        "distance", [metrics.frechet_distance, metrics.kernel_distance, metrics.precision_recall]
    )
    @pytest.mark.parametrize("shape", [(1, 4), (5, 3), (5,), (5, 2, 2)])
    def test_features(self, distance, shape):
        with pytest.raises(ValueError, match=re.escape(str(shape))):
            distance(np.zeros((5, 4)), np.zeros(shape))

    @pytest.mark.parametrize(
        "distance", [metrics.frechet_distance, metrics.kernel_distance, metrics.precision_recall]
    )
    def test_features_that_are_not_finite(self, distance):
        with pytest.raises(ValueError, match=r"20 NaN or infinite .*second"):
            distance(np.zeros((5, 4)), np.full((5, 4), np.inf))


def exact_features(rng, mean, covariance, n=400):
    """Draws features whose sample mean and covariance are exactly the given ones."""
    white = rng.normal(size=(n, len(mean)))
    white -= white.mean(axis=0)
    root = np.linalg.cholesky(np.cov(white, rowvar=False))
    return white @ np.linalg.inv(root).T @ np.linalg.cholesky(covariance).T + mean


class TestFrechetDistance:
    def test_gaussians_with_common_axes(self):
        rng = np.random.default_rng(5)
        a = exact_features(rng, [0.0, 0, 0], np.diag([1.0, 4, 9]))
        b = exact_features(rng, [1.0, 0, 2], np.diag([4.0, 4, 1]))
        # ‖mean‖² and, along each axis, the squared difference of the standard deviations.
        expected = (1 + 4) + (1 - 2) ** 2 + 0 + (3 - 1) ** 2
        assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)

    def test_against_the_matrix_square_root(self):
        rng = np.random.default_rng(6)
        a = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8))
        b = rng.normal(size=(70, 8)) @ rng.normal(size=(8, 8)) + 1
        cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = scipy.linalg.sqrtm(cov_a @ cov_b).real
        expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
        assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
        assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)

    def test_fewer_rows_than_features(self):
        rng = np.random.default_rng(7)
        a, b = rng.normal(size=(6, 30)), rng.normal(size=(9, 30))
        eigenvalues = np.linalg.eigvals(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
        overlap = np.sqrt(np.maximum(eigenvalues.real, 0)).sum()
        expected = (
            ((a.mean(0) - b.mean(0)) ** 2).sum()
            + a.var(0, ddof=1).sum()
            + b.var(0, ddof=1).sum()
            - 2 * overlap
        )
        assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)

    def test_same_set(self):
        a = np.random.default_rng(8).normal(size=(40, 5)) * 100
        assert 0 <= metrics.frechet_distance(a, a) < 1e-7
        assert metrics.frechet_distance(a, a + 3) == pytest.approx(5 * 9)


class TestKernelDistance:
    def test_against_the_definition(self):
        rng = np.random.default_rng(9)
        a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1

        def kernel(x, y):
            return (x @ y / 3 + 1) ** 3

        within_a = np.mean([kernel(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
        within_b = np.mean([kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
        across = np.mean([kernel(x, y) for x in a for y in b])
        expected = within_a + within_b - 2 * across
        assert metrics.kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)

    def test_rows_in_pieces_make_no_difference(self):
        rng = np.random.default_rng(10)
        a, b = rng.normal(size=(2300, 2)), rng.normal(size=(1100, 2)) + 0.5
        kernel = [(x @ y.T / 2 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
        expected = (
            (kernel[0].sum() - np.trace(kernel[0])) / (2300 * 2299)
            + (kernel[1].sum() - np.trace(kernel[1])) / (1100 * 1099)
            - 2 * kernel[2].mean()
        )
        assert metrics.kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)

    def test_unbiased(self):
        rng = np.random.default_rng(11)
        pairs = (rng.normal(size=(2, 20, 2)) for _ in range(500))
        values = np.array([metrics.kernel_distance(a, b) for a, b in pairs])
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
        assert (values < 0).any()


class TestPrecisionRecall:
    def test_against_brute_force(self):
        rng = np.random.default_rng(12)
        # Far from the origin, so that products alone would round, and in more than one block.
        a, b = rng.normal(size=(1300, 3)) + 1e5, 1.5 * rng.normal(size=(900, 3)) + 1e5 + 0.5

        def covered(points, by):
            radii = np.sort(scipy.spatial.distance.cdist(by, by), axis=1)[:, 2]
            return (scipy.spatial.distance.cdist(points, by) <= radii).any(axis=1).mean()

        found = metrics.precision_recall(a, b, neighbours=2)
        assert found == pytest.approx((covered(a, b), covered(b, a)), abs=1.5e-3)
        assert metrics.precision_recall(b, a, neighbours=2) == pytest.approx(found[::-1])

    def test_one_mode_of_two_is_precise_and_misses_half(self):
        rng = np.random.default_rng(13)
        real = rng.normal(size=(400, 2)) + 50 * (np.arange(400) % 2)[:, None]
        narrow, wide = rng.normal(size=(400, 2)), 40 * rng.normal(size=(400, 2))
        found = metrics.precision_recall(narrow, real)
        assert found.precision > 0.9
        assert 0.4 < found.recall < 0.5
        assert metrics.precision_recall(wide, real).precision < 0.2
        other = rng.normal(size=(400, 2)) + 50 * (np.arange(400) % 2)[:, None]
        assert min(metrics.precision_recall(other, real)) > 0.9
        assert metrics.precision_recall(real, real) == (1, 1)

    def test_more_neighbours_than_rows(self):
        with pytest.raises(ValueError, match=r"neighbours=4 .*received 5 and 4"):
            metrics.precision_recall(np.zeros((5, 2)), np.zeros((4, 2)), neighbours=4)

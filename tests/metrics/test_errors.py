import math
import re

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

from abp_tf import metrics


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    signal = rng.uniform(-1, 1, (3, 12, 14, 2)).astype(np.float32)
    other = np.clip(signal + rng.normal(0, 0.2, signal.shape), -1, 1).astype(np.float32)
    return signal, other


class TestErrors:
    def test_squared_per_entry(self):
        signal, other = np.zeros((2, 2, 2, 1)), np.zeros((2, 2, 2, 1))
        other[0, 0, 0] = 1
        other[1] = 0.5
        assert metrics.reconstruction_error(signal, other) == pytest.approx((1 + 4 * 0.25) / 8)
        each = metrics.reconstruction_error(signal, other, per_example=True)
        np.testing.assert_allclose(each, [0.25, 0.25])
        assert each.dtype == np.float64

    def test_absolute_is_a_fraction_of_the_range(self):
        assert metrics.absolute_error(-np.ones((1, 4)), np.ones((1, 4))) == 1.0
        assert metrics.absolute_error(np.zeros((1, 4)), np.full((1, 4), 0.1)) == pytest.approx(0.05)

    def test_every_observed_entry_weighs_the_same(self):
        signal, other = np.zeros((2, 4)), np.array([[1.0, 1, 1, 1], [3, 0, 0, 0]])
        mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
        assert metrics.reconstruction_error(signal, other, mask) == pytest.approx((4 + 9) / 5)
        each = metrics.reconstruction_error(signal, other, mask, per_example=True)
        np.testing.assert_allclose(each, [1, 9])
        assert metrics.absolute_error(signal, other, mask) == pytest.approx((4 + 3) / 5 / 2)

    def test_recovery_counts_hidden_entries_only(self):
        truth, recovered = np.zeros((1, 4)), np.array([[100.0, 100, 0.2, 0.4]])
        assert metrics.recovery_error(truth, recovered, [[1, 1, 0, 0]]) == pytest.approx(0.15)

    def test_float32_sums_do_not_drift(self):
        signal = np.full((1, 3000, 3000), 0.1, np.float32)
        expected = float(np.float32(0.1)) ** 2
        error = metrics.reconstruction_error(signal, np.zeros_like(signal))
        assert error == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("kind", [bool, np.int32, np.float32])
    @pytest.mark.parametrize("channels", [True, False])
    def test_masks_of_every_form_agree(self, images, kind, channels):
        signal, other = images
        mask = np.random.default_rng(1).random((3, 12, 14)) < 0.5
        entries = np.broadcast_to(mask[..., None], signal.shape)
        expected = ((signal.astype(float) - other)[entries] ** 2).mean()
        given = (entries if channels else mask).astype(kind)
        assert metrics.reconstruction_error(signal, other, given) == pytest.approx(expected)

    @pytest.mark.parametrize(
        "error",
        [
            metrics.reconstruction_error,
            lambda *a: metrics.reconstruction_error(*a, per_example=True),
            metrics.absolute_error,
            metrics.psnr,
        ],
    )
    @pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
    def test_hidden_entries_have_no_influence(self, images, error, junk):
        signal, other = images
        mask = np.random.default_rng(1).random((3, 12, 14)) < 0.5
        expected = error(signal, other, mask)
        signal, other = signal.copy(), other.copy()
        signal[~mask] = other[~mask] = junk
        np.testing.assert_array_equal(error(signal, other, mask), expected)

    def test_observed_entries_have_no_influence_on_recovery(self, images):
        signal, other = images
        mask = np.random.default_rng(1).random((3, 12, 14)) < 0.5
        expected = metrics.recovery_error(signal, other, mask)
        other = other.copy()
        other[mask] = np.nan
        assert metrics.recovery_error(signal, other, mask) == expected

    def test_psnr(self):
        signal = np.zeros((2, 5))
        other = np.stack([np.full(5, 0.2), np.full(5, 0.02)])
        np.testing.assert_allclose(metrics.psnr(signal, other, per_example=True), [20, 40])
        assert metrics.psnr(signal, other) == pytest.approx(30)
        assert metrics.psnr(signal, signal) == math.inf


class TestRefusals:
    @pytest.mark.parametrize(
        ("shape", "message"),
        [((3, 12, 14, 1), r"\(3, 12, 14, 1\)"), ((3, 12), r"\(3, 12\)")],
    )
    def test_shapes(self, images, shape, message):
        with pytest.raises(ValueError, match=message):
            metrics.reconstruction_error(images[0], np.zeros(shape))

    def test_empty(self):
        with pytest.raises(ValueError, match=r"\(0, 4\)"):
            metrics.absolute_error(np.zeros((0, 4)), np.zeros((0, 4)))

    @pytest.mark.parametrize("mask", [np.ones((3, 12)), np.ones((2, 12, 14))])
    def test_mask_shape(self, images, mask):
        with pytest.raises(ValueError, match=rf"Mask.*\(3, 12, 14\).*{re.escape(str(mask.shape))}"):
            metrics.reconstruction_error(*images, mask)

    def test_mask_values(self, images):
        with pytest.raises(ValueError, match=r"Mask.*0\.5 to 0\.5"):
            metrics.reconstruction_error(*images, np.full((3, 12, 14), 0.5))

    def test_nothing_hidden(self, images):
        with pytest.raises(ValueError, match=r"mask.*hidden"):
            metrics.recovery_error(*images, np.ones((3, 12, 14)))

    @pytest.mark.parametrize("place", [0, 1])
    @pytest.mark.parametrize("error", [metrics.reconstruction_error, metrics.ssim])
    def test_nan_where_observed(self, images, place, error):
        pair = [image.copy() for image in images]
        pair[place][0, 0, 0, 0] = np.nan
        name = ("first", "second")[place]
        with pytest.raises(ValueError, match=f"received 1 NaN .*{name}"):
            error(*pair)

    @pytest.mark.parametrize("shape", [(2, 8), (2, 2, 8, 1)])
    def test_ssim_of_what_is_no_image(self, shape):
        with pytest.raises(ValueError, match=rf"3 x 3.*{re.escape(str(shape))}"):
            metrics.ssim(np.zeros(shape), np.zeros(shape))


class TestSsim:
    def test_against_scikit_image(self):
        rng = np.random.default_rng(3)
        signal = rng.uniform(-1, 1, (2, 20, 24, 3))
        other = np.clip(signal + rng.normal(0, 0.3, signal.shape), -1, 1)
        options = {"sigma": 1.5, "use_sample_covariance": False, "data_range": 2, "channel_axis": 2}
        expected = [
            structural_similarity(a + 1, b + 1, gaussian_weights=True, **options)
            for a, b in zip(signal, other, strict=True)
        ]
        values = metrics.ssim(signal, other, per_example=True)
        np.testing.assert_allclose(values, expected, atol=1e-4)
        assert metrics.ssim(signal, other) == pytest.approx(np.mean(expected), abs=1e-4)

    @pytest.mark.parametrize("side", [3, 4, 10])
    def test_small_images(self, side):
        rng = np.random.default_rng(4)
        signal = rng.uniform(-1, 1, (2, side, side, 1))
        assert metrics.ssim(signal, signal) == pytest.approx(1, abs=1e-5)
        assert metrics.ssim(signal, -signal) < 0.5


class TestAuc:
    @pytest.mark.parametrize("decimals", [1, 9])  # with and without ties
    def test_against_scikit_learn(self, decimals):
        rng = np.random.default_rng(12)
        negatives = rng.normal(size=70).round(decimals)
        positives = rng.normal(0.5, size=40).round(decimals)
        truth = np.r_[np.zeros(70), np.ones(40)]
        expected = roc_auc_score(truth, np.r_[negatives, positives])
        assert metrics.auc(negatives, positives) == pytest.approx(expected, rel=1e-12)

    def test_ends(self):
        assert metrics.auc([1, 2], [3, math.inf]) == 1
        assert metrics.auc([3, 4, 5], [1, 2]) == 0
        assert metrics.auc([7, 7], [7, 7, 7]) == 0.5

    @pytest.mark.parametrize(
        ("negatives", "positives", "message"),
        [
            ([], [1], r"negative.*\(0,\)"),
            ([1], [[1]], r"positive.*\(1, 1\)"),
            ([1], [1, math.nan], "1 NaN"),
        ],
    )
    def test_refuses(self, negatives, positives, message):
        with pytest.raises(ValueError, match=message):
            metrics.auc(negatives, positives)


class TestVerdict:
    @pytest.mark.parametrize(
        ("errors", "gap", "text"),
        [
            ((1, 1, 4), 0, "good"),
            ((1, 0.7, 4), -0.1, "good"),
            ((1, 1.9, 4), 0.3, "good"),
            ((1, 2.2, 4), 0.4, "leaning to over-fitting"),
            ((1, 2.8, 4), 0.6, "leaning to over-fitting"),
            ((1, 3.1, 4), 0.7, "over-fitting"),
            ((1, 1.1, 1.5), 0.2, "good"),
            ((0, 0.5, 2), 0.25, "good"),
        ],
    )
    def test_definition(self, errors, gap, text):
        found = metrics.verdict(*errors)
        assert found.gap == pytest.approx(gap)
        assert found.text == text

    @pytest.mark.parametrize("errors", [(1, 1, 1.49), (1, 3, 0.5)])
    def test_under_fitting(self, errors):
        found = metrics.verdict(*errors)
        assert found.text == "under-fitting"
        assert math.isnan(found.gap)

    @pytest.mark.parametrize("errors", [(1, math.nan, 2), (-1, 1, 2), (0, 1, 0), (1, 1, math.inf)])
    def test_refuses(self, errors):
        with pytest.raises(ValueError, match="finite, non-negative"):
            metrics.verdict(*errors)

import numpy as np
import pytest

import abp_tf
from abp_tf import metrics
from abp_tf.baselines import PCA


def linear_data(count, entries=12, factors=3, sigma=0.3, seed=0):
    """Draws from a true linear model, and its W, μ."""
    model = np.random.default_rng(100)
    loading = model.normal(size=(entries, factors)) * np.array([2.0, 1.4, 1.0])
    mean = model.normal(size=entries)
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(count, factors)) @ loading.T + mean
    signal += sigma * rng.normal(size=signal.shape)
    return signal.astype(np.float32), loading, mean


def conditional_mean(signal, seen, mean, covariance):
    """Of a Gaussian, given the entries that are seen; of one signal, in NumPy."""
    gain = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return mean + gain @ (signal[seen] - mean[seen])


def test_complete_data_as_scikit_learn(digits):
    decomposition = pytest.importorskip("sklearn.decomposition")
    train, test = digits[:90], digits[90:]
    model = PCA(10, value_range=None).fit(train)
    reference = decomposition.PCA(10).fit(train.reshape(90, -1))
    expected = reference.inverse_transform(reference.transform(test.reshape(30, -1)))
    np.testing.assert_allclose(model.reconstruct(test).reshape(30, -1), expected, atol=1e-4)
    np.testing.assert_allclose(model.mean.ravel(), reference.mean_, atol=1e-5)
    # Scikit-learn divides by n - 1, and takes the rest's mean over all but the components.
    np.testing.assert_allclose(model.sigma**2 * 90 / 89, reference.noise_variance_, rtol=1e-4)
    covariance = model.loading @ model.loading.T + model.sigma**2 * np.eye(64)
    np.testing.assert_allclose(covariance * 90 / 89, reference.get_covariance(), atol=1e-4)


def test_em_recovers_the_subspace_and_the_conditional_mean():
    signal, loading, mean = linear_data(3000)
    seen = np.random.default_rng(1).random(signal.shape) > 0.5
    seen[~seen.any(1), 0] = True
    damaged = np.where(seen, signal, np.float32(np.nan))
    model = PCA(3, iterations=200, ridge=0.0, value_range=None).fit({"signal": damaged, "mask": seen})
    np.testing.assert_allclose(model.sigma, 0.3, rtol=0.05)
    np.testing.assert_allclose(model.mean, mean, atol=0.15)
    # Cosines of the angles between the true subspace and the learned one.
    bases = [np.linalg.qr(matrix)[0] for matrix in (loading, model.loading)]
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    assert cosines.min() > 0.995

    fresh, _, _ = linear_data(400, seed=7)
    hidden = np.random.default_rng(2).random(fresh.shape) > 0.6
    hidden[hidden.all(1), 0] = False
    whole = model.inpaint(np.where(hidden, np.float32(np.nan), fresh), ~hidden)
    np.testing.assert_array_equal(whole[~hidden], fresh[~hidden])
    own = model.loading @ model.loading.T + model.sigma**2 * np.eye(12)
    true = loading @ loading.T + 0.3**2 * np.eye(12)
    for one, filled, seen_here, gone in zip(fresh, whole, ~hidden, hidden, strict=True):
        exact = conditional_mean(one.astype(np.float64), seen_here, model.mean, own)
        np.testing.assert_allclose(filled[gone], exact[gone], atol=1e-3)
    best = np.array(
        [conditional_mean(one, kept, mean, true) for one, kept in zip(fresh, ~hidden, strict=True)]
    )
    errors = [np.mean((found - fresh)[hidden] ** 2) for found in (whole, best)]
    assert errors[0] < 1.05 * errors[1]


def test_em_on_complete_data_is_the_decomposition():
    signal, _, _ = linear_data(500)
    signal = np.concatenate([signal, signal[:1]])
    seen = np.ones(signal.shape, bool)
    seen[-1, 1:] = False  # so little is hidden that EM must come to nearly the same
    exact = PCA(3, value_range=None).fit(signal)
    found = PCA(3, iterations=100, ridge=0.0, value_range=None).fit({"signal": signal, "mask": seen})
    np.testing.assert_allclose(found.sigma, exact.sigma, rtol=0.01)
    np.testing.assert_allclose(
        found.loading @ found.loading.T, exact.loading @ exact.loading.T, atol=0.05
    )


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_it_beats_the_mean_where_much_is_hidden(share):
    images = abp_tf.data.load("digits", size=8, test_share=0.1)
    mask = abp_tf.masks.pepper(len(images.train), (8, 8), share, seed=1)
    of_test = abp_tf.masks.pepper(len(images.test), (8, 8), share, seed=2)
    training = {"signal": np.where(mask[..., None], images.train, np.float32(np.nan)), "mask": mask}
    errors = []
    for components in (15, 0):
        model = PCA(components).fit(training)
        whole = model.inpaint(images.test, of_test)
        errors.append(metrics.recovery_error(images.test, whole, of_test))
        assert np.abs(model.synthesize(5)).max() <= 1
    assert errors[0] < (0.7 if share == 0.5 else 0.95) * errors[1]


def test_no_components_are_the_mean_of_what_was_observed(digits, masks_of_digits):
    seen = masks_of_digits[..., None]
    model = PCA(0).fit({"signal": digits, "mask": masks_of_digits})
    mean = np.where(seen, digits, 0).sum(0) / seen.sum(0)
    whole = model.inpaint(digits, masks_of_digits)
    np.testing.assert_allclose(whole, np.where(seen, digits, mean), atol=1e-4)
    np.testing.assert_allclose(model.synthesize(2), [mean, mean], atol=1e-4)


def test_an_entry_nobody_observed_has_the_mean_of_all(digits):
    mask = np.ones(digits.shape, bool)
    mask[:, 3, 3] = False
    model = PCA(5).fit({"signal": np.where(mask, digits, np.float32(np.nan)), "mask": mask})
    np.testing.assert_allclose(model.mean[3, 3], digits[mask].mean(), atol=0.05)
    np.testing.assert_allclose(model.loading.reshape(8, 8, -1)[3, 3], 0, atol=1e-6)


def test_hidden_entries_have_no_influence(digits, masks_of_digits):
    found = []
    for filling in (0.3, np.nan):
        signal = np.where(masks_of_digits[..., None], digits, np.float32(filling))
        model = PCA(5, iterations=5).fit({"signal": signal, "mask": masks_of_digits})
        found.append((model.loading, model.reconstruct(signal, masks_of_digits)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_are_answered_one_by_one(digits, masks_of_digits):
    model = PCA(5).fit(digits)
    whole = model.inpaint(digits, masks_of_digits)
    np.testing.assert_allclose(model.inpaint(digits[7:9], masks_of_digits[7:9]), whole[7:9], atol=1e-5)
    drawn = model.synthesize(6, seed=10)
    np.testing.assert_allclose(model.synthesize(2, seed=[15, 11]), drawn[[5, 1]], atol=1e-6)


def test_bad_input_is_refused(digits, masks_of_digits):
    for options in ({"components": -1}, {"components": 2, "iterations": 0}):
        with pytest.raises(ValueError, match=r"expected `.*` to be an integer of"):
            PCA(**options)
    with pytest.raises(ValueError, match="`ridge` of 0 or more"):
        PCA(2, ridge=-1)
    with pytest.raises(ValueError, match="fit"):
        PCA(2).inpaint(digits, masks_of_digits)
    with pytest.raises(ValueError, match="fewer components than examples and entries, received 64"):
        PCA(64).fit(digits)
    with pytest.raises(ValueError, match="arrays of shape"):
        PCA(2).fit(abp_tf.data.ordering.in_order(abp_tf.data.examples.Examples(digits), 10))
    with pytest.raises(ValueError, match="NaN or infinity in observed"):
        PCA(2).fit(np.full_like(digits, np.nan))
    model = PCA(2).fit(digits)
    with pytest.raises(ValueError, match="expected a mask, received None"):
        model.inpaint(digits, None)
    with pytest.raises(ValueError, match="count of 1 or more"):
        model.synthesize(0)

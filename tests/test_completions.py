"""Several answers to one question: draws from the posterior, and the best of several chains."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin, Projection

SIGMA = 0.5
SEEN = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1], bool)


@pytest.fixture(scope="module")
def linear():
    """A linear model whose parameters are those of the truth, and one example of it."""
    rng = np.random.default_rng(5)
    weights, bias = rng.normal(size=(12, 3)) * [1.5, 1.0, 0.7], rng.normal(size=12)
    network = abp_tf.networks.linear((12,), latent_dim=3)
    network.set_weights([weights.T, bias])
    model = Generator(
        network, sigma=SIGMA, value_range=None, inference=Langevin(150, 0.2, temperature=0.3, cool=50)
    )
    signal = weights @ rng.normal(size=3) + bias + SIGMA * rng.normal(size=12)
    return model, weights, bias, signal.astype(np.float32)


@pytest.mark.parametrize("chains", [None, 1500])
def test_completions_of_the_true_linear_model_have_the_conditional_moments(linear, chains):
    model, weights, bias, signal = linear
    damaged = np.where(SEEN, signal, np.nan).astype(np.float32)
    found = model.inpaint(damaged[None], SEEN[None], samples=6000, batch_size=6000, chains=chains)
    assert found.samples.shape == (1, 6000, 12)
    # The conditional mean of hidden entries of N(b, W Wᵀ + σ² I), by the formula that has no latents.
    covariance = weights @ weights.T + SIGMA**2 * np.eye(12)
    gain = covariance[np.ix_(~SEEN, SEEN)] @ np.linalg.inv(covariance[np.ix_(SEEN, SEEN)])
    mean = bias[~SEEN] + gain @ (signal[SEEN] - bias[SEEN])
    np.testing.assert_allclose(found.mean[0, ~SEEN], mean, atol=0.05)
    # A sample is g(z), without σ ε; the chain is unadjusted: Λ⁻¹ (I − δ²Λ/4)⁻¹.
    precision = weights[SEEN].T @ weights[SEEN] / SIGMA**2 + np.eye(3)
    spread = np.linalg.inv(precision) @ np.linalg.inv(np.eye(3) - 0.04 * precision / 4)
    exact = weights[~SEEN] @ spread @ weights[~SEEN].T
    hidden = found.samples[0][:, ~SEEN]
    np.testing.assert_allclose(np.cov(hidden.T), exact, atol=0.06)
    np.testing.assert_allclose(found.deviation[0, ~SEEN], np.sqrt(np.diag(exact)), rtol=0.06)
    # With the noise of single entries it is the conditional covariance of the signal.
    schur = covariance[np.ix_(~SEEN, ~SEEN)] - gain @ covariance[np.ix_(SEEN, ~SEEN)]
    unbiased = weights[~SEEN] @ np.linalg.inv(precision) @ weights[~SEEN].T
    np.testing.assert_allclose(unbiased + SIGMA**2 * np.eye(6 + 0), schur, atol=1e-6)
    np.testing.assert_array_equal(found.samples[0][:, SEEN], np.tile(signal[SEEN], (6000, 1)))


def test_statistics_and_observed_entries(learned, digits, masks_of_digits):
    mask = masks_of_digits[:7]
    damaged = np.where(mask[..., None], digits[:7], np.nan)
    found = learned.inpaint(damaged, mask, seed=3, samples=5, batch_size=4)
    assert found.samples.shape == (7, 5, 8, 8, 1)
    assert found.samples.dtype == found.mean.dtype == found.deviation.dtype == np.float32
    np.testing.assert_allclose(found.mean, found.samples.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.deviation, found.samples.std(axis=1), atol=1e-6)
    for sample in (*np.moveaxis(found.samples, 1, 0), found.mean):
        np.testing.assert_array_equal(sample[mask], digits[:7][mask])
    np.testing.assert_array_equal(found.deviation[mask], 0)
    assert found.deviation[~mask].min() > 0
    whole = learned.reconstruct(damaged, mask, seed=3, samples=5)
    np.testing.assert_allclose(
        np.where(mask[:, None, ..., None], 0, whole.samples),
        np.where(mask[:, None, ..., None], 0, found.samples),
        atol=1e-4,
    )
    assert whole.deviation.min() > 0


def test_a_sample_belongs_to_its_row_and_number_alone(learned, digits, masks_of_digits):
    signals, mask = digits[:6], masks_of_digits[:6]
    whole = learned.inpaint(signals, mask, seed=10, samples=4).samples
    some = learned.inpaint(signals[4:5], mask[4:5], seed=14, samples=3, batch_size=1).samples
    np.testing.assert_allclose(some[0], whole[4, :3], atol=1e-4)
    differences = np.abs(whole[:, :, None] - whole[:, None]).max(axis=(3, 4, 5))
    assert differences[:, ~np.eye(4, dtype=bool)].min() > 1e-3
    # The first chain is that of the row's own seed, at temperature 1 and never cooled.
    before = learned.inference
    try:
        learned.inference = Langevin(before.steps, before.step_size)
        alone = learned.inpaint(signals, mask, seed=10)
    finally:
        learned.inference = before
    np.testing.assert_allclose(alone, whole[:, 0], atol=1e-4)


def test_fewer_chains_go_on_to_their_next_samples(learned, digits, masks_of_digits):
    signals, mask = digits[:5], masks_of_digits[:5]
    ask = functools.partial(learned.inpaint, signals, mask, seed=10)
    found = ask(samples=6, chains=2).samples
    np.testing.assert_allclose(found[:, :2], ask(samples=2).samples, atol=1e-4)
    # A step further on: more like the last of its own chain than one of another chain, but not it.
    apart = np.abs(found[:, :, None] - found[:, None]).mean(axis=(0, 3, 4, 5))
    own, other = apart[[0, 1], [2, 3]], apart[[0, 1], [3, 2]]
    assert (own > 1e-3).all()
    assert (own < 0.6 * other).all()
    some = learned.inpaint(signals[3:], mask[3:], seed=13, samples=6, chains=2, batch_size=1).samples
    np.testing.assert_allclose(some, found[3:], atol=1e-4)
    complete = learned.reconstruct(signals, samples=4, chains=1).samples
    whole = learned.reconstruct(signals, np.ones((5, 8, 8, 1), bool), samples=4, chains=1).samples
    np.testing.assert_allclose(complete, whole, atol=1e-4)


def test_samples_of_an_indirect_model_are_whole_signals(make_model, digits):
    model = make_model(observation=Projection(20))
    found = model.reconstruct(model.observe(digits[:3]), samples=4)
    assert found.samples.shape == (3, 4, 8, 8, 1)
    np.testing.assert_allclose(found.deviation, found.samples.std(axis=1), atol=1e-6)


def two_modes():
    """A generator of `x = z²`, whose posterior has two modes; they differ through a second entry."""
    latent = keras.Input((1,))
    square = keras.layers.Lambda(lambda z: tf.concat([z**2, 0.1 * z], axis=-1))(latent)
    dense = keras.layers.Dense(2, kernel_initializer="identity", use_bias=False)(square)
    return keras.Model(latent, dense)


@pytest.mark.parametrize("masked", [False, True])
def test_restarts_keep_the_least_energy(masked):
    model = Generator(two_modes(), sigma=0.05, value_range=None, inference=Langevin(30, 0.02, cool=60))
    signals = np.tile(np.float32([1.0, 0.1]), (40, 1))  # z = 1 explains both entries, z = −1 one
    mask = np.ones_like(signals) if masked else None

    def energies(restarts):
        latent = model.infer(signals, mask, seed=2, restarts=restarts)
        float_mask = None if mask is None else tf.constant(mask)
        return latent, model.energy(latent, signals, float_mask).numpy()

    latents, single = energies(1)
    assert 5 < (latents < 0).sum() < 35
    previous = single
    for restarts in (2, 4, 12):
        latents, found = energies(restarts)
        assert (found <= previous + 1e-4).all()
        previous = found
    assert (latents > 0.9).all()
    assert found.mean() < single.mean() - 1
    best = model.reconstruct(signals, mask, seed=2, restarts=12)
    np.testing.assert_allclose(best, model(latents), atol=1e-5)


def test_restarts_of_inpaint(learned, digits, masks_of_digits):
    signals, mask = digits[:9], masks_of_digits[:9]
    best = learned.inpaint(signals, mask, restarts=4)
    np.testing.assert_array_equal(best[mask], signals[mask])
    latents = learned.infer(signals, mask, restarts=4)
    np.testing.assert_allclose(best[~mask], learned(latents).numpy()[~mask], atol=1e-5)
    # Energies are those of observed entries alone.
    seen = tf.constant(mask[..., None], tf.float32)
    chains = [learned.infer(signals, mask, seed=np.arange(9) + s * 2**40) for s in range(4)]
    each = np.stack([learned.energy(latent, signals, seen) for latent in chains])
    np.testing.assert_allclose(learned.energy(latents, signals, seen), each.min(axis=0), rtol=1e-4)
    assert len(set(each.argmin(axis=0))) > 1


def test_bad_numbers(learned, digits, masks_of_digits):
    for bad in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"`samples` expected an integer .*received {bad}"):
            learned.reconstruct(digits, samples=bad)
        with pytest.raises(ValueError, match=f"`restarts` expected an integer .*received {bad}"):
            learned.inpaint(digits, masks_of_digits, restarts=bad)
    with pytest.raises(ValueError, match="expected restarts=1 with them, received 3"):
        learned.reconstruct(digits, samples=2, restarts=3)
    with pytest.raises(ValueError, match="expected a divisor of samples=6, received 4"):
        learned.reconstruct(digits, samples=6, chains=4)
    with pytest.raises(ValueError, match="received 4 without samples"):
        learned.reconstruct(digits, chains=4)


def test_samples_want_noisy_steps(learned, digits):
    before = learned.inference
    learned.inference = abp_tf.Langevin(0, 0.1, cool=10)
    try:
        with pytest.raises(ValueError, match=r"Langevin\(steps=0.*has none"):
            learned.reconstruct(digits, samples=2)
    finally:
        learned.inference = before


def test_masks_that_hide_nearly_everything_are_warned_of(learned, digits):
    mask = np.zeros((4, 8, 8))
    mask[:, 4, :2] = 1  # 96.9 % hidden
    polarity = r"96\.9% of all entries are hidden.* holds 1 \(or True\) where an entry is observed"
    for method in (learned.infer, learned.inpaint, learned.reconstruct):
        with pytest.warns(UserWarning, match=polarity):
            method(digits[:4], mask)
    with pytest.warns(UserWarning, match=polarity):
        learned.evaluate({"signal": digits[:4], "mask": mask}, verbose=0)
    mask[:, 4, :4] = 1  # 93.8 %: no warning, which would be an error here
    learned.infer(digits[:4], mask)

"""Several answers to one question: draws from the posterior, and the best of several chains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import Generator, Langevin, Projection, Underdamped, qualities
from abp_tf.metrics import calibration
from abp_tf.models import draws
from abp_tf.sampling import Descent
from tests.models.linear import SIGMA, factor_data, linear_model, parameters, posterior, unadjusted

SEEN = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1], bool)


@pytest.fixture
def noisy(learned):
    """The trained generator, which infers with noisy steps alone; its own sampler comes back."""
    before = learned.inference
    learned.inference = Langevin(before.steps, before.step_size)
    yield learned
    learned.inference = before


@pytest.mark.parametrize(("samples", "chains"), [(6000, 6000), (6000, 1500)])
def test_samples_of_a_linear_model_have_the_conditional_moments(samples, chains):
    model = linear_model(inference=Langevin(150, 0.2, temperature=0.3, cool=50))
    weights, bias = parameters(model)
    signal = factor_data(1, seed=3)[0]
    damaged = np.where(SEEN, signal, np.nan).astype(np.float32)
    found = model.sample_posterior(
        damaged[None], SEEN[None], samples=samples, chains=chains, batch_size=chains
    )
    assert found.samples.shape == (1, samples, 12)
    # The conditional mean of hidden entries of N(b, W Wᵀ + σ² I), by the formula that has no latents.
    covariance = weights @ weights.T + SIGMA**2 * np.eye(12)
    gain = covariance[np.ix_(~SEEN, SEEN)] @ np.linalg.inv(covariance[np.ix_(SEEN, SEEN)])
    mean = bias[~SEEN] + gain @ (signal[SEEN] - bias[SEEN])
    np.testing.assert_allclose(found.mean[0, ~SEEN], mean, atol=0.05)
    # A sample is g(z), without σ ε, of an unadjusted chain at temperature 1, without cooling.
    _, precision = posterior(model, signal, SEEN)
    exact = weights[~SEEN] @ unadjusted(precision, 0.2) @ weights[~SEEN].T
    hidden = found.samples[0][:, ~SEEN]
    np.testing.assert_allclose(np.cov(hidden.T), exact, atol=0.06)
    np.testing.assert_allclose(found.deviation[0, ~SEEN], np.sqrt(np.diag(exact)), rtol=0.06)
    np.testing.assert_array_equal(found.samples[0][:, SEEN], np.tile(signal[SEEN], (samples, 1)))
    assert found.r_hat.shape == found.effective_samples.shape == (1, 3)


def test_statistics_and_observed_entries(learned, digits, masks_of_digits):
    mask = masks_of_digits[:7]
    damaged = np.where(mask[..., None], digits[:7], np.nan)
    found = learned.sample_posterior(damaged, mask, seed=3, samples=4, batch_size=16)
    assert found.samples.shape == (7, 4, 8, 8, 1)
    assert found.samples.dtype == found.mean.dtype == found.deviation.dtype == np.float32
    np.testing.assert_allclose(found.mean, found.samples.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.deviation, found.samples.std(axis=1), atol=1e-6)
    for sample in (*np.moveaxis(found.samples, 1, 0), found.mean):
        np.testing.assert_array_equal(sample[mask], digits[:7][mask])
    np.testing.assert_array_equal(found.deviation[mask], 0)
    assert found.deviation[~mask].min() > 0
    np.testing.assert_array_equal(found.sigma, np.where(mask[..., None], 0, np.float32(learned.sigma)))
    np.testing.assert_array_equal(found.total_deviation[mask], 0)
    for end in found.intervals(0.9):
        np.testing.assert_array_equal(end[mask], digits[:7][mask])
    # Without a mask all is observed, and no entry is kept.
    whole = learned.sample_posterior(digits[:7], seed=3, samples=4)
    assert whole.deviation.min() > 0
    np.testing.assert_array_equal(whole.sigma, np.full(whole.mean.shape, np.float32(learned.sigma)))
    assert whole.r_hat.shape == whole.effective_samples.shape == (7, 4)


def test_a_sample_belongs_to_its_row_and_number_alone(noisy, digits, masks_of_digits):
    signals, mask = digits[:6], masks_of_digits[:6]
    whole = noisy.sample_posterior(signals, mask, seed=10, samples=4).samples
    some = noisy.sample_posterior(signals[4:5], mask[4:5], seed=14, samples=3, chains=3, batch_size=1)
    np.testing.assert_allclose(some.samples[0], whole[4, :3], atol=1e-4)
    differences = np.abs(whole[:, :, None] - whole[:, None]).max(axis=(3, 4, 5))
    assert differences[:, ~np.eye(4, dtype=bool)].min() > 1e-3
    # The first chain is that of the row's own seed.
    first = noisy.reconstruct(signals, mask, seed=10)
    np.testing.assert_allclose(first[~mask], whole[:, 0][~mask], atol=1e-4)


def test_fewer_chains_go_on_to_their_next_samples(learned, digits, masks_of_digits):
    signals, mask = digits[:5], masks_of_digits[:5]

    def ask(rows=slice(None), seed=10, samples=6, **options):
        part = signals[rows], mask[rows]
        return learned.sample_posterior(*part, seed=seed, samples=samples, chains=2, **options).samples

    found = ask()
    np.testing.assert_allclose(found[:, :2], ask(samples=2), atol=1e-4)
    # A step further on: more like the last of its own chain than one of another chain, but not it.
    apart = np.abs(found[:, :, None] - found[:, None]).mean(axis=(0, 3, 4, 5))
    own, other = apart[[0, 1], [2, 3]], apart[[0, 1], [3, 2]]
    assert (own > 1e-3).all()
    assert (own < 0.6 * other).all()
    np.testing.assert_allclose(ask(slice(3, None), 13, batch_size=1), found[3:], atol=1e-4)


def test_samples_of_an_indirect_model_are_whole_signals(make_model, digits):
    model = make_model(observation=Projection(20))
    y = model.observe(digits[:3])
    found = model.sample_posterior(y, np.ones_like(y), samples=4)
    assert found.samples.shape == (3, 4, 8, 8, 1)
    np.testing.assert_allclose(found.deviation, found.samples.std(axis=1), atol=1e-6)
    assert found.deviation.min() > 0
    # The noise is that of what is observed, not of the signal.
    np.testing.assert_allclose(found.total_deviation, found.deviation, rtol=1e-6)
    function, _ = model.signatures(samples=4)["sample_posterior"]
    exported = function(y, tf.ones_like(y), tf.range(3, dtype=tf.int64))
    np.testing.assert_array_equal(exported["sigma"], np.zeros((3, 8, 8, 1)))


def test_intervals_of_a_linear_model_contain_the_truth():
    model, random = linear_model(inference=Langevin(150, 0.1)), np.random.default_rng(4)
    weights, bias = parameters(model)
    signal = random.normal(size=(500, 3)) @ weights.T + bias + SIGMA * random.normal(size=(500, 12))
    drawn = model.sample_posterior(
        signal, np.tile(SEEN, (500, 1)), samples=40, chains=40, batch_size=20_000
    )
    hidden = np.tile(~SEEN, (500, 1))
    found = calibration.calibration(signal, drawn, hidden)
    np.testing.assert_allclose(found.coverage, found.levels, atol=0.03)
    assert found.scaled_deviation == pytest.approx(1, abs=0.04)
    without = calibration.calibration(signal, drawn._replace(sigma=0.0), hidden)
    assert (without.coverage < 0.8 * found.coverage).all()


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
        return latent, model.energy(latent, signals, mask).total.numpy()

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


def test_restarts_compare_energies_of_observed_entries(learned, digits, masks_of_digits):
    signals, mask = digits[:9], masks_of_digits[:9]
    latents = learned.infer(signals, mask, restarts=4)
    best = learned.reconstruct(signals, mask, restarts=4)
    np.testing.assert_allclose(best, learned(latents).numpy(), atol=1e-5)
    seen = tf.constant(mask[..., None], tf.float32)
    chains = [learned.infer(signals, mask, seed=np.arange(9) + s * 2**40) for s in range(4)]
    each = np.stack([learned.energy(latent, signals, seen).total for latent in chains])
    least = learned.energy(latents, signals, seen).total
    np.testing.assert_allclose(least, each.min(axis=0), rtol=1e-4)
    assert len(set(each.argmin(axis=0))) > 1


@pytest.mark.parametrize("quality", ["fast", "balanced"])
def test_inpaint_is_the_median_of_the_samples_of_its_quality(learned, digits, masks_of_digits, quality):
    signals, mask = digits[:3], masks_of_digits[:3]
    drawn = learned.sample_posterior(signals, mask, seed=5, quality=quality)
    found = learned.inpaint(np.where(mask[..., None], signals, np.nan), mask, seed=5, quality=quality)
    np.testing.assert_allclose(found, drawn.median, atol=1e-4)
    np.testing.assert_array_equal(found[mask], signals[mask])
    # The exported function of that name does the same.
    function, _ = learned.signatures()[qualities.signature(quality)]
    exported = function(signals, np.float32(mask)[..., None], tf.range(5, 8, dtype=tf.int64))
    np.testing.assert_allclose(exported["signal"], found, atol=1e-4)
    np.testing.assert_allclose(exported["latent"].shape, (3, 4))


def test_errors_of_two_chains_cancel_in_a_linear_model():
    model = linear_model(inference=Underdamped(60, 0.2))
    signal = factor_data(1, seed=3)
    rows = np.repeat(signal, 400, axis=0)  # 400 recoveries of one signal
    mask = np.broadcast_to(SEEN, rows.shape)
    inputs = [tf.constant(part, tf.float32) for part in (rows, mask)]
    quality = qualities.Quality(samples=2, chains=2, cold=1.0, warm=1.0, further=1.0)
    latents = draws.draw(model, *inputs, tf.range(400, dtype=tf.int64), quality)["latent"].numpy()
    mean, precision = posterior(model, signal[0], SEEN)
    for chain in (0, 1):  # each has the right moments
        np.testing.assert_allclose(latents[:, chain].mean(axis=0), mean, atol=0.15)
        np.testing.assert_allclose(np.cov(latents[:, chain].T), np.linalg.inv(precision), atol=0.12)
    of_one, of_pair = latents[:, 0].std(axis=0), latents.mean(axis=1).std(axis=0)
    assert (of_pair < 0.1 * of_one).all()


def test_samplers_that_draw_no_samples_fill_in_by_one_vector_of_latents(
    make_model, digits, masks_of_digits
):
    signals, mask = digits[:3], masks_of_digits[:3]
    model = make_model(inference=Descent(20, 0.05))
    found = model.inpaint(signals, mask, quality="best", seed=1)
    decoded = model.reconstruct(signals, mask, seed=1)
    np.testing.assert_allclose(found[~mask], decoded[~mask], atol=1e-5)
    assert {"inpaint_fast", "inpaint_best"}.isdisjoint(model.exported_signatures())


def test_bad_numbers(learned, digits, masks_of_digits):
    for bad in (0, 2.5, True):
        for name in ("samples", "chains"):
            with pytest.raises(ValueError, match=rf"`{name}` .* received {bad}"):
                learned.sample_posterior(digits, **{name: bad})
        with pytest.raises(ValueError, match=rf"`restarts` .* received {bad}"):
            learned.infer(digits, masks_of_digits, restarts=bad)
    with pytest.raises(ValueError, match=r"`quality` .* fast, balanced, best, received 'good'"):
        learned.inpaint(digits, masks_of_digits, quality="good")
    with pytest.raises(ValueError, match=r"samples=6, received 4"):
        learned.sample_posterior(digits, samples=6, chains=4)


def test_samples_want_noisy_steps(learned, digits):
    before = learned.inference
    learned.inference = Langevin(0, 0.1, cool=10)
    try:
        with pytest.raises(ValueError, match=r"received 0 in Langevin\(steps=0"):
            learned.sample_posterior(digits, samples=4)
        assert "sample_posterior" not in learned.exported_signatures()
    finally:
        learned.inference = before


def test_chains_that_disagree_are_warned_of():
    # Nothing ties the two modes together: each chain stays in one.
    inference = Langevin(30, 0.02)
    model = Generator(two_modes(), sigma=0.05, value_range=None, inference=inference)
    signals = np.float32([[1.0, 0.0]])
    with pytest.warns(UserWarning, match=r"R̂ of the latents is [\d.]+.*1\.05"):
        found = model.sample_posterior(signals, samples=400, chains=8)
    assert found.r_hat[0, 0] > 1.5
    # Few draws cannot tell, even of good chains: no warning, which would be an error here.
    assert model.sample_posterior(signals, samples=40, chains=8).r_hat[0, 0] > 1.5


def test_masks_that_hide_nearly_everything_are_warned_of(learned, digits):
    mask = np.zeros((4, 8, 8))
    mask[:, 4, :2] = 1  # 96.9 % hidden
    polarity = r"96\.9% .* 1 \(or True\)"
    for method in (learned.infer, learned.inpaint, learned.reconstruct):
        with pytest.warns(UserWarning, match=polarity):
            method(digits[:4], mask)
    with pytest.warns(UserWarning, match=polarity):
        learned.evaluate({"signal": digits[:4], "mask": mask}, verbose=0)
    mask[:, 4, :4] = 1  # 93.8 %: no warning, which would be an error here
    learned.infer(digits[:4], mask)

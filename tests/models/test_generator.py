import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin
from tests.models.linear import factor_data, linear_model, log_likelihood, posterior, unadjusted


def test_linear_generator_learns_the_likelihood_of_factor_analysis():
    decomposition = pytest.importorskip("sklearn.decomposition")
    train, test = factor_data(2000, seed=1), factor_data(2000, seed=2)
    reference = decomposition.PCA(3).fit(train).score(test)
    # Small steps, because the unadjusted chain inflates the posterior by (I − δ²Λ/4)⁻¹.
    model = linear_model(langevin=Langevin(20, 0.08))
    rate = keras.optimizers.schedules.CosineDecay(0.05, 20 * 30, alpha=0.01)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=0.5))
    model.fit(train, batch_size=100, epochs=30, verbose=0)
    assert abs(log_likelihood(model, test) - reference) / 12 < 0.01


def test_expansion_reaches_the_same_likelihood_in_fewer_epochs():
    train, test = factor_data(2000, seed=1), factor_data(2000, seed=2)
    found = {}
    for expansion, epochs in ((0.0, 10), (1.0, 5)):
        model = linear_model(expansion=expansion, langevin=Langevin(10, 0.1))
        model.compile(optimizer=keras.optimizers.Adam(0.03, beta_1=0.5))
        model.fit(train, batch_size=100, epochs=epochs, verbose=0)
        found[expansion] = log_likelihood(model, test)
    # Half the epochs do.
    assert found[1.0] > found[0.0] + 0.05


def test_posterior_of_a_linear_generator():
    model = linear_model(inference=Langevin(300, 0.2))
    signals = np.repeat(factor_data(1, seed=3), 4000, axis=0)
    mean, precision = posterior(model, signals[0])
    noisy = model.infer(signals, batch_size=4000)
    np.testing.assert_allclose(noisy.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(noisy.T), unadjusted(precision, 0.2), atol=0.05)
    model.inference = Langevin(600, 0.2, temperature=0.0)
    np.testing.assert_allclose(model.infer(signals[:2]), [mean, mean], atol=1e-4)


def test_preconditioned_chains_have_the_same_posterior_at_one_pace():
    model = linear_model(inference=Langevin(40, 0.5))
    signals = np.repeat(factor_data(1, seed=3), 4000, axis=0)
    mean, precision = posterior(model, signals[0])
    assert np.linalg.cond(precision) > 3
    model.table.allocate(50)
    model.precondition()
    root = model.preconditioner(np.eye(3, dtype=np.float32)).numpy()
    np.testing.assert_allclose(np.linalg.inv(root @ root), precision, rtol=1e-3)
    found = model.infer(signals, batch_size=4000)
    # In the chain's own coordinates the precision is I: the exact inflation is 1 / (1 − δ²/4).
    exact = np.linalg.inv(precision) / (1 - 0.25 / 4)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.03)


def test_the_preconditioner_follows_an_expansion():
    model = linear_model(preconditioning=True)
    model.table.allocate(200)
    scales = np.float32([3.0, 1.0, 0.3])
    model.table.states.assign(np.random.default_rng(2).normal(size=(200, 3)) * scales + 1)
    identity = np.eye(3, dtype=np.float32)
    model.precondition()
    before = model.preconditioner(identity).numpy()
    model.expand()
    followed = model.preconditioner(identity).numpy()
    model.precondition()  # the derivative of a linear network is the same everywhere
    np.testing.assert_allclose(followed, model.preconditioner(identity), rtol=1e-3, atol=1e-5)
    assert np.abs(followed - before).max() > 0.1
    plain = linear_model()
    plain.table.allocate(200)
    plain.expand()
    np.testing.assert_array_equal(plain.preconditioner(identity), identity)


def test_the_metric_of_masked_data_is_that_of_the_share_observed():
    # Two copies of six entries, one of them hidden: what is seen has half the curvature exactly.
    model = linear_model(inference=Langevin(40, 0.5))
    half = np.random.default_rng(4).normal(size=(3, 6)).astype(np.float32) * [[4.0], [1.0], [0.5]]
    model.network.set_weights([np.tile(half, 2), np.zeros(12)])
    model.table.allocate(50)
    model.precondition()
    mask = np.tile(np.arange(12) < 6, (4000, 1))
    signals = np.tile(factor_data(1, seed=3), (4000, 1))
    found = model.infer(signals, mask, batch_size=4000)
    mean, precision = posterior(model, signals[0], mask[0])
    # The chain's own coordinates are round again, so the inflation is 1 / (1 − δ²/4); with the metric
    # of complete data it would be less than half of that.
    exact = np.linalg.inv(precision) / (1 - 0.25 / 4)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), exact, rtol=0.05, atol=0.01)
    # So is their stability, whatever is hidden.
    stability = {}
    for share in (1.0, 0.5):
        seen = tf.constant(np.tile(np.arange(12) < 12 * share, (2, 1)), tf.float32)
        of_share = model.posterior(tf.zeros([2, 12]), seen)
        stability[share] = of_share.stability(Langevin(1, 0.5), tf.zeros([2, 3]))
    np.testing.assert_allclose(stability[0.5], stability[1.0], rtol=1e-3)
    np.testing.assert_allclose(stability[1.0], 0.25 / 4, rtol=1e-3)


def test_fit_learns_digits(digits, make_model):
    model = make_model(inference=Langevin(60, 0.1, cool=30))
    before = model.evaluate(digits, verbose=0, return_dict=True)
    history = model.fit(digits, batch_size=40, epochs=15, verbose=0).history
    after = model.evaluate(digits, verbose=0, return_dict=True)
    assert set(history) == {
        "loss", "reconstruction_error", "latent_norm", "gradient_norm", "stability",
    }  # fmt: skip
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    # The mean image is the best that a model without latents could do.
    assert after["reconstruction_error"] < 0.8 * digits.var(axis=0).mean()
    assert after["reconstruction_error"] < 0.4 * before["reconstruction_error"]
    assert 0 < history["stability"][-1] < 1
    # The latents belong to their examples.
    errors = ((model(model.latents) - digits) ** 2).numpy().mean()
    others = ((model(model.latents[::-1]) - digits) ** 2).numpy().mean()
    assert errors < 0.6 * others


def test_reported_numbers_are_those_of_the_definitions(digits, learned):
    reported = learned.evaluate(digits, verbose=0, return_dict=True)
    latent = learned.infer(digits, seed=0)
    decoded = learned(latent).numpy()
    np.testing.assert_allclose(decoded, learned.reconstruct(digits, seed=0), atol=1e-5)
    np.testing.assert_allclose(learned.predict(digits, verbose=0), decoded, atol=1e-4)
    error = ((digits - decoded) ** 2).reshape(120, -1).sum(1)
    prior = (latent**2).sum(1) / 2
    np.testing.assert_allclose(reported["reconstruction_error"], error.mean() / 64, rtol=1e-3)
    np.testing.assert_allclose(reported["loss"], (error / 0.18 + prior).mean(), rtol=1e-3)
    np.testing.assert_allclose(reported["latent_norm"], (latent**2).mean(), rtol=1e-3)
    energy = learned.energy(latent, digits)
    np.testing.assert_allclose(energy.misfit, error / 0.18, rtol=1e-3)
    np.testing.assert_allclose(energy.prior, prior, rtol=1e-5)
    np.testing.assert_allclose(energy.squared_error, error, rtol=1e-3)
    np.testing.assert_allclose(energy.total, error / 0.18 + prior, rtol=1e-3)


def test_expansion_changes_no_decoded_chain(digits, learned, exported, make_model):
    model = make_model()
    model.table.allocate(120)
    spread = np.random.default_rng(0).normal(size=(120, 4)) * [1.5, 1.0, 0.7, 0.4] + 0.3
    model.table.states.assign(spread)
    before = model(model.latents).numpy()
    model.expand()
    np.testing.assert_allclose(model(model.latents), before, atol=1e-4)
    np.testing.assert_allclose(np.cov(model.latents.T, bias=True), np.eye(4), atol=1e-3)
    # It is part of what is exported.
    assert np.abs(learned.prior.scales[0].numpy() - np.eye(4)).max() > 0.05
    decode = tf.saved_model.load(str(exported / "1")).signatures["decode"]
    answer = decode(latent=tf.constant(learned.latents))["signal"]
    np.testing.assert_allclose(answer, learned(learned.latents), atol=1e-4)


def test_hidden_entries_have_no_influence(digits, masks_of_digits, make_model):
    results = []
    for filling in (0.7, np.nan):
        signals = np.where(masks_of_digits[..., None], digits, np.float32(filling))
        data = {"signal": signals, "mask": masks_of_digits}
        model = make_model()
        model.fit(data, batch_size=50, epochs=2, verbose=0)
        inferred = model.infer(signals, masks_of_digits)
        whole = model.inpaint(signals, masks_of_digits)
        score = model.evaluate(data, verbose=0, return_dict=True)
        results.append((model.latents, inferred, whole, score["loss"]))
    for one, same in zip(*results, strict=True):
        np.testing.assert_array_equal(one, same)


def test_inpaint_returns_observed_entries_bit_for_bit(digits, masks_of_digits, learned):
    whole = learned.inpaint(digits, masks_of_digits)
    seen = masks_of_digits[..., None]
    np.testing.assert_array_equal(whole[seen], digits[seen])
    drawn = learned.sample_posterior(digits, masks_of_digits)
    np.testing.assert_allclose(whole[~seen], drawn.median[~seen], atol=1e-4)
    latents = learned.infer(digits, masks_of_digits)
    full = learned.reconstruct(digits, masks_of_digits)
    np.testing.assert_allclose(full, learned(latents), atol=1e-5)


def test_masks_may_be_bool_or_numbers_with_or_without_channels(digits, masks_of_digits, learned):
    expected = learned.inpaint(digits, masks_of_digits)
    for mask in (masks_of_digits.astype(np.float64), masks_of_digits[..., None]):
        np.testing.assert_array_equal(learned.inpaint(digits, mask), expected)


def test_a_mask_that_hides_nothing_changes_nothing(digits, learned):
    np.testing.assert_allclose(
        learned.infer(digits, np.ones((120, 8, 8))), learned.infer(digits), atol=1e-5
    )


def test_interpolation_combines_latents(digits, learned):
    latents = learned.infer(digits[:4])
    weights = abp_tf.interpolation.square(3)
    found = learned.interpolate(digits[:4], weights)
    np.testing.assert_allclose(found, learned(weights @ latents), atol=1e-5)
    ends = learned.interpolate(digits[:2], abp_tf.interpolation.line(5))
    np.testing.assert_allclose(ends[[0, -1]], learned.reconstruct(digits[:2]), atol=1e-5)
    arc = abp_tf.interpolation.arc(7)
    np.testing.assert_allclose((arc**2).sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(arc[[0, -1]], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"\('r', 4\).*\(5, 2\)"):
        learned.interpolate(digits[:4], abp_tf.interpolation.line(5))


def test_syntheses_belong_to_their_seeds(learned):
    whole = learned.synthesize(6, seed=10)
    np.testing.assert_allclose(learned.synthesize(2, seed=[15, 11]), whole[[5, 1]], atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_fresh_chains_need_no_table_and_no_index(digits, make_model):
    model = make_model(chains="fresh")
    dataset = tf.data.Dataset.from_tensor_slices(digits).batch(40)
    history = model.fit(dataset, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    model.fit(digits, batch_size=40, epochs=1, verbose=0)
    assert model.table.rows == 0
    with pytest.raises(ValueError, match="infer"):
        model.latents  # noqa: B018


def test_saved_and_loaded_training_goes_on_as_the_one_that_did_not_stop(
    digits, make_model, tmp_path, assert_same_state
):
    path = tmp_path / "model.keras"
    save = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: through.save(path) if epoch == 1 else None
    )
    through = make_model()
    through.fit(digits, batch_size=50, epochs=4, verbose=0, callbacks=[save])
    loaded = keras.models.load_model(path)
    loaded.fit(digits, batch_size=50, epochs=2, verbose=0)
    assert_same_state(loaded, through)


def test_colour_and_non_square_images():
    rng = np.random.default_rng(0)
    images = np.tanh(rng.normal(size=(20, 8, 16, 3))).astype(np.float32)
    network = abp_tf.networks.image_generator((8, 16, 3), 4, 4)
    model = Generator(network, langevin=Langevin(2, 0.1), inference=Langevin(2, 0.1))
    model.compile(optimizer="adam")
    model.fit(images, epochs=1, verbose=0)
    mask = abp_tf.masks.block(20, (8, 16), 4)
    assert model.inpaint(images, mask).shape == (20, 8, 16, 3)


def test_a_network_of_the_users_own(digits):
    latent = keras.Input((2, 2, 3))
    signal = keras.layers.Conv2DTranspose(1, 8, 4, padding="same", activation="tanh")(latent)
    model = Generator(keras.Model(latent, signal), langevin=Langevin(3, 0.1))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(digits, batch_size=30, epochs=3, verbose=0).history
    assert model.latents.shape == (120, 2, 2, 3)
    assert history["loss"][-1] < history["loss"][0]
    model.expand()
    assert model.synthesize(3).shape == (3, 8, 8, 1)


def test_steps_that_are_too_long_are_warned_of(digits, make_model):
    model = make_model(langevin=Langevin(1, 2.0))
    with pytest.warns(UserWarning, match=r"δ²λmax/4 is [\d.]+ .* from 2"):
        model.fit(digits, batch_size=60, epochs=2, verbose=0)

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import metrics
from abp_tf.baselines import GAN, PCA, VAE, Descent
from abp_tf.networks import mirror
from abp_tf.sampling.random import row_normal

KINDS = (VAE, GAN)


@pytest.fixture(scope="module")
def half_hidden():
    """Digits with half of their pixels hidden: images, and masks of both parts."""
    images = abp_tf.data.load("digits", size=8, test_share=0.1)
    return (
        images,
        abp_tf.masks.pepper(len(images.train), (8, 8), 0.5, seed=1),
        abp_tf.masks.pepper(len(images.test), (8, 8), 0.5, seed=2),
    )


@pytest.mark.parametrize(
    ("kind", "share"), [(VAE, 0.85), pytest.param(GAN, 0.95, marks=pytest.mark.slow)]
)
def test_it_recovers_digits_better_than_their_mean(half_hidden, make_baseline, kind, share):
    images, mask, of_test = half_hidden
    damaged = np.where(mask[..., None], images.train, np.float32(np.nan))
    training = {"signal": damaged, "mask": mask}
    inference = Descent(steps=60, learning_rate=0.1, restarts=2)
    model = make_baseline(kind, inference=inference)
    model.fit(training, batch_size=50, epochs=15, verbose=0)
    mean = PCA(0).fit(training).inpaint(images.test, of_test)
    reference = metrics.recovery_error(images.test, mean, of_test)
    for method in ("gradient", "gibbs") if kind is VAE else (None,):
        if method:
            model.method = method
        whole = model.inpaint(images.test, of_test)
        seen = of_test[..., None]
        np.testing.assert_array_equal(whole[seen], images.test[seen])
        assert metrics.recovery_error(images.test, whole, of_test) < share * reference
    # Draws are as different from each other as digits are, not one and the same.
    assert 0.5 < model.synthesize(100).std(0).mean() / images.train.std(0).mean() < 1.5


def test_the_bound_in_numpy(digits, masks_of_digits, make_baseline):
    # One step at no rate reports the bound of the weights it began with.
    model = make_baseline(VAE, learning_rate=1e-12, sigma=0.4, batch_norm=False)
    logs = model.fit({"signal": digits, "mask": masks_of_digits}, batch_size=120, verbose=0).history
    seeds = abp_tf.sampling.random.training_seeds(
        0, abp_tf.sampling.random.LATENT, 0, tf.range(120, dtype=tf.int64)
    )
    mask = masks_of_digits[..., None].astype(np.float32)
    mean, deviation = (part.numpy() for part in model.encode(digits * mask, mask))
    latent = mean + deviation * row_normal(seeds, [8]).numpy()
    residual = ((digits - model(latent).numpy()) * mask).reshape(120, -1)
    counts = mask.sum((1, 2, 3))
    nll = (residual**2).sum(1) / 0.32 + counts / 2 * np.log(2 * np.pi * 0.16)
    kl = 0.5 * (mean**2 + deviation**2 - 1 - 2 * np.log(deviation)).sum(1)
    np.testing.assert_allclose(logs["kl"][0], kl.mean(), rtol=1e-3)
    np.testing.assert_allclose(logs["loss"][0], (nll + kl).mean(), rtol=1e-3)
    error = ((residual**2).sum(1) / counts).mean()
    np.testing.assert_allclose(logs["reconstruction_error"][0], error, rtol=1e-3)


def test_sigma_is_learned_as_the_root_of_the_error(digits, make_baseline):
    model = make_baseline(VAE)
    logs = model.fit(digits, batch_size=40, epochs=20, verbose=0).history
    assert logs["sigma"][-1] == pytest.approx(logs["reconstruction_error"][-1] ** 0.5, rel=0.05)
    assert logs["sigma"][-1] < 0.7 * logs["sigma"][0]
    fixed = make_baseline(VAE, sigma=0.25)
    fixed.fit(digits, batch_size=40, epochs=1, verbose=0)
    assert fixed.sigma == pytest.approx(0.25)


def test_descent_finds_the_mode_of_a_linear_model(make_baseline):
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.linear((12,), latent_dim=3)
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(6, 12)).astype(np.float32)
    mask = rng.random((6, 12)) > 0.4
    for kind in KINDS:
        inference = Descent(steps=400, learning_rate=0.1, restarts=2)
        model = kind(network, sigma=0.5, value_range=None, inference=inference)
        weights = model(np.eye(3, dtype=np.float32)).numpy().T
        found = model.infer(signal, mask)
        for one, seen, latent in zip(signal, mask, found, strict=True):
            W = weights[seen]
            mode = np.linalg.solve(W.T @ W / 0.25 + np.eye(3), W.T @ one[seen] / 0.25)
            np.testing.assert_allclose(latent, mode, atol=1e-3)


def test_restarts_end_no_higher(digits, masks_of_digits, make_baseline):
    model = make_baseline(GAN)
    seen = masks_of_digits[..., None].astype(np.float32)
    energies = []
    for restarts in (1, 4):
        model.inference = Descent(steps=20, learning_rate=0.1, restarts=restarts)
        latent = model.infer(digits, masks_of_digits)
        energies.append(model.energy(latent, digits, seen).total.numpy())
    assert (energies[1] <= energies[0] + 1e-3).all()
    assert energies[1].mean() < energies[0].mean()


def test_generated_signals_are_masked_before_they_are_judged(digits, masks_of_digits, make_baseline):
    shown = []

    class Witness(keras.layers.Layer):
        def call(self, x):
            shown.append(x)
            return x

    layers = [Witness(), keras.layers.Flatten(), keras.layers.Dense(1)]
    discriminator = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    model = make_baseline(GAN, discriminator=discriminator)
    model.compile(optimizer="adam", run_eagerly=True)
    shown.clear()
    model.fit({"signal": digits, "mask": masks_of_digits}, batch_size=120, shuffle=False, verbose=0)
    drawn, data = (np.asarray(one) for one in shown)
    for one in (drawn, data):
        np.testing.assert_array_equal(one[..., 1], masks_of_digits)
        assert not one[~masks_of_digits].any()
        assert one[masks_of_digits][:, 0].all()
    np.testing.assert_array_equal(data[..., :1], digits * masks_of_digits[..., None])
    assert np.abs(drawn - data).max() > 0.1


@pytest.mark.parametrize("method", ["gradient", "gibbs", None])
def test_answers_do_not_depend_on_the_batch(digits, masks_of_digits, make_baseline, method):
    model = make_baseline(GAN) if method is None else make_baseline(VAE, method=method)
    model.inference = Descent(steps=15, learning_rate=0.05, restarts=2)
    whole = model.infer(digits, masks_of_digits, seed=5)
    for batch_size in (1, 8):
        found = model.infer(digits[:8], masks_of_digits[:8], seed=5, batch_size=batch_size)
        np.testing.assert_allclose(found, whole[:8], atol=1e-3)
    drawn = model.synthesize(6, seed=10)
    np.testing.assert_allclose(model.synthesize(2, seed=[15, 11]), drawn[[5, 1]], atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_networks_are_mirrored_at_any_rank(rank):
    convolution = getattr(keras.layers, f"Conv{rank}DTranspose")
    latent = keras.Input((3,))
    x = keras.layers.Dense(4**rank * 6, activation="elu")(latent)
    x = keras.layers.Reshape((4,) * rank + (6,))(x)
    x = convolution(2, 3, 2, padding="same")(x)
    network = keras.Model(latent, x)
    assert network.output_shape == (None, *(8,) * rank, 2)
    encoder, discriminator = mirror.encoder(network), mirror.discriminator(network)
    assert encoder.input_shape == discriminator.input_shape == (None, *(8,) * rank, 4)
    assert (encoder.output_shape, discriminator.output_shape) == ((None, 6), (None, 1))
    signal = np.random.default_rng(0).normal(size=(20, *(8,) * rank, 2)).astype(np.float32)
    model = KINDS[rank % 2](network, value_range=None, inference=Descent(2))
    model.compile(optimizer="adam")
    model.fit(signal, batch_size=10, verbose=0)
    assert model.reconstruct(signal[:2]).shape == (2, *(8,) * rank, 2)


def test_latents_may_be_a_grid():
    latent = keras.Input((2, 2, 3))
    x = keras.layers.Conv2DTranspose(4, 4, 2, padding="same", activation="elu")(latent)
    x = keras.layers.Conv2DTranspose(1, 4, 2, padding="same")(x)
    network = keras.Model(latent, x)
    assert mirror.encoder(network).output_shape == (None, 2, 2, 6)
    model = VAE(network)
    model.compile(optimizer="adam")
    signal = np.zeros((10, 8, 8, 1), np.float32)
    model.fit(signal, verbose=0)
    assert model.infer(signal).shape == (10, 2, 2, 3)


def test_bad_input_is_refused(digits, make_baseline):
    network = abp_tf.networks.linear((8, 8, 1), 4)
    with pytest.raises(ValueError, match=r"GAN .* positive `sigma`, received None"):
        GAN(network, sigma=None)
    for kind in KINDS:
        with pytest.raises(ValueError, match=f"{kind.__name__} expected `network` .* received str"):
            kind("network")
        with pytest.raises(ValueError, match=r"positive `sigma`, received -1\.0"):
            kind(network, sigma=-1.0)
        with pytest.raises(ValueError, match="`inference` to be a Descent, received 10"):
            kind(network, inference=10)
    other = abp_tf.networks.linear((8, 8, 1), 5)
    with pytest.raises(ValueError, match=r"`encoder` .*\(8, 8, 2\).*to \(8,\)"):
        VAE(network, encoder=mirror.encoder(other))
    with pytest.raises(ValueError, match=r"`discriminator` .* to \(1,\)"):
        GAN(network, discriminator=mirror.encoder(network))
    with pytest.raises(ValueError, match=r"`method` .*\('gradient', 'gibbs'\), received 'mean'"):
        VAE(network, method="mean")
    with pytest.raises(ValueError, match=r"`penalty` of 0 or more, received -1\.0"):
        GAN(network, penalty=-1.0)
    nested = keras.Sequential([keras.Input((4,)), network])
    with pytest.raises(ValueError, match="`encoder="):
        VAE(nested)
    for options in ({"steps": -1}, {"restarts": 0}, {"learning_rate": 0.0}):
        [(name, value)] = options.items()
        with pytest.raises(ValueError, match=f"Descent .*`{name}`.* received {value}"):
            Descent(**options)
    model = make_baseline(VAE)
    with pytest.raises(ValueError, match="expected a mask, received None"):
        model.inpaint(digits, None)
    with pytest.raises(ValueError, match="channel axis"):
        model.fit(digits[..., 0])
    with pytest.raises(ValueError, match=r"Descent\(.*draws no samples"):
        model.sample_posterior(digits[:2])
    with pytest.raises(abp_tf.DivergenceError, match="Lower the learning rate"):
        make_baseline(VAE, learning_rate=1e30).fit(digits, batch_size=10, epochs=3, verbose=0)

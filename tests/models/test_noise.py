"""The noise: σ of each channel, given or learned, and of each entry, against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin
from abp_tf.errors import DivergenceError
from tests.models.linear import ENTRIES, FACTORS, factor_data, linear_model, parameters, unadjusted

SIGMAS = np.linspace(0.3, 1.0, ENTRIES)
EXACT = Langevin(600, 0.2, temperature=0.0)


def posterior_mean(model, signal, deviations, seen=slice(None)):
    """Return the posterior mean of the latents, with a standard deviation of noise per entry."""
    weights, bias = (part[seen] for part in parameters(model))
    scaled = weights / deviations[seen, None] ** 2
    precision = weights.T @ scaled + np.eye(FACTORS)
    return np.linalg.solve(precision, scaled.T @ (signal[seen] - bias)), precision


def factor_analysis(count):
    """Return draws of a linear factor model with the noise 2 `SIGMAS`, float32 `[count, 12]`."""
    random = np.random.default_rng(0)
    loading = random.normal(size=(ENTRIES, FACTORS)) * [2.0, 1.0, 0.7]
    signal = random.normal(size=(count, FACTORS)) @ loading.T + random.normal(size=ENTRIES)
    return (signal + 2 * SIGMAS * random.normal(size=signal.shape)).astype(np.float32)


# Given, for each channel.


def test_the_posterior_with_a_sigma_of_each_channel():
    model = linear_model(sigma=SIGMAS, inference=EXACT)
    signal = factor_data(1, seed=3)
    seen = np.arange(ENTRIES) % 3 > 0
    mean, precision = posterior_mean(model, signal[0], SIGMAS)
    np.testing.assert_allclose(model.infer(signal)[0], mean, atol=1e-4)
    fewer, _ = posterior_mean(model, signal[0], SIGMAS, seen)
    np.testing.assert_allclose(model.infer(signal, seen[None])[0], fewer, atol=1e-4)
    assert np.abs(fewer - mean).max() > 0.1
    model.inference = Langevin(40, 0.5)
    model.table.allocate(50)
    model.precondition()
    root = model.preconditioner(np.eye(FACTORS, dtype=np.float32)).numpy()
    np.testing.assert_allclose(np.linalg.inv(root @ root), precision, rtol=1e-3)
    drawn = model.sample_posterior(signal, seen[None], samples=2, chains=2)
    np.testing.assert_allclose(drawn.sigma[0], np.where(seen, 0, SIGMAS), rtol=1e-6)


def test_one_number_is_that_number_for_each_channel():
    signal = factor_data(5, seed=3)
    model = linear_model(sigma=0.4, inference=Langevin(20, 0.1))
    one = model.infer(signal)
    assert model.sigma == model.get_config()["sigma"] == 0.4
    functions = dict(model._functions)
    model.sigma = np.full(ENTRIES, 0.4)
    np.testing.assert_array_equal(model.infer(signal), one)
    model.sigma = SIGMAS
    np.testing.assert_allclose(model.sigma, SIGMAS, rtol=1e-6)
    assert np.abs(model.infer(signal) - one).max() > 0.01
    assert model._functions == functions  # nothing was compiled anew
    again = Generator.from_config(model.get_config())
    assert again.sigma == model.sigma


@pytest.mark.parametrize(
    ("sigma", "received"),
    [
        (-1, "-1"),
        (0, "0"),
        ([0.1] * 11 + [np.nan], "nan"),
        ([0.1, 0.2], "12.*2"),
        ("a", "'a'"),
    ],
)
def test_a_sigma_that_cannot_be(sigma, received):
    with pytest.raises(ValueError, match=f"`sigma`.*{received}"):
        linear_model(sigma=sigma)


# Learned.


@pytest.mark.parametrize("hidden", [pytest.param(0.0, marks=pytest.mark.slow), 0.25])
def test_factor_analysis_finds_the_noise_of_each_channel(hidden):
    signal = factor_analysis(8000)
    mask = np.random.default_rng(1).random(signal.shape) >= hidden
    model = linear_model(
        sigma=2.0, learn_sigma=True, preconditioning=True, expansion=1.0, langevin=Langevin(4, 0.4)
    )
    rate = keras.optimizers.schedules.CosineDecay(0.1, 4 * 80, alpha=0.01)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=0.5))
    data = {"signal": np.where(mask, signal, np.nan), "mask": mask} if hidden else signal
    history = model.fit(data, batch_size=2000, epochs=80, verbose=0).history
    np.testing.assert_allclose(model.sigma, 2 * SIGMAS, rtol=0.1)
    np.testing.assert_allclose(np.mean(model.sigma), 2 * SIGMAS.mean(), rtol=0.02)
    np.testing.assert_allclose(history["sigma"][-1], np.mean(model.sigma), rtol=0.01)
    assert history["stability"][-1] < 0.1
    if not hidden:
        decomposition = pytest.importorskip("sklearn.decomposition")
        reference = decomposition.FactorAnalysis(FACTORS, max_iter=2000, tol=1e-4).fit(signal)
        np.testing.assert_allclose(model.sigma, np.sqrt(reference.noise_variance_), rtol=0.05)


def small(**options):
    options = {"learn_sigma": True, "langevin": Langevin(3, 0.1), **options}
    model = linear_model(**options)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def test_a_learned_sigma_is_the_residual_of_the_chains_of_the_epoch():
    signal = factor_data(40)
    mask = np.random.default_rng(2).random(signal.shape) > 0.3
    mask[:, 5] = False  # a channel without observations keeps its σ
    model = small(sigma=0.7)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit({"signal": signal, "mask": mask}, batch_size=15, verbose=0)
    residual = np.where(mask, signal - model(model.latents).numpy(), 0)
    expected = np.sqrt((residual**2).sum(0) / np.maximum(mask.sum(0), 1))
    expected[5] = 0.7
    np.testing.assert_allclose(model.sigma, expected, rtol=1e-4)
    assert not model.sums.numpy().any()


def test_sigma_does_not_collapse():
    signal = factor_data(40)
    signal[:, 3] = 2.0  # a channel that is constant keeps its σ
    model = small(sigma=0.7)
    exact = [np.full(40, len(signal)), np.zeros(ENTRIES), signal.sum(0), (signal**2).sum(0)]
    sums = np.stack([np.broadcast_to(row, ENTRIES) for row in (40, *exact[1:])]).astype(float)
    model.sums.assign(sums)
    model.learn_noise()
    expected = 0.01 * signal.std(0)
    expected[3] = 0.7
    np.testing.assert_allclose(model.sigma, expected, rtol=1e-3)


def test_the_metric_grows_with_the_precision():
    model = small(preconditioning=True, sigma=0.5)
    model.table.allocate(50)
    model.precondition()
    residual = tf.constant(np.random.default_rng(0).normal(size=(9, ENTRIES)), tf.float32)
    model.sums.assign(model.noise.sums(residual, None, 0.04 + 0 * residual))
    values = model.preconditioner.values[0].numpy()
    model.learn_noise()
    assert model.sigma == pytest.approx(0.2)
    np.testing.assert_allclose(model.preconditioner.values[0], values * 0.25 / 0.04, rtol=1e-5)


class Killed(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.iteration.value) == 5:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_saved_resumed_and_exported(tmp_path, assert_same_state, export_only):
    signal = factor_data(40)
    options = {"batch_size": 10, "epochs": 3, "verbose": 0}
    alone = small()
    alone.fit(signal, **options)
    backup = abp_tf.callbacks.Backup(tmp_path / "run.keras")
    with pytest.raises(KeyboardInterrupt):
        small().fit(signal, **options, callbacks=[backup, Killed()])
    resumed = small()
    resumed.fit(signal, **options, callbacks=[backup])
    assert_same_state(alone, resumed)
    assert len(set(alone.sigma)) == ENTRIES
    alone.save(tmp_path / "saved.keras")
    loaded = keras.models.load_model(tmp_path / "saved.keras")
    assert_same_state(alone, loaded)
    assert loaded.learn_sigma
    export_only(alone, tmp_path / "1", "inpaint")
    mask = np.random.default_rng(0).random(signal.shape) > 0.3
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["inpaint"](
        signal=tf.constant(signal),
        mask=tf.constant(mask, tf.float32),
        seed=tf.range(40, dtype=tf.int64),
    )
    np.testing.assert_allclose(served["signal"], alone.inpaint(signal, mask), atol=1e-4)


@pytest.mark.slow
def test_a_step_that_is_not_finite_leaves_the_sums_as_they_were():
    model = small()
    signal = factor_data(40)
    model.fit(signal, batch_size=10, verbose=0)
    model.train_on_batch({"signal": signal[:10], "index": np.arange(10)})
    before = model.sums.numpy()
    assert before[0].min() == 10
    model.table.states.assign(np.full((40, FACTORS), 1e30, np.float32))
    with pytest.raises(DivergenceError):
        model.fit(signal, batch_size=10, verbose=0)
    np.testing.assert_array_equal(model.sums, before)
    assert np.isfinite(model.sigma).all()
    model.reset_chains()
    assert not model.sums.numpy().any()


@pytest.mark.slow
def test_no_function_is_traced_again_when_sigma_is_learned():
    traces = []

    class Counted(Generator):
        def train_step(self, batch):
            traces.append(1)
            return super().train_step(batch)

    model = Counted(abp_tf.networks.linear((6,), 2), learn_sigma=True, value_range=None)
    model.compile(optimizer="adam")
    history = model.fit(factor_data(20)[:, :6], batch_size=10, epochs=3, verbose=0).history
    once = len(traces)
    model.fit(factor_data(20)[:, :6], batch_size=10, epochs=3, verbose=0)
    assert once <= 2  # Keras traces a step twice
    assert len(traces) == once
    assert len(set(history["sigma"])) == 3


def test_coopnets_take_a_given_sigma():
    generator = Generator(abp_tf.networks.image_generator((8, 8, 1), 4, width=4), learn_sigma=True)
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4)
    with pytest.raises(ValueError, match="learn_sigma=True"):
        abp_tf.CoopNets(generator, abp_tf.Descriptor(network, chains="short-run"))


# Of each entry.


def noisy(count=3):
    random = np.random.default_rng(5)
    signal = factor_data(count, seed=3)
    mask = random.random(signal.shape) > 0.3
    return signal, mask, random.uniform(0.2, 2.0, signal.shape)


def test_the_posterior_with_a_sigma_of_each_entry():
    signal, mask, sigma = noisy()
    model = linear_model(sigma=SIGMAS, inference=EXACT)
    whole = model.infer({"signal": signal, "sigma": sigma})
    data = {"signal": np.where(mask, signal, np.nan), "mask": mask}
    data["sigma"] = np.where(mask, sigma, np.nan)
    part = model.infer(data)
    for row in range(3):
        mean, _ = posterior_mean(model, signal[row], sigma[row])
        np.testing.assert_allclose(whole[row], mean, atol=1e-4)
        mean, _ = posterior_mean(model, signal[row], sigma[row], mask[row])
        np.testing.assert_allclose(part[row], mean, atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(data), model(part), atol=1e-5)
    filled = model.inpaint(data, None)
    np.testing.assert_array_equal(filled[mask], signal[mask])
    # Errors that are reported are not weighted.
    model.compile(optimizer="adam")
    found = model.evaluate(data, verbose=0, return_dict=True)
    squares = np.where(mask, signal - model(part).numpy(), 0) ** 2
    expected = np.mean(squares.sum(1) / mask.sum(1))
    np.testing.assert_allclose(found["reconstruction_error"], expected, rtol=1e-4)
    # What is hidden has the noise of the model.
    model.inference = Langevin(20, 0.2)
    drawn = model.sample_posterior(data, samples=2, chains=2)
    np.testing.assert_allclose(drawn.sigma, np.where(mask, 0, np.broadcast_to(SIGMAS, mask.shape)))


def test_posterior_samples_with_a_sigma_of_each_entry():
    signal, mask, sigma = noisy(1)
    model = linear_model(inference=Langevin(300, 0.2))
    mean, precision = posterior_mean(model, signal[0], sigma[0], mask[0])
    many = {"signal": signal.repeat(2000, 0), "mask": mask.repeat(2000, 0)}
    many["sigma"] = sigma.repeat(2000, 0)
    found = model.infer(many, batch_size=2000)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.07)
    np.testing.assert_allclose(np.cov(found.T), unadjusted(precision, 0.2), atol=0.07)


def test_equal_sigmas_are_a_sigma_and_an_enormous_one_hides():
    signal, mask, _ = noisy(20)
    inference = Langevin(30, 0.1)
    for preconditioning in (False, True):
        plain = linear_model(sigma=0.3, inference=inference, preconditioning=preconditioning)
        other = linear_model(sigma=0.6, inference=inference, preconditioning=preconditioning)
        for model in (plain, other):
            model.table.allocate(20)
            if preconditioning:
                model.precondition()
        expected = plain.infer(signal, mask)
        found = other.infer({"signal": signal, "mask": mask, "sigma": np.full(signal.shape, 0.3)})
        np.testing.assert_allclose(found, expected, atol=1e-4)
        enormous = np.where(mask, 0.3, 1e9)
        np.testing.assert_allclose(
            other.infer({"signal": signal, "sigma": enormous}), expected, atol=1e-4
        )


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fit_with_a_sigma_of_each_entry(stream):
    """Neither σ of the model nor what hidden entries hold has an influence; each entry's σ has one."""
    signal, mask, sigma = noisy(20)
    found = []
    for fill, of_model in ((np.nan, 0.5), (-3.0, 0.5), (1.0, 0.9)):
        model = small(learn_sigma=False, sigma=of_model)
        data = {"signal": np.where(mask, signal, 9.0), "mask": mask}
        data |= {"sigma": np.where(mask, sigma, fill), "index": np.arange(20)}
        if stream:
            model.table.allocate(20)
            data = tf.data.Dataset.from_tensor_slices(data).batch(10)
        model.fit(data, verbose=0, shuffle=False, **({} if stream else {"batch_size": 10}))
        found.append([model.latents, *model.network.get_weights()])
    for one, other, third in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, atol=1e-5)
    plain = small(learn_sigma=False, sigma=0.5)
    plain.fit({"signal": signal, "mask": mask}, verbose=0, shuffle=False, batch_size=10)
    assert np.abs(plain.latents - found[0][0]).max() > 1e-3


@pytest.mark.parametrize(
    ("sigma", "received"),
    [(-1.0, "1 others.*-1"), (np.nan, "nan"), (np.inf, "inf"), (None, r"\(3, 5\)")],
)
def test_sigmas_of_entries_that_cannot_be(sigma, received):
    signal, mask, good = noisy()
    row, column = np.argwhere(mask)[0]
    bad = np.ones((3, 5)) if sigma is None else good
    if sigma is not None:
        bad[row, column] = sigma
    with pytest.raises(ValueError, match=f"Sigma.*{received}"):
        linear_model().infer({"signal": signal, "mask": mask, "sigma": bad})
    if sigma is not None:
        model = small(learn_sigma=False)
        data = tf.data.Dataset.from_tensor_slices({"signal": signal, "mask": mask, "sigma": bad})
        with pytest.raises(ValueError, match="Sigma"):
            model.evaluate(data.batch(3), verbose=0)


def test_who_takes_no_sigmas_of_entries(make_baseline):
    signal = np.zeros((4, 8, 8, 1), np.float32)
    data = {"signal": signal, "sigma": np.ones_like(signal)}
    for kind in (abp_tf.baselines.VAE, abp_tf.baselines.GAN):
        with pytest.raises(ValueError, match=r"keys \['sigma', 'signal'\]"):
            make_baseline(kind).fit(data, verbose=0)
    with pytest.raises(ValueError, match="learn_sigma"):
        small().fit({"signal": factor_data(3), "sigma": np.ones((3, ENTRIES))}, verbose=0)

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.sampling.random import PRIOR, training_seeds

UNIT = Langevin(5, 2**0.5, temperature=0.01**2 / 2)


def top_down(**options):
    return abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3, **options)


def make(langevin=UNIT, generator_rate=1e-3, descriptor_rate=1e-3, seed=3, latent=None, **options):
    keras.utils.set_random_seed(1)
    latent = {"inference": Langevin(8, 0.1, cool=4), "langevin": Langevin(5, 0.1), **(latent or {})}
    generator = Generator(top_down(), **latent)
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4, kernel_size=3, activation="elu")
    descriptor = Descriptor(network, langevin=langevin, chains="short-run")
    model = CoopNets(generator, descriptor, seed=seed, **options)
    model.compile(
        keras.optimizers.Adam(generator_rate), keras.optimizers.Adam(descriptor_rate, beta_1=0.5)
    )
    return model


@pytest.fixture(scope="module")
def learned(digits):
    model = make()
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    return model


def test_without_revision_the_generator_stays_where_it_is(digits):
    model = make(langevin=Langevin(0, 1.0))
    before = [weights.copy() for weights in model.generator.network.get_weights()]
    descriptor = model.descriptor.network.get_weights()[0]
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    for one, other in zip(before, model.generator.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(descriptor - model.descriptor.network.get_weights()[0]).max() > 1e-4


@pytest.mark.parametrize("latent_steps", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_both_learn_and_report(digits, latent_steps):
    model = make(latent_steps=latent_steps)
    before = [network.get_weights()[0] for network in (model.generator.network, model.network)]
    history = model.fit(digits, batch_size=40, epochs=2, verbose=0).history
    assert set(history) == {
        "loss", "energy_gap", "energy_gap_spread", "drift", "data_deviation", "sample_deviation",
        "saturation", "score_size", "revision_error",
        *["stability"] * bool(latent_steps),
    }  # fmt: skip
    for weights, network in zip(before, (model.generator.network, model.network), strict=True):
        assert np.abs(weights - network.get_weights()[0]).max() > 1e-4
    assert int(model.iteration.value) == 6


def test_latent_steps_that_are_too_long_are_told_of(digits):
    # The prior alone would bear them.
    model = make(latent_steps=2, latent={"langevin": Langevin(5, 0.5), "sigma": 0.02})
    with pytest.warns(UserWarning, match=r"δ²λmax/4 is .* step size from 0\.5 "):
        history = model.fit(digits, batch_size=60, verbose=0).history
    assert history["stability"][-1] >= 1


def gaussian(latent_steps, chains="persistent"):
    """A linear generator and a quadratic descriptor in two dimensions."""
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.linear((2,), 2)
    langevin = Langevin(10, 0.2)
    generator = Generator(network, sigma=0.3, langevin=langevin, chains=chains, value_range=None)
    x = keras.Input((2,))
    square = keras.layers.Dot(1)([x, keras.layers.Dense(2, use_bias=False, name="product")(x)])
    network = keras.Model(x, keras.layers.Add()([square, keras.layers.Dense(1)(x)]))
    network.get_layer("product").set_weights([-0.5 * np.eye(2)])
    descriptor = Descriptor(
        network,
        langevin=Langevin(15, 0.4),
        chains="short-run",
        start_sigma=1.0,
        data_noise=0.0,
        value_range=None,
    )
    model = CoopNets(generator, descriptor, latent_steps=latent_steps)
    model.compile(keras.optimizers.SGD(0.02), keras.optimizers.SGD(0.1))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_linear_generator_and_a_quadratic_descriptor_find_the_gaussian_of_the_data(masked):
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.6, 0.7]])
    data = (rng.normal(size=(4000, 2)) @ mixing.T + [0.8, -0.4]).astype(np.float32)
    given = data
    if masked:
        mask = np.ones((4000, 2), bool)
        mask[np.arange(2400), rng.integers(2, size=2400)] = False
        given = {"signal": np.where(mask, data, np.float32(np.nan)), "mask": mask}
    # Without latent steps the regression on mixing chains has one fixed point: the mean alone.
    model = gaussian(latent_steps=15)
    model.fit(given, batch_size=200, epochs=15, verbose=0)
    # The generator explains all but σ² of the variance.
    for revised, missing in ((True, 0.0), (False, 0.09)):
        found = model.synthesize(4000, revised=revised, batch_size=4000)
        np.testing.assert_allclose(found.mean(0), data.mean(0), atol=0.15)
        exact = np.cov(data.T) - missing * np.eye(2)
        np.testing.assert_allclose(np.cov(found.T), exact, atol=0.2)


def test_revisions_begin_with_drafts(digits, learned):
    drafts = learned.synthesize(6, seed=9, revised=False)
    np.testing.assert_allclose(learned.synthesize(6, seed=9, steps=0), drafts, atol=1e-6)
    revised = learned.synthesize(6, seed=9)
    np.testing.assert_allclose(revised, learned.refine(drafts, seed=9), atol=1e-5)
    assert np.abs(revised - drafts).max() > 1e-3
    np.testing.assert_array_equal(
        learned.reconstruct(digits[:5]), learned.generator.reconstruct(digits[:5])
    )
    assert learned.score(digits[:5]).energy.shape == (5,)
    assert learned.infer(digits[:5]).shape == (5, 4)


def test_inpaint_revises_what_the_generator_fills_in(digits, learned):
    mask = abp_tf.masks.block(30, (8, 8), 4, seed=0)
    damaged = np.where(mask[..., None], digits[:30], np.float32(np.nan))
    found = learned.inpaint(damaged, mask, seed=2)
    np.testing.assert_array_equal(found[mask], digits[:30][mask])
    decoded = learned.generator.reconstruct(damaged, mask, seed=2)
    filled = np.where(mask[..., None], damaged, decoded)
    np.testing.assert_allclose(learned.inpaint(damaged, mask, seed=2, steps=0), filled, atol=1e-5)
    assert np.abs(found[~mask] - filled[~mask]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": None}, "Generator and a Descriptor, received NoneType"),
        ({"latent_steps": -1}, "`latent_steps` .*0 or more, received -1"),
        ({"chains": "persistent"}, "chains='short-run'.* received chains='persistent'"),
        ({"size": 16}, r"a generator of \(8, 8, 1\) and a descriptor of \(16, 16, 1\)"),
    ],
)
def test_models_that_do_not_fit_are_refused(change, message):
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4)
    generator = change.pop("generator", Generator(network))
    size, chains = change.pop("size", 8), change.pop("chains", "short-run")
    network = abp_tf.networks.image_descriptor((size, size, 1), 4)
    with pytest.raises(ValueError, match=message):
        CoopNets(generator, Descriptor(network, chains=chains, pool=2), **change)


# BatchNorm: a step takes the statistics of its batch and leaves moving ones.


def test_moving_statistics_move_once_a_step_and_only_if_it_is_finite(digits):
    def norm_model(step_size):
        descriptor = make(langevin=Langevin(30, step_size)).descriptor
        model = CoopNets(Generator(top_down(batch_norm=True)), descriptor)
        model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
        layer = model.generator.network.get_layer("norm_hidden")
        seen = keras.Model(model.generator.network.input, layer.input)
        return model, layer, seen

    model, layer, seen = norm_model(0.001)
    seeds = training_seeds(0, PRIOR, 0, np.arange(40))
    entering = seen(model.generator.prior.draw(seeds)).numpy()
    model.fit(digits[:40], batch_size=40, shuffle=False, verbose=0)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * entering.mean(0), atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * entering.var(0), rtol=1e-4)

    model, layer, _ = norm_model(1e10)
    kept = [weight for weight in model.weights if weight.name != "fingerprint"]
    before = [np.array(weight) for weight in kept]
    with pytest.raises(
        abp_tf.DivergenceError, match=r"step_size=10000000000\.0.*generator's learning rate"
    ):
        model.fit(digits[:40], batch_size=40, verbose=0)
    for one, other in zip(before, kept, strict=True):
        np.testing.assert_array_equal(one, other)


# Incomplete data.


@pytest.fixture(scope="module")
def incomplete(digits):
    """Digits of which 40 % of the pixels are hidden, holding NaN."""
    mask = abp_tf.masks.pepper(len(digits), (8, 8), 0.4, seed=3)
    return {"signal": np.where(mask[..., None], digits, np.float32(np.nan)), "mask": mask}


@pytest.fixture(scope="module")
def recovered(incomplete):
    """CoopNets learned from incomplete digits; tests do not train it further."""
    model = make(
        langevin=Langevin(15, 0.3, temperature=1e-3),
        generator_rate=5e-3,
        descriptor_rate=3e-4,
        latent={"inference": Langevin(60, 0.1, cool=30)},
    )
    history = model.fit(incomplete, batch_size=40, epochs=40, verbose=0).history
    return model, history


def test_without_revision_incomplete_data_are_learned_by_alternating_back_propagation(incomplete):
    # Without noise both have the same chains; drafts that stay as they are teach nothing.
    latent = {"langevin": Langevin(4, 0.1, temperature=0.0), "seed": 7}
    model = make(langevin=Langevin(0, 1.0), seed=7, latent=latent)
    alone = make(latent=latent).generator
    alone.compile(keras.optimizers.Adam(1e-3))
    model.fit(incomplete, batch_size=50, epochs=3, verbose=0)
    alone.fit(incomplete, batch_size=50, epochs=3, verbose=0)
    np.testing.assert_allclose(model.latents, alone.latents, atol=1e-4)
    for one, other in zip(model.generator.weights, alone.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(alone.network.get_weights()[0] - top_down().get_weights()[0]).max() > 1e-3


def test_evaluate_knows_of_new_settings(incomplete):
    model = make(latent={"inference": Langevin(1, 0.1)})
    data = {key: part[:20] for key, part in incomplete.items()}

    def error():
        return model.evaluate(data, verbose=0, return_dict=True)["reconstruction_error"]

    before = error()
    traced = model.test_function
    assert error() == before
    assert model.test_function is traced
    model.generator.inference = Langevin(200, 0.1, temperature=0.0)
    after = error()
    assert after < 0.95 * before
    # As the answers for rows with the same seeds say, which have graphs of their own.
    found = model.generator.reconstruct(data["signal"], data["mask"])
    misfit = np.where(data["mask"][..., None], data["signal"] - found, np.nan) ** 2
    np.testing.assert_allclose(after, np.nanmean(misfit, axis=(1, 2, 3)).mean(), rtol=1e-3)


def test_incomplete_data_are_recovered(digits, incomplete, recovered):
    model, history = recovered
    assert {"revision_error", "reconstruction_error", "latent_norm", "stability"} <= set(history)
    assert history["reconstruction_error"][-1] < 0.5 * history["reconstruction_error"][0]
    assert 0 < history["stability"][-1] < 1
    assert model.latents.shape == (120, 4)
    found = model.inpaint(**{"signals": incomplete["signal"], "mask": incomplete["mask"]})
    seen = np.broadcast_to(incomplete["mask"][..., None], digits.shape)
    np.testing.assert_array_equal(found[seen], digits[seen])
    mean = np.nanmean(incomplete["signal"], axis=0, keepdims=True)
    hidden = ~seen
    error = np.mean((found - digits)[hidden] ** 2)
    assert error < 0.85 * np.mean((mean - digits)[hidden] ** 2)


def test_evaluating_incomplete_signals_scores_what_inpaint_makes_of_them(incomplete, recovered):
    model, _ = recovered
    told = model.evaluate(incomplete, verbose=0, return_dict=True)
    assert set(told) == {"score", "energy", "reconstruction_error", "latent_norm"}
    whole = model.inpaint(incomplete["signal"], incomplete["mask"], seed=0)
    score = model.score(whole)
    np.testing.assert_allclose(told["score"], score.score.mean(), rtol=1e-3)
    np.testing.assert_allclose(told["energy"], score.energy.mean(), rtol=1e-3)
    latent = model.infer(incomplete["signal"], incomplete["mask"], seed=0)
    residual = (model(latent).numpy() - incomplete["signal"])[incomplete["mask"]]
    seen = incomplete["mask"].sum((1, 2))
    errors = np.split(residual[:, 0] ** 2, np.cumsum(seen)[:-1])
    error = np.mean([part.mean() for part in errors])
    np.testing.assert_allclose(told["reconstruction_error"], error, rtol=1e-3)
    np.testing.assert_allclose(told["latent_norm"], (latent**2).mean(), rtol=1e-3)


def rewind(model):
    """Return a function that takes a model, with its optimizers, back to where it is now."""
    variables = [v for optimizer, _ in model.learners() for v in optimizer.variables]
    kept, values = model.get_weights(), [variable.numpy() for variable in variables]

    def back():
        model.set_weights(kept)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return back


@pytest.mark.parametrize("chains", ["persistent", "fresh"])
def test_hidden_entries_have_no_influence(incomplete, chains):
    model, found = make(latent={"chains": chains, "examples": 120}), []
    back = rewind(model)
    for filling in (0.7, np.nan):
        back()
        signal = np.where(incomplete["mask"][..., None], incomplete["signal"], np.float32(filling))
        data = {"signal": signal, "mask": incomplete["mask"]}
        if chains == "fresh":  # in a dataset that has no numbers, because none are needed
            data, size = tf.data.Dataset.from_tensor_slices(data).batch(50), None
        else:
            size = 50
        model.fit(data, batch_size=size, verbose=0)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(model.iteration.value) == 3
    if chains == "persistent":
        assert model.latents.shape == (120, 4)


def test_chains_follow_incomplete_examples_and_other_data_need_a_reset(incomplete):
    model = make(latent={"examples": 120})
    back = rewind(model)
    dataset = tf.data.Dataset.from_tensor_slices({**incomplete, "index": np.arange(120)})
    model.fit(dataset.batch(120), epochs=2, verbose=0)
    streamed = model.latents
    back()
    model.fit(incomplete, batch_size=120, shuffle=False, epochs=2, verbose=0)
    np.testing.assert_array_equal(model.latents, streamed)
    dataset = tf.data.Dataset.from_tensor_slices(incomplete).batch(40)
    with pytest.raises(ValueError, match='"index"'):
        model.fit(dataset, verbose=0)

    others = {key: value[:60] for key, value in incomplete.items()}
    with pytest.raises(ValueError, match=r"120 other .* 60 with other .*model\.reset_chains"):
        model.fit(others, verbose=0)
    model.reset_chains()
    model.fit(others, batch_size=60, verbose=0)
    assert model.latents.shape == (60, 4)


def test_incomplete_data_that_cannot_be_used_are_refused(incomplete, digits):
    model = make()
    norm = CoopNets(Generator(top_down(batch_norm=True)), model.descriptor)
    norm.compile("adam", "adam")
    with pytest.raises(ValueError, match="layer 'norm_hidden' of type BatchNormalization"):
        norm.fit(incomplete, verbose=0)
    still = make(latent={"langevin": Langevin(0, 0.1)})
    with pytest.raises(ValueError, match=r"`generator\.langevin`.* 0 steps"):
        still.fit(incomplete, verbose=0)
    for one in (norm, still):
        assert one.generator.table.rows == int(one.iteration.value) == 0
    with pytest.raises(ValueError, match=r"CoopNets\.predict .*received a mask"):
        model.predict(incomplete, verbose=0)

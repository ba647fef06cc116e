"""Models of data in their own units are models of scaled data, but for what they take and give."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Generator, Projection, Scaling, callbacks, signals
from abp_tf.data.examples import Examples
from abp_tf.display import gallery
from tests.models import scaled
from tests.models.scaled import (
    DAMAGED,
    MASK,
    NAMES,
    SHAPE,
    WHOLE,
    assert_close,
    descriptor,
    generator,
    learned,
)
from train import report

SCALING = Scaling.of(DAMAGED, MASK, positions=True)
SLOW = pytest.mark.slow


def data(name, scale=lambda signals: signals):
    """What a model learns from: all but a descriptor from damaged signals."""
    if name == "descriptor":
        return {"signal": scale(WHOLE)}
    return {"signal": scale(DAMAGED), "mask": MASK}


@pytest.fixture(scope="module")
def pairs():
    """Return a function of a name: a model of data in their units, and one of data scaled before."""

    @functools.cache
    def get(name):
        return scaled.pair(name, SCALING, data(name), SCALING.scale)

    return get


@pytest.fixture(params=NAMES)
def pair(request, pairs):
    return pairs(request.param)


@pytest.fixture(scope="module")
def model(pairs):
    return pairs("generator")[0]


def test_learning_is_that_from_scaled_data_bit_for_bit(pair):
    for one, other in zip(*map(learned, pair), strict=True):
        np.testing.assert_array_equal(one, other)


def test_signals_are_taken_and_given_in_the_units_of_the_data(pair):
    model, plain = pair
    filled = model.inpaint(DAMAGED, MASK)
    np.testing.assert_array_equal(filled[MASK], WHOLE[MASK])
    assert_close(filled, SCALING.restore(plain.inpaint(SCALING.scale(DAMAGED), MASK)), SCALING.unit)
    assert_close(model.synthesize(5), SCALING.restore(plain.synthesize(5)), SCALING.unit)


def test_methods_of_latents_are_in_the_units_of_the_data(pairs):
    model, plain = pairs("generator")
    scaled, damaged = SCALING.scale(WHOLE), SCALING.scale(DAMAGED)
    np.testing.assert_array_equal(model.infer(DAMAGED, MASK), plain.infer(damaged, MASK))
    found = model.reconstruct(WHOLE)
    assert_close(found, SCALING.restore(plain.reconstruct(scaled)), SCALING.unit)
    assert_close(model.predict(WHOLE, verbose=0), found, SCALING.unit)
    mixed = SCALING.restore(plain.interpolate(scaled[:2], [[0.5, 0.5]]))
    assert_close(model.interpolate(WHOLE[:2], [[0.5, 0.5]]), mixed, SCALING.unit)


def test_methods_of_an_energy_are_in_the_units_of_the_data(pairs):
    model, plain = pairs("descriptor")
    scaled = SCALING.scale(WHOLE)
    assert_close(model.refine(WHOLE), SCALING.restore(plain.refine(scaled)), SCALING.unit)
    np.testing.assert_array_equal(model.score(WHOLE).energy, plain.score(scaled).energy)
    found = model.predict(WHOLE, verbose=0)
    np.testing.assert_array_equal(found, plain.predict(scaled, verbose=0))


@pytest.mark.parametrize("name", ["generator", "descriptor"])
def test_errors_are_reported_in_scaled_units(name, pairs):
    model, plain = pairs(name)
    found = [
        one.evaluate(data(name, scale), verbose=0, return_dict=True)
        for one, scale in ((model, lambda signals: signals), (plain, SCALING.scale))
    ]
    assert found[0] == found[1]


def test_models_called_with_tensors_are_in_the_units_of_the_data(pairs):
    model, plain = pairs("generator")
    assert_close(model(model.latents), SCALING.restore(plain(plain.latents)), SCALING.unit)
    model, plain = pairs("descriptor")
    np.testing.assert_allclose(model(WHOLE), plain(SCALING.scale(WHOLE)), rtol=1e-4)


def test_posterior_samples_and_their_noise_are_in_the_units_of_the_data(pairs):
    options = {"samples": 4, "chains": 2}
    model, plain = pairs("generator")
    drawn = model.sample_posterior(DAMAGED, MASK, **options)
    scaled = plain.sample_posterior(SCALING.scale(DAMAGED), MASK, **options)
    assert_close(drawn.samples, SCALING.restore(scaled.samples), SCALING.unit)
    for part in ("deviation", "total_deviation"):
        assert_close(getattr(drawn, part), getattr(scaled, part) * SCALING.unit, SCALING.unit)
    sigma = np.where(MASK, np.float32(0), 0.5 * SCALING.unit)
    np.testing.assert_allclose(drawn.sigma, sigma, rtol=1e-6)
    for found, end in zip(drawn.intervals(0.9), scaled.intervals(0.9), strict=True):
        assert_close(found, SCALING.restore(end), SCALING.unit)
    for values in (*np.moveaxis(drawn.samples, 1, 0), drawn.mean):
        np.testing.assert_array_equal(values[MASK], WHOLE[MASK])


def test_a_dataset_and_single_batches_are_scaled_too(pairs):
    keras.utils.set_random_seed(1)
    model = generator(scaling=SCALING, examples=24)
    model.compile(keras.optimizers.Adam(1e-2))
    parts = {"signal": DAMAGED, "mask": MASK, "index": np.arange(24)}
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(8)
    history = model.fit(dataset, epochs=1, verbose=0, validation_data=dataset).history
    again = model.evaluate(dataset, verbose=0, return_dict=True)
    np.testing.assert_allclose(history["val_reconstruction_error"], again["reconstruction_error"])
    of_arrays = model.evaluate({"signal": DAMAGED, "mask": MASK}, verbose=0, return_dict=True)
    assert again == pytest.approx(of_arrays, rel=1e-5)
    of_batch = model.test_on_batch({name: part[:8] for name, part in parts.items()}, return_dict=True)
    assert 0.1 < of_batch["reconstruction_error"] < 10


@pytest.mark.parametrize(
    "name", ["generator", *(pytest.param(name, marks=SLOW) for name in ("coopnets", "vae"))]
)
def test_saved_models_keep_their_scaling(name, pairs, tmp_path):
    model, _ = pairs(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.scaling == SCALING
    assert loaded.value_range is None
    np.testing.assert_array_equal(loaded.inpaint(DAMAGED, MASK), model.inpaint(DAMAGED, MASK))


LATENT = np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "function", "signal", "expected"),
    [
        ("descriptor", "refine", WHOLE, lambda model: model.refine(WHOLE)),
        pytest.param(
            "coopnets", "inpaint", DAMAGED, lambda model: model.inpaint(DAMAGED, MASK), marks=SLOW
        ),
        pytest.param("vae", "decode", None, lambda model: model(LATENT).numpy(), marks=SLOW),
    ],
)
def test_exports_take_and_give_the_units_of_the_data(
    name, function, signal, expected, pairs, export_only, tmp_path
):
    model, _ = pairs(name)
    export_only(model, tmp_path / name, function)
    served = tf.saved_model.load(str(tmp_path / name)).signatures[function]
    inputs = {"signal": signal, "mask": np.float32(MASK), "seed": np.arange(24), "latent": LATENT}
    wanted = served.structured_input_signature[1]
    found = served(**{key: tf.constant(inputs[key]) for key in wanted})["signal"].numpy()
    assert_close(found, expected(model), SCALING.unit)
    if function == "inpaint":
        np.testing.assert_array_equal(found[MASK], WHOLE[MASK])


@pytest.mark.slow
def test_clients_take_and_give_the_units_of_the_data(model, export_only, start_server, tmp_path):
    export_only(model, tmp_path / "sea" / "1", "inpaint", "sample_posterior")
    server = start_server("--model", f"sea={tmp_path / 'sea'}")
    with abp_tf.Client(server.address, "sea", value_range=None) as client:
        filled = client.inpaint(DAMAGED, MASK, seed=2)
        drawn = client.sample_posterior(DAMAGED, MASK, seed=2)
    np.testing.assert_array_equal(filled[MASK], WHOLE[MASK])
    assert_close(filled, model.inpaint(DAMAGED, MASK, seed=2), SCALING.unit)
    expected = model.sample_posterior(DAMAGED, MASK, seed=2)
    for part in ("samples", "mean", "deviation", "sigma", "total_deviation"):
        assert_close(getattr(drawn, part), getattr(expected, part), SCALING.unit)
    for values in (*np.moveaxis(drawn.samples, 1, 0), drawn.mean):
        np.testing.assert_array_equal(values[MASK], WHOLE[MASK])


def test_chains_of_a_descriptor_start_in_the_value_range_of_the_data():
    scaling = Scaling.of(WHOLE)
    model = descriptor(scaling=scaling, value_range=(-10, 200_000), chains="short-run")
    first = model.synthesize(200, steps=0)
    assert first.min() >= -10.1
    assert first.max() <= 200_001
    np.testing.assert_allclose(first.mean(axis=(0, 1, 2)), 100_000, rtol=0.05)
    pool = descriptor(scaling=scaling)
    drawn = scaling.scale(pool.synthesize(12, from_noise=False, steps=0))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.2)


def test_range_is_that_of_the_data(model):
    assert generator().value_range == (-1, 1)
    assert model.value_range is None
    bounded = generator(scaling=SCALING, value_range=(-50, 200_000))
    bounded.infer(WHOLE)
    with pytest.raises(ValueError, match=r"\[-50, 200000\].*300000"):
        bounded.infer(np.full_like(WHOLE, 300_000))
    again = Generator.from_config(bounded.get_config())
    assert again.value_range == (-50, 200_000)
    assert again.scaling == SCALING


def test_pictures_of_scaled_models_are_in_units_of_pictures(model):
    drawable = gallery.drawable(model, SCALING.restore(np.float32(3 * np.ones((1, *SHAPE)))))
    np.testing.assert_allclose(drawable, 1, rtol=1e-3)
    bounded = generator(scaling=SCALING, value_range=(0, 200))
    found = gallery.drawable(bounded, np.float32([0, 50, 200])[:, None, None, None] + np.zeros(SHAPE))
    np.testing.assert_allclose(found[:, 0, 0, 0], [-1, -0.5, 1], atol=1e-5)
    shown = gallery.show(model, DAMAGED, MASK)
    assert all(np.nanmax(np.abs(part.signals)) < 3 for part in shown.values())
    # Fields are drawn in their own units.
    field = signals.get("field")
    assert gallery.drawable(model, WHOLE, field) is WHOLE
    shown = gallery.show(model, DAMAGED, MASK, field)
    assert np.nanmedian(shown["synthesis"].signals[..., 1]) > 90_000


def test_reports_and_curves_have_errors_in_scaled_units():
    model = generator(scaling=SCALING)
    whole = Examples(WHOLE, MASK)
    error = (SCALING.scale(WHOLE) - SCALING.scale(model.reconstruct(WHOLE, MASK)))[MASK]
    found = report.errors(model, whole)
    np.testing.assert_allclose(found["reconstruction_error"], np.mean(error**2), rtol=1e-4)
    np.testing.assert_allclose(found["mae_per_range"], np.mean(np.abs(error)) / 6, rtol=1e-4)
    curves, logs = callbacks.ErrorCurves({"train": whole}, every=1), {}
    curves.set_model(model)
    curves.set_params({"epochs": 1})
    curves.on_epoch_end(0, logs)
    np.testing.assert_allclose(logs["train_error"], np.mean(error**2), rtol=1e-4)


def test_models_of_other_sizes_keep_a_scaling_of_channels():
    network = abp_tf.networks.texture_generator((32, 32, 1), width=4, output="linear")
    assert network(np.full((1, 1, 1, 1), 1e3, np.float32)).numpy().max() > 1
    textures = np.random.default_rng(0).normal(20, 3, (5, 32, 32, 1)).astype(np.float32)
    larger = abp_tf.resized(Generator(network, scaling=Scaling.of(textures)), (2, 3, 1))
    drawn = larger.synthesize(2)
    assert drawn.shape == (2, 64, 96, 1)
    assert 10 < drawn.mean() < 30
    fixed = Generator(network, scaling=Scaling.of(textures, positions=True))
    with pytest.raises(ValueError, match=r"centre.*\(64, 96, 1\).*\(32, 32, 1\)"):
        abp_tf.resized(fixed, (2, 3, 1))


def test_scalings_that_do_not_fit_are_refused(model):
    wrong = Scaling([0.0, 0, 0], [1.0, 1, 1])
    with pytest.raises(ValueError, match=r"centre.*\(2,\).*\(3,\)"):
        generator(scaling=wrong)
    with pytest.raises(ValueError, match=r"centre.*\(2,\).*\(3,\)"):
        descriptor(scaling=wrong)
    with pytest.raises(ValueError, match=r"scaling.*Scaling.*2"):
        generator(scaling=2)
    with pytest.raises(ValueError, match=r"observation.*Projection"):
        generator(scaling=SCALING, observation=Projection(5))
    with pytest.raises(ValueError, match=r"scaling.*Scaling\(.*None"):
        CoopNets(generator(scaling=SCALING), descriptor(chains="short-run"))
    with pytest.raises(AttributeError, match="scaling"):
        model.scaling = None

"""Models whose scaling has a period take the time of each example, in data, methods and exports."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin, Scaling, callbacks
from abp_tf.data import load_field
from abp_tf.data.examples import Examples
from abp_tf.display import gallery
from tests.models import scaled
from tests.models.scaled import BATCH, MASK, NAMES, SHAPE, assert_close, learned

PERIOD = 30.0
DAYS = 14_000 + 3.7 * np.arange(24)


def season(times):
    """The mean of the season, `[n, *SHAPE]`: another one in each channel."""
    phase = 2 * np.pi * np.reshape(times, (-1, 1, 1, 1)) / PERIOD
    return (np.cos(phase) * [5, 200] - np.sin(phase) * [2, 900] + np.zeros(SHAPE)).astype(np.float32)


WHOLE = scaled.WHOLE + season(DAYS)
DAMAGED = np.where(MASK, WHOLE, np.float32(np.nan))
SCALING = Scaling.of(DAMAGED, MASK, positions=True, times=DAYS, period=PERIOD)
GIVEN = {"signal": DAMAGED, "mask": MASK, "time": DAYS}
SCALED = {**GIVEN, "signal": SCALING.scale(DAMAGED, DAYS)}


def restored(signals, times=DAYS):
    return SCALING.restore(signals, times)


def data(name):
    """What a model learns from: all but a descriptor from damaged signals."""
    return {"signal": WHOLE, "time": DAYS} if name == "descriptor" else GIVEN


@pytest.fixture(scope="module")
def pairs():
    """Return a function of a name: a model of data in their units, and one of data scaled before."""

    @functools.cache
    def get(name):
        return scaled.pair(name, SCALING, data(name), lambda signals: SCALING.scale(signals, DAYS))

    return get


@pytest.fixture(params=NAMES)
def pair(request, pairs):
    return pairs(request.param)


@pytest.fixture(scope="module")
def model(pairs):
    return pairs("generator")[0]


def test_arrays_and_tensors_are_scaled_to_the_same_bits():
    scale = tf.function(SCALING.scale, jit_compile=True)
    times = np.random.default_rng(0).uniform(-40_000, 40_000, 5000)
    signals = WHOLE[np.arange(5000) % 24]
    np.testing.assert_array_equal(scale(signals, tf.constant(times)), SCALING.scale(signals, times))


def test_learning_is_that_from_scaled_data_bit_for_bit(pair):
    for one, other in zip(*map(learned, pair), strict=True):
        np.testing.assert_array_equal(one, other)


def test_signals_are_taken_and_given_at_their_times(pair):
    model, plain = pair
    filled = model.inpaint(GIVEN)
    np.testing.assert_array_equal(filled[MASK], WHOLE[MASK])
    assert_close(filled, restored(plain.inpaint(SCALED)), SCALING.unit)
    drawn = plain.synthesize(3)
    assert_close(model.synthesize(3, time=DAYS[:3]), restored(drawn, DAYS[:3]), SCALING.unit)
    assert_close(model.synthesize(3, time=7), restored(drawn, 7), SCALING.unit)
    hidden = {"mask": MASK} if "evaluate" in model.masked else {}
    found, expected = (
        one.evaluate({"signal": signal, "time": DAYS, **hidden}, verbose=0)
        for one, signal in zip(pair, (WHOLE, SCALING.scale(WHOLE, DAYS)), strict=True)
    )
    assert found == expected


def test_methods_of_latents(pairs):
    model, plain = pairs("generator")
    np.testing.assert_array_equal(model.infer(GIVEN), plain.infer(SCALED))
    decoded = restored(plain.reconstruct(SCALED))
    assert_close(model.reconstruct(GIVEN, restarts=1), decoded, SCALING.unit)
    assert_close(model.predict(GIVEN, verbose=0), decoded, SCALING.unit)
    latent = plain.latents
    assert_close(model(latent, time=DAYS).numpy(), restored(plain(latent).numpy()), SCALING.unit)
    options = {"samples": 4, "chains": 2}
    drawn = model.sample_posterior(GIVEN, **options)
    samples = restored(plain.sample_posterior(SCALED, **options).samples)
    assert_close(drawn.samples, samples, SCALING.unit)
    for values in (*np.moveaxis(drawn.samples, 1, 0), drawn.mean):
        np.testing.assert_array_equal(values[MASK], WHOLE[MASK])
    weights = [[0.5, 0.5], [1, 0], [0, 1]]
    two, two_scaled = ({key: part[:2] for key, part in one.items()} for one in (GIVEN, SCALED))
    mixed = plain.interpolate(two_scaled, weights)
    for time in (7.0, DAYS[:3]):
        found = model.interpolate(two, weights, time=time)
        assert_close(found, restored(mixed, time), SCALING.unit)


def test_methods_of_an_energy(pairs):
    model, plain = pairs("descriptor")
    whole, before = {"signal": WHOLE, "time": DAYS}, SCALING.scale(WHOLE, DAYS)
    np.testing.assert_array_equal(model.score(whole).energy, plain.score(before).energy)
    np.testing.assert_allclose(model(WHOLE, time=DAYS), plain(before), rtol=1e-4)
    found, expected = model.refine(whole), restored(plain.refine(before))
    assert_close(found, expected, SCALING.unit)
    pool = {"from_noise": False, "steps": 0}
    start = restored(plain.synthesize(12, **pool), DAYS[:12])
    assert_close(model.synthesize(12, time=DAYS[:12], **pool), start, SCALING.unit)
    descent = {"steps": 3, "step_size": 0.1}
    found = model.autoencode(whole, **descent).signal
    assert_close(found, restored(plain.autoencode(before, **descent).signal), SCALING.unit)
    with pytest.raises(ValueError, match=r"score .*mask"):
        model.score({**whole, "mask": MASK})


def test_datasets_bring_times_with_their_examples(model):
    expected = model.evaluate(GIVEN, verbose=0, return_dict=True)
    for times in (DAYS, (DAYS - 14_000).astype(np.float32) + np.float32(14_000)):
        dataset = tf.data.Dataset.from_tensor_slices({**GIVEN, "time": times}).batch(8)
        found = model.evaluate(dataset, verbose=0, return_dict=True)
        assert found == pytest.approx(expected, rel=1e-3)
    for wrong, words in ((DAYS[:, None], r"time.*\(None, 1\)"), (DAYS > 0, r"time.*bool")):
        dataset = tf.data.Dataset.from_tensor_slices({**GIVEN, "time": wrong}).batch(8)
        with pytest.raises(ValueError, match=words):
            model.evaluate(dataset, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices({**GIVEN, "time": DAYS * np.inf}).batch(8)
    with pytest.raises(ValueError, match="Time: NaN or infinity"):
        model.evaluate(dataset, verbose=0)


def test_a_model_that_is_saved_continues_as_one_left_alone(model, tmp_path):
    keras.utils.set_random_seed(1)
    begun = scaled.generator(scaling=SCALING)
    begun.compile(keras.optimizers.Adam(1e-2))
    begun.fit(GIVEN, epochs=1, **BATCH)
    begun.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.scaling == SCALING
    loaded.fit(GIVEN, epochs=2, initial_epoch=1, **BATCH)
    for one, other in zip(learned(loaded), learned(model), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "method"),
    [
        (lambda model, x: model.fit(x, **BATCH), "fit"),
        (lambda model, x: model.evaluate(x, verbose=0), "evaluate"),
        (lambda model, x: model.predict(x, verbose=0), "predict"),
        (lambda model, x: model.train_on_batch(x), "fit"),
        (lambda model, x: model.infer(x), "infer"),
        (lambda model, x: model.reconstruct(x), "reconstruct"),
        (lambda model, x: model.inpaint(x), "inpaint"),
        (lambda model, x: model.sample_posterior(x), "sample_posterior"),
        (lambda model, x: model.interpolate({**x, "time": DAYS}, np.eye(24)), "interpolate"),
        (lambda model, x: model.synthesize(2), "synthesize"),
        (lambda model, x: model(np.zeros((2, 3))), "call"),
    ],
)
def test_missing_times_are_named(model, call, method):
    with pytest.raises(ValueError, match=rf"Generator\.{method} expected .*period 30, .*none"):
        call(model, {"signal": DAMAGED, "mask": MASK})


def test_an_energy_names_missing_times(pairs):
    model, _ = pairs("descriptor")
    for method in (model.score, model.refine, model.autoencode):
        with pytest.raises(ValueError, match=rf"Descriptor\.{method.__name__} expected .*period 30"):
            method(WHOLE)
    with pytest.raises(ValueError, match=r"Descriptor\.inpaint expected .*period 30"):
        model.inpaint(DAMAGED, MASK)


@pytest.mark.parametrize(
    ("time", "received"),
    [
        (DAYS[:5], r"24 .*\(5,\)"),
        (DAYS * np.nan, "finite"),
        (np.datetime64("2001-01-01") + np.arange(24), "datetime64.*days"),
    ],
)
def test_times_that_cannot_be(model, time, received):
    with pytest.raises(ValueError, match=received):
        model.infer({**GIVEN, "time": time})


def test_without_a_period_times_make_no_difference(pairs):
    _, plain = pairs("generator")
    unaware = {"signal": SCALED["signal"], "mask": MASK}
    np.testing.assert_array_equal(plain.inpaint(SCALED), plain.inpaint(unaware))
    np.testing.assert_array_equal(plain.synthesize(2, time=3.0), plain.synthesize(2))
    np.testing.assert_array_equal(plain(plain.latents, time=DAYS), plain(plain.latents))
    _, plain = pairs("descriptor")
    np.testing.assert_array_equal(
        plain.score({"signal": WHOLE, "time": DAYS}).score, plain.score(WHOLE).score
    )


def flat(scaling):
    """A generator of the mean alone: all its latents are decoded to 0."""
    network = abp_tf.networks.linear(SHAPE, latent_dim=1)
    network.set_weights([0 * weight for weight in network.get_weights()])
    return Generator(network, inference=Langevin(1, 0.1), scaling=scaling)


def test_a_seasonal_field_is_filled_by_its_mean_alone():
    times = 3.7 * np.arange(400)
    truth = season(times) + np.float32([15, 1000])
    known = np.random.default_rng(2).random(truth.shape) > 0.4
    known[50:60] = False  # frames without any observation
    field = load_field(np.where(known, truth, np.nan), ["field_0", "field_1"])
    assert "time" not in field
    field = {**field, "time": times}
    filled = flat(Scaling.of(field, positions=True, period=PERIOD)).inpaint(field)
    np.testing.assert_array_equal(filled[known], truth[known])
    size = np.float32([5, 900])
    np.testing.assert_allclose(filled / size, truth / size, atol=0.02)  # drawn to the channel's season
    without = flat(Scaling.of(field, positions=True)).inpaint(field)
    assert np.abs((without - truth) / size)[~known].mean() > 0.5


def test_fields_bring_their_times():
    xarray = pytest.importorskip("xarray")
    dims = ("time", "y", "x")
    values = np.where(MASK[..., 0], WHOLE[..., 0], np.nan)
    field = load_field(xarray.Dataset({"sst": (dims, values)}, {"time": ("time", DAYS)}))
    assert set(field) == {"signal", "mask", "time"}
    np.testing.assert_array_equal(field["time"], DAYS)
    scaling = Scaling.of(field, positions=True, period=PERIOD)
    assert scaling == Scaling.of(field.signal, field.mask, positions=True, times=DAYS, period=PERIOD)
    network = abp_tf.networks.linear(field.shape, latent_dim=1)
    model = Generator(network, inference=Langevin(1, 0.1), scaling=scaling)
    parts = {"signal": field.signal, "mask": field.mask, "time": DAYS}
    np.testing.assert_array_equal(model.inpaint(field), model.inpaint(parts))


def test_exports_take_times(model, export_only, tmp_path):
    export_only(model, tmp_path / "sea", "inpaint", "synthesize")
    served = tf.saved_model.load(str(tmp_path / "sea")).signatures
    inputs = {name: one.structured_input_signature[1] for name, one in served.items()}
    assert set(inputs["inpaint"]) == {"signal", "mask", "seed", "time"}
    assert set(inputs["synthesize"]) == {"seed", "time"}
    parts = {**GIVEN, "mask": np.float32(MASK), "seed": np.arange(24)}
    for rows in (slice(24), slice(3, 4)):
        part = {key: tf.constant(value[rows]) for key, value in parts.items()}
        found = served["inpaint"](**part)["signal"].numpy()
        given = {key: value[rows] for key, value in GIVEN.items()}
        expected = model.inpaint(given, seed=np.arange(24)[rows])
        assert_close(found, expected, SCALING.unit)
        np.testing.assert_array_equal(found[MASK[rows]], WHOLE[rows][MASK[rows]])
    asked = {"seed": tf.constant([4], tf.int64), "time": tf.constant([7.0], tf.float64)}
    found = served["synthesize"](**asked)
    assert_close(found["signal"].numpy(), model.synthesize(1, seed=4, time=7), SCALING.unit)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generator", "descriptor", "coopnets"])
def test_clients_send_times(name, pairs, start_server, tmp_path):
    model, _ = pairs(name)
    model.export(tmp_path / "sea" / "1")
    server = start_server("--model", f"sea={tmp_path / 'sea'}")
    with abp_tf.Client(server.address, "sea", value_range=None, batch_size=5) as client:
        expected = model.synthesize(7, seed=1, time=DAYS[:7])
        assert_close(client.synthesize(7, seed=1, time=DAYS[:7]), expected, SCALING.unit)
        assert_close(client.inpaint(GIVEN, seed=2), model.inpaint(GIVEN, seed=2), SCALING.unit)
        whole = {"signal": WHOLE, "time": DAYS}
        if name != "descriptor":
            found, expected = (one.reconstruct(whole, seed=2) for one in (client, model))
            assert_close(found, expected, SCALING.unit)
            found, expected = (one.sample_posterior(GIVEN, seed=2) for one in (client, model))
            assert_close(found.mean, expected.mean, SCALING.unit)
            latent = model.latents
            found = client.decode(latent, time=7)
            assert_close(found, model(latent, time=np.full(24, 7.0)).numpy(), SCALING.unit)
        if name != "generator":
            assert_close(client.refine(whole, seed=2), model.refine(whole, seed=2), SCALING.unit)
            np.testing.assert_allclose(client.score(whole).score, model.score(whole).score, rtol=1e-4)
        with pytest.raises(ValueError, match=r"inpaint expected .*'time'"):
            client.inpaint(DAMAGED, MASK)
        with pytest.raises(ValueError, match="finite"):
            client.inpaint({**GIVEN, "time": DAYS * np.nan})


def test_range_holds_in_all_seasons():
    bounded = scaled.descriptor(scaling=SCALING, value_range=(-50, 200_000))
    low, high = bounded.scaled_range
    times = np.linspace(0, PERIOD, 500)
    for end, value, widest in ((low, -50, np.min), (high, 200_000, np.max)):
        found = SCALING.scale(np.full((500, *SHAPE), value, np.float32), times)
        np.testing.assert_allclose(widest(found, axis=0), end, rtol=1e-3)


def test_pictures_and_curves_are_at_the_times_of_the_signals(model):
    shown = gallery.show(model, DAMAGED, MASK, time=DAYS)
    times = np.resize(DAYS, len(shown["synthesis"].signals))
    expected = SCALING.scale(model.synthesize(len(times), time=times), times)
    np.testing.assert_allclose(shown["synthesis"].signals, expected / 3, atol=1e-3)
    error = (SCALING.scale(WHOLE, DAYS) - SCALING.scale(model.reconstruct(GIVEN), DAYS))[MASK]
    curves, logs = callbacks.ErrorCurves({"train": Examples(WHOLE, MASK, time=DAYS)}, every=1), {}
    curves.set_model(model)
    curves.set_params({"epochs": 1})
    curves.on_epoch_end(0, logs)
    np.testing.assert_allclose(logs["train_error"], np.mean(error**2), rtol=1e-4)

import re
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.models import diagnostics
from abp_tf.sampling import Descent

UNIT = Langevin(8, 2**0.5, temperature=0.01**2 / 2)
GOOD = {
    "energy_gap": 0.1,
    "energy_gap_spread": 1.0,
    "drift": 0.01,
    "data_deviation": 0.5,
    "sample_deviation": 0.45,
    "saturation": 0.1,
    "score_size": 3.0,
}


def slow(*values):
    """One of several trainings, whose likes are made in a quick run of the tests too."""
    return pytest.param(*values, marks=pytest.mark.slow)


def bottom_up():
    return abp_tf.networks.image_descriptor((8, 8, 1), 8, kernel_size=3, activation="elu")


def train(digits, learning_rate=1e-3, epochs=5, callbacks=(), optimizer="Adam", **options):
    keras.utils.set_random_seed(1)
    model = Descriptor(bottom_up(), **{"langevin": UNIT, "pool": 100, **options})
    model.compile(getattr(keras.optimizers, optimizer)(learning_rate))
    history = model.fit(
        digits,
        batch_size=20,
        epochs=epochs,
        steps_per_epoch=30,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model, history.history


def cooperate(data, rates=(1e-3, 1e-3), epochs=3, batch_norm=True, **options):
    """CoopNets; `rates` are the generator's and the descriptor's."""
    keras.utils.set_random_seed(1)
    top_down = abp_tf.networks.image_generator((8, 8, 1), 4, 4, kernel_size=3, batch_norm=batch_norm)
    longer = Langevin(20, 2**0.5, temperature=0.01**2 / 2)
    descriptor = Descriptor(bottom_up(), chains="short-run", **{"langevin": longer, **options})
    model = CoopNets(Generator(top_down, langevin=Langevin(5, 0.1)), descriptor)
    generator_rate, rate = rates
    model.compile(keras.optimizers.Adam(generator_rate, beta_1=0.5), keras.optimizers.Adam(rate))
    model.fit(data, batch_size=20, epochs=epochs, steps_per_epoch=30, verbose=0)
    return model


@pytest.mark.parametrize("masked", [False, slow(True)])
def test_no_alarm_on_healthy_cooperation(digits, masked):
    mask = abp_tf.masks.pepper(len(digits), (8, 8), 0.4, seed=3)
    data = {"signal": digits, "mask": mask} if masked else digits
    # Warnings are errors here.
    assert cooperate(data, batch_norm=not masked).symptoms == {}


@pytest.mark.parametrize(
    ("symptom", "options"),
    [
        # Without BatchNorm the generator follows into one mode.
        slow("collapse", {"rates": (5e-2, 1e-3), "batch_norm": False}),
        slow("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "rates": (1e-3, 3e-3)}),
        # Neither the revision nor the generator follows the descriptor.
        slow("runaway energy", {"langevin": Langevin(1, 0.02), "rates": (1e-5, 3e-3)}),
        # Drafts sit where the energy is lowest before the descriptor has learned.
        (
            "generator too fast",
            {
                "rates": (1e-2, 1e-4),
                "reference_sigma": 0.5,
                "langevin": Langevin(20, 0.1, temperature=1e-4),
            },
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:After epoch")
def test_each_alarm_fires_within_the_first_epochs_of_cooperation_gone_wrong(digits, symptom, options):
    with pytest.warns(UserWarning, match=f"After epoch 3, {symptom}: .*"):
        assert symptom in cooperate(digits, **options).symptoms


@pytest.mark.parametrize(
    "options",
    [
        {},
        slow({"chains": "short-run", "langevin": Langevin(20, 2**0.5, temperature=0.01**2 / 2)}),
        slow({"chains": "data"}),
    ],
)
def test_no_alarm_on_a_healthy_training(digits, options):
    # Warnings are errors here.
    model, history = train(digits, **options)
    assert model.symptoms == {}
    assert history["drift"][-1] < history["drift"][0]


@pytest.mark.parametrize(
    ("symptom", "options"),
    [
        # Chains that hardly move stay where they start.
        ("collapse", {"langevin": Langevin(2, 0.01), "start_sigma": 0.01, "restart": 0.0}),
        # Steps far longer than the energy's wells.
        slow("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "learning_rate": 3e-3}),
        # f of the data rises, and nothing pulls samples after it.
        slow("runaway energy", {"langevin": Langevin(1, 0.02), "learning_rate": 3e-3}),
        # Gradients without a bound make f grow exponentially.
        slow(
            "runaway f",
            {"langevin": Langevin(1, 0.02), "optimizer": "SGD", "learning_rate": 1e-2},
        ),
        slow("saturation", {"langevin": Langevin(8, 2.0, temperature=1.0)}),
    ],
)
@pytest.mark.filterwarnings("ignore:After epoch")
def test_each_alarm_fires_within_the_first_epochs_of_a_training_gone_wrong(digits, symptom, options):
    with pytest.warns(UserWarning, match=f"After epoch [345], {symptom}: .*"):
        train(digits, **options)


@pytest.mark.parametrize(
    ("name", "change", "past", "text"),
    [
        ("collapse", {"sample_deviation": 0.09}, (0, 0), r"0\.09 against 0\.5 of the data"),
        ("stiff chain", {"drift": 0.05}, (0, 0), "step size 1.41421. Lower it or the learning rate"),
        ("runaway energy", {"energy_gap": -9.0}, (-2, -4), "from 2 by 4 to 9, .* Raise the number"),
        ("runaway f", {"score_size": 90.0}, (0, 0, 4.0, 20.0), "from 4 by 20 to 90, far beyond .* 1"),
        ("saturation", {"saturation": 0.8}, (0, 0), "80 % of the samples' entries"),
        (
            "generator too fast",
            {"revision_error": 0.01, "drift": 0.005},
            (0, 0),
            r"8 steps moves an entry by no more than 0.04 .* generator's learning rate, .*1\.41421",
        ),
    ],
)
def test_symptoms_name_the_cause_and_the_remedy(name, change, past, text):
    past = past[:2], past[2:] or (0.0, 0.0)
    assert diagnostics.symptoms(GOOD, UNIT, *past) == {}
    found = diagnostics.symptoms({**GOOD, **change}, UNIT, *past)
    assert list(found) == [name]
    assert re.search(text, found[name])


def test_a_sampler_without_a_step_size_has_symptoms_too():
    slow = {**GOOD, "revision_error": 0.01, "drift": 0.005}
    found = diagnostics.symptoms(slow, Descent(8))
    assert found["generator too fast"].endswith("(raise their number)")
    assert diagnostics.symptoms({**GOOD, "drift": 9.0}, Descent(8)) == {}


def test_a_gap_that_swings_or_settles_is_no_runaway():
    wide = {**GOOD, "energy_gap": 9.0}
    for past in ((8.0, 9.0), (9.0, 4.0), (0.0, 5.0)):
        assert diagnostics.symptoms(wide, UNIT, past) == {}
    assert diagnostics.symptoms({**wide, "energy_gap_spread": 6.0}, UNIT, (2.0, 5.0)) == {}
    # At equilibrium at temperature 1 steps may move as far as their noise.
    assert diagnostics.symptoms({**GOOD, "drift": 0.09}, Langevin(5, 0.1)) == {}


def test_a_level_of_f_that_rises_once_or_within_its_spread_is_no_runaway():
    high = {**GOOD, "score_size": 90.0}
    for sizes in ((0.0, 20.0), (4.0, 10.0), (4.0, 30.0)):
        assert diagnostics.symptoms(high, UNIT, past_sizes=sizes) == {}
    wide = {**high, "energy_gap_spread": 100.0}
    assert diagnostics.symptoms(wide, UNIT, past_sizes=(4.0, 20.0)) == {}


def report(data, samples, of_data=None, of_samples=None, norm=0.0):
    """The means of a batch of data and samples, in a graph that does not know how many there are."""
    spec = tf.TensorSpec([None, *data.shape[1:]])

    @tf.function(input_signature=[spec, spec])
    def take_in(data, samples):
        scores = [
            tf.zeros(tf.shape(part)[:1]) if given is None else given
            for part, given in ((data, of_data), (samples, of_samples))
        ]
        info = abp_tf.sampling.Info(scores[1], scores[1], norm + 0 * scores[1], 1 + 0 * scores[1])
        sampler, value_range = Langevin(2, 0.2), (-1.0, 1.0)
        return diagnostics.chain_means(0.0, data, samples, *scores, info, sampler, value_range)

    means = diagnostics.Means(diagnostics.CHAIN_MEANS)
    found = take_in(data, samples)
    means.update(found)
    return diagnostics.with_spread(means.results(found))


def test_logs_are_what_they_are_defined_to_be():
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (50, 2)).astype(np.float32)
    samples = (1.5 * rng.uniform(-1, 1, (50, 2))).astype(np.float32)
    f = [part @ np.float32([3.0, 4.0]) for part in (data, samples)]
    logs = report(data, samples, *f, norm=5.0)
    pairs = f[0][:, None] - f[1]
    expected = {
        "loss": 0.0,
        "energy_gap": pairs.mean(),
        "energy_gap_spread": pairs.std(),
        "drift": 0.02 * 5 / 2**0.5,
        "data_deviation": data.std(0).mean(),
        "sample_deviation": samples.std(0).mean(),
        "saturation": (np.abs(samples) > 1.1).mean(),
        "score_size": np.abs(f).mean(),
    }
    assert set(logs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("shape", [(6, 5, 3), (40, 1), (3, 4, 4, 1)])
def test_a_single_signal_deviates_over_its_entries(shape):
    signals = np.random.default_rng(0).uniform(-1, 1, (4, *shape)).astype(np.float32)
    one, few = signals[:1], signals[1:]
    for data, samples in ((one, 0.5 * one), (few, one), (one, few), (few, 0.5 * few)):
        logs = report(data, samples)
        for name, part in (("data", data), ("sample", samples)):
            expected = part.std(0).mean() if 1 < len(data) == len(samples) else part.std()
            np.testing.assert_allclose(logs[f"{name}_deviation"], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("chains", ["persistent", "short-run"])
def test_no_alarm_on_a_healthy_training_from_a_single_signal(digits, chains):
    # Warnings are errors here.
    model, history = train(digits[:1], chains=chains, pool=1, epochs=4)
    assert model.symptoms == {}
    np.testing.assert_allclose(history["data_deviation"], digits[0].std(), rtol=0.02)
    assert min(history["sample_deviation"]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symptom", "options"),
    [
        ("collapse", {"langevin": Langevin(2, 0.01), "start_sigma": 0.01, "restart": 0.0}),
        ("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "learning_rate": 3e-3}),
    ],
)
@pytest.mark.filterwarnings("ignore:After epoch")
def test_alarms_fire_on_a_single_signal_too(digits, symptom, options):
    with pytest.warns(UserWarning, match=f"After epoch [345], {symptom}: .*"):
        train(digits[:1], **{"pool": 1, **options})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:After epoch")
def test_a_generator_that_is_too_fast_for_a_single_signal_is_seen(digits):
    langevin = Langevin(20, 0.1, temperature=1e-4)
    with pytest.warns(UserWarning, match="After epoch 3, generator too fast: .*"):
        cooperate(
            digits[:1],
            rates=(1e-2, 1e-4),
            batch_norm=False,
            reference_sigma=0.5,
            langevin=langevin,
        )


# The alarms, with a stub of a model.


def stub(iteration=diagnostics.WARM_UP):
    return SimpleNamespace(
        iteration=keras.Variable(iteration, dtype="int64"),
        past=diagnostics.Past(),
        langevin=UNIT,
        symptoms={},
        stop_training=False,
    )


def end(alarm, epoch, **change):
    """Let an epoch pass; return what is warned of."""
    alarm.on_epoch_begin(epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alarm.on_epoch_end(epoch, {**GOOD, **change})
    return [str(each.message) for each in caught]


def alarm_of(model):
    alarm = diagnostics.SymptomAlarm()
    alarm.set_model(model)
    return alarm


def test_each_symptom_is_told_of_once_and_kept_for_callbacks():
    model = stub()
    alarm = alarm_of(model)
    assert end(alarm, 0) == []
    [text] = end(alarm, 1, sample_deviation=0.05)
    assert text.startswith("After epoch 2, collapse: ")
    assert list(model.symptoms) == ["collapse"]
    [text] = end(alarm, 2, sample_deviation=0.05, saturation=0.9)
    assert text.startswith("After epoch 3, saturation: ")
    assert list(model.symptoms) == ["collapse", "saturation"]
    assert end(alarm, 3) == []
    assert model.symptoms == {}


def test_what_grows_is_compared_with_the_last_two_epochs():
    model = stub()
    alarm = alarm_of(model)
    assert end(alarm, 0, energy_gap=2.0) == []
    assert end(alarm, 1, energy_gap=4.0) == []
    [text] = end(alarm_of(model), 2, energy_gap=9.0)  # as a resumed training has it
    assert "After epoch 3, runaway energy: " in text
    np.testing.assert_array_equal(model.past.gaps, [4.0, 9.0])
    np.testing.assert_array_equal(model.past.sizes, [3.0, 3.0])


def test_the_first_iterations_raise_no_alarm():
    model = stub(diagnostics.WARM_UP - 1)
    alarm = alarm_of(model)
    assert end(alarm, 0, sample_deviation=0.0, energy_gap=7.0) == []
    assert model.symptoms == {}
    np.testing.assert_array_equal(model.past.gaps, [0.0, 7.0])
    np.testing.assert_array_equal(model.past.sizes, [0.0, 0.0])
    model.iteration.assign(diagnostics.WARM_UP)
    assert len(end(alarm, 1, sample_deviation=0.0)) == 1


def test_training_goes_on_after_an_epoch_that_diverged():
    model = stub()
    alarm = alarm_of(model)
    alarm.on_epoch_begin(0)
    model.symptoms, model.stop_training = {diagnostics.DIVERGENCE: "for a test"}, True
    alarm.on_epoch_end(0, {})
    assert model.symptoms == {diagnostics.DIVERGENCE: "for a test"}
    assert not model.stop_training
    np.testing.assert_array_equal(model.past.gaps, [0.0, 0.0])


@pytest.mark.parametrize("inner", [False, True])
def test_the_alarm_sounds_once_and_names_a_step_size_that_is_stable(inner):
    alarm = diagnostics.StabilityAlarm()
    model = SimpleNamespace(langevin=Langevin(1, 0.4))
    alarm.set_model(SimpleNamespace(generator=model, langevin=UNIT) if inner else model)
    for logs in ({"stability": 0.99}, {}, None):
        alarm.on_epoch_end(0, logs)
    # 0.7 * 0.4 / 2: half of the stability bound, as it goes with the square.
    with pytest.warns(UserWarning, match=r"4\.00 after epoch 3.* from 0\.4 to 0\.14"):
        alarm.on_epoch_end(2, {"stability": 4.0})
    alarm.on_epoch_end(3, {"stability": 5.0})

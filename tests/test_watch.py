import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from abp_tf.chain_watch import ChainWatch

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin, watch

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


@pytest.mark.parametrize("masked", [False, True])
def test_no_alarm_on_healthy_cooperation(digits, masked):
    mask = abp_tf.masks.pepper(len(digits), (8, 8), 0.4, seed=3)
    data = {"signal": digits, "mask": mask} if masked else digits
    # Warnings are errors here.
    assert cooperate(data, batch_norm=not masked).signs == {}


@pytest.mark.parametrize(
    ("sign", "options"),
    [
        # Without BatchNorm the generator follows into one mode.
        ("collapse", {"rates": (5e-2, 1e-3), "batch_norm": False}),
        ("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "rates": (1e-3, 3e-3)}),
        # Neither the revision nor the generator follows the descriptor.
        ("runaway energy", {"langevin": Langevin(1, 0.02), "rates": (1e-5, 3e-3)}),
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
def test_each_alarm_fires_within_the_first_epochs_of_cooperation_gone_wrong(digits, sign, options):
    with pytest.warns(UserWarning, match=f"After epoch 3, {sign}: .*"):
        assert sign in cooperate(digits, **options).signs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chains": "short-run", "langevin": Langevin(20, 2**0.5, temperature=0.01**2 / 2)},
        {"chains": "data"},
    ],
)
def test_no_alarm_on_a_healthy_training(digits, options):
    # Warnings are errors here.
    model, history = train(digits, **options)
    assert model.signs == {}
    assert history["drift"][-1] < history["drift"][0]


@pytest.mark.parametrize(
    ("sign", "options"),
    [
        # Chains that hardly move stay where they start.
        ("collapse", {"langevin": Langevin(2, 0.01), "start_sigma": 0.01, "restart": 0.0}),
        # Steps far longer than the energy's wells.
        ("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "learning_rate": 3e-3}),
        # f of the data rises, and nothing pulls samples after it.
        ("runaway energy", {"langevin": Langevin(1, 0.02), "learning_rate": 3e-3}),
        # Gradients without a bound make f grow exponentially.
        (
            "runaway f",
            {"langevin": Langevin(1, 0.02), "optimizer": "SGD", "learning_rate": 1e-2},
        ),
        ("saturation", {"langevin": Langevin(8, 2.0, temperature=1.0)}),
    ],
)
@pytest.mark.filterwarnings("ignore:After epoch")
def test_each_alarm_fires_within_the_first_epochs_of_a_training_gone_wrong(digits, sign, options):
    with pytest.warns(UserWarning, match=f"After epoch [345], {sign}: .*"):
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
            "8 steps moves an entry by no more than 0.04 .* the generator is ahead of the descriptor "
            r"\(lower the generator's learning rate, .* or drafts do not and steps are too short .*"
            r"\(raise the step size, 1.41421, or the number of steps\)",
        ),
    ],
)
def test_signs_name_the_cause_and_the_remedy(name, change, past, text):
    past = past[:2], past[2:] or (0.0, 0.0)
    assert watch.signs(GOOD, UNIT, *past) == {}
    found = watch.signs({**GOOD, **change}, UNIT, *past)
    assert list(found) == [name]
    assert re.search(text, found[name])


def test_a_gap_that_swings_or_settles_is_no_runaway():
    wide = {**GOOD, "energy_gap": 9.0}
    for past in ((8.0, 9.0), (9.0, 4.0), (0.0, 5.0)):
        assert watch.signs(wide, UNIT, past) == {}
    assert watch.signs({**wide, "energy_gap_spread": 6.0}, UNIT, (2.0, 5.0)) == {}
    # At equilibrium at temperature 1 steps may move as far as their noise.
    assert watch.signs({**GOOD, "drift": 0.09}, Langevin(5, 0.1)) == {}


def test_a_level_of_f_that_rises_once_or_within_its_spread_is_no_runaway():
    high = {**GOOD, "score_size": 90.0}
    for sizes in ((0.0, 20.0), (4.0, 10.0), (4.0, 30.0)):
        assert watch.signs(high, UNIT, past_sizes=sizes) == {}
    wide = {**high, "energy_gap_spread": 100.0}
    assert watch.signs(wide, UNIT, past_sizes=(4.0, 20.0)) == {}


def test_logs_are_what_they_are_defined_to_be():
    x = keras.Input((2,))
    network = keras.Model(x, keras.layers.Dense(1, use_bias=False)(x))
    network.set_weights([np.float32([[3.0], [4.0]])])
    model = Descriptor(network, langevin=Langevin(2, 0.2), chains="data", data_noise=0.0)
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (50, 2)).astype(np.float32)
    samples = (1.5 * rng.uniform(-1, 1, (50, 2))).astype(np.float32)
    _, seen, drawn = model.contrast(data, samples)
    info = abp_tf.sampling.Info(tf.zeros(50), tf.zeros(50), tf.fill([50], 5.0), tf.ones(50))
    logs = model.watch.report(0.0, data, samples, seen, drawn, info)
    f = [part @ [3.0, 4.0] for part in (data, samples)]
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


def report(data, samples):
    """What a batch of data and samples shows, in a graph that does not know how many there are."""
    seen = ChainWatch(Langevin(2, 0.2), (-1.0, 1.0))
    spec = tf.TensorSpec([None, *data.shape[1:]])

    @tf.function(input_signature=[spec, spec])
    def take_in(data, samples):
        energies = [tf.zeros(tf.shape(part)[:1]) for part in (data, samples)]
        info = abp_tf.sampling.Info(*4 * [energies[1]])
        return seen.report(0.0, data, samples, *energies, info)

    return take_in(data, samples)


@pytest.mark.parametrize("shape", [(6, 5, 3), (40, 1), (3, 4, 4, 1)])
def test_a_single_signal_deviates_over_its_entries(shape):
    signals = np.random.default_rng(0).uniform(-1, 1, (4, *shape)).astype(np.float32)
    one, few = signals[:1], signals[1:]
    for data, samples in ((one, 0.5 * one), (few, one), (one, few), (few, 0.5 * few)):
        logs = report(data, samples)
        for name, part in (("data", data), ("sample", samples)):
            expected = part.std(0).mean() if 1 < len(data) == len(samples) else part.std()
            np.testing.assert_allclose(logs[f"{name}_deviation"], expected, rtol=1e-5)


@pytest.mark.parametrize("chains", ["persistent", "short-run"])
def test_no_alarm_on_a_healthy_training_from_a_single_signal(digits, chains):
    # Warnings are errors here.
    model, history = train(digits[:1], chains=chains, pool=1, epochs=4)
    assert model.signs == {}
    np.testing.assert_allclose(history["data_deviation"], digits[0].std(), rtol=0.02)
    assert min(history["sample_deviation"]) > 0.1


@pytest.mark.parametrize(
    ("sign", "options"),
    [
        ("collapse", {"langevin": Langevin(2, 0.01), "start_sigma": 0.01, "restart": 0.0}),
        ("stiff chain", {"langevin": Langevin(8, 12.0, temperature=1e-6), "learning_rate": 3e-3}),
    ],
)
@pytest.mark.filterwarnings("ignore:After epoch")
def test_alarms_fire_on_a_single_signal_too(digits, sign, options):
    with pytest.warns(UserWarning, match=f"After epoch [345], {sign}: .*"):
        train(digits[:1], **{"pool": 1, **options})


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


class Show(keras.callbacks.Callback):
    """Show a sign of trouble after the epochs `bad`."""

    def __init__(self, *bad):
        super().__init__()
        self.bad = bad

    def on_epoch_end(self, epoch, logs=None):
        self.model.signs = {"collapse": "for a test"} if epoch in self.bad else {}


def test_rolling_back_takes_up_the_last_good_epoch_with_a_lower_rate(digits):
    seen = []

    def look(epoch, logs):
        seen.append((model_state(roll.model), float(roll.model.optimizer.learning_rate)))

    roll = watch.RollBack(factor=0.5)
    callbacks = [Show(1, 2), roll, keras.callbacks.LambdaCallback(on_epoch_end=look)]
    with pytest.warns(UserWarning, match="Epoch [23] is taken back because of collapse; .* 0.000[52]"):
        model, _ = train(digits, epochs=4, callbacks=callbacks)
    np.testing.assert_allclose([rate for _, rate in seen], [1e-3, 5e-4, 2.5e-4, 2.5e-4])
    for state in (seen[1][0], seen[2][0]):
        for one, other in zip(state, seen[0][0], strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.abs(seen[3][0][-1] - seen[0][0][-1]).max() > 0
    assert int(model.iteration.value) == 60


def model_state(model):
    """What is taken back; how often it was goes on."""
    kept = [weight for weight in model.weights if weight is not model.past.taken_back]
    weights = [weight.numpy() for weight in kept]
    return [*weights, model.table.table.numpy()]


@pytest.mark.filterwarnings("ignore:Epoch")
def test_rolling_back_gives_up_in_the_end(digits):
    with pytest.raises(abp_tf.DivergenceError, match="rolling back 2 times in a row did not help"):
        train(digits, callbacks=[Show(0, 1, 2, 3), watch.RollBack(times=2)])


@pytest.mark.filterwarnings("ignore:Epoch")
def test_a_resumed_training_remembers_how_often_it_was_rolled_back(digits, tmp_path):
    def resume(epochs):
        backup = abp_tf.callbacks.Backup(tmp_path / "model.keras")
        callbacks = [Show(1, 2), watch.RollBack(times=1), backup]
        return train(digits, epochs=epochs, callbacks=callbacks)[0]

    assert int(resume(1).past.taken_back.value) == 0
    assert int(resume(2).past.taken_back.value) == 1
    with pytest.raises(abp_tf.DivergenceError, match="rolling back 1 times in a row did not help"):
        resume(3)


# Gradients without a bound, and chains that hardly move, make f grow exponentially.
DIVERGES = {"langevin": Langevin(1, 0.02), "optimizer": "SGD", "learning_rate": 10.0}


@pytest.mark.filterwarnings("ignore:(After e|E)poch")
def test_rolling_back_goes_on_where_a_training_diverges(digits):
    with pytest.raises(abp_tf.DivergenceError, match=r"Training diverged at iteration .*RollBack"):
        train(digits, **DIVERGES)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rate = float(self.model.optimizer.learning_rate)
            seen.append((logs, rate, int(self.model.iteration.value), model_state(self.model)))

    roll = watch.RollBack(factor=1e-2)
    text = "Epoch 1 is taken back because of divergence; .* with the learning rate 0.1"
    with pytest.warns(UserWarning, match=text):
        model, _ = train(digits, callbacks=[roll, Look()], epochs=6, **DIVERGES)
    logs, rate, iteration, state = seen[0]
    assert logs == {}
    np.testing.assert_allclose(rate, 0.1)
    assert iteration == 0
    # The first epoch began with the weights and chains that another training begins with.
    keras.utils.set_random_seed(1)
    begun = Descriptor(bottom_up(), langevin=DIVERGES["langevin"], pool=100)
    for one, other in zip(state[:8], model_state(begun)[:8], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(state[-1], begun.table.table.numpy())
    # Only epochs that were taken back lower the rate.
    kept = np.count_nonzero(np.diff([10.0, *(rate for _, rate, *_ in seen)]) == 0)
    assert len(seen) == 6
    assert int(model.iteration.value) == 30 * kept > 0
    assert all(np.isfinite(part).all() for part in model_state(model))
    # Another training is not taken back by a callback that it does not have.
    model.optimizer.learning_rate = 10.0
    with pytest.raises(abp_tf.DivergenceError, match="Training diverged"):
        model.fit(digits, batch_size=20, epochs=10, verbose=0)


@pytest.mark.filterwarnings("ignore:Epoch [12] is taken back because of divergence")
def test_rolling_back_gives_up_on_a_training_that_goes_on_diverging(digits):
    roll = watch.RollBack(factor=0.9, times=2)
    with pytest.raises(abp_tf.DivergenceError, match=r"2 times in a row did not .* divergence: energ"):
        train(digits, callbacks=[roll], **DIVERGES)


def test_rolling_back_refuses_what_it_cannot_lower(digits, make_model):
    with pytest.raises(ValueError, match=r"expected a Descriptor or CoopNets, .* received Generator"):
        make_model().fit(digits, verbose=0, callbacks=[watch.RollBack()])
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 100)
    with pytest.raises(ValueError, match=r"received a schedule\. Let a callback multiply the rate"):
        train(digits, learning_rate=rate, callbacks=[watch.RollBack()])
    with pytest.raises(ValueError, match=r"factor in \(0, 1\) and times of 1 or more, received 1"):
        watch.RollBack(factor=1)

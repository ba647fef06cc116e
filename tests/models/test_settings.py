"""Settings may be set at any time and count from the next call on; all else is fixed."""

import dataclasses
import re

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.sampling import Info, Sampler

SIGNALS = np.tanh(np.random.default_rng(0).normal(size=(40, 6))).astype(np.float32)
SEEN = np.tile(np.arange(6) % 3 > 0, (40, 1))


def dense(inputs, outputs):
    layers = [keras.layers.Dense(5, activation="elu"), keras.layers.Dense(outputs)]
    return keras.Sequential([keras.Input((inputs,)), *layers])


def state(model):
    optimizers = [variable for one, _ in model.learners() for variable in one.variables]
    return model.get_weights(), [variable.numpy() for variable in optimizers]


def restore(model, kept):
    weights, values = kept
    model.set_weights(weights)
    for optimizer, variables in model.learners():
        optimizer.build(variables)
    optimizers = [variable for one, _ in model.learners() for variable in one.variables]
    for variable, value in zip(optimizers, values, strict=True):
        variable.assign(value)


CALLS = {
    "fit": lambda model: (model.fit(SIGNALS, batch_size=10, verbose=0), model.get_weights())[1],
    "evaluate": lambda model: [model.evaluate(SIGNALS, verbose=0)],
    "predict": lambda model: [model.predict(SIGNALS, verbose=0)],
    "infer": lambda model: [model.infer(SIGNALS)],
    "inpaint": lambda model: [model.inpaint(SIGNALS, SEEN)],
    "synthesize": lambda model: [model.synthesize(5)],
}


def asked(model, kept, calls):
    """What calls give, `fit` among them, from the same state each."""
    found = {}
    for name in calls:
        restore(model, kept)
        found[name] = [np.array(part) for part in CALLS[name](model)]
    return found


def rebuilt(model):
    """A model newly built with the settings of now."""
    again = type(model).from_config(model.get_config())
    again.compile_from_config(model.get_compile_config())
    return again


@pytest.fixture(scope="module")
def settled():
    """A generator that has been fitted and asked, its state, and what it answers."""
    keras.utils.set_random_seed(1)
    inference = Langevin(6, 0.2, cool=2)
    model = Generator(dense(2, 6), sigma=0.5, langevin=Langevin(3, 0.2), inference=inference)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    model.fit(SIGNALS, batch_size=10, verbose=0)
    kept = state(model)
    return model, kept, asked(model, kept, ("fit", "evaluate", "predict", "infer"))


@pytest.mark.parametrize(
    ("setting", "value", "calls"),
    [
        ("sigma", 0.3, ("fit", "evaluate", "infer")),
        ("langevin", Langevin(2, 0.4), ("fit",)),
        ("inference", Langevin(9, 0.1), ("evaluate", "predict")),
        # By the same mechanism.
        pytest.param("expansion", 1.0, ("fit",), marks=pytest.mark.slow),
        pytest.param("preconditioning", True, ("fit",), marks=pytest.mark.slow),
        pytest.param("seed", 7, ("fit",), marks=pytest.mark.slow),
    ],
)
def test_a_setting_counts_as_if_the_model_were_built_with_it(settled, setting, value, calls):
    model, kept, before = settled
    former = getattr(model, setting)
    if setting == "sigma":  # which is one of the weights
        variance = [weight.path for weight in model.weights].index(model.noise.variance.path)
        new = np.full(6, value**2, np.float32)
        kept = [new if n == variance else w for n, w in enumerate(kept[0])], kept[1]
    if setting == "preconditioning":  # which adapts to a network that has learned nothing, for one
        iteration = [weight.path for weight in model.weights].index(model.iteration.path)
        kept = [np.int64(0) if n == iteration else w for n, w in enumerate(kept[0])], kept[1]
    try:
        setattr(model, setting, value)
        again = rebuilt(model)
        assert getattr(again, setting) == value
        expected = asked(again, kept, calls)
        found = asked(model, kept, calls)
    finally:
        setattr(model, setting, former)
    for name in calls:
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6, err_msg=name)
        pairs = zip(found[name], before[name], strict=True)
        assert max(np.abs(one - other).max(initial=0) for one, other in pairs) > 1e-4, name


def test_a_range_counts_at_once(settled):
    model, _, _ = settled
    with pytest.raises(ValueError, match=r"in \[-1, 1\]"):
        model.fit(2 * SIGNALS, verbose=0)
    model.value_range = (-2, 2)
    try:
        assert np.isfinite(model.observe(2 * SIGNALS)).all()
        assert model.observed_range == model.get_config()["value_range"] == (-2.0, 2.0)
    finally:
        model.value_range = (-1, 1)


def test_a_setting_changed_by_a_callback_counts_from_the_next_step_on(settled):
    model, kept, before = settled
    change = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "sigma", 0.2) if batch == 1 else None
    )
    try:
        restore(model, kept)
        model.fit(SIGNALS, batch_size=10, verbose=0, callbacks=[change])
        found = model.get_weights()
        restore(model, kept)
        for sigma in (0.5, 0.2):
            model.sigma = sigma
            model.fit(SIGNALS, batch_size=10, steps_per_epoch=2, verbose=0)
        expected = model.get_weights()  # σ is one of them
    finally:
        model.sigma = 0.5
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (
        max(np.abs(one - other).max() for one, other in zip(found, before["fit"], strict=True)) > 1e-4
    )


@pytest.mark.slow
def test_cooperating_models_see_the_settings_of_their_parts():
    keras.utils.set_random_seed(1)
    unit = Langevin(3, 0.5)
    generator = Generator(dense(2, 6), langevin=Langevin(2, 0.2), inference=Langevin(3, 0.2))
    model = CoopNets(generator, Descriptor(dense(6, 1), langevin=unit, chains="short-run"))
    model.compile(keras.optimizers.SGD(1e-3), keras.optimizers.SGD(1e-3))
    calls = ("fit", "synthesize", "inpaint")
    model.fit(SIGNALS, batch_size=10, verbose=0)
    kept = state(model)
    before = asked(model, kept, calls)
    for owner, setting, value in (
        (generator, "inference", Langevin(5, 0.1)),
        (model.descriptor, "langevin", Langevin(4, 0.4)),
        (model.descriptor, "data_noise", 0.2),
        (model, "latent_steps", 2),
    ):
        version = model.settings_version
        setattr(owner, setting, value)
        assert model.settings_version > version
    expected = asked(rebuilt(model), kept, calls)
    found = asked(model, kept, calls)
    for name in calls:
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6, err_msg=name)
        pairs = zip(found[name], before[name], strict=True)
        assert max(np.abs(one - other).max(initial=0) for one, other in pairs) > 1e-4, name


def test_chains_begin_anew_by_the_settings_of_now():
    options = {"pool": 7, "start_sigma": 0.5, "seed": 1}
    model = Descriptor(dense(6, 1), **options)
    first = model.table.states.numpy()
    for setting, value in (("start_sigma", 2.0), ("seed", 3), ("start_sigma", None)):
        setattr(model, setting, value)
        options[setting] = value
        model.reset_chains()
        expected = Descriptor(model.network, **options).table.states.numpy()
        np.testing.assert_array_equal(model.table.states, expected)
        assert np.abs(expected - first).max() > 0.1
    generator = Generator(dense(2, 6))
    generator.seed = 5
    generator.reset_chains(10)
    np.testing.assert_array_equal(
        generator.latents, Generator(dense(2, 6), examples=10, seed=5).latents
    )


def test_what_is_fixed_cannot_be_set(settled):
    model, _, _ = settled
    descriptor = Descriptor(dense(6, 1), chains="short-run")
    network = dense(2, 6)
    for owner, names in (
        (model, ("network", "chains", "examples", "observation", "prior")),
        (Generator(network), ("examples",)),
        (descriptor, ("network", "chains", "pool")),
        (CoopNets(Generator(network), descriptor), ("generator", "descriptor")),
        (abp_tf.baselines.VAE(network), ("network", "encoder", "sigma")),
        (abp_tf.baselines.GAN(network), ("network", "discriminator")),
    ):
        for name in names:
            before = getattr(owner, name)
            with pytest.raises(AttributeError, match=rf"{type(owner).__name__}\.{name} .*{name}="):
                setattr(owner, name, "another")
            assert getattr(owner, name) == before


def test_values_that_cannot_be_are_refused_and_change_nothing(settled):
    model, _, _ = settled
    version = model.settings_version
    for setting, value in (
        ("sigma", 0.0),
        ("sigma", "x"),
        ("langevin", None),
        ("inference", 0.1),
        ("expansion", 2),
        ("seed", 0.5),
        ("value_range", (1, 0)),
    ):
        before = getattr(model, setting)
        with pytest.raises(ValueError, match=rf"`{setting}`.*received {re.escape(repr(value))}"):
            setattr(model, setting, value)
        assert getattr(model, setting) == before
    assert model.settings_version == version


def test_a_sampler_without_a_step_size_infers_too(make_model, digits):
    @dataclasses.dataclass(frozen=True)
    class Walk(Sampler):
        def sample(self, energy, state, seeds):
            value = energy(state)
            return state + 0.1 * self.steps, Info(value, energy(state), 0 * value, 0 * value)

    model = make_model(langevin=Walk(3), inference=None)
    assert model.inference == Walk(200)
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    assert np.isfinite(model.reconstruct(digits[:2])).all()


def test_averages_of_weights_are_what_fit_ends_with_or_refused_at_once(make_model, digits):
    averaged = keras.optimizers.SGD(1e-3, use_ema=True, ema_momentum=0.5)
    model = make_model()
    model.compile(averaged)
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    for weight, average in zip(
        model.network.trainable_variables, averaged._model_variables_moving_average, strict=True
    ):
        np.testing.assert_array_equal(weight, average)
    model = make_model(encoder=True)
    model.compile(keras.optimizers.SGD(1e-3, use_ema=True))
    with pytest.raises(ValueError, match=r"2 networks that learn.*without use_ema"):
        model.fit(digits, batch_size=60, epochs=1, verbose=0)

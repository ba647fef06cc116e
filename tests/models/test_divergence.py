"""Steps that are not finite write nothing, compiled by XLA or not, and say so."""

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import CoopNets, Descriptor, DivergenceError, Generator, Langevin

SIGNALS = np.tanh(np.random.default_rng(0).normal(size=(24, 6))).astype(np.float32)
WILD = Langevin(30, 1e4)
OPTIONS = {
    "plain": {"jit_compile": False},
    "XLA": {"jit_compile": True},
    "four steps at once": {"jit_compile": False, "steps_per_execution": 4},
}


def cube(inputs, outputs):
    """A network that grows so fast that long steps leave the finite numbers."""
    start = keras.Input((inputs,))
    return keras.Model(start, keras.layers.Dense(outputs)(keras.layers.Dense(5)(start) ** 3))


def coopnets():
    descriptor = Descriptor(cube(6, 1), langevin=WILD, chains="short-run")
    return CoopNets(Generator(cube(2, 6)), descriptor)


MODELS = {
    "generator": (lambda: Generator(cube(2, 6), langevin=WILD), r"`langevin` .*step_size=10000"),
    "descriptor": (lambda: Descriptor(cube(6, 1), langevin=WILD, pool=30), r"step_size=10000"),
    "coopnets": (coopnets, r"step_size=10000.* generator's learning rate"),
}


def compiled(model, options):
    """Compile a model and put it in the middle of a training: nothing that a step writes is 0."""
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.5), **options)
    if isinstance(model, CoopNets):
        model.compile(*(keras.optimizers.SGD(1e-3, momentum=0.5) for _ in range(2)), **options)
    for optimizer, variables in model.learners():
        optimizer.build(variables)
        for momentum in optimizer.momentums:
            momentum.assign(momentum + 0.1)
    model.iteration.assign(4)
    return model


def state(model):
    """Copies of all that a step may write: weights, chains, the iteration, the optimizers."""
    optimizers = [variable for one, _ in model.learners() for variable in one.variables]
    return [np.array(part) for part in (*model.get_weights(), *optimizers)]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_chains_that_leave_the_finite_numbers_write_nothing(name, option):
    keras.utils.set_random_seed(0)
    make, remedy = MODELS[name]
    model = compiled(make(), OPTIONS[option])
    if name == "generator":
        model.reset_chains(24)
        assert np.isfinite(model.latents).all()
    before = state(model)
    data = {"signal": SIGNALS, "index": np.arange(24)}
    with pytest.raises(DivergenceError, match=rf"iteration 4: .*{remedy}"):
        model.fit(data, batch_size=6, epochs=3, verbose=0)
    fingerprint = [weight.path.endswith("fingerprint") for weight in model.weights]
    after = state(model)
    assert len(before) == len(after) > len(fingerprint)
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        assert np.isfinite(other).all()
        if number >= len(fingerprint) or not fingerprint[number]:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("option", OPTIONS)
def test_nothing_after_a_batch_that_is_not_finite_is_written(option):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(5, activation="elu"), keras.layers.Dense(6)]
    network = keras.Sequential([keras.Input((2,)), *layers])
    model = compiled(abp_tf.baselines.VAE(network, value_range=None), OPTIONS[option])
    signals = SIGNALS.copy()
    signals[13] = 1e30  # in the third of four batches; its square is beyond float32
    before = state(model)
    with pytest.raises(DivergenceError, match=r"iteration 6: .*Lower the learning rate"):
        model.fit(signals, batch_size=6, shuffle=False, verbose=0)
    assert int(model.iteration.value) == 6
    assert all(np.isfinite(part).all() for part in state(model))
    # The two batches before it were learned, the one after it was not.
    learned = [np.array(part) for part in model.trainable_variables]
    if option != "XLA":  # whose normal numbers are others
        model.set_weights(before[: len(model.get_weights())])
        compiled(model, {"run_eagerly": True})
        model.fit(signals[:12], batch_size=6, shuffle=False, verbose=0)
        for one, other in zip(learned, model.trainable_variables, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    # The next `fit` goes on.
    model.fit(SIGNALS, batch_size=6, verbose=0)
    assert int(model.iteration.value) == 10

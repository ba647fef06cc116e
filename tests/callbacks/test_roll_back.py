import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.callbacks import Backup, RollBack

DATA = np.random.default_rng(0).uniform(-1, 1, (40, 2)).astype(np.float32)


def descriptor(**options):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "elu"), keras.layers.Dense(1)])
    return Descriptor(network, langevin=Langevin(2, 0.1), **options)


def energy(rate=1e-3, **options):
    """A tiny energy with a pool of chains, compiled."""
    keras.utils.set_random_seed(1)
    model = descriptor(pool=30)
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), **options)
    return built(model)


def cooperation(rate=1e-3):
    keras.utils.set_random_seed(1)
    generator = Generator(abp_tf.networks.linear((2,), 2))
    model = CoopNets(generator, descriptor(chains="short-run"))
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), keras.optimizers.SGD(rate, momentum=0.5))
    return built(model)


def built(model):
    for optimizer, variables in model.learners():
        optimizer.build(variables)
    return model


def state(model):
    """What is taken back; how often it was, and the rates, go on."""
    kept = [weight for weight in model.weights if weight is not model.past.taken_back]
    for optimizer, _ in model.learners():
        kept += [v for v in optimizer.variables if v is not optimizer._learning_rate]
    return [np.array(each) for each in [*kept, *(table.states for table in model.tables)]]


def rates(model):
    return [float(optimizer.learning_rate) for optimizer, _ in model.learners()]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


# By hand: what `fit` would call, without a step that takes time to compile.


def learn(model, callbacks, epochs, bad=()):
    """Let epochs pass, which change everything; after the bad ones there is a symptom."""
    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
    for epoch in range(getattr(model, "_initial_epoch", None) or 0, epochs):
        for callback in callbacks:
            callback.on_epoch_begin(epoch)
        model.set_weights([part + 1 for part in model.get_weights()[:-1]] + model.get_weights()[-1:])
        for table in model.tables:
            table.put(table.states + 1.0)
        model.past.taken_back.assign_sub(1)
        for optimizer, _ in model.learners():
            for variable in optimizer.variables:
                if variable is not optimizer._learning_rate:
                    variable.assign_add(1)
        model.symptoms = {"collapse": "for a test"} if epoch in bad else {}
        for callback in callbacks:
            callback.on_epoch_end(epoch, {})


class Look(keras.callbacks.Callback):
    """Keep the logs, the rates and the state after each epoch."""

    def __init__(self):
        super().__init__()
        self.logs, self.rates, self.states = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))
        self.rates.append(rates(self.model))
        self.states.append(state(self.model))


@pytest.mark.parametrize("make", [energy, cooperation])
def test_the_last_good_epoch_is_taken_up_with_a_lower_rate(make):
    model, look = make(), Look()
    with pytest.warns(UserWarning, match=r"Epoch [23] .* collapse; .* 0\.000(5|25)"):
        learn(model, [RollBack(factor=0.5), look], 4, bad=(1, 2))
    for found, expected in zip(look.rates, (1e-3, 5e-4, 2.5e-4, 2.5e-4), strict=True):
        np.testing.assert_allclose(found, expected)
    assert len(rates(model)) == (1 if make is energy else 2)
    assert_same(look.states[1], look.states[0])
    assert_same(look.states[2], look.states[0])
    for one, other in zip(look.states[3], look.states[0], strict=True):
        assert (one != other).all()


@pytest.mark.filterwarnings("ignore:Epoch")
def test_the_start_is_good():
    model, look = energy(), Look()
    before = state(model)
    learn(model, [RollBack(), look], 1, bad=(0,))
    assert_same(look.states[0], before)


@pytest.mark.filterwarnings("ignore:Epoch")
def test_it_gives_up_in_the_end():
    with pytest.raises(abp_tf.DivergenceError, match=r"2 times .*collapse: for a test"):
        learn(energy(), [RollBack(times=2)], 4, bad=range(4))
    # An epoch that goes well begins the count anew.
    learn(energy(), [RollBack(times=2)], 5, bad=(0, 1, 3, 4))


@pytest.mark.filterwarnings("ignore:Epoch")
def test_a_resumed_training_remembers_how_often_it_was_rolled_back(tmp_path):
    def resume(epochs):
        model = energy()
        learn(model, [RollBack(times=1), Backup(tmp_path / "model.keras")], epochs, bad=(1, 2))
        return model

    assert int(resume(1).past.taken_back.value) == 0
    model = resume(2)
    assert int(model.past.taken_back.value) == 1
    np.testing.assert_allclose(rates(model), 5e-4)
    with pytest.raises(abp_tf.DivergenceError, match=r"1 times .*collapse"):
        resume(3)


def test_what_cannot_be_taken_back_is_refused(make_model):
    def begin(model):
        roll = RollBack()
        roll.set_model(model)
        roll.on_train_begin()

    with pytest.raises(ValueError, match=r"Descriptor or CoopNets, .* Generator"):
        begin(make_model())
    with pytest.raises(ValueError, match=r"schedule.*LearningRateScheduler"):
        begin(energy(keras.optimizers.schedules.CosineDecay(1e-3, 100)))
    with pytest.raises(ValueError, match=r"factor in \(0, 1\) .* 1 or more, received 1 and 4"):
        RollBack(factor=1)
    with pytest.raises(ValueError, match=r"received 0\.5 and 0"):
        RollBack(times=0)


# In `fit`.


def rewind(model):
    """Return a function that takes a model, with its optimizers, back to where it is now."""
    variables = [v for optimizer, _ in model.learners() for v in optimizer.variables]
    kept, values = model.get_weights(), [variable.numpy() for variable in variables]

    def back():
        model.set_weights(kept)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return back


class Trouble(keras.callbacks.Callback):
    """Show a symptom after the second epoch, and tell in the logs that it was the best."""

    order = -2  # before the epoch is taken back

    def on_epoch_end(self, epoch, logs=None):
        self.model.symptoms = {"collapse": "for a test"} if epoch == 1 else {}
        logs["badness"] = float(epoch != 1)


@pytest.mark.filterwarnings("ignore:Epoch 2 is rolled back because of collapse")
def test_its_place_among_the_callbacks_does_not_matter(tmp_path):
    model, saved = energy(), energy()
    back, found = rewind(model), []
    for number, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        back()
        path, look = tmp_path / f"{number}.keras", Look()
        stopping = keras.callbacks.EarlyStopping(
            "badness", mode="min", patience=2, restore_best_weights=True
        )
        callbacks = [RollBack(factor=0.1), Backup(path), stopping]
        callbacks = [Trouble(), look, *(callbacks[place] for place in order)]
        history = model.fit(DATA, batch_size=20, epochs=9, verbose=0, callbacks=callbacks)
        assert history.epoch == [0, 1, 2, 3]
        np.testing.assert_allclose(look.rates, [[1e-3], [1e-4], [1e-4], [1e-4]])
        assert_same(look.states[1], look.states[0])
        # The best epoch was taken back, and so are the weights that are restored as its own.
        weights = len(model.get_weights())
        assert_same(state(model)[: weights - 2], look.states[0][: weights - 2])
        saved.load_weights(path)
        assert_same(state(saved), state(model))
        found.append((state(model), look.states[3]))
    for finished, last in found[1:]:
        assert_same(finished, found[0][0])
        assert_same(last, found[0][1])


@pytest.mark.filterwarnings("ignore:Epoch")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_that_is_not_finite_is_taken_back(jit_compile):
    # The first step is finite, and leaves weights with which the second is not.
    model = energy(1e30, jit_compile=jit_compile)
    back, before = rewind(model), state(model)
    options = {"batch_size": 20, "verbose": 0}
    with pytest.raises(abp_tf.DivergenceError, match=r"iteration 1: .*RollBack"):
        model.fit(DATA, **options)
    assert int(model.iteration.value) == 1
    assert all(np.isfinite(part).all() for part in state(model))

    back()
    look = Look()
    with pytest.warns(UserWarning, match=r"Epoch 1 .* divergence; .* 0\.1"):
        history = model.fit(DATA, epochs=3, callbacks=[look, RollBack(factor=1e-31)], **options)
    assert history.epoch == [0, 1, 2]
    assert look.logs[0] == {}
    assert set(look.logs[1]) >= {"loss", "energy_gap", "drift"}
    np.testing.assert_allclose(look.rates, 0.1)
    numbers = [weight is model.fingerprint for weight in model.weights].index(True)
    kept = [place for place in range(len(before)) if place != numbers]
    assert_same([look.states[0][place] for place in kept], [before[place] for place in kept])
    assert int(model.iteration.value) == 4
    assert all(np.isfinite(part).all() for part in state(model))

    # One that goes on diverging is given up.
    back()
    with pytest.raises(abp_tf.DivergenceError, match=r"2 times .* divergence: "):
        model.fit(DATA, epochs=9, callbacks=[RollBack(factor=0.9, times=2)], **options)
    # Another training is not taken back by a callback that it does not have.
    back()
    with pytest.raises(abp_tf.DivergenceError, match="iteration 1"):
        model.fit(DATA, epochs=2, **options)

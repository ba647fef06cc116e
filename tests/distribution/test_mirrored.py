"""Models that learn on two devices, compared with the same ones on one."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf.baselines import GAN, VAE
from abp_tf.sampling import MALA, Langevin
from tests.small_models import baseline, coopnets, descriptor, generator, sgd, top_down

ROWS, BATCH = 23, 11  # the last batch has one row, so that one replica has none ...
MORE = 25  # ... or three, for BatchNorm


EVERYTHING = {
    "expansion": 1.0, "preconditioning": True, "learn_sigma": True, "encoder": True,
    "langevin": Langevin(3, 0.5),
}  # fmt: skip
# How to make a model, whether its data have masks, and how far weights may be apart. Biases before a
# BatchNorm have a gradient of 0, whose rounding errors Adam would make steps of.
CASES = {
    "plain, sgd": (lambda: generator(sgd, 1e-3), False, 1e-6),
    "everything": (lambda: generator(**EVERYTHING), True, 1e-4),
    "fresh, mala": (lambda: generator(chains="fresh", langevin=MALA(3, 0.1)), False, 1e-4),
    "pool": (lambda: descriptor(pool=30, restart=0.3), False, 1e-4),
    "short-run": (lambda: descriptor(chains="short-run", energy_penalty=0.1), False, 1e-4),
    "coopnets": (lambda: coopnets(True, sgd, latent_steps=2), False, 1e-4),
    "coopnets, masked": (coopnets, True, 1e-4),
    "vae": (lambda: baseline(VAE, True, sgd), True, 1e-4),
    "gan": (lambda: baseline(GAN, True), True, 1e-4),
}
QUICK = ("plain, sgd", "everything", "pool")


def learn(make, data, strategy=None, **options):
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = make()
    history = model.fit(data, batch_size=BATCH, epochs=2, verbose=0, **options).history
    return model, history


def state(model):
    optimizers = [variable for optimizer, _ in model.learners() for variable in optimizer.variables]
    parts = [variable.numpy() for variable in [*model.weights, *optimizers]]
    return [np.asarray(part) for part in [*parts, *(table.states.numpy() for table in model.tables)]]


def apart(first, second):
    pairs = zip(state(first), state(second), strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs if one.size)


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES],
)
def test_two_replicas_learn_what_one_does(case, mirrored, digits, masks_of_digits):
    make, masked, tolerance = CASES[case]
    rows = MORE if case in ("coopnets", "vae", "gan") else ROWS
    signal, mask = digits[:rows], masks_of_digits[:rows]
    data = {"signal": signal, "mask": mask} if masked else signal
    options = {"validation_data": digits[MORE : MORE + 3]}
    one, logs = learn(make, data, **options)
    two, others = learn(make, data, mirrored, **options)
    assert apart(one, two) < tolerance
    assert logs.keys() == others.keys()
    for name in logs:
        np.testing.assert_allclose(logs[name], others[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def pair(mirrored, digits):
    """A generator that has learned on two devices, with its logs."""
    return learn(generator, digits[:ROWS], mirrored)


def test_what_a_model_of_two_replicas_computes_is_what_one_computes(pair, digits, tmp_path):
    model = pair[0]
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    np.testing.assert_array_equal(again.latents, model.latents)
    assert apart(again, model) == 0
    for method in ("infer", "predict"):
        found = [getattr(one, method)(digits[:5], batch_size=2) for one in (model, again)]
        np.testing.assert_allclose(*found, atol=1e-4)
    errors = [one.evaluate(digits[:5], verbose=0, return_dict=True) for one in (model, again)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)
    np.testing.assert_allclose(model.synthesize(3), again.synthesize(3), atol=1e-5)


def test_a_step_that_is_not_finite_on_one_replica_writes_nothing(pair, digits):
    model = pair[0]
    before = state(model)
    signal = digits[:4].copy()
    signal[3] = 1e30  # a row of the second replica
    model.value_range = None
    with pytest.raises(abp_tf.DivergenceError):
        model.train_on_batch({"signal": signal, "index": np.arange(4)})
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_sums_once_more_than_its_gradients(pair, digits, monkeypatch):
    sums, reduce = [], tf.distribute.ReplicaContext.all_reduce

    def counted(context, *arguments, **options):
        sums.append(arguments)
        return reduce(context, *arguments, **options)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_reduce", counted)
    model, batch = pair[0], {"signal": tf.constant(digits[:4]), "index": tf.range(4, dtype=tf.int64)}
    step = tf.function(lambda: model.replicas.run(model.train_step, (batch,)), autograph=False)
    step.get_concrete_function()
    assert len(sums) == 2 * 2  # of two replicas


def test_callbacks_see_one_model(mirrored, digits, tmp_path):
    data = {name: digits[:5] for name in ("train", "test")}
    callbacks = [
        abp_tf.callbacks.Backup(tmp_path / "m.keras"),
        abp_tf.callbacks.ErrorCurves(data, every=1, count=3),
        abp_tf.callbacks.HistoryFile(tmp_path / "history.json"),
        keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.9 * rate),
        keras.callbacks.ReduceLROnPlateau("loss", patience=5),
    ]
    model, logs = learn(generator, digits[:ROWS], mirrored, callbacks=callbacks)
    assert {"train_error", "test_error", "loss"} <= logs.keys()
    done = int(model.iteration.numpy())
    again, logs = learn(generator, digits[:ROWS], mirrored, callbacks=callbacks[:1])
    assert logs == {}  # resumed at its end
    assert int(again.iteration.numpy()) == done
    assert apart(model, again) == 0


def test_roll_back_under_two_replicas(mirrored, digits):
    with mirrored.scope():
        model = descriptor(chains="short-run")
    model.langevin = Langevin(3, 1e12)
    options = {"batch_size": 4, "verbose": 0, "callbacks": [abp_tf.callbacks.RollBack(times=1)]}
    with pytest.raises(abp_tf.DivergenceError, match=r"Rolling back 1"):
        with pytest.warns(UserWarning, match=r"rolled back because of divergence"):
            model.fit(digits[:8], epochs=2, **options)
    assert int(model.iteration.numpy()) == 0


def test_datasets_and_few_examples(mirrored, digits):
    numbers = tf.range(3, dtype=tf.int64)
    data = tf.data.Dataset.from_tensor_slices({"signal": digits[:3], "index": numbers}).batch(1)
    models = []
    for strategy in (None, mirrored):
        keras.utils.set_random_seed(1)
        with strategy.scope() if strategy else contextlib.nullcontext():
            models.append(generator(sgd, 1e-3, examples=3))
        models[-1].fit(data, epochs=2, verbose=0)
    assert apart(*models) < 1e-6


class TestRefusals:
    def test_a_model_of_another_strategy(self, pair, mirrored, digits):
        outside = generator(chains="fresh")
        with mirrored.scope(), pytest.raises(ValueError, match=r"Generator.*MirroredStrategy"):
            outside.fit(digits[:4], verbose=0)

    def test_an_optimizer_from_outside(self, mirrored, digits):
        with mirrored.scope():
            model = abp_tf.Generator(top_down())
        model.compile(keras.optimizers.Adam())
        with pytest.raises(ValueError, match=r"optimizers.*MirroredStrategy.*adam"):
            model.fit(digits[:4], verbose=0)

    def test_xla_over_replicas(self, mirrored, digits):
        with mirrored.scope():
            model = abp_tf.Generator(top_down())
            model.compile("sgd", jit_compile=True)
        with pytest.raises(ValueError, match=r"jit_compile=False.*MirroredStrategy.*True"):
            model.fit(digits[:4], verbose=0)

    def test_averages_of_weights(self, mirrored, digits):
        with mirrored.scope():
            model = abp_tf.Generator(top_down())
            model.compile(keras.optimizers.SGD(use_ema=True))
        with pytest.raises(ValueError, match=r"use_ema.*MirroredStrategy"):
            model.fit(digits[:4], verbose=0)

    def test_a_batch_larger_than_the_pool(self, mirrored, digits):
        with mirrored.scope():
            model = descriptor(pool=5)
        with pytest.raises(ValueError, match=r"at most 5 rows.*larger pool than 5"):
            model.fit(digits[:12], batch_size=6, verbose=0)

    def test_batch_norm_on_a_replica_without_rows(self, mirrored, digits):
        with mirrored.scope():
            model = baseline(VAE, batch_norm=True)
        with pytest.raises(ValueError, match=r"BatchNorm expected at least one row.* 2 replicas"):
            model.fit(digits[:ROWS], batch_size=BATCH, verbose=0)

    def test_a_strategy_that_models_do_not_know(self):
        strategy = tf.distribute.experimental.CentralStorageStrategy(["CPU:0"])
        with strategy.scope(), pytest.raises(ValueError, match=r"received CentralStorageStrategy"):
            abp_tf.Generator(top_down())


@pytest.mark.parametrize("devices", ["OneDeviceStrategy", "MirroredStrategy"])
def test_one_device_under_a_strategy_is_no_strategy(devices, digits):
    made = getattr(tf.distribute, devices)
    strategy = made("CPU:1" if devices == "OneDeviceStrategy" else ["CPU:1"])
    one, logs = learn(generator, digits[:ROWS])
    other, others = learn(generator, digits[:ROWS], strategy)
    assert apart(one, other) == 0
    assert logs == others

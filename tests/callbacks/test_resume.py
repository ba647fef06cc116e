"""Trainings that are killed, stopped or watched by Keras's own callbacks."""

import functools
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from tests import processes

EPOCHS, BATCH = 6, 50


def images(count=230):
    return abp_tf.data.load("digits", size=8, limit=count, test_share=0.0).train


def top_down(**options):
    return abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3, **options)


def make_generator(step_size, learned_prior=False, **options):
    network = top_down()
    if learned_prior:
        energy = abp_tf.networks.latent_energy((4,), 8)
        options["prior"] = abp_tf.EnergyPrior(energy, abp_tf.Langevin(3, 0.3), learning_rate=1e-2)
    model = abp_tf.Generator(network, langevin=abp_tf.Langevin(3, step_size), seed=5, **options)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * 5, alpha=0.05)
    model.compile(optimizer=keras.optimizers.Adam(rate))
    return model


def make_descriptor(**options):
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4, kernel_size=3, activation="elu")
    unit = abp_tf.Langevin(5, 2**0.5, temperature=0.01**2 / 2)
    model = abp_tf.Descriptor(network, langevin=unit, **{"pool": 60, "restart": 0.2, **options})
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def make_coopnets(**options):
    generator = abp_tf.Generator(top_down(**options), langevin=abp_tf.Langevin(3, 0.1))
    descriptor = make_descriptor(chains="short-run")
    model = abp_tf.CoopNets(generator, descriptor, latent_steps=2, seed=5)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * 5, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate), keras.optimizers.Adam(1e-3, beta_1=0.5))
    return model


EXPANDED = {
    "expansion": 0.5, "preconditioning": True, "step_size": 0.5, "sigma": 0.5, "encoder": True,
}  # fmt: skip
# How to make the model, with what options; an energy alone and cooperation on complete images are
# killed and resumed as programs, in `test_programs_energy`.
CASES = {
    "expanded": (make_generator, EXPANDED),
    "masked": (make_generator, {**EXPANDED, "learned_prior": True, "particles": 2}),
    "paper": (make_generator, {"step_size": 0.1}),
    "pool": (make_descriptor, {}),
    "pool, rolled back": (make_descriptor, {}),
    "coopnets": (make_coopnets, {"batch_norm": True}),
    "coopnets, masked": (make_coopnets, {}),
}


def build(case):
    """A tiny model, the same in every process, and the data it learns from."""
    keras.utils.set_random_seed(7)
    make, options = CASES[case]
    data = images()
    if "masked" in case:
        data = {"signal": data, "mask": abp_tf.masks.pepper(len(data), (8, 8), 0.4, seed=3)}
    return make(**options), data


def train(case, path=None, killer=None, epochs=EPOCHS):
    model, data = build(case)
    callbacks = [] if path is None else [abp_tf.callbacks.Backup(path)]
    if killer is not None:
        callbacks.insert(0, killer)
    if "rolled back" in case:
        callbacks = [Troubled(), abp_tf.callbacks.RollBack(factor=0.3), *callbacks]
    history = model.fit(data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    return model, history


class Troubled(keras.callbacks.Callback):
    """Show a symptom of trouble after the third epoch."""

    order = -2  # before the epoch is taken back

    def on_epoch_end(self, epoch, logs=None):
        self.model.symptoms = {"collapse": "for a test"} if epoch == 2 else {}


class Killer(keras.callbacks.Callback):
    """Kill the process at the end of its batch `at`, or so many seconds into the backup that follows.

    A delay of −1 is the moment when the backup is whole, and not yet in its place.
    """

    def __init__(self, at, delay):
        super().__init__()
        self.left, self.delay = at, delay

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.delay is None and self.left == 0:
            self.kill()

    def on_epoch_end(self, epoch, logs=None):
        if self.delay is None or self.left > 0:
            return
        if self.delay < 0:
            os.replace = self.kill
        else:
            threading.Thread(target=lambda: (time.sleep(self.delay), self.kill())).start()

    def kill(self, *paths):
        os.kill(os.getpid(), signal.SIGKILL)


class Finished(NamedTuple):
    """A model that learned to the end, and its backup."""

    model: keras.Model
    backup: Path


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Return a function of a case: a training that nothing happened to."""

    @functools.cache
    def get(case):
        path = tmp_path_factory.mktemp("left-alone") / "model.keras"
        return Finished(train(case, path)[0], path)

    return get


RANDOM = np.random.default_rng(2024)


@pytest.mark.parametrize(
    ("case", "at", "delay"),
    [
        ("expanded", 15, -1.0),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("masked", int(RANDOM.integers(6, 30)), None),
                ("paper", int(RANDOM.integers(1, 6)), None),
                ("paper", 10, float(RANDOM.uniform(0.0, 0.1))),
                ("pool, rolled back", 17, None),
                ("coopnets, masked", 13, None),
            )
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Epoch 3 is rolled back")
def test_a_killed_training_ends_as_one_left_alone(
    case, at, delay, tmp_path, left_alone, assert_same_state
):
    path, log = tmp_path / "model.keras", tmp_path / "log"
    child = processes.Process(log, train_and_be_killed, case, path, at, delay)
    assert child.wait(300) == -signal.SIGKILL, log.read_text()
    if delay is None or delay < 0:
        assert len(list(tmp_path.glob(".*.part.keras"))) == (delay is not None)
    (tmp_path / ".01234567.part.keras").write_bytes(b"PK\x03\x04 torn")

    resumed, history = train(case, path)
    # A backup that was killed may be there or not; one that did not get its name is not.
    done = (at - (delay is None or delay < 0)) // 5
    assert history.epoch[-1] == EPOCHS - 1
    assert history.epoch[0] in ((done,) if delay is None or delay < 0 else (done - 1, done))
    assert_same_state(resumed, left_alone(case).model)
    assert int(resumed.iteration.value) == (25 if "rolled back" in case else 30)
    if CASES[case][1] is EXPANDED:
        assert np.abs(resumed.prior.scales[0].numpy() - np.eye(4)).max() > 0.05
        assert resumed.preconditioner.values[0].numpy().max() > 0.05
        assert int(resumed.encoder_optimizer.iterations) == 30


def train_and_be_killed(case, path, at, delay):
    train(case, path, Killer(at, delay))


def test_a_finished_training_stays_as_it_is_and_later_fits_run(tmp_path, left_alone, assert_same_state):
    model, path = left_alone("expanded")
    path = Path(shutil.copy(path, tmp_path))
    again, history = train("expanded", path)
    assert history.epoch == []
    assert_same_state(again, model)
    assert_same_state(keras.models.load_model(path), again)
    # With more epochs it goes on.
    settings = {"batch_size": BATCH, "verbose": 0}
    backup = abp_tf.callbacks.Backup(path)
    fit = again.fit(images(), epochs=EPOCHS + 1, callbacks=[backup], **settings)
    assert fit.epoch == [EPOCHS]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]
    # Where Keras went on must not stick: without a backup, epochs are counted from 0 again.
    assert again.fit(images(), epochs=2, **settings).epoch == [0, 1]
    assert int(again.iteration.value) == (EPOCHS + 3) * 5


class Stop(keras.callbacks.Callback):
    """Interrupt the training before its iteration `at`."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.iteration.value) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("case", ["paper", "pool", "coopnets"])
def test_a_backup_of_other_data_is_refused(case, tmp_path):
    backup = abp_tf.callbacks.Backup(tmp_path / "model.keras")
    model, data = build(case)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data[:60], epochs=2, verbose=0, callbacks=[backup, Stop(0)])
    content = backup.path.read_bytes()
    for other in (data[:60][::-1], data[60:120], data[:50]):
        model, _ = build(case)
        with pytest.raises(ValueError, match="other"):
            model.fit(other, epochs=2, verbose=0, callbacks=[backup])
        assert backup.path.read_bytes() == content


def test_a_backup_wants_a_keras_file():
    with pytest.raises(ValueError, match=r"ending in \.keras, received .*model\.h5"):
        abp_tf.callbacks.Backup("model.h5")


def test_keras_backup_and_restore(tmp_path, left_alone, assert_same_state):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    model, data = build("expanded")
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[backup, Stop(7)])
    model, data = build("expanded")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    history = model.fit(data, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[backup])
    assert history.epoch == [1, 2, 3, 4, 5]
    assert_same_state(model, left_alone("expanded").model)


@pytest.mark.parametrize("expansion", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_keras_early_stopping_restores_the_best_weights_with_their_chains(
    digits, make_model, expansion
):
    model, seen = make_model(expansion=expansion, learning_rate=0.02), []

    def see(epoch, logs):
        seen.append(model(model.latents).numpy())

    # Nothing improves by 10, so the first epoch is the best one.
    stopping = keras.callbacks.EarlyStopping(
        "val_reconstruction_error", mode="min", min_delta=10, patience=4, restore_best_weights=True
    )
    history = model.fit(
        digits[:90],
        batch_size=30,
        epochs=30,
        verbose=0,
        validation_data=digits[90:],
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=see), stopping],
    )
    assert len(history.epoch) == len(seen) == 5
    error = model.evaluate(digits[90:], verbose=0, return_dict=True)["reconstruction_error"]
    found = history.history["val_reconstruction_error"]
    np.testing.assert_allclose(error, found[0], rtol=0.02)
    assert abs(found[-1] - found[0]) > 0.05 * found[0]
    np.testing.assert_allclose(model(model.latents), seen[0], atol=1e-4)
    assert np.abs(seen[-1] - seen[0]).max() > 0.1


class Watched(NamedTuple):
    """A model that was trained with Keras's callbacks, its history, and where they wrote."""

    model: keras.Model
    history: dict
    path: Path


@pytest.fixture(scope="module")
def watched(digits, tmp_path_factory):
    """A generator that learned for two epochs; tests do not train it further."""
    path, (model, _) = tmp_path_factory.mktemp("watched"), build("expanded")
    model.compile(keras.optimizers.Adam(1e-2))
    callbacks = [
        keras.callbacks.ModelCheckpoint(path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(
            path / "best.weights.h5",
            monitor="val_reconstruction_error",
            mode="min",
            save_best_only=True,
            save_weights_only=True,
        ),
        keras.callbacks.TensorBoard(path / "logs", histogram_freq=1, update_freq=1),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
    ]
    data = {"x": digits, "validation_data": digits[:20]}
    fit = model.fit(**data, batch_size=60, epochs=2, verbose=0, callbacks=callbacks)
    return Watched(model, fit.history, path)


def test_keras_model_checkpoint(watched, assert_same_state):
    model, _, path = watched
    assert_same_state(keras.models.load_model(path / "2.keras"), model)
    earlier = keras.models.load_model(path / "1.keras")
    assert int(earlier.iteration.value) == 2
    earlier.load_weights(path / "best.weights.h5")
    assert_same_state(earlier, model)


def test_keras_tensorboard(watched):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = accumulator.EventAccumulator(str(watched.path / "logs" / part))
        events.Reload()
        for name in ("loss", "reconstruction_error", "latent_norm"):
            found = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors(f"epoch_{name}")]
            np.testing.assert_allclose(found, watched.history[prefix + name], rtol=1e-5)


def test_keras_learning_rate_schedules(digits, make_model, watched):
    np.testing.assert_allclose(watched.history["learning_rate"], [5e-3, 2.5e-3])
    # One without a rate left moves no weight.
    model = make_model()
    model.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([1], [1e-3, 0.0]))
    )
    before = model.network.get_weights()
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    assert np.abs(before[0] - model.network.get_weights()[0]).max() > 0
    before = model.network.get_weights()
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    for one, other in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

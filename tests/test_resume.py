"""Trainings that are killed, stopped or watched by Keras's own callbacks.

Run as a program this file is a training that kills itself: the tests start it as a child.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf

EPOCHS, BATCH = 6, 50


def images(count=230):
    return abp_tf.data.load("digits", size=8, limit=count, test_share=0.0).train


def top_down(**options):
    return abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3, **options)


def make_generator(step_size, **options):
    model = abp_tf.Generator(top_down(), langevin=abp_tf.Langevin(3, step_size), seed=5, **options)
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


EXPANDED = {"expansion": 0.5, "preconditioning": True, "step_size": 0.5, "sigma": 0.5}
# How to make the model, with what options; an energy alone and cooperation on complete images are
# killed and resumed as programs, in `test_programs_energy`.
CASES = {
    "expanded": (make_generator, EXPANDED),
    "masked": (make_generator, EXPANDED),
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
        callbacks = [Troubled(), abp_tf.watch.RollBack(factor=0.3), *callbacks]
    history = model.fit(data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    return model, history


class Troubled(keras.callbacks.Callback):
    """Show a sign of trouble after the third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.signs = {"collapse": "for a test"} if epoch == 2 else {}


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


@pytest.fixture(scope="module")
def left_alone():
    """Trainings that nothing happened to, by case."""
    found = {}

    def get(case):
        if case not in found:
            found[case] = train(case)[0]
        return found[case]

    return get


RANDOM = np.random.default_rng(2024)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "at", "delay"),
    [
        ("expanded", 15, -1.0),
        ("masked", int(RANDOM.integers(6, 30)), None),
        ("paper", int(RANDOM.integers(1, 6)), None),
        ("paper", 10, float(RANDOM.uniform(0.0, 0.1))),
        ("pool, rolled back", 17, None),
        ("coopnets, masked", 13, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Epoch 3 is rolled back")
def test_a_killed_training_ends_as_one_left_alone(
    case, at, delay, tmp_path, left_alone, assert_same_state
):
    path = tmp_path / "model.keras"
    child = subprocess.run(
        [sys.executable, __file__, case, str(path), str(at), str(delay)],
        env={**os.environ, "PYTHONPATH": str(Path(abp_tf.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    if delay is None or delay < 0:
        assert len(list(tmp_path.glob(".model-*.keras"))) == (delay is not None)
    (tmp_path / ".model-1.keras").write_bytes(b"PK\x03\x04 torn")

    resumed, history = train(case, path)
    # A backup that was killed may be there or not; one that did not get its name is not.
    done = (at - (delay is None or delay < 0)) // 5
    assert history.epoch[-1] == EPOCHS - 1
    assert history.epoch[0] in ((done,) if delay is None or delay < 0 else (done - 1, done))
    assert_same_state(resumed, left_alone(case))
    assert int(resumed.iteration.value) == (25 if "rolled back" in case else 30)
    if CASES[case][1] is EXPANDED:
        assert np.abs(resumed.prior.scale.numpy() - np.eye(4)).max() > 0.05
        assert resumed.preconditioner.values.numpy().max() > 0.05


def test_a_finished_training_stays_as_it_is_and_later_fits_run(tmp_path, left_alone, assert_same_state):
    path = tmp_path / "model.keras"
    train("expanded", path)
    again, history = train("expanded", path)
    assert history.epoch == []
    assert_same_state(again, left_alone("expanded"))
    loaded = keras.models.load_model(path)
    assert_same_state(loaded, again)
    # Where Keras went on must not stick: without a backup, epochs are counted from 0 again.
    assert again.fit(images(), batch_size=BATCH, epochs=2, verbose=0).epoch == [0, 1]
    assert int(again.iteration.value) == (EPOCHS + 2) * 5


def test_a_backup_with_more_epochs_goes_on(tmp_path):
    path = tmp_path / "model.keras"
    train("paper", path, epochs=1)
    model, history = train("paper", path, epochs=3)
    assert history.epoch == [1, 2]
    assert int(model.iteration.value) == 15
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def test_a_backup_of_other_data_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    train("paper", path, epochs=1)
    content = path.read_bytes()
    for other in (images()[::-1], images()[:200]):
        model, _ = build("paper")
        with pytest.raises(ValueError, match="other"):
            model.fit(other, epochs=2, verbose=0, callbacks=[abp_tf.callbacks.Backup(path)])
        assert path.read_bytes() == content


@pytest.mark.parametrize("case", ["pool", "coopnets"])
def test_a_backup_of_other_data_is_refused_without_chains_of_examples_too(case, tmp_path):
    backup = abp_tf.callbacks.Backup(tmp_path / "model.keras")
    model, data = build(case)
    model.fit(data[:60], batch_size=30, epochs=1, verbose=0, callbacks=[backup])
    model, data = build(case)
    with pytest.raises(ValueError, match="of a training on other data"):
        model.fit(data[60:120], batch_size=30, epochs=2, verbose=0, callbacks=[backup])


def test_a_backup_wants_a_keras_file():
    with pytest.raises(ValueError, match=r"ending in \.keras, received .*model\.h5"):
        abp_tf.callbacks.Backup("model.h5")


class Stop(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.iteration.value) == 7:
            raise KeyboardInterrupt


def test_keras_backup_and_restore(tmp_path, left_alone, assert_same_state):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    model, data = build("expanded")
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[backup, Stop()])
    model, data = build("expanded")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    history = model.fit(data, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[backup])
    assert history.epoch == [1, 2, 3, 4, 5]
    assert_same_state(model, left_alone("expanded"))


@pytest.mark.parametrize("expansion", [0.0, 0.1])
def test_keras_early_stopping(digits, make_model, expansion):
    model = make_model(expansion=expansion, learning_rate=0.02)
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
        callbacks=[stopping],
    )
    assert len(history.epoch) == 5
    error = model.evaluate(digits[90:], verbose=0, return_dict=True)["reconstruction_error"]
    found = history.history["val_reconstruction_error"]
    np.testing.assert_allclose(error, found[0], rtol=0.02)
    assert abs(found[-1] - found[0]) > 0.05 * found[0]


def test_chains_are_restored_with_the_best_weights(digits, make_model):
    model, seen = make_model(expansion=0.1, learning_rate=0.02), []

    def see(epoch, logs):
        seen.append((model.latents.copy(), model(model.latents).numpy()))

    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_end=see),
        keras.callbacks.EarlyStopping("loss", min_delta=1e6, patience=3, restore_best_weights=True),
    ]
    model.fit(digits, batch_size=30, epochs=20, verbose=0, callbacks=callbacks)
    assert len(seen) == 4
    np.testing.assert_allclose(model(model.latents), seen[0][1], atol=1e-4)


def test_keras_model_checkpoint(digits, make_model, tmp_path, assert_same_state):
    model = make_model()
    whole = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    weights = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5",
        monitor="val_reconstruction_error",
        mode="min",
        save_best_only=True,
        save_weights_only=True,
    )
    model.fit(
        digits,
        batch_size=60,
        epochs=2,
        verbose=0,
        callbacks=[whole, weights],
        validation_data=digits[:20],
    )
    assert_same_state(keras.models.load_model(tmp_path / "2.keras"), model)
    earlier = keras.models.load_model(tmp_path / "1.keras")
    assert int(earlier.iteration.value) == 2
    earlier.load_weights(tmp_path / "best.weights.h5")
    assert_same_state(earlier, model)


def test_keras_tensorboard(digits, make_model, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = make_model()
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=1)
    history = model.fit(
        digits, batch_size=60, epochs=2, verbose=0, callbacks=[board], validation_data=digits[:20]
    ).history
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = accumulator.EventAccumulator(str(tmp_path / part))
        events.Reload()
        for name in ("loss", "reconstruction_error", "latent_norm"):
            found = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors(f"epoch_{name}")]
            np.testing.assert_allclose(found, history[prefix + name], rtol=1e-5)


def test_keras_learning_rate_schedules(digits, make_model):
    model = make_model()
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = model.fit(digits, batch_size=60, epochs=2, verbose=0, callbacks=[halve]).history
    np.testing.assert_allclose(history["learning_rate"], [5e-3, 2.5e-3])
    # One without a rate left moves no weight.
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


if __name__ == "__main__":
    name, target, batch, seconds = sys.argv[1:]
    killer = Killer(int(batch), None if seconds == "None" else float(seconds))
    train(name, target, killer)

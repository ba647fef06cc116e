"""What the processes of a distributed training run: they are compared with one process."""

import contextlib
import json
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

import abp_tf
from abp_tf.baselines import GAN
from tests import small_models

EPOCHS, BATCH, ROWS = 4, 12, 45  # the last of four batches has nine rows


def data():
    signals = abp_tf.data.load("digits", size=8, limit=ROWS, test_share=0.0).train
    return {"signal": signals, "mask": abp_tf.masks.pepper(ROWS, (8, 8), 0.4, seed=3)}


def make_generator(shards=2):
    """A generator with everything that is estimated from all chains."""
    keras.utils.set_random_seed(1)
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    model = abp_tf.Generator(
        network,
        langevin=abp_tf.Langevin(3, 0.5),
        inference=abp_tf.Langevin(4, 0.5, cool=2),
        expansion=0.5,
        preconditioning=True,
        learn_sigma=True,
        encoder=True,
        shards=shards,
    )
    model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0))
    return model


def make_descriptor():
    keras.utils.set_random_seed(2)
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4, kernel_size=3)
    model = abp_tf.Descriptor(network, langevin=abp_tf.Langevin(3, 0.3), pool=30, restart=0.3, shards=2)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def learn(model, path, *callbacks):
    """Train a generator, with a backup; return its logs."""
    return model.fit(
        data(),
        batch_size=BATCH,
        epochs=EPOCHS,
        verbose=0,
        validation_data=data()["signal"][:5],
        callbacks=[abp_tf.callbacks.Backup(path), *callbacks],
    ).history


def learn_pool(model):
    return model.fit(data()["signal"], batch_size=BATCH, epochs=1, verbose=0).history


def learn_batch_normed(strategy=None):
    """Train models with BatchNorm in their networks; return their weights, by how far they may differ.

    The biases before a BatchNorm have a gradient of 0, whose rounding errors Adam makes steps of.
    """
    found = {}
    for tolerance, make in (
        (1e-4, lambda: small_models.baseline(GAN, True, shards=2)),
        (1e-6, lambda: small_models.coopnets(True, small_models.sgd, shards=2, latent_steps=2)),
    ):
        keras.utils.set_random_seed(3)
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = make()
        model.fit(data()["signal"], batch_size=BATCH, epochs=2, verbose=0)
        found[tolerance] = [variable.numpy() for variable in model.weights]
    return found


def variables(model):
    optimizers = [value for one, _ in model.learners() for value in one.variables]
    return [np.asarray(value.numpy()) for value in [*model.weights, *optimizers]]


class Killed(keras.callbacks.Callback):
    """Kill the process after some iteration, as the system does, without any warning."""

    def __init__(self, iteration):
        super().__init__()
        self.iteration = iteration

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.iteration.numpy()) == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def run(number, ports, path, kill=None):
    """Train as one of several processes; write what it has in the end to files beside the backup."""
    addresses = [f"localhost:{port}" for port in ports]
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = make_generator()
    logs = learn(model, path, *([] if kill is None else [Killed(kill)]))
    with strategy.scope():
        energy = make_descriptor()
    found = {
        "logs": logs,
        "pool": learn_pool(energy),
        "error": model.evaluate(data(), verbose=0, return_dict=True),
        "refused": refusals(strategy, model, path),
    }
    parts = variables(model) + variables(energy) + [model.latents, energy.table.states.numpy()]
    np.savez(f"{path}-{number}.npz", *parts)
    for tolerance, weights in learn_batch_normed(strategy).items():
        np.savez(f"{path}-{number}-{tolerance}.npz", *weights)
    with open(f"{path}-{number}.json", "w") as file:
        json.dump(found, file)
    sys.stdout.flush()


def refusals(strategy, model, path):
    """What several processes refuse, and in which words."""
    numbers = np.arange(4)
    wrong = {"signal": data()["signal"][:4], "mask": data()["mask"][:4], "index": numbers}

    def three_shards():
        with strategy.scope():
            make_generator(shards=3)

    calls = {
        "shards": three_shards,
        "index": lambda: model.fit(wrong, batch_size=BATCH, verbose=0),
        "save": lambda: model.save(f"{path}x.keras"),
        "dataset": lambda: model.fit(tf.data.Dataset.from_tensors(wrong), verbose=0),
        "checkpoint": lambda: learn(model, path, keras.callbacks.ModelCheckpoint("x.keras")),
    }
    return {name: _message(call) for name, call in calls.items()}


def _message(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return None

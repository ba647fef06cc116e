"""Strategies of several replicas are refused; in one process for all, whose start makes the devices."""

import subprocess
import sys

PROGRAM = """
import keras
import numpy as np
import tensorflow as tf

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import abp_tf

signals = np.zeros((8, 3), np.float32)
dense = lambda i, o: keras.Sequential([keras.Input((i,)), keras.layers.Dense(o)])

def generator():
    return abp_tf.Generator(dense(2, 3), examples=8)

def descriptor():
    return abp_tf.Descriptor(dense(3, 1), chains="short-run")

def coopnets():
    return abp_tf.CoopNets(generator(), descriptor())

def vae():
    return abp_tf.baselines.VAE(dense(2, 3))

def calls(model):
    return (lambda: model.fit(signals, verbose=0),
            lambda: model.train_on_batch({"signal": signals, "index": np.arange(8)}))

def refused(name, call):
    try:
        call()
    except ValueError as error:
        assert " of 2. " in str(error) and "replica" in str(error) and name in str(error), error
    else:
        raise AssertionError(f"{name}: not refused")

for make in (generator, descriptor, coopnets, vae):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    outside = make()
    outside.compile()
    with strategy.scope():
        inside = make()
        inside.compile()
        for call in calls(outside):
            refused(type(outside).__name__, call)
    for call in calls(inside):
        refused(type(inside).__name__, call)
    for model in (inside, outside):
        assert keras.ops.convert_to_numpy(model.iteration) == 0

# One replica is no obstacle.
with tf.distribute.OneDeviceStrategy("CPU:1").scope():
    model = abp_tf.baselines.VAE(dense(2, 3))
    model.compile()
model.fit(signals, verbose=0)
assert keras.ops.convert_to_numpy(model.iteration) == 1
print("all refused")
"""


def test_more_than_one_replica_is_refused():
    child = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    assert child.stdout.split("\n")[-2] == "all refused"

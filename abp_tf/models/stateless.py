"""Networks in training mode whose moving statistics wait until a step is known to be finite."""

from __future__ import annotations

import keras
import tensorflow as tf


def call(network: keras.Model, inputs: tf.Tensor, moving: list | None = None) -> tuple:
    """Run a network as in training, without changing it.

    Args:
        network: of any layers, BatchNorm too.
        inputs: of the network.
        moving: values of its non-trainable variables, as an earlier call returned them; None: those
            that it has.

    Returns:
        the output as float32, and the values that the non-trainable variables would take.
    """
    if moving is None:
        moving = network.non_trainable_variables
    output, moving = network.stateless_call(network.trainable_variables, moving, inputs, training=True)
    return tf.cast(output, tf.float32), moving


def assign(network: keras.Model, moving: list) -> None:
    """Give a network's non-trainable variables the values that `call` returned."""
    for variable, value in zip(network.non_trainable_variables, moving, strict=True):
        variable.assign(value)

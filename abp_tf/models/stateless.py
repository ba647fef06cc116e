"""Run networks in training mode; their moving statistics change only once a step is finite."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from abp_tf.distribution import replicas


def call(network: keras.Model, inputs: tf.Tensor, moving: list | None = None) -> tuple:
    """Return the output of a network in training mode, without changing the network.

    Args:
        network: network of any layers, also BatchNorm.
        inputs: inputs of the network.
        moving: values of its non-trainable variables, as an earlier call returned them; None uses the
            current ones.

    Returns:
        the output as float32, and the next values of the non-trainable variables.
    """
    if moving is None:
        moving = network.non_trainable_variables
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers()):
        inputs = replicas.refuse_no_rows(inputs)
    output, moving = network.stateless_call(network.trainable_variables, moving, inputs, training=True)
    return tf.cast(output, tf.float32), moving


def assign(network: keras.Model, moving: list) -> None:
    """Set a network's non-trainable variables to the values that `call` returned."""
    for variable, value in zip(network.non_trainable_variables, moving, strict=True):
        variable.assign(value)


class Lesson(NamedTuple):
    """What a network beside the generator, its encoder or its prior, learns from one batch.

    Attributes:
        network: the network that learns.
        loss: its loss in each row, `[n]`.
        gradients: gradients of this replica's share of the mean of the loss.
        moving: next values of the non-trainable variables of the network.
    """

    network: keras.Model
    loss: tf.Tensor
    gradients: list[tf.Tensor]
    moving: list

    def apply(self, optimizer: keras.optimizers.Optimizer, gradients: list[tf.Tensor]) -> None:
        """Write what was learned, given the sums of the gradients of all replicas."""
        replicas.descend(optimizer, gradients, self.network.trainable_variables)
        assign(self.network, self.moving)

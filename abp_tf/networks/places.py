"""The layer that adds a bias at each position of a frame."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="abp_tf")
class PlaceBias(keras.layers.Layer):
    """Add a bias for each position and channel, the same in all frames.

    A transposed convolution of one vector has one bias per channel. Without this layer latents would
    have to explain all differences between positions, even those of a background that never moves.

    Input and output are `[n, frames, height, width, channels]`, with any number of frames.
    """

    def build(self, input_shape):
        """Create the biases with the value 0."""
        self.bias = self.add_weight(shape=input_shape[2:], initializer="zeros", name="bias")

    def call(self, x):
        """Return `x` with the biases added."""
        return x + self.bias

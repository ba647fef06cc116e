"""A bias for each place of a frame."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="abp_tf")
class PlaceBias(keras.layers.Layer):
    """Add a bias of its own at each place and channel, the same at all times.

    A transposed convolution of one vector has one bias per channel, so all that differs from place to
    place would have to be explained by latents, even what never moves.

    Takes and returns `[n, frames, height, width, channels]`, of any number of frames.
    """

    def build(self, input_shape):
        """Make the biases, of 0."""
        self.bias = self.add_weight(shape=input_shape[2:], initializer="zeros", name="bias")

    def call(self, x):
        """Return `x` with the biases added."""
        return x + self.bias

"""Networks of single frames, for sequences of frames."""

from __future__ import annotations

import keras

from abp_tf import checks
from abp_tf.networks.checks import trainable


@keras.saving.register_keras_serializable(package="abp_tf")
class FrameByFrame(keras.layers.Layer):
    """Apply a network of single frames to each frame of sequences `[n, frames, ...]`.

    The frames of all sequences form one batch of the network. Any number of frames is possible.

    Args:
        network: a `keras.Model` of one input and one output.
    """

    def __init__(self, network: keras.Model, **kwargs):
        # The network has its own dtype policy.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.network = network
        self.built = True

    def call(self, sequences, training=None):
        """Return the outputs of the frames, `[n, frames, *output_shape]`."""
        shape = keras.ops.shape(sequences)
        outputs = self.network(keras.ops.reshape(sequences, (-1, *shape[2:])), training=training)
        return keras.ops.reshape(outputs, (-1, shape[1], *outputs.shape[1:]))

    def compute_output_shape(self, input_shape):
        """Return `(n, frames, *output_shape)`."""
        return (*input_shape[:2], *self.network.output_shape[1:])

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict):
        """Return the layer that `get_config` describes."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


def frame_by_frame(network: keras.Model, frames: int) -> keras.Model:
    """Build a network of sequences from one of single frames, which decodes each frame by itself.

    With `abp_tf.TimePrior` the frames of a sequence have correlated latents. The same weights make
    sequences of any length: `abp_tf.resized(model, (frames, ...))`.

    Args:
        network: a built network from the latents of one frame to the frame, such as
            `image_generator`; the new network uses its weights.
        frames: number of frames of a sequence.

    Returns:
        A `keras.Model` from `[n, frames, *latent_shape]` to `[n, frames, *signal_shape]`.

    Raises:
        ValueError: if the network cannot be used, or the number of frames is not positive.

    Example:
        >>> frame = abp_tf.networks.image_generator((16, 16, 3), latent_dim=5, width=4)
        >>> network = frame_by_frame(frame, frames=8)
        >>> network.input_shape, network.output_shape
        ((None, 8, 5), (None, 8, 16, 16, 3))
    """
    trainable(network, "frame_by_frame")
    frames = checks.integer("frame_by_frame", "frames", frames, 1)
    latent = keras.Input((frames, *network.input_shape[1:]), name="latents")
    return keras.Model(latent, FrameByFrame(network, name="frames")(latent), name="frame_by_frame")

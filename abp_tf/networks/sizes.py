"""Fully convolutional networks at other input sizes, with the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf.networks.autoencoder import Doubling, Misfit
from abp_tf.networks.frames import FrameByFrame
from abp_tf.networks.places import PlaceBias

# Layers that compute the same at every position, for any number of positions; a GRU along time.
_PLACELESS = (
    keras.layers.InputLayer,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.Activation,
    keras.layers.LeakyReLU,
    keras.layers.BatchNormalization,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Rescaling,
    keras.layers.GRU,
    Doubling,
    FrameByFrame,
    Misfit,
    PlaceBias,
)


def resizable(network: keras.Model) -> bool:
    """Return whether a network is fully convolutional: whether its weights fit inputs of any size.

    Args:
        network: a functional or Sequential `keras.Model`; False for others.
    """
    steps = getattr(network, "operations", ())
    return bool(steps) and len(network.input_shape) > 2 and all(map(_placeless, steps))


def _placeless(step) -> bool:
    return isinstance(step, _PLACELESS) or type(step).__name__ == "Sum"


def free(network: keras.Model) -> tuple[bool, ...]:
    """Return for each side whether a fully convolutional network can be resized along it.

    Networks of clips that are not stationary in space can change their length only: their generators
    have a bias for each position of a frame or decode frame by frame, and the last layer of their
    descriptors covers a whole frame. All others can be resized along all sides.

    Args:
        network: a `resizable` network.

    Example:
        >>> free(abp_tf.networks.video_generator((32, 64, 64, 3), width=4))
        (True, False, False)
    """
    sides = len(network.input_shape) - 2
    if any(isinstance(layer, FrameByFrame | PlaceBias) for layer in network.layers):
        return (True, *[False] * (sides - 1))
    strides = [layer.strides for layer in network.layers if layer.name == "score"]
    return tuple(step == 1 for step in strides[0]) if strides else (True,) * sides


def reach(network: keras.Model) -> tuple[int, ...]:
    """Return the receptive field of a descriptor, in entries of the signal along each side.

    It is that of an entry of the last map or, for `autoencoder_energy`, of a reconstruction. Entries
    closer to the border than half of it are scored less often than others by a network without
    padding, and next to zeros by a network with padding.

    Args:
        network: a fully convolutional descriptor network of this package.

    Example:
        >>> reach(abp_tf.networks.texture_descriptor((64, 64, 3), width=4, levels=2))
        (31, 31)
    """
    reach = [1] * (len(network.input_shape) - 2)
    for layer in reversed(network.layers):  # from f back to the signal
        if isinstance(layer, Doubling):
            reach = [side // 2 + 1 for side in reach]
        elif window := getattr(layer, "kernel_size", getattr(layer, "pool_size", None)):
            pairs = zip(reach, layer.strides, window, strict=True)
            reach = [(side - 1) * step + width for side, step, width in pairs]
    return tuple(reach)


def resized(network: keras.Model, shape: Sequence[int | None]) -> keras.Model:
    """Return the same network for inputs of another size; the weights are shared, not copied.

    Args:
        network: a fully convolutional network, such as those of `texture_generator`, `sound_generator`
            and their descriptors.
        shape: shape of one input, with the channels of the network last; a side of None is variable.

    Returns:
        A `keras.Model` from `[n, *shape]`.

    Raises:
        ValueError: if the network has a fixed size, or cannot have the shape.

    Example:
        >>> network = abp_tf.networks.texture_generator((64, 64, 3), width=4)
        >>> resized(network, (4, 4, 1)).output_shape
        (None, 128, 128, 3)
    """
    shape, former = tuple(shape), network.input_shape[1:]
    if not resizable(network):
        raise ValueError(
            f"The network {network.name!r} is made for inputs of {former} only: it has layers that "
            "are not convolutional. Use a fully convolutional network, such as "
            "`networks.texture_generator`."
        )
    sizes = [size for size in shape[:-1] if size is not None]
    if len(shape) != len(former) or shape[-1:] != former[-1:] or min(sizes, default=1) < 1:
        raise ValueError(
            f"The network {network.name!r} has inputs of {former}: expected a shape of as many axes "
            f"with {former[-1]} channels last, received {shape}."
        )
    sides = zip(former[:-1], shape[:-1], free(network), strict=True)
    if any(had != side for had, side, loose in sides if not loose):
        raise ValueError(
            f"The network {network.name!r} can change the length of clips, not the size of frames: "
            f"expected an input of {(None, *former[1:])}, received {shape}."
        )
    of = network.inputs[0]
    return keras.models.clone_model(
        network,
        input_tensors=keras.Input(shape, name=of.name, dtype=of.dtype),
        clone_function=lambda layer: layer,
    )

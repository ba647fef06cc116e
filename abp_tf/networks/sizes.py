"""Fully convolutional networks at other sizes, with the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf.networks.blocks import reach_of
from abp_tf.networks.places import PlaceBias

# Layers that do at every place the same, whatever the number of places.
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
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.Activation,
    keras.layers.LeakyReLU,
    keras.layers.BatchNormalization,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Rescaling,
    PlaceBias,
)


def resizable(network: keras.Model) -> bool:
    """Tell whether a network is fully convolutional: whether its weights do for inputs of any size.

    Args:
        network: a functional or Sequential `keras.Model`; for others the answer is no.
    """
    steps = getattr(network, "operations", None)
    return bool(steps) and len(network.input_shape) > 2 and all(map(_placeless, steps))


def _placeless(step) -> bool:
    return isinstance(step, _PLACELESS) or type(step).__name__ == "Sum"


def free(network: keras.Model) -> tuple[bool, ...]:
    """Tell along which sides a fully convolutional network can be made larger.

    Along all, but for clips that are not stationary in space: their generators have a bias for each
    place of a frame, their descriptors a last layer that sees it whole.

    Args:
        network: that is `resizable`.

    Example:
        >>> free(abp_tf.networks.video_generator((32, 64, 64, 3), width=4))
        (True, False, False)
    """
    sides = len(network.input_shape) - 2
    if any(isinstance(layer, PlaceBias) for layer in network.layers):
        return (True, *[False] * (sides - 1))
    strides = [layer.strides for layer in network.layers if layer.name == "score"]
    return tuple(step == 1 for step in strides[0]) if strides else (True,) * sides


def reach(network: keras.Model) -> tuple[int, ...]:
    """Tell how many entries of a signal, along each side, one entry of a descriptor's last map sees.

    What is nearer to the border than half of it is scored less often than the rest, by a network
    without padding, or among zeros, by one with it.

    Args:
        network: one of the descriptors' networks of this package: convolutions, one after another.

    Example:
        >>> reach(abp_tf.networks.texture_descriptor((64, 64, 3), width=4, levels=2))
        (31, 31)
    """
    layers = [step for step in network.layers if hasattr(step, "kernel_size")]
    return tuple(reach_of([each.strides for each in layers], [each.kernel_size for each in layers]))


def resized(network: keras.Model, shape: Sequence[int | None]) -> keras.Model:
    """Make the same network for inputs of another size; the weights are shared, not copied.

    Args:
        network: a fully convolutional one, such as `texture_generator`, `sound_generator` and their
            descriptors.
        shape: of one input, channels last as before; sides may be None, for any.

    Returns:
        A `keras.Model` from `[n, *shape]`.

    Raises:
        ValueError: for a network that is made for one size alone, or a shape it cannot take.

    Example:
        >>> network = abp_tf.networks.texture_generator((64, 64, 3), width=4)
        >>> resized(network, (4, 4, 1)).output_shape
        (None, 128, 128, 3)
    """
    shape, former = tuple(shape), network.input_shape[1:]
    if not resizable(network):
        raise ValueError(
            f"The network {network.name!r} is made for inputs of {former} alone: it has layers that "
            "are no convolutions. Use one that is fully convolutional, such as "
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
            f"The network {network.name!r} is of clips with a place for everything, which can be made "
            f"longer, not larger: expected an input of {(None, *former[1:])}, received {shape}."
        )
    of = network.inputs[0]
    return keras.models.clone_model(
        network,
        input_tensors=keras.Input(shape, name=of.name, dtype=of.dtype),
        clone_function=lambda layer: layer,
    )

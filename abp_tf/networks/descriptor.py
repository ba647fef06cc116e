"""ConvNets that score images."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks.autoencoder import autoencoder_energy
from abp_tf.networks.blocks import (
    DOWN,
    FLATTEN,
    activated,
    check_activation,
    check_counts,
    check_shape,
)
from abp_tf.networks.image import FORM


def image_descriptor(
    shape: Sequence[int],
    width: int | None = None,
    *,
    energy: str = "score",
    outputs: int = 1,
    kernel_size: int | None = None,
    activation: str = "silu",
    scale: float = 1.0,
    initial_deviation: float | None = None,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a ConvNet from an image to `f(x)`.

    With the energy "score", as published, it is a bottom-up network: convolutions of stride 2 double
    the channels, from `width` up to 8 times as many, at least one of them, until the smaller side is 4
    or less; a dense layer follows. With "autoencoder" it is the network of `autoencoder_energy`. There
    is no BatchNorm, so that the chain of an example does not depend on its batch.

    Args:
        shape: `(height, width, channels)`, sides of 4 or more, and any number of channels.
        width: number of channels of the finest map; by default 32, and 16 for an autoencoder, whose
            finest map has the size of the image.
        energy: "score" or "autoencoder".
        outputs: number of units of the dense layer, whose sum is `f(x)`; 100 in published CoopNets.
            For scores only, like `initial_deviation`.
        kernel_size: kernel size of the convolutions, the same along each side; by default 4, and 3 for
            an autoencoder.
        activation: activation of the convolutions: one of `networks.SMOOTH`, "relu" or "leaky_relu"
            (slope 0.2).
        scale: factor of the sum; it sets the scale of `f` relative to the reference distribution.
        initial_deviation: standard deviation of the initial weights; None for Keras's default.
        dtype: dtype policy of the convolutions, "float32" or "mixed_bfloat16"; by default Keras's
            global policy. The dense layer is always float32.

    Returns:
        A `keras.Model` from `[n, *shape]` to `[n, 1]`.

    Raises:
        ValueError: if the shape or a value is out of range, or does not belong to the energy.

    Example:
        >>> image_descriptor((28, 28, 1), width=8).output_shape
        (None, 1)
    """
    owner = "image_descriptor"
    shape = check_shape(owner, FORM, shape, 4)
    if checks.one_of("score", "autoencoder")(owner, "energy", energy) == "autoencoder":
        if (outputs, initial_deviation) != (1, None):
            raise ValueError(
                f"{owner} expected no outputs and initial_deviation with the energy 'autoencoder', "
                f"received {outputs} and {initial_deviation}. Leave them out, or use the energy "
                "'score'."
            )
        sizes = {
            "width": 16 if width is None else width,
            "kernel_size": 3 if kernel_size is None else kernel_size,
        }
        return autoencoder_energy(shape, **sizes, activation=activation, scale=scale, dtype=dtype)
    width, kernel_size = 32 if width is None else width, 4 if kernel_size is None else kernel_size
    check_activation(owner, activation)
    check_counts(owner, width=width, outputs=outputs, kernel_size=kernel_size)
    checks.positive(owner, "scale", scale)
    initializer = "glorot_uniform"
    if initial_deviation is not None:
        initializer = keras.initializers.RandomNormal(stddev=initial_deviation)

    image = keras.Input(shape, name="signal")
    x, side, level = image, min(shape[:-1]), 0
    while side > 4 or level == 0:
        x = DOWN[2](
            width * min(2**level, 8),
            kernel_size,
            2,
            padding="same",
            kernel_initializer=initializer,
            dtype=dtype,
            name=f"down{level + 1}",
        )(x)
        x = activated(activation, dtype, f"activation{level + 1}")(x)
        side, level = -(-side // 2), level + 1
    x = FLATTEN(dtype=dtype, name="features")(x)
    # f is large compared with its differences between samples and data: float32 under every policy.
    x = keras.layers.Dense(outputs, kernel_initializer=initializer, dtype="float32", name="score")(x)
    if outputs > 1:
        x = keras.ops.sum(x, axis=-1, keepdims=True)
    if scale != 1:
        x = keras.layers.Rescaling(scale, dtype="float32", name="scale")(x)
    return keras.Model(image, x, name=owner)

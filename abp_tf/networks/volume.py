"""ConvNets for volumes `[n, depth, height, width, channels]` that are aligned with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks

FORM = "(depth, height, width, channels)"


def volume_generator(
    shape: Sequence[int],
    latent_dim: int,
    width: int = 16,
    *,
    levels: int = 3,
    kernel_size: int = 4,
    activation: str = "silu",
    output: str = "tanh",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a top-down ConvNet from a latent vector to a volume.

    A dense layer to the coarsest map is followed by transposed convolutions that double its sides.

    Args:
        shape: `(depth, height, width, channels)`; sides that are no multiples of `2 ** levels` are
            cropped from the next.
        latent_dim: number of latent variables.
        width: number of channels of the finest hidden map; each coarser one has twice as many, up to 8
            times as many.
        levels: number of layers that double the sides.
        kernel_size: kernel size of the transposed convolutions, the same along each side.
        activation: activation of the hidden maps, one of `networks.SMOOTH`.
        output: last activation: "tanh" for volumes in [-1, 1], or "linear" for those that a model
            scales (`abp_tf.Scaling`).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Volumes are always float32.

    Returns:
        A `keras.Model` from `[n, latent_dim]` to `[n, *shape]`.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> volume_generator((16, 32, 32, 1), latent_dim=10, width=4).output_shape
        (None, 16, 32, 32, 1)
    """
    owner = "volume_generator"
    blocks.check_counts(owner, latent_dim=latent_dim, width=width, levels=levels)
    if kernel_size < 2:
        raise ValueError(f"{owner} expected a kernel_size of 2 or more, received {kernel_size!r}.")
    blocks.check_smooth(owner, activation)
    blocks.check_output(owner, output)
    shape = blocks.check_shape(owner, FORM, shape)
    base = blocks.covering(shape[:-1], [2**levels] * 3)
    channels = [*(width * min(2**level, 8) for level in reversed(range(levels))), shape[-1]]

    latent = keras.Input((latent_dim,), name="latent")
    x = keras.layers.Dense(
        math.prod(base) * channels[0],
        activation=activation,
        kernel_initializer=blocks.steady(latent_dim),
        dtype=dtype,
        name="coarsest",
    )(latent)
    x = keras.layers.Reshape((*base, channels[0]), dtype=dtype, name="map")(x)
    for level in range(1, levels + 1):
        x = blocks.UP[3](
            channels[level],
            kernel_size,
            2,
            padding="same",
            activation=activation if level < levels else None,
            kernel_initializer=blocks.steady(kernel_size**3 / 8 * channels[level - 1], activation),
            dtype=dtype,
            name=f"up{level}",
        )(x)
    x = blocks.cropped(x, shape[:-1], dtype)
    # Residuals are float32 under every precision policy, so the last activation is float32 too.
    x = keras.layers.Activation(output, dtype="float32", name="range")(x)
    return keras.Model(latent, x, name=owner)


def volume_descriptor(
    shape: Sequence[int],
    width: int = 16,
    *,
    levels: int = 3,
    kernel_size: int = 4,
    activation: str = "silu",
    scale: float = 1.0,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a bottom-up ConvNet from a volume to `f(x)`.

    Convolutions halve the sides; a last one covers the whole map.

    Args:
        shape: `(depth, height, width, channels)`.
        width: number of filters of the first layer; each further layer has twice as many.
        levels: number of convolutions of stride 2.
        kernel_size: kernel size of these convolutions, the same along each side.
        activation: activation of the hidden maps: one of `networks.SMOOTH`, "relu" or "leaky_relu"
            (slope 0.2).
        scale: factor of the sum; it sets the scale of `f` relative to the reference distribution.
        dtype: dtype policy of the convolutions, "float32" or "mixed_bfloat16"; by default Keras's
            global policy. The last convolution is always float32.

    Returns:
        A `keras.Model` from `[n, *shape]` to `[n, 1]`.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> volume_descriptor((16, 32, 32, 1), width=4).output_shape
        (None, 1)
    """
    owner = "volume_descriptor"
    blocks.check_counts(owner, width=width, levels=levels, kernel_size=kernel_size)
    checks.positive(owner, "scale", scale)
    shape = blocks.check_shape(owner, FORM, shape)
    last = tuple(blocks.covering(shape[:-1], [2**levels] * 3))
    return blocks.bottom_up(
        owner,
        shape,
        [width * 2**level for level in range(levels)],
        [(2, 2, 2)] * levels + [last],
        [(kernel_size,) * 3] * levels + [last],
        activation,
        scale,
        "same",
        dtype,
    )

"""ConvNets for textures, which are stationary in space, of any size."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks
from abp_tf.networks.image import FORM


def texture_generator(
    shape: Sequence[int],
    latent_channels: int = 1,
    width: int = 32,
    *,
    levels: int = 5,
    kernel_size: int = 5,
    activation: str = "silu",
    padding: str = "same",
    output: str = "tanh",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a fully convolutional generator of a texture from a grid of latents.

    It has transposed convolutions of stride 2, as in arXiv 1606.08571, section 5.1, where 7×7×1
    latents make 224×224×3 with `width=64`: 512, 256, 128, 64, 3 channels. No layer depends on the
    position, so with the same weights a larger grid gives a larger texture:
    `abp_tf.resized(model, (14, 14, 1))`. Shifting the grid by one shifts the texture by
    `2 ** levels` pixels, except near borders.

    Args:
        shape: `(height, width, channels)`; sides that are no multiples of `2 ** levels` are cropped
            from the next.
        latent_channels: number of latent variables at each position of the grid.
        width: number of channels of the finest hidden map; each coarser one has twice as many.
        levels: number of transposed convolutions.
        kernel_size: kernel size of the transposed convolutions, the same along each side.
        activation: activation of the hidden maps, one of `networks.SMOOTH`.
        padding: "same", as published: pixels near the border depend on fewer latents than others, and
            a texture fades there; or "valid": the grid of latents is wider than the texture, and all
            pixels are alike: 11×11 latents for 224×224.
        output: last activation: "tanh" for textures in [-1, 1], or "linear" for those that a model
            scales (`abp_tf.Scaling`).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Textures are always float32.

    Returns:
        A `keras.Model` from `[n, height / 2 ** levels, width / 2 ** levels, latent_channels]`, rounded
        up, with "valid" from a wider grid, to `[n, *shape]`.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> network = texture_generator((224, 224, 3), width=8)
        >>> network.input_shape, network.output_shape
        ((None, 7, 7, 1), (None, 224, 224, 3))
    """
    owner = "texture_generator"
    blocks.check_counts(
        owner, latent_channels=latent_channels, width=width, levels=levels, kernel_size=kernel_size
    )
    blocks.check_smooth(owner, activation)
    shape = blocks.check_shape(owner, FORM, shape)
    hidden = [width * 2 ** (levels - 1 - level) for level in range(1, levels)]
    return blocks.top_down(
        owner,
        shape[:-1],
        [latent_channels, *hidden, shape[-1]],
        [(2, 2)] * levels,
        [(kernel_size,) * 2] * levels,
        activation,
        padding,
        output,
        dtype,
    )


def texture_descriptor(
    shape: Sequence[int],
    width: int = 48,
    *,
    levels: int = 2,
    activation: str = "silu",
    scale: float = 1.0,
    padding: str | None = None,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a translation-invariant descriptor of a texture: `f(x)` is the sum of a map over positions.

    The convolutions are 7×7 of stride 2, 5×5 of stride 2, 3×3 and 3×3, after arXiv 1602.03264. The
    receptive field of the map is 31×31 pixels, and should be larger than the elements of the texture;
    with three levels, the third with kernels of 3×3, it is 71×71. As `f` is a sum over positions, it
    scores textures of any size with the same weights (`abp_tf.resized`): a model of crops can
    synthesise larger textures.

    Args:
        shape: `(height, width, channels)`.
        width: number of filters of the first layer; each further level has a third more.
        levels: number of strided convolutions, 2 or more. Convolutions of stride 1 follow the last of
            them, as many as there are levels.
        activation: activation of the hidden maps: one of `networks.SMOOTH`, "relu" or "leaky_relu"
            (slope 0.2).
        scale: factor of the sum; it sets the scale of `f` relative to the reference distribution.
        padding: padding of the convolutions; "valid" adds no border of zeros, and scores pixels near
            the border less often than others; "same" adds one. By default "valid", but "same" for
            textures smaller than the receptive field.
        dtype: dtype policy of the convolutions, "float32" or "mixed_bfloat16"; by default Keras's
            global policy. The last convolution is always float32.

    Returns:
        A `keras.Model` from `[n, *shape]` to `[n, 1]`.

    Raises:
        ValueError: if the shape or a value is out of range, or a texture is smaller than the receptive
            field with `padding="valid"`.

    Example:
        >>> texture_descriptor((64, 64, 1), width=8).output_shape
        (None, 1)
    """
    owner = "texture_descriptor"
    blocks.check_counts(owner, width=width)
    checks.integer(owner, "levels", levels, 2)
    checks.positive(owner, "scale", scale)
    shape = blocks.check_shape(owner, FORM, shape)
    filters = [width * 4**level // 3**level for level in range(levels)]
    return blocks.bottom_up(
        owner,
        shape,
        filters + [filters[-1]] * (levels - 1),
        [(2, 2)] * levels + [(1, 1)] * levels,
        [(7, 7), (5, 5)] + [(3, 3)] * (2 * levels - 2),
        activation,
        scale,
        padding,
        dtype,
    )

"""ConvNets for textures: stationary in space, and as large as one likes."""

from __future__ import annotations

import keras

from abp_tf import checks
from abp_tf.networks import blocks

FORM = "(height, width, channels)"


def texture_generator(
    shape: tuple[int, int, int],
    latent_channels: int = 1,
    width: int = 32,
    *,
    levels: int = 5,
    kernel_size: int = 5,
    activation: str = "silu",
    padding: str = "same",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Fully convolutional generator of a texture in [-1, 1], from a grid of latents.

    Transposed convolutions of stride 2, as in arXiv 1606.08571, section 5.1, where 7×7×1 latents
    make 224×224×3 with `width=64`: 512, 256, 128, 64, 3 channels. No layer knows where it is, so a
    larger grid gives a larger texture by the same weights: `abp_tf.resized(model, (14, 14, 1))`. A
    grid that is shifted by one gives a texture that is shifted by `2 ** levels`, away from borders.

    Args:
        shape: `(height, width, channels)`; sides are multiples of `2 ** levels`.
        latent_channels: latents at each place of the grid.
        width: channels of the finest hidden map; each coarser one has twice as many.
        levels: number of transposed convolutions.
        kernel_size: of the transposed convolutions.
        activation: of the hidden maps, one of `SMOOTH`.
        padding: "same", as published, where pixels near the border see fewer latents than others and a
            texture fades there; or "valid", where the grid of latents is wider than the texture and
            all pixels are alike: 11×11 latents for 224×224.
        dtype: policy the layers compute in, "float32" or "mixed_bfloat16"; Keras's global one by
            default. Textures are float32 in any case.

    Returns:
        A `keras.Model` from `[n, height / 2 ** levels, width / 2 ** levels, latent_channels]`, with
        "valid" from a wider grid, to `[n, *shape]`.

    Raises:
        ValueError: for a shape that cannot be reached (the nearest that can is named) or a value
            out of its range.

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
    shape = blocks.check_multiples(owner, FORM, shape, (2**levels,) * 2)
    hidden = [width * 2 ** (levels - 1 - level) for level in range(1, levels)]
    return blocks.top_down(
        owner,
        [side // 2**levels for side in shape[:-1]],
        [latent_channels, *hidden, shape[-1]],
        [(2, 2)] * levels,
        [(kernel_size,) * 2] * levels,
        activation,
        padding,
        dtype,
    )


def texture_descriptor(
    shape: tuple[int, int, int],
    width: int = 48,
    *,
    levels: int = 2,
    activation: str = "silu",
    scale: float = 1.0,
    padding: str = "valid",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Translation-invariant descriptor of a texture: `f(x)` is the sum of a map over positions.

    Convolutions 7×7 of stride 2, 5×5 of stride 2, 3×3 and 3×3, after arXiv 1602.03264; an entry of
    the map sees 31×31 pixels, which should be more than what the texture is made of: with three
    levels, of which the third has kernels of 3×3, it sees 71×71. As a sum over positions it scores
    textures of any size by the same weights (`abp_tf.resized`), so that one learned from crops draws
    whole fields.

    Args:
        shape: `(height, width, channels)`, sides of 31 or more, or of any length with
            `padding="same"`.
        width: filters of the first layer; those of each further level are a third more.
        levels: number of strided convolutions, 2 or more; all but the first are followed, after the
            last of them, by one of stride 1.
        activation: of the hidden maps: one of `SMOOTH`, "relu" or "leaky_relu" (slope 0.2).
        scale: what the sum is multiplied by; it sets the unit of `f` against the reference.
        padding: of the convolutions; "valid" sees no black border that is not there, and pixels near
            the border less often than others.
        dtype: policy the convolutions compute in, "float32" or "mixed_bfloat16"; Keras's global one
            by default. The last one is float32 in any case.

    Returns:
        A `keras.Model` from `[n, *shape]` to `[n, 1]`.

    Raises:
        ValueError: for a shape or a value out of its range.

    Example:
        >>> texture_descriptor((64, 64, 1), width=8).output_shape
        (None, 1)
    """
    owner = "texture_descriptor"
    blocks.check_counts(owner, width=width)
    checks.integer(owner, "levels", levels, 2)
    checks.positive(owner, "scale", scale)
    shape = blocks.check_multiples(owner, FORM, shape, (1, 1))
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

"""ConvNets for clips of video `[n, frames, height, width, channels]` that are stationary in time."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks

FORM = "(frames, height, width, channels)"


def video_generator(
    shape: Sequence[int],
    latent_channels: int = 20,
    width: int = 16,
    *,
    base: int | Sequence[int] | None = None,
    levels: int = 4,
    time_levels: int = 2,
    stationary: bool = False,
    activation: str = "silu",
    padding: str = "same",
    output: str = "tanh",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a fully convolutional generator of a clip from a sequence of latents.

    It has spatial-temporal transposed convolutions. Each doubles the sides of the frames, and the last
    ones double the number of frames too. With the same weights, a longer sequence of latents gives a
    longer clip: `abp_tf.resized(model, (t, 1, 1, latent_channels))`.

    A clip with a fixed scene, such as a fire in a hearth, has one vector of latents per
    `2 ** time_levels` frames. A first layer turns it into a map of the size `base`, with a bias for
    each position, so that a background that never moves needs no latents. A clip that is a texture in
    space too, such as water, has a vector of latents for each position of that map.

    Args:
        shape: `(frames, height, width, channels)`. Frames are a multiple of `2 ** time_levels`, sides
            multiples of those of `base` times `2 ** levels`, with `stationary` of `2 ** levels`; other
            clips are cropped from the next.
        latent_channels: number of latent variables at each position of the grid.
        width: number of channels of the finest hidden map; each coarser one has twice as many, up to 8
            times as many.
        base: height and width of the coarsest map, or one number for both; not used with
            `stationary`. By default 4 for each side that is a multiple of `4 * 2 ** levels`, else as
            many as cover the side.
        levels: number of layers that double the sides.
        time_levels: number of layers that double the number of frames, 0 to `levels`.
        stationary: whether the clip is stationary in space as well as in time.
        activation: activation of the hidden maps, one of `networks.SMOOTH`.
        padding: "same": the first and the last frames depend on fewer latents than others, and fade;
            or "valid": the sequence of latents is longer than the clip, and all frames are alike. With
            `stationary` it applies to all sides.
        output: last activation: "tanh" for clips in [-1, 1], or "linear" for those that a model scales
            (`abp_tf.Scaling`).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Clips are always float32.

    Returns:
        A `keras.Model` from `[n, t, h, w, latent_channels]`, where `t` is `frames / 2 ** time_levels`,
        rounded up, and larger with "valid", to `[n, *shape]`.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> network = video_generator((32, 64, 64, 3), width=4)
        >>> network.input_shape, network.output_shape
        ((None, 8, 1, 1, 20), (None, 32, 64, 64, 3))
        >>> video_generator((30, 50, 70, 3), width=4).input_shape  # base=(4, 5), for 32×64×80
        (None, 8, 1, 1, 20)
    """
    owner = "video_generator"
    blocks.check_counts(owner, latent_channels=latent_channels, width=width, levels=levels)
    shape = blocks.check_shape(owner, FORM, shape)
    if base is None:
        base = [4 if side % (4 * 2**levels) == 0 else -(-side // 2**levels) for side in shape[1:3]]
    base = (base, base) if isinstance(base, int) else tuple(base)
    if len(base) != 2 or min(base) < 1 or not 0 <= time_levels <= levels:
        raise ValueError(
            f"{owner} expected a base (height, width) and time_levels from 0 to levels={levels}, "
            f"received {base} and {time_levels}."
        )
    blocks.check_smooth(owner, activation)
    hidden = [width * min(2**level, 8) for level in range(levels - 1)][::-1]
    # The last layers double the frames, so that most layers compute few frames.
    strides = [(1 + (level >= levels - time_levels), 2, 2) for level in range(levels)]
    kernels = [(4 if stride[0] == 2 else 3, 4, 4) for stride in strides]
    if not stationary:
        hidden = [width * min(2 ** (levels - 1), 8), *hidden]
        strides, kernels = [(1, *base), *strides], [(3, *base), *kernels]
    channels = [latent_channels, *hidden, shape[-1]]
    return blocks.top_down(
        owner,
        shape[:-1],
        channels,
        strides,
        kernels,
        activation,
        padding,
        output,
        dtype,
        axes=None if stationary else 1,
        places=not stationary,
    )


def video_descriptor(
    shape: Sequence[int],
    width: int = 16,
    *,
    kernel_size: int | Sequence[int] = (3, 4, 4),
    levels: int = 3,
    stationary: bool = False,
    activation: str = "silu",
    scale: float = 1.0,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a spatial-temporal descriptor of a clip: `f(x)` is the sum of a map over time.

    Convolutions halve sides and frames. The kernel of the last layer covers whole frames, but only
    three frames of the coarsest map (Xie, Zhu, Wu, "Synthesizing Dynamic Patterns by Spatial-Temporal
    Generative ConvNet", CVPR 2017, arXiv 1606.00972). As `f` is a sum over time, it scores clips of any
    length with the same weights (`abp_tf.resized`).

    Args:
        shape: `(frames, height, width, channels)`.
        width: number of filters of the first layer; each further layer has twice as many.
        kernel_size: kernel size of the convolutions in frames, height and width, or one number for all.
        levels: number of convolutions of stride 2.
        stationary: whether the clip is stationary in space too. Then `f` is a sum over positions as
            well, and the kernel of the last layer is 3×3×3.
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
        >>> video_descriptor((8, 32, 32, 3), width=4).output_shape
        (None, 1)
    """
    owner = "video_descriptor"
    blocks.check_counts(owner, width=width, levels=levels)
    checks.positive(owner, "scale", scale)
    kernel_size = (kernel_size,) * 3 if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(kernel_size) != 3 or min(kernel_size) < 1:
        raise ValueError(
            f"{owner} expected a kernel_size (frames, height, width), received {kernel_size}."
        )
    shape = blocks.check_shape(owner, FORM, shape)
    sides = blocks.covering(shape[1:3], [2**levels] * 2)
    last = (3, 3, 3) if stationary else (3, *sides)
    return blocks.bottom_up(
        owner,
        shape,
        [width * 2**level for level in range(levels)],
        [(2, 2, 2)] * levels + [(1, 1, 1) if stationary else (1, *sides)],
        [kernel_size] * levels + [last],
        activation,
        scale,
        "same",
        dtype,
    )

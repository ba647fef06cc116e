"""ConvNets for fields: frames on a grid, with latents of whole frames and local ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks
from abp_tf.networks.activations import quick
from abp_tf.networks.image import FORM
from abp_tf.networks.local import SplitLatents


def field_generator(
    shape: tuple[int, int, int],
    global_dim: int,
    local: Sequence[tuple[int, int]] = ((14, 4),),
    width: int = 16,
    *,
    kernel_size: int = 4,
    activation: str = "elu",
    output: str = "linear",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a top-down ConvNet from global and local latents to a frame of a field.

    A dense layer makes the coarsest map of the global vector, as in `image_generator`. Transposed
    convolutions double its sides up to those of the frame, and a 3×3 convolution follows. A grid of
    local latents is appended to the channels of the map of its resolution. So the grids describe what
    is local: with `activation="linear"` the frame is a Gaussian field, and inference is optimal
    interpolation (kriging) with a covariance that is learned.

    Args:
        shape: `(height, width, channels)`, sides of 4 or more, and any number of channels.
        global_dim: number of latents of the whole frame, 1 or more.
        local: one pair `(positions, channels)` per grid: its number of positions along the longer side
            of the frame, and of latents at each position. The grid has the size of the map whose longer
            side is nearest, as a ratio. The coarsest map has 4 to 7 positions along its shorter side,
            or half of a side below 8, and each further one twice as many.
        width: number of channels of the finest map; the coarser ones have up to 8 times as many.
        kernel_size: kernel size of the transposed convolutions, the same along each side; 2 or more.
        activation: activation of all layers but the last: "elu", "silu", "gelu", "softplus", "tanh", or
            "linear".
        output: activation of the last layer: "linear", for data in any unit, or "tanh".
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Frames are always float32.

    Returns:
        A `keras.Model` from flat latents `[n, D]`, the global vector first, to `[n, *shape]`;
        `networks.latent_blocks` returns the shapes of its blocks.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> network = field_generator((100, 100, 1), 2, local=[(14, 6)], width=4)
        >>> network.input_shape, network.output_shape
        ((None, 1178), (None, 100, 100, 1))
        >>> abp_tf.networks.latent_blocks(network)
        ((2,), (14, 14, 6))
    """
    owner = "field_generator"
    *sides, channels = blocks.check_shape(owner, FORM, shape, 4)
    blocks.check_counts(owner, global_dim=global_dim, width=width)
    checks.integer(owner, "kernel_size", kernel_size, 2)
    if activation != "linear":
        blocks.check_smooth(owner, activation)
    checks.one_of("linear", "tanh")(owner, "output", output)
    levels = blocks.doublings(min(sides))
    base = blocks.covering(sides, [2**levels] * 2)
    maps = [tuple(side * 2**level for side in base) for level in range(levels + 1)]
    joins = [_nearest(owner, pair, maps) for pair in local]
    grids = [(*maps[level], pair[1]) for level, pair in zip(joins, local, strict=True)]
    filters = [width * min(2**level, 8) for level in range(levels, -1, -1)]

    split = SplitLatents(global_dim, grids, dtype=dtype, name="blocks")
    latent = keras.Input((split.size,), name="latent")
    vector, *rest = split(latent)
    dense = keras.layers.Dense(
        math.prod(base) * filters[0],
        activation=activation,
        kernel_initializer=blocks.steady(global_dim),
        dtype=dtype,
        name="dense",
    )
    x = keras.layers.Reshape((*base, filters[0]), dtype=dtype, name="base")(dense(vector))
    x = _appended(x, 0, joins, rest, dtype)
    for level, count in enumerate(filters[1:], start=1):
        x = blocks.UP[2](
            count,
            kernel_size,
            2,
            padding="same",
            activation=quick(activation, dtype),
            kernel_initializer=blocks.steady(kernel_size**2 / 4 * x.shape[-1], activation),
            dtype=dtype,
            name=f"up{level}",
        )(x)
        x = _appended(x, level, joins, rest, dtype)
    initializer = blocks.steady(9 * x.shape[-1], activation)
    x = blocks.DOWN[2](
        channels, 3, padding="same", kernel_initializer=initializer, dtype=dtype, name="signal"
    )(x)
    x = blocks.cropped(x, sides, dtype)
    # Residuals are float32 under every precision policy, so the last activation is float32 too.
    x = keras.layers.Activation(output, dtype="float32", name="range")(x)
    return keras.Model(latent, x, name=owner)


def _nearest(owner: str, pair, maps: list[tuple[int, int]]) -> int:
    """Return the number of the map whose longer side is nearest to that of a grid, as a ratio."""
    if len(pair) != 2:
        raise ValueError(
            f"{owner} expected `local` as pairs (positions, channels), such as ((14, 4),), received "
            f"{pair!r}."
        )
    for name, value in zip(("positions", "channels"), pair, strict=True):
        checks.integer(owner, f"local {name}", value, 1)
    return min(range(len(maps)), key=lambda level: abs(math.log(max(maps[level]) / pair[0])))


def _appended(x, level: int, joins: list[int], grids: list, dtype):
    """Return a map with the grids of its level appended to its channels."""
    here = [grid for join, grid in zip(joins, grids, strict=True) if join == level]
    if not here:
        return x
    return keras.layers.Concatenate(dtype=dtype, name=f"join{level}")([x, *here])

"""ConvNets that guess latents from incomplete data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np

from abp_tf import latents
from abp_tf.networks import blocks as parts

COARSEST = 4  # side at which a trunk ends where latents have no position


@keras.saving.register_keras_serializable(package="abp_tf")
class Interpolation(keras.layers.Layer):
    """Interpolate maps linearly to other sides, `[n, *sides, channels]`.

    The ends of both grids are the same, and entries are in the middle of their cells.

    Args:
        sides: sides of the new maps, as many as those of the maps received.

    Example:
        >>> Interpolation([4])(np.float32([[[0.0], [4.0]]]))[0, :, 0].numpy()
        array([0., 1., 3., 4.], dtype=float32)
    """

    def __init__(self, sides: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.sides = tuple(sides)

    def call(self, x):
        """Return the interpolated maps."""
        for axis, side in enumerate(self.sides, start=1):
            if x.shape[axis] != side:
                weights = keras.ops.convert_to_tensor(_weights(x.shape[axis], side), x.dtype)
                x = keras.ops.moveaxis(keras.ops.tensordot(x, weights, [[axis], [0]]), -1, axis)
        return x

    def compute_output_shape(self, input_shape):
        """Return `(n, *sides, channels)`."""
        return (input_shape[0], *self.sides, input_shape[-1])

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "sides": self.sides}


def _weights(before: int, after: int) -> np.ndarray:
    """Return the weights of linear interpolation along one side, float32 `[before, after]`."""
    at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(1 - np.abs(np.arange(before)[:, None] - at), 0).astype(np.float32)


def encoder(
    shape: Sequence[int],
    blocks: latents.Blocks,
    width: int = 32,
    *,
    hidden: int = 256,
    activation: str = "silu",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a network from incomplete data to means and log-variances of latents.

    Convolutions of stride 2 double the channels, from `width` up to 8 times as many, until each side is
    as short as the grid of latents along it, or 4 where latents have no position. A vector of latents
    follows from the last map by two dense layers, a grid of latents from the map of its resolution by
    two convolutions. Data without sides, such as random projections, pass two dense layers instead of
    convolutions. At first all means and log-variances are 0.

    Args:
        shape: shape of one example of the data, channels last.
        blocks: shapes of the blocks of one latent, as `networks.latent_blocks` returns them.
        width: number of channels of the finest map.
        hidden: number of units of the dense layers.
        activation: activation of all layers but the last: one of `networks.SMOOTH`, "relu" or
            "leaky_relu" (slope 0.2).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Means and log-variances are always float32.

    Returns:
        A `keras.Model` from `[n, *shape]` with twice the channels, the data, 0 where hidden, and the
        mask, to latents with twice the channels, all means first.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> encoder((28, 28, 1), ((60,),), width=8).output_shape
        (None, 120)
        >>> encoder((21, 33, 2), ((4,), (6, 9, 3)), width=8).output_shape
        (None, 332)
    """
    parts.check_activation("encoder", activation)
    parts.check_counts("encoder", width=width, hidden=hidden)
    build = _Builder(width, hidden, activation, dtype)
    view = keras.Input((*shape[:-1], 2 * shape[-1]), name="view")
    maps = build.trunk(view, [_room(view, block) for block in blocks])
    heads = [build.heads(maps, block, str(number or "")) for number, block in enumerate(blocks)]
    if len(blocks) > 1:  # latents of several blocks are flat
        heads = [[parts.FLATTEN(dtype="float32")(x) for x in pair] for pair in heads]
    means, log_variances = zip(*heads, strict=True)
    encoded = keras.layers.Concatenate(dtype="float32", name="encoded")([*means, *log_variances])
    return keras.Model(view, encoded, name="encoder")


def _room(view, block: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides at which maps end for a block: its own, and `COARSEST` along other axes."""
    grid, rank = block[:-1], len(view.shape) - 2
    if len(grid) > rank:  # latents have more sides than the data, whose places mean nothing to them
        grid = ()
    return (*grid, *[COARSEST] * (rank - len(grid)))


class _Builder:
    """Layers of one encoder, with the options that they share."""

    def __init__(self, width: int, hidden: int, activation: str, dtype):
        self.width, self.hidden = width, hidden
        self.activation, self.dtype = activation, dtype

    def activated(self, x):
        return parts.activated(self.activation, self.dtype, None)(x)

    def dense(self, x):
        return self.activated(keras.layers.Dense(self.hidden, dtype=self.dtype)(x))

    def trunk(self, x, rooms: list[tuple[int, ...]]) -> list:
        """Return maps of ever fewer positions, the first of them `x` itself."""
        least = [min(sides) for sides in zip(*rooms, strict=True)]
        if not least:
            return [self.dense(self.dense(x))]
        maps = [x]
        while True:
            sides = maps[-1].shape[1:-1]
            strides = [1 + (side > end) for side, end in zip(sides, least, strict=True)]
            if max(strides) == 1:
                return maps
            channels = self.width * min(2 ** (len(maps) - 1), 8)
            kernel = [2 + step for step in strides]
            options = {"padding": "same", "dtype": self.dtype, "name": f"down{len(maps)}"}
            convolution = parts.DOWN[len(sides)](channels, kernel, strides, **options)
            maps.append(self.activated(convolution(maps[-1])))

    def heads(self, maps: list, block: tuple[int, ...], name: str) -> list:
        """Return the means and the log-variances of a block of latents, `[n, *block]` each."""
        *grid, channels = block
        rank = len(maps[-1].shape) - 2
        ends = {"kernel_initializer": "zeros", "dtype": "float32"}
        if not grid or len(grid) > rank:
            x = self.dense(parts.FLATTEN(dtype=self.dtype)(maps[-1]))
            found = [
                keras.layers.Dense(math.prod(block), name=f"{part}{name}", **ends)(x)
                for part in ("mean", "log_variance")
            ]
            return [keras.layers.Reshape(block, dtype="float32")(x) for x in found] if grid else found
        # The coarsest map that resolves the grid.
        fine = [x for x in maps if all(a >= b for a, b in zip(x.shape[1:], grid, strict=False))]
        x = (fine or maps)[-1 if fine else 0]
        if len(grid) < rank:
            x = keras.layers.Reshape((*x.shape[1 : 1 + len(grid)], -1), dtype=self.dtype)(x)
        x = Interpolation(grid, dtype=self.dtype)(x)
        convolution = parts.DOWN[len(grid)]
        x = self.activated(convolution(4 * self.width, 3, padding="same", dtype=self.dtype)(x))
        return [
            convolution(channels, 1, name=f"{part}{name}", **ends)(x)
            for part in ("mean", "log_variance")
        ]

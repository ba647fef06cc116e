"""Energies of autoencoders: ConvNets that score a signal by its distance from a reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks
from abp_tf.networks.blocks import DOWN, FLATTEN, POOL


@keras.saving.register_keras_serializable(package="abp_tf")
class Misfit(keras.layers.Layer):
    """Compute `f = −½ ‖a x − y‖²` of signals `x` and reconstructions `y`.

    Args:
        gain: first value of the factor `a`, which is learned. Below 1, so that
            a step along the gradient of `f` shrinks signals only a little before anything is learned.

    Example:
        >>> layer = Misfit(gain=0.5)
        >>> layer([tf.ones([1, 2, 1]), tf.zeros([1, 2, 1])]).numpy().tolist()
        [[-0.25]]
    """

    def __init__(self, gain: float = 0.3, **kwargs):
        # f is large compared with its differences between samples and data: float32 in every policy.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.first = gain

    def build(self, input_shape):
        """Create the factor."""
        first = keras.initializers.Constant(self.first)
        self.gain = self.add_weight(name="gain", shape=(), initializer=first)

    def call(self, inputs):
        """Return `f`, float32 `[n, 1]`, of a pair of tensors `[n, *shape]`."""
        signal, reconstruction = inputs
        error = self.gain * signal - reconstruction
        return -0.5 * keras.ops.sum(error**2, axis=tuple(range(1, len(error.shape))))[:, None]

    def compute_output_shape(self, input_shape):
        """Return `(n, 1)`."""
        return (input_shape[0][0], 1)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "gain": self.first}


@keras.saving.register_keras_serializable(package="abp_tf")
class Doubling(keras.layers.Layer):
    """Repeat each entry of maps twice along each side, up to the sides of maps of that resolution.

    Example:
        >>> Doubling()([tf.constant([[[1.0], [2.0]]]), tf.zeros([1, 3, 1])])[0, :, 0].numpy()
        array([1., 1., 2.], dtype=float32)
    """

    def call(self, inputs):
        """Return maps `[n, *sides, channels]` from a pair: maps, and maps of the sides wanted."""
        x, like = inputs
        sides = keras.ops.shape(like)[1:-1]
        for axis in range(1, len(sides) + 1):
            x = keras.ops.repeat(x, 2, axis=axis)
        return x[(slice(None), *map(slice, sides))]

    def compute_output_shape(self, input_shape):
        """Return `(n, *sides, channels)`."""
        doubled, like = input_shape
        return (*like[:-1], doubled[-1])


def autoencoder_energy(
    shape: Sequence[int],
    width: int = 16,
    *,
    levels: int | None = None,
    hidden: int = 128,
    kernel_size: int = 3,
    activation: str = "leaky_relu",
    scale: float = 1.0,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a ConvNet `f(x) = −½ scale ‖a x − D(x)‖²` with an autoencoder `D` and a learned factor `a`.

    A descriptor encodes and decodes signals at the minima of its energy ("A theory of generative
    ConvNet", arXiv 1602.03264, section 5); this network does so everywhere. Learned by maximum
    likelihood, it is the model of "Autoencoding under normalization constraints" (arXiv 2105.05735),
    with connections from each map to that of its size on the way back, so that details need not pass
    the coarsest one.

    Maps are halved by averages and doubled by repetition, and no convolution has a stride. Channels
    double with each level, up to 8 times as many. Two dense layers of the coarsest map make `f` depend
    on positions; without them `f` is a sum over positions that scores signals of any size
    (`abp_tf.resized`).

    Args:
        shape: shape of one signal: one to three sides of 4 or more, channels last.
        width: number of channels of the finest map.
        levels: number of halvings; by default until the shortest side is 7 or less.
        hidden: number of units between the two dense layers; 0 for no dense layers.
        kernel_size: kernel size of the convolutions, the same along each side.
        activation: activation of all layers but the last: one of `networks.SMOOTH`, "relu" or
            "leaky_relu" (slope 0.2).
        scale: factor of `f`; it sets the scale of `f` relative to the reference distribution.
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. The reconstruction and `f` are always float32.

    Returns:
        A `keras.Model` from `[n, *shape]` to `[n, 1]`.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> autoencoder_energy((28, 28, 1), width=4).output_shape
        (None, 1)
        >>> abp_tf.networks.resizable(autoencoder_energy((64, 64, 3), width=4, levels=4, hidden=0))
        True
    """
    owner = "autoencoder_energy"
    rank = min(max(len(tuple(shape)) - 1, 1), 3)
    shape = blocks.check_shape(owner, f"({'side, ' * rank}channels)", shape, 4)
    blocks.check_activation(owner, activation)
    blocks.check_counts(owner, width=width, kernel_size=kernel_size)
    checks.integer(owner, "hidden", hidden, 0)
    checks.positive(owner, "scale", scale)
    levels = blocks.doublings(min(shape[:-1])) if levels is None else levels
    checks.integer(owner, "levels", levels, 1)
    build = _Builder(rank, kernel_size, activation, dtype)

    signal = keras.Input(shape, name="signal")
    x, maps = signal, []
    for level in range(levels + 1):
        if level:
            x = build.halved(x, f"halved{level}")
        x = build.activated(build.convolved(x, width * min(2**level, 8), f"down{level}"))
        maps.append(x)
    if hidden:
        x = build.activated(build.added(build.dense(x, hidden), maps[-1], "together"))
    for level in range(levels - 1, -1, -1):
        skip = maps[level]
        x = build.doubled(build.convolved(x, skip.shape[-1], f"up{level}"), skip, f"doubled{level}")
        x = build.activated(build.added(x, skip, f"sum{level}"))
    # Small, so that first reconstructions hardly change a signal.
    small = keras.initializers.RandomNormal(stddev=0.02)
    options = {"padding": "same", "kernel_initializer": small, "dtype": "float32"}
    layer = DOWN[rank](shape[-1], kernel_size, **options, name="reconstruction")
    x = Misfit(name="misfit")([signal, layer(x)])
    if scale != 1:
        x = keras.layers.Rescaling(scale, dtype="float32", name="scale")(x)
    return keras.Model(signal, x, name=owner)


class _Builder:
    """Layers of one network, with the options that they share."""

    def __init__(self, rank: int, kernel_size: int, activation: str, dtype):
        self.rank, self.kernel_size, self.activation, self.dtype = rank, kernel_size, activation, dtype

    def convolved(self, x, channels: int, name: str):
        options = {"padding": "same", "dtype": self.dtype, "name": name}
        return DOWN[self.rank](channels, self.kernel_size, **options)(x)

    def activated(self, x):
        return blocks.activated(self.activation, self.dtype, None)(x)

    def halved(self, x, name: str):
        return POOL[self.rank](2, padding="same", dtype=self.dtype, name=name)(x)

    def doubled(self, x, like, name: str):
        return Doubling(dtype=self.dtype, name=name)([x, like])

    def added(self, x, y, name: str):
        return keras.layers.Add(dtype=self.dtype, name=name)([x, y])

    def dense(self, x, hidden: int):
        """Return what a hidden layer makes of a map, of the shape of the map."""
        shape, dtype = x.shape[1:], self.dtype
        flat = FLATTEN(dtype=dtype, name="features")(self.halved(x, "halved"))
        y = self.activated(keras.layers.Dense(hidden, dtype=dtype, name="hidden")(flat))
        y = keras.layers.Dense(math.prod(shape), dtype=dtype, name="dense")(y)
        return keras.layers.Reshape(shape, dtype=dtype, name="map")(y)

"""The network of a learned prior of latents."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks as parts


def latent_energy(
    latent_shape: Sequence[int],
    hidden: int = 200,
    *,
    layers: int = 2,
    activation: str = "silu",
    window: int | None = None,
) -> keras.Model:
    """Build a network `f` of latents, for `EnergyPrior`; it is 0 everywhere at first.

    With a `window`, `f` is a sum over all windows of neighbouring positions of a grid. It then knows
    how neighbours go together and nothing of where they are, learns from a single signal with many
    positions, and fits grids of other sizes (`abp_tf.resized`).

    Args:
        latent_shape: shape of one latent.
        hidden: number of units of each dense layer.
        layers: number of dense layers before the last one.
        activation: activation: one of `networks.SMOOTH`, "relu" or "leaky_relu" (slope 0.2).
        window: number of positions of a window along each side of a grid, at least 1; along a side
            with fewer all of them. None for one window of all latents.

    Returns:
        A `keras.Model` from latents `[n, *latent_shape]` to `[n, 1]`, float32.

    Raises:
        ValueError: if a value is out of range, or there is a window but no grid.

    Example:
        >>> latent_energy((60,)).output_shape
        (None, 1)
        >>> abp_tf.networks.resizable(latent_energy((8, 8, 3), window=2))
        True
    """
    parts.check_activation("latent_energy", activation)
    parts.check_counts("latent_energy", hidden=hidden, layers=layers)
    if window is not None:
        checks.integer("latent_energy", "window", window, 1)
        return _windowed(tuple(latent_shape), [hidden] * layers, activation, window)
    latent = keras.Input(tuple(latent_shape), name="latent")
    x = keras.layers.Flatten(dtype="float32")(latent)
    for _ in range(layers):
        x = keras.layers.Dense(hidden, dtype="float32")(x)
        x = parts.activated(activation, "float32", None)(x)
    last = keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False, dtype="float32")
    return keras.Model(latent, last(x), name="latent_energy")


def _windowed(shape: tuple[int, ...], units: list[int], activation: str, window: int) -> keras.Model:
    if len(shape) < 2:
        raise ValueError(
            "latent_energy expected a grid of latents, (positions, ..., channels), for a window, "
            f"received the shape {shape}. Leave out the window."
        )
    sides = len(shape) - 1
    latent = keras.Input(shape, name="latent")
    x = latent
    for level, count in enumerate(units):
        reach = [min(window if level == 0 else 1, side) for side in shape[:-1]]
        x = parts.DOWN[sides](count, reach, dtype="float32")(x)
        x = parts.activated(activation, "float32", None)(x)
    zeros = {"kernel_initializer": "zeros", "use_bias": False, "dtype": "float32"}
    x = parts.DOWN[sides](1, (1,) * sides, **zeros)(x)
    return keras.Model(latent, keras.ops.sum(x, axis=tuple(range(1, sides + 1))), name="latent_energy")

"""Networks from latents to one number, for priors that are learned."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf.networks import blocks as parts


def latent_energy(
    latent_shape: Sequence[int], hidden: int = 200, *, layers: int = 2, activation: str = "silu"
) -> keras.Model:
    """Build a network `f` of latents, for `EnergyPrior`; it is 0 everywhere at first.

    Args:
        latent_shape: shape of one latent.
        hidden: number of units of each dense layer.
        layers: number of dense layers before the last one.
        activation: activation: one of `networks.SMOOTH`, "relu" or "leaky_relu" (slope 0.2).

    Returns:
        A `keras.Model` from latents `[n, *latent_shape]` to `[n, 1]`, float32.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> latent_energy((60,)).output_shape
        (None, 1)
    """
    parts.check_activation("latent_energy", activation)
    parts.check_counts("latent_energy", hidden=hidden, layers=layers)
    latent = keras.Input(tuple(latent_shape), name="latent")
    x = keras.layers.Flatten(dtype="float32")(latent)
    for _ in range(layers):
        x = keras.layers.Dense(hidden, dtype="float32")(x)
        x = parts.activated(activation, "float32", None)(x)
    last = keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False, dtype="float32")
    return keras.Model(latent, last(x), name="latent_energy")

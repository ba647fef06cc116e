"""The linear generator: factor analysis."""

from __future__ import annotations

import math

import keras


def linear(shape: tuple[int, ...], latent_dim: int) -> keras.Model:
    """`g(z) = W z + b`: with it, `Generator` is factor analysis with equal noise on all entries.

    Args:
        shape: of one signal.
        latent_dim: number of factors.

    Returns:
        A `keras.Model` from `[n, latent_dim]` to `[n, *shape]`.

    Example:
        >>> linear((8,), latent_dim=2).output_shape
        (None, 8)
    """
    shape = tuple(int(size) for size in shape)
    if not shape or min(shape) < 1 or latent_dim < 1:
        raise ValueError(
            "networks.linear expected a shape and a latent_dim of positive integers, received "
            f"shape={shape} and latent_dim={latent_dim}."
        )
    latent = keras.Input((latent_dim,), name="latent")
    # Residuals are float32 under every precision policy, so the last layer is too.
    signal = keras.layers.Dense(math.prod(shape), dtype="float32", name="factors")(latent)
    signal = keras.layers.Reshape(shape, dtype="float32", name="signal")(signal)
    return keras.Model(latent, signal, name="linear")

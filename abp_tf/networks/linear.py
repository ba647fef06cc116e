"""The linear generator: factor analysis."""

from __future__ import annotations

import math

import keras

from abp_tf import checks


def linear(shape: tuple[int, ...], latent_dim: int) -> keras.Model:
    """Build the network `g(z) = W z + b`, which makes `Generator` a factor analysis.

    The noise is the same on all entries.

    Args:
        shape: shape of one signal.
        latent_dim: number of factors.

    Returns:
        A `keras.Model` from `[n, latent_dim]` to `[n, *shape]`.

    Example:
        >>> linear((8,), latent_dim=2).output_shape
        (None, 8)
    """
    shape = tuple(checks.integer("linear", "shape", size, 1) for size in shape)
    latent_dim = checks.integer("linear", "latent_dim", latent_dim, 1)
    if not shape:
        raise ValueError("linear expected a `shape` of one axis or more, received ().")
    latent = keras.Input((latent_dim,), name="latent")
    # Residuals are float32 under every precision policy, so the last layer is too.
    signal = keras.layers.Dense(math.prod(shape), dtype="float32", name="factors")(latent)
    signal = keras.layers.Reshape(shape, dtype="float32", name="signal")(signal)
    return keras.Model(latent, signal, name="linear")

"""ConvNets for sounds, `[n, samples, 1]`: stationary in time, and as long as one likes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks


def sound_generator(
    samples: int,
    latent_channels: int = 1,
    width: int = 64,
    *,
    factors: Sequence[int] = (10, 10, 10, 10),
    kernel_size: int = 25,
    activation: str = "silu",
    padding: str = "same",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Fully convolutional generator of a sound in [-1, 1], from a short sequence of latents.

    As in arXiv 1606.08571, section 5.2, where kernels of width 25 that lengthen the sequence by 10
    make 60 000 samples from 6 latents in four layers (256, 128, 64 and 1 channels), or from 60 in
    three. A longer sequence gives a longer sound by the same weights: `abp_tf.resized(model, (12, 1))`.

    Args:
        samples: of one sound, a multiple of the product of `factors`.
        latent_channels: latents at each place of the sequence.
        width: channels of the finest hidden layer; each coarser one has twice as many.
        factors: by how much each layer lengthens its sequence, the coarsest first.
        kernel_size: of the transposed convolutions.
        activation: of the hidden layers, one of `SMOOTH`.
        padding: "same", as published, where a sound fades in and out; or "valid", where the sequence of
            latents is longer than the sound at both ends, so that all samples see as many.
        dtype: policy the layers compute in, "float32" or "mixed_bfloat16"; Keras's global one by
            default. Sounds are float32 in any case.

    Returns:
        A `keras.Model` from `[n, samples / prod(factors), latent_channels]`, with "valid" from a
        longer sequence, to `[n, samples, 1]`.

    Raises:
        ValueError: for a number of samples that cannot be reached (the nearest that can is named) or
            a value out of its range.

    Example:
        >>> network = sound_generator(60_000, width=8)
        >>> network.input_shape, network.output_shape
        ((None, 6, 1), (None, 60000, 1))
    """
    owner = "sound_generator"
    factors = tuple(factors)
    blocks.check_counts(owner, latent_channels=latent_channels, width=width, kernel_size=kernel_size)
    if not factors or min(factors) < 1:
        raise ValueError(f"{owner} expected one or more factors of 1 or more, received {factors}.")
    blocks.check_smooth(owner, activation)
    total = math.prod(factors)
    (samples, _) = blocks.check_multiples(owner, "(samples, 1)", (samples, 1), (total,))
    levels = len(factors)
    return blocks.top_down(
        owner,
        [samples // total],
        [latent_channels, *(width * 2 ** (levels - 1 - level) for level in range(1, levels)), 1],
        [(factor,) for factor in factors],
        [(kernel_size,)] * levels,
        activation,
        padding,
        dtype,
    )


def sound_descriptor(
    samples: int,
    width: int = 32,
    *,
    kernel_size: int = 25,
    stride: int = 5,
    levels: int = 3,
    activation: str = "silu",
    scale: float = 1.0,
    padding: str = "valid",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Translation-invariant descriptor of a sound: `f(x)` is the sum of a sequence over time.

    Strided convolutions, then one of three taps. As a sum over positions it scores sounds of any
    length by the same weights (`abp_tf.resized`).

    Args:
        samples: of one sound; with `padding="valid"` at least as many as one entry of the last
            sequence sees, 995 with the defaults.
        width: filters of the first layer; each further one has twice as many.
        kernel_size: of the strided convolutions, in entries of the finer sequence.
        stride: of the strided convolutions.
        levels: number of strided convolutions.
        activation: of the hidden layers: one of `SMOOTH`, "relu" or "leaky_relu" (slope 0.2).
        scale: what the sum is multiplied by; it sets the unit of `f` against the reference.
        padding: "valid", or "same", which sees silence before and after.
        dtype: policy the convolutions compute in, "float32" or "mixed_bfloat16"; Keras's global one
            by default. The last one is float32 in any case.

    Returns:
        A `keras.Model` from `[n, samples, 1]` to `[n, 1]`.

    Raises:
        ValueError: for a value out of its range, or too few samples.

    Example:
        >>> sound_descriptor(4000, width=8).output_shape
        (None, 1)
    """
    owner = "sound_descriptor"
    blocks.check_counts(owner, width=width, kernel_size=kernel_size, stride=stride, levels=levels)
    checks.positive(owner, "scale", scale)
    shape = blocks.check_multiples(owner, "(samples, 1)", (samples, 1), (1,))
    return blocks.bottom_up(
        owner,
        shape,
        [width * 2**level for level in range(levels)],
        [(stride,)] * levels + [(1,)],
        [(kernel_size,)] * levels + [(3,)],
        activation,
        scale,
        padding,
        dtype,
    )

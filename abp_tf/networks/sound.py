"""ConvNets for sounds `[n, samples, 1]` that are stationary in time, of any length."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from abp_tf import checks
from abp_tf.networks import blocks

FORM = "(samples, 1)"


def sound_generator(
    samples: int,
    latent_channels: int = 1,
    width: int = 64,
    *,
    factors: Sequence[int] = (10, 10, 10, 10),
    kernel_size: int = 25,
    activation: str = "silu",
    padding: str = "same",
    output: str = "tanh",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a fully convolutional generator of a sound from a short sequence of latents.

    It is the network of arXiv 1606.08571, section 5.2: layers of kernel width 25 lengthen the sequence
    by a factor of 10, and make 60 000 samples from 6 latents in four layers (256, 128, 64 and 1
    channels), or from 60 in three. With the same weights, a longer sequence gives a longer sound:
    `abp_tf.resized(model, (12, 1))`.

    Args:
        samples: number of samples of one sound; if it is no multiple of the product of `factors`, it is
            cropped from the next.
        latent_channels: number of latent variables at each position of the sequence.
        width: number of channels of the finest hidden layer; each coarser one has twice as many.
        factors: factors by which the layers lengthen their sequences, the coarsest layer first.
        kernel_size: kernel size of the transposed convolutions, the same along each side.
        activation: activation of the hidden layers, one of `networks.SMOOTH`.
        padding: "same", as published: a sound fades in and out; or "valid": the sequence of latents is
            longer than the sound at both ends, so that all samples depend on equally many latents.
        output: last activation: "tanh" for sounds in [-1, 1], or "linear" for those that a model scales
            (`abp_tf.Scaling`).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Sounds are always float32.

    Returns:
        A `keras.Model` from `[n, samples / prod(factors), latent_channels]`, rounded up, with "valid"
        from a longer sequence, to `[n, samples, 1]`.

    Raises:
        ValueError: if a value is out of range.

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
    shape = blocks.check_shape(owner, FORM, (samples, 1))
    levels = len(factors)
    return blocks.top_down(
        owner,
        shape[:-1],
        [latent_channels, *(width * 2 ** (levels - 1 - level) for level in range(1, levels)), 1],
        [(factor,) for factor in factors],
        [(kernel_size,)] * levels,
        activation,
        padding,
        output,
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
    padding: str | None = None,
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a translation-invariant descriptor of a sound: `f(x)` is the sum of a sequence over time.

    Strided convolutions are followed by one of width 3. As `f` is a sum over positions, it scores
    sounds of any length with the same weights (`abp_tf.resized`).

    Args:
        samples: number of samples of one sound.
        width: number of filters of the first layer; each further layer has twice as many.
        kernel_size: kernel size of the strided convolutions, in entries of their input.
        stride: stride of the strided convolutions.
        levels: number of strided convolutions.
        activation: activation of the hidden layers: one of `networks.SMOOTH`, "relu" or "leaky_relu"
            (slope 0.2).
        scale: factor of the sum; it sets the scale of `f` relative to the reference distribution.
        padding: padding of the convolutions: "valid", or "same", which adds silence at both ends. By
            default "valid", but "same" for sounds shorter than the receptive field of the last layer,
            995 samples with the defaults.
        dtype: dtype policy of the convolutions, "float32" or "mixed_bfloat16"; by default Keras's
            global policy. The last convolution is always float32.

    Returns:
        A `keras.Model` from `[n, samples, 1]` to `[n, 1]`.

    Raises:
        ValueError: if a value is out of range, or a sound is shorter than the receptive field with
            `padding="valid"`.

    Example:
        >>> sound_descriptor(4000, width=8).output_shape
        (None, 1)
    """
    owner = "sound_descriptor"
    blocks.check_counts(owner, width=width, kernel_size=kernel_size, stride=stride, levels=levels)
    checks.positive(owner, "scale", scale)
    shape = blocks.check_shape(owner, FORM, (samples, 1))
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

"""ConvNets for images."""

from __future__ import annotations

import keras

from abp_tf import checks
from abp_tf.networks import blocks
from abp_tf.networks.activations import quick
from abp_tf.networks.blocks import DOWN, UP, channels_last, check_counts, check_smooth

FORM = "(height, width, channels)"


def image_generator(
    shape: tuple[int, int, int],
    latent_dim: int,
    width: int = 32,
    *,
    hidden: int | None = None,
    kernel_size: int = 4,
    activation: str = "elu",
    batch_norm: bool = False,
    antialias: int = 1,
    output: str = "tanh",
    dtype: str | keras.DTypePolicy | None = None,
) -> keras.Model:
    """Build a top-down ConvNet from a latent vector to an image.

    It has a hidden dense layer, a dense layer to the coarsest map, transposed convolutions that double
    its sides and halve its channels down to `width`, and a 3×3 convolution. The smaller side of the
    coarsest map is 4 to 7, or half that of an image of fewer than 8 pixels. Where doubling it exceeds
    the image, the middle of the last map is the image. By default there is no BatchNorm, and
    activations are smooth, so that the chain of an example does not depend on its batch.

    Args:
        shape: `(height, width, channels)`, sides of 4 or more, and any number of channels.
        latent_dim: number of latent variables.
        width: number of channels of the finest map; the coarser ones have up to 8 times as many.
        hidden: number of units of the hidden layer; 8 times `width` by default, 0 for no such layer,
            as published. It makes the coarsest map a nonlinear function of the latents and costs
            little compared with the convolutions.
        kernel_size: kernel size of the transposed convolutions, the same along each side.
        activation: activation of all layers but the last: "elu", "silu", "gelu", "softplus" or "tanh".
        batch_norm: whether to normalise before each activation, and to use initial weights that keep
            variances. It is for `CoopNets`, whose generator keeps no chains; `Generator.fit` refuses
            it.
        antialias: width in pixels of the average over maps after each doubling, at most the size to
            which an entry of the coarsest map has grown; 1 for none. A doubling can add a pattern that
            repeats every 2×2 pixels, and all doublings together one that repeats in every cell of the
            coarsest map. Sharp data correct it; blurred data (`abp_tf.Blur`; use 2) and coarser data
            (`abp_tf.Coarser`; use its factor) do not.
        output: last activation: "tanh" for images in [-1, 1], or "linear" for those that a model scales
            (`abp_tf.Scaling`).
        dtype: dtype policy of the layers, "float32" or "mixed_bfloat16"; by default Keras's global
            policy. Images are always float32.

    Returns:
        A `keras.Model` from `[n, latent_dim]` to `[n, *shape]`.

    Raises:
        ValueError: if the shape or a value is out of range.

    Example:
        >>> image_generator((28, 28, 1), latent_dim=60, width=8).output_shape
        (None, 28, 28, 1)
        >>> image_generator((25, 39, 2), latent_dim=60, width=8).get_layer("base").output.shape
        (None, 7, 10, 32)
    """
    *sides, channels = blocks.check_shape("image_generator", FORM, shape, 4)
    hidden = 8 * width if hidden is None else hidden
    check_counts(
        "image_generator",
        latent_dim=latent_dim,
        width=width,
        kernel_size=kernel_size,
        antialias=antialias,
    )
    checks.integer("image_generator", "hidden", hidden, 0)
    check_smooth("image_generator", activation)
    blocks.check_output("image_generator", output)
    doublings = blocks.doublings(min(sides))
    filters = [width * min(2**level, 8) for level in range(doublings, -1, -1)]

    # Normalisation comes between a layer and its activation.
    own = None if batch_norm else activation
    fast = quick(activation, dtype)

    def normalised(x, name):
        if not batch_norm:
            return x
        x = keras.layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"norm_{name}")(x)
        return keras.layers.Activation(fast, dtype=dtype, name=f"activation_{name}")(x)

    latent = keras.Input((latent_dim,), name="latent")
    base = (*blocks.covering(sides, [2**doublings] * 2), filters[0])
    x = latent
    # Units of variance one for z ~ N(0, I). Keras's default also counts the many outputs: latents would
    # have to grow far beyond their prior to have an effect.
    initializer = "he_normal" if batch_norm else "lecun_normal"
    for name, units in (("hidden", hidden), ("dense", base[0] * base[1] * base[2])):
        if units:
            layer = keras.layers.Dense(
                units, activation=own, kernel_initializer=initializer, dtype=dtype, name=name
            )
            x = normalised(layer(x), name)
    x = keras.layers.Reshape(base, dtype=dtype, name="base")(x)
    for level, count in enumerate(filters[1:], start=1):
        initializer = "glorot_uniform"
        if batch_norm:
            # The inputs of each output entry: a quarter of the kernel, all channels.
            inputs = kernel_size**2 / 4 * filters[level - 1]
            initializer = keras.initializers.RandomNormal(stddev=(2 / inputs) ** 0.5)
        layer = UP[2](
            count,
            kernel_size,
            2,
            padding="same",
            activation=own and fast,
            kernel_initializer=initializer,
            dtype=dtype,
            name=f"up{level}",
        )
        x = normalised(layer(x), f"up{level}")
        if antialias > 1:
            side = min(antialias, 2**level)
            pool = channels_last("AveragePooling2D")
            x = pool(side, 1, padding="same", dtype=dtype, name=f"average{level}")(x)
    x = DOWN[2](channels, 3, padding="same", dtype=dtype, name="signal")(x)
    x = blocks.cropped(x, sides, dtype)
    # Residuals are float32 under every precision policy, so the last activation is float32 too.
    x = keras.layers.Activation(output, dtype="float32", name="range")(x)
    return keras.Model(latent, x, name="image_generator")

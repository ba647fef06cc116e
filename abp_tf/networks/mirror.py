"""Bottom-up networks that mirror a decoder: the encoder of a VAE, the discriminator of a GAN."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf.networks.blocks import DOWN, FLATTEN

_CONVOLUTIONS = {
    getattr(keras.layers, f"Conv{rank}D{kind}"): DOWN[rank]
    for rank in (1, 2, 3)
    for kind in ("", "Transpose")
}


def view(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the input of a bottom-up network: the signal, 0 where hidden, and the mask as channels.

    Args:
        signal: float32 `[n, *signal_shape]`, finite in every entry (`observation.hide`).
        mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed. None means that all is
            observed.

    Returns:
        float32 `[n, *signal_shape]` with twice the channels.
    """
    observed = tf.ones_like(signal)
    if mask is not None:
        observed *= mask
    return tf.concat([observed * signal, observed], axis=-1)


def encoder(network: keras.Model, activation: str = "elu") -> keras.Model:
    """Return the mirror image of a decoder, from `view` to means and log-variances of latents.

    Args:
        network: decoder made of dense layers and convolutions, transposed or not, one after another.
        activation: activation of all layers but the last, a name of Keras.

    Returns:
        A `keras.Model` to `[n, *latent_shape]` with twice the channels.

    Raises:
        ValueError: if the network has weights of other layers.
    """
    shown, x, first = _mirror(network, activation, "encoder")
    channels = 2 * network.input_shape[-1]
    return keras.Model(shown, _reversed(first, x, channels, None, "latent"), name="encoder")


def discriminator(network: keras.Model, activation: str = "leaky_relu") -> keras.Model:
    """Return the mirror image of a decoder, from `view` to a logit that is high for data.

    Args:
        network: decoder, as for `encoder`.
        activation: activation of all layers but the last, a name of Keras.

    Returns:
        A `keras.Model` to `[n, 1]`.

    Raises:
        ValueError: if the network has weights of other layers.
    """
    shown, x, _ = _mirror(network, activation, "discriminator")
    x = FLATTEN(name="features")(x)
    x = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(shown, x, name="discriminator")


def check(network: keras.Model, name: str, shape: tuple[int, ...], output: tuple[int, ...]) -> None:
    """Refuse a bottom-up network that does not go from views of data of `shape` to `output`."""
    expected = (*shape[:-1], 2 * shape[-1]), output
    received = network.input_shape[1:], network.output_shape[1:]
    if expected != received:
        raise ValueError(
            f"`{name}` expected a network from {expected[0]}, the signal and its mask on the channel "
            f"axis, to {expected[1]}, received one from {received[0]} to {received[1]}."
        )


def _mirror(network, activation, name):
    """Return input, last output, and the decoder's first layer, which the caller mirrors."""
    weighted = [
        layer
        for layer in network.layers
        if layer.trainable_weights and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in weighted:
        if type(layer) not in (keras.layers.Dense, *_CONVOLUTIONS):
            raise ValueError(
                f"A mirrored {name} expected a network of dense layers and convolutions, received a "
                f"layer {layer.name!r} of type {type(layer).__name__}. Pass a network: `{name}=...`."
            )
    shape = network.output_shape[1:]
    x = shown = keras.Input((*shape[:-1], 2 * shape[-1]), name="view")
    for layer in reversed(weighted[1:]):
        x = _reversed(layer, x, layer.input.shape[-1], activation, layer.name)
    return shown, x, weighted[0]


def _reversed(layer, x, channels, activation, name):
    """Apply the reverse of `layer` to `x`, with `channels` output channels."""
    # Last layers compute in float32, whatever dtype the decoder computes in.
    dtype = "float32" if activation is None else layer.dtype_policy
    options = {"activation": activation, "dtype": dtype, "name": name}
    if isinstance(layer, keras.layers.Dense):
        if len(layer.output.shape) < len(x.shape):
            x = FLATTEN(dtype=dtype)(x)
        return keras.layers.Dense(channels, **options)(x)
    convolution = _CONVOLUTIONS[type(layer)]
    return convolution(channels, layer.kernel_size, layer.strides, padding=layer.padding, **options)(x)

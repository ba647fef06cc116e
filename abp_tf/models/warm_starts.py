"""Warm starts: an encoder that learns from the chains of training where those of new signals begin.

The encoder is given the data, 0 where hidden, and their mask. Chains of training are labels that cost
nothing: the latents of each example are a draw from their posterior.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from abp_tf import networks
from abp_tf.models import stateless
from abp_tf.networks import mirror
from abp_tf.networks.checks import trainable
from abp_tf.sampling.random import later, row_normal, row_uniform

# Shares of the rows of a batch of which single entries, or a block, are hidden besides what is hidden
# already, so that the encoder learns other masks than those of the training.
SCATTERED, BLOCKS = 0.25, 0.25
BOUND = 6.0  # of the logarithms of deviations


def encoder(
    given: keras.Model | bool, network: keras.Model, observed_shape: tuple[int, ...]
) -> keras.Model | None:
    """Return the encoder that the argument `encoder` of a `Generator` means; None for none.

    Args:
        given: False for none, True for `networks.encoder` with its default settings, or a network.
        network: network of the generator.
        observed_shape: shape of one example of the data.

    Raises:
        ValueError: if a network does not fit the generator.
    """
    if isinstance(given, bool):
        if not given:
            return None
        policies = [layer.dtype_policy for layer in network.layers if layer.trainable_weights]
        blocks = networks.latent_blocks(network)
        return networks.encoder(observed_shape, blocks, dtype=next(iter(policies), None))
    trainable(given, "Generator")
    *grid, channels = network.input_shape[1:]
    mirror.check(given, "encoder", observed_shape, (*grid, 2 * channels))
    return given


def optimizer() -> keras.optimizers.Optimizer:
    """Return the optimizer of an encoder, which suits all generators: its task has no units."""
    # Chains move far in the first epochs, and would lead an encoder astray without a limit.
    return keras.optimizers.Adam(1e-3, global_clipnorm=1.0)


def lesson(model, latent, signal, mask, seeds: tf.Tensor, average: Callable = tf.reduce_mean):
    """Compare the encoder with the latents of a batch, of which it is shown all or a part.

    With latents `u` that are draws from the posterior, and a mean `m` and deviations `s` from the
    encoder, the loss is the negative logarithm of the density of `u` under `u = m + R (s ⊙ ε)`, with
    `ε ~ N(0, I)` and the map `R` of the preconditioner, or `R = I` without one: directions that the
    data determine count most. If an entry is hidden from the encoder alone, the latents remain draws
    from the posterior given the rest, because the entry is a draw too.

    Args:
        model: a `Generator` with an encoder.
        latent: last states of the chains, float32 `[n, *latent_shape]`.
        signal: data, float32 `[n, *observed_shape]`, 0 where hidden.
        mask: weights of the entries, 0 = hidden; None means that all is observed.
        seeds: seed pairs of the rows, int64 `[n, 2]`, for what is hidden from the encoder.
        average: function that averages over the rows of all replicas (`replicas.mean_over`).

    Returns:
        A `stateless.Lesson` of the encoder; its loss is per latent and up to a constant.
    """
    shown = thinned(signal, mask, seeds)
    metric = model.root(signal, shown, inverse=True)
    with tf.GradientTape() as tape:
        encoded, moving = stateless.call(model.encoder, _view(signal, shown))
        mean, deviation = _moments(model, encoded)
        away = metric(latent - mean) / deviation
        likelihood = tf.reshape(away**2 / 2 + tf.math.log(deviation), [tf.shape(latent)[0], -1])
        loss = tf.reduce_mean(likelihood, axis=-1)
        total = average(loss)
    gradients = tape.gradient(total, model.encoder.trainable_variables)
    return stateless.Lesson(model.encoder, loss, gradients, moving)


def start(model, signal, mask, seeds: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Return first states of chains, draws `m + R (s ⊙ ε)` from the encoder.

    A row that a draw from the prior explains better begins there: data that are unlike all that the
    encoder has learned from cannot lead it far astray.

    Args:
        model: a `Generator` with an encoder.
        signal: data, float32 `[n, *observed_shape]`, 0 where hidden.
        mask: weights of the entries, 0 = hidden; None means that all is observed.
        seeds: seed pairs of the rows, int64 `[n, 2]`.
        drawn: draws from the prior, float32 `[n, *latent_shape]`.

    Returns:
        float32 `[n, *latent_shape]`.
    """
    mean, deviation = _moments(model, model.encoder(_view(signal, mask), training=False))
    noise = row_normal(seeds, list(model.latent_shape))
    warm = mean + model.root(signal, mask)(deviation * noise)
    better = model.energy(warm, signal, mask).total < model.energy(drawn, signal, mask).total
    return tf.where(tf.reshape(better, [-1] + [1] * len(model.latent_shape)), warm, drawn)


def thinned(signal: tf.Tensor, mask: tf.Tensor | None, seeds: tf.Tensor) -> tf.Tensor:
    """Return masks that hide more: of some rows scattered positions, of others a block, of most none.

    The share of the positions, and place and sides of the block, are random; a side may be whole.

    Args:
        signal: data, float32 `[n, *observed_shape]`.
        mask: weights of the entries, 0 = hidden; None means that all is observed.
        seeds: int64 `[n, 2]`, one seed pair per row.

    Returns:
        weights of the entries, float32 `[n, *observed_shape]`.
    """
    sides = signal.shape[1:-1].as_list() or signal.shape[1:].as_list()  # entries of a vector are places
    choice, share, *ends = tf.unstack(row_uniform(seeds, [2 + 2 * len(sides)]), axis=-1)

    def along(value, axis=None):
        """Return one value per row, or per row and position of an axis, against all positions."""
        shape = [1] * len(sides)
        if axis is not None:
            shape[axis] = sides[axis]
        return tf.reshape(value, [-1, *shape])

    scattered = row_uniform(later(seeds, 1), sides) < along(share)
    inside = tf.constant(True)
    for axis, side in enumerate(sides):
        size, place = ends[2 * axis : 2 * axis + 2]
        length = side * tf.minimum(1.5 * size, 1.0)[:, None]
        begin = (side - length) * place[:, None]
        at = tf.range(side, dtype=tf.float32) + 0.5
        inside &= along((begin <= at) & (at < begin + length), axis)
    hidden = (along(choice < SCATTERED) & scattered) | (along(choice > 1 - BLOCKS) & inside)
    kept = tf.reshape(tf.cast(~hidden, tf.float32), [-1, *sides, *[1] * (signal.shape.rank > 2)])
    observed = tf.ones_like(signal) * kept
    return observed if mask is None else mask * observed


def _view(signal: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return the input of the encoder; entries of more than usual precision have the weight 1 too."""
    return mirror.view(signal, None if mask is None else tf.minimum(mask, 1.0))


def _moments(model, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return means of latents, and deviations in the chains' coordinates, `[n, *latent_shape]`.

    The output of the encoder is the mean of the network's input, `μ + A u`, which stays the same when
    the prior is expanded.
    """
    mean, log_variance = tf.split(tf.cast(encoded, tf.float32), 2, axis=-1)
    return model.prior.inverse(mean), tf.exp(BOUND * tf.tanh(log_variance / (2 * BOUND)))

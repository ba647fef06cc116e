"""The noise of observed entries: its standard deviation σ, given or learned."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from abp_tf.observation import masking
from abp_tf.observation.bands import Mdct

# A learned σ stays above this share of the standard deviation of the data, so that it cannot collapse.
FLOOR = 0.01
SUMS = 4  # rows of `Noise.sums`


@keras.saving.register_keras_serializable(package="abp_tf")
class Noise(keras.layers.Layer):
    """Noise `σ ε`, `ε ~ N(0, I)`, with one σ per channel; channels are the last axis of the data.

    σ² is a weight, which compiled functions read: they need not be compiled anew when it changes.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.channels = channels
        self.variance = self.add_weight(
            shape=(channels,), initializer="ones", trainable=False, name="variance"
        )
        self.built = True

    @property
    def deviation(self) -> tf.Tensor:
        """σ of each channel, a tensor, float32 `[channels]`."""
        return tf.sqrt(self.variance.value)

    @property
    def sigma(self) -> float | tuple[float, ...]:
        """σ in as many digits as float32 has: a number if all channels have the same, else one each."""
        found = [float(str(one)) for one in np.sqrt(self.variance.numpy())]
        return found[0] if len(set(found)) == 1 else tuple(found)

    @sigma.setter
    def sigma(self, value: float | Sequence[float]) -> None:
        if np.ndim(value) and np.size(value) != self.channels:
            raise ValueError(
                f"`sigma` expected one number, or {self.channels}, one per channel of the data, "
                f"received {np.size(value)}: {value}."
            )
        self.variance.assign(np.broadcast_to(np.square(value, dtype=np.float64), self.channels))

    def of_entries(self) -> tf.Tensor:
        """Return the standard deviation of the noise of entries, which broadcasts against the data."""
        return self.deviation

    def misfit(self, signal: tf.Tensor, decoded: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return `‖M ⊙ (x − g(z))‖² / (2σ²)` of each example, float32 `[n]`.

        Args:
            signal: data, float32 `[n, ..., channels]`, 0 where hidden.
            decoded: decoded latents, same shape.
            mask: weights of the entries, as for `masking.residual`; None if all is observed.
        """
        residual = masking.residual(signal, decoded, mask)
        return tf.reduce_sum(masking.squares(residual) / (2 * self.variance.value), axis=-1)

    def whitened(self, decoded: tf.Tensor) -> tf.Tensor:
        """Return decoded data in units of σ, whose derivatives are those of the misfit."""
        return decoded / self.deviation

    def sums(self, signal: tf.Tensor, mask: tf.Tensor | None, errors: tf.Tensor) -> tf.Tensor:
        """Return sums over the observed entries of a batch, from which `learn` estimates σ.

        Args:
            signal: float32 `[n, ..., channels]`, 0 where hidden.
            mask: weights of the entries, as for `masking.residual`.
            errors: squared errors, summed over the observed entries of each channel, `[n, channels]`.

        Returns:
            float64 `[4, channels]`: the number of entries, and the sums of their squared errors, of
            their values and of the squares of their values.
        """
        signal = tf.cast(signal, tf.float64)
        parts = (
            masking.observed(tf.ones_like(signal), mask),
            tf.cast(errors, tf.float64),
            signal,
            signal**2,
        )
        return tf.stack([tf.reduce_sum(tf.reshape(one, [-1, self.channels]), axis=0) for one in parts])

    def learn(self, sums: tf.Tensor) -> tf.Tensor:
        """Set σ² of each channel to its maximum-likelihood value, the mean squared error.

        The errors are those of posterior samples of the latents, so this is the M-step of stochastic
        expectation-maximisation (Celeux, Diebolt 1985): errors at the posterior mean would leave out
        what is uncertain and make σ too small. σ does not fall below 1 % of the standard deviation of
        the data. A channel that is constant or has no observed entry keeps its σ.

        Args:
            sums: `sums` of all batches, added up.

        Returns:
            the factor by which precisions, `1/σ²`, have grown, the mean over channels, a scalar.
        """
        count, *totals = tf.unstack(tf.cast(sums, tf.float64))
        error, mean, square = (tf.math.divide_no_nan(total, count) for total in totals)
        spread = square - mean**2
        before = tf.cast(self.variance.value, tf.float64)
        learned = tf.maximum(error, FLOOR**2 * spread)
        after = tf.where(spread > 1e-12 * square, learned, before)
        self.variance.assign(tf.cast(after, tf.float32))
        return tf.reduce_mean(before / after)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels}


@keras.saving.register_keras_serializable(package="abp_tf")
class BandNoise(Noise):
    """Noise of sounds with one σ for each band of frequency; σ is not learned.

    The squared error of a sound is that of its coefficients, each over σ² of its band. Of an incomplete
    sound these are the coefficients of windows without a hidden sample. Observed samples of other
    windows count as those of noise that has the same variance at all frequencies.

    Args:
        bands: the transform, whose bands are the channels of the noise.
    """

    def __init__(self, bands: Mdct, **kwargs):
        super().__init__(bands.bands, **kwargs)
        self.bands = bands

    def of_entries(self) -> tf.Tensor:
        """Return the standard deviation of the noise of samples, the root of the mean of σ²."""
        return tf.sqrt(tf.reduce_mean(self.variance.value))[None]

    def misfit(self, signal: tf.Tensor, decoded: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return `Σ c² / (2σ²)` over coefficients of the error; arguments as for `Noise.misfit`."""
        residual = masking.residual(signal, decoded, mask)
        coefficients, outside = self.bands(residual), tf.zeros([])
        if mask is not None:
            known = self.bands.known(mask * tf.ones_like(signal))
            coefficients *= known
            share = 1 - self.bands.covered(known, signal.shape[1])
            outside = tf.reduce_sum(share * residual**2 / (2 * self.of_entries() ** 2), axis=[1, 2])
        squares = masking.squares(coefficients)
        return tf.reduce_sum(squares / (2 * self.variance.value), axis=-1) + outside

    def whitened(self, decoded: tf.Tensor) -> tf.Tensor:
        """Return the coefficients of decoded sounds in units of σ of their band."""
        return self.bands(decoded) / self.deviation

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        config = super().get_config()
        del config["channels"]
        return {**config, "bands": keras.saving.serialize_keras_object(self.bands)}

    @classmethod
    def from_config(cls, config: dict) -> BandNoise:
        """Return the noise that `get_config` describes."""
        return cls(**{**config, "bands": keras.saving.deserialize_keras_object(config["bands"])})

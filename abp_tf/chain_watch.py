"""Watching chains of signals: what the training of an energy shows of itself."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf.sampling import Info, Langevin

MARGIN = 0.05  # of the range's width, beyond which an entry counts as saturated


class ChainWatch:
    """Means over an epoch of what tells a good training of an energy from a bad one.

    `energy_gap`: mean of `f(data) − f(samples)`; in a healthy training it swings around 0.
    `energy_gap_spread`: its standard deviation over pairs of data and samples.
    `drift`: root mean square over entries of what a Langevin step does without its noise.
    `data_deviation`, `sample_deviation`: standard deviation over a batch, mean over entries; where the
    data or the samples are a single signal, over its entries.
    `score_size`: mean of `|f|` over data and samples.
    `saturation`: share of the samples' entries that are out of the value range by more than 5 % of
    its width; 0 without a range.

    Args:
        langevin: of the training.
        value_range: of the data, or None.
    """

    def __init__(self, langevin: Langevin, value_range):
        self.langevin = langevin
        self.value_range = value_range
        names = (
            *("loss", "energy_gap", "square", "score_size", "drift", "data_deviation"),
            *("sample_deviation", "saturation", "score", "energy"),
        )
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list:
        """The means, for Keras to reset."""
        return list(self._means.values())

    def report(
        self,
        loss: tf.Tensor,
        signal: tf.Tensor,
        samples: tf.Tensor,
        seen: tf.Tensor,
        drawn: tf.Tensor,
        info: Info,
    ) -> dict:
        """Take in a batch; return the means so far by name.

        Args:
            loss: scalar.
            signal: data, float32 `[n, *signal_shape]`.
            samples: where the chains ended, float32 `[m, *signal_shape]`.
            seen: `f` of the data, `[n]`.
            drawn: `f` of the samples, `[m]`.
            info: of the chains.
        """
        entries = tf.cast(tf.size(samples[0]), tf.float32)
        norm = tf.reduce_mean(info.gradient_norm)
        single = tf.minimum(tf.shape(signal)[0], tf.shape(samples)[0]) == 1
        gap = tf.reduce_mean(seen) - tf.reduce_mean(drawn)
        variance = tf.math.reduce_variance(seen) + tf.math.reduce_variance(drawn)
        values = {
            "loss": loss,
            "energy_gap": gap,
            "square": gap**2 + variance,
            "score_size": 0.5 * (tf.reduce_mean(tf.abs(seen)) + tf.reduce_mean(tf.abs(drawn))),
            "drift": 0.5 * self.langevin.step_size**2 * norm / tf.sqrt(entries),
            "data_deviation": _deviation(signal, single),
            "sample_deviation": _deviation(samples, single),
            "saturation": self._saturation(samples),
        }
        logs = {name: self._mean(name, value) for name, value in values.items()}
        square = logs.pop("square") - logs["energy_gap"] ** 2
        return {**logs, "energy_gap_spread": tf.sqrt(tf.maximum(square, 0.0))}

    def scores(self, score: tf.Tensor, energy: tf.Tensor) -> dict:
        """Take in `f` and `U` of a batch, `[n]` both; return their means so far."""
        return {"score": self._mean("score", score), "energy": self._mean("energy", energy)}

    def _mean(self, name, values):
        self._means[name].update_state(values)
        return self._means[name].result()

    def _saturation(self, samples):
        if self.value_range is None:
            return tf.constant(0.0)
        low, high = self.value_range
        margin = MARGIN * (high - low)
        out = (samples < low - margin) | (samples > high + margin)
        return tf.reduce_mean(tf.cast(out, tf.float32))


def _deviation(signals: tf.Tensor, single: tf.Tensor) -> tf.Tensor:
    """Return the standard deviation over a batch, mean over entries; if single, over entries."""
    batch = tf.math.reduce_std(signals, axis=0)
    return tf.where(single, tf.math.reduce_std(signals), tf.reduce_mean(batch))

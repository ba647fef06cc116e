"""Sounds in bands of frequency, each of which may have a noise of its own."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from abp_tf import checks


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Mdct:
    """The modified discrete cosine transform of sounds: coefficients by window and frequency.

    Windows overlap by half, and the sound continues as silence before and after. The transform is
    orthonormal, so that σ keeps its unit and nothing is lost (Princen, Bradley, "Analysis/synthesis
    filter bank design based on time domain aliasing cancellation", IEEE Transactions on Acoustics,
    Speech, and Signal Processing 1986). With `Generator(bands=Mdct(512))` the noise has one σ for each
    band. With one σ for all, a network that fits what is loud leaves a hiss in bands that are quiet,
    because nothing tells it from noise there.

    Args:
        window: samples of a window, an even number of 4 or more; half of them is the number of bands.

    Raises:
        ValueError: if the window is no such number.

    Example:
        >>> Mdct(512).shape((5000, 1))
        (21, 256)
    """

    window: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        if checks.integer("Mdct", "window", self.window, 4) % 2:
            raise ValueError(f"Mdct expected an even number of samples, received {self.window}.")

    @property
    def bands(self) -> int:
        """Number of bands, and of samples from one window to the next."""
        return self.window // 2

    def __call__(self, sounds: tf.Tensor) -> tf.Tensor:
        """Return the coefficients of sounds, float32 `[n, samples, 1]`: `[n, windows, bands]`."""
        self.shape(tuple(sounds.shape[1:]))  # raises an error if they do not fit
        missing = -sounds.shape[1] % self.bands
        silent = tf.pad(sounds[..., 0], [[0, 0], [self.bands, self.bands + missing]])
        return tf.signal.mdct(silent, self.window, norm="ortho")

    def shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of windows and of bands.

        Raises:
            ValueError: if these are no sounds.
        """
        if len(signal_shape) != 2 or signal_shape[-1] != 1:
            raise ValueError(
                f"Mdct expected sounds of shape (samples, 1), received {tuple(signal_shape)}."
            )
        return (-(-signal_shape[0] // self.bands) + 1, self.bands)

    def known(self, mask: tf.Tensor) -> tf.Tensor:
        """Return which windows are known, those without a hidden sample.

        Args:
            mask: 1 where a sample is observed, 0 where it is hidden, float32 `[n, samples, 1]`.

        Returns:
            1 or 0, float32 `[n, windows, 1]`; it is the same for all bands of a window.

        Example:
            >>> Mdct(4).known(np.float32([[1, 1, 1, 1, 0, 1]])[..., None])[0, :, 0].numpy()
            array([1., 1., 0., 0.], dtype=float32)
        """
        windows, bands = self.shape(tuple(mask.shape[1:]))
        ends = [[0, 0], [bands, windows * bands - mask.shape[1]]]
        pieces = tf.pad(mask[..., 0], ends, constant_values=1.0)
        whole = tf.reduce_min(tf.reshape(pieces, [-1, windows + 1, bands]), axis=-1)
        return tf.minimum(whole[:, :-1], whole[:, 1:])[..., None]

    def covered(self, known: tf.Tensor, samples: int) -> tf.Tensor:
        """Return the share of each sample's two windows that are known.

        Args:
            known: which windows are known, as `known` returns them.
            samples: number of samples.

        Returns:
            0, 0.5 or 1, float32 `[n, samples, 1]`.
        """
        ends = tf.pad(known[..., 0], [[0, 0], [1, 1]])
        pieces = (ends[:, :-1] + ends[:, 1:]) / 2
        return tf.repeat(pieces, self.bands, axis=1)[:, self.bands : self.bands + samples, None]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {"window": self.window}

    @classmethod
    def from_config(cls, config: dict) -> Mdct:
        """Return the transform that `get_config` describes."""
        return cls(**config)

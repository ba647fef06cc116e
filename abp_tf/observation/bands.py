"""Sounds observed in bands of frequency, so that each band has a noise of its own."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.observation.operators import Observation


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Mdct(Observation):
    """The modified discrete cosine transform of sounds: coefficients by window and frequency.

    Windows overlap by half, and the sound continues as silence before and after. The transform is
    orthonormal, so that σ keeps its unit and nothing is lost (Princen, Bradley, "Analysis/synthesis
    filter bank design based on time domain aliasing cancellation", IEEE Transactions on Acoustics,
    Speech, and Signal Processing 1986). Bands are the channels of the data, so that a `Generator` has
    one σ for each of them. With one σ for all, a network that fits what is loud leaves a hiss in bands
    that are quiet, because nothing tells it from noise there.

    Args:
        window: samples of a window, an even number of 4 or more; half of them is the number of bands.

    Raises:
        ValueError: if the window is no such number.

    Example:
        >>> Mdct(512).observed_shape((5000, 1))
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

    def __call__(self, signal: tf.Tensor) -> tf.Tensor:
        """Return the coefficients of sounds, `[n, samples, 1]`: `[n, windows, bands]`."""
        self.observed_shape(tuple(signal.shape[1:]))  # raises an error if they do not fit
        missing = -signal.shape[1] % self.bands
        silent = tf.pad(signal[..., 0], [[0, 0], [self.bands, self.bands + missing]])
        return tf.signal.mdct(silent, self.window, norm="ortho")

    def observed_shape(self, signal_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of windows and of bands."""
        if len(signal_shape) != 2 or signal_shape[-1] != 1:
            raise ValueError(
                f"Mdct expected sounds of shape (samples, 1), received {tuple(signal_shape)}."
            )
        return (-(-signal_shape[0] // self.bands) + 1, self.bands)

    def whole_windows(self, mask: ArrayLike) -> np.ndarray:
        """Return which coefficients are observed, of masks of samples: windows without a hidden one.

        Args:
            mask: bool, `[n, samples]` or `[n, samples, 1]`, True where a sample is observed.

        Returns:
            bool `[n, windows, bands]`.

        Example:
            >>> Mdct(4).whole_windows([[True, True, True, True, False, True]])[0, :, 0]
            array([ True,  True, False, False])
        """
        mask = np.asarray(mask, bool)
        mask = mask.reshape(*mask.shape[:2])
        windows, bands = self.observed_shape((mask.shape[1], 1))
        ends = [[0, 0], [bands, windows * bands - mask.shape[1]]]
        pieces = np.pad(mask, ends, constant_values=True).reshape(len(mask), windows + 1, bands)
        whole = np.asarray(pieces.all(axis=-1))
        both = whole[:, :-1] & whole[:, 1:]
        return np.repeat(both[:, :, None], bands, axis=-1)

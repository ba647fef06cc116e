"""Distances between sounds by statistics that do not depend on positions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

# Lengths of the windows of spectrograms in seconds: clicks and onsets, tones, rhythm.
WINDOWS = (0.012, 0.046, 0.186)


def spectrogram_distance(
    sound: ArrayLike, reference: ArrayLike, rate: float, windows: Sequence[float] = WINDOWS
) -> float:
    """Return the distance between two sounds in decibels, by the distributions of their levels.

    In each band (a third of an octave wide, from 100 Hz) the sorted levels of windows are compared
    with those of the reference; the mean level of a band could not distinguish rain from applause. The
    differences of levels of neighbouring windows are sorted and compared too. Distances for windows of
    several lengths are averaged.

    Args:
        sound: the sound, `[samples]` or `[samples, 1]`, in [-1, 1], of 0.4 seconds or more.
        reference: the sound to compare with, of the same form and any such length.
        rate: samples per second of both sounds.
        windows: lengths of the windows in seconds.

    Returns:
        Mean absolute difference in dB; 0 for equal statistics. Compare with the distance of another
        window of the same recording, and with that of `spectrum_noise(reference)`.

    Raises:
        ValueError: if a sound has another rank or is shorter than 0.4 seconds.
    """
    quantiles = np.linspace(0.02, 0.98, 49)

    def spread(values):
        return np.quantile(values, quantiles, axis=1)

    distances = []
    for window in windows:
        levels, target = (_levels(one, rate, window) for one in (sound, reference))
        distances.append(np.abs(spread(levels) - spread(target)).mean())
        distances.append(np.abs(spread(np.diff(levels)) - spread(np.diff(target))).mean())
    return float(np.mean(distances))


def level_between_events(sound: ArrayLike, reference: ArrayLike, rate: float) -> float:
    """Return by how many decibels a sound is louder than another one where both are quiet.

    The level between events is that which a tenth of the windows of 46 ms are below, in each band of a
    third of an octave. The differences are averaged over bands: a hiss is quieter than the hum that
    many recordings have, and yet it is heard, in bands of its own.

    Args:
        sound: the sound, `[samples]` or `[samples, 1]`, in [-1, 1], of 0.4 seconds or more.
        reference: the recording to compare with, of the same form.
        rate: samples per second of both sounds.

    Returns:
        Mean difference in dB; positive for hiss, or events that overlap.

    Raises:
        ValueError: as in `spectrogram_distance`.

    Example:
        >>> quiet = np.random.default_rng(0).normal(0, 0.01, 8000)
        >>> round(level_between_events(2 * quiet, quiet, rate=8000), 1)
        6.0
    """
    found, wanted = (np.quantile(_levels(one, rate, 0.046), 0.1, axis=1) for one in (sound, reference))
    return float(np.mean(found - wanted))


def spectrum_noise(signal: ArrayLike, seed: int = 0) -> np.ndarray:
    """Draw Gaussian noise of the same power spectrum: the signal with random phases.

    Args:
        signal: the signal, `[..., c]`, channels last, of any rank; channels keep their relative
            phases, and thus their correlations.
        seed: seed of the phases.

    Returns:
        float32, of the same shape; values may be outside the range of the signal.
    """
    signal = np.asarray(signal, np.float64)
    axes = tuple(range(signal.ndim - 1))
    # The phases of real noise have the symmetry that makes the result real.
    noise = np.random.default_rng(seed).normal(size=signal.shape[:-1])
    phases = np.angle(np.fft.fftn(noise, axes=axes))[..., None]
    phases[(0,) * len(axes)] = 0  # keeps the mean
    turned = np.fft.fftn(signal, axes=axes) * np.exp(1j * phases)
    return np.fft.ifftn(turned, axes=axes).real.astype(np.float32)


def _levels(sound: ArrayLike, rate: float, window: float) -> np.ndarray:
    """Return the levels of a sound in dB, `[bands, windows]`."""
    sound = np.asarray(sound, np.float64)
    sound = sound[:, 0] if sound.ndim == 2 and sound.shape[1] == 1 else sound
    if sound.ndim != 1 or len(sound) < 0.4 * rate:
        raise ValueError(
            f"Expected a sound [samples] or [samples, 1] of 0.4 seconds or more at {rate:g} Hz, "
            f"received shape {sound.shape}."
        )
    frequencies, power = _spectrogram(sound, int(window * rate), rate)
    edges = 100 * 2 ** (np.arange(0, 3 * np.log2(rate / 200) + 1) / 3)
    bands = [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(edges)]
    # A narrow band may hold no frequency. The choice of bands must not depend on the sound.
    levels = np.stack([power[band].sum(0) for band in bands if band.any()])
    # Levels below -90 dB of full scale are inaudible and count as equal.
    return 10 * np.log10(levels + 1e-9)


def _spectrogram(sound: np.ndarray, window: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in Hz, `[f]`, and power `[f, windows]`, 1/4 for a sine of amplitude 1."""
    hop = window - window // 2
    # Windows overlap by half; silence fills the last one.
    sound = np.pad(sound, (0, -(len(sound) - window) % hop))
    # TensorFlow's Hann window is periodic for even lengths only.
    shape = np.hanning(window + 1)[:-1]
    transform = tf.signal.stft(
        sound, window, hop, window, window_fn=lambda length, dtype: tf.constant(shape, dtype)
    )
    return np.fft.rfftfreq(window, 1 / rate), (np.abs(transform) / shape.sum()).T ** 2

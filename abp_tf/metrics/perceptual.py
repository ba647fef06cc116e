"""Distances between textures and between sounds, by statistics that do not depend on positions."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

SCALES, ORIENTATIONS = 4, 4
_BORDER = 8  # pixels near a border, where filters depend on the opposite side


def texture_distance(texture: ArrayLike, reference: ArrayLike) -> float:
    """Return the distance between two textures by statistics of a fixed bank of filters.

    Log-Gabor filters of four scales, an octave apart from a wavelength of 4 pixels, and four
    orientations give each pixel 16 moduli (D. J. Field, "Relations between the statistics of natural
    images and the response properties of cortical cells", JOSA A 4, 1987). The statistics are:

    * The correlations of the moduli over positions: between all pairs at the same position, and of
      each with itself one and two wavelengths away in four directions. They distinguish edges, lines
      and blobs from noise of the same spectrum, whose moduli are nearly independent (Portilla,
      Simoncelli, "A parametric texture model based on joint statistics of complex wavelet
      coefficients", IJCV 40, 2000).
    * The standard deviation of each modulus relative to its mean.
    * The logarithm of the mean of each modulus, which describes the spectrum.
    * The skewness of the brightness in the band of each scale: blades of grass are brighter than the
      gaps between them.

    Args:
        texture: the texture, `[h, w, c]` in [-1, 1], sides of 96 or more; colours are averaged.
        reference: the texture to compare with, `[h', w', c']`, with the same limits.

    Returns:
        Root of the mean squared difference of the statistics; 0 if they are equal. The distance of two
        crops of one photograph is above 0: compare with it, and with the distance of
        `spectrum_noise(reference)`.

    Raises:
        ValueError: if the rank is different, a side is shorter, or values are not finite.

    Example:
        >>> bricks = abp_tf.data.load_texture("brick", size=128).train[0]
        >>> texture_distance(bricks, bricks)
        0.0
    """
    found, wanted = (_texture_statistics(_grey(one)) for one in (texture, reference))
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def spectrogram_distance(sound: ArrayLike, reference: ArrayLike, rate: float) -> float:
    """Return the distance between two sounds in decibels, by the distributions of their levels.

    In each band (a third of an octave wide, from 100 Hz) the sorted levels of windows of 46 ms are
    compared with those of the reference; the mean level of a band could not distinguish rain from
    applause. The differences of levels of neighbouring windows are sorted and compared too.

    Args:
        sound: the sound, `[samples]` or `[samples, 1]`, in [-1, 1], of 0.4 seconds or more.
        reference: the sound to compare with, of the same form and any such length.
        rate: samples per second of both sounds.

    Returns:
        Mean absolute difference in dB; 0 for equal statistics. Compare with the distance of another
        window of the same recording, and with that of `spectrum_noise(reference)`.

    Raises:
        ValueError: if a sound has another rank or is shorter than 0.4 seconds.
    """
    levels, target = _levels(sound, rate), _levels(reference, rate)
    quantiles = np.linspace(0.02, 0.98, 49)

    def spread(values):
        return np.quantile(values, quantiles, axis=1)

    marginal = np.abs(spread(levels) - spread(target)).mean()
    changes = np.abs(spread(np.diff(levels)) - spread(np.diff(target))).mean()
    return float((marginal + changes) / 2)


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


def _grey(texture: ArrayLike) -> np.ndarray:
    texture = np.asarray(texture, np.float64)
    if texture.ndim != 3 or min(texture.shape[:2]) < 96:
        raise ValueError(
            f"Expected a texture [h, w, c] with sides of 96 or more, received shape {texture.shape}."
        )
    if not np.isfinite(texture).all():
        raise ValueError("Expected finite values, received NaN or infinity.")
    return texture.mean(-1)


def _texture_statistics(image: np.ndarray) -> np.ndarray:
    spectrum = np.fft.fft2(image)
    down, right = np.meshgrid(*(np.fft.fftfreq(side) for side in image.shape), indexing="ij")
    radius, angle = np.hypot(down, right), np.arctan2(down, right)
    radius[0, 0] = 1  # filters remove the mean; its logarithm would be infinite
    moduli, skewness = [], []
    for scale in range(SCALES):
        ring = np.exp(-(np.log2(radius * 4 * 2**scale) ** 2) / (2 * 0.65**2))
        ring[0, 0] = 0
        band = np.fft.ifft2(spectrum * ring).real
        skewness.append(np.mean(band**3) / (np.mean(band**2) ** 1.5 + 1e-9))
        for number in range(ORIENTATIONS):
            turned = np.angle(np.exp(1j * (angle - np.pi * number / ORIENTATIONS)))
            wedge = np.exp(-(turned**2) / (2 * (np.pi / ORIENTATIONS / 1.5) ** 2))
            moduli.append(np.abs(np.fft.ifft2(spectrum * ring * wedge)))
    moduli = np.stack(moduli)[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
    return np.concatenate([_correlations(moduli), skewness])


def _correlations(moduli: np.ndarray) -> np.ndarray:
    """Return the statistics of moduli `[filters, h, w]`."""
    mean, deviation = moduli.mean((1, 2)), moduli.std((1, 2)) + 1e-6
    unit = (moduli - mean[:, None, None]) / deviation[:, None, None]
    pairs = np.einsum("ihw,jhw->ij", unit, unit) / unit[0].size
    parts = [pairs[np.triu_indices(len(unit), 1)], deviation / mean, np.log(mean)]
    height, width = unit.shape[1:]
    for number, one in enumerate(unit):
        for step in (4 * 2 ** (number // ORIENTATIONS), 8 * 2 ** (number // ORIENTATIONS)):
            down, right = one[: height - step], one[:, : width - step]
            corner, other = one[: height - step, : width - step], one[: height - step, step:]
            parts.append(
                [
                    np.mean(down * one[step:]),
                    np.mean(right * one[:, step:]),
                    np.mean(corner * one[step:, step:]),
                    np.mean(other * one[step:, : width - step]),
                ]
            )
    return np.concatenate([np.ravel(part) for part in parts])


def _levels(sound: ArrayLike, rate: float) -> np.ndarray:
    """Return the levels of a sound in dB, `[bands, windows]`."""
    sound = np.asarray(sound, np.float64)
    sound = sound[:, 0] if sound.ndim == 2 and sound.shape[1] == 1 else sound
    if sound.ndim != 1 or len(sound) < 0.4 * rate:
        raise ValueError(
            f"Expected a sound [samples] or [samples, 1] of 0.4 seconds or more at {rate:g} Hz, "
            f"received shape {sound.shape}."
        )
    frequencies, power = _spectrogram(sound, int(0.046 * rate), rate)
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

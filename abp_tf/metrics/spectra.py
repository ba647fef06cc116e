"""Power spectra of images: how much detail they have at each scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Frequencies of the finest details, in cycles per pixel: wavelengths of 2 to 2⅔ pixels.
FINEST = (0.375, 0.5)


class PowerRatio(NamedTuple):
    """Power of images over that of real ones.

    Attributes:
        frequency: frequencies in cycles per pixel, from 0 exclusive to 0.5, float64 `[f]`.
        ratio: power of the images over that of the reference at these frequencies, float64 `[f]`.
        finest: ratio of the mean powers at the frequencies `FINEST`.
    """

    frequency: np.ndarray
    ratio: np.ndarray
    finest: float


def radial_power(images: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the radially averaged power spectrum of images.

    The mean of each image is removed. A Hann window prevents that the difference of opposite borders
    counts as fine detail. Power is averaged over images, channels and directions.

    Args:
        images: images `[n, h, w, c]`, sides of 4 or more.

    Returns:
        Frequencies in cycles per pixel and the power at them, float64 `[f]`. Frequency number i is the
        middle of a ring of width `1 / s`, for a shorter side of s pixels, and `f = s // 2`. White noise
        of variance v has the power v everywhere.

    Raises:
        ValueError: if the rank is another, a side is shorter, or values are not finite.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 2, (200, 8, 8, 1))
        >>> radial_power(noise)[0]
        array([0.125, 0.25 , 0.375, 0.5  ])
    """
    images = np.asarray(images, np.float64)
    if images.ndim != 4 or min(images.shape[1:3]) < 4 or not images.size:
        raise ValueError(
            f"Expected images [n, h, w, c] with sides of 4 or more, received shape {images.shape}."
        )
    if not np.isfinite(images).all():
        raise ValueError("Expected finite values, received NaN or infinity.")
    height, width = images.shape[1:3]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    window /= np.sqrt((window**2).sum())
    power: np.ndarray = np.zeros(())
    for image in images:  # one by one: transforms of all would fill memory
        centred = (image - image.mean((0, 1))) * window[..., None]
        power = power + (np.abs(np.fft.fft2(centred, axes=(0, 1))) ** 2).mean(-1)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    side = min(height, width)
    ring = np.rint(radius * side).astype(int)
    count, total = (np.bincount(ring.ravel(), weights) for weights in (None, power.ravel()))
    rings = slice(1, side // 2 + 1)
    return np.arange(side // 2 + 1)[rings] / side, total[rings] / count[rings] / len(images)


def power_ratio(images: ArrayLike, reference: ArrayLike) -> PowerRatio:
    """Return the power of images over that of real ones, by frequency.

    Args:
        images: the images to judge, `[n, h, w, c]`.
        reference: real images of the same height and width, `[m, h, w, c]`.

    Returns:
        A `PowerRatio`: 1 everywhere for real images, below 1 at the finest frequencies for blurred
        ones. Grain in place of edges can have the same power: see `nearest_patch_ratio` for that.

    Raises:
        ValueError: as in `radial_power`, or if the sizes differ.

    Example:
        >>> sharp = np.random.default_rng(0).normal(size=(50, 16, 16, 1))
        >>> blurred = (sharp + np.roll(sharp, 1, axis=1) + np.roll(sharp, 1, axis=2)) / 3
        >>> power_ratio(sharp, sharp).finest, power_ratio(blurred, sharp).finest < 0.3
        (1.0, True)
    """
    if np.shape(images)[1:3] != np.shape(reference)[1:3]:
        raise ValueError(
            f"Expected images and reference of one size, received the shapes {np.shape(images)} and "
            f"{np.shape(reference)}. Crop them."
        )
    frequency, power = radial_power(images)
    real = radial_power(reference)[1]
    low, high = FINEST
    fine = (frequency >= low) & (frequency <= high)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, finest = power / real, power[fine].mean() / real[fine].mean()
    return PowerRatio(frequency, ratio, float(finest))

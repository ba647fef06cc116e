"""Damage signals in ways that a person sees or hears, to calibrate measures of their quality."""

from __future__ import annotations

import numpy as np

from abp_tf.metrics import perceptual


def blurred(images: np.ndarray, size: int) -> np.ndarray:
    """Return images `[n, h, w, c]` averaged over squares of an odd number of pixels."""
    half, (height, width) = size // 2, images.shape[1:3]
    padded = np.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode="edge")
    shifts = np.ndindex(size, size)
    return sum(padded[:, i : i + height, j : j + width] for i, j in shifts) / size**2


def shuffled(images: np.ndarray, side: int) -> np.ndarray:
    """Return images `[n, h, w, c]` whose square tiles are in another order, in each image its own."""
    n, height, width, channels = images.shape
    rows, columns = height // side, width // side
    tiles = images[:, : rows * side, : columns * side]
    tiles = tiles.reshape(n, rows, side, columns, side, channels).swapaxes(2, 3)
    tiles = tiles.reshape(n, rows * columns, side, side, channels)
    random = np.random.default_rng(0)
    tiles = np.stack([random.permutation(one) for one in tiles])
    tiles = tiles.reshape(n, rows, columns, side, side, channels).swapaxes(2, 3)
    return tiles.reshape(n, rows * side, columns * side, channels)


def damaged_images(real: np.ndarray, tiles: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return images by the name of their damage, clipped to [-1, 1].

    Args:
        real: images `[n, h, w, c]` in [-1, 1].
        tiles: sides of the tiles that are shuffled.
    """
    noise = np.random.default_rng(0).normal(size=real.shape)
    down, right = (np.linspace(-2, 2, size) ** 2 for size in real.shape[1:3])
    middle = np.exp(-np.add.outer(down, right))[..., None]
    found = {
        "none": real,
        "+ N(0, 0.05²)": real + 0.05 * noise,
        "+ N(0, 0.1²)": real + 0.1 * noise,
        "+ N(0, 0.2²)": real + 0.2 * noise,
        "blurred 3x3": blurred(real, 3),
        "blurred 5x5": blurred(real, 5),
        **{f"tiles of {side}x{side} shuffled": shuffled(real, side) for side in tiles},
        "brighter in the middle": real + 0.4 * middle,
        "noise of the same spectrum": np.stack(
            [perceptual.spectrum_noise(one, seed) for seed, one in enumerate(real)]
        ),
    }
    return {name: np.clip(one, -1, 1).astype(np.float32) for name, one in found.items()}


def damaged_sounds(real: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Return sounds by the name of their damage.

    Args:
        real: a sound `[samples]`.
        rate: samples per second.
    """
    random = np.random.default_rng(0)
    hiss = random.normal(0, real.std(), real.shape)
    third = len(real) // 3

    def pieces(seconds: float) -> np.ndarray:
        size = int(seconds * rate)
        return random.permutation(real[: len(real) // size * size].reshape(-1, size)).ravel()

    return {
        "none": real,
        "hiss of -40 dB": real + 0.01 * hiss,
        "hiss of -30 dB": real + 10**-1.5 * hiss,
        "hiss of -20 dB": real + 0.1 * hiss,
        "muffled: means of 5 samples": np.convolve(real, np.full(5, 0.2), "same"),
        "events on top of each other": sum(np.roll(real, k * third) for k in range(3)) / 3**0.5,
        "pieces of 0.1 s shuffled": pieces(0.1),
        "pieces of 0.02 s shuffled": pieces(0.02),
        "noise of the same spectrum": perceptual.spectrum_noise(real[:, None])[:, 0],
    }

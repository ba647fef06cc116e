"""Distances between images, or textures, by their small patches: what shows grain, blur and seams.

Features of a classifier hardly change where an image gets a grain; its patches do. Images are
`[n, h, w, c]`, textures `[h, w, c]`, of any range, computed in float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks

_BLOCK = 500  # rows of a matrix of distances that are in memory at once
_SMALLEST = 16  # shorter side of the coarsest level of a pyramid
_PATCH = 7  # side of the patches of a pyramid


def nearest_patch_ratio(
    images: ArrayLike,
    reference: ArrayLike,
    unseen: ArrayLike,
    size: int = 5,
    *,
    patches: int = 4000,
    references: int = 40_000,
    contrast: float = 0.15,
    seed: int = 0,
) -> float:
    """Return how far patches of images are from training patches, relative to real images.

    Patches are square and at random positions, as far as they bear contrast: the standard deviation
    of their values is above `contrast`. Without this limit flat ground, which all images share, would
    count most. The mean Euclidean distance of patches of `images` to the nearest of the patches of
    `reference` is divided by the same mean for `unseen`.

    Args:
        images: the images to judge, `[n, h, w, c]`.
        reference: training images `[m, h', w', c]`.
        unseen: real images `[k, h'', w'', c]` that are not in `reference`.
        size: side of the patches in pixels.
        patches: number of patches of `images`, and of `unseen`; all that bear contrast if there are
            fewer.
        references: number of patches of `reference`, likewise. Ratios of other numbers differ.
        contrast: the standard deviation above which a patch counts; the default is for [-1, 1].
        seed: seed of the positions.

    Returns:
        A float: about 1 for real images, above 1 for grain, ragged outlines and noise, below 1 for
        blur, whose patches are smoother than real ones. NaN if no patch of `images` bears contrast.

    Raises:
        ValueError: if shapes do not match, an image is smaller than a patch, values are not finite, or
            no patch of `reference` or of `unseen` bears contrast.

    Example:
        >>> draw = np.random.default_rng(0).normal
        >>> train, test = draw(size=(2, 20, 16, 16, 1)).cumsum(2)
        >>> nearest_patch_ratio(test + draw(size=test.shape), train, test) > 1.1
        True
    """
    checks.integer("nearest_patch_ratio", "size", size, 2)
    checked = [_images(one, size) for one in (images, reference, unseen)]
    if len({one.shape[-1] for one in checked}) > 1:
        raise ValueError(
            "Expected images, reference and unseen with equal numbers of channels, received the shapes "
            f"{', '.join(str(one.shape) for one in checked)}."
        )
    images, reference, unseen = checked
    known = _drawn(reference, size, references, contrast, seed)
    # Patches of syntheses and of unseen images have equal positions: less chance in their ratio.
    judged, real = (_drawn(one, size, patches, contrast, seed + 1) for one in (images, unseen))
    if not (len(known) and len(real)):
        raise ValueError(
            f"Expected patches of side {size} with a standard deviation above {contrast}, found none "
            f"in reference or unseen images, of shapes {reference.shape} and {unseen.shape}. Give a "
            "lower `contrast`."
        )
    wanted = _nearest(real, known)
    if not wanted:
        raise ValueError(
            "Expected real images that are not in the reference, received only patches that are. "
            "Hold some images out."
        )
    return _nearest(judged, known) / wanted if len(judged) else math.nan


def sliced_wasserstein(
    texture: ArrayLike,
    reference: ArrayLike,
    *,
    patches: int = 10_000,
    slices: int = 128,
    seed: int = 0,
    per_level: bool = False,
) -> float | np.ndarray:
    """Return the sliced Wasserstein distance of patches of two textures on a Laplacian pyramid.

    The metric of Karras et al. (2018, "Progressive growing of GANs", section 5). Each level of the
    pyramid, from the finest to one with a shorter side of 16 to 31 pixels, gives patches of 7×7. Their
    values are taken along random directions, and the distance of the sorted values is averaged.
    Unlike there, channels are divided by the deviations of the reference alone, so that contrast and
    colour count; and levels are those of the filter-subtract-decimate pyramid.

    Args:
        texture: the texture `[h, w, c]`, sides of 16 or more.
        reference: the texture to compare with, `[h', w', c]`; both need levels of equal number, so that
            sizes may differ by less than a factor of two or so.
        patches: number of patches of each level; all if there are fewer.
        slices: number of directions.
        seed: seed of patches and directions.
        per_level: whether to return one distance per level, finest first.

    Returns:
        A float, the mean over levels, in standard deviations of the reference; or float64 `[levels]` if
        `per_level`. Compare with the distance of two crops of one photograph, which is above 0.

    Raises:
        ValueError: if a rank, a side or the channels do not match, or values are not finite.

    Example:
        >>> bricks = abp_tf.data.load_texture("brick", size=128).train[0]
        >>> sliced_wasserstein(bricks, bricks)
        0.0
    """
    pair = [_images(np.asarray(one)[None], _SMALLEST) for one in (texture, reference)]
    levels = [_pyramid(one) for one in pair]
    if pair[0].shape[-1] != pair[1].shape[-1] or len(levels[0]) != len(levels[1]):
        raise ValueError(
            "Expected textures of equal channels and similar sizes, received the shapes "
            f"{pair[0].shape[1:]} and {pair[1].shape[1:]}. Cut the larger one."
        )
    distances = []
    for level, (one, other) in enumerate(zip(*levels, strict=True)):
        mean, deviation = other.mean((0, 1, 2)), other.std((0, 1, 2)) + 1e-6
        sets = [
            _drawn((values - mean) / deviation, _PATCH, patches, -1, seed + level)
            for values in (one, other)
        ]
        directions = np.random.default_rng(seed).normal(size=(sets[0].shape[1], slices))
        directions /= np.linalg.norm(directions, axis=0)
        # A few directions at a time: projections of all patches on all of them would fill memory.
        parts = np.array_split(directions.astype(np.float32), max(slices // 32, 1), axis=1)
        distances.append(
            np.concatenate([_wasserstein(*(values @ part for values in sets)) for part in parts]).mean()
        )
    return np.array(distances) if per_level else float(np.mean(distances))


def _images(images: ArrayLike, size: int) -> np.ndarray:
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or min(images.shape[1:3]) < size or not images.size:
        raise ValueError(
            f"Expected images [n, h, w, c] with sides of {size} or more, received shape {images.shape}."
        )
    if not np.isfinite(images).all():
        raise ValueError("Expected finite values, received NaN or infinity.")
    return images


def _drawn(images: np.ndarray, size: int, count: int, contrast: float, seed: int) -> np.ndarray:
    """Return patches with contrast at random positions, float32 `[count or fewer, size² c]`."""
    views = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))
    total = int(np.prod(views.shape[:3]))
    places = np.random.default_rng(seed).permutation(total)
    parts, kept = [], 0
    for start in range(0, total, count):
        where = np.unravel_index(places[start : start + count], views.shape[:3])
        found = views[where].reshape(len(where[0]), -1)
        parts.append(found[found.std(axis=1) > contrast])
        kept += len(parts[-1])
        if kept >= count:
            break
    return np.concatenate(parts)[:count]


def _nearest(patches: np.ndarray, known: np.ndarray) -> float:
    """Return the mean distance of patches to the nearest of the known ones."""
    squares = np.einsum("nd,nd->n", known, known)
    total = 0.0
    for start in range(0, len(patches), _BLOCK):
        block = patches[start : start + _BLOCK]
        nearest = known[(squares - 2 * block @ known.T).argmin(axis=1)]
        # Computed again from the difference, because the products round.
        total += np.linalg.norm((block - nearest).astype(np.float64), axis=1).sum()
    return float(total / len(patches))


def _wasserstein(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Wasserstein distances between columns of `[n, s]` and `[m, s]`, float64 `[s]`."""
    a, b = np.sort(a, axis=0).astype(np.float64), np.sort(b, axis=0).astype(np.float64)
    n, m = len(a), len(b)
    # Both quantile functions are constant between these ends, which are in units of 1 / (n m).
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    return widths @ np.abs(a[(ends - 1) // m] - b[(ends - 1) // n])


def _pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Return differences of scales `[n, h, w, c]`, finest first, and the coarsest scale itself."""
    levels = []
    while min(images.shape[1:3]) >= 2 * _SMALLEST:
        smooth = _smoothed(images)
        levels.append(images - smooth)
        images = smooth[:, ::2, ::2]
    return [*levels, images]


def _smoothed(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        pad = [(2, 2) if number == axis else (0, 0) for number in range(4)]
        padded = np.pad(images, pad, mode="reflect")
        length = images.shape[axis]
        taps = (padded.take(range(i, i + length), axis) for i in range(5))
        images = np.asarray(sum(w / 16 * tap for w, tap in zip((1, 4, 6, 4, 1), taps, strict=True)))
    return images.astype(np.float32)

"""Weights that combine the latents of two or four examples, for `Generator.interpolate`."""

from __future__ import annotations

import numpy as np

from abp_tf import checks


def line(count: int) -> np.ndarray:
    """Return weights of points on the straight line from one latent to another.

    Args:
        count: number of points, both ends included; 2 or more.

    Returns:
        float32 `[count, 2]`; rows sum to 1.

    Example:
        >>> line(3).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    share = _shares(count)
    return np.stack([1 - share, share], axis=1)


def arc(count: int) -> np.ndarray:
    """Return weights `(√(1 − ρ²), ρ)` of points on the arc from one latent to another.

    Such a combination of two independent draws from the prior is again a draw from the prior: the
    spherical interpolation of arXiv 1606.08571.

    Args:
        count: number of points, both ends included; 2 or more.

    Returns:
        float32 `[count, 2]`; the squares of each row sum to 1.
    """
    angle = _shares(count) * np.float32(np.pi / 2)
    weights = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    weights[-1] = 0, 1
    return weights


def square(count: int) -> np.ndarray:
    """Return weights of `count × count` points between four latents, row by row.

    Args:
        count: number of points along one side, both ends included; 2 or more.

    Returns:
        float32 `[count², 4]`; corners in the order upper left, upper right, lower left, lower right.
    """
    side = line(count)
    return np.einsum("ia,jb->ijab", side, side).reshape(count * count, 4)


def _shares(count: int) -> np.ndarray:
    checks.integer("Interpolation", "count", count, 2)
    return np.linspace(0, 1, count, dtype=np.float32)

"""Normal distributions, and mixtures of those of one deviation, for NumPy arrays.

A mixture has k components `N(centers[j], deviation²)` of equal weights; it is the distribution of a
value whose posterior draws are `centers` and whose noise has standard deviation `deviation`. Where the
deviation is 0 it is that of the draws alone, whose quantiles lie between them by linear interpolation
(`np.quantile`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

# Each step halves the interval that contains a quantile, which is as wide as the draws lie apart.
_HALVINGS = 20


def quantile(share: float) -> float:
    """Return the quantile of the standard normal distribution at a share between 0 and 1.

    Example:
        >>> round(quantile(0.95), 4)
        1.6449
    """
    return NormalDist().inv_cdf(share)


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function, of the dtype of `x`.

    TensorFlow computes it where it is loaded, a hundred times as fast as Python's scalar function,
    which `abp_tf_client` uses without TensorFlow.
    """
    if tensorflow := sys.modules.get("tensorflow"):
        return tensorflow.math.erf(x).numpy()
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def cdf(x: np.ndarray) -> np.ndarray:
    """Return the distribution function Φ of the standard normal distribution, of the dtype of `x`."""
    return (1 + erf(x / math.sqrt(2))) / 2


def expected_distance(difference: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return `E |d + s ε|` for `ε ~ N(0, 1)`, which is `d (2Φ(d/s) − 1) + 2 s φ(d/s)`.

    Args:
        difference: d, float of any shape.
        deviation: s, 0 or more, of the same dtype; broadcasts against `difference`.
    """
    wide = deviation > 0
    if not np.any(wide):
        return np.abs(difference)
    scaled = difference / np.where(wide, math.sqrt(2) * deviation, 1)
    found = difference * erf(scaled)
    found += np.exp(-scaled * scaled) * (math.sqrt(2 / math.pi) * deviation)
    return found if np.all(wide) else np.where(wide, found, np.abs(difference))


def mixture_cdf(x: np.ndarray, centers: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the distribution function of mixtures.

    Where the deviation is 0 it is the inverse of the interpolated quantile. If several draws equal `x`,
    each share between their ranks is an inverse, and the one closest to 1/2 is returned.

    Args:
        x: float64 `[m]`.
        centers: float64 `[k, m]`.
        deviation: float64 `[m]`.

    Returns:
        float64 `[m]`.

    Example:
        >>> draws = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
        >>> mixture_cdf(np.array([1.5, 0.0]), draws, np.zeros(2))
        array([0.25, 0.5 ])
    """
    wide = deviation > 0
    found = np.empty(x.shape)
    found[wide] = cdf((x - centers)[:, wide] / deviation[wide]).mean(axis=0)
    x, centers = x[~wide], np.sort(centers[:, ~wide], axis=0)
    last = len(centers) - 1
    below, up_to = (centers < x).sum(axis=0), (centers <= x).sum(axis=0)
    left, right = (
        np.take_along_axis(centers, np.clip(rank, 0, last)[None], axis=0)[0]
        for rank in (below - 1, below)
    )
    between = (below > 0) & (below <= last) & (up_to == below)
    part = np.where(between, (x - left) / np.where(between, right - left, 1), 0)
    lowest = np.where(below > last, 1, (below - between + part) / max(last, 1))
    highest = np.where(up_to > last, 1, (up_to - 1) / max(last, 1))
    found[~wide] = np.clip(0.5, lowest, np.maximum(lowest, highest))
    return found


def mixture_quantiles(
    shares: Sequence[float], centers: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
    """Return quantiles of mixtures, by bisection.

    The quantile of a mixture lies between the least and the largest of its components' quantiles. The
    error is below a millionth of the draws' range, or of the deviation if that is larger; between
    draws so far apart that no mass lies between them it may be any value there.

    Args:
        shares: shares below the quantiles, each between 0 and 1.
        centers: float `[k, ...]`.
        deviation: float, of the shape of a draw.

    Returns:
        float64 `[len(shares), ...]`; equal draws without noise are returned exactly.

    Example:
        >>> mixture_quantiles([0.25, 0.75], np.array([[1.0], [3.0]]), np.array([0.2])).round(3)
        array([[1.],
               [3.]])
    """
    found = np.empty((len(shares), *centers.shape[1:]))
    wide = deviation > 0
    found[:, ~wide] = np.quantile(centers[:, ~wide], shares, axis=0)
    if not wide.any():
        return found
    deviation, centers = deviation[wide], centers[:, wide]
    middle = centers.mean(axis=0)
    # In units of the deviation, where float32 is precise enough and quicker than float64.
    centers = ((centers - middle) / deviation).astype(np.float32)
    for number, share in enumerate(shares):
        low, high = (end + np.float32(quantile(share)) for end in (centers.min(0), centers.max(0)))
        for _ in range(_HALVINGS):
            half = (low + high) / 2
            below = cdf(half - centers).mean(axis=0) < share
            low, high = np.where(below, half, low), np.where(below, high, half)
        found[number][wide] = middle + deviation * (low + high) / 2
    return found

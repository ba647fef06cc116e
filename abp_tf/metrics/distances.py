"""Distances between two sets of features: pure functions of NumPy arrays, in float64.

The features are arguments, from `abp_tf.metrics.features` for instance. Distances depend on them:
compare only distances by the same features.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets of features.

    `‖mean_a − mean_b‖² + tr(C_a + C_b − 2 (C_a^½ C_b C_a^½)^½)` (Dowson and Landau, 1982), with
    means and unbiased covariances of the sets. Finite sets of the same distribution have a distance
    above 0; compare only distances of sets of the same size.

    Args:
        features_a: features of the first set, `[n, d]`.
        features_b: features of the second set, `[m, d]`.

    Returns:
        A non-negative float.

    Raises:
        ValueError: if the shapes do not match, a set has fewer than 2 rows, or a feature is not finite.

    Example:
        >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
        9.0
    """
    a, b = _checked_features(features_a, features_b)
    shift = a.mean(axis=0) - b.mean(axis=0)
    scale_a, axes_a = _principal_axes(a)
    scale_b, axes_b = _principal_axes(b)
    # The trace of the root is the sum of the singular values of C_a^½ C_b^½. Computed from the
    # features, they need no root of an eigenvalue that rounding made negative, and there may be
    # fewer rows than features.
    product = scale_a[:, None] * (axes_a @ axes_b.T) * scale_b
    overlap = np.linalg.svd(product, compute_uv=False).sum()
    distance = shift @ shift + scale_a @ scale_a + scale_b @ scale_b - 2 * overlap
    return max(float(distance), 0.0)


def kernel_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Return an unbiased estimate of the squared maximum mean discrepancy of two sets of features.

    The kernel is `(x·y/d + 1)³`, the estimator that of Bińkowski et al. (2018). Its expectation does
    not depend on the size of the sets and is 0 for sets of the same distribution; single values may
    be negative.

    Args:
        features_a: features of the first set, `[n, d]`.
        features_b: features of the second set, `[m, d]`.

    Returns:
        A float.

    Raises:
        ValueError: if the shapes do not match, a set has fewer than 2 rows, or a feature is not finite.

    Example:
        >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]])
        7.0
    """
    a, b = _checked_features(features_a, features_b)
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - _kernel(a, a).sum()) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - _kernel(b, b).sum()) / (m * (m - 1))
    return float(within_a + within_b - 2 * _kernel_sum(a, b) / (n * m))


class PrecisionRecall(NamedTuple):
    """Shares of features that lie among those of another set.

    Attributes:
        precision: share of the syntheses among the real features: how real they are.
        recall: share of the real features among the syntheses: how much of the data they cover.
    """

    precision: float
    recall: float


def precision_recall(features: ArrayLike, reference: ArrayLike, neighbours: int = 3) -> PrecisionRecall:
    """Return the improved precision and recall of syntheses (Kynkäänniemi et al., 2019).

    A set of features covers the balls around each of them, as large as the distance to its k-th nearest
    neighbour in the set. Precision is the share of `features` that `reference` covers, recall the share
    of `reference` that `features` cover. Both depend on the numbers of rows: compare sets of one size.

    Args:
        features: features of the syntheses, `[n, d]`.
        reference: features of real images, `[m, d]`.
        neighbours: the number k.

    Returns:
        A `PrecisionRecall` of two shares. Between two sets of real images both are below 1.

    Raises:
        ValueError: if the shapes do not match, a set has no more than `neighbours` rows, or a feature
            is not finite.

    Example:
        >>> precision_recall([[0.0], [1.0], [9.0]], [[0.0], [1.0], [2.0]], neighbours=1)
        PrecisionRecall(precision=0.6666666666666666, recall=1.0)
    """
    a, b = _checked_features(features, reference)
    checks.integer("precision_recall", "neighbours", neighbours, 1)
    if neighbours >= min(len(a), len(b)):
        raise ValueError(
            f"Expected sets of more than neighbours={neighbours} rows, received {len(a)} and {len(b)}."
        )
    return PrecisionRecall(_covered(a, b, neighbours), _covered(b, a, neighbours))


def _covered(features: np.ndarray, by: np.ndarray, neighbours: int) -> float:
    # The nearest neighbour of a row within its own set, at index 0, is the row itself.
    parts = [np.partition(block, neighbours)[:, neighbours] for block in _squares(by, by)]
    radii = np.concatenate(parts)
    return float(np.concatenate([(d <= radii).any(axis=1) for d in _squares(features, by)]).mean())


def _squares(a: np.ndarray, b: np.ndarray, rows: int = 1000) -> Iterator[np.ndarray]:
    # Squared distances of all pairs, in blocks of rows of `a`.
    centre = b.mean(axis=0)  # products of large features would round away their differences
    a, b = a - centre, b - centre
    norms = np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), rows):
        block = a[start : start + rows]
        squares = np.einsum("nd,nd->n", block, block)[:, None] - 2 * block @ b.T + norms
        yield np.maximum(squares, 0)


def _checked_features(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            "Expected features [n, d] and [m, d] with at least 2 rows each, received the shapes "
            f"{a.shape} and {b.shape}; pool feature maps to vectors first."
        )
    for name, features in (("first", a), ("second", b)):
        bad = int((~np.isfinite(features)).sum())
        if bad:
            raise ValueError(
                f"Expected finite features, received {bad} NaN or infinite ones in the {name} "
                "argument; check whether the images they come from are finite."
            )
    return a, b


def _principal_axes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Standard deviations along the principal axes, and the axes as rows.
    centred = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    return scale, axes


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Of each row of `a` with the same row of `b`.
    return (np.einsum("nd,nd->n", a, b) / a.shape[1] + 1) ** 3


def _kernel_sum(a: np.ndarray, b: np.ndarray, rows: int = 1000) -> float:
    # Over all pairs, in blocks of rows: the whole matrix of two large sets would fill memory.
    blocks = (a[start : start + rows] for start in range(0, len(a), rows))
    return sum(float(((block @ b.T / a.shape[1] + 1) ** 3).sum()) for block in blocks)

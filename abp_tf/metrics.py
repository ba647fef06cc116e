"""How far signals are from each other: pure functions of NumPy arrays, summed in float64.

Signals are `[n, ...]` with the channel axis last and values in [-1, 1]. A mask is bool or 0/1,
1 where observed, of the shape of the signals or the same without the channel axis; hidden
entries of the signals may then hold anything, NaN included.

The Fréchet and kernel distances compare sets of *given* features. Their values depend on where
the features come from, so that only values with the same features can be compared.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks

# From the darkest to the brightest value of a signal.
_RANGE = 2.0


class Verdict(NamedTuple):
    """What the errors on three sets say about a model: a number and a word."""

    gap: float
    text: str


def reconstruction_error(
    signal: ArrayLike,
    reconstruction: ArrayLike,
    mask: ArrayLike | None = None,
    per_example: bool = False,
) -> float | np.ndarray:
    """Mean squared error per observed entry.

    The mean is over all observed entries of all examples together: an example of which more is
    seen weighs more.

    Args:
        signal: `[n, ...]`, channels last, in [-1, 1].
        reconstruction: Same shape.
        mask: Same shape, or without the channel axis; bool or 0/1, 1 where observed. None if
            everything is observed.
        per_example: Whether to return one error per example.

    Returns:
        A float, or float64 `[n]` if `per_example`.

    Raises:
        ValueError: If shapes do not fit, the mask holds other values, nothing is observed of an
            example, or an observed entry is not finite.

    Example:
        >>> reconstruction_error([[0.0, 1.0]], [[0.5, 0.0]], mask=[[1, 0]])
        0.25
    """
    difference, counted = _compare(signal, reconstruction, mask, hidden=False)
    return _mean(difference**2, counted, per_example)


def absolute_error(
    signal: ArrayLike, reconstruction: ArrayLike, mask: ArrayLike | None = None
) -> float:
    """Mean absolute error per observed entry, as a fraction of the range: halved, on [-1, 1].

    Tables call it MAE/range. Arguments and errors are those of `reconstruction_error`.

    Returns:
        A float; 0 is perfect, 1 is black for white everywhere.

    Example:
        >>> absolute_error([[0.0, 1.0]], [[0.5, 1.0]])
        0.125
    """
    difference, counted = _compare(signal, reconstruction, mask, hidden=False)
    return _mean(np.abs(difference), counted, per_example=False) / _RANGE


def recovery_error(truth: ArrayLike, recovered: ArrayLike, mask: ArrayLike) -> float:
    """Mean absolute error per *hidden* entry, as a fraction of the range: halved, on [-1, 1].

    Args:
        truth: The whole signals `[n, ...]`, channels last, in [-1, 1].
        recovered: Same shape; what a model put in place of the hidden entries. Observed entries
            do not count.
        mask: Same shape, or without the channel axis; bool or 0/1, 0 where hidden.

    Returns:
        A float; 0 is perfect.

    Raises:
        ValueError: If shapes do not fit, the mask holds other values, nothing is observed of an
            example, nothing is hidden at all, or an entry that counts is not finite.

    Example:
        >>> recovery_error([[0.0, 1.0]], [[9.0, 0.5]], mask=[[1, 0]])
        0.25
    """
    difference, counted = _compare(truth, recovered, mask, hidden=True)
    return _mean(np.abs(difference), counted, per_example=False) / _RANGE


def psnr(
    signal: ArrayLike,
    reconstruction: ArrayLike,
    mask: ArrayLike | None = None,
    per_example: bool = False,
) -> float | np.ndarray:
    """Peak signal-to-noise ratio in decibels, `10 log10(range² / error)` with the range 2.

    Arguments and errors are those of `reconstruction_error`. The ratio is taken example by
    example and then averaged, as is usual.

    Returns:
        A float, or float64 `[n]` if `per_example`; infinite where a reconstruction is exact.

    Example:
        >>> psnr([[0.0]], [[0.2]])
        20.0
    """
    errors = reconstruction_error(signal, reconstruction, mask, per_example=True)
    with np.errstate(divide="ignore"):
        ratios = 10 * np.log10(_RANGE**2 / errors)
    return ratios if per_example else float(ratios.mean())


def ssim(signal: ArrayLike, reconstruction: ArrayLike, per_example: bool = False) -> float | np.ndarray:
    """Structural similarity of whole images (Wang et al., 2004), by `tf.image.ssim`.

    Gaussian window of 11 x 11 pixels with standard deviation 1.5, inside the image only. Images
    of less than 11 pixels a side get the largest window of odd size that fits; such values can
    be compared with each other only.

    Args:
        signal: Images `[n, h, w, c]` in [-1, 1], at least 3 pixels a side.
        reconstruction: Same shape.
        per_example: Whether to return one value per image.

    Returns:
        The mean over images, or float64 `[n]` if `per_example`; 1 for equal images.

    Raises:
        ValueError: If shapes do not fit, images are too small, or an entry is not finite.

    Example:
        >>> ssim(np.zeros((1, 28, 28, 1)), np.zeros((1, 28, 28, 1)))
        1.0
    """
    signal, reconstruction = _checked_pair(signal, reconstruction)
    if signal.ndim != 4 or min(signal.shape[1:3]) < 3:
        raise ValueError(
            f"Expected images [n, h, w, c] of at least 3 x 3 pixels, received the shape {signal.shape}."
        )
    _check_finite(signal, reconstruction)
    side = min(11, *signal.shape[1:3])
    # The index is made for non-negative brightness, hence on [0, 2].
    values = tf.image.ssim(
        tf.constant(signal + 1, tf.float32),
        tf.constant(reconstruction + 1, tf.float32),
        max_val=_RANGE,
        filter_size=side if side % 2 else side - 1,
    )
    values = values.numpy().astype(np.float64)
    return values if per_example else float(values.mean())


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Fréchet distance of the Gaussians with the means and covariances of two sets of features.

    `‖mean_a − mean_b‖² + tr(C_a + C_b − 2 (C_a^½ C_b C_a^½)^½)` (Dowson and Landau, 1982), with
    unbiased covariances. Finite sets of the same distribution are not at distance 0; compare
    distances of sets of the same size.

    Args:
        features_a: `[n, d]`.
        features_b: `[m, d]`.

    Returns:
        A non-negative float.

    Raises:
        ValueError: If shapes do not fit, a set has fewer than 2 rows, or a feature is not finite.

    Example:
        >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
        9.0
    """
    a, b = _checked_features(features_a, features_b)
    shift = a.mean(axis=0) - b.mean(axis=0)
    scale_a, axes_a = _principal_axes(a)
    scale_b, axes_b = _principal_axes(b)
    # The trace of the root is the sum of the singular values of C_a^½ C_b^½. Taken from the
    # features themselves, these need no root of an eigenvalue that rounding made negative, and
    # fewer rows than features do no harm.
    product = scale_a[:, None] * (axes_a @ axes_b.T) * scale_b
    overlap = np.linalg.svd(product, compute_uv=False).sum()
    distance = shift @ shift + scale_a @ scale_a + scale_b @ scale_b - 2 * overlap
    return max(float(distance), 0.0)


def kernel_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Squared maximum mean discrepancy with the kernel `(x·y/d + 1)³`, unbiased estimate.

    The estimator of Bińkowski et al. (2018), on given features. Its expectation does not depend
    on the size of the sets and is 0 for sets of the same distribution; single values may be
    negative.

    Args:
        features_a: `[n, d]`.
        features_b: `[m, d]`.

    Returns:
        A float.

    Raises:
        ValueError: If shapes do not fit, a set has fewer than 2 rows, or a feature is not finite.

    Example:
        >>> kernel_distance([[0.0], [0.0]], [[1.0], [1.0]])
        7.0
    """
    a, b = _checked_features(features_a, features_b)
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - _kernel(a, a).sum()) / (n * (n - 1))
    within_b = (_kernel_sum(b, b) - _kernel(b, b).sum()) / (m * (m - 1))
    return float(within_a + within_b - 2 * _kernel_sum(a, b) / (n * m))


def verdict(train: float, test: float, negative: float) -> Verdict:
    """Judges a model by its errors on three sets, all with the same fresh inference.

    If even the negative examples are explained nearly as well as the training examples,
    `negative / train < 1.5`, the model explains nothing in particular: under-fitting. Else
    `gap = (test − train) / (negative − train)` tells where new signals of the learned kind lie
    between the training examples (0) and foreign signals (1): below 1/3 the model is good, above
    2/3 it is over-fitting, and in between it leans to over-fitting.

    Args:
        train: Error on training examples.
        test: Error on signals of the same kind that the model has not seen.
        negative: Error on signals of another kind.

    Returns:
        A `Verdict` of gap and text; the gap of an under-fitting model means nothing and is NaN.

    Raises:
        ValueError: If an error is negative or not finite, or all are 0.

    Example:
        >>> verdict(train=1.0, test=1.5, negative=6.0)
        Verdict(gap=0.1, text='good')
    """
    errors = (train, test, negative)
    if not all(math.isfinite(error) and error >= 0 for error in errors) or negative == 0 == train:
        raise ValueError(
            "Expected three finite, non-negative errors, not all 0, received "
            f"train={train}, test={test}, negative={negative}; look at the reconstructions first."
        )
    if negative < 1.5 * train:
        return Verdict(math.nan, "under-fitting")
    gap = float((test - train) / (negative - train))
    if gap < 1 / 3:
        return Verdict(gap, "good")
    return Verdict(gap, "over-fitting" if gap > 2 / 3 else "leaning to over-fitting")


def _compare(
    signal: ArrayLike, reconstruction: ArrayLike, mask: ArrayLike | None, hidden: bool
) -> tuple[np.ndarray, np.ndarray]:
    # The difference, 0 where it does not count, and where it counts.
    signal, reconstruction = _checked_pair(signal, reconstruction)
    counted = np.ones(signal.shape, bool)
    if mask is not None:
        counted &= checks.mask(mask, signal.shape) != hidden
    if not counted.any():
        raise ValueError(
            f"Expected a mask that hides something, received one with nothing hidden. {checks.POLARITY}"
        )
    # Taken out before anything is computed with them: entries that do not count may be NaN.
    signal, reconstruction = np.where(counted, signal, 0), np.where(counted, reconstruction, 0)
    _check_finite(signal, reconstruction)
    return signal - reconstruction, counted


def _mean(values: np.ndarray, counted: np.ndarray, per_example: bool) -> float | np.ndarray:
    if not per_example:
        return float(values.sum() / counted.sum())
    axes = tuple(range(1, values.ndim))
    return values.sum(axis=axes) / counted.sum(axis=axes)


def _checked_pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim < 2 or a.size == 0:
        raise ValueError(
            "Expected two sets of signals of the same shape [n, ...], not empty, received the "
            f"shapes {a.shape} and {b.shape}."
        )
    return a, b


def _check_finite(*arrays: np.ndarray) -> None:
    for name, array in zip(("first", "second"), arrays, strict=True):
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise ValueError(
                f"Expected finite values in all entries that count, received {bad} NaN or "
                f"infinite ones in the {name} argument; hide them with a mask, or see why the "
                "model diverged."
            )


def _checked_features(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            "Expected features [n, d] and [m, d] with at least 2 rows each, received the shapes "
            f"{a.shape} and {b.shape}; pool feature maps to vectors first."
        )
    _check_finite(a, b)
    return a, b


def _principal_axes(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Standard deviations along the principal axes, and the axes as rows.
    centred = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    return scale, axes


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Row by row.
    return (np.einsum("nd,nd->n", a, b) / a.shape[1] + 1) ** 3


def _kernel_sum(a: np.ndarray, b: np.ndarray, rows: int = 1000) -> float:
    # Over all pairs, some rows at a time: the whole matrix of two large sets would fill memory.
    blocks = (a[start : start + rows] for start in range(0, len(a), rows))
    return sum(float(((block @ b.T / a.shape[1] + 1) ** 3).sum()) for block in blocks)

"""Errors between two sets of signals: pure functions of NumPy arrays, summed in float64.

Signals are `[n, ...]` with the channel axis last and values in [-1, 1]. A mask is bool or 0/1,
1 where observed, of the shape of the signals or the same without the channel axis; hidden
entries of the signals may then hold anything, NaN included.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks

# Difference between the highest and the lowest value of a signal.
_RANGE = 2.0


class Verdict(NamedTuple):
    """The result of `verdict`: the gap, and "good", "over-fitting" and so on as text."""

    gap: float
    text: str


def reconstruction_error(
    signal: ArrayLike,
    reconstruction: ArrayLike,
    mask: ArrayLike | None = None,
    per_example: bool = False,
) -> float | np.ndarray:
    """Return the mean squared error per observed entry.

    The mean is over all observed entries of all examples together: an example with more observed
    entries has a larger weight.

    Args:
        signal: signals `[n, ...]`, channels last, in [-1, 1].
        reconstruction: reconstructions of the same shape.
        mask: mask of the same shape, or without the channel axis; bool or 0/1, 1 where observed. None
            if everything is observed.
        per_example: whether to return one error per example.

    Returns:
        A float, or float64 `[n]` if `per_example`; NaN for an example of which nothing is observed.

    Raises:
        ValueError: if the shapes do not match, the mask holds values other than 0 and 1 or hides
            everything, or an observed entry is not finite.

    Example:
        >>> reconstruction_error([[0.0, 1.0]], [[0.5, 0.0]], mask=[[1, 0]])
        0.25
    """
    difference, counted = _compare(signal, reconstruction, mask, hidden=False)
    return _mean(difference**2, counted, per_example)


def absolute_error(
    signal: ArrayLike, reconstruction: ArrayLike, mask: ArrayLike | None = None
) -> float:
    """Return the mean absolute error per observed entry as a fraction of the range.

    For signals in [-1, 1] that is half of the mean absolute error; tables call it MAE/range.

    Args:
        signal: signals `[n, ...]`, channels last, in [-1, 1].
        reconstruction: reconstructions of the same shape.
        mask: mask of the same shape, or without the channel axis, 1 where observed; None if everything
            is observed.

    Returns:
        A float; 0 is perfect, 1 is black for white everywhere.

    Raises:
        ValueError: as in `reconstruction_error`.

    Example:
        >>> absolute_error([[0.0, 1.0]], [[0.5, 1.0]])
        0.125
    """
    difference, counted = _compare(signal, reconstruction, mask, hidden=False)
    return _overall(np.abs(difference), counted) / _RANGE


def recovery_error(truth: ArrayLike, recovered: ArrayLike, mask: ArrayLike) -> float:
    """Return the mean absolute error per *hidden* entry as a fraction of the range.

    For signals in [-1, 1] that is half of the mean absolute error.

    Args:
        truth: the complete signals `[n, ...]`, channels last, in [-1, 1].
        recovered: signals of the same shape in which a model has filled in the hidden entries.
            Observed entries do not count.
        mask: mask of the same shape, or without the channel axis; bool or 0/1, 0 where hidden.

    Returns:
        A float; 0 is perfect.

    Raises:
        ValueError: if the shapes do not match, the mask holds values other than 0 and 1 or hides
            nothing at all, or an entry that counts is not finite.

    Example:
        >>> recovery_error([[0.0, 1.0]], [[9.0, 0.5]], mask=[[1, 0]])
        0.25
    """
    difference, counted = _compare(truth, recovered, mask, hidden=True)
    return _overall(np.abs(difference), counted) / _RANGE


def psnr(
    signal: ArrayLike,
    reconstruction: ArrayLike,
    mask: ArrayLike | None = None,
    per_example: bool = False,
) -> float | np.ndarray:
    """Return the peak signal-to-noise ratio in decibels, `10 log10(range² / error)` with the range 2.

    The ratio is computed for each example and then averaged, as is usual, over those of which anything
    is observed.

    Args:
        signal: signals `[n, ...]`, channels last, in [-1, 1].
        reconstruction: reconstructions of the same shape.
        mask: mask of the same shape, or without the channel axis, 1 where observed; None if everything
            is observed.
        per_example: whether to return one ratio per example.

    Returns:
        A float, or float64 `[n]` if `per_example`; infinite where a reconstruction is exact, NaN for
        an example of which nothing is observed.

    Raises:
        ValueError: as in `reconstruction_error`.

    Example:
        >>> psnr([[0.0]], [[0.2]])
        20.0
    """
    errors = reconstruction_error(signal, reconstruction, mask, per_example=True)
    with np.errstate(divide="ignore"):
        ratios = 10 * np.log10(_RANGE**2 / errors)
    return ratios if per_example else float(ratios[~np.isnan(ratios)].mean())


def ssim(signal: ArrayLike, reconstruction: ArrayLike, per_example: bool = False) -> float | np.ndarray:
    """Return the structural similarity of images (Wang et al., 2004), by `tf.image.ssim`.

    The Gaussian window has 11 x 11 pixels and standard deviation 1.5, and lies inside the image. For
    images with a side below 11 pixels it is the largest window of odd size that fits; compare such
    values only with each other.

    Args:
        signal: images `[n, h, w, c]` in [-1, 1], with sides of 3 pixels or more.
        reconstruction: reconstructed images of the same shape.
        per_example: whether to return one value per image.

    Returns:
        The mean over images, or float64 `[n]` if `per_example`; 1 for equal images.

    Raises:
        ValueError: if the shapes do not match, images are too small, or an entry is not finite.

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
    # The index is defined for non-negative brightness, hence the shift to [0, 2].
    values = tf.image.ssim(
        tf.constant(signal + 1, tf.float32),
        tf.constant(reconstruction + 1, tf.float32),
        max_val=_RANGE,
        filter_size=side if side % 2 else side - 1,
    )
    values = values.numpy().astype(np.float64)
    return values if per_example else float(values.mean())


def auc(negatives_scores: ArrayLike, positives_scores: ArrayLike) -> float:
    """Return the area under the ROC curve.

    It is the share of all pairs of a negative and a positive example in which the positive one
    has the higher score; ties count half.

    Args:
        negatives_scores: scores of the negative examples, `[n]`, in any unit; they may be infinite.
        positives_scores: scores of the positive examples, `[m]`.

    Returns:
        A float: 1 if every positive score is above every negative score, 0.5 for random scores, 0 if
        every positive score is below.

    Raises:
        ValueError: if a set is not one row of numbers, is empty, or holds NaN.

    Example:
        >>> auc([0.0, 1.0], [1.0, 2.0])
        0.875
    """
    scores = np.asarray(negatives_scores, np.float64), np.asarray(positives_scores, np.float64)
    for name, values in zip(("negative", "positive"), scores, strict=True):
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise ValueError(
                f"Expected one score, not NaN, for each {name} example, received the shape "
                f"{values.shape} with {np.isnan(values).sum()} NaN; flatten scores, and "
                "find out why the model diverged if they are NaN."
            )
    negatives, positives = np.sort(scores[0]), scores[1]
    # How many negatives are below each positive, and how many below or equal.
    below, up_to = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(negatives)))


def verdict(train: float, test: float, negative: float) -> Verdict:
    """Judge a model by its errors on three sets, all with the same fresh inference.

    If the negative examples are reconstructed nearly as well as the training examples,
    `negative / train < 1.5`, the model is under-fitting. Else
    `gap = (test − train) / (negative − train)` is the position of test signals between the training
    examples (0) and signals of another kind (1): below 1/3 the model is good, above 2/3 it is
    over-fitting, and in between it is leaning to over-fitting.

    Args:
        train: error on training examples.
        test: error on signals of the same kind that were not used for training.
        negative: error on signals of another kind.

    Returns:
        A `Verdict` of gap and text; the gap of an under-fitting model is NaN.

    Raises:
        ValueError: if an error is negative or not finite, or all are 0.

    Example:
        >>> verdict(train=1.0, test=1.5, negative=6.0)
        Verdict(gap=0.1, text='good')
    """
    errors = (train, test, negative)
    if not all(math.isfinite(error) and error >= 0 for error in errors) or negative == 0 == train:
        raise ValueError(
            "Expected three finite, non-negative errors, not all 0, received "
            f"train={train}, test={test}, negative={negative}; check the reconstructions first."
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
    # Returns the difference, 0 in entries that do not count, and a mask of the entries that count.
    (signal, first), (reconstruction, second) = map(checks.parted, (signal, reconstruction))
    signal, reconstruction = _checked_pair(signal, reconstruction)
    counted = np.ones(signal.shape, bool)
    for observed in (first, second):
        counted &= True if observed is None else observed
    if mask is not None:
        counted &= checks.mask(mask, signal.shape) != hidden
    if not counted.any():
        state = "hidden" if hidden else "observed"
        raise ValueError(
            f"Expected something {state}, received a mask with nothing {state}. {checks.POLARITY}"
        )
    # Replaced before any arithmetic: entries that do not count may be NaN.
    signal, reconstruction = np.where(counted, signal, 0), np.where(counted, reconstruction, 0)
    _check_finite(signal, reconstruction)
    return signal - reconstruction, counted


def _overall(values: np.ndarray, counted: np.ndarray) -> float:
    return float(values.sum() / counted.sum())


def _mean(values: np.ndarray, counted: np.ndarray, per_example: bool) -> float | np.ndarray:
    if not per_example:
        return _overall(values, counted)
    axes = tuple(range(1, values.ndim))
    with np.errstate(invalid="ignore"):  # 0 / 0 for examples without entries
        return values.sum(axis=axes) / counted.sum(axis=axes)


def _checked_pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    if np.ma.is_masked(a) or np.ma.is_masked(b):
        raise ValueError(
            "Expected whole signals, received a NumPy masked array. Fill in its masked entries first."
        )
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
                f"infinite ones in the {name} argument; hide them with a mask, or find out "
                "why the model diverged."
            )

"""Entries of signals that count, for measures that look at some of them alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks

# Entries that are computed at a time: few enough for their draws to stay in the processor's cache.
_BLOCK = 1 << 12


class Entries:
    """The m entries of signals that count, as one row, and means over them.

    Args:
        truth: the complete signals `[n, ...]`; what NumPy masks of them does not count.
        where: bool or 0/1, of their shape or without the channel axis; 1 where an entry counts.

    Attributes:
        where: bool, of the shape of the signals.
        truth: values of the entries, float64 `[m]`.

    Raises:
        ValueError: if `where` has another shape or other values, or no entry counts; or, here and in
            the methods, if an entry that counts is not finite.

    Example:
        >>> entries = Entries([[1.0, np.nan], [3.0, 5.0]], where=[[1, 0], [1, 1]])
        >>> entries.truth, entries.mean(entries.truth, per_example=True)
        (array([1., 3., 5.]), array([1., 4.]))
    """

    def __init__(self, truth, where):
        truth, observed = checks.parted(truth)
        counted = checks.entries("where", where, truth.shape, "1 (or True) means that an entry counts.")
        self.where = np.broadcast_to(counted, truth.shape) & (True if observed is None else observed)
        if not self.where.any():
            raise ValueError("`where` expected entries that count, received none.")
        self.row = np.nonzero(self.where)[0]
        self.truth = self.pick("truth", truth)

    def pick(self, name: str, values: ArrayLike) -> np.ndarray:
        """Return the entries of an array that broadcasts against the signals, float64 `[m]`."""
        values = np.asarray(values, np.float64)
        try:
            picked = np.broadcast_to(values, self.where.shape)[self.where]
        except ValueError:
            raise ValueError(
                f"`{name}` expected the shape of the truth, {self.where.shape}, or one that broadcasts "
                f"against it, received {values.shape}."
            ) from None
        return _finite(name, picked)

    def pick_draws(self, samples: ArrayLike) -> np.ndarray:
        """Return the entries of draws `[n, k, ...]`, `[k, m]`."""
        samples, (n, *shape) = np.asarray(samples), self.where.shape
        if samples.ndim < 2 or samples.shape != (n, samples.shape[1], *shape) or not samples.shape[1]:
            raise ValueError(
                f"`samples` expected the shape {(n, 'k', *shape)} with k of 1 or more, received "
                f"{samples.shape}."
            )
        return _finite("samples", np.moveaxis(samples, 1, 0)[:, self.where])

    def pick_deviation(self, name: str, values: ArrayLike) -> np.ndarray:
        """Return standard deviations as `pick` does.

        Raises:
            ValueError: if some are below 0.
        """
        picked = self.pick(name, values)
        if (picked < 0).any():
            raise ValueError(f"`{name}` expected values of 0 or more, received {picked.min():g}.")
        return picked

    def scaled(self, mean: ArrayLike, deviation: ArrayLike) -> np.ndarray:
        """Return `(truth − mean) / deviation`, `[m]`; infinite if only the deviation is 0."""
        error = self.truth - self.pick("mean", mean)
        deviation = self.pick_deviation("deviation", deviation)
        with np.errstate(divide="ignore"):
            return np.divide(error, deviation, out=np.zeros_like(error), where=error != 0)

    def by_block(self, function: Callable, draws: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Return `function(truth [m], draws [k, m], sigma [m])`, `[m]`, computed for some at a time."""
        found = np.empty(sigma.shape)
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part] = function(self.truth[part], draws[:, part].astype(np.float64), sigma[part])
        return found

    def mean(self, values: np.ndarray, per_example: bool = False):
        """Return the mean of one value per entry, a float, or float64 `[n]`."""
        if not per_example:
            return float(np.mean(values))
        n = len(self.where)
        with np.errstate(invalid="ignore"):  # 0 / 0 for examples without entries
            return np.bincount(self.row, values, n) / np.bincount(self.row, minlength=n)

    def deviation(self, values: np.ndarray, per_example: bool = False):
        """Return the standard deviation of one value per entry, a float, or float64 `[n]`."""
        with np.errstate(invalid="ignore"):  # infinite scaled errors
            center = self.mean(values, per_example)
            distance = values - (center[self.row] if per_example else center)
            found = np.sqrt(self.mean(distance**2, per_example))
        return found if per_example else float(found)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"`{name}` expected finite values in all entries that count, received {bad} NaN or "
            "infinite ones. Leave them out by `where`."
        )
    return values

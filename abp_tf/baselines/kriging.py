"""Kriging on a grid: Gaussian fields given noisy values at some of its positions.

Products with covariances are convolutions, computed by FFT on a torus that is larger than the grid;
systems of equations are solved by conjugate gradients. Everything is float32. SciPy is loaded on the
first use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from abp_tf import extras

# Correlations by the distance in lengths.
CORRELATIONS = {
    "exponential": lambda distance: np.exp(-distance),
    "matern32": lambda distance: (1 + math.sqrt(3) * distance) * np.exp(-math.sqrt(3) * distance),
}
_MARGIN = 2  # lengths by which a torus is larger than the grid, unless twice the grid is less
_NEAR = 16  # the same in steps, for the preconditioner, which does not need the exact covariance
_ROWS = 16  # frames solved at a time: few enough for the processor's cache
_TINY = 1e-30


class Covariance(NamedTuple):
    """Covariance of `x_t = p + u_t + ε_t`, in units of the variance of u.

    Attributes:
        kind: "exponential" or "matern32", of u; p has an exponential one.
        length: length of u, in steps of the grid.
        noise: variance of ε, independent for each entry.
        mean_variance: variance of p, the pixel mean that all frames have in common.
        mean_length: length of p.
    """

    kind: str
    length: float
    noise: float
    mean_variance: float
    mean_length: float


class Torus:
    """Products with stationary matrices, by FFT.

    Args:
        grid: shape of the grid, of any rank.
        margin: steps by which the torus is larger.
    """

    def __init__(self, grid: tuple[int, ...], margin: float):
        with extras.needed("fields"):
            import scipy.fft
        self._fft = scipy.fft
        margins = (min(n - 1, math.ceil(margin)) for n in grid)
        self.shape = tuple(
            scipy.fft.next_fast_len(n + m, True) for n, m in zip(grid, margins, strict=True)
        )
        self._axes = tuple(range(-len(grid), 0))
        self._inside = (..., *(slice(n) for n in grid))

    def spectrum(self, kind: str, length: float) -> np.ndarray:
        """Return the eigenvalues of a covariance with variance 1."""
        steps = [np.minimum(np.arange(n), n - np.arange(n)) for n in self.shape]
        distance = np.sqrt(sum(step**2.0 for step in np.meshgrid(*steps, indexing="ij")))
        spectrum = self._fft.rfftn(CORRELATIONS[kind](distance / length)).real
        # The distance on a torus can make small eigenvalues negative.
        return np.maximum(spectrum, 0).astype(np.float32)

    def multiply(self, spectrum: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the product of the matrix with these eigenvalues and `[..., *grid]`, same shape.

        Values may also be given on the whole torus.
        """
        waves = self._fft.rfftn(values, self.shape, self._axes, workers=2) * spectrum
        return self._fft.irfftn(waves, self.shape, self._axes, workers=2)[self._inside]


class Kriging:
    """The best linear prediction of `p` and `u_t` from observed entries of `x_t = p + u_t + ε_t`.

    Distances are those on a torus. Between positions near opposite edges of the grid covariances are
    therefore a little larger, as at 2 lengths at most; and lengths above about half the grid change
    them a little everywhere, as far as is needed for them to stay covariances.

    Args:
        grid: shape of the grid, of any rank.
        covariance: covariance of the fields.
        tolerance: norm of the residual at which solving stops, relative to that of the right-hand side.
        iterations: largest number of iterations.

    Attributes:
        residual: the largest relative norm of a residual with which solving has stopped so far.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        covariance: Covariance,
        tolerance: float = 0.01,
        iterations: int = 600,
    ):
        self.grid, self.covariance = grid, covariance
        self.tolerance, self.iterations = tolerance, iterations
        self.residual = 0.0
        self._axes = tuple(range(-len(grid), 0))
        kind, length, _, variance, mean_length = covariance
        self._torus, self._mean_torus, self._near = (
            Torus(grid, margin) for margin in (_MARGIN * length, _MARGIN * mean_length, _NEAR)
        )
        self._field = self._torus.spectrum(kind, length)
        self._mean = variance * self._mean_torus.spectrum("exponential", mean_length)

    def fields(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Predict the field u of each frame if p is 0.

        Args:
            values: `[n, *grid]`; what hidden entries hold does not matter, if it is finite.
            mask: bool, same shape, True where observed.

        Returns:
            float32, same shape.
        """
        noise = self.covariance.noise
        inverse, _ = self._inverses(0)

        def solved(values, mask):
            weights = self._solve(
                values * mask,
                lambda v: mask * self._torus.multiply(self._field, v) + noise * v,
                lambda v: mask * self._near.multiply(inverse, v),
                lambda v, w: np.sum(v * w, self._axes, keepdims=True),
            )
            return self._torus.multiply(self._field, weights)

        values, mask = values.astype(np.float32), mask.astype(np.float32)
        parts = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
        return np.concatenate([solved(values[part], mask[part]) for part in parts])

    def weights(
        self, values: np.ndarray, mask: np.ndarray, start: np.ndarray | None = None
    ) -> np.ndarray:
        """Solve for the weights of p and all u_t together; arguments as for `fields`.

        Args:
            values: `[n, *grid]`.
            mask: bool, same shape.
            start: weights of a similar covariance, to begin with up to a factor.

        Returns:
            float32, same shape, for `mean` and `anomaly`.
        """
        noise, mask = self.covariance.noise, mask.astype(np.float32)
        inverse, shared = self._inverses(len(values))
        return self._solve(
            values.astype(np.float32) * mask,
            lambda v: mask * (self.anomaly(v) + self.mean(v)) + noise * v,
            lambda v: mask * (self._near.multiply(inverse, v) + self._near.multiply(shared, v.mean(0))),
            np.vdot,
            start,
        )

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Return the prediction of p, float32 `[*grid]`, from `weights`."""
        return self._mean_torus.multiply(self._mean, weights.sum(0))

    def anomaly(self, weights: np.ndarray) -> np.ndarray:
        """Return the predictions of u_t, float32 `[n, *grid]`, from `weights`."""
        return self._torus.multiply(self._field, weights)

    def _inverses(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues of the preconditioner, the inverse for frames observed completely.

        The first are those of each frame by itself, the second are added for the mean of all frames.
        """
        kind, length, noise, variance, mean_length = self.covariance
        field = self._near.spectrum(kind, length) + noise
        mean = variance * self._near.spectrum("exponential", mean_length)
        return 1 / field, 1 / (field + count * mean) - 1 / field

    def _solve(self, values, product, precondition, dot, start=None) -> np.ndarray:
        """Solve `product(v) = values` by preconditioned conjugate gradients."""
        goal = dot(values, values)
        residual, solution = values, np.zeros_like(values)
        if start is not None:
            changed = product(start)
            step = dot(start, values) / dot(start, changed)
            residual, solution = values - step * changed, step * start
        direction, power = np.float32(0), np.float32(1)
        for _ in range(self.iterations):
            if np.all(dot(residual, residual) <= self.tolerance**2 * goal):
                break
            conditioned = precondition(residual)
            before, power = power, dot(residual, conditioned)
            direction = conditioned + power / np.maximum(before, _TINY) * direction
            changed = product(direction)
            step = power / np.maximum(dot(direction, changed), _TINY)
            solution = solution + step * direction
            residual = residual - step * changed
        left = np.sqrt(dot(residual, residual) / np.maximum(goal, _TINY))
        self.residual = max(self.residual, float(np.max(left)))
        return solution

    def draw_fields(self, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Draw u from its distribution without data, one from each generator, float32 `[n, *grid]`."""
        return self._torus.multiply(np.sqrt(self._field), _white(generators, self._torus.shape))

    def draw_mean(self, generator: np.random.Generator) -> np.ndarray:
        """Draw p from its distribution without data, float32 `[*grid]`."""
        white = _white([generator], self._mean_torus.shape)[0]
        return self._mean_torus.multiply(np.sqrt(self._mean), white)

    def draw_noise(self, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Draw ε, one from each generator, float32 `[n, *grid]`."""
        return np.float32(math.sqrt(self.covariance.noise)) * _white(generators, self.grid)


def _white(generators, shape) -> np.ndarray:
    return np.stack([one.standard_normal(shape, np.float32) for one in generators])

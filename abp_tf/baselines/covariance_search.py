"""Choose the covariance of optimal interpolation by moved gaps."""

from __future__ import annotations

import numpy as np

from abp_tf.baselines import frames
from abp_tf.baselines.kriging import Covariance, Kriging
from abp_tf.fields import gaps

_FRAMES = 32  # frames that the search looks at
LOOSE = 0.02  # residuals below which errors hardly change any more
_WORTH = 0.99  # a covariance is better if it lowers the squared error at least by this factor
_DRAWS = 3  # simulations of all frames, whose errors are averaged over all entries
# Factors by which each number is changed, in this order.
_FACTORS = {"length": 2.0, "mean_length": 3.0, "mean_variance": 3.0, "noise": 2.5}


class Search:
    """Errors at entries that are observed, and hidden by the gaps of other frames.

    Args:
        values: one channel of frames, float32 `[n, *grid]`.
        mask: bool, same shape, True where observed.
        given: numbers of the covariance that are fixed, by name.
        evaluations: number of covariances to try.
        seed: seed of the moved gaps.

    Raises:
        ValueError: if the gaps of all frames are alike.
    """

    def __init__(self, values, mask, given: dict, evaluations: int, seed: int):
        chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _FRAMES)).astype(int))
        self.held = gaps.moved(mask[chosen, ..., None], seed)[..., 0]
        self.values, self.shown = values[chosen], mask[chosen] & ~self.held
        self.given, self.evaluations, self.seed = given, evaluations, seed
        pixel, frame = frames.means(self.values, self.shown)
        self.anomaly = anomalies(self.values, self.shown, frame)
        self.errors: dict[Covariance, float] = {}
        self._weights: np.ndarray | None = None
        spread = np.var((self.values - frame - pixel)[self.shown])
        self._ratio = float(np.var(pixel[self.shown.any(0)]) / max(spread, 1e-12))

    def best(self) -> Covariance:
        """Return the covariance with the smallest error, by a search along each number in turn."""
        length = max(min(self.values.shape[1:]) / 2, 1.0)
        ratio = float(np.clip(self._ratio, 0.1, 10))
        start = Covariance("exponential", length, 0.2, ratio, max(length / 6, 1.0))
        best = start._replace(**self.given)
        self._error(best)
        for name, factor in _FACTORS.items():
            if name not in self.given:
                best = self._along(best, name, factor)
        if "kind" not in self.given:
            # A smoother field is as wide with a shorter length.
            scale = {} if "length" in self.given else {"length": best.length / 2}
            best = self._better(best, best._replace(kind="matern32", **scale))
        return best

    def _along(self, best: Covariance, name: str, factor: float) -> Covariance:
        """Move one number up, or else down, as long as errors fall."""
        for change in (factor, 1 / factor):
            start = best
            while True:
                found = self._better(best, best._replace(**{name: getattr(best, name) * change}))
                if found == best:
                    break
                best = found
            if best != start:
                break
        return best

    def _better(self, one: Covariance, other: Covariance) -> Covariance:
        widest = 2 * max(self.values.shape[1:])
        fits = (
            0.5
            <= min(other.length, other.mean_length)
            <= max(other.length, other.mean_length)
            <= widest
        )
        if not fits or len(self.errors) >= self.evaluations:
            return one
        return other if self._error(other) < _WORTH * self._error(one) else one

    def _error(self, covariance: Covariance) -> float:
        """Return the mean squared error at entries that are held out."""
        if covariance not in self.errors:
            kriging = Kriging(self.values.shape[1:], covariance, LOOSE)
            self._weights = kriging.weights(self.anomaly, self.shown, self._weights)
            self.errors[covariance] = self._misfit(kriging, self.anomaly, self._weights)
        return self.errors[covariance]

    def variance(self, covariance: Covariance) -> float:
        """Return the variance of u with which errors are as large as they are expected to be.

        The expected ones are those at the same entries of frames that are drawn from the covariance.
        """
        kriging, random = (
            Kriging(self.values.shape[1:], covariance, LOOSE),
            np.random.default_rng(self.seed),
        )
        expected = []
        for _ in range(_DRAWS):
            truth = self._draw(kriging, random)
            expected.append(self._misfit(kriging, truth, kriging.weights(truth, self.shown)))
        return float(self._error(covariance) / np.mean(expected))

    def _draw(self, kriging, random) -> np.ndarray:
        many = [random] * len(self.values)
        return kriging.draw_mean(random) + kriging.draw_fields(many) + kriging.draw_noise(many)

    def _misfit(self, kriging, truth, weights) -> float:
        error = truth - kriging.mean(weights) - kriging.anomaly(weights)
        return float(np.mean(error[self.held].astype(np.float64) ** 2))


def anomalies(values, mask, frame) -> np.ndarray:
    """Return values without frame means and without the mean of what then is observed."""
    return values - frame - np.mean((values - frame)[mask])

"""Optimal interpolation (kriging) of frames with gaps, with a covariance chosen by moved gaps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.baselines import frames
from abp_tf.baselines.covariance_search import LOOSE, Search, anomalies
from abp_tf.baselines.kriging import CORRELATIONS, Covariance, Kriging
from abp_tf.data import examples
from abp_tf.results import PosteriorSamples

_MEANS = 16  # draws of the pixel mean, which further samples use again


class OptimalInterpolation(frames.FrameModel):
    """Kriging of frames on a regular grid: `x_t = p + f_t + u_t + ε_t`.

    The pixel mean p and the anomaly u_t of a frame are stationary Gaussian fields, the frame mean f_t
    is a number, ε is noise, independent for each entry. u has an exponential or a Matérn covariance
    with ν = 3/2; p has an exponential one, so that the mean of a pixel that is seldom or never observed
    comes from its neighbours. What is predicted is the best linear prediction given what is observed
    (Gandin, 1965; Cressie, "Statistics for spatial data", 1993, chapter 3), by conjugate gradients and
    FFT.

    Numbers of the covariance that are not given are chosen for each channel by moved gaps: observed
    entries are hidden by the gaps of other frames (`abp_tf.fields.gaps.moved`), and errors there
    compared. Channels are independent of each other, as are the anomalies of different frames.

    Args:
        kind: covariance of u, "exponential" or "matern32".
        length: length of u in steps of the grid.
        noise: variance of ε in units of the variance of u.
        mean_variance: variance of p in units of the variance of u.
        mean_length: length of p in steps of the grid.
        deviation: standard deviation of u in units of the signal, which only deviations and samples
            depend on.
        evaluations: largest number of covariances to compare.
        tolerance: relative norm of the residual at which solving stops.
        iterations: largest number of iterations of solving.
        value_range: interval in which observed entries must lie, and to which results are clipped; None
            turns both off.
        seed: seed of the choice of moved gaps, and of draws of the pixel mean.

    Raises:
        ValueError: if an argument is out of its range.

    Attributes:
        covariances: the `Covariance` of each channel.
        mean: p, float32 `[*signal_shape]`.
        sigma: standard deviation of ε in units of the signal, float32 `[channels]`.
        residual: the largest relative norm of a residual so far; above `tolerance` only if solving
            stopped at the largest number of iterations.

    Example:
        >>> x, y = np.meshgrid(np.arange(12), np.arange(10))
        >>> signals = np.sin((x + 3 * np.arange(4)[:, None, None]) / 4)[..., None].astype(np.float32)
        >>> mask = np.ones((4, 10, 12), bool)
        >>> mask[0, 2:6, 2:6] = mask[1, 4:8, 6:9] = False
        >>> model = OptimalInterpolation(evaluations=3).fit({"signal": signals, "mask": mask})
        >>> float(np.abs(model.inpaint(signals, mask) - signals).max()) < 0.5
        True
    """

    def __init__(
        self,
        *,
        kind: str | None = None,
        length: float | None = None,
        noise: float | None = None,
        mean_variance: float | None = None,
        mean_length: float | None = None,
        deviation: float | None = None,
        evaluations: int = 10,
        tolerance: float = 0.01,
        iterations: int = 600,
        value_range: tuple[float, float] | None = (-1.0, 1.0),
        seed: int = 0,
    ):
        super().__init__(value_range)
        name = type(self).__name__
        numbers = {
            "length": length,
            "noise": noise,
            "mean_variance": mean_variance,
            "mean_length": mean_length,
        }
        given: dict[str, Any]
        given = {key: checks.optional_positive(name, key, n) for key, n in numbers.items()}
        given["kind"] = kind if kind is None else checks.one_of(*CORRELATIONS)(name, "kind", kind)
        self.given = {key: value for key, value in given.items() if value is not None}
        self.deviation = checks.optional_positive(name, "deviation", deviation)
        self.evaluations = checks.integer(name, "evaluations", evaluations, 1)
        self.tolerance = checks.positive(name, "tolerance", tolerance)
        self.iterations = checks.integer(name, "iterations", iterations, 1)
        self.seed = checks.integer(name, "seed", seed, 0)

    def fit(self, x: examples.SignalsLike) -> OptimalInterpolation:
        """Choose the covariance, and estimate the pixel mean, from frames.

        Args:
            x: float array `[n, *grid, channels]`, or a mapping of arrays "signal" and "mask" (1 =
                observed, 0 = hidden); hidden entries may hold anything. Frames and pixels may be hidden
                entirely.

        Returns:
            The model itself. It keeps the frames, for draws of the pixel mean.

        Raises:
            ValueError: if the data cannot be used, a channel has no observed entry, or numbers are to
                be chosen and the gaps of all frames are alike.
        """
        data = frames.read("OptimalInterpolation.fit", x, value_range=self.value_range)
        self.signal_shape = data.values.shape[1:]
        parts = zip(np.moveaxis(data.values, -1, 0), np.moveaxis(data.mask, -1, 0), strict=True)
        self._channels = [self._fit_channel(values, mask) for values, mask in parts]
        return self

    def _fit_channel(self, values, mask) -> _Channel:
        covariance, deviation = self._chosen(values, mask)
        _, frame = frames.means(values, mask)
        anomaly = anomalies(values, mask, frame).astype(np.float32)
        kriging = Kriging(values.shape[1:], covariance, self.tolerance, self.iterations)
        mean = kriging.mean(kriging.weights(anomaly, mask))
        centre = float(np.mean((values - frame)[mask]))
        spread = float(frame[mask.any(tuple(range(1, mask.ndim)))].std())
        return _Channel(kriging, deviation, centre, mean, spread, anomaly, mask)

    def _chosen(self, values, mask) -> tuple[Covariance, float]:
        """Return the covariance and the standard deviation of u, those given or those found best."""
        if len(self.given) == len(Covariance._fields) and self.deviation is not None:
            return Covariance(**self.given), self.deviation
        search = Search(values, mask, self.given, self.evaluations, self.seed)
        covariance = search.best()
        return covariance, self.deviation or math.sqrt(search.variance(covariance))

    @property
    def covariances(self) -> list[Covariance]:
        """The covariance of each channel."""
        return [channel.kriging.covariance for channel in self._fitted()]

    @property
    def mean(self) -> np.ndarray:
        """The pixel mean, in the shape of a signal."""
        return np.stack([channel.centre + channel.mean for channel in self._fitted()], -1)

    @property
    def sigma(self) -> np.ndarray:
        """The standard deviation of the noise of each channel, in units of the signal."""
        return np.array([channel.sigma for channel in self._fitted()], np.float32)

    @property
    def residual(self) -> float:
        """The largest relative norm of a residual with which solving stopped."""
        return max(channel.kriging.residual for channel in self._fitted())

    def sample_posterior(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        samples: int = 16,
        seed: int | ArrayLike = 0,
    ) -> PosteriorSamples:
        """Draw whole frames given the observed entries, by conditional simulation.

        A draw from the distribution without data is corrected by the prediction of what the data differ
        from it (Chilès, Delfiner, "Geostatistics", 2012, section 7.3); then all draws of a frame are
        moved and scaled so that their mean is the prediction. Pixel means are drawn too, at the first
        call, which takes about as long as `fit`. The mean of a frame counts as known if anything of it
        is observed.

        Args:
            signals: as for `reconstruct`.
            mask: as for `reconstruct`. Observed entries are the same in all samples.
            samples: number of samples of each frame.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.

        Returns:
            A `PosteriorSamples` without noise in hidden entries; `sigma` is its standard deviation. It
            has no diagnostics, because draws are independent.

        Raises:
            ValueError: if an argument cannot be used.
        """
        checks.integer("sample_posterior", "samples", samples, 1)
        data = self._read(signals, mask)
        seeds = checks.seeds(seed, len(data.values))
        drawn = np.empty((len(seeds), samples, *data.values.shape[1:]), np.float32)
        for number, channel in enumerate(self._fitted()):
            values, seen = data.values[..., number], data.mask[..., number]
            means = channel.draw_means(min(samples, _MEANS), self.seed)
            for k in range(samples):
                random = [np.random.default_rng([abs(s), s < 0, number, k]) for s in seeds.tolist()]
                drawn[:, k, ..., number] = channel.draw(values, seen, means[k % _MEANS], random)
        predicted = self._predict(data)
        if samples > 1:
            # The mean of the draws is known, and their deviation without bias.
            scale = np.float32(math.sqrt(samples / (samples - 1)))
            drawn = predicted[:, None] + scale * (drawn - drawn.mean(1, keepdims=True))
        drawn = np.where(data.mask[:, None], data.values[:, None], self._clip(drawn))
        mean = np.where(data.mask, data.values, drawn.mean(1))
        deviation = np.where(data.mask, np.float32(0), drawn.std(1))
        sigma = np.where(data.mask, np.float32(0), self.sigma)
        return PosteriorSamples(drawn, mean, deviation, sigma=sigma)

    def _predict(self, data: frames.Frames) -> np.ndarray:
        predicted = [
            channel.predict(data.values[..., number], data.mask[..., number])
            for number, channel in enumerate(self._fitted())
        ]
        return self._clip(np.stack(predicted, -1))

    def _fitted(self) -> list[_Channel]:
        self._check_fitted()
        return self._channels


class _Channel:
    """One channel after the fit, and the frames that it was fitted to.

    Args:
        kriging: the covariance and its solver.
        deviation: standard deviation of u.
        centre: mean of all, around which p is a field.
        mean: p without the centre, float32 `[*grid]`.
        spread: standard deviation of frame means.
        anomaly: frames without centre and frame means, float32 `[n, *grid]`.
        mask: bool, same shape, True where observed.
    """

    def __init__(self, kriging, deviation, centre, mean, spread, anomaly, mask):
        self.kriging, self.deviation, self.centre = kriging, np.float32(deviation), np.float32(centre)
        self.mean, self.spread, self.anomaly, self.mask = mean, spread, anomaly, mask
        self.sigma = deviation * math.sqrt(kriging.covariance.noise)
        self._means: list[np.ndarray] = []

    def predict(self, values, mask) -> np.ndarray:
        """Predict frames given their observed entries."""
        rest = values - self.centre - self.mean
        frame = _frame_mean(rest, mask)
        return self.centre + self.mean + frame + self.kriging.fields(rest - frame, mask)

    def draw_means(self, count: int, seed: int) -> list[np.ndarray]:
        """Return draws of p given the frames of the fit; each is computed once."""
        loose = Kriging(self.mean.shape, self.kriging.covariance, LOOSE, self.kriging.iterations)
        for number in range(len(self._means), count):
            random = np.random.default_rng([seed, number])
            mean = self.deviation * loose.draw_mean(random)
            many = [random] * len(self.anomaly)
            values = mean + self.deviation * (loose.draw_fields(many) + loose.draw_noise(many))
            self._means.append(mean + loose.mean(loose.weights(self.anomaly - values, self.mask)))
        return self._means

    def draw(self, values, mask, mean, generators) -> np.ndarray:
        """Draw frames given their observed entries and a draw of the pixel mean."""
        rest = values - self.centre - self.mean
        frame = _frame_mean(rest, mask)
        axes = tuple(range(1, mask.ndim))
        chance = self.spread * np.array([one.standard_normal() for one in generators]).reshape(
            frame.shape
        )
        frame = np.where(mask.any(axes, keepdims=True), frame, chance).astype(np.float32)
        field = self.deviation * self.kriging.draw_fields(generators)
        noise = self.deviation * self.kriging.draw_noise(generators)
        rest = values - self.centre - mean - frame
        return self.centre + mean + frame + field + self.kriging.fields(rest - field - noise, mask)


def _frame_mean(rest, mask) -> np.ndarray:
    """Return the mean of what is observed of each frame, `[n, 1, ..., 1]`; 0 where nothing is."""
    axes = tuple(range(1, rest.ndim))
    return np.sum(rest * mask, axes, keepdims=True) / np.maximum(mask.sum(axes, keepdims=True), 1)

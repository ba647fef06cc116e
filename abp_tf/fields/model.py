"""A linear model of fields with real gaps: latents of whole frames, and a correlated residual."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.fields.lattice import Lattice, Roughness, differences, steps
from abp_tf.results import PosteriorSamples

_LEVEL = 0.05  # precision of the level of a frame, in units of 1 / variance


class FieldSettings(NamedTuple):
    """What a `FieldModel` does not learn by itself; `abp_tf.fields.choose` chooses it by moved gaps.

    Attributes:
        latents: number of latents of each frame; with 0 the model is optimal interpolation.
        pixel_mean: whether each pixel has a mean of its own; else there is one mean per channel, and
            what frames have in common is left to the residual in time.
        space: precision of differences between neighbours (`Roughness.space`).
        time: precision of differences between successive frames (`Roughness.time`).
        decay: inverse length of the residual, in pixels (`Roughness.decay`).
        noise: variance of the noise, as a share of the variance of the data about their means.
    """

    latents: int = 0
    pixel_mean: bool = True
    space: float = 1.0
    time: float = 0.0
    decay: float = 0.02
    noise: float = 0.2

    @property
    def roughness(self) -> Roughness:
        """The prior of the residual."""
        return Roughness(self.space, self.time, self.decay)


class FieldModel:
    """Model `x_t = μ + a_t + W z_t + u_t + σ ε` of the frames of a field, with `z_t ~ N(0, I)`.

    It is a generator with a linear decoder and a correlated residual: `u` is a Gaussian Markov random
    field over the pixels of the domain and over successive frames, `a_t` is the level of a frame. It is
    integrated out of the posterior exactly, so that inference needs no chains; `μ` and `W` are learned
    by expectation-maximisation from the observed entries. Without latents it is optimal interpolation,
    without residual it is probabilistic PCA.

    Args:
        settings: a `FieldSettings`.
        iterations: number of iterations of expectation-maximisation.

    Attributes:
        scale: factor of each frame's standard deviations, float `[n]`, estimated from its observed
            entries.
        widening: factor of all standard deviations; 1 unless `abp_tf.fields.choose` estimated it.

    Example:
        >>> frames = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).cumsum(1).cumsum(2)
        >>> mask = np.random.default_rng(1).random(frames.shape) > 0.3
        >>> model = FieldModel(FieldSettings(latents=1)).fit({"signal": frames, "mask": mask})
        >>> model.inpaint().shape
        (6, 8, 8, 1)
    """

    def __init__(self, settings: FieldSettings | None = None, *, iterations: int = 8):
        self.settings = FieldSettings() if settings is None else settings
        checks.integer("FieldModel", "latents", self.settings.latents, 0)
        checks.integer("FieldModel", "iterations", iterations, 1)
        for name in ("space", "decay", "noise"):
            checks.positive("FieldModel", name, getattr(self.settings, name))
        self.iterations = iterations
        self.widening = 1.0

    def fit(self, x, *, times=None, domain=None) -> FieldModel:
        """Learn from frames of one field.

        Args:
            x: float `[n, *axes, channels]`, or a mapping with "signal" and "mask" (1 = observed, 0 =
                hidden), such as the result of `abp_tf.data.load_field`; hidden entries may hold
                anything.
            times: times of the frames, `[n]`, increasing, in any unit; by default those of `x`, else
                0, 1, 2 and so on.
            domain: bool `[*axes, channels]`, False where the field does not exist, such as land; by
                default that of `x`, else all is domain.

        Returns:
            The model itself.

        Raises:
            ValueError: if the data cannot be used, or nothing is observed.
        """
        times = getattr(x, "times", None) if times is None else times
        domain = getattr(x, "domain", None) if domain is None else domain
        shape = np.shape(x["signal"] if hasattr(x, "keys") else x)[1:]
        data = examples.examples(x, shape, None)
        self.domain = np.ones(shape, bool) if domain is None else np.asarray(domain, bool)
        if self.domain.shape != shape:
            raise ValueError(f"`domain` expected the shape {shape}, received {self.domain.shape}.")
        times = np.arange(len(data.signal)) if times is None else np.asarray(times, float)
        if times.shape != (len(data.signal),) or not (np.diff(times) > 0).all():
            raise ValueError(
                f"`times` expected {len(data.signal)} increasing numbers, received {times}."
            )
        self._signal = data.signal
        mask = np.ones(data.signal.shape, bool) if data.mask is None else data.mask
        self._mask = np.broadcast_to(mask, data.signal.shape) & self.domain
        if not self._mask.any():
            raise ValueError("Expected observed entries inside the domain, received none.")
        self._learn(times)
        return self

    def _learn(self, times) -> None:
        values, observed = self._signal[:, self.domain].astype(float), self._mask[:, self.domain]
        channel = np.broadcast_to(np.arange(self.domain.shape[-1]), self.domain.shape)[self.domain]
        levels = (channel[:, None] == np.arange(self.domain.shape[-1])).astype(float)
        self._centre, self._unit = _standardize(values, observed, channel)
        values = np.where(observed, (values - self._centre) / self._unit, 0)

        settings = self.settings
        self.lattice = lattice = Lattice(
            differences(self.domain), steps(times), observed, settings.roughness, settings.noise
        )
        prior = np.full(levels.shape[1], _LEVEL)
        lattice.load(levels, prior)
        mean = np.zeros(values.shape[1])
        if settings.pixel_mean:
            mean = _pixel_means(values, observed)
        field, latent = lattice.mean(values - mean, tolerance=1e-2)
        if settings.latents:
            prior = np.r_[prior, np.ones(settings.latents)]
            lattice.load(np.hstack([levels, _principal(field, settings.latents)]), prior)
            field, latent = lattice.mean(values - mean, tolerance=1e-2)
        learns = settings.pixel_mean or settings.latents
        for _ in range(self.iterations if learns else 0):
            mean, weights = self._maximize(mean, field, latent, levels)
            lattice.load(np.hstack([levels, weights]), prior)
            field, latent = lattice.mean(values - mean, tolerance=1e-2)
        self.mean, self._values = mean, values
        field, latent = lattice.mean(values - mean)
        self._field = field + latent @ lattice.loading.T
        # Each frame's ratio of its squared error, weighted by the inverse covariance, to its
        # expectation, pulled to 1 as if 100 further entries had that ratio.
        rest = np.where(observed, values - mean, 0)
        ratio = (rest * (rest - np.where(observed, self._field, 0))).sum(1) / settings.noise
        self.scale = np.sqrt((np.maximum(ratio, 0) + 100) / (observed.sum(1) + 100))

    def _maximize(self, mean, field, latent, levels):
        """Regress the completed frames on their latents; return the means and W."""
        lattice, channels = self.lattice, levels.shape[1]
        weights = lattice.loading[:, channels:]
        whole = mean + latent[:, channels:] @ weights.T + field
        found, covariance = latent[:, channels:], lattice.latent_covariance
        cross = whole.T @ found
        for gain, of_frame in zip(lattice._gain, covariance, strict=True):
            cross += (lattice.loading - gain) @ of_frame[:, channels:]
        # One more coefficient, of 1, is the mean.
        second = found.T @ found + covariance[:, channels:, channels:].sum(0)
        second += np.eye(len(second))  # a prior of W's entries: few frames determine them badly
        if not self.settings.pixel_mean:
            return mean, (cross - mean[:, None] * found.sum(0)) @ np.linalg.inv(second)
        moments = np.block([[np.full((1, 1), len(found)), found.sum(0)[None]],
                            [found.sum(0)[:, None], second]])  # fmt: skip
        solution = np.c_[whole.sum(0), cross] @ np.linalg.inv(moments)
        return solution[:, 0], solution[:, 1:]

    def inpaint(self) -> np.ndarray:
        """Return the frames with hidden entries replaced by their posterior mean.

        Returns:
            float32 `[n, *axes, channels]`: observed entries untouched, NaN outside the domain.
        """
        return self._complete(self._field)

    def sample_posterior(self, *, samples: int = 32, seed: int = 0) -> PosteriorSamples:
        """Draw whole frames from their posterior given the observed entries.

        Args:
            samples: number of independent draws.
            seed: seed of the draws.

        Returns:
            A `PosteriorSamples` in the unit of the data: `mean` is the exact posterior mean, `sigma`
            the standard deviation of the noise of each frame and channel. Outside the domain all is
            NaN.
        """
        checks.integer("sample_posterior", "samples", samples, 1)
        random = np.random.default_rng(seed)
        factor = (self.widening * self.scale)[:, None]
        shape = self._signal.shape
        drawn = np.empty((shape[0], samples, *shape[1:]), np.float32)
        for number in range(samples):
            field, latent = self.lattice.draw(self._values - self.mean, random, tolerance=1e-2)
            found = field + latent @ self.lattice.loading.T
            drawn[:, number] = self._complete(self._field + factor * (found - self._field))
        deviation = np.where(self._mask, 0, drawn.std(axis=1))
        sigma = factor * np.sqrt(self.settings.noise) * self._unit
        noise = np.full(shape, np.nan, np.float32)
        noise[:, self.domain] = sigma
        return PosteriorSamples(
            drawn, self.inpaint(), deviation, sigma=np.where(self._mask, np.float32(0), noise)
        )

    def _complete(self, field: np.ndarray) -> np.ndarray:
        whole = np.full(self._signal.shape, np.nan, np.float32)
        whole[:, self.domain] = self._centre + self._unit * (self.mean + field)
        return np.where(self._mask, self._signal, whole)


def _standardize(values, observed, channel) -> tuple[np.ndarray, np.ndarray]:
    """Return for each point the mean of its channel, and the deviation about pixel and frame means."""
    centre, unit = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for number in np.unique(channel):
        points = channel == number
        seen, part = observed[:, points], values[:, points]
        if not seen.any():
            continue
        centre[points] = part[seen].mean()
        rest = np.where(seen, part - part[seen].mean(), 0)
        for axis in (0, 1, 0, 1):
            count = np.maximum(seen.sum(axis, keepdims=True), 1)
            rest = np.where(seen, rest - rest.sum(axis, keepdims=True) / count, 0)
        unit[points] = max(np.sqrt((rest[seen] ** 2).mean()), 1e-12)
    return centre, unit


def _pixel_means(values, observed) -> np.ndarray:
    """Return means of the pixels beside levels of the frames, drawn to 0 as by one observation."""
    level, mean = np.zeros((len(values), 1)), np.zeros(values.shape[1])
    for _ in range(10):
        mean = np.where(observed, values - level, 0).sum(0) / (observed.sum(0) + 1)
        count = np.maximum(observed.sum(1, keepdims=True), 1)
        level = np.where(observed, values - mean, 0).sum(1, keepdims=True) / count
    return mean


def _principal(field, count: int) -> np.ndarray:
    """Return the first principal components of frames, scaled by their deviations, `[points, count]`."""
    count = min(count, len(field))
    values, vectors = np.linalg.eigh(field @ field.T)
    return field.T @ vectors[:, ::-1][:, :count] / np.sqrt(len(field))

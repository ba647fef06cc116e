"""A linear model of fields with real gaps: latents of whole frames, and a correlated residual."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.fields import rhythm, stored
from abp_tf.fields.frames import Frames, apart, read, standard_units
from abp_tf.fields.lattice import Lattice, Roughness, differences, steps
from abp_tf.results import PosteriorSamples

# Share of the domain that counts, beside a frame's observed entries, as that of an average frame.
AVERAGE = 0.2
_LEARNED = ("domain", "mean", "loading", "rhythms", "_centre", "_unit")  # arrays of a saved model


class FieldSettings(NamedTuple):
    """What a `FieldModel` does not learn itself; `abp_tf.fields.choose` chooses it by moved gaps.

    Attributes:
        latents: number of latents of each frame; with 0 the model is optimal interpolation.
        mean: variance of the pixel means, relative to that of the residual; with 0 there is one mean
            per channel, and what frames have in common is left to the residual in time.
        space: precision of differences between neighbours (`Roughness.space`).
        time: precision of differences between successive frames, relative to `space`
            (`Roughness.time`).
        decay: inverse length of the residual, in pixels (`Roughness.decay`).
        noise: variance of the noise, as a share of the variance of the data about pixel and frame
            means.
        rhythm: whether each latent has a prior in time, a damped oscillation that is learned
            (`abp_tf.fields.rhythm`); if not, latents of frames are independent.
    """

    latents: int = 0
    mean: float = 1.0
    space: float = 1.0
    time: float = 0.0
    decay: float = 0.02
    noise: float = 0.2
    rhythm: bool = False


class FieldModel:
    """Model `x_t = μ + W z_t + u_t + σ ε` of the frames of a field, with `z_t ~ N(0, I)`.

    It is a generator with a linear decoder and a correlated residual: `u` is a Gaussian Markov random
    field over the pixels of the domain and over successive frames. All is Gaussian, so that inference
    is exact and needs no chains; `μ` and `W` are learned by expectation-maximisation from observed
    entries alone. Without latents the model is optimal interpolation, without the residual it is
    probabilistic PCA.

    Args:
        settings: a `FieldSettings`.
        iterations: number of iterations of expectation-maximisation.
        widening: factor of all standard deviations, such as `abp_tf.fields.choose` estimates.

    Attributes:
        mean: μ, float `[points]`, in standard units.
        loading: W, float `[points, latents]`, in standard units.
        rhythms: length, share and period of each latent's `abp_tf.fields.rhythm.Rhythm`, float
            `[latents, 3]`; of length 0 for latents that are independent.
        domain: where the field is, bool `[*axes, channels]`.
        units: units of the channels, if the data name them; else None.

    Example:
        >>> frames = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).cumsum(1).cumsum(2)
        >>> mask = np.random.default_rng(1).random(frames.shape) > 0.3
        >>> model = FieldModel(FieldSettings(latents=1)).fit({"signal": frames, "mask": mask})
        >>> model.inpaint().shape
        (6, 8, 8, 1)
    """

    def __init__(
        self,
        settings: FieldSettings | None = None,
        *,
        iterations: int = 8,
        widening: float = 1.0,
    ):
        self.settings = FieldSettings() if settings is None else settings
        checks.integer("FieldModel", "latents", self.settings.latents, 0)
        checks.integer("FieldModel", "iterations", iterations, 1)
        for name in ("space", "decay", "noise"):
            checks.positive("FieldModel", name, getattr(self.settings, name))
        for name in ("time", "mean"):
            checks.not_negative("FieldModel", name, getattr(self.settings, name))
        self.iterations = iterations
        self._filled: _Filled | None = None
        self.widening = checks.positive("FieldModel", "widening", widening)

    def fit(
        self,
        x: examples.SignalsLike,
        *,
        times: ArrayLike | None = None,
        domain: np.ndarray | None = None,
    ) -> FieldModel:
        """Learn from frames of one field.

        Args:
            x: float `[n, *axes, channels]`, or a mapping with "signal" and "mask" (1 = observed, 0 =
                hidden), such as the result of `abp_tf.data.load_field`; hidden entries may hold
                anything. With "sigma", the standard deviations of the noise of the entries, these take
                the place of `FieldSettings.noise`, which is then that of hidden entries alone.
            times: times of the frames, `[n]`, increasing, in any unit; by default those of `x`, else
                0, 1, 2 and so on.
            domain: bool `[*axes, channels]`, False where the field does not exist, such as land; by
                default that of `x`, else all is domain.

        Returns:
            The model itself.

        Raises:
            ValueError: if the data cannot be used, or nothing is observed of a channel.
        """
        shape = read(apart(x)[0])[0].shape[1:]
        domain = getattr(x, "domain", None) if domain is None else domain
        self.domain = np.ones(shape, bool) if domain is None else np.asarray(domain, bool)
        if self.domain.shape != shape:
            raise ValueError(f"`domain` expected the shape {shape}, received {self.domain.shape}.")
        self.units = getattr(x, "units", None)
        channel = np.broadcast_to(np.arange(shape[-1]), shape)[self.domain]
        self._centre, self._unit = np.zeros(len(channel)), np.ones(len(channel))
        frames = self._frames(x, times)
        self._step = float(np.median(np.diff(frames.times))) if len(frames.times) > 1 else 1.0
        empty = np.flatnonzero(~frames.mask.any(axis=tuple(range(frames.mask.ndim - 1))))
        if len(empty):
            names = getattr(x, "names", [f"channel {number}" for number in range(shape[-1])])
            raise ValueError(
                "Expected observed entries of each variable inside the domain, received none of "
                f"{', '.join(names[number] for number in empty)}. Leave it out."
            )
        self._centre, self._unit, levels = standard_units(frames.values, frames.observed, channel)
        frames = self._frames(x, times)
        self.mean = np.zeros(len(channel))
        self.loading = np.zeros((len(channel), 0))
        self.rhythms = np.zeros((0, 3))
        self._learn(frames, levels)
        self._filled = self._fill(frames)
        return self

    def _learn(self, frames: Frames, levels: np.ndarray) -> None:
        """Learn means and loading by expectation-maximisation."""
        lattice = self._lattice(frames)
        if self.settings.mean:
            self.mean = lattice.smooth_mean(frames.values - levels, self.settings.mean)
        if self.settings.latents:
            field, _ = lattice.mean(frames.values - self.mean, tolerance=1e-2)
            self.loading = _principal(field, self.settings.latents)
            self.rhythms = np.zeros((self.settings.latents, 3))
        if not (self.settings.latents or self.settings.mean):
            return
        for _ in range(self.iterations):
            lattice.load(self.loading, np.ones(self.loading.shape[1]))
            field, z = lattice.mean(frames.values - self.mean, tolerance=1e-2)
            whole = self.mean + z @ self.loading.T + field
            if self.settings.mean:
                self.mean = lattice.smooth_mean(self.mean + field, self.settings.mean, whole=True)
            # Regress the whole frames on their latents, which are uncertain.
            cross = (whole - self.mean).T @ z
            for gain, of_frame in zip(lattice.gain, lattice.latent_covariance, strict=True):
                cross += (lattice.loading - gain) @ of_frame
            second = z.T @ z + lattice.latent_covariance.sum(0)
            second += np.eye(len(second))  # a prior of W: few frames determine it badly
            self.loading = cross @ np.linalg.inv(second)
        if self.settings.rhythm:
            lattice.load(self.loading, np.ones(self.loading.shape[1]))
            _, z = lattice.mean(frames.values - self.mean)
            variance = np.diagonal(lattice.latent_covariance, axis1=1, axis2=2)
            found = [rhythm.learn(*of, frames.times) for of in zip(z.T, variance.T, strict=True)]
            self.rhythms = np.array(found)

    def inpaint(
        self, x: examples.SignalsLike | None = None, *, times: ArrayLike | None = None
    ) -> np.ndarray:
        """Fill hidden entries with their posterior mean.

        Args:
            x: frames of the same field, as for `fit`; None for those of `fit`.
            times: times of these frames, as for `fit`.

        Returns:
            float32 `[n, *axes, channels]`: observed entries untouched, NaN outside the domain.
        """
        filled = self._posterior(x, times)
        return self._complete(filled.frames, filled.field)

    def sample_posterior(
        self,
        x: examples.SignalsLike | None = None,
        *,
        times: ArrayLike | None = None,
        samples: int = 32,
        seed: int = 0,
    ) -> PosteriorSamples:
        """Draw whole frames from their posterior given the observed entries.

        Args:
            x: frames of the same field, as for `fit`; None for those of `fit`.
            times: times of these frames, as for `fit`.
            samples: number of independent draws.
            seed: seed of the draws.

        Returns:
            A `PosteriorSamples` in the unit of the data: `mean` is the exact posterior mean, `sigma`
            the standard deviation of the noise of each entry. Outside the domain all is NaN.
        """
        checks.integer("sample_posterior", "samples", samples, 1)
        filled = self._posterior(x, times)
        random = np.random.default_rng(seed)
        shape = filled.frames.signal.shape
        drawn = np.empty((shape[0], samples, *shape[1:]), np.float32)
        for number in range(samples):
            field = filled.field + filled.width * (filled.draw(random) - filled.field)
            drawn[:, number] = self._complete(filled.frames, field)
        deviation = np.where(filled.frames.mask, np.float32(0), drawn.std(axis=1))
        noise = np.full(shape, np.nan, np.float32)
        noise[:, self.domain] = filled.width * np.sqrt(self.settings.noise) * self._unit
        sigma = np.where(filled.frames.mask, np.float32(0), noise)
        mean = self._complete(filled.frames, filled.field)
        return PosteriorSamples(drawn, mean, deviation, sigma=sigma)

    def save(self, path: str | os.PathLike) -> None:
        """Write what was learned as an NPZ file, so that `load` gives a model that fills other frames.

        The frames that it has learned from are not written.

        Args:
            path: path of the file; an existing one is replaced whole or not at all.

        Raises:
            ValueError: if nothing was learned yet.

        Example:
            >>> frames = np.random.default_rng(0).normal(size=(6, 8, 8, 1))
            >>> FieldModel().fit(frames).save("field.npz")
            >>> FieldModel.load("field.npz").inpaint(np.ma.masked_less(frames[:2], 0)).shape
            (2, 8, 8, 1)
        """
        self._check_learned()
        about = {"settings": self.settings._asdict(), "iterations": self.iterations}
        about |= {"widening": self.widening, "step": self._step, "units": self.units}
        stored.write(path, about, {name.strip("_"): getattr(self, name) for name in _LEARNED})

    @classmethod
    def load(cls, path: str | os.PathLike) -> FieldModel:
        """Return the model of a file that `save` has written.

        Args:
            path: path of the file.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it holds something else.
        """
        about, arrays = stored.read(path, [name.strip("_") for name in _LEARNED])
        settings = FieldSettings(**about["settings"])
        model = cls(settings, iterations=about["iterations"], widening=about["widening"])
        model.units, model._step = about["units"] and tuple(about["units"]), about["step"]
        for name in _LEARNED:
            setattr(model, name, arrays[name.strip("_")])
        return model

    # Parts.

    def _check_learned(self) -> None:
        if not hasattr(self, "loading"):
            raise ValueError("Expected a model that has learned. Call `fit`, or `FieldModel.load`.")

    def _posterior(self, x, times) -> _Filled:
        """Return the posterior of frames, or of those of `fit`."""
        self._check_learned()
        if x is not None:
            return self._fill(self._frames(x, times))
        if self._filled is None:
            raise ValueError("Expected frames to fill, received None, for a model that was loaded.")
        return self._filled

    def _frames(self, x, times) -> Frames:
        units = getattr(x, "units", None)
        if any(a and b and a != b for a, b in zip(units or (), self.units or (), strict=False)):
            raise ValueError(f"Expected frames in {self.units}, received {units}. Convert them.")
        data, sigma = apart(x)
        signal, mask = read(data, self.domain.shape)
        mask = mask & self.domain
        if sigma is not None:
            sigma = np.broadcast_to(checks.noise(sigma, mask.shape, mask), mask.shape)
            sigma = sigma[:, self.domain] / self._unit
        times = data.get("time") if times is None else times
        times = np.arange(len(signal)) if times is None else np.asarray(times, float)
        if times.shape != (len(signal),) or not (np.diff(times) > 0).all():
            raise ValueError(f"`times` expected {len(signal)} increasing numbers, received {times}.")
        observed = mask[:, self.domain]
        values = (signal[:, self.domain].astype(float) - self._centre) / self._unit
        return Frames(signal, mask, times, np.where(observed, values, 0), observed, sigma)

    def _lattice(self, frames: Frames) -> Lattice:
        roughness = Roughness(self.settings.space, self.settings.time, self.settings.decay)
        noise: float | np.ndarray = self.settings.noise
        if frames.deviation is not None:
            noise = np.where(frames.observed, frames.deviation, 1) ** 2
        lattice = Lattice(
            differences(self.domain),
            steps(frames.times, self._step),
            frames.observed,
            roughness,
            noise,
        )
        precision = np.ones(self.loading.shape[1])
        if self.rhythms.any():
            covariances = [rhythm.Rhythm(*one).covariance(frames.times) for one in self.rhythms]
            precision = np.linalg.inv(covariances)
        lattice.load(self.loading, precision)
        return lattice

    def _fill(self, frames: Frames) -> _Filled:
        return _Filled(frames, self._lattice(frames), frames.values - self.mean, self.widening)

    def _complete(self, frames: Frames, field: np.ndarray) -> np.ndarray:
        """Return frames in the unit of the data, with observed entries as they are."""
        whole = np.full(frames.signal.shape, np.nan, np.float32)
        whole[:, self.domain] = self._centre + self._unit * (self.mean + field)
        return np.where(frames.mask, frames.signal, whole)


class _Filled:
    """Frames with the posterior of their field, which is `mean + field` in standard units.

    It does not refer to the model that keeps it: a cycle would keep the large factorizations of models
    that nobody uses any more.
    """

    def __init__(self, frames: Frames, lattice: Lattice, rest: np.ndarray, widening: float):
        self.frames, self.lattice, self.rest = frames, lattice, rest
        field, latent = lattice.mean(rest)
        self.field = field + latent @ lattice.loading.T
        self.width = widening * _relative_width(rest, frames.observed)[:, None]

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Draw the field from its posterior."""
        field, latent = self.lattice.draw(self.rest, random, tolerance=1e-2)
        return field + latent @ self.lattice.loading.T


def _relative_width(rest: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the factor of each frame's deviations, float `[frames]`, 1 for frames like the others.

    Frames that scatter more about the mean are also filled with larger errors, but not in proportion:
    the factor is the square root of their relative deviation. A frame of which little is observed, in
    one corner perhaps, is taken as nearly average, as if it also had a fifth of an average frame.
    """
    count = observed.sum(1)
    level = np.where(observed, rest, 0).sum(1) / np.maximum(count, 1)
    squares = np.where(observed, (rest - level[:, None]) ** 2, 0).sum(1)
    average = squares.sum() / count.sum() if count.any() else 1.0
    more = AVERAGE * observed.shape[1]
    variance = (squares + more * average) / (count + more)
    return np.sqrt(np.sqrt(variance / max(average, 1e-12)))


def _principal(field, count: int) -> np.ndarray:
    """Return the first principal components of frames, times their deviations, `[points, count]`."""
    _, vectors = np.linalg.eigh(field @ field.T)
    return field.T @ vectors[:, ::-1][:, :count] / np.sqrt(len(field))

"""The base class of models with latents: inference of latents, and methods that decode them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks, networks, qualities
from abp_tf.data import examples
from abp_tf.errors import DivergenceError
from abp_tf.models import diagnostics, draws, latent_signatures
from abp_tf.models.base import SignalModel
from abp_tf.models.batches import times, unpack
from abp_tf.models.noise import BandNoise, Noise
from abp_tf.models.posterior import Posterior
from abp_tf.models.prior import Prior
from abp_tf.networks.checks import trainable
from abp_tf.observation import masking, operators
from abp_tf.observation.bands import Mdct
from abp_tf.results import PosteriorSamples
from abp_tf.sampling import Sampler
from abp_tf.sampling.random import CHAIN, PRIOR, row_seeds


class LatentEnergy(NamedTuple):
    """Terms of `U(z; y, θ) = ‖M ⊙ (y − S g(z))‖² / (2σ²) + ‖z‖² / 2`, float32 `[n]` each.

    Attributes:
        misfit: `‖M ⊙ (y − S g(z))‖² / (2σ²)`, with σ of each channel.
        prior: `‖z‖² / 2`.
        squared_errors: `(y − S g(z))²`, summed over the observed entries of each channel, without
            weights, `[n, channels]`.
    """

    misfit: tf.Tensor
    prior: tf.Tensor
    squared_errors: tf.Tensor

    @property
    def squared_error(self) -> tf.Tensor:
        """`‖y − S g(z)‖²`, summed over observed entries, float32 `[n]`."""
        return tf.reduce_sum(self.squared_errors, axis=-1)

    @property
    def total(self) -> tf.Tensor:
        """`U` of each example, float32 `[n]`."""
        return self.misfit + self.prior


class LatentModel(SignalModel):
    """Model `x = g(z) + σ ε`, `z ~ N(0, I)`; a subclass determines how `g` is learned.

    Methods that take arrays run the functions of `signatures` on one batch of rows after another. A
    row's result depends on the row and its seed, not on the batch.

    Args:
        network: a built `keras.Model` from latents `[n, *latent_shape]` to signals
            `[n, *signal_shape]`.
        prior: distribution of the latents; None means `N(0, I)`.
        bands: bands of frequency, each of which has a σ of its own; None for one σ per channel.
        **options: arguments of `SignalModel`.
    """

    def __init__(self, network, prior: Prior | None = None, bands: Mdct | None = None, **options):
        super().__init__(**options)
        trainable(network, type(self).__name__)
        self.network = network
        self.latent_shape = tuple(network.input_shape[1:])
        self.signal_shape = tuple(network.output_shape[1:])
        self.check_scaling()
        if self.observation is not None:
            operators.check(self.observation, self.signal_shape)
        blocks = networks.latent_blocks(network)
        self.prior = Prior(self.latent_shape, blocks, name="prior") if prior is None else prior
        self.bands = bands
        self.noise = self._noise()

    def _noise(self) -> Noise:
        if self.bands is None:
            return Noise(self.observed_shape[-1], name="noise")
        checks.instance_of(Mdct)(type(self).__name__, "bands", self.bands)
        if self.observation is not None:
            raise ValueError(
                f"{type(self).__name__} expected bands or an observation, received both, {self.bands} "
                f"and {self.observation}. Leave one out."
            )
        self.bands.shape(self.signal_shape)  # raises an error if the signals are no sounds
        self.noise_in_data = False  # σ of a sample is none of a band
        return BandNoise(self.bands, name="noise")

    # The model: decoding, energy, inference.

    def call(self, latent: tf.Tensor, time: tf.Tensor | None = None) -> tf.Tensor:
        """Return the decoded latents, `g(z)`, in the units of the data.

        Args:
            latent: float32 `[n, *latent_shape]`.
            time: times of the signals, `[n]`; needed if the scaling has a period.
        """
        self.times(time, None, "call")
        return self.restored(self.decode(tf.cast(latent, tf.float32)), time)

    def decode(self, latent: tf.Tensor) -> tf.Tensor:
        """Return the decoded latents in scaled units, float32 `[n, *signal_shape]`."""
        return tf.cast(self.network(self.prior(latent), training=False), tf.float32)

    def observed(self, decoded: tf.Tensor) -> tf.Tensor:
        """Return the observed data of decoded signals, `S g(z)`."""
        return decoded if self.observation is None else self.observation(decoded)

    def energy(
        self, latent: tf.Tensor, signal: tf.Tensor, mask: tf.Tensor | None = None
    ) -> LatentEnergy:
        """Return the terms of `U(z; y, θ)` of each example; inference and learning both use them.

        Args:
            latent: float32 `[n, *latent_shape]`.
            signal: float32 `[n, *observed_shape]` in scaled units, finite in every entry
                (`masking.hide`).
            mask: weights of the entries, 0 = hidden (`abp_tf.observation.masking`); None means that
                all is observed.
        """
        latent, signal = tf.convert_to_tensor(latent), tf.convert_to_tensor(signal)
        return self.energy_of_decoded(latent, self.decode(latent), signal, mask)

    def energy_of_decoded(
        self, latent: tf.Tensor, decoded: tf.Tensor, signal: tf.Tensor, mask: tf.Tensor | None = None
    ) -> LatentEnergy:
        """Return the terms of `energy` for latents that have been decoded already."""
        seen = self.observed(decoded)
        misfit = self.noise.misfit(signal, seen, mask)
        errors = masking.squares(masking.observed(signal - seen, mask))
        return LatentEnergy(misfit, self.prior.energy(latent), errors)

    @property
    def warm(self) -> bool:
        """Whether chains of new signals begin where an encoder says; else at draws from the prior."""
        return False

    @property
    def sigma(self) -> float | tuple[float, ...]:
        """σ, in units of the data: a number if it is the same in all channels, else one per channel."""
        return self.noise.sigma

    @sigma.setter
    def sigma(self, value: float | Sequence[float]) -> None:
        self.noise.sigma = value

    def signal_noise(self) -> tf.Tensor:
        """Return the standard deviation of the noise of a signal's entries, given `g(z)`.

        It is σ, `[channels]`, in scaled units, with `bands` the root of the mean of σ²; with an
        `observation` it is 0, because the noise is then that of what is observed.
        """
        return self.noise.of_entries() if self.observation is None else tf.zeros([])

    def noise_of_data(self) -> tf.Tensor:
        """Return σ in the units of the data, which broadcasts against them."""
        sigma = self.noise.of_entries()
        return sigma if self.scaling is None else self.scaling.restore_deviation(sigma)

    def posterior(self, signal: tf.Tensor, mask: tf.Tensor | None) -> Posterior:
        """Return the posterior of the latents of a batch; arguments as for `energy`."""
        return Posterior(lambda latent: self.energy(latent, signal, mask).total)

    def starts(self, signal: tf.Tensor, mask: tf.Tensor | None, seed: tf.Tensor) -> list[tf.Tensor]:
        """Return first states of inference, each `[n, *latent_shape]`; the best end of them is kept.

        Args:
            signal: data, float32 `[n, *observed_shape]`, 0 where hidden.
            mask: weights of the entries, 0 = hidden (`abp_tf.observation.masking`); None means that
                all is observed.
            seed: int64 `[n]`, one seed per row.
        """
        return [self.prior.draw(row_seeds(seed, PRIOR))]

    def infer_latents(
        self,
        signal: tf.Tensor,
        mask: tf.Tensor | None,
        seed: tf.Tensor,
        sampler: Sampler | None = None,
        start: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Infer the latents of a batch, for `infer` and the exported functions.

        Args:
            signal: data, float32 `[n, *observed_shape]`; hidden entries may hold anything.
            mask: weights of the entries, 0 = hidden (`abp_tf.observation.masking`); None means that
                all is observed.
            seed: int64 `[n]`, one seed per row.
            sampler: sampler of the chains; None means `inference`.
            start: first states of the chains, `[n, *latent_shape]`; None means those of `starts`.

        Returns:
            float32 `[n, *latent_shape]`.
        """
        signal = masking.hide(signal, mask)
        posterior = self.posterior(signal, mask)
        best, lowest = None, None
        for begin in self.starts(signal, mask, seed) if start is None else [start]:
            latent, info = posterior.sample(sampler or self.inference, begin, row_seeds(seed, CHAIN))
            if best is None:
                best, lowest = latent, info.final_energy
                continue
            better = info.final_energy < lowest
            rows = tf.reshape(better, [-1] + [1] * len(self.latent_shape))
            best, lowest = tf.where(rows, latent, best), tf.where(better, info.final_energy, lowest)
        return best

    def explain(
        self, signal: tf.Tensor, mask: tf.Tensor | None, seed: tf.Tensor, **options
    ) -> tuple[tf.Tensor, tf.Tensor, LatentEnergy]:
        """Infer latents and decode them; arguments as for `infer_latents`.

        Returns:
            the latents, their decoded signals, and the terms of their energy.
        """
        latent = self.infer_latents(signal, mask, seed, **options)
        decoded = self.decode(latent)
        signal = masking.hide(signal, mask)
        return latent, decoded, self.energy_of_decoded(latent, decoded, signal, mask)

    # Steps of `evaluate` and `predict`.

    def test_step(self, batch: Any) -> dict:
        """Infer the latents of a batch from the prior; report the errors of their reconstructions."""
        signal, mask, index = unpack(self, batch)
        latent, _, energy = self.explain(signal, mask, index)
        means = self.latent_means(latent, energy, signal, mask)
        self.means.update(means)
        return self.means.results(means)

    def latent_means(
        self, latent: tf.Tensor, energy: LatentEnergy, signal: tf.Tensor, mask: tf.Tensor | None
    ) -> dict:
        """Return the values that steps report of latents, `[n]` each, by name.

        Examples without any observed entry do not count for the reconstruction error.
        """
        return {
            "reconstruction_error": diagnostics.per_entry(
                energy.squared_error, masking.entries(signal, mask)
            ),
            "latent_norm": masking.square(latent) / math.prod(self.latent_shape),
        }

    def predict_step(self, batch: Any) -> tf.Tensor:
        """Return the reconstructions of a batch."""
        return self.restored(self.explain(*unpack(self, batch))[1], times(batch))

    # Methods that take and return arrays.

    def observe(self, signals: ArrayLike, *, batch_size: int = 100) -> np.ndarray:
        """Return the data that the model would observe of whole signals: `S x` without noise.

        Args:
            signals: float `[n, *signal_shape]` in the model's value range.
            batch_size: number of rows that are computed at a time.

        Returns:
            float32 `[n, *observed_shape]`; the signals themselves without an `observation`.
        """
        signals = checks.signals(signals, self.signal_shape, self.value_range)
        checks.integer("observe", "batch_size", batch_size, 1)
        if self.observation is None:
            return signals
        parts = range(0, len(signals), batch_size)
        observed = (self.observation(tf.constant(signals[at : at + batch_size])) for at in parts)
        return np.concatenate(list(observed))

    def infer(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        restarts: int = 1,
    ) -> np.ndarray:
        """Infer the latents of signals with the sampler `inference`, from draws of the prior.

        Args:
            signals: float `[n, *observed_shape]`, which is the shape of the signals unless the model
                has an `observation`, in the range of the data; hidden entries may hold anything, NaN
                included. Or a dict of arrays, as for `fit`.
            mask: bool or 0/1, `[n, *observed_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None means that all is observed.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of rows that are computed at a time; it bounds memory and does not change
                the result.
            verbose: 1 shows a progress bar.
            restarts: number of chains per row; the one with the lowest final energy is kept.

        Returns:
            float32 `[n, *latent_shape]`.

        Raises:
            ValueError: if signals, mask, seeds or the number of restarts cannot be used.
            DivergenceError: if latents are not finite.

        Example:
            >>> model.infer(images[:3]).shape
            (3, 4)
        """
        data = self._data(signals, mask, "infer")
        return self._inferred(data, seed, batch_size, verbose, restarts)

    def _inferred(self, data, seed, batch_size: int, verbose: int, restarts: int) -> np.ndarray:
        checks.integer("infer", "restarts", restarts, 1)
        seeds = checks.seeds(seed, len(data.signal))[:, None] + np.arange(restarts) * draws.APART
        weights = self._weights(data)
        inputs = [data.signal, *weights, seeds.reshape(-1), *self._time(data)]
        name = "infer_masked" if weights else "infer_whole"
        found = self._checked(self.run(name, inputs, batch_size, verbose))
        latents = found["latent"].reshape(-1, restarts, *self.latent_shape)
        best = np.argmin(found["energy"].reshape(-1, restarts), axis=1)
        return latents[np.arange(len(latents)), best]

    def reconstruct(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        restarts: int = 1,
    ) -> np.ndarray:
        """Infer the latents of signals and decode them; the arguments are those of `infer`.

        Returns:
            float32 `[n, *signal_shape]`, all entries decoded, observed ones too (see `inpaint`).
        """
        data = self._data(signals, mask, "reconstruct")
        latents = self._inferred(data, seed, batch_size, verbose, restarts)
        return self._decoded(latents, batch_size, self._time(data))

    def inpaint(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        quality: str = qualities.DEFAULT,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
    ) -> np.ndarray:
        """Fill in hidden entries by the median of samples from their posterior.

        The median has the least expected absolute error; the mean, which `sample_posterior` returns,
        has the least squared error. If the sampler `inference` draws no samples, such as `Descent`,
        hidden entries are decoded from one vector of latents at every quality, as `reconstruct` does.

        Args:
            signals: float `[n, *observed_shape]` in the range of the data; hidden entries may hold
                anything, NaN included. Or a dict of arrays, as for `fit`.
            mask: bool or 0/1, `[n, *observed_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None if `signals` has it.
            quality: "fast", "balanced" or "best": more samples, chains and steps take more time and
                have a smaller error (`abp_tf.qualities`). With an encoder all take less time.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of chains that run at a time; it bounds memory and does not change the
                result.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`: observed entries untouched.

        Raises:
            ValueError: if an argument cannot be used, or if the model has an `observation`, because
                then no entry is observed.
            DivergenceError: if latents are not finite.

        Example:
            >>> model.inpaint(images[:2], masks[:2], quality="fast").shape
            (2, 16, 16, 1)
        """
        if self.observation is not None:
            raise ValueError(
                "inpaint expected a model that observes entries of signals, received one with "
                f"observation={self.observation}. Use `reconstruct(signals, mask)`."
            )
        data = self._data(signals, mask, "inpaint")
        if data.mask is None:
            raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
        found = self._of_chains("fill", data, seed, batch_size, verbose, quality=quality)
        return np.where(data.mask, data.signal, found["signal"])

    def sample_posterior(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        quality: str = qualities.DEFAULT,
        samples: int | None = None,
        chains: int | None = None,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
    ) -> PosteriorSamples:
        """Draw whole signals from their posterior given the observed entries.

        The quality determines the shares of the noisy steps of `inference` after which a chain gives
        its first sample, of which chains that begin where an encoder says take fewer, and each further
        one (`abp_tf.qualities`). A sample is `g(z)`, without the noise `σ ε` of single entries. Two
        successive chains have opposite random numbers, so that their errors cancel in part.

        Args:
            signals: float `[n, *observed_shape]` in the range of the data; hidden entries may hold
                anything, NaN included. Or a dict of arrays, as for `fit`.
            mask: bool or 0/1, `[n, *observed_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None means that all is observed. Observed entries are the same in all samples,
                unless the model has an `observation`.
            quality: "fast", "balanced" or "best": numbers of samples, chains and steps.
            samples: number of samples per row, a multiple of `chains`; by default that of the quality.
            chains: number of chains per row, in pairs; by default that of the quality.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of chains that run at a time.
            verbose: 1 shows a progress bar.

        Returns:
            A `PosteriorSamples`, with R̂ and effective sample sizes if chains are long enough.

        Raises:
            ValueError: if an argument cannot be used, or the sampler `inference` draws no samples.
            DivergenceError: if latents are not finite.

        Warns:
            UserWarning: if chains have not converged: with 50 samples of each chain or more, the median
                R̂ of all latents is above 1.05.

        Example:
            >>> drawn = model.sample_posterior(images[:2], masks[:2], samples=4, chains=2)
            >>> drawn.samples.shape, drawn.mean.shape
            ((2, 4, 16, 16, 1), (2, 16, 16, 1))
        """
        data = self._data(signals, mask, "sample_posterior")
        options = {"quality": quality, "samples": samples, "chains": chains}
        found = self._of_chains("draw", data, seed, batch_size, verbose, **options)
        mask = None if self.observation else data.mask
        sigma = self.signal_noise()
        sigma = sigma if self.scaling is None else self.scaling.restore_deviation(sigma)
        return draws.summarize(found, qualities.choose(quality, samples, chains), mask, data, sigma)

    def synthesize(
        self,
        count: int,
        *,
        time: ArrayLike | None = None,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
    ) -> np.ndarray:
        """Decode draws from the prior, `z ~ N(0, I)`.

        Args:
            count: number of signals.
            time: times of the signals, one number or `[count]`, in the unit of the scaling's period;
                without effect if there is none.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        checks.integer("synthesize", "count", count, 1)
        inputs = [checks.seeds(seed, count), *self.times(time, count, "synthesize")]
        return self.run("synthesize", inputs, batch_size, verbose)["signal"]

    def interpolate(
        self,
        signals: examples.SignalsLike,
        weights: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        time: ArrayLike | None = None,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
    ) -> np.ndarray:
        """Decode combinations of the latents of signals.

        Args:
            signals: float `[m, *observed_shape]`, or a dict of arrays, as for `fit`.
            weights: float `[r, m]`; each row combines the `m` latents into one. `line`, `arc` and
                `square` of `abp_tf.interpolation` return such rows for two or four signals.
            mask: bool or 0/1, `[m, *observed_shape]` or without the channel axis; None means that all
                is observed.
            time: times of the results, one number or `[r]`, in the unit of the scaling's period;
                without effect if there is none.
            seed: an integer, for the seeds `seed + arange(m)`, or `m` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[r, *signal_shape]`.
        """
        weights, count = np.asarray(weights, np.float32), len(examples.parts(signals)["signal"])
        if weights.ndim != 2 or weights.shape[1] != count:
            raise ValueError(
                f"interpolate expected weights of shape ('r', {count}), one column per signal, "
                f"received {weights.shape}."
            )
        time = self.times(time, len(weights), "interpolate")
        latents = self.infer(signals, mask, seed=seed, batch_size=batch_size, verbose=verbose)
        return self._decoded(np.tensordot(weights, latents, axes=1), batch_size, time)

    # The functions that methods and exports run.

    def signatures(
        self,
        samples: int | None = None,
        chains: int | None = None,
        quality: str = qualities.DEFAULT,
    ) -> dict:
        """Return functions of a batch, with the specs of their inputs, by name.

        Args:
            samples: number of samples per row of `sample_posterior`; None means that of the quality.
            chains: number of chains per row of `sample_posterior`, a divisor of `samples`.
            quality: quality of `sample_posterior`.
        """
        return latent_signatures.signatures(self, qualities.choose(quality, samples, chains))

    @property
    def unexported(self) -> set[str]:
        """Names of the functions of `signatures` that an export does not contain."""
        left_out = {"infer_whole", "infer_masked", "draw", "fill"}
        if self.observation is not None:  # no entry of the signals is observed
            left_out |= {qualities.signature(name) for name in qualities.QUALITIES}
        if not self.inference.draws_samples:
            left_out.add("sample_posterior")
        return left_out

    @property
    def exported_layers(self) -> list:
        """Layers whose weights an export contains."""
        return [self.network, self.prior, self.noise]

    def _data(self, signals, mask, method: str) -> examples.Examples:
        parts = examples.masked(signals, mask)
        self.times(parts.get("time"), None, method)
        return examples.examples(parts, self.observed_shape, self.observed_range, self.noise_in_data)

    def _time(self, data) -> list:
        """Return a list with the times of the data if functions need them, else an empty one."""
        return [data.time] if self.timed else []

    def _weights(self, data) -> list:
        """Return a list with the weights of all entries, or an empty one if all are 1."""
        weights = data.weights(np.asarray(self.noise_of_data()))
        return [] if weights is None else [np.broadcast_to(weights, data.signal.shape)]

    def _of_chains(self, name: str, data, seed, batch_size: int, verbose: int, **options) -> dict:
        """Run a function that draws samples; `batch_size` is the number of chains at a time."""
        checks.integer(type(self).__name__, "batch_size", batch_size, 1)
        seeds = checks.seeds(seed, len(data.signal))
        full = self._weights(data) or [np.ones(data.signal.shape, np.float32)]
        chains = qualities.choose(**options).chains if self.inference.draws_samples else 1
        rows = max(batch_size // chains, 1)
        inputs = [data.signal, *full, seeds, *self._time(data)]
        return self._checked(self.run(name, inputs, rows, verbose, **options))

    def _decoded(self, latents, batch_size: int, time: list) -> np.ndarray:
        return self.run("decode", [latents, *time], batch_size)["signal"]

    def _checked(self, found: dict) -> dict:
        # Observed entries are returned unchanged, so only latents can be other than finite.
        if np.isfinite(found["latent"]).all():
            return found
        raise DivergenceError(
            f"Latents are not finite after inference with {self.inference}. Lower the step size of "
            "`model.inference`."
        )

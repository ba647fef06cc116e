"""CoopNets: a generator and a descriptor that are trained together."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.distribution import replicas
from abp_tf.models import coopnets_signatures, diagnostics, stateless
from abp_tf.models.base import SignalModel
from abp_tf.models.batches import unpack
from abp_tf.models.descriptor import Descriptor, finite
from abp_tf.models.generator import Generator, first_rows
from abp_tf.networks.checks import independent_rows
from abp_tf.results import PosteriorSamples, Score
from abp_tf.sampling import Sampler
from abp_tf.sampling.random import (
    CHAIN,
    DATA,
    INFERENCE,
    LATENT,
    PRIOR,
    REVISION,
    START,
)


@keras.saving.register_keras_serializable(package="abp_tf")
class CoopNets(SignalModel):
    """Cooperative learning of a generator, which drafts signals, and a descriptor, which revises them.

    The drafts of the generator are the first states of the descriptor's Langevin dynamics. The
    descriptor learns from the difference between data and revised drafts. The generator learns from the
    revisions of its drafts, whose latents are known (Xie, Lu, Gao, Zhu, Wu, "Cooperative Training of
    Descriptor and Generator Networks", AAAI 2018 and PAMI 2018, arXiv 1609.09408, algorithm 3).

    *Incomplete data* are examples `x` with a mask `M`, 1 where an entry is observed and 0 where it is
    hidden. Each example has a chain of latents, which continues by Langevin steps along `−∂U/∂z` of the
    generator's energy `U(z; x, θ) = ‖M ⊙ (x − g(z))‖²/(2σ²) + ‖z‖²/2`. Hidden entries start as `(1 − M)
    ⊙ g(z)` and are revised by the descriptor's Langevin dynamics given the observed ones. The completed
    signals are the data of the descriptor. The generator minimizes the mean of `U` with `z` held
    (alternating back-propagation), together with its regression on the revisions.

    BatchNorm is allowed in the generator's network with complete data, because no chain of an example
    runs through the network in training mode. It uses the statistics of each batch in both passes of a
    step. Its moving statistics, which all methods use, are updated once per step.

    Settings of both models, and `latent_steps` and `seed`, may be set at any time, and take effect in
    the next call.

    Args:
        generator: a `Generator`. Its `sigma` is always used, its `langevin` with latent steps or
            incomplete data, its `chains` with incomplete data. Its prior and preconditioner do not
            change. Both have the same `shards`.
        descriptor: a `Descriptor` with chains="short-run"; its `langevin` is the sampler of the
            revision.
        latent_steps: number of Langevin steps that move the latents of a draft towards those of its
            revision before the generator learns. The paper has them, the released codes do not. With
            batch normalization in the generator they do harm, because its drafts have the statistics of
            their batch, and the chains of latents the moving ones. `fit` warns if the steps are longer
            than the posterior is wide, because drafts of the prior would then be of no use.
        seed: integer seed of all noise and of the order of the examples.

    Raises:
        ValueError: if the models do not fit together.

    Example:
        >>> generator = abp_tf.Generator(
        ...     abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
        ... )
        >>> network = abp_tf.networks.image_descriptor((16, 16, 1), width=4)
        >>> model = abp_tf.CoopNets(generator, abp_tf.Descriptor(network, chains="short-run"))
        >>> model.compile(keras.optimizers.Adam(2e-4), keras.optimizers.Adam(5e-4, beta_1=0.5))
        >>> history = model.fit(images, batch_size=20, epochs=1, verbose=0)
        >>> revised, drafts = model.synthesize(4), model.synthesize(4, revised=False)
    """

    adjustable = MappingProxyType(
        {"latent_steps": functools.partial(checks.integer, least=0), "seed": checks.integer}
    )
    masked = ("fit", "evaluate")  # f needs whole signals

    def __init__(
        self,
        generator: Generator,
        descriptor: Descriptor,
        *,
        latent_steps: int = 0,
        seed: int = 0,
        **kwargs,
    ):
        _check(generator, descriptor)
        reported: tuple[str, ...]
        reported = (*diagnostics.CHAIN_MEANS, "acceptance", "score", "energy", "revision_error")
        reported += ("reconstruction_error", "latent_norm")
        options = {"value_range": descriptor.value_range, "scaling": descriptor.scaling, **kwargs}
        super().__init__(seed=seed, reported=reported, shards=generator.shards, **options)
        self.generator = generator
        self.descriptor = descriptor
        self.latent_steps = latent_steps
        self.signal_shape = descriptor.signal_shape
        self.latent_shape = generator.latent_shape

    # The algorithm.

    def train_step(self, batch: Any) -> dict:
        """Make one iteration of cooperative learning on a batch of examples.

        Returns:
            means over the epoch: those of `Descriptor.train_step`; `revision_error`, the mean squared
            error of the drafts against their revisions; with incomplete data also
            `reconstruction_error`, the mean squared error per observed entry of the inferred latents,
            and `latent_norm`, the mean of `‖z‖²/d`; and the `stability` of the latent steps or, without
            them, of the chains of incomplete data.
        """
        generator, descriptor = self.generator, self.descriptor
        observed, mask, index = unpack(self, batch)
        seeds = functools.partial(self.step_seeds, index=index)
        mean = replicas.mean_over(index)

        # 0. Hidden entries of the data are decoded from inferred latents, and revised.
        signal = descriptor.noisy(observed, seeds(DATA))
        if mask is not None:
            kept = generator.keeps_chains
            start = generator.table.read(index) if kept else generator.prior.draw(seeds(START))
            posterior = generator.posterior(observed, mask)
            inferred, _ = posterior.sample(generator.langevin, start, seeds(INFERENCE))
            decoded = generator.decode(inferred)
            signal = descriptor.fill(decoded, signal, mask, descriptor.langevin, seeds(REVISION))

        # 1. The generator drafts.
        latent = drawn = generator.prior.draw(seeds(PRIOR))
        draft, _ = self._draft(latent)

        # 2. The descriptor revises.
        revised, info = descriptor.langevin.sample(descriptor.energy, draft, seeds(CHAIN))

        # 3. Latents move towards those of the revisions.
        if self.latent_steps:
            towards = generator.langevin.with_steps(self.latent_steps)
            latent, _ = generator.posterior(revised, None).sample(towards, latent, seeds(LATENT))

        # 4. The descriptor learns to separate the data from the revisions.
        with tf.GradientTape() as tape:
            loss, of_data, of_revised = descriptor.contrast(signal, revised, mean)
        of_descriptor = tape.gradient(loss, descriptor.network.trainable_variables)

        # 5. The generator learns to draft the revisions, and to decode the observed entries.
        with tf.GradientTape() as tape:
            draft, moving = self._draft(latent)
            regression = mean(generator.noise.misfit(revised, draft))
            if mask is not None:
                energy = generator.energy(inferred, observed, mask)
                regression += mean(energy.total)
        of_generator = tape.gradient(regression, generator.network.trainable_variables)

        def write(sums, index, inferred, *probed):
            for (optimizer, variables), gradients in zip(self.learners(), sums, strict=True):
                replicas.descend(optimizer, gradients, variables)
            stateless.assign(generator.network, moving)
            if mask is not None:
                if kept:
                    generator.table.write(index, inferred)
                generator.iteration.assign_add(1)
            if mask is not None or self.latent_steps:
                generator.probe_stability(self.iteration, *probed)

        means = diagnostics.chain_means(
            loss, signal, revised, of_data, of_revised, info, self.langevin, self.scaled_range, mean
        )
        if self.langevin.rejects:
            means["acceptance"] = info.acceptance
        means["revision_error"] = (revised - draft) ** 2
        rows: tuple = (index, None if mask is None else inferred)
        if mask is not None:
            means |= self._recovery(inferred, energy, observed, mask)
        if mask is not None or self.latent_steps:
            # Latent steps use whole signals, whose posterior is narrower than that of masked ones.
            whole = (drawn, revised, None)
            rows += tuple(first_rows(*(whole if self.latent_steps else (inferred, observed, mask))))
        sums = (of_generator, of_descriptor)
        logs = self.commit(write, means, sums=sums, rows=rows, finite=[loss, regression])
        logs = diagnostics.with_spread(logs)
        if mask is not None or self.latent_steps:
            logs["stability"] = tf.identity(generator.stability.value)
        return logs

    def _draft(self, latent) -> tuple[tf.Tensor, list]:
        """Return `g(z)` in training mode, and the moving statistics that would follow."""
        return stateless.call(self.generator.network, self.generator.prior(latent))

    def _recovery(self, latent, energy, signal, mask) -> dict:
        """Return the means that are reported of inferred latents and their reconstructions."""
        found = self.generator.latent_means(latent, energy, signal, mask)
        return {name: found[name] for name in ("reconstruction_error", "latent_norm")}

    def complete(self, signal: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor, sampler: Sampler) -> tuple:
        """Infer latents from observed entries, then decode and revise the hidden ones.

        Args:
            signal: float32 `[n, *signal_shape]`; hidden entries may hold anything.
            mask: float32 of 1 (observed) and 0 (hidden) that broadcasts against `signal`.
            seed: int64 `[n]`, one seed per row.
            sampler: sampler of the revision.

        Returns:
            the completed signals, observed entries untouched; the latents; and their energy.
        """
        latent, decoded, energy = self.generator.explain(signal, mask, seed)
        seeds = coopnets_signatures.revision_seeds(seed)
        return self.descriptor.fill(decoded, signal, mask, sampler, seeds), latent, energy

    def test_step(self, batch: Any) -> dict:
        """Report the mean `score`, `f(x)`, and the mean `energy` of a batch.

        Incomplete signals are completed first, as `inpaint` does; then the mean `reconstruction_error`
        per observed entry and the mean `latent_norm` are reported too.
        """
        signal, mask, index = unpack(self, batch)
        means = {}
        if mask is not None:
            observed = signal
            signal, latent, energy = self.complete(observed, mask, index, self.langevin)
            means = self._recovery(latent, energy, observed, mask)
        means = {**self.descriptor.score_means(signal), **means}
        self.means.update(means)
        return self.means.results(means)

    def predict_step(self, batch: Any) -> tf.Tensor:
        """Return `f(x)` of a batch."""
        return self.descriptor.predict_step(batch)

    def call(self, latent: tf.Tensor, time: tf.Tensor | None = None) -> tf.Tensor:
        """Return the decoded latents `g(z)`, before any revision; arguments as for a `Generator`."""
        return self.generator(latent, time)

    # Compilation: an optimizer for each network.

    def compile(
        self,
        generator_optimizer: str | dict | keras.optimizers.Optimizer = "adam",
        descriptor_optimizer: str | dict | keras.optimizers.Optimizer = "adam",
        **options,
    ) -> None:
        """Set the optimizers.

        Args:
            generator_optimizer: optimizer of the generator; the papers use Adam(1e-4, beta_1=0.5).
            descriptor_optimizer: optimizer of the descriptor; the papers use Adam(7e-3 … 1e-2,
                beta_1=0.5).
            **options: `jit_compile`, `run_eagerly` and `steps_per_execution` of `keras.Model.compile`.
        """
        super().compile(optimizer=descriptor_optimizer, **options)
        self.generator_optimizer = keras.optimizers.get(generator_optimizer)
        self._build_optimizers()

    def get_compile_config(self) -> dict:
        """Return both optimizers, so that a loaded model is compiled."""
        if not self.compiled:
            return {}
        serialize = keras.optimizers.serialize
        return {
            "generator_optimizer": serialize(self.generator_optimizer),
            "descriptor_optimizer": serialize(self.optimizer),
        }

    def compile_from_config(self, config: dict) -> None:
        """Compile the model with the optimizers of `get_compile_config`."""
        if config:
            self.compile(**{name: keras.optimizers.deserialize(one) for name, one in config.items()})

    # Parts of `SignalModel` that `fit` uses.

    @property
    def settings_version(self) -> int:
        """Number that changes whenever a setting of this model or of its two models changes."""
        parts = (self.generator.settings_version, self.descriptor.settings_version)
        return self._settings_version + sum(parts)

    @property
    def network(self) -> keras.Model:
        """The descriptor's network, through which the chains of signals run."""
        return self.descriptor.network

    @property
    def langevin(self) -> Sampler:
        """The sampler of the revision."""
        return self.descriptor.langevin

    @property
    def past(self) -> diagnostics.Past:
        """Diagnostics of earlier epochs."""
        return self.descriptor.past

    @property
    def tables(self) -> list:
        """The tables of the generator: chains of incomplete examples."""
        return self.generator.tables

    @property
    def latents(self) -> np.ndarray:
        """Learned latents of incomplete training examples, as `Generator.latents`."""
        return self.generator.latents

    def reset_chains(self, examples: int = 0) -> None:
        """Delete the latents of the training examples, so that `fit` can begin with other data.

        Args:
            examples: number of the new examples, if the data do not determine it.
        """
        self.generator.reset_chains(examples)
        self.fingerprint.assign(0)

    def learners(self) -> list:
        """Return pairs of an optimizer and the variables it updates."""
        return [
            (self.generator_optimizer, self.generator.network.trainable_variables),
            (self.optimizer, self.descriptor.network.trainable_variables),
        ]

    def observers(self) -> list:
        """Return the callbacks that warn of symptoms and of unstable steps."""
        return [diagnostics.SymptomAlarm(), diagnostics.StabilityAlarm()]

    def numbered(self, masked: bool) -> bool:
        """Return whether each example has a chain: incomplete ones, if the generator keeps them."""
        return masked and self.generator.keeps_chains

    def accept(
        self, examples: int | None, fingerprint: int, index: np.ndarray | None, masked: bool
    ) -> None:
        """Prepare the model for the data of `fit`, as `SignalModel.accept` describes."""
        _check(self.generator, self.descriptor)
        if masked:
            independent_rows(self.generator.network)
            if not self.generator.langevin.total_steps:
                raise ValueError(
                    "Incomplete examples need latents, but `generator.langevin`, which infers them, "
                    "has 0 steps. Set it to a sampler with steps, such as Langevin(steps=10, "
                    "step_size=0.1)."
                )
            self.generator.accept(examples, fingerprint, index, masked)
        super().accept(examples, fingerprint, index, masked)

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        return f"{self.descriptor.remedy()} The generator's learning rate may be too high as well."

    # Methods that take and return arrays.

    def synthesize(
        self,
        count: int,
        *,
        time: ArrayLike | None = None,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        steps: int | None = None,
        revised: bool = True,
    ) -> np.ndarray:
        """Draw signals: the generator drafts them, the descriptor revises them.

        Args:
            count: number of signals.
            time: times of the signals, one number or `[count]`, in the unit of the scaling's period;
                without effect if there is none.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
            steps: number of steps of the revision; those of training by default.
            revised: False returns the drafts of the generator.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        if not revised:
            options: dict[str, Any]
            options = {"time": time, "seed": seed, "batch_size": batch_size, "verbose": verbose}
            return self.generator.synthesize(count, **options)
        checks.integer("synthesize", "count", count, 1)
        inputs = [checks.seeds(seed, count), *self.times(time, count, "synthesize")]
        return self._run("synthesize", inputs, batch_size, verbose, steps)["signal"]

    def inpaint(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        steps: int | None = None,
    ) -> np.ndarray:
        """Fill in hidden entries: the generator decodes them, the descriptor revises them.

        Latents are inferred from the observed entries, as by `Generator.reconstruct`. The hidden
        entries that they decode to are revised given the observed ones.

        Args:
            signals: float `[n, *signal_shape]` in the value range; hidden entries may hold anything,
                NaN included. Or a dict of arrays "signal", "mask" and "time".
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden. None if `signals` has it.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
            steps: number of steps of the revision; those of training by default.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        data = examples.incomplete(signals, mask, self.signal_shape, self.value_range)
        count = len(data.signal)
        inputs = [data.signal, data.mask, checks.seeds(seed, count)]
        inputs += self.times(data.time, count, "inpaint")
        return self._run("inpaint", inputs, batch_size, verbose, steps)["signal"]

    def infer(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, **options
    ) -> np.ndarray:
        """Infer the latents of signals, as `Generator.infer` does."""
        return self.generator.infer(signals, mask, **options)

    def reconstruct(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, **options
    ) -> np.ndarray:
        """Infer the latents of signals and decode them, as `Generator.reconstruct` does."""
        return self.generator.reconstruct(signals, mask, **options)

    def sample_posterior(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, **options
    ) -> PosteriorSamples:
        """Draw whole signals from the generator's posterior, as `Generator.sample_posterior` does."""
        return self.generator.sample_posterior(signals, mask, **options)

    def interpolate(self, signals: examples.SignalsLike, weights: ArrayLike, **options) -> np.ndarray:
        """Decode combinations of latents, as `Generator.interpolate` does."""
        return self.generator.interpolate(signals, weights, **options)

    def refine(self, signals: examples.SignalsLike, **options) -> np.ndarray:
        """Revise signals, as `Descriptor.refine` does."""
        return self.descriptor.refine(signals, **options)

    def score(self, signals: examples.SignalsLike, **options) -> Score:
        """Return `f(x)` and the energy of signals, as `Descriptor.score` does."""
        return self.descriptor.score(signals, **options)

    def signatures(self, steps: int | None = None, **options) -> dict:
        """Return functions of a batch, with the specs of their inputs, by name.

        They are those of both models. Here `synthesize` and `inpaint` revise the generator's signals.

        Args:
            steps: number of steps of revisions; None means as many as in training.
            **options: arguments of `Generator.signatures`.
        """
        return coopnets_signatures.signatures(self, self.generator.signatures(**options), steps)

    @property
    def unexported(self) -> set[str]:
        """Names of the functions of `signatures` that an export does not contain."""
        return self.generator.unexported

    def _run(self, name: str, inputs: list, batch_size, verbose, steps) -> dict:
        return finite(self.run(name, inputs, batch_size, verbose, steps=steps), self.langevin)

    # Saving, export.

    @property
    def exported_layers(self) -> list:
        """Layers whose weights an export contains."""
        return [*self.generator.exported_layers, *self.descriptor.exported_layers]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "generator": serialize(self.generator),
            "descriptor": serialize(self.descriptor),
            "latent_steps": self.latent_steps,
            "seed": self.seed,
        }


def _check(generator, descriptor) -> None:
    """Refuse models that do not fit together."""
    if not isinstance(generator, Generator) or not isinstance(descriptor, Descriptor):
        raise ValueError(
            "CoopNets expected a Generator and a Descriptor, received "
            f"{type(generator).__name__} and {type(descriptor).__name__}."
        )
    if generator.signal_shape != descriptor.signal_shape:
        raise ValueError(
            f"CoopNets expected models of the same signals, received a generator of "
            f"{generator.signal_shape} and a descriptor of {descriptor.signal_shape}. Build both "
            "networks for one shape."
        )
    if generator.scaling != descriptor.scaling:
        raise ValueError(
            f"CoopNets expected models of one scaling, received a generator with {generator.scaling} "
            f"and a descriptor with {descriptor.scaling}. Build both with the same `scaling`."
        )
    if generator.shards != descriptor.shards:
        raise ValueError(
            f"CoopNets expected models of as many shards, received {generator.shards} of the generator "
            f"and {descriptor.shards} of the descriptor. Build both with the same `shards`."
        )
    if generator.observation is not None:
        raise ValueError(
            "CoopNets expected a generator without an observation, because they compare drafts with "
            f"whole signals, received {generator.observation}. Build it with observation=None."
        )
    if generator.learn_sigma:
        raise ValueError(
            "CoopNets expected a generator with a given sigma, because its drafts follow the "
            "descriptor and not the data, received learn_sigma=True. Set it to False."
        )
    if generator.encoder is not None:
        raise ValueError(
            "CoopNets expected a generator without an encoder, because they do not teach it, received "
            "one. Build it with encoder=False."
        )
    if descriptor.chains != "short-run":
        raise ValueError(
            "CoopNets expected a Descriptor with chains='short-run', because its chains start from "
            f"drafts of the generator, received chains={descriptor.chains!r}."
        )

"""Generator: non-linear factor analysis, trained by alternating back-propagation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks, networks
from abp_tf.distribution import replicas
from abp_tf.models import diagnostics, noise, schedules, warm_starts
from abp_tf.models.batches import unpack
from abp_tf.models.latent_model import LatentEnergy, LatentModel
from abp_tf.models.posterior import Posterior
from abp_tf.models.prior import Prior
from abp_tf.observation import masking, operators
from abp_tf.observation.bands import Mdct
from abp_tf.sampling import Langevin, Sampler, Underdamped
from abp_tf.sampling.chains import LatentTable
from abp_tf.sampling.preconditioner import Preconditioner
from abp_tf.sampling.random import CHAIN, ENCODER, PRIOR, PRIOR_LESSON, row_seeds
from abp_tf.scaling import Scaling

PROBE_EVERY, PROBE_ROWS = 50, 16  # iterations from one measurement of stability to the next, and rows


def first_rows(
    latent: tf.Tensor, signal: tf.Tensor, mask: tf.Tensor | None, count: int = PROBE_ROWS
) -> list:
    """Return the first rows of latents, data and mask, of which the mask may be None."""
    return [None if part is None else part[:count] for part in (latent, signal, mask)]


@keras.saving.register_keras_serializable(package="abp_tf")
class Generator(LatentModel):
    """Model `x = g(z; θ) + σ ε`, `z ~ N(0, I)`, trained by alternating back-propagation.

    Each step of `fit` descends one energy, `U(z; x, θ) = ‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2`, twice:
    *inference* by Langevin steps along `−∂U/∂z` for each example's latents, *learning* by an optimizer
    step along `−∂U/∂θ` with the latents held fixed (Han, Lu, Zhu, Wu, "Alternating Back-Propagation for
    Generator Network", AAAI 2017, arXiv 1606.08571). With a linear network it is factor analysis.

    With an `observation` `S` the data are `y = S g(z) + σ ε`, and the squared error in `U` is `‖M ⊙ (y
    − S g(z))‖²`. Then the signals that `fit` and all other methods receive are `y`, and the signals
    that they return are whole ones, `g(z)`.

    The settings `sigma`, `learn_sigma`, `langevin`, `inference`, `expansion`, `preconditioning`,
    `value_range` and `seed` may be set at any time, and take effect in the next call.

    Args:
        network: a built `keras.Model` from latents `[n, *latent_shape]` to signals `[n,
            *signal_shape]`, for instance `abp_tf.networks.image_generator`.
        sigma: σ, standard deviation of the noise, in scaled units of the data; a positive number, or
            one for each channel of the data. It is a weight: it is saved, and loaded with the other
            weights. The `sigma` of posterior samples is in the units of the data.
        learn_sigma: whether each epoch ends with setting σ of each channel to its maximum-likelihood
            value, given the chains of the epoch (see `abp_tf.models.noise.Noise`); `sigma` is then
            where it begins. False is exactly the paper's algorithm.
        langevin: sampler of the latents in training; `Langevin(steps=10, step_size=0.1)` by default.
        inference: sampler of the latents of new signals; by default 200 noisy steps of `Underdamped`
            Langevin dynamics with the training step size, then 100 noise-free ones of half that size;
            or 200 steps of a `langevin` that has no step size.
            `MALA` or `HMC` sample the posterior without the bias of unadjusted steps.
        chains: "persistent", one chain per training example that every epoch continues (the paper's
            algorithm), or "fresh", new draws from the prior each time, so that memory does not depend
            on the number of examples.
        expansion: share of the epochs, from the first on, that end with parameter expansion (see
            `abp_tf.models.prior.Prior`); if it is above 0, the last epoch does too. With
            preconditioning some of the first iterations of these epochs are also followed by one. 0 is
            exactly the paper's algorithm.
        preconditioning: whether the chains run in coordinates in which posteriors are round, estimated
            during training (see `abp_tf.sampling.preconditioner.Preconditioner`). It needs longer
            steps, about 0.5. False is exactly the paper's algorithm.
        examples: number of training examples, if the data do not determine it.
        value_range: interval in which whole signals must lie, in their own units; None lifts the check.
            "auto" is (-1, 1) without a scaling, and None with one.
        seed: integer seed of all noise and of the order of the examples.
        scaling: `abp_tf.Scaling` of signals in their own units, such as °C, to those of the network;
            None if they are the same. It excludes an observation.
        observation: operator through which all data are observed, such as `abp_tf.Projection(200)`,
            `Coarser(4)` or `Blur(2.0)`; None if the data are whole signals. Masks are part of the data.
        bands: `abp_tf.Mdct(512)` for sounds whose noise has a σ for each band of frequency, which
            `sigma` then lists; None for one σ per channel. It excludes an observation and
            `learn_sigma`.
        prior: distribution of the latents, an `abp_tf.models.prior.Prior`; None means `N(0, I)`.
            `abp_tf.TimePrior` is one for sequences of frames.
        encoder: whether a network learns, from the chains of training, where those of new signals
            begin (`abp_tf.models.warm_starts`): then few steps suffice, and many forget where they
            began. True for `abp_tf.networks.encoder`; or a built `keras.Model` from the data, 0 where
            hidden, and the mask on the channel axis, `[n, ..., 2 channels]`, to means and
            log-variances of latents, `[n, ..., 2 latents]`. Neither weights nor chains of training
            depend on it. False is exactly the paper's algorithm.
        particles: number of chains of each example. The gradient of the weights is the mean over all of
            them: particle gradient descent (Kuntz, Lim, Johansen, AISTATS 2023, arXiv 2204.12965), of
            which alternating back-propagation is the case of one. A step costs as much as one of
            `particles` times as many examples.
        shards: number of parts into which the examples are divided, each in an order of its own
            (`abp_tf.distribution.shards`): a multiple of the number of processes, on which alone
            results depend.

    Raises:
        ValueError: if an argument is out of its range, or the network, the encoder or the observation
            cannot be used.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
        >>> model = abp_tf.Generator(network, sigma=0.3)
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
        >>> history = model.fit(images, batch_size=20, epochs=1, verbose=0)
        >>> model.synthesize(4, seed=0).shape
        (4, 16, 16, 1)
    """

    adjustable = MappingProxyType(
        {
            "sigma": checks.deviations,
            "learn_sigma": checks.instance_of(bool),
            "langevin": checks.instance_of(Sampler),
            "inference": checks.instance_of(Sampler),
            "expansion": checks.share,
            "preconditioning": checks.instance_of(bool),
            "value_range": checks.value_range,
            "seed": checks.integer,
        }
    )

    noise_in_data = True

    def __init__(
        self,
        network: keras.Model,
        *,
        sigma: float | Sequence[float] = 0.3,
        learn_sigma: bool = False,
        langevin: Sampler | None = None,
        inference: Sampler | None = None,
        chains: str = "persistent",
        expansion: float = 0.0,
        preconditioning: bool = False,
        examples: int | None = None,
        value_range: tuple[float, float] | str | None = "auto",
        seed: int = 0,
        scaling: Scaling | None = None,
        observation: operators.Observation | None = None,
        bands: Mdct | None = None,
        prior: Prior | None = None,
        encoder: keras.Model | bool = False,
        particles: int = 1,
        shards: int = 1,
        **kwargs,
    ):
        reported = ("loss", "reconstruction_error", "latent_norm", "gradient_norm", "acceptance")
        super().__init__(
            network,
            prior,
            bands,
            value_range=value_range,
            seed=seed,
            scaling=scaling,
            observation=observation,
            reported=(*reported, "encoder_loss", "prior_loss"),
            shards=shards,
            **kwargs,
        )
        if examples is not None:
            checks.integer("Generator", "examples", examples, 1)
        self.sigma = sigma
        self.learn_sigma = learn_sigma
        self.langevin = langevin or Langevin(steps=10, step_size=0.1)
        step_size = getattr(self.langevin, "step_size", None)  # a sampler of one's own may have none
        longer = Underdamped(200, step_size, cool=100) if step_size else self.langevin.with_steps(200)
        self.inference = inference or longer
        self.chains = checks.one_of("persistent", "fresh")("Generator", "chains", chains)
        self.expansion = expansion
        self.preconditioning = preconditioning
        self._check_chains()
        self.preconditioner = Preconditioner(
            self.latent_shape, networks.latent_blocks(network), name="preconditioner"
        )
        self.encoder = warm_starts.encoder(encoder, network, self.observed_shape)
        self.particles = checks.integer("Generator", "particles", particles, 1)
        self.table = LatentTable(
            self.latent_shape, examples or 0, seed, self.ownership, self.particles, name="chains"
        )
        zeros = {"initializer": "zeros", "trainable": False}
        self.stability = self.add_weight(shape=(), name="stability", **zeros)
        sums = (noise.SUMS, self.noise.channels)  # over the steps of the epoch, to learn σ from
        self.sums = self.add_weight(shape=sums, dtype="float64", name="sums", **zeros)

    # The algorithm.

    def train_step(self, batch: Any) -> dict:
        """Run one iteration of alternating back-propagation on a batch of examples.

        Returns:
            means over the epoch of `loss` (the energy), `reconstruction_error` (squared error per
            observed entry), `latent_norm` (`‖z‖²/d`, near 1 if posterior and prior agree) and
            `gradient_norm` of the chains, and their `acceptance` if the sampler rejects proposals;
            `encoder_loss`, the negative log likelihood per latent, if there is an encoder;
            `prior_loss`, near 0 if latents and draws from the prior agree, if a network of the prior
            learns; `stability`, `δ² λmax / 4`, which must stay below 1; and `sigma`, the mean of σ
            over channels, if it is learned.
        """
        signal, mask, index = unpack(self, batch)
        signal, mask, chain = self._repeated(signal, mask, index)  # one row for each chain
        seeds = functools.partial(self.step_seeds, index=chain)
        mean = replicas.mean_over(chain)

        # Inferential back-propagation: continue each chain along −∂U/∂z.
        kept = self.keeps_chains
        start = self.table.latents(self.table.read(index)) if kept else self.prior.draw(seeds(PRIOR))
        latent, info = self.posterior(signal, mask).sample(self.langevin, start, seeds(CHAIN))

        # Learning back-propagation: the gradient of the same energy along θ, latents held fixed.
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            energy = self.energy(latent, signal, mask)
            loss = mean(energy.total)
        sums = {"gradients": tape.gradient(loss, variables)}
        lessons = self._lessons(latent, signal, mask, seeds, mean)
        sums["lessons"] = {name: lesson.gradients for name, lesson in lessons.items()}
        if self.learn_sigma:
            sums["noise"] = replicas.counted(self.noise.sums(signal, mask, energy.squared_errors))

        def write(sums, index, latent, *probed):
            replicas.descend(self.optimizer, sums["gradients"], variables)
            for name, lesson in lessons.items():
                lesson.apply(getattr(self, f"{name}_optimizer"), sums["lessons"][name])
            if self.keeps_chains:
                self.table.write(index, self.table.of_examples(latent))
            if self.learn_sigma:
                self.sums.assign_add(sums["noise"])
            self.probe_stability(self.iteration, *probed)

        means = {
            **self.latent_means(latent, energy, signal, mask),
            "gradient_norm": info.gradient_norm,
            **{f"{name}_loss": lesson.loss for name, lesson in lessons.items()},
        }
        if self.langevin.rejects:
            means["acceptance"] = info.acceptance
        rows = (index, latent, *first_rows(latent, signal, mask))
        logs = self.commit(write, means, sums=sums, rows=rows, finite=[loss])
        if self.learn_sigma:
            logs["sigma"] = tf.reduce_mean(self.noise.deviation)
        return {**logs, "stability": tf.identity(self.stability.value)}

    def _repeated(self, signal, mask, index) -> list:
        """Return signals, masks and numbers of a batch with one row for each chain of an example."""
        count = self.particles
        if count == 1:
            return [signal, mask, index]
        rows = [part if part is None else tf.repeat(part, count, axis=0) for part in (signal, mask)]
        return [*rows, tf.reshape(index[:, None] * count + tf.range(count, dtype=index.dtype), [-1])]

    def _lessons(self, latent, signal, mask, seeds: Callable, mean: Callable) -> dict:
        """Return what the encoder and the network of the prior learn from a batch, by name."""
        found = {}
        if self.encoder is not None:
            found["encoder"] = warm_starts.lesson(self, latent, signal, mask, seeds(ENCODER), mean)
        if self.prior.network is not None:
            found["prior"] = self.prior.lesson(latent, seeds(PRIOR_LESSON), mean)
        return found

    def latent_means(
        self, latent: tf.Tensor, energy: LatentEnergy, signal: tf.Tensor, mask: tf.Tensor | None
    ) -> dict:
        """Return the values that steps report of latents, `[n]` each, by name."""
        return {"loss": energy.total, **super().latent_means(latent, energy, signal, mask)}

    def posterior(self, signal: tf.Tensor, mask: tf.Tensor | None) -> Posterior:
        """Return the posterior of the latents of a batch; arguments as for `energy`."""
        root = self.root(signal, mask)
        return Posterior(lambda latent: self.energy(latent, signal, mask).total, root)

    def root(
        self, signal: tf.Tensor, mask: tf.Tensor | None, inverse: bool = False
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function that multiplies latents of a batch by the preconditioner's `R` or `R⁻¹`.

        Args:
            signal: as for `energy`, of which only the shape counts.
            mask: as for `energy`.
            inverse: whether to multiply by `R⁻¹`.
        """
        share = None if mask is None else self._shares(mask * tf.ones_like(signal))
        # Without preconditioning chains run on the latents themselves, whatever the prior.
        precision = self.prior.precision() if self.preconditioning else None
        return self.preconditioner.root(share, precision, inverse)

    def starts(self, signal: tf.Tensor, mask: tf.Tensor | None, seed: tf.Tensor) -> list:
        """Return first states of inference: draws from the encoder, or from the prior without one."""
        drawn = super().starts(signal, mask, seed)
        if self.encoder is None:
            return drawn
        return [warm_starts.start(self, signal, mask, row_seeds(seed, PRIOR), *drawn)]

    @property
    def warm(self) -> bool:
        """Whether chains of new signals begin where an encoder says."""
        return self.encoder is not None

    def _shares(self, weights: tf.Tensor) -> list[tf.Tensor]:
        """Return the share of observed entries for each block of the preconditioner."""
        share = self.prior.share(weights)
        shares = [share]
        for *sides, _ in self.preconditioner.blocks[1:]:
            # Only what is observed on a grid like that of the latents has a part near each of them.
            alike = self.observation is None and len(sides) == weights.shape.rank - 2
            shares.append(masking.local_shares(weights**2, sides) if alike else tf.ones_like(share))
        return shares

    def probe_stability(
        self, iteration: tf.Variable, latent: tf.Tensor, signal: tf.Tensor, mask: tf.Tensor | None
    ) -> None:
        """Measure `δ² λmax / 4` every `PROBE_EVERY` iterations, as the mean over a few chains."""

        def probe():
            few, *data = first_rows(latent, signal, mask, PROBE_ROWS // self.replicas.workers)
            if replicas.count() == 1:
                found = self.posterior(*data).stability(self.langevin, few)
            else:  # a process may have no rows, on which not all layers compute
                found = tf.cond(
                    tf.shape(few)[0] > 0,
                    lambda: self.posterior(*data).stability(self.langevin, few),
                    lambda: tf.zeros([0]),
                )
            return replicas.total(replicas.mean_over(few)(found))

        due = iteration.value % PROBE_EVERY == 0
        self.stability.assign(tf.cond(due, probe, lambda: self.stability.value))

    # Compilation: the encoder and the prior have optimizers of their own.

    def compile(
        self, optimizer: str | dict | keras.optimizers.Optimizer = "rmsprop", **options
    ) -> None:
        """Set the optimizer; the encoder and the network of the prior bring theirs.

        Args:
            optimizer: optimizer of the network; the paper uses Adam(beta_1=0.5).
            **options: `jit_compile`, `run_eagerly` and `steps_per_execution` of `keras.Model.compile`.
        """
        super().compile(optimizer=optimizer, **options)
        if self.encoder is not None:
            self.encoder_optimizer = warm_starts.optimizer()
        if self.prior.network is not None:
            self.prior_optimizer = self.prior.optimizer()

    def compile_from_config(self, config: dict) -> None:
        """Compile the model as `get_compile_config` describes."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizers()

    def learners(self) -> list:
        """Return pairs of an optimizer and the variables it updates."""
        found = super().learners()
        if self.encoder is not None:
            found.append((self.encoder_optimizer, self.encoder.trainable_variables))
        if self.prior.network is not None:
            found.append((self.prior_optimizer, self.prior.network.trainable_variables))
        return found

    # Between the steps.

    def expand(self) -> None:
        """Move mean and covariance of the chains into the prior; decoded signals do not change.

        Chains that no step has moved yet are draws from the prior, and remain draws from the new one.
        """
        moved = self.table.moved()
        if not self.replicas.total(tf.cast(tf.size(moved), tf.float64)):
            return
        with self.replicas.between_steps():
            states = self.table.latents(tf.gather(self.table.states, moved))
            latents, roots = self.prior.absorb(states)
        states = self.table.of_examples(latents)
        self.table.states.scatter_update(tf.IndexedSlices(states, moved))
        if self.preconditioning:
            self.preconditioner.follow(roots)

    def adapt_prior(self) -> None:
        """Let the prior learn from the chains, for instance how strongly frames are correlated."""
        with self.replicas.between_steps():
            self.prior.adapt(self.table.latents(self.table.states))

    def precondition(self, rows: int = 32) -> None:
        """Estimate the preconditioner from the network and the current states of some chains.

        Args:
            rows: number of signals, or of frames, that are decoded.
        """
        rows = -(-rows // self.prior.frames)
        if self.keeps_chains:
            # Rows from all over the table, because neighbours are often alike.
            count = self.table.rows
            chosen = np.linspace(0, count - 1, min(rows, count)).astype(np.int64)
            latents = self.table.latents(self.replicas.total(self.table.read_own(chosen)))[:rows]
        else:
            latents = self.prior.draw(row_seeds(tf.range(rows, dtype=tf.int64), PRIOR))

        def decode(latent):
            return self.noise.whitened(self.observed(self.decode(latent)))

        def make():
            return tf.function(lambda few: self.preconditioner.estimate(decode, few))

        self.function("precondition", make)(latents)

    def learn_noise(self) -> None:
        """Set σ of each channel to its maximum-likelihood value, given the chains of the epoch."""
        grown = self.noise.learn(self.sums.value)
        self.sums.assign(tf.zeros_like(self.sums))
        if self.preconditioning:
            self.preconditioner.grow(grown)

    # Parts of `SignalModel` that `fit` uses.

    @property
    def keeps_chains(self) -> bool:
        """Whether each training example has a chain of its own."""
        return self.chains == "persistent"

    @property
    def examples(self) -> int | None:
        """Number of training examples; None while it is unknown."""
        return self.table.rows or None

    @property
    def tables(self) -> list:
        """The table of the examples' chains."""
        return [self.table]

    def numbered(self, masked: bool) -> bool:
        """Return whether each example has a chain of its own."""
        return self.keeps_chains

    def accept(
        self, examples: int | None, fingerprint: int, index: np.ndarray | None, masked: bool
    ) -> None:
        """Prepare the model for the data of `fit`, as `SignalModel.accept` describes."""
        self._check_chains()
        if self.learn_sigma and self.bands is not None:
            raise ValueError(
                f"`learn_sigma` expected one sigma per channel, received bands={self.bands}. Set it to "
                "False, and let sigma fall by `callbacks.FallingSigma.to_levels`."
            )
        if self.prior.network is not None and self.expansion == 1:
            raise ValueError(
                f"{type(self.prior).__name__} expected an `expansion` below 1, because it learns in "
                "the epochs after the last expansion, received 1. Set it to 0.6."
            )
        self.table.seed = self.seed
        if self.keeps_chains:
            self.table.use_for(examples, self.may_match(fingerprint), index)
        super().accept(examples, fingerprint, index, masked)

    def observers(self) -> list:
        """Return the callbacks for stability, noise, expansion, the prior and the preconditioner."""
        found = [diagnostics.StabilityAlarm()]
        if self.learn_sigma:
            found.append(schedules.LearnNoise())
        if self.expansion:
            found.append(schedules.ExpandLatents(self.expansion))
        if self.prior.learns:
            found.append(schedules.AdaptPrior())
        if self.preconditioning:
            found.append(schedules.AdaptPreconditioner())
        return found

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        return (
            "the energy or its gradient is not finite. The last stability δ²λmax/4 measured was "
            f"{float(self.stability.numpy()):.3g}; it must stay below 1. Lower the step size of "
            f"`langevin` ({self.langevin}) or the learning rate, or raise sigma ({self.sigma})."
            + ("" if self.encoder is None else " The learning rate may be too high for the encoder.")
        )

    @property
    def latents(self) -> np.ndarray:
        """Learned latents of the training examples, float32 `[N, *latent_shape]`, by number.

        With several particles they are `[N, particles, *latent_shape]`. Of several processes,
        each has those of the examples that it owns.
        """
        if not self.keeps_chains or not self.table.rows:
            raise ValueError(
                "`latents` expected persistent chains after `fit`, found none. Use `infer(signals)`."
            )
        return self.table.states.numpy()

    def reset_chains(self, examples: int = 0) -> None:
        """Delete the chains of the training examples, so that `fit` can begin with other data.

        Args:
            examples: number of the new examples, if the data do not determine it.
        """
        self.table.seed = self.seed
        self.table.allocate(examples)
        self.sums.assign(tf.zeros_like(self.sums))
        self.fingerprint.assign(0)

    def _check_chains(self) -> None:
        if self.keeps_chains:
            return
        if self.expansion:
            raise ValueError(
                "`expansion` expected chains='persistent', whose mean and covariance it uses, received "
                f"chains={self.chains!r}. Build the Generator with such chains, or set expansion=0."
            )
        if self.prior.learns:
            raise ValueError(
                f"{type(self.prior).__name__} expected chains='persistent', from which it learns, "
                f"received chains={self.chains!r}. Build the Generator with such chains, or the prior "
                "with learn=False."
            )

    # Saving, export.

    @property
    def exported_layers(self) -> list:
        """Layers whose weights an export contains."""
        own = [self.preconditioner, *([] if self.encoder is None else [self.encoder])]
        return [*super().exported_layers, *own]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "sigma": self.sigma,
            "learn_sigma": self.learn_sigma,
            "langevin": serialize(self.langevin),
            "inference": serialize(self.inference),
            "chains": self.chains,
            "expansion": self.expansion,
            "preconditioning": self.preconditioning,
            "examples": self.examples,
            "value_range": self.value_range,
            "seed": self.seed,
            "scaling": self.scaling and serialize(self.scaling),
            "observation": self.observation and serialize(self.observation),
            "bands": self.bands and serialize(self.bands),
            "prior": serialize(self.prior),
            "encoder": self.encoder is not None and serialize(self.encoder),
            "particles": self.particles,
            "shards": self.shards,
        }

"""Generator: non-linear factor analysis, learned by alternating back-propagation."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks, observation
from abp_tf.answers import LatentAnswers
from abp_tf.callbacks import AdaptPreconditioner, ExpandLatents, StabilityAlarm
from abp_tf.langevin import Langevin, sample, stability
from abp_tf.latents import LatentTable, Prior
from abp_tf.noise import CHAIN, PRIOR, row_seeds, training_seeds
from abp_tf.preconditioner import Preconditioner
from abp_tf.training import SignalTraining, unpack

PROBE_EVERY, PROBE_ROWS = 50, 16  # how often the stability of the chains is looked at, on how many


@keras.saving.register_keras_serializable(package="abp_tf")
class Generator(SignalTraining, LatentAnswers, keras.Model):
    """`x = g(z; θ) + σ ε`, `z ~ N(0, I)`, learned by alternating back-propagation.

    Each step of `fit` goes down one energy, `U(z; x, θ) = ‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2`,
    twice: *inference* by Langevin steps along `−∂U/∂z` for each example's latents, *learning* by an
    optimizer step along `−∂U/∂θ` with the latents held (Han, Lu, Zhu, Wu, "Alternating
    Back-Propagation for Generator Network", AAAI 2017, arXiv 1606.08571). With a linear network it
    is factor analysis.

    Args:
        network: a built `keras.Model` from latents `[n, *latent_shape]` to signals
            `[n, *signal_shape]`, e.g. `abp_tf.networks.image_generator`.
        sigma: σ, standard deviation of the noise, in units of the signal; positive.
        langevin: inference during training; `Langevin(steps=10, step_size=0.1)` by default.
        inference: inference for new signals, from the prior; by default 200 noisy steps at the
            training step size, then 100 noise-free ones at half of it.
        chains: "persistent", one chain per training example that every epoch continues (the paper's
            algorithm), or "fresh", from the prior each time: memory independent of the data's size.
        expansion: share of the epochs, from the first, that end with parameter expansion (see
            `abp_tf.latents.Prior`); if it is above 0 the last epoch does too. 0 is the paper's
            algorithm to the letter.
        preconditioning: whether the chains run in coordinates in which posteriors are round, learned
            as training goes on (see `abp_tf.preconditioner.Preconditioner`). It wants longer steps,
            about 0.5. False is the paper's algorithm to the letter.
        examples: number of training examples, where data do not tell.
        value_range: what signals must lie in; None lifts the check.
        seed: of all noise and of the order of examples.

    Raises:
        ValueError: for an argument out of its range, or a network that cannot be used.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=10, width=8)
        >>> model = abp_tf.Generator(network, sigma=0.3)
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
        >>> history = model.fit(images, batch_size=100, epochs=2)
        >>> model.synthesize(4, seed=0).shape
        (4, 16, 16, 1)
    """

    def __init__(
        self,
        network: keras.Model,
        sigma: float = 0.3,
        langevin: Langevin | None = None,
        inference: Langevin | None = None,
        chains: str = "persistent",
        expansion: float = 0.0,
        preconditioning: bool = False,
        examples: int | None = None,
        value_range: tuple[float, float] | None = (-1.0, 1.0),
        seed: int = 0,
        **kwargs,
    ):
        # Chains and energies are float32 under every policy; the network keeps its own.
        super().__init__(**{**kwargs, "dtype": "float32"})
        checks.network(network, "Generator")
        _check_options(sigma, chains, expansion, examples)
        self.network = network
        self.latent_shape = tuple(network.input_shape[1:])
        self.signal_shape = tuple(network.output_shape[1:])
        self.sigma = float(sigma)
        self.langevin = langevin or Langevin(steps=10, step_size=0.1)
        self.inference = inference or Langevin(200, self.langevin.step_size, cool=100)
        self.chains = chains
        self.expansion = float(expansion)
        self.value_range = None if value_range is None else tuple(value_range)
        self.seed = seed

        self.preconditioning = bool(preconditioning)
        self.prior = Prior(self.latent_shape, name="prior")
        self.preconditioner = Preconditioner(self.latent_shape, name="preconditioner")
        self.table = LatentTable(self.latent_shape, examples or 0, seed, name="chains")
        self.iteration = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="iteration"
        )
        self._stability = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="stability"
        )
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "reconstruction_error", "latent_norm", "gradient_norm")
        }
        self._estimate = None  # the compiled estimate of the preconditioner
        # Keras compiles with XLA where it can; on a CPU that is several times slower.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    # The model: energy, decoding, inference.

    @property
    def inference(self) -> Langevin:
        """Inference for new signals."""
        return self._inference

    @inference.setter
    def inference(self, langevin: Langevin) -> None:
        self._inference = langevin
        self._functions = None  # they hold the settings they were traced with

    def call(self, latent):
        """Decode latents: `g(z)`."""
        return self.decode(latent)

    def decode(self, latent: tf.Tensor) -> tf.Tensor:
        """Map latents `[n, *latent_shape]` to signals, float32 `[n, *signal_shape]`."""
        return tf.cast(self.network(self.prior(latent), training=False), tf.float32)

    def energy(self, latent: tf.Tensor, signal: tf.Tensor, mask=None) -> tf.Tensor:
        """`U(z; x, θ)` of each example; both back-propagations go down this one function.

        Args:
            latent: float32 `[n, *latent_shape]`.
            signal: float32 `[n, *signal_shape]`, finite in every entry (`observation.hide`).
            mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed.

        Returns:
            float32 `[n]`, summed over observed entries.
        """
        latent, signal = tf.convert_to_tensor(latent), tf.convert_to_tensor(signal)
        return self._energy_of(self._misfit(latent, signal, mask), latent)

    def _misfit(self, latent, signal, mask):
        return observation.square(observation.residual(signal, self.decode(latent), mask))

    def _energy_of(self, misfit, latent):
        return misfit / (2 * self.sigma**2) + observation.square(latent) / 2

    def posterior(self, signal, mask, seed) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Infer latents from the prior, as `infer` and the exported signatures do.

        Args:
            signal: float32 `[n, *signal_shape]`.
            mask: float32 of 0 and 1 that broadcasts against `signal`, or None.
            seed: int64 `[n]`, one per row.

        Returns:
            latents, their decoded signals, and the mean squared error per observed entry `[n]`.
        """
        signal = observation.hide(signal, mask)
        latent, _ = self._sample(
            self.prior.draw(row_seeds(seed, PRIOR)),
            signal,
            mask,
            self.inference,
            row_seeds(seed, CHAIN),
        )
        decoded = self.decode(latent)
        misfit = observation.square(observation.residual(signal, decoded, mask))
        error = tf.math.divide_no_nan(misfit, observation.entries(signal, mask))
        return latent, decoded, error

    def _sample(self, start, signal, mask, langevin, seeds):
        """Run chains of latents from `start`; return where they end, and a `LangevinInfo`."""

        def energy(displacement):
            return self.energy(start + self.preconditioner(displacement), signal, mask)

        displacement, info = sample(energy, tf.zeros_like(start), langevin, seeds)
        return start + self.preconditioner(displacement), info

    # Learning.

    @property
    def example_chains(self) -> bool:
        """Whether every training example has a chain of its own."""
        return self.chains == "persistent"

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        if self.example_chains:
            self.table.claim(examples, fingerprint, index)

    def _watchers(self) -> list:
        watchers = [StabilityAlarm()]
        if self.expansion:
            watchers.append(ExpandLatents(self.expansion))
        if self.preconditioning:
            watchers.append(AdaptPreconditioner())
        return watchers

    def _remedy(self) -> str:
        return (
            "the energy or its gradient is not finite. The last stability δ²λmax/4 seen was "
            f"{float(self._stability.value):.3g}; it must stay below 1. Lower the step size "
            f"({self.langevin.step_size:g}) or the learning rate, or raise sigma ({self.sigma:g})."
        )

    def train_step(self, batch: dict) -> dict:
        """One iteration of alternating back-propagation on a batch of examples.

        Returns:
            `loss` (mean energy), `reconstruction_error` (mean squared error per observed entry),
            `latent_norm` (mean `‖z‖²/d`, near 1 when posterior and prior agree), `gradient_norm` (of
            the Langevin steps) and `stability` (`δ² λmax / 4`, to stay below 1).
        """
        signal, mask, index = unpack(batch)

        def seeds(stream):
            return training_seeds(self.seed, stream, self.iteration.value, index)

        # Inferential back-propagation: go on with each example's chain.
        start = self.table.read(index) if self.example_chains else self.prior.draw(seeds(PRIOR))
        latent, info = self._sample(start, signal, mask, self.langevin, seeds(CHAIN))

        # Learning back-propagation: the same energy, latents held.
        with tf.GradientTape() as tape:
            misfit = self._misfit(latent, signal, mask)
            loss = tf.reduce_mean(self._energy_of(misfit, latent))
        gradients = tape.gradient(loss, self.network.trainable_variables)

        # Nothing is written unless all of it is finite: what was learned so far stays good.
        finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            variables = self.network.trainable_variables
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            if self.example_chains:
                self.table.write(index, latent)
            self._probe_stability(latent, signal, mask)
            self.iteration.assign_add(1)
            norm = self._mean("gradient_norm", tf.reduce_mean(info.gradient_norm), index)
            logs = self._report(loss, misfit, signal, mask, latent)
            return {**logs, "gradient_norm": norm, "stability": tf.identity(self._stability.value)}

    def _probe_stability(self, latent, signal, mask) -> None:
        """Every now and then, look at `δ² λmax / 4`, the mean over a few chains."""

        def probe():
            seen, hidden = (None if x is None else x[:PROBE_ROWS] for x in (signal, mask))
            few = latent[:PROBE_ROWS]

            def energy(displacement):
                return self.energy(few + self.preconditioner(displacement), seen, hidden)

            return tf.reduce_mean(stability(energy, tf.zeros_like(few), self.langevin.step_size))

        due = self.iteration.value % PROBE_EVERY == 0
        self._stability.assign(tf.cond(due, probe, lambda: self._stability.value))

    def _report(self, loss, misfit, signal, mask, latent) -> dict:
        """Update the means every step reports; return them so far."""
        error = misfit / observation.entries(signal, mask)
        square = observation.square(latent) / tf.cast(tf.size(latent[0]), tf.float32)
        values = {"loss": loss, "reconstruction_error": error, "latent_norm": square}
        return {name: self._mean(name, tf.reduce_mean(value), latent) for name, value in values.items()}

    def _mean(self, name, value, rows):
        self._means[name].update_state(value, sample_weight=tf.shape(rows)[0])
        return self._means[name].result()

    def test_step(self, batch: dict) -> dict:
        """Infer the latents of a batch anew; return `loss`, `reconstruction_error`, `latent_norm`."""
        signal, mask, index = unpack(batch)
        latent, _, _ = self.posterior(signal, mask, index)
        misfit = self._misfit(latent, signal, mask)
        loss = tf.reduce_mean(self._energy_of(misfit, latent))
        return self._report(loss, misfit, signal, mask, latent)

    def predict_step(self, batch: dict) -> tf.Tensor:
        """Reconstruct a batch."""
        signal, mask, index = unpack(batch)
        return self.posterior(signal, mask, index)[1]

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return list(self._means.values())

    # Chains, saving, export.

    @property
    def latents(self):
        """Learned latents of the training examples, float32 `[N, *latent_shape]`, by number."""
        if self.chains != "persistent" or not self.table.rows:
            raise ValueError(
                "Learned latents are kept by persistent chains, after `fit`. Use `infer(signals)`."
            )
        return self.table.table.numpy()

    def expand(self) -> None:
        """Absorb mean and covariance of the chains into the prior; decoded chains do not change."""
        self.table.table.assign(self.prior.absorb(self.table.table))

    def precondition(self, rows: int = 64) -> None:
        """Adapt the preconditioner to the network and `rows` chains as they are now."""
        if self.chains == "persistent":
            # Spread over the table: examples next to each other are often alike.
            count = self.table.rows
            chosen = np.linspace(0, count - 1, min(rows, count)).astype(np.int64)
            latents = self.table.read(chosen)
        else:
            latents = self.prior.draw(row_seeds(tf.range(rows, dtype=tf.int64), PRIOR))
        if self._estimate is None:
            self._estimate = tf.function(
                lambda few: self.preconditioner.estimate(self.decode, few, self.sigma)
            )
        self._estimate(latents)

    def reset_chains(self, examples: int = 0) -> None:
        """Forget the training examples' chains, so that `fit` can begin with other data.

        Args:
            examples: number of the other examples, where data do not tell.
        """
        self.table.allocate(examples)

    @property
    def exported_layers(self) -> list:
        """The layers an export needs."""
        return [self.network, self.prior, self.preconditioner]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "sigma": self.sigma,
            "langevin": serialize(self.langevin),
            "inference": serialize(self.inference),
            "chains": self.chains,
            "expansion": self.expansion,
            "preconditioning": self.preconditioning,
            "examples": self.table.rows or None,
            "value_range": self.value_range,
            "seed": self.seed,
        }


def _check_options(sigma, chains, expansion, examples) -> None:
    if not 0 < sigma < float("inf"):
        raise ValueError(f"Generator expected a positive `sigma`, received {sigma!r}.")
    if chains not in ("persistent", "fresh"):
        raise ValueError(f"`chains` expected 'persistent' or 'fresh', received {chains!r}.")
    if not 0 <= expansion <= 1:
        raise ValueError(f"`expansion` expected a share of epochs in [0, 1], received {expansion!r}.")
    if expansion and chains == "fresh":
        raise ValueError(
            "`expansion` takes mean and covariance from persistent chains; with chains='fresh' there "
            "are none. Use one or the other."
        )
    if examples is not None and (not isinstance(examples, int) or examples < 1):
        raise ValueError(f"`examples` expected an integer of 1 or more, received {examples!r}.")

"""Generator: non-linear factor analysis, learned by alternating back-propagation."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf import checks, observation, operators
from abp_tf.answers import LatentAnswers
from abp_tf.callbacks import AdaptPreconditioner, ExpandLatents, StabilityAlarm
from abp_tf.latent_chains import LatentChains
from abp_tf.latent_watch import LatentWatch
from abp_tf.latents import Prior
from abp_tf.sampling import Langevin
from abp_tf.sampling.chains import LatentTable
from abp_tf.sampling.preconditioner import Preconditioner
from abp_tf.sampling.random import CHAIN, PRIOR, training_seeds
from abp_tf.training import SignalTraining, unpack


@keras.saving.register_keras_serializable(package="abp_tf")
class Generator(SignalTraining, LatentChains, LatentAnswers, keras.Model):
    """`x = g(z; θ) + σ ε`, `z ~ N(0, I)`, learned by alternating back-propagation.

    Each step of `fit` goes down one energy, `U(z; x, θ) = ‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2`,
    twice: *inference* by Langevin steps along `−∂U/∂z` for each example's latents, *learning* by an
    optimizer step along `−∂U/∂θ` with the latents held (Han, Lu, Zhu, Wu, "Alternating
    Back-Propagation for Generator Network", AAAI 2017, arXiv 1606.08571). With a linear network it
    is factor analysis.

    With an `observation` `S` data are `y = S g(z) + σ ε`, the misfit is `‖M ⊙ (y − S g(z))‖²`, and
    wherever signals are given, to `fit` and all other methods, they are `y`; signals that are
    returned are whole ones, `g(z)`.

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
            as training goes on (see `abp_tf.sampling.preconditioner.Preconditioner`). It wants longer
            steps, about 0.5. False is the paper's algorithm to the letter.
        examples: number of training examples, where data do not tell.
        value_range: what whole signals must lie in; None lifts the check.
        seed: of all noise and of the order of examples.
        observation: the operator through which all data are seen, such as `abp_tf.Projection(200)`,
            `Coarser(4)`, `Blur(2.0)`; None: data are whole signals. Masks come with the data.

    Raises:
        ValueError: for an argument out of its range, or a network or an observation that cannot be
            used.

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
        observation: operators.Observation | None = None,
        **kwargs,
    ):
        # Chains and energies are float32 under every policy; the network keeps its own.
        super().__init__(**{**kwargs, "dtype": "float32"})
        checks.network(network, "Generator")
        _check_options(sigma, chains, expansion, examples)
        self.network = network
        self.latent_shape = tuple(network.input_shape[1:])
        self.signal_shape = tuple(network.output_shape[1:])
        if observation is not None:
            operators.check(observation, self.signal_shape)
        self.observation = observation
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
        self.watch = LatentWatch()
        self._estimate = None  # the compiled estimate of the preconditioner
        # Keras compiles with XLA where it can; on a CPU that is several times slower.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    # The model: energy, decoding, inference.

    def call(self, latent):
        """Decode latents: `g(z)`."""
        return self.decode(latent)

    def decode(self, latent: tf.Tensor) -> tf.Tensor:
        """Map latents `[n, *latent_shape]` to signals, float32 `[n, *signal_shape]`."""
        return tf.cast(self.network(self.prior(latent), training=False), tf.float32)

    def energy(self, latent: tf.Tensor, signal: tf.Tensor, mask=None) -> tf.Tensor:
        """`U(z; y, θ)` of each example; both back-propagations go down this one function.

        Args:
            latent: float32 `[n, *latent_shape]`.
            signal: float32 `[n, *observed_shape]`, finite in every entry (`observation.hide`).
            mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed.

        Returns:
            float32 `[n]`, summed over observed entries.
        """
        latent, signal = tf.convert_to_tensor(latent), tf.convert_to_tensor(signal)
        return self._energy_of(self._misfit(self.decode(latent), signal, mask), latent)

    def _misfit(self, decoded, signal, mask):
        return observation.square(observation.residual(signal, self._seen(decoded), mask))

    def _energy_of(self, misfit, latent):
        return misfit / (2 * self.sigma**2) + observation.square(latent) / 2

    def _seen(self, decoded):
        return decoded if self.observation is None else self.observation(decoded)

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
            what `abp_tf.latent_watch.LatentWatch` sees, and `stability` (`δ² λmax / 4`, to stay
            below 1).
        """
        signal, mask, index = unpack(batch)

        def seeds(stream):
            return training_seeds(self.seed, stream, self.iteration.value, index)

        # Inferential back-propagation: go on with each example's chain.
        start = self.table.read(index) if self.example_chains else self.prior.draw(seeds(PRIOR))
        latent, info = self._sample(start, signal, mask, self.langevin, seeds(CHAIN))

        # Learning back-propagation: the same energy, latents held.
        with tf.GradientTape() as tape:
            misfit = self._misfit(self.decode(latent), signal, mask)
            loss = tf.reduce_mean(self._energy_of(misfit, latent))
        gradients = tape.gradient(loss, self.network.trainable_variables)

        # Nothing is written unless all of it is finite: what was learned so far stays good.
        finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            variables = self.network.trainable_variables
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            if self.example_chains:
                self.table.write(index, latent)
            self._probe_stability(latent, signal, mask, self.iteration)
            self.iteration.assign_add(1)
            energy = self._energy_of(misfit, latent)
            logs = self.watch.report(energy, misfit, signal, mask, latent, info)
            return {**logs, "stability": tf.identity(self._stability.value)}

    def test_step(self, batch: dict) -> dict:
        """Infer the latents of a batch anew; return `loss`, `reconstruction_error`, `latent_norm`."""
        signal, mask, index = unpack(batch)
        latent, decoded, _ = self.posterior(signal, mask, index)
        misfit = self._misfit(decoded, signal, mask)
        return self.watch.report(self._energy_of(misfit, latent), misfit, signal, mask, latent)

    def predict_step(self, batch: dict) -> tf.Tensor:
        """Reconstruct a batch."""
        signal, mask, index = unpack(batch)
        return self.posterior(signal, mask, index)[1]

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return self.watch.metrics

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
        latents, root = self.prior.absorb(self.table.table)
        self.table.table.assign(latents)
        if self.preconditioning:
            self.preconditioner.follow(root)

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
            "observation": self.observation and serialize(self.observation),
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

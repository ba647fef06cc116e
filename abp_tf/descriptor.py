"""Descriptor: an energy-based ConvNet, learned by maximum likelihood with Langevin dynamics."""

from __future__ import annotations

import dataclasses
import math

import keras
import tensorflow as tf

from abp_tf import checks, observation
from abp_tf.chain_watch import ChainWatch
from abp_tf.sampling import Langevin
from abp_tf.sampling.chains import Pool
from abp_tf.sampling.random import CHAIN, DATA, POOL, PRIOR, row_normal, row_uniform, training_seeds
from abp_tf.signal_answers import SignalAnswers
from abp_tf.training import SignalTraining, unpack
from abp_tf.watch import ChainAlarm, Past

CHAINS = ("persistent", "short-run", "data")


@keras.saving.register_keras_serializable(package="abp_tf")
class Descriptor(SignalTraining, SignalAnswers, keras.Model):
    """`p(x) ∝ exp f(x; α) · N(x; 0, s² I)`, learned by MCMC maximum likelihood.

    The energy is `U(x) = ‖x‖²/(2s²) − f(x)`. Each step of `fit` draws samples by Langevin dynamics
    along `−∂U/∂x` (*analysis by synthesis*), then makes one optimizer step up
    `mean f(data) − mean f(samples)`, whose gradient is that of the log-likelihood: exponential tilting
    of white noise (Xie, Lu, Zhu, Wu, "A Theory of Generative ConvNet", ICML 2016, arXiv 1602.03264).

    The defaults are persistent chains of unit gradient steps without reference,
    `x ← x + ∂f/∂x + 0.01 ε`, which is `δ = √2` and `T = (0.01/√2)²` (Nijkamp et al. 2019,
    arXiv 1904.09770 and 1903.12370).

    Args:
        network: a built `keras.Model` from signals `[n, *signal_shape]` to `f(x)`, `[n, 1]`, for
            instance `abp_tf.networks.image_descriptor`.
        reference_sigma: s, standard deviation of the reference in units of the signal; infinite for
            none.
        langevin: of training; by default 20 unit gradient steps as above or, with a reference, 20
            steps of size s/8 at temperature 1.
        inference: of new signals from noise; `langevin` by default, with 20 times the steps where
            training has chains that go on.
        chains: where a batch's chains start: "persistent", from a pool of earlier ones; "short-run",
            from noise; "data", from the batch itself (contrastive divergence).
        pool: number of persistent chains.
        restart: probability that a chain drawn from the pool begins anew from noise, in [0, 1].
        start_sigma: standard deviation of the Gaussian noise that chains begin with; None for uniform
            noise over `value_range` or, without a range, for the reference distribution.
        data_noise: standard deviation of Gaussian noise added to the data, which flat regions need.
        energy_penalty: weight of the mean of `f²` at data and samples in the loss, 0 or more.
        penalized: "f", or "U" for `U²` in its place.
        value_range: what signals must lie in; None lifts the check. Samples are never clipped.
        seed: of all noise and of the order of examples.

    Raises:
        ValueError: for an argument out of its range, or a network that cannot be used.

    Example:
        >>> network = abp_tf.networks.image_descriptor((16, 16, 1), width=8)
        >>> model = abp_tf.Descriptor(network, pool=200)
        >>> model.compile(optimizer=keras.optimizers.Adam(5e-4))
        >>> history = model.fit(images, batch_size=100, epochs=2)
        >>> model.synthesize(4, seed=0).shape
        (4, 16, 16, 1)
    """

    def __init__(
        self,
        network: keras.Model,
        reference_sigma: float = math.inf,
        langevin: Langevin | None = None,
        inference: Langevin | None = None,
        chains: str = "persistent",
        pool: int = 1000,
        restart: float = 0.05,
        start_sigma: float | None = None,
        data_noise: float = 0.03,
        energy_penalty: float = 0.0,
        penalized: str = "f",
        value_range: tuple[float, float] | None = (-1.0, 1.0),
        seed: int = 0,
        **kwargs,
    ):
        # Chains and energies are float32 under every policy; the network keeps its own.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not reference_sigma > 0:
            raise ValueError(
                "`reference_sigma` expected a positive number, or inf for no reference, received "
                f"{reference_sigma!r}."
            )
        self.reference_sigma = float(reference_sigma)
        unit = Langevin(20, 2**0.5, temperature=0.01**2 / 2)
        free = self.reference_sigma == math.inf
        self.langevin = langevin or (unit if free else Langevin(20, self.reference_sigma / 8))
        longer = 1 if chains == "short-run" else 20
        self.inference = inference or dataclasses.replace(
            self.langevin, steps=longer * self.langevin.steps
        )
        self.chains = chains
        self.pool = pool
        self.restart = float(restart)
        self.start_sigma = start_sigma
        self.data_noise = float(data_noise)
        self.energy_penalty = float(energy_penalty)
        self.penalized = penalized
        self.value_range = None if value_range is None else tuple(value_range)
        self.seed = seed
        checks.network(network, "Descriptor")
        checks.independent_rows(network)
        _check_options(self, network)
        self.network = network
        self.signal_shape = tuple(network.input_shape[1:])

        rows = pool if chains == "persistent" else 0
        self.table = Pool(self.signal_shape, rows, self.noise, seed, name="chains")
        self.iteration = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="iteration"
        )
        self.watch = ChainWatch(self.langevin, self.value_range)
        self.past = Past(name="past")
        self.signs = {}  # of trouble, that the last epoch showed
        self._functions = {}  # that answer, by their settings
        # Keras compiles with XLA where it can; on a CPU that is several times slower.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    # The model: f, the energy, and the noise that chains begin with.

    def call(self, signal):
        """`f(x)` of each example: signals `[n, *signal_shape]` to float32 `[n]`."""
        output = tf.cast(self.network(signal, training=False), tf.float32)
        return tf.reshape(output, [-1])

    def energy(self, signal: tf.Tensor) -> tf.Tensor:
        """`U(x) = ‖x‖²/(2s²) − f(x)` of each example; sampling goes down this one function.

        Args:
            signal: float32 `[n, *signal_shape]`.

        Returns:
            float32 `[n]`, summed over entries.
        """
        signal = tf.convert_to_tensor(signal)
        return 0.5 / self.reference_sigma**2 * observation.square(signal) - self(signal)

    def noise(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw what chains begin with, float32 `[n, *signal_shape]`, one from each pair of `[n, 2]`."""
        shape = list(self.signal_shape)
        if self.start_sigma is None and self.value_range is not None:
            low, high = self.value_range
            return low + (high - low) * row_uniform(seeds, shape)
        return (self.start_sigma or self.reference_sigma) * row_normal(seeds, shape)

    # Learning.

    masked = ()  # it knows no latents that could tell what is hidden

    def noisy(self, signal: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Add the data noise to data `[n, *signal_shape]`, from the seed pairs `[n, 2]`."""
        if not self.data_noise:
            return signal
        return signal + self.data_noise * row_normal(seeds, list(self.signal_shape))

    def contrast(self, signal: tf.Tensor, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What a learning step goes down, `mean f(samples) − mean f(data)`, and the penalty.

        Args:
            signal: data, float32 `[n, *signal_shape]`.
            samples: of the model, float32 `[m, *signal_shape]`, held.

        Returns:
            the loss, a scalar; `f` of the data `[n]`; `f` of the samples `[m]`.
        """
        seen, drawn = self(signal), self(samples)
        loss = tf.reduce_mean(drawn) - tf.reduce_mean(seen)
        if self.energy_penalty:
            of_f = self.penalized == "f"
            size = seen**2 if of_f else self.energy(signal) ** 2
            others = drawn**2 if of_f else self.energy(samples) ** 2
            loss += self.energy_penalty * (tf.reduce_mean(size) + tf.reduce_mean(others))
        return loss, seen, drawn

    def train_step(self, batch: dict) -> dict:
        """One iteration of analysis by synthesis on a batch of examples.

        Returns:
            `loss`, and what `abp_tf.chain_watch.ChainWatch` sees.
        """
        signal, _, index = unpack(batch)
        signal = self.noisy(signal, self._seeds(DATA, index))

        # Synthesis: go on with some chains.
        chain, start = self._start(signal, index)
        samples, info = self.langevin.sample(self.energy, start, self._seeds(CHAIN, chain))

        # Analysis: tell the data from the samples, which are held.
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss, seen, drawn = self.contrast(signal, samples)
        gradients = tape.gradient(loss, variables)

        # Nothing is written unless all of it is finite: what was learned so far stays good.
        size = loss + tf.linalg.global_norm(gradients) + tf.reduce_sum(info.final_energy)
        finite = tf.math.is_finite(size)
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            if self.chains == "persistent":
                self.table.write(chain, samples)
            self.iteration.assign_add(1)
            return self.watch.report(loss, signal, samples, seen, drawn, info)

    def _start(self, signal, index) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the numbers `[m]` that the chains' noise is folded from, and where they start."""
        if self.chains == "data":
            return index, signal
        if self.chains == "short-run":
            return index, self.noise(self._seeds(PRIOR, index))
        count = tf.shape(signal)[0]
        return self.table.some(
            count, self.restart, self._seeds(POOL, tf.range(2)), lambda chain: self._seeds(PRIOR, chain)
        )

    def _seeds(self, stream, index):
        return training_seeds(self.seed, stream, self.iteration.value, index)

    def test_step(self, batch: dict) -> dict:
        """Report the mean `score`, `f(x)`, and the mean `energy` of a batch."""
        return self.watch.scores(self(batch["signal"]), self.energy(batch["signal"]))

    def predict_step(self, batch: dict) -> tf.Tensor:
        """`f(x)` of a batch."""
        return self(batch["signal"])

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return self.watch.metrics

    def _watchers(self) -> list:
        return [ChainAlarm()]

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        # Chains are the model's, so other data are welcome; a backup tells by it what it is of.
        self.table.fingerprint = fingerprint or self.table.fingerprint

    def _remedy(self) -> str:
        return (
            "energies or their gradient are not finite. Lower the learning rate or the step size "
            f"({self.langevin.step_size:g}), or set an energy_penalty "
            f"(now {self.energy_penalty:g}); `abp_tf.watch.RollBack` takes such an epoch back and "
            "lowers the learning rate."
        )

    # Chains, saving, export.

    def reset_chains(self) -> None:
        """Begin all chains of the pool anew from noise."""
        self.table.allocate(self.table.rows)

    @property
    def exported_layers(self) -> list:
        """The layers an export needs."""
        return [self.network]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "reference_sigma": self.reference_sigma,
            "langevin": serialize(self.langevin),
            "inference": serialize(self.inference),
            "chains": self.chains,
            "pool": self.pool,
            "restart": self.restart,
            "start_sigma": self.start_sigma,
            "data_noise": self.data_noise,
            "energy_penalty": self.energy_penalty,
            "penalized": self.penalized,
            "value_range": self.value_range,
            "seed": self.seed,
        }


def _check_options(model: Descriptor, network: keras.Model) -> None:
    """Refuse options that no training could run with."""

    def refuse(name, expected):
        raise ValueError(f"`{name}` expected {expected}, received {getattr(model, name)!r}.")

    if network.output_shape[1:] not in ((), (1,)):
        raise ValueError(
            "Descriptor expected a network that gives one number per example, shape (None, 1), "
            f"received {network.output_shape}. Sum in the network, for instance with "
            "`output = keras.ops.sum(output, axis=(1, 2, 3))` over the positions and channels of a map."
        )
    if network.outputs[0].dtype != "float32":
        raise ValueError(
            f"Descriptor expected a network that ends in float32, received {network.outputs[0].dtype}, "
            'in which f is too coarse. Give the last layer dtype="float32".'
        )
    if model.chains not in CHAINS:
        refuse("chains", f"one of {', '.join(CHAINS)}")
    if isinstance(model.pool, bool) or not isinstance(model.pool, int) or model.pool < 1:
        refuse("pool", "an integer of 1 or more")
    if not 0 <= model.restart <= 1:
        refuse("restart", "a probability in [0, 1]")
    if model.start_sigma is not None and not 0 < model.start_sigma < math.inf:
        refuse("start_sigma", "a positive number, or None")
    if model.start_sigma is None and model.value_range is None and model.reference_sigma == math.inf:
        raise ValueError(
            "Chains have nothing to begin with: there is no value_range, no reference and no "
            "start_sigma. Give start_sigma, the standard deviation of the noise they start from."
        )
    for name in ("data_noise", "energy_penalty"):
        if not 0 <= getattr(model, name) < math.inf:
            refuse(name, "0 or more")
    if model.penalized not in ("f", "U"):
        refuse("penalized", "'f' or 'U'")
    for name in ("langevin", "inference"):
        step_size = getattr(model, name).step_size
        stability = (step_size / model.reference_sigma) ** 2 / 4
        if stability >= 1:
            raise ValueError(
                f"Chains are unstable from the first step: δ²/(4s²) is {stability:.3g} with the step "
                f"size {step_size:g} of `{name}` and reference_sigma {model.reference_sigma:g}, and "
                "must stay below 1. Lower the step size, or raise reference_sigma."
            )

"""CoopNets: a generator and a descriptor that learn together."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf import checks, observation
from abp_tf.callbacks import StabilityAlarm
from abp_tf.coop_answers import CoopAnswers
from abp_tf.descriptor import Descriptor
from abp_tf.generator import Generator
from abp_tf.sampling.random import (
    CHAIN,
    DATA,
    INFERENCE,
    LATENT,
    PRIOR,
    REVISION,
    START,
    training_seeds,
)
from abp_tf.training import SignalTraining, unpack
from abp_tf.watch import ChainAlarm


@keras.saving.register_keras_serializable(package="abp_tf")
class CoopNets(SignalTraining, CoopAnswers, keras.Model):
    """Cooperative learning: the generator drafts, the descriptor revises, the generator learns.

    The generator jump-starts the Langevin dynamics of the descriptor; the descriptor learns from the
    difference of data and revised samples; the generator learns from how its samples, whose latents
    are known, were revised (Xie, Lu, Gao, Zhu, Wu, "Cooperative Training of Descriptor and Generator
    Networks", AAAI 2018 and PAMI 2018, arXiv 1609.09408, algorithm 3).

    *Incomplete data*, examples `x` of which a mask `M` tells what is observed (1) and what is hidden
    (0), teach both as well. Each has a chain of latents, which goes on by Langevin steps along
    `−∂U/∂z` of the generator's `U(z; x, θ) = ‖M ⊙ (x − g(z))‖²/(2σ²) + ‖z‖²/2`; what is hidden starts
    as `(1 − M) ⊙ g(z)` and is revised by the descriptor's Langevin dynamics given what is observed.
    The result stands for the data in the descriptor's contrast, and the generator goes down the mean
    of `U` with `z` held, alternating back-propagation, together with its regression on revisions.

    BatchNorm is allowed in the generator's network with complete data: no chain of an example runs
    through it while it is in training mode. It takes the statistics of each batch, in both passes of
    a step, and its moving statistics, which answers take, move once.

    Args:
        generator: a `Generator`; of its options `sigma` counts, `langevin` with latent steps and, with
            incomplete data, `langevin` and `chains` of the examples. Its prior and preconditioner
            stay as they are.
        descriptor: a `Descriptor` with chains="short-run", whose `langevin` revises.
        latent_steps: Langevin steps of a sample's latents towards its revision before the generator
            learns; the paper has them, the released codes do not. `fit` warns where they are longer
            than the posterior is wide, after which drafts of the prior would be of no use.
        seed: of all noise and of the order of examples.

    Raises:
        ValueError: for models that do not fit together.

    Example:
        >>> model = abp_tf.CoopNets(generator, descriptor)
        >>> model.compile(keras.optimizers.Adam(2e-4), keras.optimizers.Adam(7e-3, beta_1=0.5))
        >>> history = model.fit(images, batch_size=100, epochs=2)
        >>> revised, drafts = model.synthesize(4), model.synthesize(4, revised=False)
    """

    def __init__(
        self,
        generator: Generator,
        descriptor: Descriptor,
        latent_steps: int = 0,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        _check(generator, descriptor, latent_steps)
        self.generator = generator
        self.descriptor = descriptor
        self.latent_steps = latent_steps
        self.seed = seed
        self.signal_shape = descriptor.signal_shape
        self.latent_shape = generator.latent_shape
        self.value_range = descriptor.value_range
        self.iteration = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="iteration"
        )
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ("revision_error", "reconstruction_error", "latent_norm")
        }
        self.signs = {}  # of trouble, that the last epoch showed
        self._functions = {}  # that answer, by their settings
        self._evaluated = None  # the settings that `test_step` was traced with
        # Keras compiles with XLA where it can; on a CPU that is several times slower.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    # What the descriptor lends to training and to its watching.

    @property
    def network(self):
        """The network that the chains run through."""
        return self.descriptor.network

    @property
    def langevin(self):
        """Langevin dynamics of the revision."""
        return self.descriptor.langevin

    @property
    def past(self):
        """What watching remembers of earlier epochs."""
        return self.descriptor.past

    @property
    def table(self):
        """The chains of incomplete examples, and the fingerprint of the data."""
        return self.generator.table

    @property
    def latents(self):
        """Learned latents of incomplete training examples; see `Generator.latents`."""
        return self.generator.latents

    def reset_chains(self, examples: int = 0) -> None:
        """Forget the latents of the training examples; see `Generator.reset_chains`."""
        self.generator.reset_chains(examples)

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return [*self.descriptor.metrics, *self._means.values()]

    # Learning.

    def compile(self, generator_optimizer="adam", descriptor_optimizer="adam"):
        """Set the optimizers.

        Args:
            generator_optimizer: of the generator; published: Adam(1e-4, beta_1=0.5).
            descriptor_optimizer: of the descriptor; published: Adam(7e-3 … 1e-2, beta_1=0.5).
        """
        super().compile(optimizer=descriptor_optimizer)
        self.generator_optimizer = keras.optimizers.get(generator_optimizer)
        for optimizer, variables in self._learners():
            optimizer.build(variables)

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
        """Compile as `get_compile_config` tells."""
        if config:
            self.compile(**{name: keras.optimizers.deserialize(one) for name, one in config.items()})

    def call(self, latent):
        """Decode latents: `g(z)`, before any revision."""
        return self.generator(latent)

    def train_step(self, batch: dict) -> dict:
        """One iteration of cooperative learning on a batch of examples.

        Returns:
            `loss` of the descriptor, what `abp_tf.chain_watch.ChainWatch` sees; `revision_error`, the
            mean squared error of the drafts against their revisions; of incomplete data also
            `reconstruction_error`, the mean squared error of inferred latents per observed entry, and
            their `latent_norm`, mean `‖z‖²/d`; and the `stability` of latent steps, or else of the
            chains of incomplete data.
        """
        generator, descriptor = self.generator, self.descriptor
        observed, mask, index = unpack(batch)

        def seeds(stream):
            return training_seeds(self.seed, stream, self.iteration.value, index)

        # 0. What is hidden of the data is decoded from inferred latents, and revised.
        signal = descriptor.noisy(observed, seeds(DATA))
        if mask is not None:
            kept = generator.example_chains
            start = generator.table.read(index) if kept else generator.prior.draw(seeds(START))
            inferred, _ = generator._sample(start, observed, mask, generator.langevin, seeds(INFERENCE))
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
            latent, _ = generator._sample(latent, revised, None, towards, seeds(LATENT))

        # 4. The descriptor learns to tell the data from the revisions.
        with tf.GradientTape() as tape:
            loss, of_data, of_revised = descriptor.contrast(signal, revised)
        of_descriptor = tape.gradient(loss, descriptor.network.trainable_variables)

        # 5. The generator learns to draft the revisions, and to decode what is observed.
        with tf.GradientTape() as tape:
            draft, moving = self._draft(latent)
            misfit = observation.square(revised - draft)
            regression = tf.reduce_mean(misfit) / (2 * generator.sigma**2)
            if mask is not None:
                energy = generator.energy(inferred, observed, mask)
                regression += tf.reduce_mean(energy)
        of_generator = tape.gradient(regression, generator.network.trainable_variables)

        # Nothing is written unless all of it is finite: what was learned so far stays good.
        size = loss + regression + tf.linalg.global_norm([*of_descriptor, *of_generator])
        finite = tf.math.is_finite(size)
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            for (optimizer, variables), gradients in zip(
                self._learners(), (of_generator, of_descriptor), strict=True
            ):
                optimizer.apply_gradients(zip(gradients, variables, strict=True))
            fixed = generator.network.non_trainable_variables
            for variable, value in zip(fixed, moving, strict=True):
                variable.assign(value)
            logs = descriptor.watch.report(loss, signal, revised, of_data, of_revised, info)
            error = misfit / signal[0].shape.num_elements()
            logs["revision_error"] = self._mean("revision_error", error)
            if mask is not None:
                if kept:
                    generator.table.write(index, inferred)
                misfit = 2 * generator.sigma**2 * (energy - observation.square(inferred) / 2)
                logs |= self._recovery(inferred, misfit / observation.entries(observed, mask))
                generator.iteration.assign_add(1)
            if mask is not None or self.latent_steps:
                # Latent steps see whole signals, which hold them more tightly than masked ones.
                whole = (drawn, revised, None)
                chains = whole if self.latent_steps else (inferred, observed, mask)
                generator._probe_stability(*chains, self.iteration)
                logs["stability"] = tf.identity(generator._stability.value)
            self.iteration.assign_add(1)
            return logs

    def _draft(self, latent) -> tuple[tf.Tensor, list]:
        """`g(z)` as the network gives it in training, and the moving statistics that would follow."""
        network = self.generator.network
        variables = network.trainable_variables, network.non_trainable_variables
        latent = self.generator.prior(latent)
        draft, moving = network.stateless_call(*variables, latent, training=True)
        return tf.cast(draft, tf.float32), moving

    def _recovery(self, latent, error) -> dict:
        """Take in inferred latents and how they explain what is observed; return the means so far."""
        norm = observation.square(latent) / latent[0].shape.num_elements()
        values = {"reconstruction_error": error, "latent_norm": norm}
        return {name: self._mean(name, value) for name, value in values.items()}

    def _mean(self, name, values):
        self._means[name].update_state(values)
        return self._means[name].result()

    def test_step(self, batch: dict) -> dict:
        """Report the mean `score`, `f(x)`, and the mean `energy` of a batch.

        Of incomplete signals they are those of the signals as `inpaint` completes them, and the mean
        `reconstruction_error` per observed entry and the `latent_norm` are reported too.
        """
        signal, mask, index = unpack(batch)
        if mask is None:
            return self.descriptor.test_step(batch)
        whole, latent, error = self.complete(signal, mask, index, self.langevin)
        return {**self.descriptor.test_step({"signal": whole}), **self._recovery(latent, error)}

    def make_test_function(self, force=False):
        """Make what `evaluate` calls for each batch, anew where the settings have changed."""
        settings = self._dynamics()
        super().make_test_function(force or settings != self._evaluated)
        self._evaluated = settings

    def predict_step(self, batch: dict) -> tf.Tensor:
        """`f(x)` of a batch."""
        return self.descriptor.predict_step(batch)

    # What becomes of data, and who learns.

    masked = ("fit", "evaluate")  # f of what is hidden cannot be predicted

    def _numbered(self, masked: bool) -> bool:
        return masked and self.generator.example_chains

    def _learners(self) -> list:
        return [
            (self.generator_optimizer, self.generator.network.trainable_variables),
            (self.optimizer, self.descriptor.network.trainable_variables),
        ]

    def _watchers(self) -> list:
        return [ChainAlarm(), StabilityAlarm()]

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        if "mask" in dataset.element_spec:
            checks.independent_rows(self.generator.network)
            if not self.generator.langevin.total_steps:
                raise ValueError(
                    "Latents of incomplete examples are inferred with `generator.langevin`, which has "
                    "no steps. Build the Generator with some: langevin=Langevin(steps=10, "
                    "step_size=0.1)."
                )
            if self.generator.example_chains:
                self.table.claim(examples, fingerprint, index)
                return
        # No example has a chain, so other data are welcome; a backup tells by it what it is of.
        self.table.fingerprint = fingerprint or self.table.fingerprint

    def _remedy(self) -> str:
        return f"{self.descriptor._remedy()} The generator's learning rate may be too high as well."

    # Saving, export.

    @property
    def exported_layers(self) -> list:
        """The layers an export needs."""
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


def _check(generator, descriptor, latent_steps) -> None:
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
    if generator.observation is not None:
        raise ValueError(
            "CoopNets compare drafts with whole signals, but the generator observes them through "
            f"{generator.observation}. Build it without an observation."
        )
    if descriptor.chains != "short-run":
        raise ValueError(
            "In CoopNets the generator starts the descriptor's chains, anew each time: expected a "
            f"Descriptor with chains='short-run', received chains={descriptor.chains!r}."
        )
    if isinstance(latent_steps, bool) or not isinstance(latent_steps, int) or latent_steps < 0:
        raise ValueError(f"`latent_steps` expected an integer of 0 or more, received {latent_steps!r}.")

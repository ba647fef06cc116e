"""CoopNets: a generator and a descriptor that learn together."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from abp_tf import checks, observation, signatures
from abp_tf.answers import Exported, ask
from abp_tf.descriptor import Descriptor
from abp_tf.generator import Generator
from abp_tf.langevin import sample
from abp_tf.noise import (
    CHAIN,
    DATA,
    LATENT,
    PRIOR,
    REVISION,
    row_normal,
    row_seeds,
    training_seeds,
)
from abp_tf.signal_answers import checked, partial
from abp_tf.training import SignalTraining, numbers
from abp_tf.watch import ChainAlarm


@keras.saving.register_keras_serializable(package="abp_tf")
class CoopNets(SignalTraining, Exported, keras.Model):
    """Cooperative learning: the generator drafts, the descriptor revises, the generator learns.

    The generator jump-starts the Langevin dynamics of the descriptor; the descriptor learns from the
    difference of data and revised samples; the generator learns from how its samples, whose latents
    are known, were revised (Xie, Lu, Gao, Zhu, Wu, "Cooperative Training of Descriptor and Generator
    Networks", AAAI 2018 and PAMI 2018, arXiv 1609.09408, algorithm 3).

    BatchNorm is allowed in the generator's network: no chain of an example runs through it while it
    is in training mode.

    Args:
        generator: a `Generator`; of its options `sigma` counts, and `langevin` with latent steps.
        descriptor: a `Descriptor` with chains="short-run", whose `langevin` revises.
        latent_steps: Langevin steps of a sample's latents towards its revision before the generator
            learns; the paper has them, the released codes do not.
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
        self.signs = {}  # of trouble, that the last epoch showed
        self._functions = {}  # that answer, by their settings
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
    def table(self):
        """Where the fingerprint of the data is kept; there are no chains."""
        return self.descriptor.table

    @property
    def past_gaps(self):
        """Energy gaps of the last two epochs."""
        return self.descriptor.past_gaps

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return [*self.descriptor.metrics, *self.generator.metrics[1:2]]

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
            `loss` of the descriptor, what `abp_tf.watch.ChainWatch` sees, and
            `reconstruction_error`, the mean squared error of the drafts against their revisions.
        """
        generator, descriptor = self.generator, self.descriptor
        signal, index = batch["signal"], numbers(batch)

        def seeds(stream):
            return training_seeds(self.seed, stream, self.iteration.value, index)

        if descriptor.data_noise:
            signal += descriptor.data_noise * row_normal(seeds(DATA), list(self.signal_shape))

        # 1. The generator drafts.
        latent = generator.prior.draw(seeds(PRIOR))
        draft = self._draft(latent)

        # 2. The descriptor revises.
        revised, info = sample(descriptor.energy, draft, descriptor.langevin, seeds(CHAIN))

        # 3. Latents move towards those of the revisions.
        if self.latent_steps:
            towards = dataclasses.replace(generator.langevin, steps=self.latent_steps, cool=0)
            latent, _ = sample(lambda z: generator.energy(z, revised), latent, towards, seeds(LATENT))

        # 4. The descriptor learns to tell the data from the revisions.
        with tf.GradientTape() as tape:
            loss, seen, drawn = descriptor.contrast(signal, revised)
        of_descriptor = tape.gradient(loss, descriptor.network.trainable_variables)

        # 5. The generator learns to draft the revisions.
        with tf.GradientTape() as tape:
            misfit = observation.square(revised - self._draft(latent))
            regression = tf.reduce_mean(misfit) / (2 * generator.sigma**2)
        of_generator = tape.gradient(regression, generator.network.trainable_variables)

        # Nothing is written unless all of it is finite: what was learned so far stays good.
        size = loss + regression + tf.linalg.global_norm([*of_descriptor, *of_generator])
        finite = tf.math.is_finite(size)
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            for (optimizer, variables), gradients in zip(
                self._learners(), (of_generator, of_descriptor), strict=True
            ):
                optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self.iteration.assign_add(1)
            logs = descriptor.watch.report(loss, signal, revised, seen, drawn, info)
            entries = tf.cast(tf.size(signal[0]), tf.float32)
            error = generator.metrics[1]
            error.update_state(misfit / entries)
            return {**logs, "reconstruction_error": error.result()}

    def _draft(self, latent):
        """`g(z)` as the generator's network gives it in training."""
        latent = self.generator.prior(latent)
        return tf.cast(self.generator.network(latent, training=True), tf.float32)

    def test_step(self, batch: dict) -> dict:
        """Report the mean `score`, `f(x)`, and the mean `energy` of a batch."""
        return self.descriptor.test_step(batch)

    def predict_step(self, batch: dict) -> tf.Tensor:
        """`f(x)` of a batch."""
        return self.descriptor.predict_step(batch)

    def _learners(self) -> list:
        return [
            (self.generator_optimizer, self.generator.network.trainable_variables),
            (self.optimizer, self.descriptor.network.trainable_variables),
        ]

    def _watchers(self) -> list:
        return [ChainAlarm()]

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        self.descriptor._accept(dataset, examples, fingerprint, index)

    def _remedy(self) -> str:
        return f"{self.descriptor._remedy()} The generator's learning rate may be too high as well."

    # Answers.

    def synthesize(
        self, count: int, seed=0, revised=True, steps=None, batch_size: int = 100, verbose: int = 0
    ):
        """Draw signals: the generator's, revised by the descriptor.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            revised: False returns the generator's drafts.
            steps: of the revision, those of training by default.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        if not revised:
            return self.generator.synthesize(count, seed, batch_size, verbose)
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        return self._ask("synthesize", [checks.seeds(seed, count)], steps, batch_size, verbose)

    def inpaint(self, signals, mask, seed=0, steps=None, batch_size: int = 100, verbose: int = 0):
        """Fill in what is hidden: by the generator, then revised by the descriptor.

        Latents are inferred from what is observed, as `Generator.inpaint` does; the hidden entries
        they decode to are revised given the observed ones.

        Args:
            signals: see `Generator.infer`, as for `mask`, `seed`, `batch_size` and `verbose`.
            mask: see above.
            seed: see above.
            steps: of the revision, those of training by default.
            batch_size: see above.
            verbose: see above.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        inputs = partial(self, signals, mask, seed)
        return self._ask("inpaint", inputs, steps, batch_size, verbose)

    def infer(self, *args, **kwargs):
        """Infer the latents of signals; see `Generator.infer`."""
        return self.generator.infer(*args, **kwargs)

    def reconstruct(self, *args, **kwargs):
        """Infer the latents of signals and decode them; see `Generator.reconstruct`."""
        return self.generator.reconstruct(*args, **kwargs)

    def interpolate(self, *args, **kwargs):
        """Decode combinations of latents; see `Generator.interpolate`."""
        return self.generator.interpolate(*args, **kwargs)

    def refine(self, *args, **kwargs):
        """Revise signals; see `Descriptor.refine`."""
        return self.descriptor.refine(*args, **kwargs)

    def score(self, *args, **kwargs):
        """Tell `f(x)` and the energy; see `Descriptor.score`."""
        return self.descriptor.score(*args, **kwargs)

    def signatures(self, steps: int | None = None) -> dict:
        """Return the functions that answer, and the specs of their inputs.

        They are `synthesize(seed)`, `reconstruct(signal, seed)`, `inpaint(signal, mask, seed)`,
        `decode(latent)`, `refine(signal, seed)` and `score(signal)`.

        Args:
            steps: of revisions, in the place of those of training.
        """
        change = {} if steps is None else {"steps": steps}
        langevin = dataclasses.replace(self.langevin, **change)
        parts = [*self.generator.signatures().items(), *self.descriptor.signatures(steps).items()]
        # By name; of those that both have, the generator's.
        parts = {function.__name__: (function, specs) for function, specs in reversed(parts)}
        draft, complete = parts.pop("synthesize"), parts.pop("inpaint")

        def synthesize(seed):
            answer = draft[0](seed)
            seeds = row_seeds(seed, CHAIN)
            revised, _ = sample(self.descriptor.energy, answer["signal"], langevin, seeds)
            return {**answer, "signal": revised}

        def inpaint(signal, mask, seed):
            answer = complete[0](signal, mask, seed)
            seeds = row_seeds(seed, REVISION)  # CHAIN is that of the latents
            whole = self.descriptor.fill(answer["signal"], signal, mask, langevin, seeds)
            return {**answer, "signal": whole}

        return {synthesize: draft[1], inpaint: complete[1], **dict(parts.values())}

    def _ask(self, name: str, inputs: list, steps, batch_size: int, verbose: int):
        key = (steps, self.langevin, self.generator.inference)
        if key not in self._functions:
            self._functions[key] = signatures.functions(self, steps=steps)
        answer = ask(self._functions[key][name], inputs, batch_size, verbose)
        return checked(answer, self.langevin)["signal"]

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

"""What VAE and GAN share: a decoder with a Gaussian prior, an energy of latents, and its answers."""

from __future__ import annotations

import keras
import tensorflow as tf

from abp_tf import checks, observation
from abp_tf.answers import LatentAnswers
from abp_tf.latents import Prior
from abp_tf.sampling import Descent
from abp_tf.sampling.chains import LatentTable
from abp_tf.training import SignalTraining, unpack


class LatentModel(SignalTraining, LatentAnswers, keras.Model):
    """`x = g(z) + σ ε`, `z ~ N(0, I)`; a subclass says how `g` is learned and where inference begins.

    Args:
        network: the decoder `g`, as for `Generator`; BatchNorm is allowed.
        sigma: σ of the energy, or where it begins, in units of the signal; positive.
        inference: descent of latents at test time.
        value_range: what signals must lie in; None lifts the check.
        seed: of all noise and of the order of examples.
        reported: names of the means that steps report.
    """

    def __init__(
        self,
        network: keras.Model,
        sigma: float,
        inference: Descent,
        value_range: tuple[float, float] | None,
        seed: int,
        reported: tuple[str, ...],
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        checks.network(network, type(self).__name__)
        if not isinstance(sigma, int | float) or not 0 < sigma < float("inf"):
            raise ValueError(f"`sigma` expected a positive number, received {sigma!r}.")
        self.network = network
        self.fixed_sigma = float(sigma)
        self.latent_shape = tuple(network.input_shape[1:])
        self.signal_shape = tuple(network.output_shape[1:])
        self.inference = inference
        self.value_range = None if value_range is None else tuple(value_range)
        self.seed = seed
        self.prior = Prior(self.latent_shape, name="prior")  # stays N(0, I)
        # There are no chains; this is where a backup looks for the fingerprint of the data.
        self.table = LatentTable(self.latent_shape, name="chains")
        self.iteration = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="iteration"
        )
        self.variance = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(float(sigma) ** 2),
            trainable=False,
            name="variance",
        )
        self._means = {name: keras.metrics.Mean(name=name) for name in reported}
        # Keras compiles with XLA where it can; on a CPU that is several times slower.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    # The model: decoding, energy, inference.

    @property
    def inference(self) -> Descent:
        """Inference for new signals."""
        return self._inference

    @inference.setter
    def inference(self, descent: Descent) -> None:
        if not isinstance(descent, Descent):
            raise ValueError(f"`inference` expected a Descent, received {descent!r}.")
        self._inference = descent
        self._forget_traces()

    def _forget_traces(self) -> None:
        # They hold the settings they were traced with.
        self._functions = self.test_function = self.predict_function = None

    @property
    def sigma(self) -> float:
        """σ in units of the signal, as it is now."""
        return float(self.variance) ** 0.5

    def call(self, latent):
        """Decode latents: `g(z)`."""
        return self.decode(latent)

    def decode(self, latent: tf.Tensor) -> tf.Tensor:
        """Map latents `[n, *latent_shape]` to signals, float32 `[n, *signal_shape]`."""
        return tf.cast(self.network(latent, training=False), tf.float32)

    def energy(self, latent: tf.Tensor, signal: tf.Tensor, mask=None) -> tf.Tensor:
        """`‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2` of each example; see `Generator.energy`."""
        latent, signal = tf.convert_to_tensor(latent), tf.convert_to_tensor(signal)
        misfit = observation.square(observation.residual(signal, self.decode(latent), mask))
        return misfit / (2 * self.variance) + observation.square(latent) / 2

    def posterior(self, signal, mask, seed) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Infer latents, as `infer` and the exported signatures do; see `Generator.posterior`."""
        signal = observation.hide(signal, mask)
        latent = self._infer(signal, mask, seed)
        decoded = self.decode(latent)
        misfit = observation.square(observation.residual(signal, decoded, mask))
        return latent, decoded, tf.math.divide_no_nan(misfit, observation.entries(signal, mask))

    def _infer(self, signal, mask, seed) -> tf.Tensor:
        """Infer latents of signals whose hidden entries are 0, from a seed `[n]` per row."""
        raise NotImplementedError

    def _descend(self, starts: list, signal, mask) -> tf.Tensor:
        """Go down the energy from each of `starts`; return the latents that end lowest."""

        def energy(latent):
            return self.energy(latent, signal, mask)

        best, lowest = None, None
        for start in starts:
            latent, info = self.inference.sample(energy, start, None)
            reached = info.final_energy
            if best is None:
                best, lowest = latent, reached
                continue
            better = reached < lowest
            places = tf.reshape(better, [-1] + [1] * len(self.latent_shape))
            best, lowest = tf.where(places, latent, best), tf.where(better, reached, lowest)
        return best

    # Learning.

    row_wise_learning = False

    def _accept(self, dataset, examples=None, fingerprint=0, index=None) -> None:
        self.table.fingerprint = fingerprint or self.table.fingerprint

    def _learners(self) -> list:
        return [(self.optimizer, self.trainable_variables)]

    def _learn(self, loss, gradients) -> None:
        """Make one optimizer step on all trainable variables, if all of it is finite."""
        finite = tf.math.is_finite(loss) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        with tf.control_dependencies([checks.graph_assert(finite, checks.NOT_FINITE, diverged=True)]):
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self.iteration.assign_add(1)

    def _report(self, rows, **values) -> dict:
        """Update means, each row of a batch weighing the same; return them so far."""
        for name, value in values.items():
            self._means[name].update_state(tf.reduce_mean(value), sample_weight=tf.shape(rows)[0])
        return {name: self._means[name].result() for name in values}

    def test_step(self, batch: dict) -> dict:
        """Infer the latents of a batch anew; return `reconstruction_error` and `latent_norm`."""
        signal, mask, index = unpack(batch)
        latent, _, error = self.posterior(signal, mask, index)
        return self._report(signal, reconstruction_error=error, latent_norm=tf.reduce_mean(latent**2))

    def predict_step(self, batch: dict) -> tf.Tensor:
        """Reconstruct a batch."""
        return self.posterior(*unpack(batch))[1]

    @property
    def metrics(self) -> list:
        """The means that `fit` and `evaluate` report."""
        return list(self._means.values())

    def get_config(self) -> dict:
        """Return the arguments of the constructor that all subclasses have."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "sigma": self.fixed_sigma,
            "inference": serialize(self.inference),
            "value_range": self.value_range,
            "seed": self.seed,
        }

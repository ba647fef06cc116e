"""A prior of latents that is learned: an energy in the space of latents."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.latents import Blocks
from abp_tf.models import stateless
from abp_tf.models.prior import Prior
from abp_tf.networks.checks import trainable
from abp_tf.networks.sizes import resizable, resized
from abp_tf.sampling import Langevin, Sampler
from abp_tf.sampling.random import FURTHER, apart, row_normal, row_seeds

# Latents at which the function is compared with a constant.
PROBES = 16


@keras.saving.register_keras_serializable(package="abp_tf")
class EnergyPrior(Prior):
    """The prior `p(u) ∝ exp(f(u)) N(u; 0, I)` of the latents, with a network `f` that is learned.

    Each step of `fit` raises `f` at the latents of the examples and lowers it at draws from the prior,
    which is a step of maximum likelihood (Pang, Han, Nijkamp, Zhu, Wu, "Learning Latent Space
    Energy-Based Prior Model", NeurIPS 2020, arXiv 2006.08205, equation 7). Draws are the ends of short
    chains from `N(0, I)`; `synthesize` and the first states of inference are such draws too.

    A generator with `expansion` first learns `μ` and `A` of `z = μ + A u` (`Prior`), while `f` is held
    constant, and then `f`. An expansion of a prior whose `f` has learned changes nothing.

    Args:
        network: a built `keras.Model` from latents `[n, *latent_shape]` to `f`, `[n, 1]`, for instance
            `abp_tf.networks.latent_energy`. Expansions need one that is constant at first.
        langevin: sampler of the draws; `Langevin(40, 0.3)` by default.
        learning_rate: learning rate of the network's Adam optimizer, a positive number.
        blocks: shapes of the blocks of flat latents, as `networks.latent_blocks` returns them; None for
            one block.

    Raises:
        ValueError: if an argument cannot be used.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
        >>> prior = abp_tf.EnergyPrior(abp_tf.networks.latent_energy((4,)))
        >>> model = abp_tf.Generator(network, prior=prior)
        >>> model.synthesize(2).shape
        (2, 16, 16, 1)
    """

    network: keras.Model

    def __init__(
        self,
        network: keras.Model,
        langevin: Sampler | None = None,
        learning_rate: float = 1e-3,
        blocks: Blocks | None = None,
        **kwargs,
    ):
        trainable(network, "EnergyPrior")
        if network.output_shape[1:] != (1,):
            raise ValueError(
                "EnergyPrior expected a network with one output per row, of shape (n, 1), received one "
                f"of shape {network.output_shape}. Use `networks.latent_energy`."
            )
        super().__init__(network.input_shape[1:], blocks, **kwargs)
        self.network = network
        self.langevin = checks.instance_of(Sampler)(
            "EnergyPrior", "langevin", langevin or Langevin(40, 0.3)
        )
        self.learning_rate = checks.positive("EnergyPrior", "learning_rate", learning_rate)
        # 1 while the network learns, 0 while expansions of the Gaussian are still to come.
        self.active = self.add_weight(shape=(), initializer="ones", trainable=False, name="active")

    def energy(self, latent: tf.Tensor) -> tf.Tensor:
        """Return `−log p(u)` up to a constant, `‖u‖² / 2 − f(u)`, of latents: float32 `[n]`."""
        return super().energy(latent) - self._value(self.network(latent, training=False))

    def draw(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw latents, the ends of short chains, float32 `[n, *latent_shape]`, from seed pairs."""
        latent, _ = self.langevin.sample(self.energy, super().draw(seeds), apart(seeds, FURTHER))
        return latent

    def lesson(self, latent: tf.Tensor, seeds: tf.Tensor, average: Callable) -> stateless.Lesson:
        """Compare the latents of a batch with draws from the prior; arguments as for `Prior.lesson`.

        The loss of a row is `f` of its draw minus `f` of its latent, near 0 if latents and draws agree.
        """
        drawn = self.draw(seeds)
        with tf.GradientTape() as tape:
            lower, moving = stateless.call(self.network, drawn)
            raised, moving = stateless.call(self.network, latent, moving)
            loss = self._value(lower) - self._value(raised)
            total = self.active * average(loss)
        gradients = tape.gradient(total, self.network.trainable_variables)
        return stateless.Lesson(self.network, loss, gradients, moving)

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Return a new optimizer of the network."""
        return keras.optimizers.Adam(self.learning_rate, beta_1=0.5, global_clipnorm=1.0)

    def expect_expansions(self, expected: bool) -> None:
        """Hold the network constant while expansions are to come, if it is constant."""
        self.active.assign(0.0 if expected and self._constant() else 1.0)

    def absorb(self, latents: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Move mean and covariance of `latents` into the Gaussian; see `Prior.absorb`.

        Nothing is moved if the network has learned, because it describes them already.
        """
        if self._constant():
            return super().absorb(latents)
        return latents, [tf.eye(size, dtype=tf.float64) for *_, size in self.blocks]

    def resized(self, latent_shape: tuple[int, ...]) -> Prior:
        """Return the same prior of latents of another shape, with the network's weights.

        Raises:
            ValueError: if the network is made for one shape; `latent_energy(window=...)` is not.
        """
        network = self.network
        if latent_shape != self.latent_shape:
            if not resizable(network):
                raise ValueError(
                    f"EnergyPrior expected latents of shape {self.latent_shape}, for which its network "
                    f"is made, received {latent_shape}. Use a network of neighbouring latents, "
                    "`networks.latent_energy(..., window=2)`, or a `Prior`."
                )
            network = resized(network, latent_shape)
        parts = {"network": network, "langevin": self.langevin}
        other = type(self)(**{**self.get_config(), **parts})
        other.set_weights(self.get_weights())
        return other

    def _constant(self) -> bool:
        seeds = row_seeds(tf.range(PROBES, dtype=tf.int64), 0)
        values = self.network(row_normal(seeds, list(self.latent_shape)), training=False)
        return bool(tf.reduce_all(tf.equal(values, values[0])))

    @staticmethod
    def _value(output: tf.Tensor) -> tf.Tensor:
        return tf.cast(output, tf.float32)[:, 0]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        config = {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}
        del config["latent_shape"]
        config["langevin"] = keras.saving.serialize_keras_object(self.langevin)
        return {**config, "learning_rate": self.learning_rate}

    @classmethod
    def from_config(cls, config: dict) -> EnergyPrior:
        """Return the prior that `get_config` describes."""
        revive = keras.saving.deserialize_keras_object
        return cls(**{**config, **{key: revive(config[key]) for key in ("network", "langevin")}})

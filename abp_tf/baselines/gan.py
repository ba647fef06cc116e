"""Generative adversarial network that is trained on incomplete signals."""

from __future__ import annotations

from types import MappingProxyType

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.distribution import replicas
from abp_tf.models import stateless
from abp_tf.models.batches import unpack
from abp_tf.models.latent_model import LatentModel
from abp_tf.networks import mirror
from abp_tf.networks.checks import trainable
from abp_tf.observation import masking
from abp_tf.sampling import Descent
from abp_tf.sampling.random import PRIOR, later, row_seeds
from abp_tf.scaling import Scaling


@keras.saving.register_keras_serializable(package="abp_tf")
class GAN(LatentModel):
    """Model `x = g(z)`, `z ~ N(0, I)`, trained against a discriminator of observed entries.

    Each step of `fit` draws as many signals as the batch holds and hides the same entries that are
    hidden in the batch. The discriminator learns to separate the two, the generator learns to make its
    signals pass for data (Goodfellow et al., arXiv 1406.2661, with the non-saturating loss; Bora,
    Price, Dimakis, "AmbientGAN", ICLR 2018; Li, Jiang, Marlin, "MisGAN", arXiv 1902.09599). A penalty
    keeps the discriminator's gradient at the data small (R1: Mescheder, Geiger, Nowozin, arXiv
    1801.04406), which keeps the two in balance.

    Latents of new signals are inferred by minimizing `‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2` from
    several starts (Yeh et al., "Semantic image inpainting with deep generative models", arXiv
    1607.07539, with the likelihood of z as the prior loss).

    Args:
        network: decoder, as for `Generator`; BatchNorm is allowed, and helps.
        discriminator: a built `keras.Model` from signal and mask on the channel axis, `[n, ..., 2
            channels]`, to a logit `[n, 1]` that is high for data; by default the mirror image of
            `network`.
        sigma: σ of inference, in scaled units of the signal: the weight of observed entries against
            `‖z‖²`; positive.
        penalty: weight γ of R1, `γ/2 · E‖∂D/∂x‖²`; 0 turns it off.
        inference: sampler of inference, a `Descent`, with its numbers of steps and starts.
        value_range: interval in which signals must lie, in their own units; None lifts the check.
            "auto" is (-1, 1) without a scaling, and None with one.
        seed: integer seed of all noise and of the order of the examples.
        scaling: `abp_tf.Scaling` of signals in their own units; None if they need none.
        shards: number of parts into which the examples are divided, as for `Generator`.

    Raises:
        ValueError: if an argument is out of its range, or the networks do not fit together.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), 10, width=8, batch_norm=True)
        >>> model = abp_tf.baselines.GAN(network)
        >>> model.compile(optimizer=keras.optimizers.Adam(4e-4, beta_1=0.5))
        >>> history = model.fit(images, batch_size=100, epochs=2)
        >>> model.synthesize(4, seed=0).shape
        (4, 16, 16, 1)
    """

    adjustable = MappingProxyType(
        {
            "sigma": checks.deviations,
            "penalty": checks.not_negative,
            "inference": checks.instance_of(Descent),
            "value_range": checks.value_range,
            "seed": checks.integer,
        }
    )
    independent_rows = False  # no chain runs through the networks while they learn

    def __init__(
        self,
        network: keras.Model,
        *,
        discriminator: keras.Model | None = None,
        sigma: float = 0.3,
        penalty: float = 0.1,
        inference: Descent | None = None,
        value_range: tuple[float, float] | str | None = "auto",
        seed: int = 0,
        scaling: Scaling | None = None,
        shards: int = 1,
        **kwargs,
    ):
        super().__init__(
            network,
            value_range=value_range,
            seed=seed,
            scaling=scaling,
            shards=shards,
            reported=("loss", "discriminator_loss", "margin", "reconstruction_error", "latent_norm"),
            **kwargs,
        )
        self.sigma = sigma
        self.penalty = penalty
        self.inference = inference or Descent(steps=200, learning_rate=0.1, restarts=3)
        if discriminator is None:
            discriminator = mirror.discriminator(network)
        trainable(discriminator, "GAN")
        mirror.check(discriminator, "discriminator", self.signal_shape, (1,))
        self.discriminator = discriminator

    def starts(self, signal: tf.Tensor, mask: tf.Tensor | None, seed: tf.Tensor) -> list:
        """Return draws from the prior, one for each restart."""
        seeds = row_seeds(seed, PRIOR)
        return [self.prior.draw(later(seeds, number)) for number in range(self.inference.restarts)]

    def train_step(self, batch: dict) -> dict:
        """Run one step of both networks on a batch of examples.

        Returns:
            means over the epoch of `loss` of the generator, `discriminator_loss` without the penalty,
            and `margin`, the mean logit of data minus that of drawn signals.
        """
        signal, mask, index = unpack(self, batch)
        latent = self.prior.draw(self.step_seeds(PRIOR, index))
        mean = replicas.mean_over(index)
        with tf.GradientTape(persistent=True) as tape:
            drawn, of_network = stateless.call(self.network, latent)
            of_drawn, moving = stateless.call(self.discriminator, mirror.view(drawn, mask))
            of_data, steepness, moving = self._score_data(signal, mask, moving)
            loss = mean(tf.nn.softplus(-of_drawn))
            separation = mean(tf.nn.softplus(-of_data) + tf.nn.softplus(of_drawn))
            penalized = separation + 0.5 * self.penalty * mean(steepness)
        # Both networks step from the same point; one optimizer will do, as Adam treats variables alone.
        variables = self.network.trainable_variables + self.discriminator.trainable_variables
        gradients = tape.gradient(loss, self.network.trainable_variables)
        gradients += tape.gradient(penalized, self.discriminator.trainable_variables)

        def write(gradients):
            replicas.descend(self.optimizer, gradients, variables)
            stateless.assign(self.network, of_network)
            stateless.assign(self.discriminator, moving)

        means = {"loss": loss, "discriminator_loss": separation, "margin": of_data - of_drawn}
        finite, weight = [loss, penalized], tf.shape(signal)[0]
        return self.commit(write, means, sums=gradients, finite=finite, weight=weight)

    def learners(self) -> list:
        """Return the optimizer and the variables of both networks."""
        networks = (self.network, self.discriminator)
        return [(self.optimizer, [v for part in networks for v in part.trainable_variables])]

    def _score_data(self, signal, mask, moving) -> tuple:
        """Return logits of data, the squares of their gradients, and the moving statistics."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(signal)
            logit, moving = stateless.call(self.discriminator, mirror.view(signal, mask), moving)
        if not self.penalty:
            return logit, tf.zeros_like(logit), moving
        return logit, masking.square(tape.gradient(logit, signal)), moving

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        return f"losses are not finite. Lower the learning rate, or raise `penalty` ({self.penalty:g})."

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "discriminator": serialize(self.discriminator),
            "sigma": self.sigma,
            "penalty": self.penalty,
            "inference": serialize(self.inference),
            "value_range": self.value_range,
            "seed": self.seed,
            "scaling": self.scaling and serialize(self.scaling),
            "shards": self.shards,
        }

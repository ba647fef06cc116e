"""Generative adversarial network that learns from incomplete signals."""

from __future__ import annotations

from types import MappingProxyType

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.baselines import mirror
from abp_tf.models import stateless
from abp_tf.models.batches import unpack
from abp_tf.models.latent_model import LatentModel
from abp_tf.observation import masking
from abp_tf.sampling import Descent
from abp_tf.sampling.random import PRIOR, later, row_seeds, training_seeds


@keras.saving.register_keras_serializable(package="abp_tf")
class GAN(LatentModel):
    """`x = g(z)`, `z ~ N(0, I)`, learned against a discriminator that sees what is observed.

    Each step of `fit` draws as many signals as the batch holds and hides of them what is hidden of the
    batch; the discriminator learns to tell the two, the generator to be taken for data (Goodfellow et
    al., arXiv 1406.2661, with the non-saturating loss; Bora, Price, Dimakis, "AmbientGAN", ICLR 2018;
    Li, Jiang, Marlin, "MisGAN", arXiv 1902.09599). The discriminator's gradient at the data is held
    small (R1: Mescheder, Geiger, Nowozin, arXiv 1801.04406), which keeps the two in balance.

    New signals are inferred by descent of `‖M ⊙ (x − g(z))‖² / (2σ²) + ‖z‖² / 2`, from several starts
    (Yeh et al., "Semantic image inpainting with deep generative models", arXiv 1607.07539, with the
    likelihood of z as the prior loss).

    Args:
        network: the decoder, as for `Generator`; BatchNorm is allowed, and helps.
        discriminator: a built `keras.Model` from signal and mask on the channel axis,
            `[n, ..., 2 channels]`, to a logit `[n, 1]`, high for data; by default the mirror image of
            `network`.
        sigma: σ at test time, in units of the signal: the weight of what is observed against `‖z‖²`.
        penalty: weight γ of R1, `γ/2 · E‖∂D/∂x‖²`; 0 for none.
        inference: steps and starts of the descent.
        value_range: what signals must lie in; None lifts the check.
        seed: of all noise and of the order of examples.

    Raises:
        ValueError: for an argument out of its range, or networks that do not fit together.

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
            "sigma": checks.positive,
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
        value_range: tuple[float, float] | None = (-1.0, 1.0),
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(
            network,
            value_range=value_range,
            seed=seed,
            reported=("loss", "discriminator_loss", "margin", "reconstruction_error", "latent_norm"),
            **kwargs,
        )
        self.sigma = sigma
        self.penalty = penalty
        self.inference = inference or Descent(steps=200, learning_rate=0.1, restarts=3)
        if discriminator is None:
            discriminator = mirror.discriminator(network)
        checks.network(discriminator, "GAN")
        mirror.check(discriminator, "discriminator", network, (1,))
        self.discriminator = discriminator

    def starts(self, signal, mask, seed) -> list:
        """Return draws from the prior."""
        seeds = row_seeds(seed, PRIOR)
        return [self.prior.draw(later(seeds, number)) for number in range(self.inference.restarts)]

    def train_step(self, batch: dict) -> dict:
        """One step of both networks on a batch of examples.

        Returns:
            `loss` of the generator, `discriminator_loss` without the penalty, and `margin`, the mean
            logit of data minus that of drawn signals.
        """
        signal, mask, index = unpack(batch)
        latent = self.prior.draw(training_seeds(self.seed, PRIOR, self.iteration.value, index))
        with tf.GradientTape(persistent=True) as tape:
            drawn, of_network = stateless.call(self.network, latent)
            of_drawn, moving = stateless.call(self.discriminator, mirror.view(drawn, mask))
            of_data, steepness, moving = self._judge(signal, mask, moving)
            misled = tf.reduce_mean(tf.nn.softplus(-of_drawn))
            told = tf.reduce_mean(tf.nn.softplus(-of_data) + tf.nn.softplus(of_drawn))
            penalized = told + 0.5 * self.penalty * steepness
        # Both from the same point, by one optimizer: Adam's step is each variable's own.
        variables = self.network.trainable_variables + self.discriminator.trainable_variables
        gradients = tape.gradient(misled, self.network.trainable_variables)
        gradients += tape.gradient(penalized, self.discriminator.trainable_variables)

        def write():
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            stateless.assign(self.network, of_network)
            stateless.assign(self.discriminator, moving)

        means = {"loss": misled, "discriminator_loss": told, "margin": of_data - of_drawn}
        finite = [misled, penalized, *gradients]
        return self.commit(finite, write, means, weight=tf.shape(signal)[0])

    def learners(self) -> list:
        """Return the optimizer, which moves both networks."""
        networks = (self.network, self.discriminator)
        return [(self.optimizer, [v for part in networks for v in part.trainable_variables])]

    def _judge(self, signal, mask, moving) -> tuple:
        """Return logits of data, the mean of their squared gradients, and the moving statistics."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(signal)
            logit, moving = stateless.call(self.discriminator, mirror.view(signal, mask), moving)
        if not self.penalty:
            return logit, 0.0, moving
        return logit, tf.reduce_mean(masking.square(tape.gradient(logit, signal))), moving

    def remedy(self) -> str:
        """Return what diverged, and what to change."""
        return f"losses are not finite. Lower the learning rate, or raise `penalty` ({self.penalty:g})."

    @property
    def exported_layers(self) -> list:
        """The layers an export needs."""
        return [self.network, self.prior]

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
        }

"""Variational auto-encoder that is trained on incomplete signals."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.distribution import replicas
from abp_tf.models import diagnostics, stateless
from abp_tf.models.batches import unpack
from abp_tf.models.latent_model import LatentModel
from abp_tf.networks import mirror
from abp_tf.networks.checks import trainable
from abp_tf.observation import masking
from abp_tf.sampling import Descent, Sampler
from abp_tf.sampling.random import CHAIN, LATENT, PRIOR, later, row_normal, row_seeds
from abp_tf.scaling import Scaling


@keras.saving.register_keras_serializable(package="abp_tf")
class VAE(LatentModel):
    """Model `x = g(z) + σ ε`, trained with an encoder `q(z | x) = N(μ(x), diag s²(x))`.

    Each step of `fit` descends the negative evidence lower bound, `E_q ‖M ⊙ (x − g(z))‖² / (2σ²) + m/2
    · log 2πσ² + KL(q ‖ N(0, I))`, which only the m observed entries enter (Kingma, Welling,
    "Auto-Encoding Variational Bayes", arXiv 1312.6114). The input of the encoder is the signal, 0 where
    hidden, and the mask (Nazábal et al., "Handling incomplete heterogeneous data using VAEs", arXiv
    1807.03653). By default σ maximizes the bound of a batch: it is the root of its mean squared error
    (Rybkin et al., "Simple and effective VAE training with calibrated decoders", arXiv 2006.13202).
    With a σ that is too large, latents stay unused.

    Latents of new signals are inferred by one of two methods:

    * "gradient": the mode of the posterior under the decoder, by descent from the encoder's mean.
    * "gibbs": pseudo-Gibbs sampling (Rezende et al., arXiv 1401.4082): hidden entries are filled in
      by the decoder and the signal is encoded again. The last third of the passes uses the encoder's
      mean instead of a sample. Without hidden entries the result is the encoder's mean.

    Args:
        network: decoder, as for `Generator`; BatchNorm is allowed.
        encoder: a built `keras.Model` from signal and mask on the channel axis,
            `[n, ..., 2 channels]`, to means and log-variances of latents, `[n, ..., 2 latents]`; by
            default the mirror image of `network`.
        sigma: σ in scaled units of the signal, positive; None estimates it from the data.
        method: "gradient" or "gibbs"; it may be set at any time.
        inference: a `Descent` with the number of steps of the descent, or of passes of pseudo-Gibbs.
        value_range: interval in which signals must lie, in their own units; None lifts the check.
            "auto" is (-1, 1) without a scaling, and None with one.
        seed: integer seed of all noise and of the order of the examples.
        scaling: `abp_tf.Scaling` of signals in their own units; None if they need none.
        shards: number of parts into which the examples are divided, as for `Generator`.

    Raises:
        ValueError: if an argument is out of its range, or the networks do not fit together.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=10, width=8)
        >>> model = abp_tf.baselines.VAE(network)
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
        >>> history = model.fit({"signal": images, "mask": masks}, batch_size=100, epochs=2)
        >>> model.inpaint(images[:4], masks[:4]).shape
        (4, 16, 16, 1)
    """

    adjustable = MappingProxyType(
        {
            "method": checks.one_of("gradient", "gibbs"),
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
        encoder: keras.Model | None = None,
        sigma: float | None = None,
        method: str = "gradient",
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
            reported=("loss", "reconstruction_error", "kl", "latent_norm", "sigma"),
            **kwargs,
        )
        self.learns_sigma = sigma is None
        self.noise.sigma = 1.0 if sigma is None else checks.positive("VAE", "sigma", sigma)
        self.inference = inference or Descent(steps=200, learning_rate=0.05)
        self.method = method
        self.encoder = mirror.encoder(network) if encoder is None else encoder
        trainable(self.encoder, "VAE")
        output = (*self.latent_shape[:-1], 2 * self.latent_shape[-1])
        mirror.check(self.encoder, "encoder", self.signal_shape, output)

    def encode(self, signal: tf.Tensor, mask: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return means and standard deviations of `q(z | x)`, float32 `[n, *latent_shape]` both.

        Args:
            signal: float32 `[n, *signal_shape]`, finite in every entry.
            mask: float32 of 0 and 1 that broadcasts against `signal`; 1 = observed. None means that all
                is observed.
        """
        return _moments(self.encoder(mirror.view(signal, mask), training=False))

    def starts(self, signal: tf.Tensor, mask: tf.Tensor | None, seed: tf.Tensor) -> list:
        """Return the encoder's mean and, for further starts, draws from the encoder."""
        mean, deviation = self.encode(signal, mask)
        starts = [mean]
        for number in range(1, self.inference.restarts):
            noise = self.prior.draw(later(row_seeds(seed, PRIOR), number))
            starts.append(mean + deviation * noise)
        return starts

    def infer_latents(
        self,
        signal: tf.Tensor,
        mask: tf.Tensor | None,
        seed: tf.Tensor,
        sampler: Sampler | None = None,
        start: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Infer the latents of a batch with `method`; see `LatentModel.infer_latents`."""
        if self.method == "gibbs":
            return self._gibbs(masking.hide(signal, mask), mask, row_seeds(seed, CHAIN))
        return super().infer_latents(signal, mask, seed, sampler, start)

    def _gibbs(self, signal, mask, seeds) -> tf.Tensor:
        """Infer latents by pseudo-Gibbs passes, each of which fills in hidden entries and encodes."""
        mean, deviation = self.encode(signal, mask)
        if mask is None:
            return mean
        passes = self.inference.steps
        noisy = passes - passes // 3

        def body(step, mean, deviation):
            noise = row_normal(later(seeds, step), list(self.latent_shape))
            latent = mean + deviation * tf.where(step < noisy, noise, 0.0)
            filled = mask * signal + (1 - mask) * self.decode(latent)
            return step + 1, *self.encode(filled)

        loop = (tf.constant(0), mean, deviation)
        return tf.while_loop(lambda step, *_: step < passes, body, loop, parallel_iterations=1)[1]

    def train_step(self, batch: dict) -> dict:
        """Run one step on a batch of examples.

        Returns:
            means over the epoch of `loss` (negative evidence lower bound), `reconstruction_error` (mean
            squared error per observed entry), `kl`, `latent_norm` (mean of `‖z‖²/d`) and `sigma`.
        """
        signal, mask, index = unpack(self, batch)
        noise = self.prior.draw(self.step_seeds(LATENT, index))
        entries = masking.entries(signal, mask)
        average = replicas.mean_over(index)
        with tf.GradientTape() as tape:
            encoded, of_encoder = stateless.call(self.encoder, mirror.view(signal, mask))
            mean, deviation = _moments(encoded)
            latent = mean + deviation * noise
            decoded, of_network = stateless.call(self.network, latent)
            misfit = masking.square(masking.residual(signal, decoded, mask))
            variance = self.noise.variance[0]  # the same in all channels
            if self.learns_sigma:
                # At the maximum of the bound its derivative by σ is 0, so σ needs no gradient.
                sums = [replicas.counted(tf.reduce_sum(part)) for part in (misfit, entries)]
                error, seen = replicas.total(
                    [tf.stop_gradient(one) for one in sums]
                )  # 0 entries leave σ as it is
                variance = tf.where(seen > 0, error / tf.maximum(seen, 1), variance)
            likelihood = misfit / (2 * variance) + entries / 2 * tf.math.log(2 * math.pi * variance)
            divergence = 0.5 * (mean**2 + deviation**2 - 1) - tf.math.log(deviation)
            kl = tf.reduce_sum(divergence, axis=list(range(1, mean.shape.rank)))
            loss = average(likelihood + kl)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)

        def write(gradients):
            replicas.descend(self.optimizer, gradients, variables)
            stateless.assign(self.encoder, of_encoder)
            stateless.assign(self.network, of_network)
            if self.learns_sigma:
                # A running mean; in the beginning, the mean over all batches so far.
                share = tf.maximum(1 / tf.cast(self.iteration.value + 1, tf.float32), 0.01)
                self.noise.variance.assign_add(share * (variance - self.noise.variance))

        means = {
            "loss": loss,
            "reconstruction_error": diagnostics.per_entry(misfit, entries),
            "kl": kl,
            "latent_norm": latent**2,
            "sigma": tf.sqrt(variance) / replicas.count(),  # the same on all
        }
        weight = tf.shape(signal)[0]
        return self.commit(write, means, sums=gradients, finite=[loss], weight=weight)

    def learners(self) -> list:
        """Return the optimizer and the variables of both networks."""
        return [(self.optimizer, self.trainable_variables)]

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        return "the evidence lower bound or its gradient is not finite. Lower the learning rate."

    @property
    def exported_layers(self) -> list:
        """Layers whose weights an export contains."""
        return [*super().exported_layers, self.encoder]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "encoder": serialize(self.encoder),
            "sigma": None if self.learns_sigma else self.sigma,
            "method": self.method,
            "inference": serialize(self.inference),
            "value_range": self.value_range,
            "seed": self.seed,
            "scaling": self.scaling and serialize(self.scaling),
            "shards": self.shards,
        }


def _moments(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return means and standard deviations from the output of an encoder."""
    mean, log_variance = tf.split(tf.cast(encoded, tf.float32), 2, axis=-1)
    return mean, tf.exp(0.5 * log_variance)

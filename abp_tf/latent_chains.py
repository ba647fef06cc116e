"""Langevin dynamics of latents: in which coordinates they run, and whether they are stable."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from abp_tf import observation
from abp_tf.sampling import Info, Langevin
from abp_tf.sampling.random import CHAIN, PRIOR, row_seeds

PROBE_EVERY, PROBE_ROWS = 50, 16  # how often the stability of the chains is looked at, on how many


class LatentChains:
    """A mixin for `keras.Model`s that have an `energy` of latents, given what is observed of a signal.

    They also have `decode`, `prior`, `preconditioner`, `langevin` and `iteration`.
    """

    @property
    def inference(self) -> Langevin:
        """Inference for new signals."""
        return self._inference

    @inference.setter
    def inference(self, langevin: Langevin) -> None:
        self._inference = langevin
        # They hold the settings they were traced with.
        self._functions = self.test_function = self.predict_function = None

    def posterior(
        self,
        signal: tf.Tensor,
        mask: tf.Tensor | None,
        seed: tf.Tensor,
        langevin: Langevin | None = None,
        start: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Infer latents, as `infer` and the exported signatures do.

        Args:
            signal: data, float32 `[n, *observed_shape]`.
            mask: float32 of 0 and 1 that broadcasts against `signal`, 1 = observed; or None.
            seed: int64 `[n]`, one per row.
            langevin: `inference` by default.
            start: latents to begin with, `[n, *latent_shape]`; draws from the prior by default.

        Returns:
            latents, their decoded signals, and the mean squared error per observed entry `[n]`.
        """
        signal = observation.hide(signal, mask)
        if start is None:
            start = self.prior.draw(row_seeds(seed, PRIOR))
        dynamics = langevin or self.inference
        latent, _ = self._sample(start, signal, mask, dynamics, row_seeds(seed, CHAIN))
        decoded = self.decode(latent)
        misfit = self._misfit(decoded, signal, mask)
        error = tf.math.divide_no_nan(misfit, observation.entries(signal, mask))
        return latent, decoded, error

    def _sample(self, start, signal, mask, langevin, seeds) -> tuple[tf.Tensor, Info]:
        """Run chains of latents from `start`; return where they end, and an `Info`."""
        place, energy = self._chart(start, signal, mask)
        displacement, info = langevin.sample(energy, tf.zeros_like(start), seeds)
        return place(displacement), info

    def _chart(self, origin, signal, mask):
        """Return the map from the chains' coordinates to latents, and the energy of coordinates."""
        share = None
        if mask is not None:
            # The curvature that few entries give scatters about their share of that of all of them. As
            # many entries as latents hold the largest to about 4 times its mean, fewer would not.
            seen = tf.maximum(observation.entries(signal, mask), math.prod(self.latent_shape))
            share = tf.minimum(seen / math.prod(self.observed_shape), 1.0)

        def place(displacement):
            return origin + self.preconditioner(displacement, share)

        return place, lambda displacement: self.energy(place(displacement), signal, mask)

    def _probe_stability(self, latent, signal, mask, iteration) -> None:
        """In every so many iterations, look at `δ² λmax / 4`, the mean over a few chains."""

        def probe():
            few = [None if part is None else part[:PROBE_ROWS] for part in (latent, signal, mask)]
            _, energy = self._chart(*few)
            return tf.reduce_mean(self.langevin.stability(energy, tf.zeros_like(few[0])))

        due = iteration.value % PROBE_EVERY == 0
        self._stability.assign(tf.cond(due, probe, lambda: self._stability.value))

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
                lambda few: self.preconditioner.estimate(
                    lambda latent: self._seen(self.decode(latent)), few, self.sigma
                )
            )
        self._estimate(latents)

"""The posterior of latents given data, for samplers."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from abp_tf.sampling import Info, Sampler


class Posterior:
    """Posterior `p(z | y) ∝ exp(−U(z; y))` of each example of a batch.

    With a linear map `R` the chains run in the coordinates `w` of `z = z₀ + R w`, in which posteriors
    are round.

    Args:
        energy: function that maps latents `[n, *latent_shape]` to `U`, float32 `[n]`.
        root: function that multiplies by `R`, as `Preconditioner.root` returns it; None runs the chains
            on the latents themselves.
    """

    def __init__(
        self,
        energy: Callable[[tf.Tensor], tf.Tensor],
        root: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self.energy = energy
        self.root = root

    def sample(self, sampler: Sampler, start: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, Info]:
        """Run chains of latents.

        Args:
            sampler: sampler of the chains.
            start: first states, float32 `[n, *latent_shape]`.
            seeds: int64 `[n, 2]`, one seed pair per row.

        Returns:
            the last states, same shape as `start`, and the `Info` of the sampler.
        """
        energy, state, latent = self._coordinates(start)
        state, info = sampler.sample(energy, state, seeds)
        return latent(state), info

    def stability(self, sampler: Sampler, latent: tf.Tensor) -> tf.Tensor:
        """Return `δ² λmax / 4` of a sampler's steps at latents, float32 `[n]`; it must stay below 1."""
        energy, state, _ = self._coordinates(latent)
        return sampler.stability(energy, state)

    def _coordinates(self, origin):
        """Return the energy in the chains' coordinates, those of `origin`, and the map to latents."""
        root = self.root
        if root is None:
            return self.energy, origin, lambda latent: latent

        def latent(displacement):
            return origin + root(displacement)

        return lambda moved: self.energy(latent(moved)), tf.zeros_like(origin), latent

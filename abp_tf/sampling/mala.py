"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from abp_tf.sampling.langevin import update
from abp_tf.sampling.metropolis import Look, Metropolis, Point
from abp_tf.sampling.random import row_normal


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class MALA(Metropolis):
    """Run Langevin dynamics, and accept or reject each step, row by row.

    The Metropolis-adjusted Langevin algorithm (Besag 1994; Roberts and Tweedie, "Exponential
    convergence of Langevin distributions and their discrete approximations", Bernoulli 1996): the step
    `u' = u − (δ²/2) ∇U(u) + δ ε` of `Langevin` at temperature 1 is accepted with probability
    `min(1, exp(U(u) − U(u')) q(u | u') / q(u' | u))`, `q(u' | u) = N(u'; u − (δ²/2) ∇U(u), δ² I)`. So
    the density `exp(−U)` is exact at every step size. Chains move fastest if about 0.57 of the steps
    are accepted; the more dimensions, the shorter the steps must be. A step computes one gradient.

    Args:
        steps: number of steps, 0 or more.
        step_size: δ, positive.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum(u**2, axis=-1)
        >>> seeds = abp_tf.sampling.random.row_seeds(tf.range(500), abp_tf.sampling.random.CHAIN)
        >>> state, info = MALA(30, 1.2).sample(quadratic, tf.zeros([500, 2]), seeds)
        >>> bool(0.6 < tf.reduce_mean(info.acceptance) < 0.9)
        True
    """

    def draw(self, seeds: tf.Tensor, steps: int, shape: tf.TensorShape) -> dict[str, tf.Tensor]:
        """Draw the noise of many steps."""
        return {"noise": row_normal(seeds, [steps, *shape])}

    def propose(  # type: ignore[override]  # `draw` returns these numbers
        self, look: Look, here: Point, *, noise: tf.Tensor
    ) -> tuple[Point, tf.Tensor]:
        """Propose a Langevin step."""
        return propose(look, here, self.step_size, noise)


def propose(
    look: Look, here: Point, step_size: float | tf.Tensor, noise: tf.Tensor
) -> tuple[Point, tf.Tensor]:
    """Propose a Langevin step, which `metropolis.accept` accepts or rejects.

    Args:
        look: function that returns the `Point` of a state.
        here: current points of the chains.
        step_size: δ, positive.
        noise: standard normal numbers, of the shape of the state.

    Returns:
        The proposal, and the log of the Metropolis-Hastings ratio, `[n]`.
    """
    proposal = look(update(here.state, here.gradient, step_size, noise))
    back, forth = _flow(proposal, here, step_size), _flow(here, proposal, step_size)
    return proposal, here.energy - proposal.energy + back - forth


def _flow(start: Point, end: Point, step_size) -> tf.Tensor:
    """Return the log density, up to a constant, of proposing `end` from `start`, `[n]`."""
    distance = end.state - update(start.state, start.gradient, step_size)
    axes = list(range(1, distance.shape.rank))
    return -tf.reduce_sum(distance**2, axis=axes) / (2 * step_size**2)

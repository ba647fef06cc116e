"""Underdamped Langevin dynamics: states that move with a velocity."""

from __future__ import annotations

import dataclasses
import math

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.base import norm, repeat_randomly, value_and_gradient
from abp_tf.sampling.langevin import Langevin
from abp_tf.sampling.random import VELOCITY, apart, row_normal


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Underdamped(Langevin):
    """Run underdamped Langevin dynamics, whose states keep a part of their velocity.

    The dynamics `du = v dt, dv = −∇U(u) dt − γ v dt + √(2γT) dW` in the splitting BAOAB (Leimkuhler,
    Matthews, "Rational construction of stochastic numerical methods for molecular sampling", Applied
    Mathematics Research eXpress 2013, arXiv 1203.5428). A step of length δ computes one gradient:

        v ← v − δ/2 ∇U(u),  u ← u + δ/2 v,  v ← e^{−γδ} v + √(T (1 − e^{−2γδ})) ε,
        u ← u + δ/2 v,  v ← v − δ/2 ∇U(u).

    Velocities keep chains from undoing their own moves, so that fewer steps lead to an independent
    draw than with `Langevin`; and if the energy is quadratic, states have its covariance exactly at
    every stable step size, where that of `Langevin` is too large. First velocities are draws from
    `N(0, T I)`. Steps are stable while `δ² λmax < 4`.

    Args:
        steps: number of noisy steps, 0 or more.
        step_size: δ, positive.
        temperature: `T`, 0 or more; 1 samples `exp(−U)`, 0 descends with momentum.
        cool: number of noise-free steps of gradient descent at the end, with half the step size.
        friction: γ, positive; for large γ the chains are those of overdamped dynamics.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> stiff = lambda u: 0.5 * tf.reduce_sum(u**2 * [1.0, 4.0], axis=-1)
        >>> seeds = abp_tf.sampling.random.row_seeds(tf.range(4000), abp_tf.sampling.random.CHAIN)
        >>> state, _ = Underdamped(30, 0.8).sample(stiff, tf.zeros([4000, 2]), seeds)
        >>> np.allclose(np.var(state, axis=0), [1, 1 / 4], rtol=0.1)
        True
    """

    friction: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        self._set("friction", checks.positive("Underdamped", "friction", self.friction))

    def _wander(self, energy, state, seeds) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the noisy steps; return the state and the summed gradient norms `[n]`."""
        shape, half, deviation = state.shape[1:], self.step_size / 2, self.temperature**0.5
        kept = math.exp(-self.friction * self.step_size)

        def draw(seeds, steps):
            return row_normal(seeds, [steps, *shape]) * deviation * math.sqrt(1 - kept**2)

        def step(carry, noise):
            # The last half of one step's kick and the first half of the next have the same gradient.
            state, velocity, kick, norms = carry
            _, gradient = value_and_gradient(energy, state)
            before = velocity - kick * gradient
            after = kept * before + noise
            # One sum of velocities: TensorFlow's optimizer miscompiles successive sums in nested loops.
            state += half * (before + after)
            return state, after, tf.constant(self.step_size), norms + norm(gradient)

        velocity = row_normal(apart(seeds, VELOCITY), list(shape)) * deviation
        carry = state, velocity, tf.constant(half), tf.zeros([tf.shape(state)[0]])
        state, *_, norms = repeat_randomly(step, carry, self.steps, draw, seeds, shape.num_elements())
        return state, norms

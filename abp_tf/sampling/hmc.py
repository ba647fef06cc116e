"""Hamiltonian Monte Carlo."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.base import Energy, repeat
from abp_tf.sampling.langevin import stability
from abp_tf.sampling.metropolis import Look, Metropolis, Point
from abp_tf.sampling.random import LENGTH, apart, row_normal, row_uniform

# The step size of each step of each row is uniform in δ (1 ± SPREAD).
SPREAD = 0.2


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class HMC(Metropolis):
    """Run Hamiltonian dynamics from fresh momenta, and accept or reject the end of each trajectory.

    Hamiltonian (hybrid) Monte Carlo (Duane, Kennedy, Pendleton, Roweth, "Hybrid Monte Carlo", Physics
    Letters B 1987; Neal, "MCMC using Hamiltonian dynamics", 2011, arXiv 1206.1901). A step draws a
    momentum `p ~ N(0, I)`, follows `du/dt = p, dp/dt = −∇U(u)` by `leapfrog` steps of length δ, and
    accepts its end with probability `min(1, exp(H(u, p) − H(u', p')))`,
    `H(u, p) = U(u) + ‖p‖²/2`. So the density `exp(−U)` is exact at every step size, and chains move
    far in one step. Each step of each row draws its own step size, uniform in δ (1 ± 0.2): a trajectory
    of fixed length that happens to be a period of the motion would return to its start at every step
    (Neal, section 5.4.2.2). Chains move fastest if about 0.65 of the steps are accepted. With
    `leapfrog=1` a step is one of `MALA`.

    Args:
        steps: number of trajectories, 0 or more.
        step_size: δ, positive; a trajectory is about `leapfrog · δ` long.
        leapfrog: number of leapfrog steps per trajectory, each with one gradient; 1 or more.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> HMC(steps=50, step_size=0.2).total_steps
        500
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum(u**2, axis=-1)
        >>> seeds = abp_tf.sampling.random.row_seeds(tf.range(500), abp_tf.sampling.random.CHAIN)
        >>> state, info = HMC(5, 0.3).sample(quadratic, tf.zeros([500, 2]), seeds)
        >>> bool(0.9 < tf.reduce_mean(info.acceptance) <= 1)
        True
    """

    leapfrog: int = 10

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        self._set("leapfrog", checks.integer("HMC", "leapfrog", self.leapfrog, 1))

    @property
    def total_steps(self) -> int:
        """Number of leapfrog steps of all trajectories together."""
        return self.steps * self.leapfrog

    def draw(self, seeds: tf.Tensor, steps: int, shape: tf.TensorShape) -> dict[str, tf.Tensor]:
        """Draw the momenta of many steps, and the lengths of their leapfrog steps."""
        spread = SPREAD * (2 * row_uniform(apart(seeds, LENGTH), [steps]) - 1)
        return {
            "momentum": row_normal(seeds, [steps, *shape]),
            "length": self.step_size * (1 + spread),
        }

    def propose(  # type: ignore[override]  # `draw` returns these numbers
        self, look: Look, here: Point, *, momentum: tf.Tensor, length: tf.Tensor
    ) -> tuple[Point, tf.Tensor]:
        """Propose the end of a trajectory."""
        axes = list(range(1, momentum.shape.rank))
        length = tf.reshape(length, [-1] + [1] * len(axes))

        def kinetic(momentum):
            return tf.reduce_sum(momentum**2, axis=axes) / 2

        def leap(_, carry):
            point, momentum = carry
            momentum -= length / 2 * point.gradient
            point = look(point.state + length * momentum)
            return point, momentum - length / 2 * point.gradient

        end, last = repeat(leap, (here, momentum), self.leapfrog)
        return end, here.energy - end.energy + kinetic(momentum) - kinetic(last)

    def stability(self, energy: Energy, state: tf.Tensor) -> tf.Tensor:
        """Estimate `δ² λmax(∇²U) / 4` at each row, `[n]`, for the longest leapfrog step δ."""
        return stability(energy, state, (1 + SPREAD) * self.step_size)

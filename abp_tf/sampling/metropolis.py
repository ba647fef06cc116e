"""Metropolis-Hastings: proposals are accepted or rejected, so that chains have the exact density."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.base import (
    Energy,
    Info,
    Sampler,
    norm,
    repeat_randomly,
    value_and_gradient,
)
from abp_tf.sampling.langevin import stability
from abp_tf.sampling.random import ACCEPTANCE, apart, row_uniform


class Point(NamedTuple):
    """States of chains, with their energies and gradients.

    Attributes:
        state: `u`, `[n, ...]`.
        energy: `U(u)`, `[n]`.
        gradient: `∇U(u)`, `[n, ...]`.
    """

    state: tf.Tensor
    energy: tf.Tensor
    gradient: tf.Tensor


Look = Callable[[tf.Tensor], Point]  # returns the point of a state


def look_at(energy: Energy) -> Look:
    """Return the function that computes the `Point` of a state under `energy`."""

    def look(state):
        value, gradient = value_and_gradient(energy, state)
        return Point(state, tf.ensure_shape(value, state.shape[:1]), gradient)

    return look


def accept(
    here: Point, proposal: Point, log_ratio: tf.Tensor, uniform: tf.Tensor
) -> tuple[Point, tf.Tensor]:
    """Move each row to its proposal with probability `min(1, ratio)`.

    Args:
        here: current points of the chains.
        proposal: proposed points.
        log_ratio: log of the Metropolis-Hastings ratio, `[n]`; NaN rejects the proposal.
        uniform: uniform numbers from [0, 1), `[n]`.

    Returns:
        The new points of the chains, and whether each row moved, bool `[n]`. No row moves to an energy
        or a gradient that is not finite: such a gradient makes the ratio 0 or NaN.
    """
    moved = (tf.math.log(uniform) < log_ratio) & tf.math.is_finite(proposal.energy)

    def choose(new, old):
        return tf.where(tf.reshape(moved, [-1] + [1] * (new.shape.rank - 1)), new, old)

    return tf.nest.map_structure(choose, proposal, here), moved


@dataclasses.dataclass(frozen=True)
class Metropolis(Sampler):
    """Markov chains whose proposals are accepted or rejected, row by row.

    The chains have the density `exp(−U)` exactly, at every step size. The step size determines how far
    proposals are and how often they are rejected. A subclass implements `draw` and `propose`.

    Args:
        steps: number of proposals, 0 or more.
        step_size: δ, positive.
    """

    step_size: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        remedy = "To leave chains where they are, use steps=0."
        owner = type(self).__name__
        self._set("step_size", checks.positive(owner, "step_size", self.step_size, remedy))

    @property
    def rejects(self) -> bool:
        """Whether the sampler rejects proposals; always True."""
        return True

    @abc.abstractmethod
    def draw(self, seeds: tf.Tensor, steps: int, shape: tf.TensorShape) -> dict[str, tf.Tensor]:
        """Draw the random numbers of the proposals of many steps.

        Args:
            seeds: int64 `[n, 2]`, one seed pair per row.
            steps: number of steps.
            shape: shape of one row's state.

        Returns:
            The keyword arguments of `propose`, each `[n, steps, ...]`.
        """

    @abc.abstractmethod
    def propose(self, look: Look, here: Point, **numbers: tf.Tensor) -> tuple[Point, tf.Tensor]:
        """Propose the next state of each chain.

        Args:
            look: function that returns the `Point` of a state.
            here: current points of the chains.
            numbers: random numbers of this step, as `draw` returns them, each `[n, ...]`.

        Returns:
            The proposal, and the log of the Metropolis-Hastings ratio, `[n]`; it is −infinity or NaN
            where the gradient of the proposal is not finite.
        """

    def sample(self, energy: Energy, state: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, Info]:
        """Run the chains of all rows of `state` at once; see `Sampler.sample`."""
        look, shape = look_at(energy), state.shape[1:]

        def draw(seeds, steps):
            return self.draw(seeds, steps, shape), row_uniform(apart(seeds, ACCEPTANCE), [steps])

        def step(carry, numbers):
            here, norms, accepted = carry
            proposal, log_ratio = self.propose(look, here, **numbers[0])
            there, moved = accept(here, proposal, log_ratio, numbers[1])
            return there, norms + norm(here.gradient), accepted + tf.cast(moved, tf.float32)

        start, zeros = look(state), tf.zeros([tf.shape(state)[0]])
        carry = start, zeros, zeros
        end, norms, accepted = repeat_randomly(
            step, carry, self.steps, draw, seeds, shape.num_elements()
        )
        info = Info(
            initial_energy=start.energy,
            final_energy=end.energy,
            gradient_norm=norms / max(self.steps, 1),
            acceptance=accepted / self.steps if self.steps else tf.ones_like(accepted),
        )
        return end.state, info

    def stability(self, energy: Energy, state: tf.Tensor) -> tf.Tensor:
        """Estimate `δ² λmax(∇²U) / 4` at each row, `[n]`; above 1 hardly any proposal is accepted."""
        return stability(energy, state, self.step_size)

"""The base class of all samplers, and the loops they share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.random import later

Energy = Callable[[tf.Tensor], tf.Tensor]

# Random numbers of a row that are held in memory at once. All numbers of a long chain of large signals
# would fill the memory; drawing them step by step would cost a map over the rows for every step.
HELD = 2**16


class Info(NamedTuple):
    """Diagnostics of one run of a sampler; every field is float32 `[n]`.

    Attributes:
        initial_energy: energy of the first states.
        final_energy: energy of the last states.
        gradient_norm: Euclidean norm of the energy's gradient, averaged over the steps.
        acceptance: share of the proposals that were accepted; 1 for samplers that reject none.
    """

    initial_energy: tf.Tensor
    final_energy: tf.Tensor
    gradient_norm: tf.Tensor
    acceptance: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """Markov chains whose states have the density `exp(−U)` for an energy `U`.

    Samplers are immutable, and two with the same arguments are equal. To add one, write a frozen
    dataclass with a method `sample` and register it with Keras
    (`keras.saving.register_keras_serializable`), so that models that use it can be saved.

    Args:
        steps: number of steps, 0 or more; with 0 the states do not change.
    """

    steps: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        self._set("steps", checks.integer(type(self).__name__, "steps", self.steps, 0))

    def _set(self, name: str, value) -> None:
        """Set a field of the frozen dataclass during construction."""
        object.__setattr__(self, name, value)

    @abc.abstractmethod
    def sample(self, energy: Energy, state: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, Info]:
        """Run the chains of all rows of `state` at once.

        Args:
            energy: function that maps states `[n, ...]` to energies, float32 `[n]`; a row's energy
                depends on that row alone.
            state: first states of the chains, float32 `[n, ...]`.
            seeds: int64 `[n, 2]`, one seed pair per row, as `random.row_seeds` and
                `random.training_seeds` return them. A row's random numbers are a pure function of its
                pair and the step: the same alone and in any batch.

        Returns:
            The last states, `[n, ...]`, and an `Info`.
        """

    @property
    def total_steps(self) -> int:
        """Number of gradients of the energy that a run computes for each row."""
        return self.steps

    @property
    def rejects(self) -> bool:
        """Whether the sampler rejects proposals, so that its acceptance is worth reporting."""
        return False

    @property
    def draws_samples(self) -> bool:
        """Whether `for_draws` returns a sampler."""
        return self.steps > 0

    def with_steps(self, steps: int) -> Self:
        """Return a copy of the sampler with another number of steps, all of them of the main phase."""
        return dataclasses.replace(self, steps=steps)

    def for_draws(self) -> Self:
        """Return a copy of the sampler whose last states are draws from `exp(−U)` if chains are long.

        Raises:
            ValueError: if the sampler has no steps, or cannot draw samples.
        """
        if not self.steps:
            raise ValueError(
                f"Drawing samples needs a chain with steps: expected 1 or more, received 0 in {self}. "
                "Set a sampler with steps, such as Langevin(200, 0.1)."
            )
        return self

    def stability(self, energy: Energy, state: tf.Tensor) -> tf.Tensor:
        """Return a number for each row of `state` that is below 1 where steps are stable.

        Args:
            energy: function that maps states `[n, ...]` to energies `[n]`.
            state: states at which to measure, float32 `[n, ...]`.

        Returns:
            float32 `[n]`: `δ² λmax(∇²U) / 4` for a step size δ; 0 for samplers whose stability does not
            depend on the curvature of the energy.
        """
        return tf.zeros([tf.shape(state)[0]])

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Sampler:
        """Return the sampler that `get_config` describes."""
        return cls(**config)


def value_and_gradient(energy: Energy, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the energies `[n]` of states `[n, ...]`, and their gradients `[n, ...]`."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(state)
        value = energy(state)
    return value, tape.gradient(value, state)


def norm(values: tf.Tensor) -> tf.Tensor:
    """Return the Euclidean norm of each row of `values`, `[n, ...]`: float32 `[n]`."""
    return tf.norm(tf.reshape(values, [tf.shape(values)[0], -1]), axis=-1)


def repeat(body: Callable[[tf.Tensor, Any], Any], carry: Any, count: int | tf.Tensor) -> Any:
    """Return `carry` after `count` steps `carry = body(number, carry)`.

    Args:
        body: function of the number of the step, from 0 to `count` − 1, and the carry; it returns the
            next carry.
        carry: a tensor or a structure of tensors, whose shapes do not change.
        count: number of steps.
    """
    if tf.get_static_value(count) == 0:
        return carry
    return tf.while_loop(
        lambda number, _: number < count,
        lambda number, carry: (number + 1, body(number, carry)),
        (tf.constant(0), carry),
        parallel_iterations=1,
    )[1]


def repeat_randomly(
    step: Callable[[Any, Any], Any],
    carry: Any,
    steps: int,
    draw: Callable[[tf.Tensor, int], Any],
    seeds: tf.Tensor,
    size: int,
) -> Any:
    """Return `carry` after `steps` random steps, with random numbers drawn for many steps at a time.

    Args:
        step: function of the carry and the random numbers of one step, a structure of `[n, ...]`; it
            returns the next carry.
        carry: a tensor or a structure of tensors, whose shapes do not change.
        steps: number of steps.
        draw: function of seed pairs `[n, 2]` and a number of steps `m`; it returns random numbers for
            `m` steps, a structure of `[n, m, ...]`.
        seeds: int64 `[n, 2]`, one seed pair per row.
        size: count of random numbers that a row needs for one step.
    """
    held = max(1, min(steps, HELD // max(size, 1)))

    def block(done, carry):
        numbers = draw(later(seeds, done // held), held)
        # With the steps as first axis, each step reads one contiguous part.
        numbers = tf.nest.map_structure(
            lambda part: tf.transpose(part, [1, 0, *range(2, part.shape.rank)]), numbers
        )

        def one(number, carry):
            return step(carry, tf.nest.map_structure(lambda part: part[number], numbers))

        count = tf.minimum(held, steps - done)
        return done + count, repeat(one, carry, count)

    if not steps:
        return carry
    return tf.while_loop(
        lambda done, _: done < steps, block, (tf.constant(0), carry), parallel_iterations=1
    )[1]

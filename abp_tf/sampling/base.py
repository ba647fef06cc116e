"""Samplers: how a chain moves under an energy, and what every sampler can be asked."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.random import later

Energy = Callable[[tf.Tensor], tf.Tensor]

# Random numbers that a row's chain holds at once. All of a long chain of large signals would fill
# the memory; a draw for every step would cost a map over the rows each time.
HELD = 2**16


class Info(NamedTuple):
    """Report what a run of a sampler did; every field is float32 `[n]`.

    Attributes:
        initial_energy: energy where the chains started.
        final_energy: energy where they ended.
        gradient_norm: Euclidean norm of the energy's gradient, mean over the steps.
        acceptance: share of the proposals that were accepted; 1 for samplers that reject none.
    """

    initial_energy: tf.Tensor
    final_energy: tf.Tensor
    gradient_norm: tf.Tensor
    acceptance: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """Run Markov chains whose states have the density `exp(−U)`, `U` an energy.

    A sampler is a value: two with the same arguments are equal, and none changes. To add one, write
    a frozen dataclass with a method `sample` and register it with Keras
    (`keras.saving.register_keras_serializable`), so that models that hold it can be saved.

    Args:
        steps: number of steps, 0 or more; 0 leaves chains where they are.
    """

    steps: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        self._set("steps", checks.integer(type(self).__name__, "steps", self.steps, 0))

    def _set(self, name: str, value) -> None:
        """Set a field while the object is made."""
        object.__setattr__(self, name, value)

    @abc.abstractmethod
    def sample(self, energy: Energy, state: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, Info]:
        """Run the chains of all rows of `state` at once.

        Args:
            energy: maps states `[n, ...]` to energies, float32 `[n]`; a row's energy depends on that
                row alone.
            state: where the chains start, float32 `[n, ...]`.
            seeds: int64 `[n, 2]`, one pair per row, as `random.row_seeds` and
                `random.training_seeds` return them. A row's random numbers are a pure function of
                its pair and the step: the same alone and in any batch.

        Returns:
            The last states, `[n, ...]`, and an `Info`.
        """

    @property
    def total_steps(self) -> int:
        """Number of gradients that a run computes for each row."""
        return self.steps

    @property
    def rejects(self) -> bool:
        """Whether proposals may be refused, so that an acceptance says something."""
        return False

    @property
    def draws_samples(self) -> bool:
        """Whether `for_draws` returns a sampler."""
        return self.steps > 0

    def with_steps(self, steps: int) -> Sampler:
        """Return the sampler with another number of steps, all of them of the main phase."""
        return dataclasses.replace(self, steps=steps)

    def for_draws(self) -> Sampler:
        """Return the sampler whose last states are draws from `exp(−U)`, once chains are long enough.

        Raises:
            ValueError: it has no steps, or draws no samples at all.
        """
        if not self.steps:
            raise ValueError(
                f"Samples are where the steps of a chain end, but {self} has none: expected steps of "
                "1 or more, received 0. Set a sampler with steps, such as Langevin(200, 0.1)."
            )
        return self

    def stability(self, energy: Energy, state: tf.Tensor) -> tf.Tensor:
        """Return how near steps at `state` are to being unstable: below 1 they are stable.

        Args:
            energy: maps states `[n, ...]` to energies `[n]`.
            state: where to look, float32 `[n, ...]`.

        Returns:
            float32 `[n]`: `δ² λmax(∇²U) / 4` for a step size δ; 0 where stability does not depend on
            the curvature.
        """
        return tf.zeros([tf.shape(state)[0]])

    def get_config(self) -> dict:
        """Return the arguments that make an equal sampler."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Sampler:
        """Make a sampler from what `get_config` returned."""
        return cls(**config)


def value_and_gradient(energy: Energy, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the energies `[n]` of states `[n, ...]`, and their gradients `[n, ...]`."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(state)
        value = energy(state)
    return value, tape.gradient(value, state)


def norm(values: tf.Tensor) -> tf.Tensor:
    """Return the Euclidean norm of each row of `[n, ...]`, `[n]`."""
    return tf.norm(tf.reshape(values, [tf.shape(values)[0], -1]), axis=-1)


def repeat(body: Callable[[tf.Tensor, Any], Any], carry: Any, count: int | tf.Tensor) -> Any:
    """Return `carry` after `carry = body(number, carry)` for the numbers 0 to `count` − 1.

    Args:
        body: one step.
        carry: a tensor or a structure of them; shapes do not change.
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
    """Return `carry` after `steps` random steps, their numbers drawn for many steps at a time.

    Args:
        step: maps the carry and the random numbers of one step, a structure of `[n, ...]`, to the
            carry.
        carry: a tensor or a structure of them; shapes do not change.
        steps: number of steps.
        draw: maps seed pairs `[n, 2]` and a number of steps `m` to random numbers of that many
            steps, a structure of `[n, m, ...]`.
        seeds: int64 `[n, 2]`, one pair per row.
        size: count of random numbers of a row's step.
    """
    held = max(1, min(steps, HELD // max(size, 1)))

    def block(done, carry):
        numbers = draw(later(seeds, done // held), held)
        # Steps first: each step then reads one contiguous part.
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

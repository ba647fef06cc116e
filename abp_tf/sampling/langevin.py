"""Langevin dynamics: the one update and its loop.

Everything here works for any energy that gives one number per example; nothing here knows a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from abp_tf.sampling.random import later, row_normal

Energy = Callable[[tf.Tensor], tf.Tensor]

# Numbers of noise that a row's chain holds at once. All of a long chain of large signals would fill
# the memory; a draw for every step would cost a map over the rows each time.
HELD = 2**16


class LangevinInfo(NamedTuple):
    """What a run of Langevin dynamics tells about itself; every field has shape `[n]`.

    Attributes:
        initial_energy: energy where the chains started.
        final_energy: energy where they ended.
        gradient_norm: Euclidean norm of the energy's gradient, mean over the steps.
    """

    initial_energy: tf.Tensor
    final_energy: tf.Tensor
    gradient_norm: tf.Tensor


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Langevin:
    """Unadjusted Langevin dynamics: how many steps, how long, how noisy.

    One step is `u ← u − (δ²/2) ∇U(u) + δ √T ε` with `ε ~ N(0, I)`, `δ = step_size` and
    `T = temperature`; it is stable only while `δ² λmax(∇²U) < 4`. `T = 0` is gradient descent with
    rate `δ²/2`.

    Args:
        steps: number of steps, 0 or more.
        step_size: δ, positive.
        temperature: T, 0 or more. 1 samples from `exp(−U)`.
        cool: number of noise-free steps at half the step size that follow.

    Raises:
        ValueError: for an argument out of its range.

    Example:
        >>> Langevin(steps=200, step_size=0.1, cool=100).total_steps
        300
    """

    steps: int
    step_size: float
    temperature: float = 1.0
    cool: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no chain could run with."""
        for name in ("steps", "cool"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(
                    f"Langevin expected `{name}` to be an integer of 0 or more, received {value!r}."
                )
        if not 0 < self.step_size < float("inf"):
            raise ValueError(
                f"Langevin expected a positive `step_size`, received {self.step_size!r}. "
                "To leave chains where they are, use steps=0."
            )
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"Langevin expected a `temperature` of 0 or more, received {self.temperature!r}."
            )

    @property
    def total_steps(self) -> int:
        """Noisy and noise-free steps together."""
        return self.steps + self.cool

    def get_config(self) -> dict:
        """Return the arguments that make an equal `Langevin`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Langevin:
        """Make a `Langevin` from what `get_config` returned."""
        return cls(**config)


def update(
    state: tf.Tensor, gradient: tf.Tensor, step_size: float, noise: tf.Tensor | None = None
) -> tf.Tensor:
    """One Langevin step, `u − (δ²/2) ∇U(u) + δ ε`; every step of every model is this one.

    Args:
        state: `u`, any shape.
        gradient: `∇U(u)`, same shape.
        step_size: δ.
        noise: `√T ε`, same shape; none for gradient descent.

    Returns:
        The new state, same shape.
    """
    state = state - 0.5 * step_size**2 * gradient
    return state if noise is None else state + step_size * noise


def sample(
    energy: Energy, state: tf.Tensor, langevin: Langevin, seeds: tf.Tensor
) -> tuple[tf.Tensor, LangevinInfo]:
    """Run Langevin dynamics on every row of `state` at once.

    Args:
        energy: maps states `[n, ...]` to energies `[n]`; a row's energy depends on that row alone.
        state: where the chains start, float32 `[n, ...]`.
        langevin: steps, step size, temperature.
        seeds: int64 `[n, 2]`, one pair per row (see `row_seeds`, `training_seeds`). A row's noise is
            a pure function of its pair and the step: the same alone and in any batch.

    Returns:
        The last states, `[n, ...]`, and a `LangevinInfo`.

    Example:
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum(u**2, axis=-1)
        >>> seeds = row_seeds(tf.range(4, dtype=tf.int64), CHAIN)
        >>> state, info = sample(quadratic, tf.zeros([4, 2]), Langevin(10, 0.5), seeds)
        >>> state.shape, info.final_energy.shape
        (TensorShape([4, 2]), TensorShape([4]))
    """
    start = state
    if langevin.steps and langevin.temperature:
        state, norms = _wander(energy, state, langevin, seeds)
    else:
        state, norms = _descend(energy, state, langevin.steps, langevin.step_size)
    state, cool_norms = _descend(energy, state, langevin.cool, 0.5 * langevin.step_size)
    # The energies cost a forward pass each; inside a tf.function they are pruned where unused.
    info = LangevinInfo(
        initial_energy=energy(start),
        final_energy=energy(state),
        gradient_norm=(norms + cool_norms) / max(langevin.total_steps, 1),
    )
    return state, info


def _wander(
    energy: Energy, state: tf.Tensor, langevin: Langevin, seeds: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Make the noisy steps; return the state and the summed gradient norms `[n]`."""
    shape = state.shape[1:]
    held = max(1, min(langevin.steps, HELD // max(shape.num_elements(), 1)))

    def body(done, state, norms):
        noise = row_normal(later(seeds, done // held), [held, *shape])
        # Steps first: each step then reads one contiguous block.
        noise = tf.transpose(noise, [1, 0, *range(2, noise.shape.rank)])
        noise *= langevin.temperature**0.5
        steps = tf.minimum(held, langevin.steps - done)
        state, more = _descend(energy, state, steps, langevin.step_size, noise)
        return done + steps, state, norms + more

    _, state, norms = tf.while_loop(
        lambda done, *_: done < langevin.steps,
        body,
        (tf.constant(0), state, tf.zeros([tf.shape(state)[0]])),
        parallel_iterations=1,
    )
    return state, norms


def _descend(
    energy: Energy,
    state: tf.Tensor,
    steps: int | tf.Tensor,
    step_size: float,
    noise: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Make `steps` updates; return the state and the summed gradient norms `[n]`."""

    def body(step, state, norms):
        gradient = _gradient(energy, state)
        norms += tf.norm(tf.reshape(gradient, [tf.shape(state)[0], -1]), axis=-1)
        state = update(state, gradient, step_size, None if noise is None else noise[step])
        return step + 1, state, norms

    norms = tf.zeros([tf.shape(state)[0]])
    if tf.get_static_value(steps) == 0:
        return state, norms
    _, state, norms = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (tf.constant(0), state, norms),
        parallel_iterations=1,
    )
    return state, norms


def _gradient(energy: Energy, state: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(state)
        total = tf.reduce_sum(energy(state))
    return tape.gradient(total, state)


def stability(energy: Energy, state: tf.Tensor, step_size: float, iterations: int = 12) -> tf.Tensor:
    """Estimate `δ² λmax(∇²U) / 4` at each row: a chain needs it below 1.

    Power iteration on Hessian-vector products, from a fixed direction.

    Args:
        energy: maps states `[n, ...]` to energies `[n]`.
        state: where to look, `[n, ...]`.
        step_size: δ.
        iterations: of the power method; more come nearer, always from below.

    Returns:
        float32 `[n]`.

    Example:
        >>> stiff = lambda u: 0.5 * tf.reduce_sum(u**2 * [1.0, 100.0], axis=-1)
        >>> float(stability(stiff, tf.zeros([1, 2]), step_size=0.1)[0])
        0.25
    """
    axes = list(range(1, state.shape.rank))

    def norm(direction):
        return tf.sqrt(tf.reduce_sum(direction**2, axis=axes, keepdims=True))

    def curvature(direction):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state)
            along = tf.reduce_sum(_gradient(energy, state) * direction)
        return tape.gradient(along, state)

    direction = tf.random.stateless_normal(state.shape[1:], seed=[0, 0])
    direction = tf.zeros_like(state) + direction
    direction /= norm(direction)

    def body(step, direction, _):
        product = curvature(direction)
        size = norm(product)
        return step + 1, tf.math.divide_no_nan(product, size), size

    _, _, size = tf.while_loop(
        lambda step, *_: step < iterations,
        body,
        (tf.constant(0), direction, norm(direction)),
        parallel_iterations=1,
    )
    return 0.25 * step_size**2 * tf.reshape(size, [-1])

"""Langevin dynamics: the update of one step, and its loop."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.base import (
    Energy,
    Info,
    Sampler,
    norm,
    repeat,
    repeat_randomly,
    value_and_gradient,
)
from abp_tf.sampling.random import row_normal


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Langevin(Sampler):
    """Run unadjusted Langevin dynamics.

    One step is `u ← u − (δ²/2) ∇U(u) + δ √T ε` with `ε ~ N(0, I)`, `δ = step_size` and
    `T = temperature`; it is stable only if `δ² λmax(∇²U) < 4`. No step is rejected, so the
    density of the chain differs from `exp(−U/T)` by terms of the order of `δ²`. `T = 0` is gradient
    descent with rate `δ²/2`.

    Args:
        steps: number of steps, 0 or more.
        step_size: δ, positive.
        temperature: T, 0 or more. With 1 the chains sample from `exp(−U)`.
        cool: number of noise-free steps at half the step size that follow the noisy ones; 0 or more.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> Langevin(steps=200, step_size=0.1, cool=100).total_steps
        300
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum(u**2, axis=-1)
        >>> seeds = abp_tf.sampling.random.row_seeds(tf.range(4), abp_tf.sampling.random.CHAIN)
        >>> state, info = Langevin(10, 0.5).sample(quadratic, tf.zeros([4, 2]), seeds)
        >>> state.shape, info.final_energy.shape
        (TensorShape([4, 2]), TensorShape([4]))
    """

    step_size: float
    temperature: float = 1.0
    cool: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        remedy = "To leave chains where they are, use steps=0."
        self._set("step_size", checks.positive("Langevin", "step_size", self.step_size, remedy))
        self._set("temperature", checks.not_negative("Langevin", "temperature", self.temperature))
        self._set("cool", checks.integer("Langevin", "cool", self.cool, 0))

    @property
    def total_steps(self) -> int:
        """Number of all steps, noisy and noise-free."""
        return self.steps + self.cool

    def with_steps(self, steps: int) -> Langevin:
        """Return a copy of the sampler with another number of noisy steps, and no noise-free ones."""
        return dataclasses.replace(self, steps=steps, cool=0)

    def for_draws(self) -> Langevin:
        """Return a copy of the sampler at temperature 1, without noise-free steps."""
        return dataclasses.replace(super().for_draws(), temperature=1.0, cool=0)

    def sample(self, energy: Energy, state: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, Info]:
        """Run the chains of all rows of `state` at once; see `Sampler.sample`."""
        start = state
        if self.steps and self.temperature:
            state, norms = self._wander(energy, state, seeds)
        else:
            state, norms = _descend(energy, state, self.steps, self.step_size)
        state, cool_norms = _descend(energy, state, self.cool, 0.5 * self.step_size)
        # The energies cost a forward pass each; inside a tf.function they are pruned where unused.
        info = Info(
            initial_energy=energy(start),
            final_energy=energy(state),
            gradient_norm=(norms + cool_norms) / max(self.total_steps, 1),
            acceptance=tf.ones_like(norms),
        )
        return state, info

    def stability(self, energy: Energy, state: tf.Tensor) -> tf.Tensor:
        """Estimate `δ² λmax(∇²U) / 4` at each row, `[n]`; steps are stable while it is below 1."""
        return stability(energy, state, self.step_size)

    def _wander(self, energy, state, seeds) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the noisy steps; return the state and the summed gradient norms `[n]`."""
        shape = state.shape[1:]

        def draw(seeds, steps):
            return row_normal(seeds, [steps, *shape]) * self.temperature**0.5

        def step(carry, noise):
            state, norms = carry
            return _step(energy, state, norms, self.step_size, noise)

        carry = state, tf.zeros([tf.shape(state)[0]])
        return repeat_randomly(step, carry, self.steps, draw, seeds, shape.num_elements())


def update(
    state: tf.Tensor, gradient: tf.Tensor, step_size: float, noise: tf.Tensor | None = None
) -> tf.Tensor:
    """Return `u − (δ²/2) ∇U(u) + δ √T ε`, the one update of all Langevin steps of the package.

    Args:
        state: `u`, any shape.
        gradient: `∇U(u)`, same shape.
        step_size: δ.
        noise: `√T ε`, same shape; None for gradient descent.

    Returns:
        The new state, same shape.
    """
    state = state - 0.5 * step_size**2 * gradient
    return state if noise is None else state + step_size * noise


def _step(energy, state, norms, step_size, noise=None) -> tuple[tf.Tensor, tf.Tensor]:
    """Make one update; return the state and the summed gradient norms `[n]`."""
    _, gradient = value_and_gradient(energy, state)
    return update(state, gradient, step_size, noise), norms + norm(gradient)


def _descend(energy, state, steps: int, step_size: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Run noise-free steps; return the state and the summed gradient norms `[n]`."""
    carry = state, tf.zeros([tf.shape(state)[0]])
    return repeat(lambda _, carry: _step(energy, carry[0], carry[1], step_size), carry, steps)


def stability(energy: Energy, state: tf.Tensor, step_size: float, iterations: int = 12) -> tf.Tensor:
    """Estimate `δ² λmax(∇²U) / 4` at each row; steps are stable while it is below 1.

    The estimate is a power iteration on Hessian-vector products, from a fixed direction.

    Args:
        energy: function that maps states `[n, ...]` to energies `[n]`.
        state: states at which to measure, `[n, ...]`.
        step_size: δ.
        iterations: number of power iterations; more of them bring the estimate closer to its limit,
            always from below.

    Returns:
        float32 `[n]`.

    Example:
        >>> stiff = lambda u: 0.5 * tf.reduce_sum(u**2 * [1.0, 100.0], axis=-1)
        >>> float(stability(stiff, tf.zeros([1, 2]), step_size=0.1)[0])
        0.25
    """
    axes = list(range(1, state.shape.rank))

    def length(direction):
        return tf.sqrt(tf.reduce_sum(direction**2, axis=axes, keepdims=True))

    def curvature(direction):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state)
            along = tf.reduce_sum(value_and_gradient(energy, state)[1] * direction)
        return tape.gradient(along, state)

    direction = tf.random.stateless_normal(state.shape[1:], seed=[0, 0])
    direction = tf.zeros_like(state) + direction
    direction /= length(direction)

    def iterate(_, carry):
        product = curvature(carry[0])
        size = length(product)
        return tf.math.divide_no_nan(product, size), size

    _, size = repeat(iterate, (direction, length(direction)), iterations)
    return 0.25 * step_size**2 * tf.reshape(size, [-1])

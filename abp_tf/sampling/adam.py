"""Minimization of an energy with Adam."""

from __future__ import annotations

import dataclasses
import math

import keras
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.base import Energy, Info, Sampler, norm, repeat, value_and_gradient

DECAY, DECAY_OF_SQUARES = 0.9, 0.99


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Descent(Sampler):
    """Minimize an energy with Adam; its rate falls to 0 along a cosine; no noise, no samples.

    The running means of Adam (Kingma & Ba 2015, arXiv 1412.6980) are kept for each entry of each row,
    so that rows do not depend on each other.

    Args:
        steps: number of steps, 0 or more.
        learning_rate: learning rate of the first step, in units of the state; positive.
        restarts: number of starting points, of which the one with the lowest final energy is kept; 1 or
            more.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum((u - 1.0) ** 2, axis=-1)
        >>> descent = Descent(steps=200, learning_rate=0.1)
        >>> end, info = descent.sample(quadratic, tf.zeros([2, 3]), seeds=None)
        >>> bool(tf.reduce_all(tf.abs(end - 1.0) < 1e-3))
        True
    """

    steps: int = 200
    learning_rate: float = 0.05
    restarts: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        self._set("learning_rate", checks.positive("Descent", "learning_rate", self.learning_rate))
        self._set("restarts", checks.integer("Descent", "restarts", self.restarts, 1))

    @property
    def draws_samples(self) -> bool:
        """Whether `for_draws` returns a sampler; always False."""
        return False

    def for_draws(self) -> Descent:
        """Raise an error, because a descent ends at a mode and draws no samples.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{self} minimizes the energy and draws no samples: expected a sampler with noise, such "
            "as Langevin(200, 0.1)."
        )

    def sample(
        self, energy: Energy, state: tf.Tensor, seeds: tf.Tensor | None
    ) -> tuple[tf.Tensor, Info]:
        """Minimize the energy from all rows of `state` at once.

        Args:
            energy: function that maps states `[n, ...]` to energies `[n]`; a row's energy depends on
                that row alone.
            state: states to start from, float32 `[n, ...]`.
            seeds: ignored, because a descent draws no random numbers.

        Returns:
            The final states, `[n, ...]`, and an `Info`.
        """
        start = state
        zeros = tf.zeros_like(state)
        carry = state, zeros, zeros, tf.zeros([tf.shape(state)[0]])

        def step(number, carry):
            return self._step(energy, number, *carry)

        state, _, _, norms = repeat(step, carry, self.steps)
        info = Info(
            initial_energy=energy(start),
            final_energy=energy(state),
            gradient_norm=norms / max(self.steps, 1),
            acceptance=tf.ones_like(norms),
        )
        return state, info

    def _step(self, energy, number, state, mean, mean_square, norms) -> tuple[tf.Tensor, ...]:
        """Return state, running means and summed gradient norms `[n]` after step `number`."""
        _, gradient = value_and_gradient(energy, state)
        mean = DECAY * mean + (1 - DECAY) * gradient
        mean_square = DECAY_OF_SQUARES * mean_square + (1 - DECAY_OF_SQUARES) * gradient**2
        count = tf.cast(number + 1, tf.float32)
        scale = tf.sqrt(mean_square / (1 - DECAY_OF_SQUARES**count)) + 1e-8
        phase = tf.cast(number, tf.float32) / self.steps
        rate = self.learning_rate * 0.5 * (1 + tf.cos(math.pi * phase))
        state = state - rate * mean / (1 - DECAY**count) / scale
        return state, mean, mean_square, norms + norm(gradient)

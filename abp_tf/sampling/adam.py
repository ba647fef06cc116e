"""Test-time inference of baselines: latents of least energy, by Adam."""

from __future__ import annotations

import dataclasses
import math

import keras
import tensorflow as tf

from abp_tf.sampling.langevin import Energy


@keras.saving.register_keras_serializable(package="abp_tf")
@dataclasses.dataclass(frozen=True)
class Descent:
    """How latents of least energy are sought: Adam, its rate falling to 0 along a cosine.

    Args:
        steps: number of steps, 0 or more.
        learning_rate: of the first step, in units of the latents; positive.
        restarts: number of starts, of which the one that ends lowest is kept; 1 or more.

    Raises:
        ValueError: for an argument out of its range.

    Example:
        >>> Descent(steps=200, restarts=4).learning_rate
        0.05
    """

    steps: int = 200
    learning_rate: float = 0.05
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse values that no descent could run with."""
        for name, least in (("steps", 0), ("restarts", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"Descent expected `{name}` to be an integer of {least} or more, received "
                    f"{value!r}."
                )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"Descent expected a positive `learning_rate`, received {self.learning_rate!r}."
            )

    def get_config(self) -> dict:
        """Return the arguments that make an equal `Descent`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Descent:
        """Make a `Descent` from what `get_config` returned."""
        return cls(**config)


def descend(energy: Energy, state: tf.Tensor, descent: Descent) -> tf.Tensor:
    """Go down the energy of every row of `state` by Adam (Kingma & Ba 2015, arXiv 1412.6980).

    Adam's scale is kept for each latent of each row, so that rows do not depend on each other.

    Args:
        energy: maps states `[n, ...]` to energies `[n]`; a row's energy depends on that row alone.
        state: where to start, float32 `[n, ...]`.
        descent: steps and learning rate; restarts are the caller's.

    Returns:
        The last states, `[n, ...]`.

    Example:
        >>> quadratic = lambda u: 0.5 * tf.reduce_sum((u - 1.0) ** 2, axis=-1)
        >>> end = descend(quadratic, tf.zeros([2, 3]), Descent(steps=200, learning_rate=0.1))
        >>> bool(tf.reduce_all(tf.abs(end - 1.0) < 1e-3))
        True
    """
    decay, decay_of_squares = 0.9, 0.99

    def body(step, state, mean, mean_square):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state)
            total = tf.reduce_sum(energy(state))
        gradient = tape.gradient(total, state)
        mean = decay * mean + (1 - decay) * gradient
        mean_square = decay_of_squares * mean_square + (1 - decay_of_squares) * gradient**2
        count = tf.cast(step + 1, tf.float32)
        scale = tf.sqrt(mean_square / (1 - decay_of_squares**count)) + 1e-8
        phase = tf.cast(step, tf.float32) / descent.steps
        rate = descent.learning_rate * 0.5 * (1 + tf.cos(math.pi * phase))
        return step + 1, state - rate * mean / (1 - decay**count) / scale, mean, mean_square

    if descent.steps == 0:
        return state
    _, state, _, _ = tf.while_loop(
        lambda step, *_: step < descent.steps,
        body,
        (tf.constant(0), state, tf.zeros_like(state), tf.zeros_like(state)),
        parallel_iterations=1,
    )
    return state

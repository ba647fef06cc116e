"""Chains that outlive a batch: tables of their states, kept with the model."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.random import PRIOR, training_seeds


class ChainTable(keras.layers.Layer):
    """States of persistent chains, one a row.

    The table is a raw `tf.Variable`: a step reads and writes its own rows in place, at a cost that
    does not grow with the number of rows, and the table is saved with the model but never exported.
    A subclass says how new rows are drawn.

    Args:
        shape: of one state.
        rows: number of chains; 0 leaves the table empty until `allocate`.
    """

    CONTENT = "states"

    def __init__(self, shape, rows: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        # Not a Keras variable: those are read whole on every gather. The number of rows is open, so
        # that functions traced with the table stay good when it is allocated anew.
        self.states = tf.Variable(
            tf.zeros([0, *self.shape]),
            shape=[None, *self.shape],
            trainable=False,
            name=self.CONTENT,
        )
        self.allocate(rows)
        self.built = True

    def draw(self, rows: int) -> tf.Tensor:
        """Draw the states `[rows, *shape]` that new chains begin with."""
        raise NotImplementedError

    def allocate(self, rows: int) -> None:
        """Make a table of `rows` rows, all drawn anew."""
        self.rows = int(rows)
        self.states.assign(self.draw(self.rows))

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Return the rows `index`, `[n, *shape]`."""
        return tf.gather(self.states, index)

    def write(self, index: tf.Tensor, states: tf.Tensor) -> None:
        """Put `states` into the rows `index`."""
        self.states.scatter_update(tf.IndexedSlices(states, index))

    def put(self, states) -> None:
        """Put `states`, `[N, *shape]`, in the place of the whole table."""
        self.rows = len(states)
        self.states.assign(states)

    def save_own_variables(self, store) -> None:
        """Keep the chains with the model."""
        store[self.CONTENT] = self.states.numpy()

    def load_own_variables(self, store) -> None:
        """Take back what `save_own_variables` kept."""
        states = np.asarray(store[self.CONTENT])
        if states.shape[1:] != self.shape:
            raise ValueError(
                f"The saved chains hold {self.CONTENT} of shape {states.shape[1:]}, but this model's "
                f"have shape {self.shape}. Build the model with the network it was saved with."
            )
        self.put(states)


@keras.saving.register_keras_serializable(package="abp_tf")
class LatentTable(ChainTable):
    """One latent per training example, addressed by the example's number.

    Warm-started chains are those of alternating back-propagation (arXiv 1606.08571).

    Args:
        latent_shape: shape of one latent.
        examples: number of rows; 0 leaves the table empty until `allocate`.
        seed: of the first draw, `N(0, I)`.
    """

    CONTENT = "latents"

    def __init__(self, latent_shape, examples: int = 0, seed: int = 0, **kwargs):
        self.seed = seed
        super().__init__(latent_shape, examples, **kwargs)

    def draw(self, rows: int) -> tf.Tensor:
        """Draw from the prior."""
        return tf.random.stateless_normal([rows, *self.shape], [self.seed, 0])

    def claim(self, examples: int | None, same: bool = True, index=None) -> None:
        """Make sure that the chains are those of the data `fit` is about to use.

        Args:
            examples: number of examples; None where the data do not determine it.
            same: whether the data may be those the chains belong to.
            index: the examples' numbers, where they bring their own.

        Raises:
            ValueError: chains of other data are there, or a number does not fit the table.
        """
        if index is not None:
            examples = self.rows or examples
            checks.index(index, examples)
        if not examples:
            raise ValueError(
                "Persistent chains need the number of training examples, which the dataset does not "
                "determine. Give it: `Generator(..., examples=N)`."
            )
        if self.rows and (self.rows != examples or not same):
            raise ValueError(
                f"The chains belong to {self.rows} other training examples; these are {examples}"
                f"{'' if same else ' with other content'}. Call `model.reset_chains()` to begin with "
                "other data."
            )
        if not self.rows:
            self.allocate(examples)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "latent_shape": self.shape,
            "examples": self.rows,
            "seed": self.seed,
        }


class Pool(ChainTable):
    """Chains of signals that belong to the model, not to examples: persistent contrastive divergence.

    Of each batch some of them go on where an earlier batch left them (Tieleman 2008).

    Args:
        shape: of one signal.
        rows: number of chains.
        start: maps seed pairs `[n, 2]` to the signals `[n, *shape]` that chains begin with.
        seed: of the first draw.
    """

    CONTENT = "signals"

    def __init__(self, shape, rows: int, start: Callable, seed: int = 0, **kwargs):
        self.start = start
        self.seed = seed
        super().__init__(shape, rows, **kwargs)

    def some(
        self, count: tf.Tensor, restart: float, seeds: tf.Tensor, begin: Callable
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Choose some chains to go on with.

        Args:
            count: how many; all, where there are fewer.
            restart: probability that a chain begins anew.
            seeds: two seed pairs, `[2, 2]`: of the choice, and of who begins anew.
            begin: maps numbers of chains `[m]` to the seed pairs `[m, 2]` of those that do.

        Returns:
            their numbers, int64 `[n]`, and where they are, `[n, *shape]`.
        """
        # XLA compiles this: it has no shuffle, and no number of rows that depends on lots.
        places, lots = (
            tf.random.stateless_uniform([self.rows], pair, alg="philox") for pair in tf.unstack(seeds)
        )
        chain = tf.cast(tf.argsort(places)[:count], tf.int64)
        state = self.read(chain)
        if restart:
            again = tf.gather(lots, chain) < restart
            again = tf.reshape(again, [-1] + [1] * len(self.shape))
            state = tf.where(again, self.start(begin(chain)), state)
        return chain, state

    def draw(self, rows: int) -> tf.Tensor:
        """Draw from where chains start."""
        # The iteration before the first.
        seeds = training_seeds(self.seed, PRIOR, -1, tf.range(rows))
        # Compiled, as it is a map over the rows; anew, as settings of the model may have changed.
        return tf.function(self.start).get_concrete_function(seeds)(seeds)

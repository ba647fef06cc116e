"""Tables of the states of persistent chains, which are saved with the model."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling.random import PRIOR, training_seeds


class ChainTable(keras.layers.Layer):
    """Table of the states of persistent chains, one row per chain.

    The states are a raw `tf.Variable`. A step reads and writes its own rows in place, at a cost that
    does not grow with the number of rows. The table is saved with the model but never exported. A
    subclass implements `draw`, which draws the first states of new rows.

    Args:
        shape: shape of one state.
        rows: number of chains; 0 leaves the table empty until `allocate`.
    """

    CONTENT = "states"

    def __init__(self, shape, rows: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        # Not a Keras variable: those are read whole on every gather. The number of rows is open, so
        # that functions traced with the table stay valid when it is allocated anew.
        self.states = tf.Variable(
            tf.zeros([0, *self.shape]),
            shape=[None, *self.shape],
            trainable=False,
            name=self.CONTENT,
        )
        self.allocate(rows)
        self.built = True

    def draw(self, rows: int) -> tf.Tensor:
        """Draw the first states of new chains, float32 `[rows, *shape]`."""
        raise NotImplementedError

    def allocate(self, rows: int) -> None:
        """Replace the table by one of `rows` rows, all drawn anew."""
        self.rows = int(rows)
        self.states.assign(self.draw(self.rows))

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Return the states of the rows `index`, `[n, *shape]`."""
        return tf.gather(self.states, index)

    def write(self, index: tf.Tensor, states: tf.Tensor) -> None:
        """Write `states`, `[n, *shape]`, to the rows `index`."""
        self.states.scatter_update(tf.IndexedSlices(states, index))

    def put(self, states) -> None:
        """Replace the whole table by `states`, `[N, *shape]`."""
        self.rows = len(states)
        self.states.assign(states)

    def save_own_variables(self, store) -> None:
        """Save the chains with the model."""
        store[self.CONTENT] = self.states.numpy()

    def load_own_variables(self, store) -> None:
        """Load the chains that `save_own_variables` saved."""
        states = np.asarray(store[self.CONTENT])
        if states.shape[1:] != self.shape:
            raise ValueError(
                f"Expected saved {self.CONTENT} of shape {self.shape}, received {states.shape[1:]}. "
                "Build the model with the network it was saved with."
            )
        self.put(states)


@keras.saving.register_keras_serializable(package="abp_tf")
class LatentTable(ChainTable):
    """Table of one latent per training example, addressed by the example's number.

    Each visit of an example continues its chain, as in alternating back-propagation (arXiv 1606.08571).

    Args:
        latent_shape: shape of one latent.
        examples: number of rows; 0 leaves the table empty until `allocate`.
        seed: integer seed of the first draw from `N(0, I)`.
    """

    CONTENT = "latents"

    def __init__(self, latent_shape, examples: int = 0, seed: int = 0, **kwargs):
        self.seed = seed
        super().__init__(latent_shape, examples, **kwargs)

    def draw(self, rows: int) -> tf.Tensor:
        """Draw the first latents from `N(0, I)`, float32 `[rows, *latent_shape]`."""
        return tf.random.stateless_normal([rows, *self.shape], [self.seed, 0])

    def moved(self) -> tf.Tensor:
        """Return the numbers of the rows that differ from their first draw, int64 `[m]`."""
        same = tf.equal(self.states, self.draw(self.rows))
        return tf.where(~tf.reduce_all(same, axis=list(range(1, len(self.shape) + 1))))[:, 0]

    def use_for(self, examples: int | None, same: bool = True, index=None) -> None:
        """Prepare the table for the data that `fit` is about to use, or raise an error.

        Args:
            examples: number of examples; None if the data do not determine it.
            same: False if the data are known to differ from those the chains were drawn for.
            index: numbers of the examples, if the data contain them; None otherwise.

        Raises:
            ValueError: if the table holds chains of other data, or an example's number does not fit the
                table.
        """
        if index is not None:
            examples = self.rows or examples
            checks.index(index, examples)
        if not examples:
            raise ValueError(
                "Persistent chains need the number of training examples, which the dataset does not "
                "determine. Pass it: `Generator(..., examples=N)`."
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
    """Pool of chains of signals that belong to the model, not to examples.

    In persistent contrastive divergence (Tieleman 2008) each batch continues some of them from the
    states that earlier batches left.

    Args:
        shape: shape of one signal.
        rows: number of chains.
        start: function that maps seed pairs `[n, 2]` to first signals `[n, *shape]`.
        seed: integer seed of the first draw.
    """

    CONTENT = "signals"

    def __init__(self, shape, rows: int, start: Callable, seed: int = 0, **kwargs):
        self.start = start
        self.seed = seed
        super().__init__(shape, rows, **kwargs)

    def some(
        self, count: tf.Tensor, restart: float, seeds: tf.Tensor, begin: Callable
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Choose some chains of the pool to continue.

        Args:
            count: number of chains; all of them if the pool has fewer.
            restart: probability that a chosen chain restarts from a new draw.
            seeds: two seed pairs, `[2, 2]`: for the choice of chains, and for the choice of those that
                restart.
            begin: function that maps numbers of chains `[m]` to the seed pairs `[m, 2]` of their new
                draws.

        Returns:
            the numbers of the chosen chains, int64 `[n]`, and their states, `[n, *shape]`.
        """
        # Under XLA there is no shuffle, and no number of rows that depends on random numbers.
        order, uniform = (
            tf.random.stateless_uniform([self.rows], pair, alg="philox") for pair in tf.unstack(seeds)
        )
        chain = tf.cast(tf.argsort(order)[:count], tf.int64)
        state = self.read(chain)
        if restart:
            again = tf.gather(uniform, chain) < restart
            again = tf.reshape(again, [-1] + [1] * len(self.shape))
            state = tf.where(again, self.start(begin(chain)), state)
        return chain, state

    def draw(self, rows: int) -> tf.Tensor:
        """Draw the first signals of the chains, float32 `[rows, *shape]`."""
        # -1 is the iteration before the first.
        seeds = training_seeds(self.seed, PRIOR, -1, tf.range(rows))
        # Compiled because it maps over the rows; anew because settings of the model may have changed.
        return tf.function(self.start).get_concrete_function(seeds)(seeds)

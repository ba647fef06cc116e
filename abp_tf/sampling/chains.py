"""Tables of the states of persistent chains, which are saved with the model."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from abp_tf import checks
from abp_tf.distribution.shards import Shards
from abp_tf.sampling.random import PRIOR, training_seeds


class ChainTable(keras.layers.Layer):
    """Table of the states of persistent chains, one row per chain.

    The states are a raw `tf.Variable`. A step reads and writes its own rows in place, at a cost that
    does not grow with the number of rows. The table is saved with the model but never exported. A
    subclass implements `draw`, which draws the first states of new rows.

    Of several processes each keeps the chains of its own shards alone, on its host.

    Args:
        shape: shape of one state.
        rows: number of chains of all processes; 0 leaves the table empty until `allocate`.
        shards: the shards of the chains; None means one, in one process.

    Attributes:
        rows: number of chains of all processes.
        states: states of the chains of this process, float32 `[n, *shape]`, by number.
        apart: whether the chains are saved apart from the model, by `abp_tf.distribution.backup`.
    """

    CONTENT = "states"

    def __init__(self, shape, rows: int = 0, shards: Shards | None = None, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.shards = shards or Shards()
        # Not a Keras variable: those are read whole on every gather. The number of rows is open, so
        # that functions traced with the table stay valid when it is allocated anew.
        self.states = _of_this_process(
            tf.zeros([0, *self.shape]),
            shape=[None, *self.shape],
            trainable=False,
            name=self.CONTENT,
        )
        self.apart = False
        self.allocate(rows)
        self.built = True

    def draw(self, shard: int, rows: int) -> tf.Tensor:
        """Draw the first states of all `rows` chains of a shard, float32 `[rows, *shape]`."""
        raise NotImplementedError

    def allocate(self, rows: int) -> None:
        """Replace the table by one of `rows` rows, all drawn anew."""
        self.rows = int(rows)
        self.states.assign(self._first())

    def _first(self) -> tf.Tensor | np.ndarray:
        """Return the first states of the chains of this process."""
        shards = self.shards
        if shards.count == 1:
            return self.draw(0, self.rows)
        states = np.empty([shards.size_of_own(self.rows), *self.shape], np.float32)
        for shard in shards.own:
            states[shards.rows_of(shard)] = self.draw(shard, shards.size(self.rows, shard))
        return states

    def moved(self) -> tf.Tensor:
        """Return the rows of `states` that differ from their first draw, int64 `[m]`."""
        same = tf.equal(self.states, self._first())
        return tf.where(~tf.reduce_all(same, axis=list(range(1, len(self.shape) + 1))))[:, 0]

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Return the states of the chains `index` of this process, `[n, *shape]`."""
        return tf.gather(self.states, self.shards.row(index))

    def read_own(self, index: np.ndarray) -> tf.Tensor:
        """Return the states of chains, `[n, *shape]`; 0 for those of other processes."""
        mine = index % self.shards.workers == self.shards.worker
        states = np.zeros([len(index), *self.shape], np.float32)
        if mine.any():
            states[mine] = self.read(index[mine])
        return tf.constant(states)

    def write(self, index: tf.Tensor, states: tf.Tensor) -> None:
        """Write `states`, `[n, *shape]`, to the chains `index` of this process."""
        self.states.scatter_update(tf.IndexedSlices(states, self.shards.row(index)))

    def put(self, states, rows: int | None = None) -> None:
        """Replace the whole table by `states`, `[n, *shape]`, those of this process.

        Args:
            states: states of the chains of this process.
            rows: number of chains of all processes; None if there is one process.
        """
        self.rows = len(states) if rows is None else rows
        self.states.assign(states)

    def save_own_variables(self, store) -> None:
        """Save the chains with the model, unless they are saved `apart`."""
        states = self.states.numpy()
        store[self.CONTENT] = states[:0] if self.apart else states

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
    """Table of the latents of each training example, addressed by the example's number.

    Each visit of an example continues its chains, as in alternating back-propagation (arXiv
    1606.08571).

    Args:
        latent_shape: shape of one latent.
        examples: number of examples; 0 leaves the table empty until `allocate`.
        seed: integer seed of the first draw from `N(0, I)`.
        shards: the shards of the examples; None means one, in one process.
        particles: number of chains of each example. Its state is `[particles, *latent_shape]` if there
            are several.
    """

    CONTENT = "latents"

    def __init__(
        self, latent_shape, examples: int = 0, seed: int = 0, shards=None, particles: int = 1, **kwargs
    ):
        self.seed = seed
        self.latent_shape, self.particles = tuple(latent_shape), particles
        several = (particles,) if particles > 1 else ()
        super().__init__((*several, *latent_shape), examples, shards, **kwargs)

    def latents(self, states: tf.Tensor) -> tf.Tensor:
        """Return the latents of states of examples, one row for each chain, `[m, *latent_shape]`."""
        return states if self.particles == 1 else tf.reshape(states, [-1, *self.latent_shape])

    def of_examples(self, latents: tf.Tensor) -> tf.Tensor:
        """Return the states of examples from the latents of their chains, `[n, *shape]`."""
        return latents if self.particles == 1 else tf.reshape(latents, [-1, *self.shape])

    def draw(self, shard: int, rows: int) -> tf.Tensor:
        """Draw the first latents of a shard from `N(0, I)`, float32 `[rows, *latent_shape]`."""
        # As `tf.random.stateless_normal`, which takes the memory of three such arrays on the way.
        ops, seed = tf.raw_ops, tf.constant([self.seed, shard], tf.int64)
        key, counter = ops.StatelessRandomGetKeyCounter(seed=seed)
        alg = ops.StatelessRandomGetAlg()
        shape = [rows, *self.shape]
        return ops.StatelessRandomNormalV2(shape=shape, key=key, counter=counter, alg=alg)

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
        if not examples:
            raise ValueError(
                "Persistent chains need the number of training examples, which the dataset does not "
                "determine. Pass it: `Generator(..., examples=N)`."
            )
        if examples < self.shards.workers:
            raise ValueError(
                f"Persistent chains expected at least one example for each of {self.shards.workers} "
                f"processes, received {examples}. Start fewer processes."
            )
        if index is not None:
            checks.index(index, examples)
            checks.owned(index, self.shards.worker, self.shards.workers)
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
            "latent_shape": self.latent_shape,
            "examples": self.rows,
            "seed": self.seed,
            "particles": self.particles,
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
        shards: the shards of the chains; None means one, in one process.
    """

    CONTENT = "signals"

    def __init__(self, shape, rows: int, start: Callable, seed: int = 0, shards=None, **kwargs):
        self.start = start
        self.seed = seed
        super().__init__(shape, rows, shards, **kwargs)

    def some(
        self, place: tf.Tensor, restart: float, seeds: tf.Tensor, begin: Callable
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Choose some chains of the pool to continue, as many of each shard as there are rows of it.

        Args:
            place: places of the rows in the whole batch, int64 `[m]`: row `k` of shard `v` has the
                place `k · shards + v`. Rows for which a shard has no more chains get none.
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
        count = self.shards.count
        orders = [tf.argsort(order[shard::count]) * count + shard for shard in range(count)]
        least = self.rows // count
        order = tf.reshape(tf.stack([each[:least] for each in orders], axis=1), [-1])
        chain = tf.gather(tf.cast(order, tf.int64), place[: least * count])
        state = self.read(chain)
        if restart:
            again = tf.gather(uniform, chain) < restart
            again = tf.reshape(again, [-1] + [1] * len(self.shape))
            state = tf.where(again, self.start(begin(chain)), state)
        return chain, state

    def draw(self, shard: int, rows: int) -> tf.Tensor:
        """Draw the first signals of the chains of a shard, float32 `[rows, *shape]`."""
        # -1 is the iteration before the first.
        numbers = shard + self.shards.count * tf.range(rows)
        seeds = training_seeds(self.seed, PRIOR, -1, numbers)
        # Compiled because it maps over the rows; anew because settings of the model may have changed.
        return tf.function(self.start).get_concrete_function(seeds)(seeds)


def _of_this_process(value, **options) -> tf.Variable:
    """Return a variable that is not mirrored, also in the scope of a strategy: there, on the host."""
    if not tf.distribute.has_strategy():
        return tf.Variable(value, **options)
    # A strategy makes copies of what `tf.Variable` creates, not of what the class of a copy does.
    mirrored = tf.Variable(0.0, trainable=False)
    [plain, *_] = tf.distribute.get_strategy().experimental_local_results(mirrored)
    with tf.device("/CPU:0"):
        return type(plain)(value, **options)

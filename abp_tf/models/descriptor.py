"""Descriptor: an energy-based ConvNet, trained by maximum likelihood with Langevin dynamics."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.data.streams import require
from abp_tf.distribution import replicas
from abp_tf.errors import DivergenceError
from abp_tf.models import descriptor_signatures, diagnostics
from abp_tf.models.base import SignalModel
from abp_tf.models.batches import place, unpack
from abp_tf.networks.checks import independent_rows, trainable
from abp_tf.observation import masking
from abp_tf.results import AutoEncoding, Score
from abp_tf.sampling import Langevin, Sampler
from abp_tf.sampling.chains import Pool
from abp_tf.sampling.random import CHAIN, DATA, POOL, PRIOR, row_normal, row_uniform
from abp_tf.scaling import Scaling

CHAINS = ("persistent", "short-run", "data")


@keras.saving.register_keras_serializable(package="abp_tf")
class Descriptor(SignalModel):
    """Energy-based model `p(x) ∝ exp f(x; α) · N(x; 0, s² I)`, trained by MCMC maximum likelihood.

    The energy is `U(x) = ‖x‖²/(2s²) − f(x)`. Each step of `fit` draws samples by Langevin dynamics
    along `−∂U/∂x` (*analysis by synthesis*). Then it makes one optimizer step that raises `mean f(data)
    − mean f(samples)`, whose gradient is that of the log-likelihood: exponential tilting of white noise
    (Xie, Lu, Zhu, Wu, "A Theory of Generative ConvNet", ICML 2016, arXiv 1602.03264).

    The defaults are persistent chains of unit gradient steps without reference distribution, `x ← x +
    ∂f/∂x + 0.01 ε`, which is `δ = √2` and `T = (0.01/√2)²` (Nijkamp et al. 2019, arXiv 1904.09770 and
    1903.12370).

    All arguments but `network`, `chains` and `pool` are settings that may be set at any time, and take
    effect in the next call.

    Args:
        network: a built `keras.Model` from signals `[n, *signal_shape]` to `f(x)`, `[n, 1]`, for
            instance `abp_tf.networks.image_descriptor`.
        reference_sigma: s, standard deviation of the reference distribution, in scaled units of the
            signal; infinity means no reference.
        langevin: sampler of training; by default 20 unit gradient steps as described or, with a
            reference, 20 steps of size s/8 at temperature 1.
        inference: sampler of new signals from noise; by default `langevin`, with 20 times as many steps
            if the chains of training continue.
        chains: first states of the chains of a batch: "persistent" takes them from a pool of earlier
            chains; "short-run" draws noise; "data" takes the batch itself (contrastive divergence).
        pool: number of persistent chains.
        restart: probability that a chain of the pool restarts from noise, in [0, 1].
        start_sigma: standard deviation of the Gaussian noise that chains start from, in scaled units;
            None means uniform noise over `value_range` or, without a range, the reference distribution.
        data_noise: standard deviation of Gaussian noise that is added to the data, in scaled units,
            because flat regions of signals need it.
        energy_penalty: weight of the mean of `f²` at data and samples in the loss, 0 or more.
        penalized: "f" to penalize `f²`; "U" to penalize `U²`.
        value_range: interval in which signals must lie, in their own units; None lifts the check.
            "auto" is (-1, 1) without a scaling, and None with one. Samples are never clipped.
        seed: integer seed of all noise and of the order of the examples.
        scaling: `abp_tf.Scaling` of signals in their own units, such as °C, to those of the network;
            None if they are the same.
        shards: number of parts into which examples and pool are divided
            (`abp_tf.distribution.shards`): a multiple of the number of processes, on which alone
            results depend.

    Raises:
        ValueError: if an argument is out of its range, or the network cannot be used.

    Example:
        >>> network = abp_tf.networks.image_descriptor((16, 16, 1), width=4)
        >>> model = abp_tf.Descriptor(network, pool=40)
        >>> model.compile(optimizer=keras.optimizers.Adam(5e-4))
        >>> history = model.fit(images, batch_size=20, epochs=1, verbose=0)
        >>> model.synthesize(4, seed=0, steps=5).shape
        (4, 16, 16, 1)
    """

    adjustable = MappingProxyType(
        {
            "reference_sigma": functools.partial(checks.positive, infinite=True),
            "langevin": checks.instance_of(Sampler),
            "inference": checks.instance_of(Sampler),
            "restart": checks.share,
            "start_sigma": checks.optional_positive,
            "data_noise": checks.not_negative,
            "energy_penalty": checks.not_negative,
            "penalized": checks.one_of("f", "U"),
            "value_range": checks.value_range,
            "seed": checks.integer,
        }
    )
    masked = ()  # without latents, no hidden entry can be decoded

    def __init__(
        self,
        network: keras.Model,
        *,
        reference_sigma: float = math.inf,
        langevin: Sampler | None = None,
        inference: Sampler | None = None,
        chains: str = "persistent",
        pool: int = 1000,
        restart: float = 0.05,
        start_sigma: float | None = None,
        data_noise: float = 0.03,
        energy_penalty: float = 0.0,
        penalized: str = "f",
        value_range: tuple[float, float] | str | None = "auto",
        seed: int = 0,
        scaling: Scaling | None = None,
        shards: int = 1,
        **kwargs,
    ):
        reported = (*diagnostics.CHAIN_MEANS, "acceptance", "score", "energy")
        super().__init__(
            value_range=value_range,
            seed=seed,
            scaling=scaling,
            reported=reported,
            shards=shards,
            **kwargs,
        )
        _check_network(network)
        self.network = network
        self.signal_shape = tuple(network.input_shape[1:])
        self.check_scaling()
        self.reference_sigma = reference_sigma
        unit = Langevin(20, 2**0.5, temperature=0.01**2 / 2)
        free = self.reference_sigma == math.inf
        self.langevin = langevin or (unit if free else Langevin(20, self.reference_sigma / 8))
        longer = 1 if chains == "short-run" else 20
        self.inference = inference or self.langevin.with_steps(longer * self.langevin.steps)
        self.chains = checks.one_of(*CHAINS)("Descriptor", "chains", chains)
        self.pool = checks.integer("Descriptor", "pool", pool, 1)
        self.restart = restart
        self.start_sigma = start_sigma
        self.data_noise = data_noise
        self.energy_penalty = energy_penalty
        self.penalized = penalized
        self._check_together()
        rows = pool if chains == "persistent" else 0
        self.table = Pool(self.signal_shape, rows, self.noise, seed, self.ownership, name="chains")
        self.past = diagnostics.Past(name="past")

    # The model: f, the energy, and the noise that chains start from.

    def call(self, signal: tf.Tensor, time: tf.Tensor | None = None) -> tf.Tensor:
        """Return `f(x)` of signals in the units of the data, float32 `[n]`.

        Args:
            signal: float32 `[n, *signal_shape]`.
            time: times of the signals, `[n]`; needed if the scaling has a period.
        """
        self.times(time, None, "call")
        return self.f(self.scaled(tf.cast(signal, tf.float32), time))

    def f(self, signal: tf.Tensor) -> tf.Tensor:
        """Return `f(x)` of signals in scaled units, `[n, *signal_shape]`: float32 `[n]`."""
        output = tf.cast(self.network(signal, training=False), tf.float32)
        return tf.reshape(output, [-1])

    def energy(self, signal: tf.Tensor) -> tf.Tensor:
        """Return `U(x) = ‖x‖²/(2s²) − f(x)` of each example; all sampling uses this function.

        Args:
            signal: float32 `[n, *signal_shape]`, in scaled units.

        Returns:
            float32 `[n]`, a sum over entries.
        """
        signal = tf.convert_to_tensor(signal)
        return 0.5 / self.reference_sigma**2 * masking.square(signal) - self.f(signal)

    def noise(self, seeds: tf.Tensor) -> tf.Tensor:
        """Draw first states of chains, float32 `[n, *signal_shape]`, from seed pairs `[n, 2]`."""
        shape = list(self.signal_shape)
        if self.start_sigma is None and (ends := self.scaled_range) is not None:
            low, high = ends
            return low + (high - low) * row_uniform(seeds, shape)
        return (self.start_sigma or self.reference_sigma) * row_normal(seeds, shape)

    def fill(
        self, start: tf.Tensor, signal: tf.Tensor, mask: tf.Tensor, sampler: Sampler, seeds: tf.Tensor
    ) -> tf.Tensor:
        """Draw hidden entries by chains given the observed ones.

        Args:
            start: first states, float32 `[n, *signal_shape]`; only hidden entries are used.
            signal: signals, same shape; hidden entries may hold anything.
            mask: same shape; above 0.5 means observed.
            sampler: sampler of the chains.
            seeds: int64 `[n, 2]`, one seed pair per row.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        observed = masking.hide(signal, mask)

        def energy(hidden):
            return self.energy(tf.where(mask > 0.5, observed, hidden))

        filled, _ = sampler.sample(energy, start, seeds)
        return tf.where(mask > 0.5, signal, filled)

    # The algorithm.

    def train_step(self, batch: Any) -> dict:
        """Run one iteration of analysis by synthesis on a batch of examples.

        Returns:
            means over the epoch of the diagnostics of `abp_tf.models.diagnostics.chain_means`, with
            `energy_gap_spread`; and the `acceptance` of the chains if their sampler rejects proposals.
        """
        signal, _, index = unpack(self, batch)
        signal = self.noisy(signal, self.step_seeds(DATA, index))
        mean = replicas.mean_over(index)

        # Synthesis: continue some chains along −∂U/∂x.
        chain, start = self._start(signal, index, place(batch))
        samples, info = self.langevin.sample(self.energy, start, self.step_seeds(CHAIN, chain))

        # Analysis: raise f of the data and lower f of the samples, which are held fixed.
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss, of_data, of_samples = self.contrast(signal, samples, mean)
        gradients = tape.gradient(loss, variables)

        def write(gradients, chain, samples):
            replicas.descend(self.optimizer, gradients, variables)
            if self.chains == "persistent":
                self.table.write(chain, samples)

        means = diagnostics.chain_means(
            loss,
            signal,
            samples,
            of_data,
            of_samples,
            info,
            self.langevin,
            self.scaled_range,
            mean,
        )
        if self.langevin.rejects:
            means["acceptance"] = info.acceptance
        finite = [loss, info.final_energy]
        logs = self.commit(write, means, sums=gradients, rows=(chain, samples), finite=finite)
        return diagnostics.with_spread(logs)

    def contrast(
        self, signal: tf.Tensor, samples: tf.Tensor, mean: Callable = tf.reduce_mean
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the loss of a learning step, `mean f(samples) − mean f(data)` plus the penalty.

        Args:
            signal: data, float32 `[n, *signal_shape]`.
            samples: samples of the model, float32 `[m, *signal_shape]`, held fixed.
            mean: function that averages over the rows of all replicas (`replicas.mean_over`).

        Returns:
            the loss, a scalar; `f` of the data `[n]`; `f` of the samples `[m]`.
        """
        of_data, of_samples = self.f(signal), self.f(samples)
        loss = mean(of_samples) - mean(of_data)
        if self.energy_penalty:
            of_f = self.penalized == "f"
            size = of_data**2 if of_f else self.energy(signal) ** 2
            others = of_samples**2 if of_f else self.energy(samples) ** 2
            loss += self.energy_penalty * (mean(size) + mean(others))
        return loss, of_data, of_samples

    def noisy(self, signal: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Return data `[n, *signal_shape]` with `data_noise` added, drawn from seed pairs `[n, 2]`."""
        if not self.data_noise:
            return signal
        return signal + self.data_noise * row_normal(seeds, list(self.signal_shape))

    def _start(self, signal, index, place) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the numbers `[m]` that seed the noise of the chains, and the first states."""
        if self.chains == "data":
            return index, signal
        if self.chains == "short-run":
            return index, self.noise(self.step_seeds(PRIOR, index))
        return self.table.some(
            self._in_pool(place),
            self.restart,
            self.step_seeds(POOL, tf.range(2)),
            lambda chain: self.step_seeds(PRIOR, chain),
        )

    def _in_pool(self, place) -> tf.Tensor:
        """Return the places of rows in the batch; refuse a batch that is larger than the pool."""
        if self.shards == replicas.count() == 1:
            return place
        chains = self.pool // self.shards * self.shards
        text = (
            f"Descriptor expected batches of at most {chains} rows, one for each chain of the pool in "
            f"the same shard, received more. Build it with a larger pool than {self.pool}."
        )
        with tf.control_dependencies([require(tf.reduce_all(place < chains), text)]):
            return tf.identity(place)

    def test_step(self, batch: Any) -> dict:
        """Report the mean `score`, `f(x)`, and the mean `energy` of a batch."""
        signal, _, _ = unpack(self, batch)
        means = self.score_means(signal)
        self.means.update(means)
        return self.means.results(means)

    def score_means(self, signal: tf.Tensor) -> dict:
        """Return the values that `test_step` reports of signals, `[n]` each, by name."""
        return {"score": self.f(signal), "energy": self.energy(signal)}

    def predict_step(self, batch: Any) -> tf.Tensor:
        """Return `f(x)` of a batch."""
        return self.f(unpack(self, batch)[0])

    # Parts of `SignalModel` that `fit` uses.

    @property
    def tables(self) -> list:
        """The pool of persistent chains."""
        return [self.table]

    def observers(self) -> list:
        """Return the callback that warns of symptoms."""
        return [diagnostics.SymptomAlarm()]

    def accept(
        self, examples: int | None, fingerprint: int, index: np.ndarray | None, masked: bool
    ) -> None:
        """Check the settings; data of any number are accepted, as the chains belong to the model."""
        self._check_together()
        super().accept(examples, fingerprint, index, masked)

    def remedy(self) -> str:
        """Return a text for errors: what diverged, and what to change."""
        return (
            "energies or their gradient are not finite. Lower the learning rate or the step size of "
            f"`langevin` ({self.langevin}), or set an energy_penalty (now {self.energy_penalty:g}); "
            "`abp_tf.callbacks.RollBack` restores the state before and lowers the learning rate."
        )

    def reset_chains(self) -> None:
        """Restart all chains of the pool from noise."""
        self.table.seed = self.seed
        self.table.allocate(self.table.rows)

    def _check_together(self) -> None:
        """Refuse settings that do not fit together."""
        if self.start_sigma is None and self.value_range is None and self.reference_sigma == math.inf:
            raise ValueError(
                "Chains expected a value_range, a reference or a start_sigma for their first states, "
                "received none. Set start_sigma to the standard deviation of their noise: 1 suits data "
                "with a scaling by their deviation."
            )
        for name in ("langevin", "inference"):
            step_size = getattr(self, name).step_size
            stability = (step_size / self.reference_sigma) ** 2 / 4
            if stability >= 1:
                raise ValueError(
                    f"Chains are unstable from the first step: δ²/(4s²) is {stability:.3g} with the "
                    f"step size {step_size:g} of `{name}` and reference_sigma "
                    f"{self.reference_sigma:g}, and must stay below 1. Lower the step size, or raise "
                    "reference_sigma."
                )

    # Methods that take and return arrays.

    def synthesize(
        self,
        count: int,
        *,
        time: ArrayLike | None = None,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        steps: int | None = None,
        from_noise: bool = True,
    ) -> np.ndarray:
        """Draw signals by chains that start from noise or from the pool of persistent chains.

        Args:
            count: number of signals.
            time: times of the signals, one number or `[count]`, in the unit of the scaling's period;
                without effect if there is none.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            batch_size: number of rows that are computed at a time; it bounds memory and does not change
                the result.
            verbose: 1 shows a progress bar.
            steps: number of steps; by default those of `inference` from noise, and those of `langevin`
                from the pool. With 0 the first states are returned.
            from_noise: False continues chains of the pool: the chain of number `seed` modulo the size
                of the pool. The pool itself does not change. Its chains have run longer, and their
                signals look better.

        Returns:
            float32 `[count, *signal_shape]`, not clipped to the value range.

        Raises:
            ValueError: if the count is below 1, or the model has no pool.
            DivergenceError: if values of the chains are not finite.
        """
        checks.integer("synthesize", "count", count, 1)
        seeds, time = checks.seeds(seed, count), self.times(time, count, "synthesize")
        if from_noise:
            return self._run("synthesize", [seeds, *time], batch_size, verbose, steps)["signal"]
        if not self.table.rows:
            raise ValueError(
                f"from_noise=False expected a model with chains='persistent', received "
                f"{self.chains!r}, which has no pool. Use from_noise=True."
            )
        if self.replicas.workers > 1:
            raise ValueError(
                "from_noise=False expected one process, which has the whole pool, received one of "
                f"{self.replicas.workers}. Use from_noise=True."
            )
        start = self.restored(self.table.read(seeds % self.table.rows).numpy(), *time)
        return self._run("refine", [start, seeds, *time], batch_size, verbose, steps)["signal"]

    def refine(
        self,
        signals: examples.SignalsLike,
        *,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        steps: int | None = None,
    ) -> np.ndarray:
        """Revise signals by chains that start from them.

        Args:
            signals: float `[n, *signal_shape]`, finite; they may lie outside the value range, as
                samples do. Or a dict of arrays "signal" and "time".
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
            steps: number of steps; those of `langevin` by default.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        signals, time = self._whole(signals, "refine")
        seeds = checks.seeds(seed, len(signals))
        return self._run("refine", [signals, seeds, *time], batch_size, verbose, steps)["signal"]

    def score(self, signals: examples.SignalsLike, *, batch_size: int = 100, verbose: int = 0) -> Score:
        """Return `f(x)` and the energy `U(x)`; signals of lower energy are likelier.

        Args:
            signals: float `[n, *signal_shape]`, finite; they may lie outside the value range. Or a dict
                of arrays "signal" and "time".
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
        """
        signals, time = self._whole(signals, "score")
        return Score(**self._run("score", [signals, *time], batch_size, verbose))

    def inpaint(
        self,
        signals: examples.SignalsLike,
        mask: ArrayLike | None = None,
        *,
        seed: int | ArrayLike = 0,
        batch_size: int = 100,
        verbose: int = 0,
        steps: int | None = None,
    ) -> np.ndarray:
        """Fill in hidden entries by chains given the observed ones.

        Args:
            signals: float `[n, *signal_shape]` in the value range; hidden entries may hold anything,
                NaN included. Their chains start from noise. Or a dict of arrays "signal", "mask" and
                "time".
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden. None if `signals` has it.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.
            steps: number of steps; those of `inference` by default.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        data = examples.incomplete(signals, mask, self.signal_shape, self.value_range)
        count = len(data.signal)
        inputs = [data.signal, data.mask, checks.seeds(seed, count)]
        inputs += self.times(data.time, count, "inpaint")
        return self._run("inpaint", inputs, batch_size, verbose, steps)["signal"]

    def autoencode(
        self,
        signals: examples.SignalsLike,
        *,
        steps: int = 1000,
        step_size: float | None = None,
        batch_size: int = 100,
        verbose: int = 0,
    ) -> AutoEncoding:
        """Minimize the energy without noise, to signals that the model encodes and decodes exactly.

        At a local minimum of the energy `x = s² ∂f/∂x`. With a piecewise linear network this is a sum
        of top-down filters, selected by the bottom-up pass, that gives the signal itself ("A theory of
        generative ConvNet", arXiv 1602.03264, section 5).

        Args:
            signals: first states, float `[n, *signal_shape]`, finite; or a dict of arrays "signal" and
                "time".
            steps: number of steps of gradient descent.
            step_size: δ; the rate of the descent is `δ²/2`. By default the step size of `langevin`.
            batch_size: number of rows that are computed at a time.
            verbose: 1 shows a progress bar.

        Raises:
            ValueError: if there is no reference distribution, or the network computes in less than
                float32, whose gradients are too coarse.
        """
        if not np.isfinite(self.reference_sigma):
            raise ValueError(
                "autoencode needs a reference distribution, but reference_sigma is infinite: "
                "x = s² ∂f/∂x has no meaning. Build the Descriptor with a finite one."
            )
        for layer in self.network._flatten_layers():
            if layer.compute_dtype != "float32":
                raise ValueError(
                    f"autoencode expected a network that computes in float32, but layer "
                    f"{layer.name!r} computes in {layer.compute_dtype}, too coarse for a minimum. "
                    "Build the network in float32 and copy the weights with `set_weights`."
                )
        signals, time = self._whole(signals, "autoencode")
        own = getattr(self.langevin, "step_size", 0.0)  # a sampler of one's own may have none
        descent = Langevin(steps, step_size or own, temperature=0.0)
        found = self.run("autoencode", [signals, *time], batch_size, verbose, descent=descent)
        return AutoEncoding(**finite(found, descent))

    def signatures(self, steps: int | None = None, descent: Langevin | None = None) -> dict:
        """Return functions of a batch, with the specs of their inputs, by name.

        They are `synthesize(seed)`, `refine(signal, seed)`, `score(signal)` and
        `inpaint(signal, mask, seed)`.

        Args:
            steps: number of steps of the chains; None means as many as the samplers have.
            descent: sampler of a further function, `autoencode(signal)`; None leaves it out.
        """
        return descriptor_signatures.signatures(self, steps, descent)

    def _whole(self, signals, method: str) -> tuple[np.ndarray, list]:
        """Return whole signals of any value, and their times as `times` returns them."""
        parts = examples.parts(signals)
        if "mask" in parts:
            raise ValueError(
                f"{type(self).__name__}.{method} expected whole signals, received a mask. Fill in "
                "hidden entries first, by `inpaint`, or leave out the mask."
            )
        examples.check_keys(parts)
        found = checks.signals(parts["signal"], self.signal_shape, None)
        return found, self.times(parts.get("time"), len(found), method)

    def _run(self, name: str, inputs: list, batch_size, verbose, steps=None) -> dict:
        found = self.run(name, inputs, batch_size, verbose, steps=steps)
        return finite(found, self.langevin if name == "refine" else self.inference)

    # Saving.

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "network": serialize(self.network),
            "reference_sigma": self.reference_sigma,
            "langevin": serialize(self.langevin),
            "inference": serialize(self.inference),
            "chains": self.chains,
            "pool": self.pool,
            "restart": self.restart,
            "start_sigma": self.start_sigma,
            "data_noise": self.data_noise,
            "energy_penalty": self.energy_penalty,
            "penalized": self.penalized,
            "value_range": self.value_range,
            "seed": self.seed,
            "scaling": self.scaling and serialize(self.scaling),
            "shards": self.shards,
        }


def finite(found: dict, sampler: Sampler) -> dict:
    """Return the results of chains; raise an error if they are not finite."""
    if all(np.isfinite(value).all() for value in found.values()):
        return found
    raise DivergenceError(
        f"Signals are not finite after Langevin dynamics with {sampler}. Lower its step size."
    )


def _check_network(network: keras.Model) -> None:
    """Refuse networks that do not compute an energy."""
    trainable(network, "Descriptor")
    independent_rows(network)
    if network.output_shape[1:] not in ((), (1,)):
        raise ValueError(
            "Descriptor expected a network that returns one number per example, shape (None, 1), "
            f"received {network.output_shape}. Sum in the network, for instance with "
            "`output = keras.ops.sum(output, axis=(1, 2, 3))` over the positions and channels of a map."
        )
    if network.outputs[0].dtype not in ("float32", "float64"):
        raise ValueError(
            f"Descriptor expected a network that ends in float32, received {network.outputs[0].dtype}, "
            'in which f is too coarse. Set dtype="float32" in the last layer.'
        )

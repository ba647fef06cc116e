"""What a descriptor is asked once it has learned: synthesize, refine, score, inpaint, autoencode."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from abp_tf import checks, observation, signatures
from abp_tf.answers import Exported
from abp_tf.data import pipeline
from abp_tf.results import AutoEncoding, Score
from abp_tf.sampling import Langevin
from abp_tf.sampling.random import CHAIN, PRIOR, row_seeds


class RevisedAnswers(Exported):
    """Running the signatures of models whose answers come from Langevin dynamics of signals."""

    def _dynamics(self) -> tuple[Langevin, ...]:
        """Return what the signatures depend on; the last revises signals."""
        raise NotImplementedError

    def _ask(self, name: str, inputs: list, steps, batch_size: int, verbose: int) -> dict:
        """Run one signature over rows of `inputs`, `batch_size` at a time."""
        key = (steps, *self._dynamics())
        if key not in self._functions:
            self._functions[key] = signatures.functions(self, steps=steps)
        answer = signatures.ask(self._functions[key][name], inputs, batch_size, verbose)
        return checked(answer, key[-1])


class SignalAnswers(RevisedAnswers):
    """Methods, for models with an energy of signals, that take and return arrays.

    They run the functions of `signatures`, a batch of rows at a time. An answer depends on the row
    and its seed, not on the batch. Signals are not clipped to the value range.
    """

    def synthesize(
        self, count: int, seed=0, steps=None, from_noise=True, batch_size: int = 100, verbose: int = 0
    ):
        """Draw signals by Langevin dynamics, from noise or from the pool of persistent chains.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            steps: number of steps; by default those of `inference` from noise, as in exports, and
                those of `langevin` from the pool. 0 returns the start.
            from_noise: False goes on with chains of the pool, the one of number `seed` modulo its
                size; the pool itself does not change. They have run longer, and look better.
            batch_size: rows at a time; it bounds memory and does not change the answer.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.

        Raises:
            ValueError: for a count below 1, or a pool that there is none of.
            DivergenceError: the chains left the finite numbers.
        """
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = checks.seeds(seed, count)
        if from_noise:
            return self._ask("synthesize", [seeds], steps, batch_size, verbose)["signal"]
        if not self.table.rows:
            raise ValueError(
                "There is no pool of chains to synthesize from; it is kept with chains='persistent'. "
                "Use from_noise=True."
            )
        start = self.table.read(seeds % self.table.rows).numpy()
        return self._ask("refine", [start, seeds], steps, batch_size, verbose)["signal"]

    def refine(self, signals, seed=0, steps=None, batch_size: int = 100, verbose: int = 0):
        """Revise signals by Langevin dynamics that begin with them.

        Args:
            signals: float `[n, *signal_shape]`, finite; they may lie outside the value range, as
                samples do.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            steps: number of steps, those of `langevin` by default.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        signals = checks.signals(signals, self.signal_shape, None)
        seeds = checks.seeds(seed, len(signals))
        return self._ask("refine", [signals, seeds], steps, batch_size, verbose)["signal"]

    def score(self, signals, batch_size: int = 100, verbose: int = 0) -> Score:
        """Tell `f(x)` and the energy `U(x)`: the less energy, the likelier the signal.

        Args:
            signals: as for `refine`.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.
        """
        signals = checks.signals(signals, self.signal_shape, None)
        return Score(**self._ask("score", [signals], None, batch_size, verbose))

    def inpaint(self, signals, mask, seed=0, steps=None, batch_size: int = 100, verbose: int = 0):
        """Fill in what is hidden, by Langevin dynamics of the hidden entries given the others.

        Args:
            signals: float `[n, *signal_shape]` in the value range; hidden entries may hold anything,
                NaN included. They start from noise.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden.
            seed: as for `refine`.
            steps: number of steps, those of `inference` by default.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        inputs = partial(self, signals, mask, seed)
        return self._ask("inpaint", inputs, steps, batch_size, verbose)["signal"]

    def autoencode(
        self, signals, steps: int = 1000, step_size=None, batch_size: int = 100, verbose: int = 0
    ) -> AutoEncoding:
        """Descend the energy without noise, to points that the descriptor encodes and decodes exactly.

        At a local minimum of the energy `x = s² ∂f/∂x`: bottom-up filters and, with a piecewise
        linear network, their top-down sum give back the signal ("A theory of generative ConvNet",
        arXiv 1602.03264, section 5).

        Args:
            signals: as for `refine`; where the descents begin.
            steps: of gradient descent.
            step_size: δ; the rate is `δ²/2`. That of `langevin` by default.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Raises:
            ValueError: without a reference, or with a network that computes in less than float32,
                whose gradients are too coarse.
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
                    "Build the network in float32 and give it these weights: `set_weights`."
                )
        signals = checks.signals(signals, self.signal_shape, None)
        descent = Langevin(steps, step_size or self.langevin.step_size, temperature=0.0)
        specs = [tf.TensorSpec([None, *self.signal_shape], tf.float32)]

        @tf.function(input_signature=specs, autograph=False, jit_compile=False)
        def descend(signal):
            seeds = row_seeds(tf.zeros([tf.shape(signal)[0]], tf.int64), CHAIN)
            signal, _ = descent.sample(self.energy, signal, seeds)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(signal)
                f = tf.reduce_sum(self(signal))
            residual = signal - self.reference_sigma**2 * tape.gradient(f, signal)
            return {"signal": signal, "residual": tf.sqrt(observation.square(residual))}

        return AutoEncoding(**checked(signatures.ask(descend, [signals], batch_size, verbose), descent))

    def signatures(self, steps: int | None = None) -> dict:
        """Return the functions that answer, and the specs of their inputs.

        They are `synthesize(seed)`, `refine(signal, seed)`, `score(signal)` and
        `inpaint(signal, mask, seed)`.

        Args:
            steps: in the place of the numbers of steps that are set.
        """
        change = {} if steps is None else {"steps": steps}
        langevin = dataclasses.replace(self.langevin, **change)
        inference = dataclasses.replace(self.inference, **change)
        seeds = tf.TensorSpec([None], tf.int64, name="seed")
        signals = tf.TensorSpec([None, *self.signal_shape], tf.float32, name="signal")
        masks = tf.TensorSpec([None, *self.signal_shape], tf.float32, name="mask")

        def synthesize(seed):
            start = self.noise(row_seeds(seed, PRIOR))
            return {"signal": inference.sample(self.energy, start, row_seeds(seed, CHAIN))[0]}

        def refine(signal, seed):
            return {"signal": langevin.sample(self.energy, signal, row_seeds(seed, CHAIN))[0]}

        def score(signal):
            return {"score": self(signal), "energy": self.energy(signal)}

        def inpaint(signal, mask, seed):
            start = self.noise(row_seeds(seed, PRIOR))
            return {"signal": self.fill(start, signal, mask, inference, row_seeds(seed, CHAIN))}

        return {
            synthesize: [seeds],
            refine: [signals, seeds],
            score: [signals],
            inpaint: [signals, masks, seeds],
        }

    def fill(self, start, signal, mask, langevin: Langevin, seeds) -> tf.Tensor:
        """Run Langevin dynamics on the hidden entries given the others.

        Args:
            start: where hidden entries begin, float32 `[n, *signal_shape]`; others do not matter.
            signal: same shape; hidden entries may hold anything.
            mask: same shape, above 0.5 = observed.
            langevin: steps and step size.
            seeds: int64 `[n, 2]`, seed pairs of the noise.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        seen = observation.hide(signal, mask)

        def energy(hidden):
            return self.energy(tf.where(mask > 0.5, seen, hidden))

        filled, _ = langevin.sample(energy, start, seeds)
        return tf.where(mask > 0.5, signal, filled)

    def _dynamics(self) -> tuple[Langevin, ...]:
        return self.langevin, self.inference


def partial(model, signals, mask, seed) -> list:
    """Check what `inpaint` is given; return signals, a mask of their shape, and a seed per row."""
    if mask is None:
        raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
    parts = {"signal": signals, "mask": mask}
    data = pipeline.examples(parts, model.signal_shape, model.value_range)
    full = np.broadcast_to(data.mask, data.signal.shape)
    return [data.signal, full, checks.seeds(seed, len(data.signal))]


def checked(answer: dict, langevin: Langevin) -> dict:
    """Return the answer, or say that chains diverged."""
    if all(np.isfinite(value).all() for value in answer.values()):
        return answer
    raise checks.DivergenceError(
        f"Signals left the finite numbers during Langevin dynamics. Lower its step size: {langevin}."
    )

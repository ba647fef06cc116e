"""What a model with latents is asked once it has learned: infer, reconstruct, inpaint, synthesize."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from abp_tf import checks, signatures
from abp_tf.completions import Completions, PosteriorChains
from abp_tf.data import pipeline
from abp_tf.operators import Observed


class Exported(Observed):
    """`export`, for models with `signatures` and `exported_layers`."""

    def export(self, filepath, **kwargs):
        """Write a SavedModel with the model's signatures; see `abp_tf.signatures.export`.

        Args:
            filepath: the version directory, `…/<name>/<number>`, which must not exist.
            **kwargs: none; what `keras.Model.export` takes besides is refused.

        Returns:
            The path written.
        """
        if kwargs:
            raise ValueError(
                f"{type(self).__name__}.export takes a path alone, received {sorted(kwargs)}. The "
                "signatures and their inputs are fixed."
            )
        return signatures.export(self, filepath)


class LatentAnswers(PosteriorChains, Exported):
    """Methods, for models with `prior`, `decode` and `posterior`, that take and return arrays.

    They run the functions of `signatures`, a batch of rows at a time. An answer depends on the row
    and its seed, not on the batch.
    """

    def observe(self, signals, batch_size: int = 100) -> np.ndarray:
        """Return what the model would see of whole signals: `S x` without noise.

        Args:
            signals: float `[n, *signal_shape]` in the model's value range.
            batch_size: rows at a time.

        Returns:
            float32 `[n, *observed_shape]`; the signals themselves without an `observation`.
        """
        signals = checks.signals(signals, self.signal_shape, self.value_range)
        if self.observation is None:
            return signals
        parts = range(0, len(signals), batch_size)
        seen = (self.observation(tf.constant(signals[at : at + batch_size])) for at in parts)
        return np.concatenate(list(seen))

    def infer(
        self, signals, mask=None, seed=0, batch_size: int = 100, verbose: int = 0, restarts: int = 1
    ) -> np.ndarray:
        """Infer the latents of signals by test-time Langevin dynamics from the prior.

        Args:
            signals: float `[n, *observed_shape]`, which is the shape of the signals unless the model
                has an `observation`, in the range of the data; hidden entries may hold anything, NaN
                included.
            mask: bool or 0/1, `[n, *observed_shape]` or without the channel axis; 1 = observed,
                0 = hidden. None: all is observed.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: rows at a time; it bounds memory and does not change the answer.
            verbose: 1 shows a progress bar.
            restarts: number of chains of each row, of which the one of least energy is kept; the
                first is that of restarts=1. More help where chains get stuck in a mode.

        Returns:
            float32 `[n, *latent_shape]`.

        Raises:
            ValueError: for signals or a mask of another shape, dtype or range.
            DivergenceError: the chains left the finite numbers.
        """
        data = self._data(signals, mask)
        return self._best(data, seed, batch_size, verbose, restarts)

    def reconstruct(
        self,
        signals,
        mask=None,
        seed=0,
        batch_size: int = 100,
        verbose: int = 0,
        samples: int | None = None,
        restarts: int = 1,
        chains: int | None = None,
    ) -> np.ndarray | Completions:
        """Infer the latents of signals and decode them; arguments as for `infer`.

        Args:
            signals: see `infer`, as for all arguments not listed here.
            mask: see above.
            seed: see above.
            batch_size: see above.
            verbose: see above.
            samples: k for k draws from the posterior, by chains of as many noisy steps as
                `inference` has and none without noise; None for one answer, whose chain cools down.
            restarts: see above; not with samples, of which none is better than another.
            chains: number of chains that the samples of a row come from, of which it is a divisor; one
                for each by default. Fewer take fewer steps: a chain gives its first sample after all
                noisy steps, and each further one after a tenth as many, more or less like the last.

        Returns:
            float32 `[n, *signal_shape]`, all entries decoded, observed ones too (see `inpaint`); or
            `Completions`, with samples.
        """
        data = self._data(signals, mask)
        return self._whole(data, seed, batch_size, verbose, samples, restarts, chains)

    def inpaint(
        self,
        signals,
        mask,
        seed=0,
        batch_size: int = 100,
        verbose: int = 0,
        samples: int | None = None,
        restarts: int = 1,
        chains: int | None = None,
    ) -> np.ndarray | Completions:
        """Fill in what is hidden, once or with several draws; arguments as for `reconstruct`.

        Returns:
            float32 `[n, *signal_shape]`: observed entries untouched, hidden ones decoded from the
            latents inferred from what is observed; or such `Completions`, with samples: where an entry
            is observed, all samples are alike and the deviation is 0.

        Raises:
            ValueError: as for `infer`; for a model with an `observation`.
        """
        if self.observation is not None:
            raise ValueError(
                "inpaint keeps observed entries of the signals, but this model sees none of them: it "
                f"observes signals through {self.observation}. Use `reconstruct(signals, mask)`."
            )
        if mask is None:
            raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
        data = self._data(signals, mask)
        seen = data.mask
        whole = self._whole(data, seed, batch_size, verbose, samples, restarts, chains)
        if samples is None:
            return np.where(seen, data.signal, whole)
        return Completions(
            np.where(seen[:, None], data.signal[:, None], whole.samples),
            np.where(seen, data.signal, whole.mean),
            np.where(seen, np.float32(0), whole.deviation),
        )

    def synthesize(self, count: int, seed=0, batch_size: int = 100, verbose: int = 0):
        """Decode draws from the prior, `z ~ N(0, I)`.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = checks.seeds(seed, count)
        return self._ask("synthesize", [seeds], batch_size, verbose)["signal"]

    def interpolate(self, signals, weights, mask=None, seed=0):
        """Decode combinations of the latents of signals.

        Args:
            signals: float `[m, *observed_shape]`.
            weights: float `[r, m]`; each row combines the `m` latents into one. `line`, `arc` and
                `square` of `abp_tf.interpolation` make such rows for two or four signals.
            mask: as for `infer`.
            seed: as for `infer`.

        Returns:
            float32 `[r, *signal_shape]`.
        """
        weights = np.asarray(weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != len(signals):
            raise ValueError(
                f"interpolate expected weights of shape ('r', {len(signals)}), one column per signal, "
                f"received {weights.shape}."
            )
        latents = self.infer(signals, mask, seed)
        return self._decoded(np.tensordot(weights, latents, axes=1))

    def signatures(self, **options) -> dict:
        """Return the functions that answer; see `signatures.of_latents`, for options too."""
        return signatures.of_latents(self, **options)

    def _data(self, signals, mask) -> pipeline.Examples:
        parts = {"signal": signals} if mask is None else {"signal": signals, "mask": mask}
        return pipeline.examples(parts, self.observed_shape, self.observed_range)

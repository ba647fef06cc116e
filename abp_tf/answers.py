"""What a model with latents is asked once it has learned: infer, reconstruct, inpaint, synthesize."""

from __future__ import annotations

import keras
import numpy as np

from abp_tf import checks, signatures
from abp_tf.data import pipeline


class Exported:
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


class LatentAnswers(Exported):
    """Methods, for models with `prior`, `decode` and `posterior`, that take and return arrays.

    They run the functions of `signatures`, a batch of rows at a time. An answer depends on the row
    and its seed, not on the batch.
    """

    def infer(self, signals, mask=None, seed=0, batch_size: int = 100, verbose: int = 0):
        """Infer the latents of signals by test-time Langevin dynamics from the prior.

        Args:
            signals: float `[n, *signal_shape]` in the model's value range; hidden entries may hold
                anything, NaN included.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden. None: all is observed.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            batch_size: rows at a time; it bounds memory and does not change the answer.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *latent_shape]`.

        Raises:
            ValueError: for signals or a mask of another shape, dtype or range.
            DivergenceError: the chains left the finite numbers.
        """
        return self._posterior(signals, mask, seed, batch_size, verbose)["latent"]

    def reconstruct(self, signals, mask=None, seed=0, batch_size: int = 100, verbose: int = 0):
        """Infer the latents of signals and decode them; arguments as for `infer`.

        Returns:
            float32 `[n, *signal_shape]`, all entries decoded, observed ones too (see `inpaint`).
        """
        answer = self._posterior(signals, mask, seed, batch_size, verbose)
        return answer["signal"] if mask is None else self._ask("decode", [answer["latent"]])["signal"]

    def inpaint(self, signals, mask, seed=0, batch_size: int = 100, verbose: int = 0):
        """Fill in what is hidden; arguments as for `infer`.

        Returns:
            float32 `[n, *signal_shape]`: observed entries untouched, hidden ones decoded from the
            latents inferred from what is observed.
        """
        if mask is None:
            raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
        return self._posterior(signals, mask, seed, batch_size, verbose)["signal"]

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
            signals: float `[m, *signal_shape]`.
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
        return self._ask("decode", [np.tensordot(weights, latents, axes=1)])["signal"]

    def signatures(self) -> dict:
        """Return the functions that answer; see `signatures.of_latents`."""
        return signatures.of_latents(self)

    def _posterior(self, signals, mask, seed, batch_size, verbose) -> dict:
        parts = {"signal": signals} if mask is None else {"signal": signals, "mask": mask}
        data = pipeline.examples(parts, self.signal_shape, self.value_range)
        inputs = [data.signal, checks.seeds(seed, len(data.signal))]
        if mask is None:
            return self._ask("reconstruct", inputs, batch_size, verbose)
        full = np.broadcast_to(data.mask, data.signal.shape)
        return self._ask("inpaint", [inputs[0], full, inputs[1]], batch_size, verbose)

    def _ask(self, name: str, inputs: list, batch_size: int = 100, verbose: int = 0) -> dict:
        """Run one signature over rows of `inputs`, `batch_size` at a time."""
        if self._functions is None:
            self._functions = signatures.functions(self)
        answer = ask(self._functions[name], inputs, batch_size, verbose)
        # Observed entries are returned as they came, so only what was inferred can have gone wrong.
        if "latent" in answer and not np.isfinite(answer["latent"]).all():
            raise checks.DivergenceError(
                "Latents left the finite numbers during inference. Lower the step size: "
                f"`model.inference` is {self.inference}."
            )
        return answer


def ask(function, inputs: list, batch_size: int = 100, verbose: int = 0) -> dict:
    """Run a function over rows of arrays, some at a time.

    Args:
        function: a `tf.function` with an input signature that returns a dict of tensors; all inputs
            and outputs have the batch axis first.
        inputs: one array per input, of `n` rows each.
        batch_size: rows at a time.
        verbose: 1 shows a progress bar.

    Returns:
        NumPy arrays of `n` rows by name.
    """
    dtypes = [spec.dtype.as_numpy_dtype for spec in function.input_signature]
    count = len(inputs[0])
    progress = keras.utils.Progbar(count, verbose=verbose, unit_name="row")
    answers = []
    for start in range(0, count, batch_size):
        rows = slice(start, start + batch_size)
        batch = [part[rows].astype(dtype) for part, dtype in zip(inputs, dtypes, strict=True)]
        answers.append({key: value.numpy() for key, value in function(*batch).items()})
        progress.update(min(start + batch_size, count))
    return {key: np.concatenate([part[key] for part in answers]) for key in answers[0]}

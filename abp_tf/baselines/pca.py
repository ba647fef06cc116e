"""Probabilistic PCA, by an SVD of complete signals or by EM from incomplete ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.data import examples
from abp_tf.sampling.random import PRIOR, row_normal, row_seeds

_ROWS = 500  # posteriors held at a time
_FAINT = 1e-6  # weight of priors that matter only where there are no data


class PCA:
    """Principal components of complete or incomplete data: `x = W z + μ + σ ε`, `z ~ N(0, I)`.

    Complete data are decomposed exactly. From incomplete data the same model is estimated by
    expectation-maximisation that uses observed entries only: each example has the posterior of its own
    mask (Tipping, Bishop, "Probabilistic principal component analysis", JRSS B 61, 1999; Ilin, Raiko,
    "Practical approaches to principal component analysis in the presence of missing values", JMLR 11,
    2010). It computes in float64.

    Args:
        components: number of principal components, d; with 0 each hidden entry is filled in with the
            mean of the training examples that observe it.
        iterations: largest number of iterations of EM; it stops when σ changes by less than one in a
            thousand.
        ridge: strength of the prior of W's entries in EM, `N(0, σ²/ridge)`; 0 or more. It keeps σ from
            going to 0 if examples have fewer observed entries than there are components, and so
            protects new signals. Complete data do not use it.
        value_range: interval in which signals must lie, and to which decoded ones are clipped; None
            turns both off.

    Raises:
        ValueError: if an argument is out of its range.

    Attributes:
        mean: μ, float64 `[*signal_shape]`.
        loading: W, float64 `[entries, d]`.
        sigma: σ, in units of the signal.

    Example:
        >>> model = PCA(20).fit({"signal": images, "mask": masks})
        >>> model.inpaint(images[:4], masks[:4]).shape
        (4, 16, 16, 1)
    """

    def __init__(
        self,
        components: int,
        iterations: int = 50,
        ridge: float = 10.0,
        value_range: tuple[float, float] | None = (-1.0, 1.0),
    ):
        for name, value, least in (("components", components, 0), ("iterations", iterations, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"PCA expected `{name}` to be an integer of {least} or more, received {value!r}."
                )
        if not 0 <= ridge < float("inf"):
            raise ValueError(f"PCA expected a `ridge` of 0 or more, received {ridge!r}.")
        self.components = components
        self.iterations = iterations
        self.ridge = float(ridge)
        self.value_range = None if value_range is None else (value_range[0], value_range[1])
        self.signal_shape: tuple[int, ...] | None = None

    def fit(self, x: examples.SignalsLike) -> PCA:
        """Estimate the model from signals.

        Args:
            x: float array `[n, *signal_shape]`, or a dict of arrays "signal" and "mask" (1 = observed,
                0 = hidden); hidden entries may hold anything.

        Returns:
            The model itself.

        Raises:
            ValueError: if the data cannot be used, or there are more components than examples or
                entries.
        """
        signal: Any = examples.parts(x).get("signal")
        if isinstance(signal, tf.data.Dataset) or np.ndim(signal) < 2:
            raise ValueError(
                "PCA.fit expected arrays of shape ('n', *signal_shape), received "
                f"{type(signal).__name__} of shape {np.shape(signal)}. Collect datasets into arrays."
            )
        shape = np.shape(signal)[1:]
        data = examples.examples(x, shape, self.value_range)
        count, entries = len(data.signal), int(np.prod(shape))
        if self.components >= min(count, entries):
            raise ValueError(
                f"PCA expected fewer components than examples and entries, received {self.components} "
                f"for {count} examples of {entries} entries. Lower `components`."
            )
        observed = None
        if data.mask is not None:
            observed = np.broadcast_to(data.mask, data.signal.shape).reshape(count, entries)
        values = data.signal.reshape(count, entries)
        if observed is None or observed.all():
            self._decompose(values.astype(np.float64))
        else:
            values = np.where(observed, values, 0)
            self._maximise(values.astype(np.float64), observed.astype(np.float64))
        self.signal_shape = shape
        return self

    def _decompose(self, values) -> None:
        """Maximize the likelihood of complete data, by a singular value decomposition."""
        count, entries = values.shape
        self._mean = values.mean(0)
        _, singular, rows = np.linalg.svd(values - self._mean, full_matrices=False)
        # Divided by n, not n − 1, as at the maximum of the likelihood.
        variances = singular**2 / count
        kept, rest = variances[: self.components], variances[self.components :]
        self._set_noise(rest.sum() / (entries - self.components))
        scale = np.sqrt(np.maximum(kept - self._variance, 0))
        self.loading = rows[: self.components].T * scale

    def _maximise(self, values, observed) -> None:
        """Maximize the likelihood of incomplete data, by EM; hidden `values` are 0."""
        overall = values.sum() / observed.sum()
        # An entry that no example observes has the mean of all others.
        mean = (values.sum(0) + _FAINT * overall) / (observed.sum(0) + _FAINT)
        # First estimate: the principal components of the data with the mean filled in.
        self._decompose(np.where(observed > 0, values, mean))
        for _ in range(self.iterations):
            before = self._variance
            self._step(values, observed, overall)
            if abs(self._variance / before - 1) < 2e-3:
                break

    def _step(self, values, observed, overall) -> None:
        """Run one iteration: the posteriors of all examples, then the likeliest W, μ and σ."""
        size, entries = self.components + 1, values.shape[1]
        pairs = np.triu_indices(size)
        second = np.zeros((entries, len(pairs[0])))  # Σ E[z zᵀ], examples that observe the entry
        first = np.zeros((entries, size))  # Σ x E[z]
        for rows in self._batches(len(values)):
            latent, covariance = self._posterior(values[rows], observed[rows])
            # With a 1 as a last latent, μ is a last column of W.
            latent = np.pad(latent, ((0, 0), (0, 1)), constant_values=1)
            moment = latent[:, :, None] * latent[:, None, :]
            moment[:, :-1, :-1] += covariance
            second += observed[rows].T @ moment[:, *pairs]
            first += (observed[rows] * values[rows]).T @ latent
        precision = np.zeros((entries, size, size))
        precision[:, *pairs] = precision[:, pairs[1], pairs[0]] = second
        # Priors: W near 0, and μ of an entry that no example observes at the mean of all.
        prior = np.full(size, self.ridge + _FAINT)
        prior[-1] = _FAINT
        aim = np.zeros(size)
        aim[-1] = overall
        solved = np.linalg.solve(precision + np.diag(prior), (first + prior * aim)[..., None])[..., 0]
        self.loading, self._mean = solved[:, :-1], solved[:, -1]
        fitted = np.einsum("ji,jik,jk->", solved, precision, solved)
        misfit = np.sum(observed * values**2) - 2 * np.sum(first * solved) + fitted
        # The prior of W contributes too, because its width depends on σ.
        misfit += self.ridge * np.sum(self.loading**2)
        self._set_noise(misfit / (observed.sum() + (self.ridge > 0) * self.loading.size))

    def _set_noise(self, variance) -> None:
        # Above 0, so that the posterior has a covariance, even with few observed entries.
        self._variance = max(float(variance), 1e-8)

    @staticmethod
    def _batches(count):
        return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))

    def _posterior(self, values, observed):
        """Return mean `[n, d]` and covariance `[n, d, d]` of latents given observed entries.

        The posterior is `N(M⁻¹ Wᵀ(x − μ), σ² M⁻¹)` with `M = WᵀW + σ² I` and the observed rows of W.
        """
        size = self.components
        pairs = np.triu_indices(size)
        outer = self.loading[:, pairs[0]] * self.loading[:, pairs[1]]
        precision = np.empty((len(values), size, size))
        precision[:, *pairs] = precision[:, pairs[1], pairs[0]] = observed @ outer
        precision += self._variance * np.eye(size)
        inverse = np.linalg.inv(precision)
        projected = (observed * (values - self._mean)) @ self.loading
        return np.einsum("nij,nj->ni", inverse, projected), self._variance * inverse

    @property
    def mean(self) -> np.ndarray:
        """μ, in the shape of a signal."""
        return self._mean.reshape(self.signal_shape)

    @property
    def sigma(self) -> float:
        """σ, in units of the signal."""
        return self._variance**0.5

    # Methods that take and return arrays.

    def infer(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, seed: int | ArrayLike = 0
    ) -> np.ndarray:
        """Return the posterior mean of the latents.

        Args:
            signals: float `[n, *signal_shape]`; hidden entries may hold anything, NaN included.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None means that all is observed.
            seed: ignored, because nothing is drawn; other models use it.

        Returns:
            float64 `[n, d]`.
        """
        shape = self._fitted_shape()
        data = examples.examples(examples.masked(signals, mask), shape, self.value_range)
        flat = data.signal.reshape(len(data.signal), -1).astype(np.float64)
        if data.mask is None:
            observed = np.ones_like(flat)
        else:
            observed = np.broadcast_to(data.mask, data.signal.shape).reshape(flat.shape)
            flat, observed = np.where(observed, flat, 0), observed.astype(np.float64)
        batches = (self._posterior(flat[rows], observed[rows])[0] for rows in self._batches(len(flat)))
        return np.concatenate(list(batches))

    def reconstruct(
        self, signals: examples.SignalsLike, mask: ArrayLike | None = None, seed: int | ArrayLike = 0
    ) -> np.ndarray:
        """Return the conditional mean of whole signals given the observed entries.

        A complete signal is projected onto the principal components, as in PCA, which is the limit
        without noise. The arguments are those of `infer`.

        Returns:
            float32 `[n, *signal_shape]`, all entries decoded, observed ones too (see `inpaint`).
        """
        latents = self.infer(signals, mask)
        if mask is None and checks.parted(signals)[1] is None:
            # The posterior mean, without its shrinkage towards 0.
            gram = self.loading.T @ self.loading
            latents = latents @ (gram + self._variance * np.eye(self.components)) @ np.linalg.pinv(gram)
        return self._decode(latents)

    def inpaint(
        self, signals: examples.SignalsLike, mask: ArrayLike | None, seed: int | ArrayLike = 0
    ) -> np.ndarray:
        """Fill in hidden entries with their conditional mean; the arguments are those of `infer`.

        Returns:
            float32 `[n, *signal_shape]`: observed entries untouched.
        """
        data = examples.incomplete(signals, mask, self._fitted_shape(), self.value_range)
        return np.where(np.asarray(data.mask), data.signal, self.reconstruct(signals, mask))

    def synthesize(self, count: int, seed: int | ArrayLike = 0) -> np.ndarray:
        """Decode draws from the prior, `z ~ N(0, I)`, without noise.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        self._fitted_shape()
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = row_seeds(checks.seeds(seed, count), PRIOR)
        return self._decode(row_normal(seeds, [self.components]).numpy())

    def _decode(self, latents) -> np.ndarray:
        signal = (latents @ self.loading.T + self._mean).astype(np.float32)
        if self.value_range is not None:
            signal = np.clip(signal, *self.value_range)
        return signal.reshape(-1, *self._fitted_shape())

    def _fitted_shape(self) -> tuple[int, ...]:
        """Return the shape of a signal, or raise an error before the fit."""
        if self.signal_shape is None:
            raise ValueError("PCA expected to be fitted before this call. Call `fit(signals)` first.")
        return self.signal_shape

"""Gaussian fields on the points of a grid, with latents for each frame, given noisy observations."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from abp_tf import extras
from abp_tf.errors import ConvergenceError

with extras.needed("fields"):
    import scipy.sparse as sparse
    import scipy.sparse.linalg as solvers

ITERATIONS = 500  # of conjugate gradients, at most
FLAT = 0.002  # decay of means that frames share


def differences(domain: np.ndarray) -> sparse.csr_matrix:
    """Return the matrix of differences between neighbouring points of a domain.

    Args:
        domain: bool `[*axes, channels]`, True where the field is. Points are neighbours along an axis;
            channels have no neighbours.

    Returns:
        float `[pairs, points]`, a row with 1 and −1 for each pair.

    Example:
        >>> domain = np.array([[True, True], [False, True]])[..., None]
        >>> differences(domain).toarray().astype(int).tolist()
        [[0, -1, 1], [-1, 1, 0]]
    """
    number = np.full(domain.shape, -1)
    number[domain] = np.arange(domain.sum())
    pairs = []
    for axis in range(domain.ndim - 1):
        first = np.take(number, range(domain.shape[axis] - 1), axis).ravel()
        second = np.take(number, range(1, domain.shape[axis]), axis).ravel()
        inside = (first >= 0) & (second >= 0)
        pairs.append(np.stack([first[inside], second[inside]]))
    first, second = np.concatenate(pairs, axis=1)
    rows = np.arange(len(first))
    values = np.concatenate([-np.ones(len(rows)), np.ones(len(rows))])
    shape = (len(rows), int(domain.sum()))
    return sparse.csr_matrix((values, (np.r_[rows, rows], np.r_[first, second])), shape)


def steps(times: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """Return the matrix of differences between successive frames, float `[n − 1, n]`.

    A difference over `Δt` is divided by `√Δt`, as that of a random walk.

    Args:
        times: times of the frames, float `[n]`, increasing.
        unit: the `Δt` that counts as 1.
    """
    gaps = np.diff(times)
    weights = np.sqrt(unit / gaps)
    found = np.zeros((len(gaps), len(times)))
    rows = np.arange(len(gaps))
    found[rows, rows], found[rows, rows + 1] = -weights, weights
    return found


def factorized(matrix: sparse.csc_matrix) -> solvers.SuperLU:
    """Return the factorization of a sparse matrix that is symmetric and positive definite."""
    return solvers.splu(
        matrix.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


class Roughness(NamedTuple):
    """Precisions of the field `u` of a lattice, in units of 1 / variance of the data.

    The density of `u` is that of a Gaussian Markov random field: `−2 log p(u) = q (Σ (u_i − u_j)² over
    neighbours in space + ρ Σ (u_t − u_s)² / Δt over successive frames + κ² Σ u_i²)`, the first-order
    field of Lindgren, Rue, Lindström (JRSS B 73, 2011).

    Attributes:
        space: q, how strongly neighbours agree; positive.
        time: ρ, how strongly successive frames agree beside neighbours; 0 for independent frames.
        decay: κ, the inverse of the length over which the field returns to 0, in points; positive.
    """

    space: float = 1.0
    time: float = 0.0
    decay: float = 0.02


class Lattice:
    """Posterior of `y = M (u + B z) + σ ε`: a field `u` and latents `z` of each frame.

    The equations are solved exactly: by a factorization of each frame's sparse matrix, and, if fields
    or latents of frames depend on each other, by conjugate gradients that these factorizations
    precondition.

    Args:
        space: matrix of `differences`.
        time: matrix of `steps`, for as many frames as there are data.
        mask: bool `[frames, points]`, True where observed.
        roughness: prior of the field.
        noise: σ², variance of the noise: a number, or float `[frames, points]`, positive.

    Attributes:
        loading: B, float `[points, latents]`.
        precision: precision of the prior of each latent, float `[latents]`, or between frames,
            `[latents, frames, frames]`.
        gain: response of each frame's field to its latents, float `[points, latents]` each.
        latent_covariance: posterior covariance of the latents of each frame, given the fields of the
            others, float `[frames, latents, latents]`.
    """

    def __init__(self, space, time, mask: np.ndarray, roughness: Roughness, noise):
        self.space, self.time, self.roughness, self.noise = space, time, roughness, noise
        self.observed = mask.astype(float)
        self.known = self.observed / noise  # precision of each observation
        self._laplacian = (space.T @ space).tocsc()
        self._steps = time.T @ time
        decay = sparse.identity(mask.shape[1], format="csc") * roughness.decay**2
        own = roughness.time * np.diag(self._steps)

        @functools.cache  # frames of one mask and one noise share a factorization
        def factor(row: bytes, of_time: float):
            prior = self._laplacian + decay + of_time * sparse.identity(mask.shape[1])
            seen = sparse.diags(np.frombuffer(row))
            return factorized(roughness.space * prior + seen)

        self._factors = [
            factor(row.tobytes(), of_time) for row, of_time in zip(self.known, own, strict=True)
        ]
        self.load(np.zeros((mask.shape[1], 0)), np.zeros(0))

    def load(self, loading: np.ndarray, precision: np.ndarray) -> None:
        """Set the loading B of the latents, and the precision of their prior."""
        self.loading, self.precision = loading, precision

        @functools.cache  # by the factorization, which several frames may share
        def response(number: int) -> tuple[np.ndarray, np.ndarray]:
            """Return `F⁻¹ Mᵀ B / σ²` of a frame, and the precision of its latents without its field."""
            seen = self.known[number, :, None] * loading
            gain = self._factors[number].solve(seen) if loading.size else seen
            return gain, seen.T @ (loading - gain)

        first = {id(factor): number for number, factor in reversed([*enumerate(self._factors)])}
        found = [response(first[id(factor)]) for factor in self._factors]
        self.gain = [gain for gain, _ in found]
        seen = np.stack([of_frame for _, of_frame in found])
        own = precision if precision.ndim == 1 else np.diagonal(precision, axis1=1, axis2=2).T
        self.latent_covariance = np.linalg.inv(seen + own[..., None] * np.eye(loading.shape[1]))

    def smooth_mean(self, data: np.ndarray, variance: float, *, whole: bool = False) -> np.ndarray:
        """Return the posterior mean of a mean that frames share, `[points]`.

        Its prior is that of the field, but for its variance and for a decay near 0.

        Args:
            data: float `[frames, points]`; hidden entries are not used.
            variance: variance of differences of the mean, relative to that of the field.
            whole: whether the data are whole frames without noise; if not, residuals about the mean
                count as noise of variance 1, independent for each observed entry.
        """
        flat = FLAT**2 * sparse.identity(data.shape[1])
        prior = self.roughness.space / variance * (self._laplacian + flat)
        if whole:
            decay = self.roughness.decay**2 * sparse.identity(data.shape[1])
            precision = self.roughness.space * (self._laplacian + decay) * len(data)
            right = precision @ data.mean(0)
        else:
            precision = sparse.diags(self.observed.sum(0))
            right = np.where(self.observed > 0, data, 0).sum(0)
        return factorized(prior + precision).solve(right)

    def mean(self, data: np.ndarray, *, tolerance: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
        """Return the posterior means of the field, `[frames, points]`, and of the latents.

        Args:
            data: y, float `[frames, points]`; hidden entries are not used.
            tolerance: norm of the residual of the equations at which iterations end, relative to that
                of the right side.
        """
        seen = self.known * np.where(self.observed > 0, data, 0)
        return self._solve(seen, seen @ self.loading, tolerance)

    def draw(
        self, data: np.ndarray, random: np.random.Generator, *, tolerance: float = 1e-3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the field and the latents from their posterior; arguments and returns as for `mean`.

        The data and the prior are perturbed by noise of their covariance, so that the solution is an
        exact sample (Papandreou, Yuille, "Gaussian sampling by local perturbations", NIPS 2010).
        """
        frames, points = self.observed.shape
        prior = self.roughness
        field = (self.space.T @ random.normal(size=(self.space.shape[0], frames))).T
        field += np.sqrt(prior.time) * (self.time.T @ random.normal(size=(len(self.time), points)))
        field += prior.decay * random.normal(size=(frames, points))
        field *= np.sqrt(prior.space)
        latent = random.normal(size=(frames, len(self.precision)))
        if self.precision.ndim == 1:
            latent *= np.sqrt(self.precision)
        else:
            latent = np.einsum("kts,sk->tk", np.linalg.cholesky(self.precision), latent)
        noisy = data + np.sqrt(self.noise) * random.normal(size=(frames, points))
        seen = self.known * np.where(self.observed > 0, noisy, 0)
        return self._solve(field + seen, latent + seen @ self.loading, tolerance)

    def _solve(self, field, latent, tolerance):
        """Solve the equations for right sides of the field and of the latents."""
        x, z = self._one_frame(field, latent)
        if not self.roughness.time and self.precision.ndim == 1:
            return x, z
        target = tolerance**2 * (np.vdot(field, field) + np.vdot(latent, latent))
        left, left_z = (a - b for a, b in zip((field, latent), self._product(x, z), strict=True))
        better, better_z = self._one_frame(left, left_z)
        along, along_z = better, better_z
        slope = np.vdot(left, better) + np.vdot(left_z, better_z)
        for _ in range(ITERATIONS):
            if np.vdot(left, left) + np.vdot(left_z, left_z) <= target:
                return x, z
            product, product_z = self._product(along, along_z)
            length = slope / (np.vdot(along, product) + np.vdot(along_z, product_z))
            x, z = x + length * along, z + length * along_z
            left, left_z = left - length * product, left_z - length * product_z
            better, better_z = self._one_frame(left, left_z)
            before, slope = slope, np.vdot(left, better) + np.vdot(left_z, better_z)
            along = better + slope / before * along
            along_z = better_z + slope / before * along_z
        raise ConvergenceError(
            f"Expected conjugate gradients to converge in {ITERATIONS} iterations for "
            f"{self.roughness}. Lower the setting `time`, or raise `decay`."
        )

    def _product(self, field, latent):
        """Return the product of the whole matrix with a field and latents."""
        prior = self.roughness
        product = (self._laplacian @ field.T).T + prior.time * (self._steps @ field)
        seen = self.known * (field + latent @ self.loading.T)
        product = prior.space * (product + prior.decay**2 * field) + seen
        if self.precision.ndim == 1:
            return product, seen @ self.loading + self.precision * latent
        return product, seen @ self.loading + np.einsum("kts,sk->tk", self.precision, latent)

    def _one_frame(self, field, latent):
        """Solve the equations of each frame as if the others were 0."""
        x = np.stack([factor.solve(row) for factor, row in zip(self._factors, field, strict=True)])
        if not self.loading.size:
            return x, latent
        rest = latent - np.stack([row @ gain for row, gain in zip(field, self.gain, strict=True)])
        z = np.einsum("tkj,tj->tk", self.latent_covariance, rest)
        return x - np.stack([gain @ row for gain, row in zip(self.gain, z, strict=True)]), z

"""Convergence of chains: rank-normalized split R-hat, and effective sample size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

FEWEST, FEWEST_EFFECTIVE = 4, 10  # draws of each chain


class Convergence(NamedTuple):
    """Convergence diagnostics of chains, as `diagnose` returns them.

    Attributes:
        r_hat: about 1 if the chains agree. Above 1.05 they have not run long enough, or there are too
            few draws to decide. NaN with fewer than 2 chains or fewer than 4 draws of each.
        effective_samples: number of independent draws that would estimate means as precisely as these
            draws do. NaN with fewer than 10 draws of each chain.
    """

    r_hat: np.ndarray
    effective_samples: np.ndarray


def diagnose(draws: ArrayLike) -> Convergence:
    """Compute R-hat and the effective sample size of each entry of each row.

    Rank-normalized split R-hat and bulk effective sample size (Vehtari, Gelman, Simpson, Carpenter,
    Bürkner, "Rank-normalization, folding, and localization", Bayesian Analysis 2021, arXiv
    1903.08008, sections 3 and 4), computed by `arviz-stats` in about 1 ms per entry. R-hat of few
    draws varies: for 4 chains it is 1.2 on average with 4 independent draws of each, 1.01 with 50.

    Args:
        draws: float array `[n, chains, draws, ...]`, for instance latents `[n, chains, draws,
            *latent_shape]`; the draws of a chain are in their order.

    Returns:
        A `Convergence` of float32 arrays `[n, ...]`. An entry is NaN if any of its draws is not
        finite, or all of them are equal.

    Raises:
        ValueError: if the array has fewer than 3 axes.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(2, 4, 100, 3))
        >>> r_hat, effective_samples = diagnose(draws)
        >>> r_hat.shape, bool(r_hat.max() < 1.05), bool(effective_samples.min() > 200)
        ((2, 3), True, True)
    """
    draws = np.asarray(draws)
    if draws.ndim < 3:
        raise ValueError(f"Expected draws of shape [n, chains, draws, ...], received {draws.shape}.")
    shape, (chains, length) = draws.shape[:1] + draws.shape[3:], draws.shape[1:3]
    r_hat, effective = (np.full(shape, np.nan, np.float32) for _ in range(2))
    good = np.isfinite(draws).all(axis=(1, 2)) & (np.ptp(draws, axis=(1, 2)) > 0)
    if length >= FEWEST and good.any():
        from arviz_stats.base import array_stats  # loads SciPy

        chosen = np.moveaxis(draws, (1, 2), (-2, -1))[good].astype(np.float64)
        axes = {"chain_axis": -2, "draw_axis": -1}
        with np.errstate(divide="ignore", invalid="ignore"):  # chains that never moved
            if length >= FEWEST_EFFECTIVE:
                effective[good] = array_stats.ess(chosen, **axes)
            if chains > 1:
                r_hat[good] = array_stats.rhat(chosen, **axes)
    return Convergence(r_hat, effective)

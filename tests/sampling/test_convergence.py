import statistics

import numpy as np
import pytest
from arviz_stats.base import array_stats

from abp_tf.sampling.convergence import diagnose


def autoregressive(coefficient, chains, length, rows=20, seed=0):
    """Stationary chains `x_t = φ x_{t−1} + ε`, `[rows, chains, length]`."""
    draws = np.random.default_rng(seed).normal(size=(rows, chains, length))
    draws[..., 0] /= (1 - coefficient**2) ** 0.5
    for step in range(1, length):
        draws[..., step] += coefficient * draws[..., step - 1]
    return draws


def scores(values):
    """Normal quantiles of the ranks of values that all differ."""
    ranks = np.argsort(np.argsort(values, axis=None)).reshape(values.shape) + 1
    normal = statistics.NormalDist()
    return np.vectorize(lambda rank: normal.inv_cdf((rank - 0.375) / (values.size + 0.25)))(ranks)


def split_r_hat(values):
    """R-hat of `[chains, draws]` by the paper's formulas."""
    length = values.shape[1]
    between = length * np.var(values.mean(axis=1), ddof=1)
    within = np.mean([np.var(chain, ddof=1) for chain in values])
    return (((length - 1) / length * within + between / length) / within) ** 0.5


def test_r_hat_is_the_formula():
    draws = autoregressive(0.8, chains=3, length=24)
    found = diagnose(draws[..., None]).r_hat[:, 0]
    for row, of_row in zip(draws, found, strict=True):
        halves = np.concatenate([row[:, :12], row[:, 12:]])
        bulk = split_r_hat(scores(halves))
        tails = split_r_hat(scores(np.abs(halves - np.median(halves))))
        np.testing.assert_allclose(of_row, max(bulk, tails), rtol=1e-5)


@pytest.mark.parametrize("chains", [2, 4])
@pytest.mark.parametrize("length", [10, 11, 25, 120])
@pytest.mark.parametrize("coefficient", [-0.5, 0.0, 0.9])
@pytest.mark.parametrize("digits", [8, 0])
def test_both_are_those_of_arviz(chains, length, coefficient, digits):
    # Rounded to whole numbers many draws are equal, as those of chains that refuse proposals.
    draws = np.round(autoregressive(coefficient, chains, length), digits)
    r_hat, effective_samples = diagnose(draws)
    options = {"chain_axis": 1, "draw_axis": 2}
    np.testing.assert_allclose(r_hat, array_stats.rhat(draws, **options), rtol=1e-5)
    np.testing.assert_allclose(effective_samples, array_stats.ess(draws, **options), rtol=1e-5)


@pytest.mark.parametrize("coefficient", [-0.4, 0.0, 0.8])
def test_effective_samples_of_an_autoregressive_chain_are_the_known_ones(coefficient):
    draws = autoregressive(coefficient, chains=4, length=2000)
    found = diagnose(draws).effective_samples
    exact = 8000 * (1 - coefficient) / (1 + coefficient)
    np.testing.assert_allclose(found.mean(), exact, rtol=0.05)


def test_chains_that_disagree_in_mean_or_in_width_are_found():
    draws = np.random.default_rng(1).normal(size=(3, 4, 100))
    draws[1, 0] += 1.0
    draws[2, 0] *= 4.0
    r_hat, _ = diagnose(draws)
    assert r_hat[0] < 1.02
    assert (r_hat[1:] > 1.05).all()


def test_entries_keep_their_places():
    draws = np.random.default_rng(2).normal(size=(5, 4, 12, 2, 3)).astype(np.float32)
    whole = diagnose(draws)
    for part in whole:
        assert part.shape == (5, 2, 3)
        assert part.dtype == np.float32
    single = diagnose(draws[3, ..., 1, 2][None])
    np.testing.assert_allclose(single.r_hat[0], whole.r_hat[3, 1, 2])
    np.testing.assert_allclose(single.effective_samples[0], whole.effective_samples[3, 1, 2])


def test_what_cannot_be_told_is_nan():
    rng = np.random.default_rng(3)
    for chains, length, kinds in ((1, 20, "e"), (2, 3, ""), (2, 4, "r"), (2, 9, "r"), (2, 10, "re")):
        found = diagnose(rng.normal(size=(2, chains, length, 3)))
        assert np.isfinite(found.r_hat).all() == ("r" in kinds)
        assert np.isfinite(found.effective_samples).all() == ("e" in kinds)
    draws = rng.normal(size=(4, 2, 12))
    draws[0] = 1.0
    draws[1, 0, 3] = np.nan
    draws[2] = [[0.0], [1.0]]  # chains that never moved, from two starts
    r_hat, effective_samples = diagnose(draws)
    assert np.isnan(r_hat[:2]).all()
    assert np.isnan(effective_samples[:2]).all()
    assert np.isinf(r_hat[2])
    assert np.isfinite(r_hat[3])
    assert diagnose(np.zeros((0, 4, 12, 5))).r_hat.shape == (0, 5)
    with pytest.raises(ValueError, match=r"received \(4, 12\)"):
        diagnose(np.zeros((4, 12)))

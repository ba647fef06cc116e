import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling import HMC, MALA, Langevin, base
from abp_tf.sampling.metropolis import Metropolis
from abp_tf.sampling.random import ACCEPTANCE, LENGTH, apart, later, row_uniform

EXACT = [MALA(60, 0.9), HMC(12, 0.5, leapfrog=4)]
PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize("sampler", EXACT)
def test_moments_of_a_gaussian_are_exact_where_the_unadjusted_chain_is_biased(run, gaussian, sampler):
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    found, info = run(sampler, gaussian(mean, PRECISION), np.zeros((8000, 3)))
    covariance = np.linalg.inv(PRECISION)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.05)
    assert 0.3 < info.acceptance.numpy().mean() < 0.95
    # At the step size of MALA the unadjusted chain is off by ten times the tolerance.
    biased = covariance @ np.linalg.inv(np.eye(3) - 0.9**2 * PRECISION / 4)
    assert np.abs(biased - covariance).max() > 0.5


def two_wells(u):
    u = u[:, 0]
    return 2.0 * (u**2 - 1) ** 2 + 0.4 * u


def distance(samples):
    """Largest difference between the distribution of samples and that of `two_wells`."""
    grid = np.linspace(-3, 3, 6001)
    density = np.exp(-two_wells(tf.constant(grid[:, None])).numpy())
    exact = np.cumsum(density) / density.sum()
    found = np.searchsorted(np.sort(samples[:, 0]), grid) / len(samples)
    return np.abs(found - exact).max()


def test_a_density_of_two_wells_is_that_of_numeric_integration(run):
    start = np.random.default_rng(0).uniform(-1.5, 1.5, size=(4000, 1))
    for sampler in (MALA(80, 0.5), HMC(25, 0.3, leapfrog=5)):
        found, _ = run(sampler, two_wells, start)
        assert distance(found) < 1.63 / 4000**0.5  # Kolmogorov and Smirnov, one in a hundred
    found, _ = run(Langevin(80, 0.35), two_wells, start)
    assert distance(found) > 0.1


@pytest.mark.parametrize("kind", [MALA, HMC])
def test_longer_steps_are_accepted_less_often(run, gaussian, kind):
    rates = [
        run(kind(10, step_size), gaussian(), np.zeros((200, 3)))[1].acceptance.numpy().mean()
        for step_size in (0.3, 0.7, 1.0)
    ]
    assert 1 > rates[0] > rates[1] > rates[2] > 0


@pytest.mark.parametrize("outside", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sampler", [MALA(60, 0.9), HMC(30, 0.3, leapfrog=3)])
def test_chains_never_go_where_the_energy_is_not_finite(run, sampler, outside):
    def energy(u):
        inside = tf.reduce_all(tf.abs(u) < 1, axis=-1)
        return tf.where(inside, 0.0 * u[:, 0], outside)

    found, info = run(sampler, energy, np.zeros((2000, 2)))
    assert np.abs(found).max() < 1
    np.testing.assert_array_equal(info.final_energy, 0.0)
    # And they are uniform there.
    np.testing.assert_allclose(np.cov(found.T), np.eye(2) / 3, atol=0.03)


@pytest.mark.parametrize("sampler", [MALA(4, 0.5), HMC(4, 0.5, leapfrog=2)])
def test_gradients_that_are_not_finite_are_refused(run, sampler):
    @tf.custom_gradient
    def energy(u):
        bad = tf.where(tf.abs(u) < 1, u, np.nan)
        return 0.0 * u[:, 0], lambda upstream: upstream[:, None] * bad

    found, _ = run(sampler, energy, np.zeros((300, 1)))
    assert 0 < np.abs(found).max() < 1


def test_chains_that_start_where_the_energy_is_infinite_come_in(run):
    def energy(u):
        return tf.where(u[:, 0] < 1, 0.5 * u[:, 0] ** 2, np.inf)

    found, info = run(MALA(20, 1.0), energy, np.full((20, 1), 1.5))
    assert np.isinf(info.initial_energy).all()
    assert (found < 1).all()


@pytest.mark.parametrize("sampler", EXACT)
@pytest.mark.parametrize("held", [2**16, 7])
def test_rows_depend_on_no_other_row(run, gaussian, monkeypatch, sampler, held):
    # With 7 numbers held at once they are drawn two steps at a time.
    monkeypatch.setattr(base, "HELD", held)
    whole, info = run(sampler, gaussian(), np.ones((8, 3)))
    alone, own = run(sampler, gaussian(), np.ones((1, 3)), first_seed=5)
    np.testing.assert_allclose(alone[0], whole[5], atol=1e-5)
    for part, of_whole in zip(own, info, strict=True):
        assert part.shape == (1,)
        np.testing.assert_allclose(part[0], of_whole[5], atol=1e-5)
    assert len(np.unique(whole[:, 0])) == 8


@pytest.mark.parametrize("sampler", [MALA(5, 0.9), HMC(3, 0.5, leapfrog=2)])
def test_random_numbers_of_a_row_are_bit_for_bit_those_of_any_batch(sampler):
    seeds = tf.constant([[3, 1], [4, 1], [5, 1]], tf.int64)
    draw = tf.function(lambda seeds: sampler.draw(seeds, 6, tf.TensorShape([2])))
    whole, alone = draw(seeds), draw(seeds[1:2])
    for name, values in whole.items():
        assert (values[1] == alone[name][0]).numpy().all()
        assert (values[0] != values[1]).numpy().all()


@pytest.mark.parametrize("sampler", EXACT)
def test_samplers_run_under_xla(run, gaussian, sampler):
    # XLA draws other numbers from the same seeds, so only their distribution can be compared.
    found, info = run(sampler, gaussian(), np.zeros((8000, 3)), jit_compile=True)
    np.testing.assert_allclose(np.cov(found.T), np.linalg.inv(PRECISION), atol=0.05)
    assert 0.3 < info.acceptance.numpy().mean() < 0.95


@dataclasses.dataclass(frozen=True)
class Lottery(Metropolis):
    """Proposes to stay, with a ratio drawn as the noise of other samplers is."""

    def draw(self, seeds, steps, shape):
        return {"ratio": row_uniform(seeds, [steps])}

    def propose(self, look, here, *, ratio):
        return here, tf.math.log(ratio)


def test_acceptance_is_independent_of_the_noise(run, gaussian):
    # A uniform number is below another one in half of the cases, and never below itself.
    _, info = run(Lottery(20, 1.0), gaussian(), np.zeros((200, 3)))
    np.testing.assert_allclose(info.acceptance.numpy().mean(), 0.5, atol=0.03)


def test_info_has_energies_gradients_and_acceptance(run, gaussian):
    start = np.array([[3.0, 4.0], [0.0, 1.0]])
    for sampler in (MALA(1, 0.2), HMC(1, 0.2)):
        state, info = run(sampler, gaussian(0.0, np.eye(2)), start)
        np.testing.assert_allclose(info.initial_energy, [12.5, 0.5], rtol=1e-6)
        np.testing.assert_allclose(info.gradient_norm, [5.0, 1.0], rtol=1e-6)
        np.testing.assert_allclose(info.final_energy, 0.5 * (state**2).sum(-1), rtol=1e-5)
        assert set(info.acceptance.numpy()) <= {0.0, 1.0}


@pytest.mark.parametrize("sampler", [MALA(0, 0.5), HMC(0, 0.5)])
def test_zero_steps_change_nothing(run, gaussian, sampler):
    state, info = run(sampler, gaussian(0.0, np.eye(2)), np.ones((3, 2)))
    assert (state == 1).all()
    np.testing.assert_array_equal(info.acceptance, 1.0)


def test_no_two_uses_of_a_row_share_a_seed_pair():
    seeds = tf.constant([[1, 0], [1, 7], [1, 2**32 - 1]], tf.int64)
    pairs = []
    for block in (0, 1, 2, 5000, 2**28 - 1):
        of_block = later(seeds, block)
        pairs += [of_block, apart(of_block, ACCEPTANCE), apart(of_block, LENGTH)]
    pairs = np.concatenate(pairs)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert (pairs >= 0).all()

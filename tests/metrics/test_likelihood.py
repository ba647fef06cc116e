import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf.metrics import likelihood

PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], np.float32)
SLOPE = np.array([1.0, -2.0, 0.5], np.float32)


def tilted(x):
    """An energy whose integral is known: `xᵀ A x / 2 − b·x`."""
    return tf.reduce_sum(x * tf.matmul(x, PRECISION), axis=-1) / 2 - tf.linalg.matvec(x, SLOPE)


SHIFT = SLOPE @ np.linalg.solve(PRECISION, SLOPE)
EXACT = 0.5 * (3 * math.log(2 * math.pi) - np.linalg.slogdet(PRECISION)[1] + SHIFT)


def test_annealed_importance_sampling_finds_a_known_constant():
    # The first distribution alone says something else by more than 1.
    found = likelihood.log_normalizer(
        tilted, (3,), base_sigma=3.0, distributions=300, step_size=0.6, chains=300
    )
    assert abs(found.log_normalizer - EXACT) < 3 * found.deviation < 0.3
    assert 0.4 < found.acceptance < 1
    base = 1.5 * math.log(2 * math.pi * 9)
    assert abs(base - EXACT) > 1


def test_the_estimate_holds_where_steps_are_long_and_distributions_few():
    # Without the accept step, or with weights taken after the move, these are off by far more.
    found = likelihood.log_normalizer(
        tilted, (3,), base_sigma=1.0, distributions=30, step_size=1.0, chains=4000, seed=3
    )
    assert found.acceptance < 0.8
    assert abs(found.log_normalizer - EXACT) < max(0.05, 3 * found.deviation)


def test_an_energy_that_is_asked_again_is_traced_once():
    traces = []

    class Model:
        def energy(self, x):
            traces.append(1)
            return tilted(x)

    model, found, counts = Model(), [], []
    for seed, base_sigma, step_size, distributions, chains in (
        (0, 2.0, 0.6, 100, 50),
        (1, 3.0, 0.5, 200, 80),
        (1, 3.0, 0.5, 200, 80),
    ):
        found.append(
            likelihood.log_normalizer(
                model.energy,
                (3,),
                base_sigma,
                distributions=distributions,
                step_size=step_size,
                chains=chains,
                seed=seed,
            ).log_normalizer
        )
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts == counts[:1] * 3
    assert found[0] != found[1] == found[2]


def test_log_likelihood_of_a_descriptor_is_that_of_its_gaussian():
    x = keras.Input((3,))
    network = keras.Model(x, keras.layers.Dense(1, use_bias=False)(x))
    network.set_weights([SLOPE[:, None]])
    model = abp_tf.Descriptor(network, reference_sigma=0.8, value_range=None)
    found = likelihood.log_normalizer(
        model.energy, (3,), base_sigma=1.2, distributions=200, step_size=0.7, chains=200
    )
    signals = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    distance = ((signals - 0.64 * SLOPE) ** 2).sum(1) / (2 * 0.64)
    exact = -distance - 1.5 * math.log(2 * math.pi * 0.64)
    np.testing.assert_allclose(
        likelihood.annealed_log_likelihood(model, signals, found), exact, atol=0.1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_sigma": math.inf}, "`base_sigma`, received inf"),
        ({"step_size": 0.0}, r"`step_size`, received 0\.0"),
        ({"chains": 1}, "`chains` .*received 1"),
    ],
)
def test_impossible_annealing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        likelihood.log_normalizer(tilted, (3,), **{"base_sigma": 1.0, **change})


def test_parzen_windows_agree_with_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(0)
    samples, signals = rng.normal(size=(300, 4, 2)), rng.normal(size=(250, 4, 2))
    for bandwidth in (0.4, 1.0):
        reference = neighbors.KernelDensity(bandwidth=bandwidth).fit(samples.reshape(300, -1))
        np.testing.assert_allclose(
            likelihood.parzen_log_likelihood(samples, signals, bandwidth),
            reference.score_samples(signals.reshape(250, -1)),
            rtol=1e-4,  # its tree is not exact far away
        )


def test_the_bandwidth_is_the_likeliest_one():
    rng = np.random.default_rng(1)
    samples, validation = rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    assert likelihood.parzen_bandwidth(samples, validation, [0.01, 0.4, 5.0]) == 0.4


def test_parzen_windows_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 4\)"):
        likelihood.parzen_log_likelihood(np.zeros((3, 2)), np.zeros((3, 4)), 1.0)
    with pytest.raises(ValueError, match=r"`bandwidth`, received 0\.0"):
        likelihood.parzen_log_likelihood(np.zeros((3, 2)), np.zeros((3, 2)), 0.0)

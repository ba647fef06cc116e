import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import HMC, MALA, Generator, Langevin

WEIGHTS = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
PRECISION = WEIGHTS @ WEIGHTS.T / 0.25 + np.eye(3)
# A step of Langevin dynamics at which it is stable, and far off.
STEP_SIZE = float((2.4 / np.linalg.eigvalsh(PRECISION)[-1]) ** 0.5)


def linear_model(inference):
    network = abp_tf.networks.linear((6,), latent_dim=3)
    network.set_weights([WEIGHTS, np.zeros(6)])
    return Generator(network, sigma=0.5, value_range=None, inference=inference)


@pytest.mark.parametrize("inference", [MALA(80, STEP_SIZE), HMC(40, 0.7 * STEP_SIZE, leapfrog=2)])
def test_the_posterior_of_a_linear_generator_is_exact(inference):
    signal = np.float32([1.0, -0.5, 0.3, 0.8, -1.2, 0.1])
    latents = linear_model(inference).infer(np.tile(signal, (4000, 1)), batch_size=4000)
    covariance = np.linalg.inv(PRECISION)
    mean = covariance @ WEIGHTS @ signal / 0.25
    deviation = np.sqrt(np.diag(covariance))
    tolerance = 0.08 * np.outer(deviation, deviation)
    assert (np.abs(latents.mean(0) - mean) < 0.06 * deviation).all()
    assert (np.abs(np.cov(latents.T) - covariance) < tolerance).all()
    # Langevin dynamics are off by six times as much.
    biased = covariance @ np.linalg.inv(np.eye(3) - STEP_SIZE**2 * PRECISION / 4)
    assert (np.abs(biased - covariance) > 6 * tolerance).any()


def test_a_model_keeps_its_sampler(tmp_path):
    model = linear_model(HMC(4, 0.1, leapfrog=3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.inference == HMC(4, 0.1, leapfrog=3)
    signals = np.ones((3, 6), np.float32)
    np.testing.assert_allclose(again.infer(signals), model.infer(signals), atol=1e-6)
    assert np.abs(linear_model(Langevin(4, 0.1)).infer(signals) - model.infer(signals)).max() > 0.01

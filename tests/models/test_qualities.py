"""Qualities of recovery: more time for a smaller error, and short chains that are calibrated."""

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import Generator, Langevin, Underdamped, metrics, qualities
from abp_tf.metrics.calibration import calibration
from tests.models import linear


def cost(quality, warm):
    """Gradients of the energy that one row takes."""
    first, further = quality.steps(200, warm)
    return quality.chains * (first + (quality.samples // quality.chains - 1) * further)


def test_better_qualities_have_a_smaller_error():
    data = abp_tf.data.load("digits", size=8, limit=1100, test_share=0.5)
    train, test = data.train[:500], data.test[:300]
    own = abp_tf.masks.pepper(500, (8, 8), 0.3, seed=5)
    mask = abp_tf.masks.pepper(300, (8, 8), 0.3, seed=6)
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=10, width=8, kernel_size=3)
    model = Generator(
        network, langevin=Langevin(3, 0.5), preconditioning=True, expansion=0.5, encoder=True
    )
    model.compile(keras.optimizers.Adam(6e-3, beta_1=0.5))
    model.fit({"signal": train, "mask": own}, batch_size=25, epochs=15, verbose=0)
    found = [model.inpaint(test, mask, quality=name) for name in qualities.QUALITIES]
    errors = [metrics.recovery_error(test, one, mask) for one in found]
    assert errors[0] > errors[1] > errors[2]
    one = metrics.recovery_error(test, model.reconstruct(test, mask), mask)
    assert one > errors[0]  # one decoded vector of latents, in more time than "fast"


@pytest.mark.parametrize("warm", [False, True])
def test_costs_are_in_order(warm):
    costs = [cost(quality, warm) for quality in qualities.QUALITIES.values()]
    assert costs == sorted(costs)
    assert costs[0] < 0.5 * costs[2]


def test_short_chains_from_the_encoder_are_calibrated():
    factors = linear.learned_with_encoder(inference=Underdamped(200, 0.5))
    signal = linear.factor_data(600, seed=9)
    mask = np.random.default_rng(2).random(signal.shape) > 0.4
    coverage = []
    for model in (factors, linear.without_encoder(factors)):
        drawn = model.sample_posterior(signal, mask, quality="best", batch_size=4800)
        coverage.append(float(calibration(signal, drawn, ~mask, levels=(0.9,)).coverage[0]))
    assert abs(coverage[0] - coverage[1]) < 0.02
    assert 0.84 < coverage[0] < 0.93

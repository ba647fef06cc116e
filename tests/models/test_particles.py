"""Several chains for each example."""

import keras
import numpy as np
import pytest

from abp_tf import MALA, Langevin
from tests.models import linear

RATE = 1e-3


def gradient(particles):
    """Return the gradient of −log p(x) along W and b that one step of `fit` follows."""
    model = linear.linear_model(particles=particles, langevin=MALA(60, 0.6), preconditioning=True)
    model.compile(keras.optimizers.SGD(RATE))
    before = [weight.copy() for weight in model.network.get_weights()]
    model.fit(linear.factor_data(40), batch_size=40, epochs=1, verbose=0)
    return np.concatenate([
        (old - new).ravel() / RATE for old, new in zip(before, model.network.get_weights(), strict=True)
    ])  # fmt: skip


def exact():
    """Return the same gradient from the posterior means and covariances of the latents."""
    model, signals = linear.linear_model(), linear.factor_data(40)
    weights, bias = linear.parameters(model)
    found = 0
    for signal in signals.astype(np.float64):
        mean, precision = linear.posterior(model, signal)
        second = np.linalg.inv(precision) + np.outer(mean, mean)
        away = signal - bias
        along = [weights @ second - np.outer(away, mean), weights @ mean - away]
        # The kernel of the network is Wᵀ.
        found = found + np.concatenate([along[0].T.ravel(), along[1]]) / linear.SIGMA**2
    return found / len(signals)


def test_the_gradient_approaches_the_exact_one_as_particles_grow():
    one, many = (np.linalg.norm(gradient(count) - exact()) for count in (1, 64))
    assert many < 0.05 * np.linalg.norm(exact())
    assert many < 0.3 * one


@pytest.mark.parametrize("chains", ["persistent", "fresh"])
def test_they_are_chains_of_their_own(digits, masks_of_digits, make_model, chains, tmp_path):
    options = {"encoder": True, "preconditioning": True, "langevin": Langevin(3, 0.4)}
    if chains == "persistent":
        options["expansion"] = 0.5
    model = make_model(particles=3, chains=chains, **options)
    model.fit({"signal": digits, "mask": masks_of_digits}, batch_size=50, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.particles == 3
    if chains == "persistent":
        assert model.latents.shape == (120, 3, 4)
        assert np.abs(model.latents[:, 0] - model.latents[:, 1]).min(axis=1).max() > 0.01
        np.testing.assert_array_equal(again.latents, model.latents)
    np.testing.assert_array_equal(again.infer(digits[:2]), model.infer(digits[:2]))

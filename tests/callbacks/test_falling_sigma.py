import numpy as np
import pytest
import tensorflow as tf

from abp_tf import Mdct
from abp_tf.callbacks import FallingSigma


class Model:
    """Records what a callback sets."""

    preconditioning = True

    def __init__(self):
        self.found, self.estimates = [], 0

    @property
    def sigma(self):
        return self.found[-1]

    @sigma.setter
    def sigma(self, value):
        self.found.append(value)

    def precondition(self):
        self.estimates += 1


def test_sigma_falls_by_equal_factors_and_then_stays():
    callback, model = FallingSigma(0.8, [0.1, 0.2], share=0.6), Model()
    callback.set_model(model)
    callback.set_params({"epochs": 5})
    for epoch in range(5):
        callback.on_epoch_begin(epoch)
    expected = [[0.8, 0.8], [0.4, 0.504], [0.2, 0.317], [0.1, 0.2], [0.1, 0.2]]
    np.testing.assert_allclose(model.found, expected, rtol=2e-3)
    assert model.estimates == 4
    callback.on_epoch_begin(2)  # a resumed training
    np.testing.assert_allclose(model.sigma, expected[2], rtol=2e-3)


def test_levels_are_those_of_the_bands_and_at_most_the_first_sigma():
    levels = np.repeat([0.5, 0.02, 0.001], 40)
    coefficients = np.random.default_rng(0).normal(size=(3, 500, 120)) * levels

    def last(of):
        sounds = tf.signal.inverse_mdct(np.float32(of), norm="ortho").numpy()[..., None]
        return FallingSigma.to_levels(Mdct(240), sounds, first=0.1).last

    np.testing.assert_allclose(last(coefficients)[[10, 60, 110]], [0.1, 0.02, 0.001], rtol=0.1)
    assert last(coefficients * (levels > 0.01)).min() > 0  # silent bands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1), "`first`"),
        ((0.1, [0.1, -1.0]), "`last`"),
        ((0.1, 0.1, 0.0), "`share`"),
        ((0.1, 0.1, 1.5), "`share`"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"FallingSigma expected a.*{message}"):
        FallingSigma(*arguments)

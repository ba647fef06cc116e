"""The model that the package carries: `abp_tf.examples`, whose docstring shows a first `inpaint`."""

import numpy as np

import abp_tf


def test_digits_are_a_model_without_the_data_it_has_learned():
    model, images = abp_tf.examples.digits()
    assert not model.compiled
    assert not model.table.rows
    expected = abp_tf.data.load("digits").test[: len(images)]
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert len(images) == 20


def test_digits_are_reconstructed_by_the_encoder_alone():
    model, images = abp_tf.examples.digits()
    assert abp_tf.metrics.reconstruction_error(images, model(model.infer(images))) < 0.05

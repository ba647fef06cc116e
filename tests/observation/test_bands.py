"""Sounds in bands of frequency, against the transform written out in NumPy."""

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import Mdct


def matrix(window, samples):
    """Coefficients of unit vectors by the formula of the transform, `[windows, bands, samples]`."""
    bands = window // 2
    count = -(-samples // bands) + 1
    time, band = np.arange(window), np.arange(bands)[:, None]
    shape = np.sin(np.pi / 2 * np.sin(np.pi / window * (time + 0.5)) ** 2)
    phase = np.pi / bands * (time + 0.5 + bands / 2) * (band + 0.5)
    waves = np.sqrt(2 / bands) * shape * np.cos(phase)
    whole = np.zeros((count, bands, (count + 1) * bands))
    for number in range(count):
        whole[number, :, number * bands : number * bands + window] = waves
    return whole[..., bands : bands + samples]


@pytest.mark.parametrize(("window", "samples"), [(4, 10), (16, 40), (16, 37)])
def test_coefficients_are_those_of_the_formula_and_orthonormal(window, samples):
    sounds = np.random.default_rng(0).normal(size=(3, samples, 1)).astype(np.float32)
    expected = np.einsum("wbs,nsc->nwb", matrix(window, samples), sounds)
    found = Mdct(window)(sounds).numpy()
    assert found.shape[1:] == Mdct(window).observed_shape((samples, 1))
    # The sign of a window's coefficients is a convention.
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose((found**2).sum((1, 2)), (sounds**2).sum((1, 2)), rtol=1e-5)


def test_coefficients_of_whole_windows_do_not_depend_on_hidden_samples():
    rng = np.random.default_rng(1)
    mask = np.ones((2, 50), bool)
    mask[0, 17:19], mask[1, [0, 49]] = False, False
    one = rng.normal(size=(2, 50, 1)).astype(np.float32)
    other = np.where(mask[..., None], one, rng.normal(size=one.shape)).astype(np.float32)
    whole = Mdct(8).whole_windows(mask)
    changed = np.abs(Mdct(8)(one).numpy() - Mdct(8)(other).numpy()).max(axis=-1) > 1e-4
    np.testing.assert_array_equal(~changed, whole[..., 0])
    assert whole.shape[1:] == Mdct(8).observed_shape((50, 1))
    assert whole.any(axis=(1, 2)).all()
    assert not whole.all(axis=(1, 2)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mdct(7), "even .*received 7"),
        (lambda: Mdct(2), "`window` .*received 2"),
        (lambda: Mdct(8)(np.zeros((1, 20, 2), np.float32)), r"samples, 1.*\(20, 2\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_generator_has_one_sigma_per_band_and_keeps_it(tmp_path):
    sounds = np.random.default_rng(2).normal(0, 0.1, (2, 400, 1)).astype(np.float32)
    network = abp_tf.networks.sound_generator(400, 2, 2, factors=(4, 4), kernel_size=9)
    model = abp_tf.Generator(network, sigma=0.3, preconditioning=True, observation=Mdct(16))
    model.compile(optimizer="adam")
    data = model.observe(sounds)
    falling = abp_tf.callbacks.FallingSigma.to_levels(data, 0.3)
    model.fit(data, epochs=2, verbose=0, callbacks=[falling])
    assert len(model.sigma) == 8
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.sigma == model.sigma
    np.testing.assert_array_equal(again.synthesize(2, seed=3), model.synthesize(2, seed=3))
    assert model.reconstruct(data).shape == sounds.shape
    assert abp_tf.synthesize_at(model, (800,)).shape == (1, 800, 1)

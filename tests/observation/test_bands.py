"""Sounds in bands of frequency, against the transform written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Mdct
from abp_tf.models.noise import BandNoise


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
    assert found.shape[1:] == Mdct(window).shape((samples, 1))
    # The sign of a window's coefficients is a convention.
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose((found**2).sum((1, 2)), (sounds**2).sum((1, 2)), rtol=1e-5)


def test_known_windows_do_not_depend_on_hidden_samples():
    rng = np.random.default_rng(1)
    mask = np.ones((2, 50, 1), np.float32)
    mask[0, 17:19], mask[1, [0, 49]] = 0, 0
    one = rng.normal(size=(2, 50, 1)).astype(np.float32)
    other = np.where(mask > 0, one, rng.normal(size=one.shape)).astype(np.float32)
    known = Mdct(8).known(mask).numpy()
    changed = np.abs(Mdct(8)(one).numpy() - Mdct(8)(other).numpy()).max(axis=-1) > 1e-4
    np.testing.assert_array_equal(~changed, known[..., 0] > 0)
    assert known.shape[1] == Mdct(8).shape((50, 1))[0]
    assert known.any(axis=(1, 2)).all()
    assert not known.all(axis=(1, 2)).any()


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


def make(samples=400, **options):
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.sound_generator(samples, 2, 2, factors=(4, 4), kernel_size=9)
    settings = {"sigma": 0.3, "preconditioning": True, "bands": Mdct(16), **options}
    model = abp_tf.Generator(network, **settings)
    model.compile(optimizer="adam")
    return model


def test_the_misfit_is_that_of_coefficients_of_known_windows():
    rng = np.random.default_rng(3)
    sounds, decoded = rng.normal(size=(2, 3, 60, 1)).astype(np.float32)
    mask = np.ones_like(sounds)
    mask[1, 20:30] = 0
    noise = BandNoise(Mdct(8))
    sigma = 1 + np.arange(4) / 4
    noise.sigma = sigma.tolist()
    found = np.einsum("wbs,ns->nwb", matrix(8, 60), (sounds - decoded)[..., 0])
    hidden = np.abs(matrix(8, 60)[:, :, 20:30]).sum((1, 2)) > 0
    found[1, hidden] = 0
    # Each sample is in two windows. Where one is not known, half of the error has the mean of σ².
    counts = (np.abs(matrix(8, 60))[~hidden] > 0).any(axis=1).sum(axis=0)
    left = mask[1, :, 0] * (1 - counts / 2) * (sounds - decoded)[1, :, 0] ** 2
    expected = (found**2 / (2 * sigma**2)).sum((1, 2))
    expected[1] += left.sum() / (2 * np.mean(sigma**2))
    assert 0 < left.sum()
    np.testing.assert_allclose(noise.misfit(sounds, decoded, mask), expected, rtol=1e-4)
    # With equal σ it is the misfit of samples.
    noise.sigma = 0.7
    whole = ((sounds - decoded) ** 2).sum((1, 2)) / (2 * 0.7**2)
    np.testing.assert_allclose(noise.misfit(sounds, decoded), whole, rtol=1e-4)
    assert noise.of_entries().numpy() == pytest.approx(0.7)
    np.testing.assert_allclose(
        noise.misfit(sounds, decoded, mask),
        (mask * (sounds - decoded) ** 2).sum((1, 2)) / (2 * 0.7**2),
        rtol=0.05,
    )
    white = noise.whitened(decoded).numpy()
    np.testing.assert_allclose((white**2).sum((1, 2)), (decoded**2).sum((1, 2)) / 0.7**2, rtol=1e-4)


def test_damaged_sounds_are_learned_completed_and_exported(tmp_path):
    sounds = np.random.default_rng(2).normal(0, 0.1, (2, 400, 1)).astype(np.float32)
    mask = np.ones((2, 400), bool)
    mask[0, 150:230] = False
    damaged = np.where(mask[..., None], sounds, np.nan)
    model = make()
    falling = abp_tf.callbacks.FallingSigma.to_levels(model.bands, damaged, mask, first=0.3)
    model.fit({"signal": damaged, "mask": mask}, epochs=2, verbose=0, callbacks=[falling])
    assert len(model.sigma) == 8
    filled = model.inpaint(damaged, mask)
    np.testing.assert_array_equal(filled[mask], sounds[mask])
    assert np.isfinite(filled).all()
    drawn = model.sample_posterior(damaged, mask, samples=4)
    assert drawn.total_deviation[0, 150:230].min() > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.sigma == model.sigma
    np.testing.assert_array_equal(again.inpaint(damaged, mask), filled)
    served = tf.saved_model.load(model.export(tmp_path / "1")).signatures["inpaint"]
    inputs = {"signal": np.nan_to_num(damaged), "mask": np.float32(mask[..., None])}
    inputs = {name: tf.constant(one, tf.float32) for name, one in inputs.items()}
    given = served(**inputs, seed=tf.range(2, dtype=tf.int64))["signal"]
    np.testing.assert_allclose(given, filled, atol=1e-4)
    assert abp_tf.synthesize_at(model, (800,)).shape == (1, 800, 1)


def test_levels_are_those_of_the_bands():
    time = np.arange(4000)
    sounds = np.float32(0.5 * np.sin(2 * np.pi * time * 0.11))[None, :, None]
    mask = np.ones((1, 4000), bool)
    mask[:, 1000:1500] = False
    whole, part = (
        abp_tf.callbacks.FallingSigma.to_levels(Mdct(64), sounds, one, first=0.2).last
        for one in (None, mask)
    )
    assert part.argmax() == whole.argmax()
    np.testing.assert_allclose(part[4:12], whole[4:12], rtol=0.2)
    assert whole.min() < 0.03 * whole.max()
    often = time[None] % 9 > 0
    falling = abp_tf.callbacks.FallingSigma.to_levels(Mdct(64), sounds, often, first=0.2)
    assert falling.last == falling.first == 0.2  # no window is whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": 16}, "Generator expected an? Mdct|`bands`"),
        ({"observation": abp_tf.Projection(5)}, "bands or an observation, received both"),
        ({"learn_sigma": True}, "`learn_sigma` expected one sigma per channel"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    sounds = np.zeros((2, 400, 1), np.float32)
    with pytest.raises((TypeError, ValueError), match=message):
        make(**options).fit(sounds, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="sigma"):
        make().fit({"signal": sounds, "sigma": np.ones_like(sounds)}, epochs=1, verbose=0)

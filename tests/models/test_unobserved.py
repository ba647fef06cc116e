"""Examples and entries without any observation: their posterior is the prior, and no mean is NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Langevin, metrics
from abp_tf.baselines import VAE
from tests.models.linear import ENTRIES, FACTORS, SIGMA, factor_data, linear_model, parameters

COUNT, NEVER, EMPTY = 24, 5, 7  # examples; the entry and the example without observations


def damaged():
    """Return signals with NaN where they are hidden, and their mask."""
    signal = factor_data(COUNT)
    mask = np.random.default_rng(3).random(signal.shape) > 0.3
    mask[:, NEVER] = False
    mask[EMPTY] = False
    return np.where(mask, signal, np.nan), mask


@pytest.fixture(scope="module")
def learned():
    model = linear_model(
        langevin=Langevin(4, 0.2), inference=Langevin(100, 0.3), preconditioning=True, expansion=1.0
    )
    model.compile(keras.optimizers.Adam(1e-2))
    signal, mask = damaged()
    data = {"signal": signal, "mask": mask}
    history = model.fit(data, batch_size=8, epochs=3, verbose=0, validation_data=(data,)).history
    return model, history


def test_they_are_learned_from(learned):
    model, history = learned
    for name, values in history.items():
        assert np.isfinite(values).all(), name
    assert np.isfinite(model.latents).all()
    assert np.isfinite(parameters(model)[0]).all()


def test_a_posterior_without_data_is_the_prior(learned):
    model, _ = learned
    count = 1500
    nothing = np.full((count, ENTRIES), np.nan, np.float32)
    with pytest.warns(UserWarning, match="100.0% of all entries are hidden"):
        latents = model.infer(nothing, np.zeros_like(nothing), batch_size=count)
    assert np.abs(latents.mean(0)).max() < 0.12
    np.testing.assert_allclose(np.cov(latents.T), np.eye(FACTORS), atol=0.15)


def test_what_is_returned_of_them_is_finite(learned):
    model, _ = learned
    signal, mask = damaged()
    whole = model.inpaint(signal, mask)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[mask], signal[mask])
    drawn = model.sample_posterior(signal, mask, samples=32, chains=32)
    for part in (drawn.samples, drawn.mean, drawn.deviation, *drawn.intervals(0.9)):
        assert np.isfinite(part).all()
    spread = np.linalg.norm(parameters(model)[0], axis=1)  # of g(z) with z from the prior
    np.testing.assert_allclose(drawn.deviation[EMPTY], spread, rtol=0.5)
    assert (drawn.total_deviation[EMPTY] >= SIGMA * 0.99).all()
    assert drawn.deviation[:EMPTY].mean() < 0.5 * drawn.deviation[EMPTY].mean()


def test_they_do_not_count_in_the_reconstruction_error(learned):
    model, _ = learned
    signal, mask = damaged()
    order = np.r_[EMPTY, np.delete(np.arange(COUNT), EMPTY)]
    rest = [part[np.delete(np.arange(COUNT), EMPTY)] for part in (signal, mask)]

    def error(signal, mask, index):
        data = {"signal": signal, "mask": mask, "index": index}
        return model.evaluate(data, batch_size=5, verbose=0, return_dict=True)["reconstruction_error"]

    numbers = np.delete(np.arange(COUNT), EMPTY)
    found = error(signal[order], mask[order], order)
    np.testing.assert_allclose(found, error(*rest, numbers), rtol=1e-5)


def test_datasets_and_exports_take_them(learned, tmp_path):
    model, _ = learned
    signal, mask = damaged()
    parts = {"signal": signal, "mask": mask, "index": np.arange(COUNT)}
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(8)
    assert np.isfinite(model.evaluate(dataset, verbose=0, return_dict=True)["reconstruction_error"])
    model.export(tmp_path / "1")
    inpaint = tf.saved_model.load(tmp_path / "1").signatures["inpaint"]
    signal, mask = (tf.constant(part[EMPTY:][:1], tf.float32) for part in (signal, mask))
    answer = inpaint(signal=signal, mask=mask, seed=tf.constant([EMPTY], tf.int64))
    assert all(np.isfinite(part).all() for part in answer.values())


def test_metrics_leave_them_out():
    truth, found = np.zeros((3, 2)), np.array([[0.2, 9.0], [5.0, 5.0], [0.2, 0.2]])
    mask = np.array([[1, 0], [0, 0], [1, 1]])
    np.testing.assert_allclose(metrics.reconstruction_error(truth, found, mask), 0.04)
    each = metrics.reconstruction_error(truth, found, mask, per_example=True)
    np.testing.assert_allclose(each, [0.04, np.nan, 0.04])
    np.testing.assert_allclose(metrics.psnr(truth, found, mask), 20)
    with pytest.raises(ValueError, match="nothing observed"):
        metrics.reconstruction_error(truth, found, 0 * mask)


def test_a_vae_learns_with_a_batch_of_nothing():
    model = VAE(abp_tf.networks.linear((ENTRIES,), latent_dim=FACTORS), value_range=None)
    model.compile(keras.optimizers.Adam(1e-3))
    data = {"signal": np.full((4, ENTRIES), np.nan, np.float32), "mask": np.zeros((4, ENTRIES), bool)}
    with pytest.warns(UserWarning, match="hidden"):
        history = model.fit(data, batch_size=4, epochs=1, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())

"""Priors in time of latents: what is learned, and what it fills."""

import numpy as np
import pytest

from abp_tf.fields import FieldModel, FieldSettings, rhythm
from abp_tf.fields.rhythm import Rhythm

TIMES = np.sort(np.random.default_rng(0).choice(160, 120, replace=False)).astype(float)


def drawn(of: Rhythm, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.linalg.cholesky(of.covariance(TIMES)) @ random.normal(size=len(TIMES))


def test_a_latent_without_oscillation_is_an_autoregressive_process():
    covariance = Rhythm(length=4.0).covariance(TIMES)
    step = np.exp(-np.diff(TIMES) / 4)
    np.testing.assert_allclose(np.diag(covariance, 1), step, rtol=2e-3)
    # Given the present, past and future are independent: the precision is tridiagonal.
    precision = np.linalg.inv(covariance)
    assert np.abs(np.triu(precision, 2)).max() < 0.02 * np.diag(precision).min()
    np.testing.assert_allclose(np.diag(Rhythm(3.0, 1.0, 5.0).covariance(TIMES)), 1)


@pytest.mark.parametrize("made", [Rhythm(8.0), Rhythm(40.0, 1.0, 11.0)])
def test_rhythms_are_learned_from_some_of_the_frames(made):
    values = drawn(made) + 0.1 * np.random.default_rng(1).normal(size=len(TIMES))
    variance = np.full(len(TIMES), 0.01)
    variance[::3], values[::3] = 1.0, 7.0  # nothing is known of these frames
    found = rhythm.learn(values, variance, TIMES)
    assert made.length / 3 < found.length < made.length * 4
    assert found.share == pytest.approx(made.share, abs=0.5)
    if made.share:
        assert found.period == pytest.approx(made.period, rel=0.06)


def test_noise_has_no_rhythm():
    random = np.random.default_rng(2)
    found = [rhythm.learn(random.normal(size=60), np.full(60, 0.1), TIMES[:60]) for _ in range(5)]
    assert sum(one.length > 2 for one in found) <= 1
    assert rhythm.learn(np.ones(5), np.full(5, 0.1), TIMES[:5]) == Rhythm()


def test_frames_that_are_missing_are_filled_by_the_rhythm(tmp_path):
    random = np.random.default_rng(0)
    times = np.arange(60.0)
    pattern = random.normal(size=(8, 8, 1)).cumsum(0).cumsum(1)
    frames = np.cos(2 * np.pi * times / 7.3)[:, None, None, None] * pattern
    frames += 0.1 * random.normal(size=frames.shape)
    mask = np.ones(frames.shape, bool)
    mask[random.permutation(60)[:25]] = False
    given = {"signal": frames, "mask": mask}
    errors, models = [], []
    for used in (False, True):
        model = FieldModel(FieldSettings(1, rhythm=used), iterations=3).fit(given, times=times)
        errors.append(np.square(model.inpaint() - frames)[~mask].mean())
        models.append(model)
    assert errors[1] < 0.1 * errors[0]
    assert models[0].rhythms.tolist() == [[0, 0, 0]]
    models[1].save(tmp_path / "field.npz")
    again = FieldModel.load(tmp_path / "field.npz").inpaint(given, times=times)
    np.testing.assert_allclose(again, models[1].inpaint(), atol=1e-5)

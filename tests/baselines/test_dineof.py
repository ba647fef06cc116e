import numpy as np
import pytest

from abp_tf.baselines import DINEOF


def low_rank(count=30, grid=(8, 9), rank=3, noise=0.0, seed=0):
    """Frames that are a pixel mean and some modes, and a mask with a quarter hidden."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(count, rank)) * np.arange(rank, 0, -1)
    signal = scores @ random.normal(size=(rank, grid[0] * grid[1])) + 5
    signal = (signal + noise * random.normal(size=signal.shape)).reshape(count, *grid, 1)
    return signal.astype(np.float32), random.random(signal.shape) > 0.25


def error(model, signal, mask):
    filled = model.inpaint(np.where(mask, signal, np.float32(np.nan)), mask)
    np.testing.assert_array_equal(filled[mask], signal[mask])
    return np.sqrt(np.mean((filled - signal)[~mask] ** 2)) / signal.std()


@pytest.mark.parametrize("hold", ["random", "moved"])
def test_low_rank_is_recovered(hold):
    signal, mask = low_rank(noise=0.1)
    model = DINEOF(hold=hold, value_range=None)
    model.fit({"signal": np.where(mask, signal, np.float32(np.nan)), "mask": mask})
    # The mean of what is observed is not that of all, so that more modes than 3 may be of use.
    assert 3 <= model.chosen <= 5
    assert model.errors[model.chosen] == min(model.errors)
    assert error(model, signal, mask) < 0.06
    rows = model.loading.reshape(model.chosen, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(model.chosen), atol=1e-6)


def test_exactly_low_rank_is_recovered_exactly():
    signal, mask = low_rank()
    model = DINEOF(4, iterations=3000, tolerance=1e-7, value_range=None)
    assert error(model.fit({"signal": signal, "mask": mask}), signal, mask) < 1e-3


def test_noise_has_no_modes():
    random = np.random.default_rng(1)
    signal = random.normal(size=(20, 8, 9, 1)).astype(np.float32)
    mask = random.random(signal.shape) > 0.3
    model = DINEOF(value_range=None).fit({"signal": signal, "mask": mask})
    assert model.chosen == 0
    assert model.loading.shape == (0, 8, 9, 1)
    counts = np.maximum(mask.sum(0), 1)
    expected = np.broadcast_to((signal * mask).sum(0) / counts, signal.shape)
    np.testing.assert_allclose(model.reconstruct(signal, mask), expected, atol=1e-5)


def test_frames_of_the_fit_and_others_are_filled_alike():
    signal, mask = low_rank(40)
    model = DINEOF(4, iterations=2000, tolerance=1e-6, value_range=None)
    model.fit({"signal": signal[:30], "mask": mask[:30]})
    assert error(model, signal[30:], mask[30:]) < 0.02


def test_what_is_hidden_does_not_matter():
    signal, mask = low_rank(noise=0.3)
    found = []
    for garbage in (np.nan, 1e6):
        damaged = np.where(mask, signal, np.float32(garbage))
        model = DINEOF(value_range=None).fit({"signal": damaged, "mask": mask})
        found.append((model.chosen, model.errors, model.inpaint(damaged, mask)))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_channels_and_frames_and_pixels_without_observations():
    one, mask = low_rank()
    signal = np.concatenate([one, 1000 - 50 * one], -1)
    mask = np.concatenate([mask, mask[::-1]], -1)
    mask[0] = False
    mask[:, 3, 4] = False
    model = DINEOF(iterations=1000, tolerance=1e-5, value_range=None)
    model.fit({"signal": np.where(mask, signal, np.float32(np.nan)), "mask": mask})
    filled = model.inpaint(signal, mask)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[mask], signal[mask])
    np.testing.assert_allclose(filled[0], model.mean, rtol=1e-5)
    np.testing.assert_allclose(model.mean[3, 4], [5, 750], rtol=0.2)
    where = ~mask
    where[0] = where[:, 3, 4] = False
    for channel in (0, 1):
        here = where[..., channel]
        misfit = (filled - signal)[..., channel][here]
        assert np.sqrt(np.mean(misfit**2)) < 0.1 * signal[..., channel].std()


def test_more_frames_than_entries():
    signal, mask = low_rank(200, grid=(4, 5), rank=2)
    model = DINEOF(2, iterations=1000, tolerance=1e-6, value_range=None)
    assert error(model.fit({"signal": signal, "mask": mask}), signal, mask) < 0.1


def test_complete_frames_stay_as_they_are():
    signal, _ = low_rank(noise=0.3)
    model = DINEOF(hold="random", value_range=None).fit(signal)
    np.testing.assert_array_equal(model.inpaint(signal, np.ones(signal.shape)), signal)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"modes": -1}, "modes.*-1"),
        ({"largest": 0}, "largest.*0"),
        ({"hold": "all"}, "hold.*random.*moved.*all"),
        ({"tolerance": 0}, "tolerance.*0"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ValueError, match=f"DINEOF.*{named}"):
        DINEOF(**options)


def test_bad_data_are_named():
    signal, mask = low_rank()
    with pytest.raises(ValueError, match="fit"):
        DINEOF().inpaint(signal, mask)
    with pytest.raises(ValueError, match=r"29.*30.*40"):
        DINEOF(40, value_range=None).fit({"signal": signal, "mask": mask})
    with pytest.raises(ValueError, match="gaps"):
        DINEOF(value_range=None).fit(signal)

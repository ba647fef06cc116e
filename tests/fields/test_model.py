"""Fields with gaps: what is filled, what has no influence, and the choice of settings."""

import gc
import weakref

import numpy as np
import pytest

from abp_tf.errors import ConvergenceError
from abp_tf.fields import FieldModel, FieldSettings, choose, gaps, widening
from abp_tf.metrics import calibration

SETTINGS = FieldSettings(latents=1, time=0.1)
TIMES = np.array([0.0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12])


def field(latents: int = 2, size: int = 10):
    """Return frames of smooth patterns and rough residuals, and masks with connected gaps."""
    random = np.random.default_rng(0)
    rough = random.normal(size=(12 + latents, size, size, 1)).cumsum(1).cumsum(2) / size
    frames = rough[latents:] + random.normal(size=(12, 1, 1, 1))
    frames += np.tensordot(random.normal(size=(12, latents)), 3 * rough[:latents], 1)
    mask = np.ones(frames.shape, bool)
    for of_frame in mask:
        top, left = random.integers(0, size - 3, 2)
        of_frame[top : top + 4, left : left + 4] = False
    return 20 + frames + 0.1 * random.normal(size=frames.shape), mask


@pytest.fixture(scope="module")
def learned():
    frames, mask = field()
    return FieldModel(SETTINGS).fit({"signal": frames, "mask": mask}, times=TIMES)


def test_observed_entries_are_kept_and_hidden_ones_are_filled(learned):
    frames, mask = field()
    filled = learned.inpaint()
    np.testing.assert_array_equal(filled[mask], frames.astype(np.float32)[mask])
    errors = (filled - frames)[~mask]
    assert np.sqrt((errors**2).mean()) < 0.5 * np.std(frames[~mask])
    drawn = learned.sample_posterior(samples=8, seed=1)
    assert drawn.samples.shape == (12, 8, 10, 10, 1)
    assert (drawn.total_deviation[mask] == 0).all()
    assert (drawn.total_deviation[~mask] > 0).all()
    np.testing.assert_array_equal(drawn.mean, filled)
    again = learned.sample_posterior(samples=8, seed=1)
    np.testing.assert_array_equal(again.samples, drawn.samples)


def test_hidden_values_and_land_have_no_influence():
    frames, mask = field()
    domain = np.ones((10, 10, 1), bool)
    domain[:3, :4] = False
    found = []
    for value in (np.nan, 1e6):
        spoiled = np.where(mask & domain, frames, value)
        data = {"signal": spoiled, "mask": mask & domain}
        model = FieldModel(SETTINGS).fit(data, times=TIMES, domain=domain)
        found.append(model.inpaint())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(np.isnan(found[0]), np.broadcast_to(~domain, mask.shape))


def test_frames_and_pixels_that_nobody_observed_are_filled():
    frames, mask = field()
    mask[4] = False
    mask[:, 2, 2] = False
    for settings in (SETTINGS, FieldSettings(mean=0.0, time=0.1)):
        model = FieldModel(settings).fit({"signal": frames, "mask": mask}, times=TIMES)
        filled = model.inpaint()
        assert np.isfinite(filled).all()
        assert np.abs(filled - frames).max() < 10


def test_units_and_channels_do_not_matter():
    frames, mask = field()
    settings = SETTINGS._replace(latents=0, time=0.0)
    alone = FieldModel(settings).fit({"signal": frames, "mask": mask}).inpaint()
    both = np.concatenate([frames, 100 - 7 * frames], axis=-1)
    model = FieldModel(settings).fit({"signal": both, "mask": np.repeat(mask, 2, axis=-1)})
    together = model.inpaint()
    np.testing.assert_allclose(together[..., :1], alone, rtol=1e-4)
    np.testing.assert_allclose(together[..., 1:], 100 - 7 * alone, rtol=1e-4, atol=1e-3)


def test_new_frames_are_filled_by_what_was_learned(learned):
    frames, mask = field()
    model = FieldModel(SETTINGS._replace(time=0.0)).fit({"signal": frames, "mask": mask})
    new = model.inpaint({"signal": frames[3:5], "mask": mask[3:5]})
    np.testing.assert_allclose(new, model.inpaint()[3:5], rtol=1e-4)


def test_settings_are_chosen_by_moved_gaps_and_intervals_cover():
    frames, mask = field(latents=2, size=16)
    data = {"signal": frames, "mask": mask}
    tried = []
    choice = choose(data, report=lambda settings, error: tried.append(settings))
    assert set(tried) == set(choice.errors)
    assert choice.errors[choice.settings] == min(choice.errors.values())
    assert choice.settings.latents > 0
    model = choice.model().fit(data)
    found = calibration.calibration(frames, model.sample_posterior(), ~mask, levels=(0.9,))
    assert 0.8 < found.coverage[0] < 0.97


def test_frames_that_scatter_more_have_wider_error_bars():
    frames, mask = field()
    level = frames.mean((1, 2, 3), keepdims=True)
    frames[:2] = level[:2] + 4 * (frames - level)[:2]
    drawn = FieldModel(SETTINGS).fit({"signal": frames, "mask": mask}).sample_posterior(samples=4)
    noise = np.array([sigma[~one].mean() for sigma, one in zip(drawn.sigma, mask, strict=True)])
    assert (noise[:2] / noise[2:].mean() > 1.2).all()
    assert (noise[:2] / noise[2:].mean() < 4).all()


def test_a_search_goes_on_with_known_errors():
    frames, mask = field()
    data = {"signal": frames, "mask": mask}
    whole = choose(data, times=TIMES, seed=1)
    known = dict(list(whole.errors.items())[:5])
    tried = []
    rest = choose(data, times=TIMES, seed=1, known=known, report=lambda *one: tried.append(one))
    assert rest == whole
    assert tried == list(whole.errors.items())[5:]
    assert len(known) == 5
    assert widening(data, whole.settings, times=TIMES, seed=1) == whole.widening


@pytest.mark.parametrize("mean", [1.0, 0.0])
def test_a_saved_model_fills_new_frames(tmp_path, mean):
    frames, mask = field()
    both = np.concatenate([frames, 5 - 2 * frames], axis=-1)
    domain = np.ones((10, 10, 2), bool)
    domain[:3, :4] = False
    data = {"signal": both, "mask": np.repeat(mask, 2, axis=-1)}
    settings = SETTINGS._replace(mean=mean)
    model = FieldModel(settings, widening=1.5).fit(data, times=TIMES, domain=domain)
    model.save(tmp_path / "a.npz")
    loaded = FieldModel.load(tmp_path / "a.npz")
    assert (loaded.settings, loaded.widening, loaded.iterations) == (settings, 1.5, model.iterations)
    assert isinstance(loaded.settings, FieldSettings)
    np.testing.assert_array_equal(loaded.loading, model.loading)
    new = {key: part[3:6] for key, part in data.items()}
    for one in (new, data):
        times = TIMES[: len(one["mask"])]
        expected = model.sample_posterior(one, times=times, samples=3, seed=2)
        found = loaded.sample_posterior(one, times=times, samples=3, seed=2)
        np.testing.assert_array_equal(found.samples, expected.samples)
        np.testing.assert_array_equal(found.sigma, expected.sigma)
    np.testing.assert_allclose(loaded.inpaint(data, times=TIMES), model.inpaint(), rtol=1e-5)
    with pytest.raises(ValueError, match="None"):
        loaded.inpaint()


def test_times_of_new_frames_are_in_the_unit_of_those_learned():
    """Frames further apart than those learned agree less, though all new ones are as far apart."""
    frames, mask = field()
    model = FieldModel(SETTINGS._replace(mean=0.0, time=10.0)).fit(frames, times=np.arange(12))
    mask[6, :6] = False
    near, far = (
        model.inpaint({"signal": frames[5:8], "mask": mask[5:8]}, times=days * np.arange(3.0))
        for days in (1, 1_000_000)
    )
    alone = model.inpaint({"signal": frames[6:7], "mask": mask[6:7]})
    hidden = ~mask[6]
    apart = [np.abs(filled[1] - alone[0])[hidden].mean() for filled in (near, far)]
    assert apart[1] < 0.2 * apart[0]


def test_files_and_models_that_cannot_be_used(tmp_path):
    for use in (FieldModel().inpaint, lambda: FieldModel().save(tmp_path / "a.npz")):
        with pytest.raises(ValueError, match="fit"):
            use()
    np.savez(tmp_path / "a.npz", mean=np.zeros(3))
    np.save(tmp_path / "b.npz", np.zeros(3))
    (tmp_path / "b.npy.npz").write_text("text")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=path.name):
            FieldModel.load(path)
    with pytest.raises(FileNotFoundError):
        FieldModel.load(tmp_path / "none.npz")


@pytest.mark.parametrize("every", [False, True])
def test_moved_gaps_hide_observed_entries_alone(every):
    _, mask = field()
    mask[:3, :4] = False
    held = gaps.moved(mask, seed=3, every=every)
    assert held[3:].any()
    assert held[:3].any() == every
    assert not (held & ~mask).any()
    assert (held.sum((1, 2, 3)) <= 0.6 * mask.sum((1, 2, 3))).all()
    with pytest.raises(ValueError, match="gaps are all alike"):
        gaps.moved(np.repeat(mask[:1], 3, axis=0))


def test_moved_gaps_leave_something_of_each_channel():
    _, mask = field()
    mask = np.concatenate([mask, np.zeros_like(mask)], axis=-1)
    mask[3, 2, 2, 1] = True
    for seed in range(12):
        held = gaps.moved(mask, seed)
        assert held[..., 0].any()
        assert not held[..., 1].any()


def test_settings_whose_equations_are_not_solved_are_not_chosen(monkeypatch):
    frames, mask = field()
    data = {"signal": frames, "mask": mask}
    monkeypatch.setattr("abp_tf.fields.lattice.ITERATIONS", 1)
    choice = choose(data)
    assert choice.settings.time == 0
    unsolved = {settings for settings, error in choice.errors.items() if error == np.inf}
    assert {settings.time > 0 for settings in unsolved} == {True}
    with pytest.raises(ConvergenceError, match=r"time=0\.1"):
        choose(data, start=SETTINGS, known=dict.fromkeys(choice.errors, np.inf))


def test_a_model_that_is_no_longer_used_keeps_no_memory():
    frames, mask = field()
    model = FieldModel().fit({"signal": frames, "mask": mask})
    model.inpaint()
    gone = weakref.ref(model)
    gc.disable()  # without its help
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"times": [0, 1]}, r"`times`.*12"),
        ({"times": [0] * 12}, "increasing"),
        ({"domain": np.ones((4, 4, 1), bool)}, r"`domain`.*\(10, 10, 1\).*\(4, 4, 1\)"),
        ({"domain": np.zeros((10, 10, 1), bool)}, "observed"),
    ],
)
def test_data_that_cannot_be_used(options, match):
    frames, mask = field()
    with pytest.raises(ValueError, match=match):
        FieldModel().fit({"signal": frames, "mask": mask}, **options)


@pytest.mark.parametrize("setting", [{"latents": -1}, {"noise": 0.0}, {"space": -1.0}, {"time": -1.0}])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        FieldModel(FieldSettings(**setting))


def test_noise_that_the_data_bring():
    frames, mask = field(0)
    settings = FieldSettings(mean=0.0, noise=0.2)
    plain = FieldModel(settings).fit({"signal": frames, "mask": mask})
    # In the unit of the data the given noise is that of the settings.
    same = np.sqrt(0.2) * plain._unit[0]
    other = FieldModel(settings._replace(noise=0.5))
    data = {"signal": frames, "mask": mask, "sigma": np.where(mask, same, np.nan)[..., 0]}
    other.fit(data)
    np.testing.assert_allclose(other.inpaint(), plain.inpaint(), atol=1e-4)
    # What is hidden has the noise of the settings.
    drawn, usual = (model.sample_posterior(samples=2) for model in (other, plain))
    np.testing.assert_allclose(drawn.sigma[~mask], np.sqrt(0.5 / 0.2) * usual.sigma[~mask], rtol=1e-3)
    # An observation of enormous noise is as if it were hidden.
    spoiled = mask & (np.random.default_rng(4).random(mask.shape) < 0.1)
    given = {**data, "sigma": np.where(spoiled, 1e6, same)}
    found = other.inpaint(given)[~mask]
    hidden = other.inpaint({**data, "mask": mask & ~spoiled})[~mask]
    np.testing.assert_allclose(found, hidden, atol=1e-4)
    assert np.abs(found - plain.inpaint()[~mask]).max() > 0.01
    assert widening(data, settings) > 0
    with pytest.raises(ValueError, match=r"Sigma.*-1"):
        other.fit({**data, "sigma": -np.ones(mask.shape)})


def test_a_path_is_no_data():
    for use in (choose, FieldModel(SETTINGS).fit):
        with pytest.raises(ValueError, match=r"load_field\('sst\.nc'\)"):
            use("sst.nc")

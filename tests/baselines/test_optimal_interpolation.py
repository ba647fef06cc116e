import numpy as np
import pytest

from abp_tf.baselines import OptimalInterpolation, frames
from abp_tf.baselines.covariance_search import Search
from abp_tf.baselines.kriging import Covariance, Kriging
from abp_tf.metrics import calibration

GRID = (5, 6)
SETTINGS = {"noise": 0.3, "mean_variance": 2.0, "mean_length": 3.0}
COVARIANCES = [
    Covariance(kind, length, **SETTINGS) for kind, length in (("exponential", 2.5), ("matern32", 1.5))
]


def dense(kind, length):
    """Correlations of all pairs of positions of the grid."""
    places = np.stack(np.meshgrid(*map(np.arange, GRID), indexing="ij"), -1).reshape(-1, 2)
    distance = np.linalg.norm(places[:, None] - places, axis=-1) / length
    if kind == "exponential":
        return np.exp(-distance)
    return (1 + 3**0.5 * distance) * np.exp(-(3**0.5) * distance)


def conditioned(prior, cross, total, seen):
    """Gain and covariance of a Gaussian vector given noisy values of the entries that are seen."""
    gain = np.linalg.solve(total[np.ix_(seen, seen)], cross[:, seen].T).T
    return gain, prior - gain @ cross[:, seen].T


def stacked(covariance, count):
    """Covariance of p with all x_t, and of all x_t, as matrices."""
    mean = covariance.mean_variance * dense("exponential", covariance.mean_length)
    field = dense(covariance.kind, covariance.length)
    total = np.kron(np.ones((count, count)), mean) + np.kron(np.eye(count), field)
    return mean, np.tile(mean, count), total + covariance.noise * np.eye(len(total))


def rmse(truth, found, where):
    return np.sqrt(np.mean((truth - found)[where] ** 2))


def drawn_frames(covariance, count, grid, seed=0, length_of_gap=6, hidden=3):
    """Frames from the model itself, with square gaps, and their mask."""
    random = np.random.default_rng(seed)
    kriging = Kriging(grid, covariance)
    signal = kriging.draw_mean(random) + kriging.draw_fields([random] * count)
    signal = signal + kriging.draw_noise([random] * count)
    mask = np.ones(signal.shape, bool)
    for frame in mask:
        for _ in range(hidden):
            y, x = (random.integers(0, n - length_of_gap) for n in grid)
            frame[y : y + length_of_gap, x : x + length_of_gap] = False
    return signal[..., None].astype(np.float32), mask[..., None]


@pytest.fixture
def exact(monkeypatch):
    """Covariances are exact on a torus of twice the grid."""
    monkeypatch.setattr("abp_tf.baselines.kriging._MARGIN", 10)


@pytest.fixture(scope="module")
def scene():
    """Four frames with one in three entries hidden; a pixel is never observed."""
    random = np.random.default_rng(0)
    values = random.normal(1, 2, (4, *GRID)).astype(np.float32)
    mask = random.random(values.shape) > 0.3
    mask[:, 2, 3] = False
    return values, mask


def fitted(values, mask, covariance=COVARIANCES[0], **options):
    model = OptimalInterpolation(
        **covariance._asdict(), deviation=1.5, tolerance=1e-4, value_range=None, **options
    )
    return model.fit({"signal": values[..., None], "mask": mask[..., None]})


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("covariance", COVARIANCES, ids=lambda one: one.kind)
def test_pixel_mean_and_anomalies_as_by_dense_matrices(scene, covariance):
    values, mask = scene
    kriging = Kriging(GRID, covariance, tolerance=1e-5)
    weights = kriging.weights(values, mask)
    _, cross, total = stacked(covariance, 4)
    seen = mask.ravel()
    solved = np.zeros(seen.size)
    solved[seen] = np.linalg.solve(total[np.ix_(seen, seen)], values.ravel()[seen])
    np.testing.assert_allclose(kriging.mean(weights).ravel(), cross @ solved, atol=0.01)
    anomaly = solved.reshape(4, -1) @ dense(covariance.kind, covariance.length)
    np.testing.assert_allclose(kriging.anomaly(weights).reshape(4, -1), anomaly, atol=0.01)
    assert kriging.residual <= 1e-5
    # From other weights it comes to the same ones.
    again = kriging.weights(values, mask, start=values * mask)
    np.testing.assert_allclose(again, weights, atol=1e-3)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("covariance", COVARIANCES, ids=lambda one: one.kind)
def test_inpaint_is_kriging_in_closed_form(scene, covariance):
    values, mask = scene
    model = fitted(values, mask, covariance)
    found = model.inpaint(values[..., None], mask[..., None])[..., 0]
    np.testing.assert_array_equal(found[mask], values[mask])
    field = dense(covariance.kind, covariance.length)
    for value, seen, filled in zip(values, mask, found, strict=True):
        rest = (value - model.mean[..., 0])[seen]
        total = field + covariance.noise * np.eye(len(field))
        gain, _ = conditioned(field, field, total, seen.ravel())
        exact = model.mean[..., 0] + rest.mean() + (gain @ (rest - rest.mean())).reshape(GRID)
        np.testing.assert_allclose(filled[~seen], exact[~seen], atol=0.02)
    assert np.abs(found - values)[~mask].max() > 0.5


@pytest.mark.usefixtures("exact")
def test_deviations_as_in_closed_form(scene):
    values, mask = scene
    # With hardly any variance of the pixel mean, deviations are those of each frame by itself.
    covariance = COVARIANCES[0]._replace(mean_variance=1e-6)
    model = fitted(values, mask, covariance)
    drawn = model.sample_posterior(values[..., None], mask[..., None], samples=400)
    field = dense(covariance.kind, covariance.length)
    ratios = []
    for seen, deviation in zip(mask, drawn.deviation[..., 0], strict=True):
        total = field + covariance.noise * np.eye(len(field))
        _, left = conditioned(field, field, total, seen.ravel())
        exact = 1.5 * np.sqrt(np.diag(left)).reshape(GRID)
        np.testing.assert_allclose(deviation[~seen], exact[~seen], rtol=0.15)
        ratios.extend(deviation[~seen] / exact[~seen])
        assert (deviation[seen] == 0).all()
    np.testing.assert_allclose(np.mean(ratios), 1, atol=0.02)
    expected = np.where(mask, 0, 1.5 * 0.3**0.5)
    np.testing.assert_allclose(drawn.sigma[..., 0], expected, rtol=1e-5)
    filled = model.inpaint(values[..., None], mask[..., None])
    np.testing.assert_allclose(drawn.mean, filled, atol=1e-4)


@pytest.mark.usefixtures("exact")
def test_draws_of_the_pixel_mean_as_in_closed_form(scene):
    values, mask = scene
    covariance = COVARIANCES[0]
    model = fitted(values, mask)
    draws = np.array(model._channels[0].draw_means(400, seed=0)).reshape(400, -1)
    prior, cross, total = stacked(covariance, 4)
    gain, left = conditioned(prior, cross, total, mask.ravel())
    np.testing.assert_allclose(draws.std(0), 1.5 * np.sqrt(np.diag(left)), rtol=0.15)
    exact = gain @ model._channels[0].anomaly[mask]
    np.testing.assert_allclose(draws.mean(0), exact, atol=0.3)


def test_what_is_hidden_does_not_matter():
    signal, mask = drawn_frames(COVARIANCES[0], 5, (16, 14), length_of_gap=4)
    results = []
    for garbage in (np.nan, 1e6):
        damaged = np.where(mask, signal, np.float32(garbage))
        model = OptimalInterpolation(evaluations=3, value_range=None)
        model.fit({"signal": damaged, "mask": mask})
        drawn = model.sample_posterior(damaged, mask, samples=2)
        results.append((model.covariances, model.inpaint(damaged, mask), drawn.samples, model.sigma))
    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_channels_and_frames_and_pixels_without_observations():
    one, mask = drawn_frames(COVARIANCES[0], 6, (16, 14), length_of_gap=4)
    signal = np.concatenate([one, 1000 - 50 * one], -1)
    mask = np.concatenate([mask, mask], -1)
    mask[0] = mask[1, ..., 1] = False
    mask[:, 3, 4] = False
    model = OptimalInterpolation(evaluations=4, value_range=None)
    model.fit({"signal": np.where(mask, signal, np.float32(np.nan)), "mask": mask})
    filled = model.inpaint(signal, mask)
    assert np.isfinite(filled).all()
    assert np.isfinite(model.mean).all()
    np.testing.assert_array_equal(filled[mask], signal[mask])
    # A frame without observations is the pixel mean.
    np.testing.assert_allclose(filled[0], model.mean, rtol=1e-5)
    np.testing.assert_allclose(filled[1, ..., 1], model.mean[..., 1], rtol=1e-5)
    # Where channels are gapped alike, they are filled alike in their own units.
    errors = [rmse(signal[2:, ..., c], filled[2:, ..., c], ~mask[2:, ..., c]) for c in (0, 1)]
    np.testing.assert_allclose(errors[1], 50 * errors[0], rtol=0.2)
    drawn = model.sample_posterior(signal, mask, samples=8)
    assert np.isfinite(drawn.samples).all()
    assert (drawn.total_deviation[~mask] > 0).all()
    assert drawn.deviation[0, ..., 0].mean() > drawn.deviation[2, ..., 0][~mask[2, ..., 0]].mean()
    # Other frames than those of the fit.
    assert np.isfinite(model.inpaint(signal[3:5] + 1, mask[3:5])).all()


def test_search_finds_the_covariance_and_hides_only_what_is_observed():
    truth = Covariance("exponential", 8.0, 0.2, 4.0, 3.0)
    signal, mask = drawn_frames(truth, 12, (32, 32), seed=3)
    values = np.where(mask, signal, 0)[..., 0]
    search = Search(values, mask[..., 0], {}, 12, seed=0)
    assert search.held.any()
    assert not (search.held & ~mask[..., 0]).any()
    assert not (search.held & search.shown).any()
    best = search.best()
    assert len(search.errors) <= 12
    start = next(iter(search.errors))
    assert search.errors[best] <= search.errors[start]
    true = Kriging((32, 32), truth, 0.01)
    exact = search._misfit(true, search.anomaly, true.weights(search.anomaly, search.shown))
    assert search.errors[best] < 1.05 * exact
    np.testing.assert_allclose(search.variance(truth), 1, rtol=0.25)


def test_intervals_hold():
    truth = Covariance("exponential", 8.0, 0.2, 4.0, 3.0)
    signal, mask = drawn_frames(truth, 12, (32, 32), seed=5)
    model = OptimalInterpolation(evaluations=6, value_range=None)
    model.fit({"signal": signal, "mask": mask})
    assert model.residual <= model.tolerance
    drawn = model.sample_posterior(signal, mask, samples=16)
    found = calibration.calibration(signal, drawn, ~mask, levels=[0.9])
    assert 0.85 < found.coverage[0] < 0.94
    means = frames.means(np.where(mask, signal, 0)[..., 0], mask[..., 0])
    plain = rmse(signal[..., 0], means[0] + means[1], ~mask[..., 0])
    assert rmse(signal, drawn.mean, ~mask) < 0.75 * plain


def test_given_numbers_are_kept():
    signal, mask = drawn_frames(COVARIANCES[0], 5, (16, 14), length_of_gap=4)
    model = OptimalInterpolation(kind="matern32", length=3, noise=0.5, evaluations=4, value_range=None)
    found = model.fit({"signal": signal, "mask": mask}).covariances[0]
    assert found[:3] == ("matern32", 3.0, 0.5)


def test_values_are_clipped_to_their_range(scene):
    values, mask = scene
    model = OptimalInterpolation(**COVARIANCES[0]._asdict(), deviation=5.0)
    signal = np.tanh(values)[..., None]
    drawn = model.fit({"signal": signal, "mask": mask}).sample_posterior(signal, mask, samples=4)
    assert np.abs(drawn.samples).max() == 1
    with pytest.raises(ValueError, match=r"-1.* 1"):
        model.fit({"signal": 3 * signal, "mask": mask})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "gaussian"}, "kind.*exponential.*matern32.*gaussian"),
        ({"length": 0}, "length.*0"),
        ({"noise": -1.0}, "noise.*-1"),
        ({"evaluations": 0}, "evaluations.*0"),
        ({"tolerance": 0.0}, "tolerance.*0"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ValueError, match=f"OptimalInterpolation.*{named}"):
        OptimalInterpolation(**options)


def test_bad_data_are_named(scene):
    values, mask = scene
    model = OptimalInterpolation(value_range=None)
    with pytest.raises(ValueError, match="fit"):
        model.inpaint(values[..., None], mask[..., None])
    with pytest.raises(ValueError, match="gaps"):
        model.fit(values[..., None])
    with pytest.raises(ValueError, match="channel 0"):
        model.fit({"signal": values[..., None], "mask": np.zeros_like(mask)})
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        model.fit(values[..., 0])
    with pytest.raises(ValueError, match="one mask"):
        fitted(values, mask).inpaint({"signal": values[..., None], "mask": mask}, mask)

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import MALA, Generator, Langevin, TimePrior
from abp_tf.models import Prior, schedules
from abp_tf.networks import frame_by_frame, linear
from abp_tf.sampling.preconditioner import Preconditioner

SIGMA, ENTRIES, SIZE = 0.5, 5, 2
PHI = np.array([0.97, 0.5])
# Frames at irregular times; the long gap is hidden, other frames are hidden in part.
TIMES = np.cumsum(np.random.default_rng(7).choice([0.5, 1.0, 2.5], 30)).tolist()
SEEN = np.ones((30, ENTRIES), bool)
SEEN[8:23] = SEEN[25] = False
SEEN[4, :3] = SEEN[27, 1:] = False
WEIGHTS = np.random.default_rng(1).normal(size=(SIZE, ENTRIES)).astype(np.float32)
BIAS = np.random.default_rng(2).normal(size=ENTRIES).astype(np.float32)


def prior_of(phi=PHI, times=TIMES, frames=30, **options):
    prior = TimePrior((frames, len(phi)), times=times, name="prior", **options)
    prior.correlation.assign(phi)
    return prior


def linear_model(prior, **options):
    keras.utils.set_random_seed(0)
    network = linear((ENTRIES,), SIZE)
    network.set_weights([WEIGHTS, BIAS])
    network = frame_by_frame(network, prior.frames)
    options = {"langevin": Langevin(4, 0.5), "inference": Langevin(6, 0.5), **options}
    model = Generator(network, sigma=SIGMA, value_range=None, prior=prior, **options)
    model.compile(keras.optimizers.SGD(1e-3))
    return model


def sequences(count, phi, times, seed=0):
    """Return latents `[count, T, d]`, made one frame after the other, and their noisy signals."""
    rng = np.random.default_rng(seed)
    latents = [rng.normal(size=(count, len(phi)))]
    for gap in np.diff(times):
        decay = phi**gap
        latents.append(decay * latents[-1] + np.sqrt(1 - decay**2) * rng.normal(size=(count, len(phi))))
    latents = np.stack(latents, 1)
    signals = latents @ WEIGHTS[: len(phi)] + BIAS
    return latents, (signals + SIGMA * rng.normal(size=signals.shape)).astype(np.float32)


def smoother(signal, seen, phi, times):
    """Return means `[T, d]` and covariances `[T, d, d]`: Kalman filter; Rauch, Tung, Striebel 1965."""
    means, covariances, ahead = [], [], []
    mean, covariance = np.zeros(len(phi)), np.eye(len(phi))
    for frame, gap in enumerate(np.diff(times, prepend=times[0])):
        if frame:
            decay = np.diag(phi**gap)
            mean, covariance = decay @ mean, decay @ covariance @ decay + np.eye(len(phi)) - decay**2
        ahead.append((mean, covariance))
        loading = WEIGHTS.T[seen[frame]].astype(np.float64)
        noise = loading @ covariance @ loading.T + SIGMA**2 * np.eye(len(loading))
        gain = np.linalg.solve(noise, loading @ covariance).T
        mean = mean + gain @ ((signal[frame] - BIAS)[seen[frame]] - loading @ mean)
        covariance = covariance - gain @ loading @ covariance
        means.append(mean)
        covariances.append(covariance)
    for frame in reversed(range(len(times) - 1)):
        decay = np.diag(phi ** (times[frame + 1] - times[frame]))
        mean, covariance = ahead[frame + 1]
        gain = covariances[frame] @ decay @ np.linalg.inv(covariance)
        means[frame] = means[frame] + gain @ (means[frame + 1] - mean)
        change = covariances[frame + 1] - covariance
        covariances[frame] = covariances[frame] + gain @ change @ gain.T
    return np.stack(means), np.stack(covariances)


@pytest.fixture(scope="module")
def smoothed():
    _, signals = sequences(1, PHI, TIMES, seed=3)
    return signals, smoother(signals[0], SEEN, PHI, TIMES)


@pytest.mark.slow
def test_the_mode_is_that_of_a_kalman_smoother(smoothed):
    signals, (means, _) = smoothed
    model = linear_model(prior_of(), preconditioning=True)
    model.table.allocate(4)
    model.precondition()
    model.inference = Langevin(300, 0.7, temperature=0.0)
    hidden = np.where(SEEN, signals, np.nan)
    np.testing.assert_allclose(model.infer(hidden, SEEN[None])[0], means, atol=1e-4)
    # Without the map of time the long gap is not reached in as many steps.
    model.preconditioning, model.inference = False, Langevin(300, 0.2, temperature=0.0)
    assert np.abs(model.infer(hidden, SEEN[None])[0] - means).max() > 0.05


def test_chains_have_the_covariance_of_a_kalman_smoother(smoothed):
    signals, (means, covariances) = smoothed
    model = linear_model(prior_of(), preconditioning=True, inference=MALA(80, 0.7))
    model.table.allocate(4)
    model.precondition()
    rows = np.repeat(signals, 3000, axis=0)
    found = model.infer(rows, np.repeat(SEEN[None], 3000, axis=0), batch_size=3000)
    deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert deviations.max() > 0.8 > 3 * deviations.min()
    assert (np.abs(found.mean(0) - means) < 0.08 * deviations).all()
    for frame, exact in enumerate(covariances):
        scale = np.outer(deviations[frame], deviations[frame])
        assert (np.abs(np.cov(found[:, frame].T) - exact) < 0.12 * scale).all()


def test_draws_have_the_covariance_of_the_process_and_belong_to_their_seeds():
    times = TIMES[:7]
    prior = prior_of(times=times, frames=7)
    draw = tf.function(prior.draw)
    pairs = tf.stack([tf.range(20000, dtype=tf.int64), tf.zeros(20000, tf.int64)], axis=1)
    drawn = draw(pairs).numpy()
    lags = np.abs(np.subtract.outer(times, times))
    for number, phi in enumerate(PHI):
        np.testing.assert_allclose(np.cov(drawn[..., number].T), phi**lags, atol=0.04)
        precision = prior.precision()[number].numpy()
        np.testing.assert_allclose(precision @ phi**lags, np.eye(7), atol=1e-3)
        energy = 0.5 * np.einsum("ns,st,nt->n", drawn[:9, :, number], precision, drawn[:9, :, number])
        alone = drawn[:9] * (np.arange(SIZE) == number)
        np.testing.assert_allclose(prior.energy(alone), energy, rtol=1e-3)
    np.testing.assert_allclose(np.cov(drawn[..., 0].T, drawn[..., 1].T)[:7, 7:], 0, atol=0.04)
    np.testing.assert_array_equal(draw(pairs[5:6])[0], drawn[5])


@pytest.mark.slow
def test_compiled_by_xla_all_is_the_same():
    prior = prior_of(times=TIMES[:4], frames=4)
    preconditioner = Preconditioner((4, SIZE))
    preconditioner.follow([tf.eye(SIZE, dtype=tf.float64)])
    preconditioner.values[0].assign([3.0, 0.5])
    drawn = prior.draw(tf.constant([[1, 0], [2, 0]], tf.int64))
    share = prior.share(tf.constant([[[1, 1], [0, 0], [1, 0], [0, 0]]] * 2, tf.float32))
    np.testing.assert_array_equal(share, [[1, 0, 1, 0]] * 2)  # no less than one entry per latent

    def both(latent):
        return prior.energy(latent), preconditioner.root([share], prior.precision())(latent)

    compiled = tf.function(both, jit_compile=True)(drawn)
    for one, other in zip(both(drawn), compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_prior_that_learns_is_adapted_between_expansion_and_preconditioner():
    def kinds(**options):
        prior = TimePrior((3, SIZE), **options)
        found = linear_model(prior, expansion=1.0, preconditioning=True).observers()
        return [type(one) for one in found[1:]]

    around = [schedules.ExpandLatents, schedules.AdaptPreconditioner]
    assert kinds() == [around[0], schedules.AdaptPrior, around[1]]
    assert kinds(learn=False) == around


def test_frames_may_have_grids_of_latents():
    prior = prior_of(np.array([0.9, 0.0, 0.4]), None, 4)
    grid = TimePrior((4, 2, 3))
    grid.correlation.assign(prior.correlation)
    drawn = np.random.default_rng(0).normal(size=(5, 4, 2, 3)).astype(np.float32)
    both = prior.energy(drawn[:, :, 0]) + prior.energy(drawn[:, :, 1])
    np.testing.assert_allclose(grid.energy(drawn), both, rtol=1e-5)
    assert grid.draw(tf.zeros([2, 2], tf.int64)).shape == (2, 4, 2, 3)
    grid.adapt(drawn)
    prior.adapt(np.concatenate([drawn[:, :, 0], drawn[:, :, 1]]))
    np.testing.assert_array_equal(grid.correlation, prior.correlation)


@pytest.mark.parametrize("times", [None, np.cumsum([0.0, *[0.4, 1.0, 3.0] * 33]).tolist()])
def test_correlations_are_those_that_made_the_sequences(times):
    phi = np.array([0.0, 0.6, 0.98])
    latents, _ = sequences(40, phi[1:], range(100) if times is None else times)
    white = np.random.default_rng(5).normal(size=(40, 100, 1))
    prior = TimePrior((100, 3), times=times)
    prior.adapt(np.concatenate([white, latents], axis=2).astype(np.float32))
    np.testing.assert_allclose(prior.correlation, phi, atol=0.04)
    np.testing.assert_allclose(prior.correlation[2], 0.98, atol=0.005)
    prior.adapt(np.ones((40, 100, 3), np.float32))  # a limit, where the prior is still a distribution
    shortest = 1.0 if times is None else 0.4
    np.testing.assert_allclose(prior.correlation, 0.999 ** (1 / shortest), rtol=1e-5)


def test_expansion_separates_latents_of_different_correlation():
    latents, _ = sequences(200, np.array([0.95, 0.3]), range(40))
    mixed = (latents @ [[2.0, 1.0], [-1.0, 0.5]] + [0.5, 0.0]).astype(np.float32)
    prior = TimePrior((40, 2))
    whitened, (turned,) = prior.absorb(tf.constant(mixed))
    found, root = whitened.numpy(), turned.numpy()
    np.testing.assert_allclose(prior(found), mixed, atol=1e-4)
    np.testing.assert_allclose(found @ root.T, mixed - mixed.mean((0, 1)), atol=1e-4)
    np.testing.assert_allclose(np.sort(prior.correlation.numpy()), [0.3, 0.95], atol=0.03)
    order = np.argsort(prior.correlation.numpy())[::-1]
    each = found.reshape(-1, 2)[:, order].T
    agreement = np.abs(np.corrcoef(each, latents.reshape(-1, 2).T)[:2, 2:])
    np.testing.assert_allclose(agreement, np.eye(2), atol=0.1)
    plain, fixed = Prior((40, 2)), TimePrior((40, 2), learn=False)
    for one, other in zip(plain.absorb(mixed), fixed.absorb(mixed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_preconditioner_follows_an_expansion_that_turns():
    model = linear_model(TimePrior((6, SIZE)), preconditioning=True)
    rng = np.random.default_rng(0)
    model.table.put((rng.normal(size=(50, 6, SIZE)) @ [[2.0, 1.0], [0, 0.3]]).astype(np.float32))
    model.precondition()
    model.expand()
    identity = np.eye(2, dtype=np.float32)[:, None] * np.ones((6, 1), np.float32)
    followed = model.preconditioner(identity).numpy()
    model.precondition()
    np.testing.assert_allclose(followed, model.preconditioner(identity), rtol=1e-3, atol=1e-5)


def test_fit_learns_how_strongly_frames_are_correlated():
    _, signals = sequences(60, PHI, range(12))
    mask = np.ones(signals.shape, bool)
    mask[np.random.default_rng(0).random((60, 12)) < 0.3] = False  # whole frames
    prior = TimePrior((12, SIZE), correlation=0.8)
    model = linear_model(prior, preconditioning=True, langevin=MALA(6, 0.7))
    model.optimizer.learning_rate = 1e-9
    model.fit({"signal": signals, "mask": mask}, batch_size=60, epochs=40, verbose=0)
    # The likelihood of the signals, latents integrated out, is largest at .97 and .35 on a grid of .01
    # and .05; from one epoch to the next the values vary by .002 and .03.
    first, second = prior.correlation.numpy()
    assert abs(first - 0.97) < 0.015
    assert abs(second - 0.36) < 0.12


@pytest.mark.slow
def test_without_correlation_training_is_that_of_the_plain_prior():
    _, signals = sequences(6, PHI, range(4))
    mask = np.random.default_rng(0).random(signals.shape) < 0.6
    models = []
    for prior in (Prior((4, SIZE)), TimePrior((4, SIZE), learn=False)):
        model = linear_model(prior_frames(prior), expansion=0.5, langevin=Langevin(4, 0.2))
        model.fit({"signal": signals, "mask": mask}, batch_size=3, epochs=3, verbose=0)
        models.append(model)
    plain, timed = models
    np.testing.assert_array_equal(plain.latents, timed.latents)
    for one, other in zip(plain.network.weights, timed.network.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    seeds = tf.constant([[3, 0], [4, 0]], tf.int64)
    np.testing.assert_array_equal(plain.prior.draw(seeds), timed.prior.draw(seeds))


def prior_frames(prior):
    """Let `linear_model` build a network of as many frames as the prior has."""
    prior.frames = prior.latent_shape[0]
    return prior


@pytest.fixture(scope="module")
def learned():
    _, signals = sequences(8, PHI, TIMES)
    data = {"signal": signals, "mask": np.repeat(SEEN[None], 8, axis=0)}
    options = {"preconditioning": True, "expansion": 1.0}
    model = linear_model(TimePrior((30, SIZE), TIMES, correlation=0.5), **options)
    model.fit(data, batch_size=4, epochs=2, verbose=0)
    return model, data, options


def test_a_resumed_training_is_one_left_alone(learned, tmp_path, assert_same_state):
    model, data, options = learned
    model.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_state(model, resumed)
    assert resumed.prior.get_config() == model.prior.get_config()
    whole = linear_model(TimePrior((30, SIZE), TIMES, correlation=0.5), **options)
    whole.fit(data, batch_size=4, epochs=4, verbose=0)
    resumed.fit(data, batch_size=4, initial_epoch=2, epochs=4, verbose=0)
    assert_same_state(whole, resumed)
    assert (whole.prior.correlation.numpy() != 0.5).all()


@pytest.mark.slow
def test_exported_functions_are_the_methods(learned, tmp_path):
    model, data, _ = learned
    signals, mask = data["signal"][:2], data["mask"][:2]
    model.export(tmp_path / "1", samples=4, chains=2)
    served = tf.saved_model.load(tmp_path / "1").signatures
    seeds = tf.constant([0, 1], tf.int64)
    drawn = served["synthesize"](seed=seeds)["signal"]
    np.testing.assert_allclose(drawn, model.synthesize(2), atol=1e-5)
    filled = served["inpaint"](signal=signals, mask=mask.astype(np.float32), seed=seeds)["signal"]
    np.testing.assert_allclose(filled, model.inpaint(signals, mask), atol=1e-4)
    # A row is the same alone and in a batch.
    np.testing.assert_allclose(model.inpaint(signals[1:], mask[1:], seed=1)[0], filled[1], atol=1e-4)
    found = model.sample_posterior(signals, mask, samples=4, chains=2)
    samples = served["sample_posterior"](signal=signals, mask=mask.astype(np.float32), seed=seeds)
    np.testing.assert_allclose(samples["samples"], found.samples, atol=1e-4)


def test_a_model_of_longer_sequences(learned):
    model = linear_model(TimePrior((6, SIZE), correlation=0.9))
    longer = abp_tf.resized(model, (20, SIZE))
    assert longer.synthesize(2).shape == (2, 20, ENTRIES)
    np.testing.assert_array_equal(longer.prior.correlation, model.prior.correlation)
    with pytest.raises(TypeError, match=r"20 times.*received 30"):
        abp_tf.resized(learned[0], (20, SIZE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_shape": (5,)}, r"received \(5,\)"),
        ({"times": [0, 1]}, "3 times.*received 2"),
        ({"times": [0, 2, 2]}, "received 2 followed by 2 at frame 2"),
        ({"times": [0, np.nan, 2]}, "of which 2 are finite"),
        ({"correlation": 1.0}, "`correlation` of at most 0.999, received 1.0"),
        ({"correlation": 0.99, "times": [0, 0.01, 5]}, "at most 0.904.*received 0.99"),
        ({"correlation": -0.5}, "`correlation` in"),
        ({"learn": "yes"}, "`learn` to be a bool"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimePrior(**{"latent_shape": (3, 2), **arguments})


def test_learning_needs_persistent_chains():
    with pytest.raises(ValueError, match=r"TimePrior expected chains='persistent'.*learn=False"):
        linear_model(TimePrior((3, SIZE)), chains="fresh")
    linear_model(TimePrior((3, SIZE), learn=False), chains="fresh")

"""Generators with local latents: against kriging in closed form, and through all that models do."""

import itertools

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin, networks
from abp_tf.observation import masking

SIGMA, STEP = 0.4, 0.5
SHAPE, LOCAL = (5, 4, 1), ((3, 3), (6, 2))  # grids of 3x2 and 6x4 positions


def make(shape=SHAPE, local=LOCAL, activation="linear", **options):
    keras.utils.set_random_seed(0)
    network = networks.field_generator(shape, 2, local, width=4, activation=activation)
    options = {"sigma": SIGMA, "value_range": None, "preconditioning": True, **options}
    return Generator(network, langevin=Langevin(4, STEP), **options)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bounds(blocks):
    ends = np.cumsum([0, *(np.prod(shape) for shape in blocks)])
    return [slice(*pair) for pair in itertools.pairwise(ends)]


@pytest.fixture(scope="module")
def linear():
    """A linear generator whose prior was expanded, and W and b of its frames, flat."""
    model = make()
    size = model.latent_shape[0]
    model.table.allocate(300)
    model.table.states.assign(normal(300, size) * np.linspace(0.5, 1.5, size) + 0.2)
    model.expand()
    model.precondition()
    frames = model(np.concatenate([np.zeros((1, size)), np.eye(size)]).astype(np.float32))
    frames = frames.numpy().astype(np.float64).reshape(size + 1, -1)
    return model, (frames[1:] - frames[0]).T, frames[0]


def test_inference_is_kriging(linear):
    model, weights, bias = linear
    signal, seen = normal(*SHAPE, seed=3), np.random.default_rng(4).random(20) > 0.4
    covariance = weights @ weights.T
    across = covariance[:, seen] @ np.linalg.inv(
        covariance[seen][:, seen] + SIGMA**2 * np.eye(seen.sum())
    )
    mean = bias + across @ (signal.ravel() - bias)[seen]

    mask = seen.reshape(1, *SHAPE)
    model.inference = Langevin(400, STEP, temperature=0.0)
    found = model.reconstruct(np.where(mask, signal, np.nan), mask)
    assert np.abs(mean - bias)[~seen].max() > 0.2
    np.testing.assert_allclose(found.ravel(), mean, atol=1e-3)

    # In the coordinates of the chains, their exact stationary covariance; then without its inflation.
    size = weights.shape[1]
    posterior = model.posterior(tf.constant(signal[None]), tf.cast(mask, "float32"))
    root = posterior.root(tf.eye(size)).numpy().astype(np.float64)
    precision = weights[seen].T @ weights[seen] / SIGMA**2 + np.eye(size)
    own = root.T @ precision @ root
    inflated = np.linalg.inv(own) @ np.linalg.inv(np.eye(size) - STEP**2 * own / 4)
    exact = covariance - across @ covariance[seen]
    decoded = weights @ root
    np.testing.assert_allclose(decoded @ np.linalg.inv(own) @ decoded.T, exact, atol=1e-5)

    model.inference, count = Langevin(200, STEP), 3000
    latents = model.infer(
        np.tile(signal, (count, 1, 1, 1)), np.tile(mask, (count, 1, 1, 1)), batch_size=count
    )
    drawn = model(latents).numpy().reshape(count, -1)
    variance = np.diag(decoded @ inflated @ decoded.T)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(drawn.var(0)[~seen], variance[~seen], rtol=0.1)


def metrics(model):
    layer = model.preconditioner
    pairs = zip(layer.vectors, layer.values, strict=True)
    return [vectors.numpy() * values.numpy() @ vectors.numpy().T for vectors, values in pairs]


def test_the_preconditioner_has_the_eigenvalues_of_each_block(linear):
    model, weights, _ = linear
    layer, size = model.preconditioner, weights.shape[1]
    first, *grids = bounds(layer.blocks)
    curvature = weights.T @ weights / SIGMA**2
    found, *of_grids = metrics(model)
    np.testing.assert_allclose(found, curvature[first, first], rtol=1e-3)
    root = layer(np.eye(size, dtype=np.float32)).numpy()
    blocks = np.zeros((size, size))
    blocks[first, first] = found
    for metric, part, (*sides, _) in zip(of_grids, grids, layer.blocks[1:], strict=True):
        whole = np.kron(np.eye(np.prod(sides)), metric)
        # It bounds the curvature of the grid, and no smaller multiple does.
        largest = scipy.linalg.eigh(curvature[part, part], whole, eigvals_only=True)[-1]
        assert 0.999 < largest < 1.02
        assert np.linalg.eigvalsh(metric)[-1] > 0.5
        blocks[part, part] = whole
    np.testing.assert_allclose(root @ (blocks + np.eye(size)) @ root, np.eye(size), atol=1e-4)
    # Where nothing is observed nearby, latents move at the pace of their prior.
    near = np.zeros((size, 3, 2), np.float32)
    near[:, 0] = 1
    shares = [tf.fill([size], 0.5), tf.constant(near), tf.zeros([size, 6, 4])]
    shared = layer(np.eye(size, dtype=np.float32), shares).numpy()
    blocks[first, first] /= 2
    blocks[grids[0], grids[0]] *= np.repeat(near[0].ravel(), 3)
    blocks[grids[1], grids[1]] = 0
    np.testing.assert_allclose(shared @ (blocks + np.eye(size)) @ shared, np.eye(size), atol=1e-4)


def test_an_expansion_changes_no_frame_and_the_preconditioner_follows():
    model = make(activation="elu")
    size = model.latent_shape[0]
    model.table.allocate(200)
    model.precondition()
    for seed in (0, 1):  # the second time μ and A are no longer those of the beginning
        model.table.states.assign(normal(200, size, seed=seed) * np.linspace(0.3, 2, size) + 0.5)
        before, states = model(model.latents).numpy(), model.latents
        former = metrics(model)
        model.expand()
        np.testing.assert_allclose(model(model.latents), before, atol=1e-4)
        for number, part in enumerate(bounds(model.prior.blocks)):
            channels = model.prior.blocks[number][-1]
            rows = model.latents[:, part].reshape(-1, channels)
            np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
            np.testing.assert_allclose(np.cov(rows.T, bias=True), np.eye(channels), atol=1e-3)
            covariance = np.cov(states[:, part].reshape(-1, channels).T, bias=True)
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(values) @ vectors.T
            expected = root @ former[number] @ root
            np.testing.assert_allclose(metrics(model)[number], expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("positions", [6, 14, 36])
def test_nothing_is_observed_near_a_position_that_acts_on_nothing_observed(positions):
    shape = (21, 33, 2)
    network = make(shape, ((positions, 2),), "elu").network
    _, (*grid, channels) = networks.latent_blocks(network)
    mask = np.zeros((1, *shape), np.float32)
    mask[:, 15:, 3:10] = 1
    latents = tf.constant(normal(1, network.input_shape[-1]))
    with tf.GradientTape() as tape:
        tape.watch(latents)
        frames = network(latents)
    gradient = tape.gradient(frames, latents, output_gradients=mask * normal(1, *shape))
    acts = np.abs(gradient[0, 2:].numpy().reshape(*grid, channels)).max(-1) > 0
    shares = masking.local_shares(tf.constant(mask), grid)[0].numpy()
    np.testing.assert_array_equal(shares > 0, acts)
    assert 0 < acts.sum() < acts.size
    assert shares.max() <= 1


def test_steps_of_a_half_are_stable_where_a_diagonal_is_not():
    model = make((24, 30, 1), ((8, 3), (30, 2)), "elu", sigma=0.3)
    model.table.allocate(16)
    model.precondition()
    signal = tf.constant(normal(4, 24, 30, 1))
    mask = np.ones((4, 24, 30, 1), np.float32)
    mask[1:, 5:20, 8:] = 0
    mask[2:, 12:] = 0
    latents = tf.constant(model.latents[:4])
    for seen in (None, tf.constant(mask)):
        found = model.posterior(signal, seen).stability(Langevin(1, STEP), latents).numpy()
        assert (found < 0.5).all()
        assert (found > 0.02).all()
    plain = make((24, 30, 1), ((8, 3), (30, 2)), "elu", sigma=0.3)
    assert (plain.posterior(signal, None).stability(Langevin(1, STEP), latents).numpy() > 2).all()


@pytest.mark.parametrize(("shape", "local"), [((21, 33, 2), ((14, 2),)), (SHAPE, LOCAL)])
def test_odd_shapes_through_fit_save_and_export(shape, local, tmp_path, export_only):
    model = make(shape, local, "elu", expansion=1.0, inference=Langevin(4, STEP, cool=2))
    model.compile(keras.optimizers.Adam(1e-3))
    signals, mask = normal(9, *shape), np.random.default_rng(1).random((9, *shape)) > 0.3
    signals[~mask] = np.nan
    model.fit({"signal": signals, "mask": mask}, batch_size=4, epochs=2, verbose=0)
    assert model.latents.shape == (9, *model.latent_shape)
    filled = model.inpaint(signals, mask)
    np.testing.assert_array_equal(filled[mask], signals[mask])
    assert np.isfinite(filled).all()

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.prior.blocks == again.preconditioner.blocks == networks.latent_blocks(model.network)
    np.testing.assert_array_equal(again.latents, model.latents)
    np.testing.assert_allclose(again.inpaint(signals, mask), filled, atol=1e-5)
    export_only(model, tmp_path / "1", "synthesize", "inpaint")
    served = tf.saved_model.load(tmp_path / "1").signatures
    found = served["synthesize"](seed=tf.range(3, dtype=tf.int64))
    np.testing.assert_allclose(found["signal"], model.synthesize(3, seed=0), atol=1e-5)
    assert found["latent"].shape == (3, *model.latent_shape)


def test_interpolation_and_other_sizes():
    model = make(activation="elu", inference=Langevin(4, STEP))
    signals = normal(2, *SHAPE)
    path = model.interpolate(signals, abp_tf.interpolation.line(3))
    np.testing.assert_allclose(path[[0, 2]], model.reconstruct(signals), atol=1e-5)
    with pytest.raises(ValueError, match=r"inputs of \(68,\) only"):
        abp_tf.resized(model, (68,))

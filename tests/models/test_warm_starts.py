"""Warm starts: an encoder that learns from the chains of training where those of new signals begin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin, networks
from abp_tf.models import warm_starts
from abp_tf.sampling.preconditioner import Preconditioner
from abp_tf.sampling.random import ENCODER, row_seeds
from tests.models import linear


@pytest.fixture(scope="module")
def factors():
    return linear.learned_with_encoder(inference=Langevin(300, 0.4))


@pytest.fixture(scope="module")
def both(factors):
    """The same linear model with the encoder and without it, where chains begin at the prior."""
    return factors, linear.without_encoder(factors)


def test_long_chains_forget_where_they_began(both):
    rows, signal = 3000, linear.factor_data(1, seed=7)[0]
    masks = np.arange(linear.ENTRIES) >= np.array([[0], [5]])  # all observed, five hidden
    many = np.tile(signal, (2 * rows, 1)), np.repeat(masks, rows, axis=0)
    found = [np.split(model.infer(*many, batch_size=2 * rows), 2) for model in both]
    assert np.abs(found[0][0] - found[1][0]).max() > 0  # they did begin elsewhere
    for number, mask in enumerate(masks):
        mean, precision = linear.posterior(both[0], signal, mask)
        deviation = np.sqrt(np.diag(np.linalg.inv(precision)))
        # Unadjusted chains in the coordinates of the preconditioner, which is symmetric.
        weights = tf.constant(np.tile(mask, (3, 1)), tf.float32)
        root = both[0].root(tf.ones_like(weights), weights)(tf.eye(3)).numpy()
        limit = root @ linear.unadjusted(root @ precision @ root, 0.4) @ root
        for long in (warm[number] for warm in found):
            assert (np.abs(long.mean(0) - mean) < 0.08 * deviation).all()
            assert (np.abs(np.cov(long.T) - limit) < 0.08 * np.outer(deviation, deviation)).all()


def test_short_chains_gain_from_a_warm_start(both):
    signals = linear.factor_data(200, seed=7)
    masks = np.random.default_rng(2).random(signals.shape) > 0.4
    exact = [linear.posterior(both[0], *each) for each in zip(signals, masks, strict=True)]
    found = []
    for model in both:
        latents = model.infer_latents(
            tf.constant(signals),
            tf.constant(masks, tf.float32),
            tf.range(200, dtype=tf.int64),
            Langevin(1, 0.4),
        ).numpy()
        # The mean of (z − m)ᵀ Λ (z − m) / d is 1 for draws from the posteriors.
        away = zip(latents, exact, strict=True)
        found.append(np.mean([(z - mean) @ p @ (z - mean) / 3 for z, (mean, p) in away]))
    warm, cold = found
    assert warm < 6, cold
    assert warm < 0.25 * cold


@pytest.mark.parametrize("options", [{}, pytest.param({"chains": "fresh"}, marks=pytest.mark.slow)])
def test_training_does_not_depend_on_the_encoder(digits, masks_of_digits, make_model, options):
    models = [make_model(encoder=encoder, **options) for encoder in (False, True)]
    logs = [
        model.fit(
            {"signal": digits, "mask": masks_of_digits}, batch_size=50, epochs=2, verbose=0
        ).history
        for model in models
    ]
    assert np.isfinite(logs[1].pop("encoder_loss")).all()
    assert logs[0] == logs[1]
    for one, other in zip(*(model.network.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    if not options:
        np.testing.assert_array_equal(models[0].latents, models[1].latents)


@pytest.fixture(scope="module")
def taught(digits):
    """A tiny generator after two epochs with an encoder, on masked digits; not trained further."""
    keras.utils.set_random_seed(1)
    network = networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    model = Generator(
        network,
        langevin=Langevin(5, 0.5),
        inference=Langevin(4, 0.3, cool=2),
        preconditioning=True,
        encoder=True,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    mask = abp_tf.masks.pepper(len(digits), (8, 8), 0.4, seed=3)
    model.fit({"signal": digits, "mask": mask}, batch_size=50, epochs=2, verbose=0)
    return model


def test_hidden_entries_are_not_looked_at(digits, masks_of_digits, taught):
    hidden = ~masks_of_digits[..., None]
    spoiled = np.where(hidden, np.nan, digits)
    for method in (taught.infer, taught.inpaint):
        np.testing.assert_array_equal(
            method(digits[:9], masks_of_digits[:9]), method(spoiled[:9], masks_of_digits[:9])
        )
    found = [
        taught.sample_posterior(x[:9], masks_of_digits[:9], samples=2, chains=2).samples
        for x in (digits, spoiled)
    ]
    np.testing.assert_array_equal(*found)
    errors = [
        taught.evaluate({"signal": x, "mask": masks_of_digits}, verbose=0, return_dict=True)
        for x in (digits, spoiled)
    ]
    assert errors[0] == errors[1]


def test_hidden_entries_teach_nothing(digits, masks_of_digits, make_model):
    learned = []
    for filling in (0.0, np.nan):
        model = make_model(encoder=True)
        signal = np.where(masks_of_digits[..., None], digits, np.float32(filling))
        model.fit({"signal": signal, "mask": masks_of_digits}, batch_size=60, epochs=1, verbose=0)
        learned.append(model.encoder.get_weights())
    for one, other in zip(*learned, strict=True):
        np.testing.assert_array_equal(one, other)


def test_exports_carry_the_encoder_and_rows_are_independent(
    digits, masks_of_digits, taught, tmp_path, export_only
):
    export_only(taught, tmp_path / "digits" / "1", "inpaint", "reconstruct")
    served = tf.saved_model.load(str(tmp_path / "digits" / "1")).signatures["inpaint"]
    mask = np.broadcast_to(masks_of_digits[..., None], digits.shape).astype(np.float32)

    def answer(rows):
        seed = tf.constant(np.arange(len(digits))[rows], tf.int64)
        return served(signal=digits[rows], mask=mask[rows], seed=seed)["signal"].numpy()

    whole = answer(slice(None))
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(whole, taught.inpaint(digits, masks_of_digits), atol=1e-5)
    for count in (1, 4, 8):
        np.testing.assert_allclose(answer(slice(3, 3 + count)), whole[3 : 3 + count], atol=1e-4)
    for batch_size in (1, 8):
        found = taught.infer(digits[:8], masks_of_digits[:8], batch_size=batch_size)
        np.testing.assert_allclose(found, taught.infer(digits, masks_of_digits)[:8], atol=1e-4)
    # Another start gives another end of so few steps.
    cold = Generator.from_config({**taught.get_config(), "encoder": False})
    for part in ("network", "preconditioner"):
        getattr(cold, part).set_weights(getattr(taught, part).get_weights())
    assert np.abs(cold.inpaint(digits, masks_of_digits) - whole).max() > 0.01


def test_saved_with_its_optimizer(digits, masks_of_digits, taught, tmp_path, assert_same_state):
    taught.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_same_state(again, taught)
    optimizer, variables = again.learners()[1]
    assert int(optimizer.iterations) == int(again.iteration) == 6
    assert len(variables) == len(again.encoder.trainable_variables)
    np.testing.assert_array_equal(
        again.inpaint(digits[:5], masks_of_digits[:5]), taught.inpaint(digits[:5], masks_of_digits[:5])
    )


def test_expansion_moves_what_the_encoder_says_with_the_chains(digits, make_model):
    model = make_model(encoder=True, expansion=1.0)
    rng = np.random.default_rng(0)
    model.encoder.set_weights([0.3 * rng.normal(size=w.shape) for w in model.encoder.get_weights()])
    model.reset_chains(len(digits))
    model.table.put((2 + 3 * rng.normal(size=(len(digits), 4))).astype(np.float32))

    def decoded():
        mean, _ = warm_starts._moments(model, model.encoder(warm_starts._view(digits, None)))
        return model.decode(mean).numpy(), mean.numpy()

    before = decoded()
    model.expand()
    after = decoded()
    np.testing.assert_allclose(after[0], before[0], atol=1e-4)
    assert np.abs(after[1] - before[1]).max() > 0.1


@pytest.mark.parametrize("shape", [(40, 6), (40, 8, 5, 2), (40, 20)])
def test_more_is_hidden_from_the_encoder_row_by_row(shape):
    signal = tf.ones(shape)
    weights = np.random.default_rng(0).choice([0.0, 0.5, 2.0], size=shape).astype(np.float32)
    seeds = row_seeds(tf.range(shape[0], dtype=tf.int64), ENCODER)
    shown = warm_starts.thinned(signal, tf.constant(weights), seeds).numpy()
    assert ((shown == weights) | (shown == 0)).all()
    same = (shown == weights).reshape(len(shown), -1).all(1)
    assert 0.25 < same.mean() < 0.75
    kept = warm_starts.thinned(signal, None, seeds).numpy()
    np.testing.assert_array_equal(shown, weights * kept)
    alone = warm_starts.thinned(signal[:3], None, seeds[7:10]).numpy()
    np.testing.assert_array_equal(alone, kept[7:10])
    if len(shape) > 2:  # a position is hidden in all channels
        np.testing.assert_array_equal(kept.min(-1), kept.max(-1))


def test_the_inverse_of_the_root_undoes_it():
    rng = np.random.default_rng(0)
    layer = Preconditioner((5, 3))
    layer.follow([tf.eye(3, dtype=tf.float64)])
    layer.values[0].assign([0.1, 4.0, 30.0])
    layer.vectors[0].assign(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    prior = abp_tf.TimePrior((5, 3), correlation=0.9)
    displacement = rng.normal(size=(2, 5, 3)).astype(np.float32)
    share = [tf.constant(rng.random((2, 5)), tf.float32)]
    for precision in (None, prior.precision()):
        moved = layer.root(share, precision)(displacement)
        back = layer.root(share, precision, inverse=True)(moved)
        np.testing.assert_allclose(back, displacement, atol=1e-4)
        assert np.abs(moved - displacement).max() > 0.3


def test_data_unlike_all_others_begin_at_the_prior(digits, taught):
    encoder = taught.encoder.get_weights()
    taught.encoder.set_weights([np.full_like(one, 9.0) for one in encoder])
    start = tf.function(taught.starts)(digits, None, tf.range(len(digits), dtype=tf.int64))[0]
    taught.encoder.set_weights(encoder)
    assert np.abs(start).max() < 6


KINDS = {
    "frames": lambda: (
        networks.frame_by_frame(networks.image_generator((8, 8, 1), 5, 4), 6),
        {"prior": abp_tf.TimePrior((6, 5), correlation=0.5)},
    ),
    "local": lambda: (networks.field_generator((13, 9, 2), 4, local=[(6, 3), (11, 2)], width=4), {}),
    "projections": lambda: (
        networks.image_generator((8, 8, 1), 5, 4),
        {"observation": abp_tf.Projection(20)},
    ),
    "coarse": lambda: (
        networks.field_generator((8, 8, 1), 4, local=[(8, 2)], width=4),
        {"observation": abp_tf.Coarser(2)},
    ),
    "grid": lambda: (networks.texture_generator((16, 16, 1), width=4, levels=2, padding="valid"), {}),
    "scaled": lambda: (
        networks.image_generator((8, 8, 1), 5, 4, output="linear"),
        {"scaling": abp_tf.Scaling(np.float32([12]), np.float32([3]))},
    ),
}


@pytest.mark.parametrize(
    "name",
    ["scaled", *(pytest.param(name, marks=pytest.mark.slow) for name in KINDS if name != "scaled")],
)
def test_every_kind_of_latents_and_data(name):
    network, options = KINDS[name]()
    observed = {"projections": (20,), "coarse": (4, 4, 1)}.get(name, network.output_shape[1:])
    model = Generator(
        network,
        value_range=None,
        encoder=networks.encoder(observed, networks.latent_blocks(network), width=2, hidden=8),
        preconditioning=True,
        langevin=Langevin(2, 0.3),
        inference=Langevin(1, 0.3),
        **options,
    )
    model.compile(keras.optimizers.Adam(1e-2))
    rng = np.random.default_rng(0)
    signal = (12 + 3 * rng.normal(size=(6, *model.observed_shape))).astype(np.float32)
    if name != "scaled":
        signal = (signal - 12) / 3
    mask = rng.random(signal.shape) > 0.5
    before = model.encoder.get_weights()
    model.fit({"signal": signal, "mask": mask}, batch_size=6, epochs=1, verbose=0)
    moved = [np.abs(a - b).max() for a, b in zip(before, model.encoder.get_weights(), strict=True)]
    assert max(moved) > 0
    assert model.reconstruct(signal, mask).shape == (6, *model.signal_shape)


@pytest.mark.parametrize(
    ("network", "observed"),
    [
        (networks.sound_generator(300, width=4), (300, 1)),
        (networks.video_generator((4, 16, 16, 3), width=4), (4, 16, 16, 3)),
        (networks.volume_generator((8, 9, 10, 1), 4, width=4), (8, 9, 10, 1)),
        (networks.linear((12,), 3), (12,)),
    ],
)
def test_an_encoder_is_built_for_every_kind_of_signal(network, observed):
    model = Generator(network, value_range=None, encoder=True)
    *grid, channels = model.latent_shape
    assert model.encoder.input_shape == (None, *observed[:-1], 2 * observed[-1])
    assert model.encoder.output_shape == (None, *grid, 2 * channels)
    # Before it has learned, chains begin at the prior.
    signal = np.zeros((2, *observed), np.float32)
    np.testing.assert_array_equal(model.encoder(np.concatenate([signal, signal], -1)), 0)


def test_what_does_not_fit_is_refused(make_model):
    network = networks.linear((8, 8, 1), 4)
    with pytest.raises(
        ValueError, match=r"`encoder` .*\(8, 8, 2\).*\(8,\).* from \(6, 6, 2\) to \(10,\)"
    ):
        Generator(network, encoder=networks.encoder((6, 6, 1), ((5,),), width=2))
    with pytest.raises(ValueError, match="received str"):
        Generator(network, encoder="mirror")
    with pytest.raises(AttributeError, match="encoder is fixed"):
        make_model().encoder = True
    descriptor = abp_tf.Descriptor(networks.image_descriptor((8, 8, 1), 4), chains="short-run")
    with pytest.raises(ValueError, match="without an encoder"):
        abp_tf.CoopNets(make_model(encoder=True), descriptor)
    texture = Generator(networks.texture_generator((16, 16, 1), width=4, levels=2), encoder=True)
    assert abp_tf.resized(texture, (6, 6, 1)).encoder is None


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_encoder_that_diverges_leaves_all_as_it_was(digits, make_model, jit_compile):
    model = make_model(encoder=True)
    model.compile(keras.optimizers.SGD(1e-3), jit_compile=jit_compile)
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    model.encoder.set_weights([np.full_like(one, np.nan) for one in model.encoder.get_weights()])
    before = model.network.get_weights(), model.latents
    with pytest.raises(abp_tf.DivergenceError, match="encoder"):
        model.fit(digits, batch_size=60, epochs=1, verbose=0)
    for one, other in zip(before[0], model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(before[1], model.latents)

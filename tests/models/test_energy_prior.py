"""A prior that is learned: its draws, its density, its part in a generator."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import EnergyPrior, Generator, Langevin, networks
from abp_tf.sampling.random import row_seeds

RADIUS = 2.0


def seeds_of(count, first=0):
    return row_seeds(tf.range(first, first + count, dtype=tf.int64), 0)


def make_prior(shape=(2,), **options):
    keras.utils.set_random_seed(0)
    return EnergyPrior(networks.latent_energy(shape, 64), **options)


@pytest.fixture(scope="module")
def ring():
    """A prior that has learned points on a ring."""
    prior = make_prior(langevin=Langevin(60, 0.2), learning_rate=1e-3)
    optimizer = prior.optimizer()
    rng = np.random.default_rng(0)

    @tf.function
    def step(points, seeds):
        lesson = prior.lesson(points, seeds, tf.reduce_mean)
        lesson.apply(optimizer, lesson.gradients)

    for number in range(400):
        angle, radius = rng.uniform(0, 2 * np.pi, 200), RADIUS + 0.15 * rng.normal(size=200)
        points = (radius * [np.cos(angle), np.sin(angle)]).T.astype(np.float32)
        step(tf.constant(points), seeds_of(200, 200 * number))
    return prior


def test_draws_lie_on_the_ring_and_have_the_density_of_the_energy(ring):
    drawn = tf.function(ring.draw)(seeds_of(4000, -4000)).numpy()
    radius = np.linalg.norm(drawn, axis=1)
    assert abs(np.median(radius) - RADIUS) < 0.15
    assert np.mean(abs(radius - RADIUS) < 0.6) > 0.9  # .4 of draws from N(0, I)
    # All around, and as often at each radius as the energy says, with its normalizer by quadrature.
    quarters = np.bincount((drawn > 0) @ [1, 2], minlength=4) / len(drawn)
    assert abs(quarters - 0.25).max() < 0.08
    edge = np.linspace(-5, 5, 201)
    grid = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2).astype(np.float32)
    density = np.exp(-ring.energy(tf.constant(grid)).numpy().astype(np.float64))
    density /= density.sum()
    bins = np.arange(0, 6, 0.5)
    expected, _ = np.histogram(np.linalg.norm(grid, axis=1), bins, weights=density)
    found, _ = np.histogram(radius, bins)
    assert abs(expected - found / len(radius)).sum() / 2 < 0.1  # total variation


def test_a_constant_network_is_the_gaussian():
    prior, seeds = make_prior(langevin=Langevin(60, 0.4)), seeds_of(3000)
    draw = tf.function(prior.draw)
    drawn = draw(seeds).numpy()
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(2) / (1 - 0.4**2 / 4), atol=0.1)
    np.testing.assert_allclose(draw(seeds[5:6]), drawn[5:6], atol=1e-5)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    network = networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    prior = make_prior((4,), langevin=Langevin(5, 0.4), learning_rate=1e-2)
    model = Generator(
        network,
        prior=prior,
        expansion=0.5,
        preconditioning=True,
        langevin=Langevin(4, 0.5),
        inference=Langevin(8, 0.5),
    )
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def test_expansions_come_first_and_then_the_network_learns(model, digits):
    values = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            prior = self.model.prior
            scale, last = prior.scales[0].numpy(), prior.network.trainable_variables[-1].numpy()
            values.append((scale.copy(), np.abs(last).max()))

    model.fit(digits, batch_size=30, epochs=4, verbose=0, callbacks=[Watch()])
    (first, no), (second, none), (third, some), (fourth, more) = values
    assert no == none == 0
    assert some > 0
    assert more > 0
    assert np.abs(second - first).max() > 1e-3
    np.testing.assert_array_equal(second, third)
    np.testing.assert_array_equal(third, fourth)  # the last epoch has no expansion either


def test_it_is_saved_and_exported_with_the_model(model, digits, masks_of_digits, tmp_path):
    data = {"signal": digits, "mask": masks_of_digits}
    history = model.fit(data, batch_size=30, epochs=4, verbose=0).history
    assert np.isfinite(history["prior_loss"]).all()
    gaussian = abp_tf.models.Prior((4,)).draw(row_seeds(tf.range(6, dtype=tf.int64), 0))
    found = model.synthesize(6, seed=0)
    assert np.abs(found - model(gaussian)).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.synthesize(6, seed=0), found)
    np.testing.assert_allclose(model.synthesize(1, seed=3), found[3:4], atol=1e-4)
    filled = model.inpaint(digits[:3], masks_of_digits[:3])
    np.testing.assert_array_equal(again.inpaint(digits[:3], masks_of_digits[:3]), filled)
    served = tf.saved_model.load(model.export(tmp_path / "1")).signatures
    drawn = served["synthesize"](seed=tf.range(6, dtype=tf.int64))["signal"]
    np.testing.assert_allclose(drawn, found, atol=1e-4)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"one output per row, of shape \(n, 1\), received"):
        EnergyPrior(networks.linear((3,), latent_dim=2))


def test_expansions_of_all_epochs_leave_nothing_to_learn(model, digits):
    model.expansion = 1.0
    with pytest.raises(ValueError, match=r"EnergyPrior expected an `expansion` below 1.*received 1"):
        model.fit(digits, epochs=1, verbose=0)


def test_an_energy_of_windows_is_a_sum_that_fits_grids_of_any_size():
    keras.utils.set_random_seed(0)
    network = networks.texture_generator((16, 16, 1), 2, 4, levels=2)  # latents (4, 4, 2)
    energy = networks.latent_energy((4, 4, 2), 8, window=2)
    energy.set_weights([0.3 + 0 * weight for weight in energy.get_weights()])
    model = Generator(network, prior=EnergyPrior(energy, langevin=Langevin(3, 0.3)))
    larger = abp_tf.resized(model, (6, 4, 2))
    grid = np.random.default_rng(0).normal(size=(3, 6, 4, 2)).astype(np.float32)
    one = networks.resized(energy, (2, 2, 2))
    each = [one(grid[:, y : y + 2, x : x + 2]).numpy() for y in range(5) for x in range(3)]
    np.testing.assert_allclose(larger.prior.network(grid), sum(each), rtol=1e-4)
    gaussian = abp_tf.models.Prior((6, 4, 2)).draw(seeds_of(3)).numpy()
    assert np.abs(larger.prior.draw(seeds_of(3)) - gaussian).max() > 1e-2
    assert larger.synthesize(2).shape == (2, 24, 16, 1)


def test_energies_of_all_latents_have_one_shape_and_windows_need_a_grid():
    model = Generator(
        networks.texture_generator((16, 16, 1), 2, 4, levels=2), prior=make_prior((4, 4, 2))
    )
    with pytest.raises(ValueError, match=r"network is made, received \(6, 4, 2\).*window=2"):
        abp_tf.resized(model, (6, 4, 2))
    with pytest.raises(ValueError, match=r"grid of latents.*received the shape \(4,\)"):
        networks.latent_energy((4,), window=2)

"""Descriptors whose answers are known: closed forms, and energies in two dimensions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Descriptor, Langevin
from abp_tf.sampling import langevin as dynamics
from abp_tf.sampling.random import CHAIN, row_normal, row_seeds, training_seeds

PRECISION = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]], np.float32)
SLOPE = np.array([1.0, -2.0, 0.5], np.float32)


def quadratic(precision=PRECISION, slope=SLOPE):
    """`f(x) = b·x − xᵀ A x / 2`."""
    size = len(slope)
    x = keras.Input((size,))
    product = keras.layers.Dense(size, use_bias=False, name="product")(x)
    square = keras.layers.Dot(1)([x, product])
    linear = keras.layers.Dense(1, use_bias=False, name="linear")(x)
    network = keras.Model(x, keras.layers.Add()([square, linear]))
    network.get_layer("product").set_weights([-0.5 * np.asarray(precision, np.float32)])
    network.get_layer("linear").set_weights([np.asarray(slope, np.float32)[:, None]])
    return network


def gaussian_model(network=None, **options):
    options = {"start_sigma": 1.0, "data_noise": 0.0, "value_range": None, **options}
    return Descriptor(network or quadratic(), **options)


def perceptron(*widths, size=2, activation="elu"):
    layers = [keras.layers.Dense(width, activation=activation) for width in widths]
    return keras.Sequential([keras.Input((size,)), *layers, keras.layers.Dense(1)])


def test_samples_of_a_quadratic_have_the_exact_moments_of_the_unadjusted_chain():
    # A large step, where a wrong scale of drift or noise would show at once.
    sigma, step_size = 2.0, 0.9
    model = gaussian_model(
        reference_sigma=sigma, langevin=Langevin(60, step_size), inference=Langevin(60, step_size)
    )
    precision = PRECISION + np.eye(3) / sigma**2
    mean = np.linalg.solve(precision, SLOPE)
    exact = np.linalg.inv(precision) @ np.linalg.inv(np.eye(3) - step_size**2 * precision / 4)
    assert np.abs(exact - np.linalg.inv(precision)).max() > 0.4
    found = model.synthesize(20_000, batch_size=20_000)
    np.testing.assert_allclose(found.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(found.T), exact, atol=0.05)


def test_a_linear_f_moves_the_mean_of_the_reference_by_s_squared_times_its_slope():
    sigma = 0.7
    network = quadratic(np.zeros((3, 3)))
    model = gaussian_model(
        network, reference_sigma=sigma, inference=Langevin(80, 0.2), start_sigma=None
    )
    found = model.synthesize(10_000, batch_size=10_000, steps=150)
    np.testing.assert_allclose(found.mean(0), sigma**2 * SLOPE, atol=0.03)
    exact = sigma**2 / (1 - 0.04 / sigma**2 / 4)
    np.testing.assert_allclose(np.cov(found.T), exact * np.eye(3), atol=0.03)


def test_a_quadratic_learns_mean_and_covariance_of_gaussian_data():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.6, 0.7]])
    data = (rng.normal(size=(4000, 2)) @ mixing.T + [0.8, -0.4]).astype(np.float32)
    network = quadratic(np.eye(2), np.zeros(2))
    step_size = 0.5
    model = gaussian_model(network, langevin=Langevin(10, step_size), pool=1000, restart=0.0)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([200], [0.1, 0.01])
    model.compile(keras.optimizers.SGD(rate))
    model.fit(data, batch_size=200, epochs=14, verbose=0)
    found = model.synthesize(8000, steps=10, from_noise=False, batch_size=8000)
    np.testing.assert_allclose(found.mean(0), data.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(found.T), np.cov(data.T), atol=0.1)
    # The precision it learned is the one whose unadjusted chain has this covariance.
    learned = -2 * network.get_layer("product").get_weights()[0]
    learned = (learned + learned.T) / 2
    exact = np.linalg.inv(learned) @ np.linalg.inv(np.eye(2) - step_size**2 * learned / 4)
    np.testing.assert_allclose(exact, np.cov(data.T), atol=0.1)


@pytest.mark.parametrize("penalized", [None, "f", "U"])
def test_the_gradient_of_a_learning_step_agrees_with_finite_differences(penalized):
    rng = np.random.default_rng(1)
    data, samples = (tf.constant(rng.normal(size=(n, 2)), tf.float32) for n in (30, 20))
    keras.utils.set_random_seed(2)
    network = perceptron(8, activation="tanh")
    penalty = {} if penalized is None else {"energy_penalty": 0.1, "penalized": penalized}
    model = gaussian_model(network, reference_sigma=1.5, langevin=Langevin(1, 0.1), **penalty)
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        loss = model.contrast(data, samples)[0]
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        value, width = variable.numpy(), 1e-2
        direction = rng.normal(size=value.shape).astype(np.float32)
        sides = []
        for sign in (1, -1):
            variable.assign(value + sign * width * direction)
            sides.append(float(model.contrast(data, samples)[0]))
        variable.assign(value)
        slope = (sides[0] - sides[1]) / (2 * width)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=0.01, atol=2e-4)


def test_a_learning_step_is_the_difference_of_expectations(digits):
    model = gaussian_model(chains="data", langevin=Langevin(4, 0.3), seed=3)
    model.compile(keras.optimizers.SGD(0.5))
    data = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    seeds = training_seeds(3, CHAIN, 0, tf.range(6))
    samples, _ = model.langevin.sample(model.energy, tf.constant(data), seeds)
    model.fit(data, batch_size=6, epochs=1, verbose=0)
    moved = model.network.get_layer("linear").get_weights()[0][:, 0] - SLOPE
    np.testing.assert_allclose(moved, 0.5 * (data.mean(0) - samples.numpy().mean(0)), atol=1e-5)


def test_a_relu_descriptor_descends_to_an_auto_encoding_point():
    keras.utils.set_random_seed(3)
    sigma = 0.5
    network = perceptron(12, size=6, activation="relu")
    output = network.layers[-1]
    # With weights that are not negative the energy's kinks are ridges, and no minimum sits on one.
    output.set_weights([np.abs(output.get_weights()[0]), np.zeros(1)])
    model = gaussian_model(network, reference_sigma=sigma, langevin=Langevin(1, 0.3))
    start = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    point, residual = model.autoencode(start, steps=300)
    assert residual.max() < 1e-5
    assert model.autoencode(start, steps=0).residual.min() > 1e-2
    assert len(np.unique(point.round(3), axis=0)) > 1

    with tf.GradientTape() as tape:
        x = tf.constant(point)
        tape.watch(x)
        f = model(x)
    decoded = sigma**2 * tape.gradient(f, x).numpy()
    np.testing.assert_allclose(point, decoded, atol=1e-5)
    # Within one pattern of activations U(x) = ‖x − s²B‖²/(2s²) + a constant.
    near = point + 1e-3 * start
    change = model.score(near).energy - model.score(point).energy
    exact = ((near - decoded) ** 2 - (point - decoded) ** 2).sum(1) / (2 * sigma**2)
    np.testing.assert_allclose(change, exact, atol=1e-6)


def test_the_trajectory_is_that_of_the_one_langevin_update():
    model = gaussian_model(reference_sigma=1.3, langevin=Langevin(6, 0.4, temperature=0.5))
    start = np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)
    noise = row_normal(row_seeds(7 + np.arange(5), CHAIN), [6, 3]).numpy() * 0.5**0.5
    state = start
    for step in range(6):
        gradient = state / 1.3**2 + state @ PRECISION - SLOPE
        state = dynamics.update(state, gradient, 0.4, noise[:, step])
    np.testing.assert_allclose(model.refine(start, seed=7), state, atol=1e-5)
    assert np.abs(state - start).max() > 0.3


def test_the_published_unit_step_can_be_said():
    network = quadratic(0.1 * PRECISION, 0.1 * SLOPE)
    model = gaussian_model(network, langevin=Langevin(1, 2**0.5, temperature=0.01**2 / 2))
    start = np.ones((4000, 3), np.float32)
    moved = model.refine(start, batch_size=4000) - start
    np.testing.assert_allclose(moved.mean(0), 0.1 * (SLOPE - PRECISION.sum(0)), atol=1e-3)
    np.testing.assert_allclose(moved.std(0), 0.01, rtol=0.05)


def test_data_noise_is_of_the_size_that_was_asked_for():
    model = gaussian_model(chains="data", langevin=Langevin(0, 0.1), data_noise=0.3)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(np.zeros((4000, 3), np.float32), batch_size=4000, epochs=1, verbose=0).history
    np.testing.assert_allclose(history["data_deviation"][0], 0.3, rtol=0.03)


def test_inpaint_samples_the_hidden_entries_given_the_others():
    step_size = 0.5
    langevin = Langevin(60, step_size)
    model = gaussian_model(langevin=langevin, inference=langevin)
    signals = np.tile(np.float32([0.3, np.nan, -1.2]), (8000, 1))
    mask = np.tile([True, False, True], (8000, 1))
    found = model.inpaint(signals, mask, batch_size=8000)
    np.testing.assert_array_equal(found[:, [0, 2]], signals[:, [0, 2]])
    # The conditional of a Gaussian: precision 2, mean (b₁ − A₁₀ x₀ − A₁₂ x₂) / 2.
    np.testing.assert_allclose(found[:, 1].mean(), (-2 - 0.3 + 0.6) / 2, atol=0.03)
    np.testing.assert_allclose(found[:, 1].var(), 0.5 / (1 - step_size**2 * 2 / 4), atol=0.03)


def test_divergence_stops_loudly_and_spares_what_was_learned():
    network = quadratic(-np.eye(3), np.zeros(3))
    model = gaussian_model(network, langevin=Langevin(300, 2.0), chains="short-run")
    model.compile(keras.optimizers.Adam(1e-3))
    learned = [*model.network.variables, *model.optimizer.variables, model.iteration]
    before = [np.array(each) for each in learned]
    with pytest.raises(abp_tf.DivergenceError, match=r"iteration 0: .*Langevin\(steps=300"):
        model.fit(np.zeros((20, 3), np.float32), epochs=1, verbose=0)
    for one, other in zip(before, learned, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(abp_tf.DivergenceError, match=r"Langevin\(steps=300"):
        model.synthesize(2)


# The energies of the literature in two dimensions.


def checkerboard(rng, count):
    cell = np.array([(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0])
    corner = cell[rng.integers(len(cell), size=count)]
    return ((corner + rng.uniform(size=(count, 2))) / 2 - 1).astype(np.float32)


def rings(rng, count):
    radius = rng.choice([0.3, 0.9], count) + 0.06 * rng.normal(size=count)
    angle = rng.uniform(0, 2 * np.pi, count)
    return (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)


def modes_of_checkerboard(found):
    cell = np.floor((found + 1) * 2).astype(int)
    inside = (cell.min(1) >= 0) & (cell.max(1) < 4) & (cell.sum(1) % 2 == 0)
    counts = np.bincount(cell[inside] @ [4, 1], minlength=16).reshape(4, 4)
    return counts[np.indices((4, 4)).sum(0) % 2 == 0]


def modes_of_rings(found):
    radius, angle = np.hypot(*found.T), np.arctan2(found[:, 1], found[:, 0])
    ring = np.where(radius < 0.6, 0, 1)
    inside = np.abs(radius - np.array([0.3, 0.9])[ring]) < 0.15
    part = np.floor((angle[inside] + np.pi) / (2 * np.pi) * 4).astype(int) % 4
    return np.bincount(4 * ring[inside] + part, minlength=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "modes"), [(checkerboard, modes_of_checkerboard), (rings, modes_of_rings)]
)
def test_energies_in_two_dimensions_cover_all_modes(draw, modes):
    keras.utils.set_random_seed(0)
    x = keras.Input((2,))
    initial = keras.initializers
    waves = keras.layers.Dense(
        256,
        activation=keras.ops.sin,
        kernel_initializer=initial.RandomNormal(stddev=6.0),
        bias_initializer=initial.RandomUniform(-3.0, 3.0),
    )(x)
    network = keras.Model(x, keras.layers.Dense(1)(waves))
    model = Descriptor(
        network,
        langevin=Langevin(15, 0.04),
        pool=1000,
        restart=0.01,
        data_noise=0.02,
        value_range=(-1.3, 1.3),
    )
    model.compile(keras.optimizers.Adam(4e-3))
    model.fit(draw(np.random.default_rng(0), 8000), batch_size=200, epochs=6, verbose=0)
    found = model.synthesize(1000, from_noise=False, batch_size=1000)
    # Uniform noise has 47 % and 33 % of its draws in the modes.
    assert modes(found).sum() > 0.7 * 1000
    assert modes(found).min() > 0.3 * 1000 / 8

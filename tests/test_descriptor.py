import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Descriptor, Langevin
from abp_tf import langevin as dynamics
from abp_tf.noise import CHAIN, row_normal, row_seeds

UNIT = Langevin(5, 2**0.5, temperature=0.01**2 / 2)  # x ← x + ∂f/∂x + 0.01 ε
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


def image_model(learning_rate=1e-3, seed=5, network=None, **options):
    keras.utils.set_random_seed(1)
    network = network or abp_tf.networks.image_descriptor(
        (8, 8, 1), width=4, kernel_size=3, activation="elu"
    )
    options = {"langevin": UNIT, "pool": 60, "restart": 0.2, **options}
    model = Descriptor(network, seed=seed, **options)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate))
    return model


@pytest.fixture(scope="module")
def learned(digits):
    """A tiny descriptor after two epochs on `digits`; tests do not train it further."""
    model = image_model(inference=Langevin(12, 2**0.5, temperature=0.01**2 / 2))
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    return model


# Closed forms.


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
    seeds = model._seeds(CHAIN, tf.range(6))
    samples, _ = dynamics.sample(model.energy, tf.constant(data), model.langevin, seeds)
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


# Chains.


def test_a_batch_moves_as_many_chains_of_the_pool_as_it_has_rows(digits):
    model = image_model(restart=0.0)
    before = model.table.table.numpy()
    assert before.shape == (60, 8, 8, 1)
    assert -1 <= before.min() < -0.99 < 0.99 < before.max() <= 1
    model.fit(digits[:25], batch_size=25, epochs=1, verbose=0)
    moved = (model.table.table.numpy() != before).any(axis=(1, 2, 3))
    assert moved.sum() == 25
    model.fit(digits[:25], batch_size=25, epochs=30, verbose=0)
    assert (model.table.table.numpy() != before).any(axis=(1, 2, 3)).all()


def test_a_pool_may_be_smaller_than_a_batch(digits):
    model = image_model(pool=7)
    model.fit(digits[:50], batch_size=50, epochs=2, verbose=0)
    assert model.table.table.numpy().shape == (7, 8, 8, 1)


def test_a_share_of_the_chains_begins_anew():
    model = image_model(pool=4000, restart=0.25, langevin=Langevin(0, 1.0))
    model.table.put(np.full((4000, 8, 8, 1), 5.0, np.float32))
    _, start = tf.function(model._start)(tf.zeros([4000, 8, 8, 1]), tf.range(4000))
    begun = (start.numpy() != 5).all(axis=(1, 2, 3))
    assert ((start.numpy() == 5).all(axis=(1, 2, 3)) | begun).all()
    assert 0.22 < begun.mean() < 0.28
    assert np.abs(start.numpy()[begun]).max() <= 1
    assert len(np.unique(start.numpy()[begun][:, 0, 0, 0])) > 0.99 * begun.sum()


@pytest.mark.parametrize("chains", ["short-run", "data"])
def test_chains_that_are_not_kept(digits, chains):
    model = image_model(chains=chains, langevin=Langevin(0, 1.0), data_noise=0.0)
    assert model.table.rows == 0
    _, start = model._start(tf.constant(digits[:30]), tf.range(30))
    assert (np.array_equal(start, digits[:30])) == (chains == "data")
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    with pytest.raises(ValueError, match="no pool of chains"):
        model.synthesize(2, from_noise=False)
    # Nothing to tell apart, nothing to learn, where chains start at the data and stay there.
    moved = np.abs(model.network.get_weights()[0] - image_model().network.get_weights()[0]).max()
    assert (moved > 1e-4) == (chains == "short-run")


def test_answers_leave_the_pool_alone(digits, learned):
    before = learned.table.table.numpy()
    found = learned.synthesize(70, seed=3, steps=0, from_noise=False)
    np.testing.assert_array_equal(found, before[(3 + np.arange(70)) % 60])
    moved = learned.synthesize(70, seed=3, from_noise=False)
    np.testing.assert_array_equal(moved, learned.refine(found, seed=3))
    assert (moved[0] != moved[60]).any()
    np.testing.assert_array_equal(learned.table.table, before)
    learned.reset_chains()
    assert (learned.table.table.numpy() != before).any(axis=(1, 2, 3)).all()
    learned.table.put(before)


def test_data_noise_is_of_the_size_that_was_asked_for():
    model = gaussian_model(chains="data", langevin=Langevin(0, 0.1), data_noise=0.3)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(np.zeros((4000, 3), np.float32), batch_size=4000, epochs=1, verbose=0).history
    np.testing.assert_allclose(history["data_deviation"][0], 0.3, rtol=0.03)


# Answers.


def test_answers_do_not_depend_on_the_batch(digits, learned):
    mask = abp_tf.masks.block(100, (8, 8), 3, seed=0)
    order = np.random.default_rng(0).permutation(100)
    signals = np.concatenate([digits[:100]])
    for ask in (
        lambda rows, size: learned.synthesize(len(rows), seed=rows, batch_size=size),
        lambda rows, size: learned.refine(signals[rows], seed=rows, batch_size=size),
        lambda rows, size: learned.inpaint(signals[rows], mask[rows], seed=rows, batch_size=size),
        lambda rows, size: learned.score(signals[rows], batch_size=size).score,
    ):
        whole = ask(np.arange(100), 100)
        for size in (1, 4, 8):
            np.testing.assert_allclose(ask(order[:8], size), whole[order[:8]], atol=1e-4)
        np.testing.assert_allclose(ask(order, 100), whole[order], atol=1e-4)
        assert np.abs(whole[0] - whole[1]).max() > 1e-4


def test_scores_are_f_and_the_energy(digits):
    sigma = 0.9
    model = image_model(reference_sigma=sigma)
    score, energy = model.score(digits)
    f = model.network(digits).numpy()[:, 0]
    np.testing.assert_allclose(score, f, atol=1e-5)
    np.testing.assert_allclose(energy, (digits**2).sum((1, 2, 3)) / (2 * sigma**2) - f, rtol=1e-5)
    np.testing.assert_allclose(model.predict(digits, verbose=0), f, atol=1e-5)
    told = model.evaluate(digits, verbose=0, return_dict=True)
    np.testing.assert_allclose([told["score"], told["energy"]], [f.mean(), energy.mean()], rtol=1e-3)


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


def test_inpaint_returns_observed_entries_bit_for_bit_and_never_looks_at_hidden_ones(digits, learned):
    mask = abp_tf.masks.pepper(120, (8, 8), 0.4, seed=3)
    found = []
    for filling in (0.0, 0.7, np.nan):
        found.append(learned.inpaint(np.where(mask[..., None], digits, np.float32(filling)), mask))
        np.testing.assert_array_equal(found[-1][mask], digits[mask])
        assert np.isfinite(found[-1]).all()
        np.testing.assert_array_equal(found[-1], found[0])
    assert np.abs(found[0][~mask] - digits[~mask]).max() > 0.1
    with pytest.raises(ValueError, match="inpaint expected a mask, received None"):
        learned.inpaint(digits, None)


# Keras, saving, export.


def test_one_trace_over_epochs_with_a_smaller_last_batch(digits):
    traces = []

    class Counted(Descriptor):
        def train_step(self, batch):
            traces.append(batch["signal"].shape)
            return super().train_step(batch)

    network = abp_tf.networks.image_descriptor((8, 8, 1), 4)
    model = Counted(network, langevin=UNIT, pool=40)
    model.compile(optimizer="adam")
    model.fit(digits[:110], batch_size=25, epochs=3, verbose=0)
    model.fit(digits[:110], batch_size=25, epochs=2, verbose=0)
    assert len(traces) == 1


def same_state(first, second):
    for one, other in zip(all_of(first), all_of(second), strict=True):
        np.testing.assert_array_equal(one, other)


def all_of(model):
    parts = [*model.weights, *model.optimizer.variables, model.table.table]
    return [np.asarray(part) for part in parts]


def test_keras_round_trips(digits, learned, tmp_path):
    def text(config):
        return json.dumps(config, sort_keys=True)  # tuples come back as lists

    assert text(Descriptor.from_config(learned.get_config()).get_config()) == text(learned.get_config())
    learned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert text(loaded.get_config()) == text(learned.get_config())
    assert loaded.reference_sigma == math.inf
    assert int(loaded.iteration.value) == 6
    same_state(loaded, learned)
    np.testing.assert_array_equal(loaded.synthesize(5, seed=2), learned.synthesize(5, seed=2))


def test_best_weights_come_back_with_their_chains(digits):
    model = image_model()
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    kept, before = model.get_weights(), all_of(model)
    model.fit(digits, batch_size=60, epochs=1, verbose=0)
    model.set_weights(kept)
    np.testing.assert_array_equal(model.table.table, before[-1])


@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_the_export_answers_as_the_model_does(digits, learned, tmp_path, loader):
    path = learned.export(tmp_path / "digits" / "1")
    seed = np.arange(6) + 50
    mask = np.broadcast_to(abp_tf.masks.block(6, (8, 8), 3, seed=0)[..., None], (6, 8, 8, 1))
    damaged = np.where(mask, digits[:6], np.float32(np.nan))
    score = learned.score(digits[:6])
    cases = {
        "synthesize": ({"seed": seed}, {"signal": learned.synthesize(6, seed=50)}),
        "serving_default": ({"seed": seed}, {"signal": learned.synthesize(6, seed=50)}),
        "refine": (
            {"signal": digits[:6], "seed": seed},
            {"signal": learned.refine(digits[:6], seed=50)},
        ),
        "score": ({"signal": digits[:6]}, {"score": score.score, "energy": score.energy}),
        "inpaint": (
            {"signal": damaged, "mask": mask.astype(np.float32), "seed": seed},
            {"signal": learned.inpaint(damaged, mask, seed=50)},
        ),
    }
    if loader == "v2":
        signatures = tf.saved_model.load(str(path)).signatures
        assert set(signatures) == set(cases)
        for name, (inputs, answers) in cases.items():
            found = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
            assert set(found) == set(answers)
            for key, value in answers.items():
                np.testing.assert_allclose(found[key], value, atol=1e-4, err_msg=name)
        return
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
        for name, (inputs, answers) in cases.items():
            definition = meta.signature_def[name]
            feed = {definition.inputs[key].name: value for key, value in inputs.items()}
            fetch = {key: definition.outputs[key].name for key in answers}
            for key, value in session.run(fetch, feed).items():
                np.testing.assert_allclose(value, answers[key], atol=1e-4, err_msg=name)


def test_the_export_holds_no_pool_and_no_optimizer(learned, tmp_path):
    path = learned.export(tmp_path / "digits" / "1")
    listed = tf.train.list_variables(str(path / "variables" / "variables"))
    found = {tuple(shape) for name, shape in listed if "OBJECT_GRAPH" not in name}
    assert found == {tuple(weight.shape) for weight in learned.network.weights}
    assert (path / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


def test_precision_bfloat16_trains_and_answers_in_float32(digits):
    network = abp_tf.networks.image_descriptor((8, 8, 1), 4, dtype="mixed_bfloat16")
    assert network.get_layer("down1").compute_dtype == "bfloat16"
    model = image_model(network=network)
    model.fit(digits, batch_size=40, epochs=1, verbose=0)
    assert model.table.table.dtype == tf.float32
    assert model.synthesize(2).dtype == model.score(digits).score.dtype == np.float32
    finite = Descriptor(network, reference_sigma=1.0)
    with pytest.raises(ValueError, match=r"autoencode expected .* float32, but layer 'down1'"):
        finite.autoencode(digits)


# Resuming. Run as a program this file is a training that kills itself: the test starts it as a child.

CASES = {
    "persistent": {},
    "short-run": {"chains": "short-run"},
    "roll back": {"roll": True},
}
EPOCHS = 5


def train(case, path=None, kill_at=None):
    options = dict(CASES[case])
    data = abp_tf.data.load("digits", size=8, limit=120, test_share=0.0).train
    callbacks = [] if path is None else [abp_tf.callbacks.Backup(path)]
    if options.pop("roll", False):
        callbacks.insert(0, Troubled())
        callbacks.insert(1, abp_tf.watch.RollBack(factor=0.3))
    if kill_at is not None:
        callbacks.append(Killer(kill_at))
    model = image_model(**options)
    history = model.fit(data, batch_size=50, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return model, history


class Killer(keras.callbacks.Callback):
    """Kill the process at the end of batch number `at`."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Troubled(keras.callbacks.Callback):
    """Show a sign of trouble after the third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.signs = {"collapse": "for a test"} if epoch == 2 else {}


@pytest.mark.parametrize(
    ("case", "at"), [("persistent", 8), ("short-run", 10), ("roll back", 7), ("roll back", 11)]
)
@pytest.mark.filterwarnings("ignore:Epoch 3 is taken back")
def test_a_killed_training_ends_as_one_left_alone(case, at, tmp_path):
    path = tmp_path / "model.keras"
    child = subprocess.run(
        [sys.executable, __file__, case, str(path), str(at)],
        env={**os.environ, "PYTHONPATH": str(Path(abp_tf.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    resumed, history = train(case, path)
    assert history.epoch[0] == (at - 1) // 3
    alone, _ = train(case)
    same_state(resumed, alone)
    assert int(alone.iteration.value) == (12 if case == "roll back" else 15)


def test_a_backup_of_other_data_is_refused(digits, tmp_path):
    backup = abp_tf.callbacks.Backup(tmp_path / "model.keras")
    image_model().fit(digits, batch_size=60, epochs=1, verbose=0, callbacks=[backup])
    with pytest.raises(ValueError, match="of a training on other data, with 60 chains"):
        image_model().fit(digits[::-1], batch_size=60, epochs=2, verbose=0, callbacks=[backup])


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_sigma": 0.0}, "`reference_sigma` expected a positive number"),
        ({"reference_sigma": float("nan")}, "`reference_sigma` expected a positive number"),
        ({"chains": "fresh"}, "`chains` expected one of persistent, short-run, data, received 'fresh'"),
        ({"pool": 0}, "`pool` expected an integer of 1 or more, received 0"),
        ({"restart": 1.5}, r"`restart` expected a probability in \[0, 1\], received 1.5"),
        ({"start_sigma": 0.0}, "`start_sigma` expected a positive number, or None"),
        ({"value_range": None}, "Chains have nothing to begin with.*Give start_sigma"),
        ({"data_noise": -0.1}, "`data_noise` expected 0 or more"),
        ({"energy_penalty": -1.0}, "`energy_penalty` expected 0 or more"),
        ({"penalized": "g"}, "`penalized` expected 'f' or 'U'"),
        (
            {"reference_sigma": 0.05, "langevin": Langevin(1, 0.1)},
            r"δ²/\(4s²\) is 1 with the step size 0.1 of `langevin`.*Lower the step size",
        ),
        (
            {"reference_sigma": 1.0, "inference": Langevin(1, 3.0)},
            "step size 3 of `inference` and reference_sigma 1",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Descriptor(perceptron(4), **options)


def test_networks_that_cannot_be_used_are_refused(digits):
    with pytest.raises(ValueError, match=r"Descriptor expected `network` to be a keras\.Model"):
        Descriptor(keras.layers.Dense(1))
    image = keras.Input((8, 8, 1))
    map_ = keras.layers.Conv2D(1, 3)(image)
    with pytest.raises(ValueError, match=r"one number per example.*\(None, 6, 6, 1\).*ops\.sum"):
        Descriptor(keras.Model(image, map_))
    assert Descriptor(keras.Model(image, keras.ops.sum(map_, axis=(1, 2, 3)))).signal_shape == (8, 8, 1)
    bad = keras.layers.Dense(1, dtype="bfloat16")(keras.layers.Flatten(dtype="bfloat16")(image))
    with pytest.raises(ValueError, match="a network that ends in float32, received bfloat16"):
        Descriptor(keras.Model(image, bad))
    two = keras.Model(image, [keras.layers.Dense(1)(image), keras.layers.Dense(1)(image)])
    with pytest.raises(ValueError, match="known shapes of one input and one output"):
        Descriptor(two)
    for layer in (keras.layers.BatchNormalization(name="tie"), keras.layers.Dropout(0.1, name="tie")):
        network = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(layer(image))))
        with pytest.raises(ValueError, match=r"layer 'tie' .*ties an example's chain to its batch"):
            image_model(network=network).fit(digits, verbose=0)


def test_data_and_calls_that_cannot_be_used_are_refused(digits, learned):
    mask = abp_tf.masks.block(120, (8, 8), 3)
    model = image_model()
    before = all_of(model)
    for data in (
        {"signal": digits, "mask": mask},
        tf.data.Dataset.from_tensor_slices({"signal": digits, "mask": mask}).batch(40),
    ):
        with pytest.raises(ValueError, match="learns from whole signals, received a mask"):
            model.fit(data, verbose=0)
    with pytest.raises(ValueError, match="`y` was given"):
        model.fit(digits, np.zeros(120), verbose=0)
    for one, other in zip(before, all_of(model), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="expected a count of 1 or more, received 0"):
        learned.synthesize(0)
    with pytest.raises(ValueError, match=r"expected shape \('n', 8, 8, 1\)"):
        learned.score(digits[..., 0])
    with pytest.raises(ValueError, match="received NaN"):
        learned.refine(np.full((1, 8, 8, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match="needs a reference distribution"):
        learned.autoencode(digits)
    with pytest.raises(ValueError, match=r"Descriptor\.export takes a path alone"):
        learned.export("x", format="onnx")


def test_a_dataset_without_numbers_will_do(digits):
    model = image_model()
    dataset = tf.data.Dataset.from_tensor_slices(digits).batch(50)
    assert model.fit(dataset, epochs=2, verbose=0).epoch == [0, 1]


def test_divergence_stops_loudly_and_spares_what_was_learned():
    network = quadratic(-np.eye(3), np.zeros(3))
    model = gaussian_model(network, langevin=Langevin(300, 2.0), chains="short-run")
    model.compile(keras.optimizers.Adam(1e-3))
    before = model.get_weights()
    with pytest.raises(abp_tf.DivergenceError, match=r"at iteration 0: .*Lower the learning rate"):
        model.fit(np.zeros((20, 3), np.float32), epochs=1, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(abp_tf.DivergenceError, match=r"Lower its step size: Langevin\(steps=300"):
        model.synthesize(2)


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]))

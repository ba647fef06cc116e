import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Descriptor, Langevin

UNIT = Langevin(5, 2**0.5, temperature=0.01**2 / 2)  # x ← x + ∂f/∂x + 0.01 ε


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


# Chains.


def test_a_batch_moves_as_many_chains_of_the_pool_as_it_has_rows(digits):
    model = image_model(restart=0.0)
    before = model.table.states.numpy()
    assert before.shape == (60, 8, 8, 1)
    assert -1 <= before.min() < -0.99 < 0.99 < before.max() <= 1
    model.fit(digits[:25], batch_size=25, epochs=1, verbose=0)
    moved = (model.table.states.numpy() != before).any(axis=(1, 2, 3))
    assert moved.sum() == 25
    model.fit(digits[:25], batch_size=25, steps_per_epoch=30, verbose=0)
    assert (model.table.states.numpy() != before).any(axis=(1, 2, 3)).all()


def test_a_pool_may_be_smaller_than_a_batch_and_a_dataset_needs_no_numbers(digits):
    model = image_model(pool=7)
    before = model.table.states.numpy()
    dataset = tf.data.Dataset.from_tensor_slices(digits).batch(50)
    assert model.fit(dataset, epochs=2, verbose=0).epoch == [0, 1]
    assert before.shape == (7, 8, 8, 1)
    assert (model.table.states.numpy() != before).any(axis=(1, 2, 3)).all()


def test_a_share_of_the_chains_begins_anew():
    # Chains without steps stay where they start.
    model = image_model(pool=4000, restart=0.25, langevin=Langevin(0, 1.0))
    model.table.put(np.full((4000, 8, 8, 1), 5.0, np.float32))
    model.fit(np.zeros((4000, 8, 8, 1), np.float32), batch_size=4000, verbose=0)
    start = model.table.states.numpy()
    begun = (start != 5).all(axis=(1, 2, 3))
    assert ((start == 5).all(axis=(1, 2, 3)) | begun).all()
    assert 0.22 < begun.mean() < 0.28
    assert np.abs(start[begun]).max() <= 1
    assert len(np.unique(start[begun][:, 0, 0, 0])) > 0.99 * begun.sum()


@pytest.mark.parametrize("chains", ["short-run", "data"])
def test_chains_that_are_not_kept(digits, chains):
    model = image_model(chains=chains, langevin=Langevin(0, 1.0), data_noise=0.0)
    assert model.table.rows == 0
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    with pytest.raises(ValueError, match=f"from_noise=.*{chains}"):
        model.synthesize(2, from_noise=False)
    # Nothing to tell apart, nothing to learn, where chains start at the data and stay there.
    moved = np.abs(model.network.get_weights()[0] - image_model().network.get_weights()[0]).max()
    assert (moved > 1e-4) == (chains == "short-run")


def test_answers_leave_the_pool_alone(digits, learned):
    before = learned.table.states.numpy()
    found = learned.synthesize(70, seed=3, steps=0, from_noise=False)
    np.testing.assert_array_equal(found, before[(3 + np.arange(70)) % 60])
    moved = learned.synthesize(70, seed=3, from_noise=False)
    np.testing.assert_array_equal(moved, learned.refine(found, seed=3))
    assert (moved[0] != moved[60]).any()
    np.testing.assert_array_equal(learned.table.states, before)
    learned.reset_chains()
    assert (learned.table.states.numpy() != before).any(
        axis=(1, 2, 3)
    ).mean() > 0.9  # all that had moved
    learned.table.put(before)


# Answers.


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


def all_of(model):
    parts = [*model.weights, model.table.states]
    return [np.asarray(part) for part in parts]


def test_best_weights_come_back_with_their_chains(learned):
    kept, before = learned.get_weights(), all_of(learned)
    other = image_model(seed=6)
    assert (other.table.states.numpy() != before[-1]).any()
    other.set_weights(kept)
    for one, same in zip(before, all_of(other), strict=True):
        np.testing.assert_array_equal(one, same)


def test_precision_bfloat16_trains_and_answers_in_float32(digits):
    network = abp_tf.networks.image_descriptor((8, 8, 1), 4, dtype="mixed_bfloat16")
    assert network.get_layer("down1").compute_dtype == "bfloat16"
    model = image_model(network=network)
    model.fit(digits, batch_size=40, epochs=1, verbose=0)
    assert model.table.states.dtype == tf.float32
    assert model.synthesize(2).dtype == model.score(digits).score.dtype == np.float32
    finite = Descriptor(network, reference_sigma=1.0)
    with pytest.raises(ValueError, match=r"autoencode expected .* float32, but layer 'down1'"):
        finite.autoencode(digits)


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_sigma": 0.0}, "`reference_sigma`, received 0.0"),
        ({"reference_sigma": float("nan")}, "`reference_sigma`, received nan"),
        ({"chains": "fresh"}, r"`chains` .*'persistent', 'short-run', 'data'.*'fresh'"),
        ({"pool": 0}, "`pool` .*1 or more, received 0"),
        ({"restart": 1.5}, r"`restart` in \[0, 1\], received 1.5"),
        ({"start_sigma": 0.0}, "`start_sigma`.*received 0.0"),
        ({"value_range": None}, "value_range.*start_sigma"),
        ({"data_noise": -0.1}, "`data_noise` of 0 or more, received -0.1"),
        ({"energy_penalty": -1.0}, "`energy_penalty` of 0 or more, received -1.0"),
        ({"penalized": "g"}, "`penalized` .*'f', 'U'.*'g'"),
        ({"langevin": 0.1}, "`langevin` .*Sampler, received 0.1"),
        (
            {"reference_sigma": 0.05, "langevin": Langevin(1, 0.1)},
            r"δ²/\(4s²\) is 1 .*0.1 of `langevin` .*reference_sigma",
        ),
        (
            {"reference_sigma": 1.0, "inference": Langevin(1, 3.0)},
            "3 of `inference` .*reference_sigma 1,",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Descriptor(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), **options)


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
        with pytest.raises(ValueError, match="layer 'tie' of type"):
            image_model(network=network).fit(digits, verbose=0)


def test_data_and_calls_that_cannot_be_used_are_refused(digits, learned):
    mask = abp_tf.masks.block(120, (8, 8), 3)
    model = image_model()
    before = all_of(model)
    for data in (
        {"signal": digits, "mask": mask},
        tf.data.Dataset.from_tensor_slices({"signal": digits, "mask": mask}).batch(40),
    ):
        for method in (model.fit, model.evaluate, model.predict):
            with pytest.raises(ValueError, match=r"received a mask.*inpaint"):
                method(data, verbose=0)
        with pytest.raises(ValueError, match=r"Descriptor\.evaluate .*received a mask"):
            model.fit(digits, validation_data=data, verbose=0)
    with pytest.raises(ValueError, match="no `y`"):
        model.fit(digits, np.zeros(120), verbose=0)
    for one, other in zip(before, all_of(model), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"`count` .*1 or more, received 0"):
        learned.synthesize(0)
    with pytest.raises(ValueError, match=r"expected shape \('n', 8, 8, 1\)"):
        learned.score(digits[..., 0])
    with pytest.raises(ValueError, match="NaN"):
        learned.refine(np.full((1, 8, 8, 1), np.nan, np.float32))
    with pytest.raises(ValueError, match="reference_sigma is infinite"):
        learned.autoencode(digits)
    with pytest.raises(ValueError, match=r"'tf_saved_model'.*'onnx'"):
        learned.export("x", format="onnx")

"""`fit`, `evaluate`, `predict`: forms of data, options, and what is refused before anything moves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin
from abp_tf.models import batches

Dataset = tf.data.Dataset
METHODS = ("fit", "evaluate", "predict")


@pytest.fixture(scope="module")
def model():
    """One tiny compiled generator; nothing refused may harm it, so that all tests share it."""
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    model = Generator(network, langevin=Langevin(1, 0.1), inference=Langevin(2, 0.1))
    model.compile(optimizer="adam")
    return model


@pytest.fixture(scope="module", autouse=True)
def usable_in_the_end(model, digits):
    """After all that was refused, the model still learns and answers."""
    yield
    assert model.table.rows == 0
    model.fit(digits, verbose=0)
    assert np.isfinite(model.reconstruct(digits[:4])).all()


@pytest.fixture
def untouched(model):
    """Weights, iteration and chains are as they were."""
    before = [weight.numpy() for weight in model.weights]
    yield
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.table.rows == 0


@pytest.fixture(scope="module")
def energy():
    """A tiny compiled descriptor."""
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4)
    model = Descriptor(network, langevin=Langevin(1, 0.1), chains="data")
    model.compile(optimizer="adam")
    return model


def numbered(digits, **parts):
    """Batches of 40 digits with their numbers."""
    return Dataset.from_tensor_slices({"signal": digits, "index": np.arange(120), **parts}).batch(40)


# What is refused. What is wrong with data is tested in tests/data/test_examples.py, without a model.


@pytest.mark.parametrize("method", [*METHODS, "infer", "reconstruct", "inpaint", "sample_posterior"])
def test_every_method_looks_at_its_data(model, untouched, digits, method):
    bad = np.full_like(digits[:20], np.nan)
    arguments = [bad, np.ones(bad.shape)] if method == "inpaint" else [bad]
    with pytest.raises(ValueError, match="NaN or infinity"):
        getattr(model, method)(*arguments, verbose=0)
    for keys in ({"image": digits}, {"signal": digits, "label": np.zeros(120)}):
        if method in METHODS:
            with pytest.raises(ValueError, match=r"keys \['(image|label)'"):
                getattr(model, method)(keys, verbose=0)


def test_validation_data_are_looked_at_first(model, untouched, digits):
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.fit(digits, verbose=0, validation_data=np.full_like(digits, np.nan))


@pytest.mark.parametrize("method", METHODS)
def test_bad_values_of_datasets_are_refused_as_they_come(model, digits, method):
    before = model.network.get_weights()
    model.table.allocate(120)
    bad = digits.copy()
    bad[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        getattr(model, method)(numbered(bad), verbose=0)
    model.reset_chains()
    for one, other in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_datasets_for_persistent_chains_need_an_index(model, untouched, digits):
    with pytest.raises(ValueError, match=r'"index".*enumerate\(\).*chains=\'fresh\''):
        model.fit(Dataset.from_tensor_slices(digits).batch(20, drop_remainder=True))


def test_the_number_of_examples_must_be_known(model, untouched, digits):
    with pytest.raises(ValueError, match=r"`Generator\(\.\.\., examples=N\)`"):
        model.fit(numbered(digits).filter(lambda batch: True))


@pytest.mark.parametrize("method", METHODS)
def test_generators_are_refused_unread(model, untouched, digits, method):
    def endless():
        raise AssertionError("read")
        yield digits

    for bad in (endless, endless()):
        with pytest.raises(ValueError, match=r"generator.*Dataset\.from_generator"):
            getattr(model, method)(bad)


@pytest.mark.parametrize("name", ["y", "class_weight", "sample_weight"])
def test_what_belongs_to_labels_is_refused(model, untouched, digits, name):
    value = {0: 1.0} if name == "class_weight" else np.zeros(120)
    methods = [model.fit, model.train_on_batch]
    if name != "class_weight":
        methods += [model.evaluate, model.test_on_batch]
    for method in methods:
        with pytest.raises(ValueError, match=f"no `{name}`"):
            method(digits, **{name: value})


def test_losses_of_keras_are_refused(model, digits):
    model = Generator(model.network)
    for options in ({"loss": "mse"}, {"metrics": ["mae"]}):
        model.compile(optimizer="adam", **options)
        for method in (model.fit, model.train_on_batch):
            with pytest.raises(ValueError, match="without `loss` and `metrics`"):
                method(digits)


def test_fit_before_compile_says_so(digits):
    model = Generator(abp_tf.networks.image_generator((8, 8, 1), 4, 4))
    for method in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"model\.compile"):
            method(digits)


@pytest.mark.parametrize("size", [0, -1, 2.5, "x", True])
def test_impossible_sizes_of_batches_are_refused(model, untouched, digits, size):
    calls = [getattr(model, name) for name in (*METHODS, "infer", "sample_posterior", "observe")]
    for call in calls:
        with pytest.raises(ValueError, match=rf"`batch_size` .* received {size!r}"):
            call(digits, batch_size=size)
    with pytest.raises(ValueError, match=rf"`batch_size` .* received {size!r}"):
        model.fit(digits, validation_data=digits, validation_batch_size=size)
    with pytest.raises(ValueError, match=rf"`steps_per_epoch` .* received {size!r}"):
        model.fit(digits, steps_per_epoch=size)


def test_options_of_arrays_are_refused_with_datasets(model, untouched, digits):
    dataset = numbered(digits)
    with pytest.raises(ValueError, match=r"`batch_size` .* dataset.* received 10"):
        model.fit(dataset, batch_size=10)
    with pytest.raises(ValueError, match=r"`validation_split` .* a dataset"):
        model.fit(dataset, validation_split=0.1)
    with pytest.raises(ValueError, match=r"`validation_split` .* `validation_data`"):
        model.fit(digits, validation_split=0.1, validation_data=digits)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, 0.999])
def test_impossible_splits_are_refused(model, untouched, digits, share):
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(digits, validation_split=share)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "positive `sigma`, received 0"),
        ({"sigma": -1.0}, "positive `sigma`, received -1"),
        ({"sigma": float("nan")}, "positive `sigma`, received nan"),
        ({"langevin": 3}, "`langevin` .* Sampler, received 3"),
        ({"inference": None, "langevin": "x"}, "`langevin` .* received 'x'"),
        ({"chains": "warm"}, "'persistent', 'fresh'.*received 'warm'"),
        ({"expansion": 1.5}, r"`expansion` .*\[0, 1\], received 1\.5"),
        ({"expansion": 0.5, "chains": "fresh"}, "`expansion` .*received .*'fresh'"),
        ({"examples": 0}, "`examples` .* 1 or more, received 0"),
        ({"examples": 2.5}, "`examples` .* received 2.5"),
        ({"seed": 1.5}, "`seed` .* received 1.5"),
        ({"value_range": (1, 1)}, r"`value_range` .* received \(1, 1\)"),
    ],
)
def test_impossible_options_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        Generator(model.network, **options)


def test_networks_that_tie_chains_to_the_batch_are_refused(digits):
    for layer in (keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)):
        latent = keras.Input((4,))
        signal = keras.layers.Reshape((8, 8, 1))(layer(keras.layers.Dense(64)(latent)))
        model = Generator(keras.Model(latent, signal), value_range=None)
        model.compile(optimizer="adam")
        with pytest.raises(ValueError, match=f"of type {type(layer).__name__}"):
            model.fit(digits)


def test_networks_that_cannot_be_used_are_refused():
    inputs = keras.Input((4,))
    for network, message in (
        (keras.layers.Dense(3), "keras.Model, received Dense"),
        (keras.Sequential([keras.layers.Dense(3)]), "known shapes"),
        (keras.Model(inputs, [inputs, inputs]), "known shapes of one input and one output"),
        (keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(3)]), "known shapes"),
        (keras.Sequential([inputs, keras.layers.Flatten()]), "trainable weights"),
    ):
        with pytest.raises(ValueError, match=message):
            Generator(network)


def test_frozen_networks_are_refused(digits):
    network = abp_tf.networks.image_generator((8, 8, 1), 4, 4)
    bottom_up = abp_tf.networks.image_descriptor((8, 8, 1), width=4)
    generator, descriptor = Generator(network), Descriptor(bottom_up, chains="short-run")
    models = [(generator, network), (descriptor, bottom_up)]
    models += [(CoopNets(generator, descriptor), part) for part in (network, bottom_up)]
    for model, part in models:
        model.compile()
        part.trainable = False
        for method in (model.fit, model.train_on_batch):
            with pytest.raises(ValueError, match=r"frozen.*network\.trainable = True"):
                method(digits)
        part.trainable = True


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model.weights.h5", "model"])
def test_files_that_would_lose_the_chains_are_refused(learned, tmp_path, name):
    with pytest.raises(ValueError, match=rf"\.keras, received '.*{name}'.*export"):
        learned.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_other_data_need_a_reset(make_model, digits):
    model = make_model()
    model.fit(digits[:100], verbose=0, batch_size=50)
    latents = model.latents.copy()
    for other, what in ((digits, "these are 120"), (digits[20:], "other content")):
        with pytest.raises(ValueError, match=rf"100 other training.*{what}.*reset_chains\(\)"):
            model.fit(other, verbose=0)
    np.testing.assert_array_equal(model.latents, latents)
    model.fit(digits[:100], verbose=0, batch_size=50)
    assert np.abs(model.latents - latents).max() > 1e-3

    model.reset_chains()
    model.fit(digits, verbose=0, batch_size=50, epochs=4)
    assert model.latents.shape == (120, 4)
    start = tf.random.stateless_normal([120, 4], [model.seed, 0]).numpy()
    assert (np.abs(model.latents - start).max(axis=1) > 1e-3).all()


def test_a_range_may_be_lifted_or_moved(model, digits):
    for value_range, scale in ((None, 1.5), ((-2, 2), 1.5)):
        free = Generator(model.network, value_range=value_range)
        np.testing.assert_array_equal(free.observe(digits * scale), digits * scale)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        Generator(model.network, value_range=(0, 1)).observe(digits)


# Validation.


def test_validation_split_is_cut_before_indexing_where_keras_cuts(model, digits, masks_of_digits):
    order = np.concatenate([np.random.default_rng(0).permutation(90), np.arange(90, 120)])
    parts = {"signal": digits, "mask": masks_of_digits, "index": order}
    first, last = batches.split(model, parts, 0.25, None)
    for name, value in parts.items():
        expected = value[..., None] if name == "mask" else value
        np.testing.assert_array_equal(first[name], expected[:90])
        if name != "index":
            np.testing.assert_array_equal(last[name], expected[90:])
    assert "index" not in last
    # Keras keeps floor(n (1 − share)) for training.
    odd, _ = batches.split(model, digits, 0.33, None)
    assert len(odd["signal"]) == len(keras.src.trainers.data_adapters.array_slicing
                                     .train_validation_split((digits,), 0.33)[0][0])  # fmt: skip


def test_validation_reports_what_evaluate_does(digits, masks_of_digits, make_model):
    model = make_model()
    parts = {"signal": np.where(masks_of_digits[..., None], digits, np.float32(np.nan))}
    parts["mask"] = masks_of_digits
    history = model.fit(parts, batch_size=90, epochs=2, verbose=0, validation_split=0.25).history
    assert model.latents.shape == (90, 4)
    held_out = {name: value[90:] for name, value in parts.items()}
    found = model.evaluate(held_out, verbose=0, return_dict=True)
    assert set(found) == {"loss", "reconstruction_error", "latent_norm"}
    for name, value in found.items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-5)


def test_evaluate_numbers_a_dataset_as_an_array(digits, learned):
    expected = learned.evaluate(digits, batch_size=32, verbose=0, return_dict=True)
    for dataset in (
        Dataset.from_tensor_slices(digits).batch(32),
        Dataset.from_tensor_slices((digits,)).batch(50),
        Dataset.from_tensor_slices({"signal": digits.astype(np.float64)}).batch(7),
    ):
        found = learned.evaluate(dataset, verbose=0, return_dict=True)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4)
        np.testing.assert_allclose(
            learned.predict(dataset, verbose=0), learned.reconstruct(digits), atol=1e-4
        )
    # A number given is the one used.
    turned = Dataset.from_tensor_slices({"signal": digits[::-1], "index": np.arange(120)[::-1]})
    found = learned.predict(turned.batch(32), verbose=0)[::-1]
    np.testing.assert_allclose(found, learned.reconstruct(digits), atol=1e-4)


# Forms of data. Without learning, a chain depends on its example and the iteration alone.


class Digits(keras.utils.PyDataset):
    """Three batches of numbered digits, as dicts."""

    def __init__(self, digits, **options):
        super().__init__(**options)
        self.digits = digits

    def __len__(self):
        return 3

    def __getitem__(self, number):
        index = np.arange(40 * number, 40 * number + 40)
        return {"signal": self.digits[index], "index": index}


@pytest.fixture(scope="module")
def chains_of(digits):
    """Return a function that gives the chains after two epochs on data; the network does not learn."""
    keras.utils.set_random_seed(1)
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
    model = Generator(network, langevin=Langevin(5, 0.1))
    model.compile(optimizer=keras.optimizers.SGD(1e-12))

    def run(data, epochs=2, **options):
        model.reset_chains(120)
        model.iteration.assign(0)
        model.fit(data, epochs=epochs, verbose=0, **options)
        return model.latents

    return run


def test_chains_follow_their_examples(digits, chains_of):
    # With all examples in one batch every order has the same iterations.
    expected = chains_of(digits, batch_size=120)
    np.testing.assert_allclose(chains_of(digits, batch_size=120, shuffle=False), expected, atol=1e-4)
    dataset = Dataset.from_tensor_slices(digits).enumerate()
    dataset = dataset.map(lambda i, x: {"signal": x, "index": i}).shuffle(120, seed=1).batch(120)
    np.testing.assert_allclose(chains_of(dataset), expected, atol=1e-4)
    index = np.random.default_rng(1).permutation(120)
    own = chains_of({"signal": digits[index], "index": index}, batch_size=120)
    np.testing.assert_allclose(own, expected, atol=1e-4)
    assert np.abs(own[index] - expected).max() > 0.1


def test_batches_of_keras_are_those_of_tensorflow(digits, chains_of):
    expected = chains_of(numbered(digits))
    # Three batches have other iterations than one.
    assert np.abs(expected - chains_of(digits, batch_size=120)).max() > 1e-3
    np.testing.assert_allclose(chains_of(Digits(digits), shuffle=False), expected, atol=1e-5)
    shuffled = chains_of(Digits(digits))
    assert np.abs(shuffled - expected).max() > 1e-3
    np.testing.assert_allclose(chains_of(Digits(digits)), shuffled, atol=1e-5)


def test_batches_of_keras_are_evaluated_and_predicted(digits, learned):
    expected = learned.evaluate(numbered(digits), verbose=0)
    np.testing.assert_array_equal(learned.evaluate(Digits(digits), verbose=0), expected)
    whole = learned.predict(numbered(digits), verbose=0)
    np.testing.assert_array_equal(learned.predict(Digits(digits), verbose=0), whole)


def test_the_number_of_examples_is_taken_from_a_dataset_that_tells(digits, make_model):
    model = make_model()
    parts = Dataset.from_tensor_slices({"signal": digits, "index": np.arange(120)})
    dataset = parts.batch(40, drop_remainder=True)
    model.fit(dataset, verbose=0)
    assert model.latents.shape == (120, 4)
    assert model.examples == 120


def test_steps_per_epoch_continues_the_pass(digits, make_model):
    visits = tf.Variable(tf.zeros([120], tf.int32))

    class Counting(Generator):
        def train_step(self, batch):
            visits.scatter_add(tf.IndexedSlices(tf.ones_like(batch["index"], tf.int32), batch["index"]))
            return super().train_step(batch)

    model = Counting(make_model().network, langevin=Langevin(1, 0.1))
    model.compile(optimizer="adam")
    for steps, epochs, once, twice in ((2, 1, 80, 0), (1, 1, 120, 0), (1, 2, 40, 80), (1, 1, 0, 120)):
        model.fit(digits, batch_size=40, steps_per_epoch=steps, epochs=epochs, verbose=0)
        counts = visits.numpy()
        assert ((counts == 1).sum(), (counts == 2).sum()) == (once, twice)


# One batch at a time.


def test_batches_given_one_by_one_teach_as_fit_does(digits, make_model):
    model = make_model(examples=120)
    model.compile(optimizer=keras.optimizers.SGD(1e-3))
    before = model.get_weights()
    history = model.fit(digits, batch_size=40, shuffle=False, verbose=0).history
    expected = model.get_weights()
    model.set_weights(before)
    for batch in numbered(digits).as_numpy_iterator():
        logs = model.train_on_batch(batch, return_dict=True)
    assert set(logs) == set(history)
    found = dict(zip([w.path for w in model.weights], model.get_weights(), strict=False))
    for (path, one), other in zip(found.items(), expected, strict=False):
        if not path.endswith("fingerprint"):
            np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[-1], expected[-1], atol=1e-5)  # the chains
    assert int(model.iteration.value) == 3

    reported = model.test_on_batch(digits[:40], return_dict=True)
    again = model.evaluate(digits[:40], batch_size=40, verbose=0, return_dict=True)
    assert reported == pytest.approx(again, rel=1e-5)
    whole = model.predict_on_batch(digits[:40])
    np.testing.assert_allclose(whole, model.predict(digits[:40], verbose=0), atol=1e-5)


def test_a_batch_alone_needs_numbers_where_examples_have_chains(model, untouched, digits):
    with pytest.raises(ValueError, match=r'"index".*examples=N.*chains=\'fresh\''):
        model.train_on_batch(digits[:20])
    with pytest.raises(ValueError, match=r'"index".*examples=N'):
        model.train_on_batch({"signal": digits[:20], "index": np.arange(20)})
    known = Generator(model.network, examples=20)
    known.compile()
    with pytest.raises(ValueError, match=r"0 to 19.* to 20"):
        known.train_on_batch({"signal": digits[:20], "index": np.arange(1, 21)})
    for method in (model.train_on_batch, model.test_on_batch, model.predict_on_batch):
        with pytest.raises(ValueError, match=r"\('n', 8, 8, 1\), received \(3, 8, 8\)"):
            method(digits[:3, ..., 0])


def test_energies_learn_from_single_batches_too(energy, digits, masks_of_digits):
    before = energy.network.get_weights()
    logs = energy.train_on_batch(digits[:20], return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    assert np.abs(energy.network.get_weights()[0] - before[0]).max() > 0
    assert int(energy.iteration.value) == 1
    reported = energy.test_on_batch(digits[:20], return_dict=True)
    told = energy.predict_on_batch(digits[:20])
    assert told.shape == (20,)
    assert reported["score"] == pytest.approx(told.mean(), rel=1e-4, abs=1e-5)
    masked = {"signal": digits[:20], "mask": masks_of_digits[:20]}
    for method in (energy.train_on_batch, energy.test_on_batch, energy.predict_on_batch):
        with pytest.raises(ValueError, match="received a mask"):
            method(masked)

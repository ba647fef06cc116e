import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Generator, Langevin
from abp_tf.data import pipeline

Dataset = tf.data.Dataset


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
    assert model.table.examples == 0
    model.fit(digits, verbose=0)
    assert np.isfinite(model.reconstruct(digits[:4])).all()


@pytest.fixture
def untouched(model):
    """Weights, iteration and chains are as they were."""
    before = [weight.numpy() for weight in model.weights]
    yield
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def reaching(monkeypatch):
    """Return a function that calls `fit`, `evaluate` or `predict` and gives what reaches Keras.

    That is a dataset, and the one that validates beside it, if there is one.
    """

    def call(method, *arguments, **options):
        given = []

        def keras_method(self, dataset, validation_data=None, **_):
            given.extend(each for each in (dataset, validation_data) if each is not None)

        with monkeypatch.context() as patch:
            patch.setattr(keras.Model, method.__name__, keras_method)
            method(*arguments, **options)
        counter = method.__self__.iteration if method.__name__ == "fit" else None
        return [Reaching(each, counter) for each in given]

    return call


class Reaching:
    """A dataset that reaches Keras; a pass over it is what an epoch sees, and counts its steps."""

    def __init__(self, dataset, counter):
        self.dataset, self.counter = dataset, counter

    def batches(self):
        found = []
        for batch in self.dataset:
            if self.counter is not None:
                self.counter.assign_add(1)
            found.append({name: part.numpy() for name, part in batch.items()})
        return found

    def rows(self):
        """All rows of a pass, in their order."""
        found = self.batches()
        return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def assert_same_batches(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, part in one.items():
            np.testing.assert_array_equal(part, other[name])


def changed(array, value, *place):
    array = array.copy()
    array[place] = value
    return array


# What is wrong with signals: name, how to spoil good ones, what an array's error says, and what a
# dataset's does.
SIGNALS = {
    "uint8": (
        lambda x: ((x + 1) * 127.5).astype(np.uint8),
        r"expected float.*received dtype uint8\. Scale .*/ 127\.5 - 1",
        r"expected float32 signals, received uint8\. Scale .*/ 127\.5 - 1",
    ),
    "not scaled": (
        lambda x: (x + 1) * 127.5,
        r"expected values in \[-1, 1\], received values from 0 to 255\. Scale .*127\.5 - 1",
        r"values outside \[-1, 1\]\. Scale .*127\.5 - 1",
    ),
    "too low": (
        lambda x: changed(x, -1.01, 3, 2, 1),
        r"received values from -1\.01 to 1",
        r"values outside \[-1, 1\]",
    ),
    "NaN": (
        lambda x: changed(x, np.nan, 7, 0, 0),
        r"NaN or infinity in observed entries\. .*mask",
        r"NaN or infinity in observed entries\. .*mask",
    ),
    "infinity": (
        lambda x: changed(x, np.inf, 7, 0, 0),
        r"NaN or infinity in observed entries\. .*mask",
        r"NaN or infinity in observed entries\. .*mask",
    ),
    "no channel axis": (
        lambda x: x[..., 0],
        r"expected shape \('n', 8, 8, 1\), received \(20, 8, 8\)\. Add the channel axis",
        r"expected .*\('n', 8, 8, 1\), received \(None, 8, 8\)\. Add the channel axis",
    ),
    "flat": (
        lambda x: x.reshape(20, 64),
        r"expected shape \('n', 8, 8, 1\), received \(20, 64\)",
        r"expected signals \('n', 8, 8, 1\), received \(None, 64\)",
    ),
    "colour": (
        lambda x: np.repeat(x, 3, axis=-1),
        r"expected shape \('n', 8, 8, 1\), received \(20, 8, 8, 3\)",
        r"expected signals \('n', 8, 8, 1\), received \(None, 8, 8, 3\)",
    ),
    "other size": (
        lambda x: x[:, :7],
        r"expected shape \('n', 8, 8, 1\), received \(20, 7, 8, 1\)",
        r"expected signals \('n', 8, 8, 1\), received \(None, 7, 8, 1\)",
    ),
    "too deep": (
        lambda x: x[..., None],
        r"expected shape \('n', 8, 8, 1\), received \(20, 8, 8, 1, 1\)",
        r"expected signals \('n', 8, 8, 1\), received \(None, 8, 8, 1, 1\)",
    ),
}
METHODS = ("fit", "evaluate", "predict")


def batches(parts):
    return Dataset.from_tensor_slices(parts).batch(200)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("method", [*METHODS, "infer", "reconstruct", "inpaint", "validation"])
def test_bad_arrays_are_refused(model, untouched, digits, name, method):
    spoil, message, _ = SIGNALS[name]
    bad = spoil(digits[:20])
    call = {
        "inpaint": lambda: model.inpaint(bad, np.ones(bad.shape)),
        "validation": lambda: model.fit(digits, verbose=0, validation_data=bad),
    }.get(method, lambda: getattr(model, method)(bad, verbose=0))
    with pytest.raises(ValueError, match=message):
        call()
    assert model.table.examples == 0


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("method", METHODS)
def test_bad_datasets_are_refused(model, untouched, digits, name, method):
    spoil, _, message = SIGNALS[name]
    parts = {"signal": spoil(digits[:20]), "index": np.arange(20)}
    dataset = batches(parts).apply(tf.data.experimental.assert_cardinality(1))
    model.table.allocate(20)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(dataset, verbose=0)
    model.reset_chains()


def test_one_signal_alone_is_told_from_a_batch(model, digits):
    with pytest.raises(ValueError, match=r"Add the batch axis: `signal\[None\]`"):
        model.infer(digits[0])
    for method in METHODS:
        with pytest.raises(ValueError, match=r"received single examples \(8, 8, 1\)\. Add `\.batch"):
            getattr(model, method)(Dataset.from_tensor_slices(digits))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", [*METHODS, "infer"])
def test_nothing_at_all_is_refused(model, untouched, digits, method, masked):
    none = digits[:0]
    if masked and method == "infer":
        arguments = {"signals": none, "mask": none[..., 0] > 0}
    elif method == "infer":
        arguments = {"signals": none}
    else:
        arguments = {"x": {"signal": none, "mask": none[..., 0] > 0} if masked else none}
    with pytest.raises(ValueError, match="expected at least one example, received none"):
        getattr(model, method)(**arguments)


MASKS = {
    "shape": (lambda mask: mask[:, :5], r"\(20, 5, 8\)|\(None, 5, 8\)"),
    "rank": (lambda mask: mask[:, 0], r"\(20, 8\)|\(None, 8\)"),
    "values": (lambda mask: mask * 0.5, r"expected only 0 and 1, .* 0\.0 to 0\.5|other than 0 and 1"),
    "uint8": (lambda mask: mask.astype("u1") * 255, r"expected only 0 and 1|other than 0 and 1"),
    "NaN": (lambda mask: changed(mask * 1.0, np.nan, 1, 1), "only 0 and 1|other than 0 and 1"),
    "nothing": (
        lambda mask: changed(mask, False, 13),
        r"nothing is in 1 of 20, the first of them number 13|an example has nothing observed",
    ),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("method", [*METHODS, "infer", "inpaint", *(f"stream {m}" for m in METHODS)])
def test_bad_masks_are_refused(model, untouched, digits, masks_of_digits, name, method):
    spoil, message = MASKS[name]
    bad, signals = spoil(masks_of_digits[:20]), digits[:20]
    parts = {"signal": signals, "mask": bad}
    if method.startswith("stream"):
        model.table.allocate(20)
        dataset = batches({**parts, "index": np.arange(20)})
        call = lambda: getattr(model, method.split()[1])(dataset, verbose=0)  # noqa: E731
    elif method in METHODS:
        call = lambda: getattr(model, method)(parts, verbose=0)  # noqa: E731
    else:
        call = lambda: getattr(model, method)(signals, bad)  # noqa: E731
    with pytest.raises(ValueError, match=f"(?s)({message}).*A mask holds 1"):
        call()
    model.reset_chains()


def test_a_mask_of_another_number_of_examples_is_refused(model, digits, masks_of_digits):
    with pytest.raises(ValueError, match=r"Mask: expected shape .*20, 8, 8.*received \(19, 8, 8\)"):
        model.inpaint(digits[:20], masks_of_digits[:19])
    with pytest.raises(ValueError, match="inpaint expected a mask, received None"):
        model.inpaint(digits[:20], None)


INDICES = {
    "duplicate": (lambda index: changed(index, 4, 5), r"19 distinct ones among 20|the same number"),
    "too large": (lambda index: changed(index, 20, 5), r"0 to 19.*0 to 20\.|outside 0 to 19"),
    "negative": (lambda index: changed(index, -1, 5), r"from -1 to 19|outside 0 to 19"),
    "float": (lambda index: index * 1.0, r"integer.* of dtype float64"),
    "rank": (lambda index: index[:, None], r"integer.*shape \((20|None), 1\)"),
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("form", ["array", "dataset"])
def test_bad_indices_are_refused(model, untouched, digits, name, form):
    spoil, message = INDICES[name]
    parts = {"signal": digits[:20], "index": spoil(np.arange(20))}
    model.table.allocate(20)
    with pytest.raises(ValueError, match=f"Index: .*({message})|Dataset: .*({message})"):
        model.fit(parts if form == "array" else batches(parts), verbose=0)
    model.reset_chains()


def test_an_array_of_indices_of_another_length_is_refused(model, digits):
    with pytest.raises(ValueError, match=r"Index: expected 20 integers.*received shape \(19,\)"):
        model.fit({"signal": digits[:20], "index": np.arange(19)})


def test_datasets_for_persistent_chains_need_an_index(model, digits):
    with pytest.raises(ValueError, match=r'expected an "index".*enumerate\(\).*chains=\'fresh\''):
        model.fit(Dataset.from_tensor_slices(digits).batch(20, drop_remainder=True))
    assert model.table.examples == 0


def test_the_number_of_examples_must_be_known(model, digits):
    dataset = batches({"signal": digits, "index": np.arange(120)}).filter(lambda batch: True)
    with pytest.raises(ValueError, match=r"Say it: `Generator\(\.\.\., examples=N\)`"):
        model.fit(dataset)


def test_the_number_of_examples_is_taken_from_a_dataset_that_tells(make_model, digits, reaching):
    parts, model = {"signal": digits, "index": np.arange(120)}, make_model()
    reaching(model.fit, Dataset.from_tensor_slices(parts).batch(40, drop_remainder=True))
    assert model.latents.shape == (120, 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["array", "dataset"])
def test_labels_and_unknown_keys_are_refused(model, untouched, digits, method, form):
    labels = np.zeros(120)
    call = getattr(model, method)
    with pytest.raises(ValueError, match="tuple of several parts: the model learns without labels"):
        call((digits, labels) if form == "array" else batches((digits, labels)))
    for keys in ({"image": digits}, {"signal": digits, "label": labels}):
        with pytest.raises(ValueError, match=r"received the keys \['(image|label)'"):
            call(keys if form == "array" else batches(keys))


@pytest.mark.parametrize("name", ["y", "class_weight", "sample_weight"])
def test_what_belongs_to_labels_is_refused(model, untouched, digits, name):
    value = {0: 1.0} if name == "class_weight" else np.zeros(120)
    with pytest.raises(ValueError, match=f"`{name}` was given, but this model learns from signals"):
        model.fit(digits, **{name: value})
    if name != "class_weight":
        with pytest.raises(ValueError, match=f"`{name}` was given"):
            model.evaluate(digits, **{name: value})


def test_losses_of_keras_are_refused(digits, make_model):
    model = make_model()
    for options in ({"loss": "mse"}, {"metrics": ["mae"]}):
        model.compile(optimizer="adam", **options)
        with pytest.raises(ValueError, match=r"without `loss` and `metrics`"):
            model.fit(digits)
    model.compile(optimizer="adam")
    model.fit(digits, verbose=0)


def test_fit_before_compile_says_so(digits):
    model = Generator(abp_tf.networks.image_generator((8, 8, 1), 4, 4))
    with pytest.raises(ValueError, match="compile"):
        model.fit(digits)


def test_options_of_arrays_are_refused_with_datasets(model, untouched, digits):
    dataset = batches({"signal": digits, "index": np.arange(120)})
    with pytest.raises(ValueError, match="`batch_size` was given with a dataset"):
        model.fit(dataset, batch_size=10)
    with pytest.raises(ValueError, match=r"`validation_split` cuts arrays; .* a dataset"):
        model.fit(dataset, validation_split=0.1)
    with pytest.raises(ValueError, match=r"`validation_split` cuts arrays; .* `validation_data`"):
        model.fit(digits, validation_split=0.1, validation_data=digits)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, 0.999])
def test_impossible_splits_are_refused(model, untouched, digits, share):
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(digits, validation_split=share)


def test_other_data_need_a_reset(make_model, digits):
    model = make_model()
    model.fit(digits[:100], verbose=0, batch_size=50)
    latents = model.latents.copy()
    for other, what in ((digits, "these are 120"), (digits[20:], "other content")):
        with pytest.raises(ValueError, match=rf"100 other training examples.*{what}.*reset_chains\(\)"):
            model.fit(other, verbose=0)
    np.testing.assert_array_equal(model.latents, latents)
    model.fit(digits[:100], verbose=0, batch_size=50)
    assert np.abs(model.latents - latents).max() > 1e-3

    model.reset_chains()
    model.fit(digits, verbose=0, batch_size=50, epochs=4)
    assert model.latents.shape == (120, 4)
    start = tf.random.stateless_normal([120, 4], [model.seed, 0]).numpy()
    assert (np.abs(model.latents - start).max(axis=1) > 1e-3).all()


def test_networks_that_tie_chains_to_the_batch_are_refused(digits):
    for layer in (keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)):
        latent = keras.Input((4,))
        signal = keras.layers.Reshape((8, 8, 1))(layer(keras.layers.Dense(64)(latent)))
        model = Generator(keras.Model(latent, signal), value_range=None)
        model.compile(optimizer="adam")
        with pytest.raises(ValueError, match=f"of type {type(layer).__name__}, which ties"):
            model.fit(digits)


def test_networks_that_cannot_be_used_are_refused():
    inputs = keras.Input((4,))
    for network, message in (
        (keras.layers.Dense(3), "keras.Model, received Dense"),
        (keras.Sequential([keras.layers.Dense(3)]), "known shapes"),
        (keras.Model(inputs, [inputs, inputs]), "known shapes of one input and one output"),
        (keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(3)]), "known shapes"),
        (keras.Sequential([inputs, keras.layers.Flatten()]), "none"),
    ):
        with pytest.raises(ValueError, match=message):
            Generator(network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "positive `sigma`"),
        ({"sigma": -1.0}, "positive `sigma`"),
        ({"sigma": float("nan")}, "positive `sigma`"),
        ({"chains": "warm"}, "'persistent' or 'fresh', received 'warm'"),
        ({"expansion": 1.5}, r"`expansion` .*\[0, 1\], received 1\.5"),
        ({"expansion": 0.5, "chains": "fresh"}, "Use one or the other"),
        ({"examples": 0}, "`examples` .* 1 or more, received 0"),
        ({"examples": 2.5}, "`examples` .* received 2.5"),
    ],
)
def test_impossible_options_are_refused(make_model, options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1, "step_size": 0.1}, "`steps`.*received -1"),
        ({"steps": 1.5, "step_size": 0.1}, "`steps`.*received 1.5"),
        ({"steps": True, "step_size": 0.1}, "`steps`.*received True"),
        ({"steps": 1, "step_size": 0.0}, "positive `step_size`.*use steps=0"),
        ({"steps": 1, "step_size": float("inf")}, "positive `step_size`"),
        ({"steps": 1, "step_size": 0.1, "temperature": -1}, "`temperature` of 0 or more"),
        ({"steps": 1, "step_size": 0.1, "cool": -1}, "`cool`.*received -1"),
    ],
)
def test_impossible_langevin_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Langevin(**options)


def test_a_range_may_be_lifted_or_moved(digits, make_model, reaching):
    [training] = reaching(make_model(value_range=None).fit, digits * 1.5)
    assert np.abs(training.rows()["signal"]).max() == 1.5
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\]"):
        make_model(value_range=(0, 1)).fit(digits)


# Validation.


def test_validation_split_is_cut_before_indexing_where_keras_cuts(digits, make_model, reaching):
    split, given = make_model(), make_model()
    found = reaching(split.fit, digits, batch_size=45, validation_split=0.25)
    same = reaching(given.fit, digits[:90], batch_size=45, validation_data=digits[90:])
    assert split.latents.shape == (90, 4)
    for one, other in zip(found, same, strict=True):
        assert_same_batches(one.batches(), other.batches())
    np.testing.assert_array_equal(found[1].rows()["signal"], digits[90:])
    # Keras keeps floor(n (1 − share)) for training.
    [odd, _] = reaching(make_model().fit, digits, batch_size=120, validation_split=0.33)
    kept = keras.src.trainers.data_adapters.array_slicing.train_validation_split((digits,), 0.33)[0][0]
    assert len(odd.rows()["index"]) == len(kept)


def test_validation_split_cuts_masks_and_indices_too(digits, masks_of_digits, make_model, reaching):
    model, given = make_model(), make_model()
    order = np.concatenate([np.random.default_rng(0).permutation(90), np.arange(90, 120)])
    signals = np.where(masks_of_digits[..., None], digits, np.float32(np.nan))
    parts = {"signal": signals, "mask": masks_of_digits, "index": order}
    found = reaching(model.fit, parts, batch_size=90, validation_split=0.25)
    first, last = ({k: v[part] for k, v in parts.items()} for part in (slice(90), slice(90, None)))
    del last["index"]
    same = reaching(given.fit, first, batch_size=90, validation_data=last)
    assert model.latents.shape == (90, 4)
    for one, other in zip(found, same, strict=True):
        assert_same_batches(one.batches(), other.batches())
    rows = found[0].rows()
    np.testing.assert_array_equal(rows["mask"][np.argsort(rows["index"]), ..., 0],
                                  masks_of_digits[:90][np.argsort(order[:90])])  # fmt: skip


def test_evaluate_and_predict_number_a_dataset_as_an_array(digits, learned, reaching):
    for method in (learned.evaluate, learned.predict):
        [arrays] = reaching(method, digits, batch_size=32)
        expected = arrays.rows()
        np.testing.assert_array_equal(expected["index"], np.arange(120))
        for dataset in (
            Dataset.from_tensor_slices(digits).batch(32),
            Dataset.from_tensor_slices((digits,)).batch(50),
            Dataset.from_tensor_slices({"signal": digits.astype(np.float64)}).batch(7),
        ):
            [found] = reaching(method, dataset)
            assert_same_batches([found.rows()], [expected])
        # A number given is the one used.
        turned = Dataset.from_tensor_slices({"signal": digits[::-1], "index": np.arange(120)[::-1]})
        [found] = reaching(method, turned.batch(32))
        assert_same_batches([{k: v[::-1] for k, v in found.rows().items()}], [expected])


def test_a_dataset_is_evaluated_as_an_array_is(digits, learned):
    expected = learned.evaluate(digits, batch_size=32, verbose=0, return_dict=True)
    dataset = Dataset.from_tensor_slices(digits).batch(32)
    found = learned.evaluate(dataset, verbose=0, return_dict=True)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)
    np.testing.assert_allclose(
        learned.predict(dataset, verbose=0), learned.reconstruct(digits), atol=1e-4
    )


# The order of examples.


def order(iteration, count=10, batch_size=4, **options):
    """The examples of the batches of one epoch, with the iteration counted as training does."""
    data = pipeline.Examples(np.zeros((count, 1), np.float32))
    iteration = tf.Variable(iteration, dtype=tf.int64)
    options = {"seed": 3, **options}
    dataset = pipeline.shuffled(data, batch_size, iteration=iteration, **options)
    found = []
    for batch in dataset:
        iteration.assign_add(1)
        found.append(batch["index"].numpy().tolist())
    assert len(found) == len(dataset)
    return found


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_a_pass_covers_every_example_once(epoch):
    found = order(3 * epoch)
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert sorted(place for batch in found for place in batch) == list(range(10))
    assert found != order(3 * epoch + 3)
    assert found != order(3 * epoch, seed=4)
    assert found == order(3 * epoch)


def test_an_order_goes_on_where_it_stopped():
    passes = order(0) + order(3) + order(6)
    assert order(0, steps_per_epoch=9) == passes
    assert order(2, steps_per_epoch=2) == passes[2:4]
    assert order(5, steps_per_epoch=4) == passes[5:]
    assert order(1) == passes[1:4]


def test_without_shuffling_examples_come_in_order():
    assert order(0, shuffle=False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert order(4, shuffle=False, steps_per_epoch=3) == [[4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]


def test_steps_per_epoch_continues_the_pass(digits, make_model, reaching):
    counts, model = np.zeros(120, int), make_model()
    for steps, epochs, once, twice in ((2, 1, 80, 0), (1, 1, 120, 0), (1, 2, 40, 80), (1, 1, 0, 120)):
        [training] = reaching(model.fit, digits, batch_size=40, steps_per_epoch=steps)
        for _ in range(epochs):
            counts[training.rows()["index"]] += 1
        assert ((counts == 1).sum(), (counts == 2).sum()) == (once, twice)


def test_chains_belong_to_numbers_in_any_order_of_any_form_of_data(digits, make_model):
    # Without learning, a chain depends on its example and the iteration alone; with all examples in
    # one batch, every order has the same iterations.
    model = make_model(learning_rate=1e-12)

    def latents(data, **options):
        model.reset_chains()
        model.iteration.assign(0)
        model.fit(data, epochs=3, verbose=0, **options)
        return model.latents

    arrays = latents(digits, batch_size=120)
    dataset = Dataset.from_tensor_slices(digits).enumerate()
    dataset = dataset.map(lambda i, x: {"signal": x, "index": i}).shuffle(120, seed=1)
    dataset = dataset.batch(120, drop_remainder=True)
    np.testing.assert_allclose(latents(dataset), arrays, atol=1e-4)
    # An index of one's own.
    index = np.random.default_rng(1).permutation(120)
    numbered = latents({"signal": digits[index], "index": index}, batch_size=120)
    np.testing.assert_allclose(numbered, arrays, atol=1e-4)
    assert np.abs(arrays - arrays[index]).max() > 0.1

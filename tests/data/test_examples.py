"""From arrays and datasets to numbered batches: what is refused, and the order of examples."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import checks
from abp_tf.data import examples as data_examples
from abp_tf.data import ordering, streams
from abp_tf.models import batches

Dataset = tf.data.Dataset
SHAPE, RANGE = (8, 8, 1), (-1.0, 1.0)


def changed(array, value, *place):
    array = array.copy()
    array[place] = value
    return array


def examples(parts):
    """Check arrays as `fit` does."""
    data = data_examples.examples(parts, SHAPE, RANGE)
    if data.index is not None:
        checks.index(data.index, 20)


def stream(parts, rows=20, batched=True):
    """Read a dataset as `fit` does."""
    dataset = Dataset.from_tensor_slices(parts)
    dataset = dataset.batch(200) if batched else dataset
    with batches.readable_errors():
        list(streams.stream(dataset, SHAPE, RANGE, rows=rows))


# What is wrong with signals: name, how to spoil good ones, what an array's error says, and what a
# dataset's does.
SIGNALS = {
    "uint8": (
        lambda x: ((x + 1) * 127.5).astype(np.uint8),
        r"float.* uint8\. .*/ 127\.5 - 1",
        r"float32.* uint8\. .*/ 127\.5 - 1",
    ),
    "not scaled": (
        lambda x: (x + 1) * 127.5,
        r"\[-1, 1\].* 0 to 255\. .*127\.5 - 1",
        r"\[-1, 1\]\. .*127\.5 - 1",
    ),
    "too low": (lambda x: changed(x, -1.01, 3, 2, 1), r"-1\.01 to 1\.", r"\[-1, 1\]"),
    "NaN": (lambda x: changed(x, np.nan, 7, 0, 0), "NaN.*mask", "NaN.*mask"),
    "infinity": (lambda x: changed(x, np.inf, 7, 0, 0), "infinity.*mask", "infinity.*mask"),
    "no channel axis": (
        lambda x: x[..., 0],
        r"\('n', 8, 8, 1\), .*\(20, 8, 8\)\. .*channel axis",
        r"\('n', 8, 8, 1\), .*\(None, 8, 8\)\. .*channel axis",
    ),
    "flat": (
        lambda x: x.reshape(20, 64),
        r"\('n', 8, 8, 1\), .*\(20, 64\)",
        r"\('n', 8, 8, 1\), .*\(None, 64\)",
    ),
    "colour": (
        lambda x: np.repeat(x, 3, axis=-1),
        r"\('n', 8, 8, 1\), .*\(20, 8, 8, 3\)",
        r"\('n', 8, 8, 1\), .*\(None, 8, 8, 3\)",
    ),
    "other size": (
        lambda x: x[:, :7],
        r"\('n', 8, 8, 1\), .*\(20, 7, 8, 1\)",
        r"\('n', 8, 8, 1\), .*\(None, 7, 8, 1\)",
    ),
    "too deep": (
        lambda x: x[..., None],
        r"\('n', 8, 8, 1\), .*\(20, 8, 8, 1, 1\)",
        r"\('n', 8, 8, 1\), .*\(None, 8, 8, 1, 1\)",
    ),
    "single, not a batch": (lambda x: x[0], r"signal\[None\]", r"single examples.*\.batch"),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_bad_signals_are_refused(digits, name):
    spoil, of_array, of_dataset = SIGNALS[name]
    bad = spoil(digits[:20])
    with pytest.raises(ValueError, match=of_array):
        examples(bad)
    single = name.startswith("single")
    with pytest.raises(ValueError, match=of_dataset):
        stream(digits[:20] if single else bad, rows=None, batched=not single)


def test_nothing_at_all_is_refused(digits):
    none = digits[:0]
    for parts in (none, {"signal": none, "mask": none[..., 0] > 0}):
        with pytest.raises(ValueError, match="at least one example, received none"):
            examples(parts)


def test_values_rounded_beyond_the_range_are_none_too_many(digits):
    beyond = digits[:20] * np.nextafter(np.float32(1), np.float32(2))
    assert beyond.max() > 1
    examples(beyond)
    stream({"signal": beyond, "index": np.arange(20)})


def test_what_exceeds_a_range_is_told_in_digits_that_show_it(digits):
    with pytest.raises(ValueError, match=r"from -1\.000002 to 1\.000002\b"):
        examples(digits[:20] * np.float32(1.000002))


def test_a_tuple_of_one_part_has_no_labels(digits):
    found = data_examples.examples((digits[:3],), SHAPE, RANGE)
    np.testing.assert_array_equal(found.signal, digits[:3])
    with pytest.raises(ValueError, match="without labels"):
        data_examples.examples((digits[:3], digits[:3]), SHAPE, RANGE)


MASKS = {
    "shape": (lambda mask: mask[:, :5], r"\(20, 5, 8\)|\(None, 5, 8\)"),
    "rank": (lambda mask: mask[:, 0], r"\(20, 8\)|\(None, 8\)"),
    "values": (lambda mask: mask * 0.5, r"only 0 and 1, .* 0\.0 to 0\.5|other than 0 and 1"),
    "uint8": (lambda mask: mask.astype("u1") * 255, "only 0 and 1|other than 0 and 1"),
    "NaN": (lambda mask: changed(mask * 1.0, np.nan, 1, 1), "only 0 and 1|other than 0 and 1"),
}


@pytest.mark.parametrize("name", MASKS)
def test_bad_masks_are_refused(digits, masks_of_digits, name):
    spoil, message = MASKS[name]
    parts = {"signal": digits[:20], "mask": spoil(masks_of_digits[:20]), "index": np.arange(20)}
    for read in (examples, stream):
        with pytest.raises(ValueError, match=f"(?s)({message}).*A mask holds 1"):
            read(parts)


def test_a_mask_of_another_number_of_examples_is_refused(digits, masks_of_digits):
    with pytest.raises(ValueError, match=r"20, 8, 8.*\(19, 8, 8\)"):
        examples({"signal": digits[:20], "mask": masks_of_digits[:19]})


INDICES = {
    "duplicate": (lambda index: changed(index, 4, 5), "19 distinct ones among 20|the same number"),
    "too large": (lambda index: changed(index, 20, 5), r"0 to 19.*0 to 20\.|outside 0 to 19"),
    "negative": (lambda index: changed(index, -1, 5), "from -1 to 19|outside 0 to 19"),
    "float": (lambda index: index * 1.0, "integer.* float64"),
    "rank": (lambda index: index[:, None], r"integer.*\((20|None), 1\)"),
}


@pytest.mark.parametrize("name", INDICES)
def test_bad_indices_are_refused(digits, name):
    spoil, message = INDICES[name]
    parts = {"signal": digits[:20], "index": spoil(np.arange(20))}
    for read in (examples, stream):
        with pytest.raises(ValueError, match=f"(Index|Dataset): .*({message})"):
            read(parts)


def test_an_array_of_indices_of_another_length_is_refused(digits):
    with pytest.raises(ValueError, match=r"20 integers.*\(19,\)"):
        examples({"signal": digits[:20], "index": np.arange(19)})


def test_labels_and_unknown_keys_are_refused(digits):
    labels = np.zeros(120)
    for read in (examples, stream):
        with pytest.raises(ValueError, match="without labels"):
            read((digits, labels))
        for keys in ({"image": digits}, {"signal": digits, "label": labels}):
            with pytest.raises(ValueError, match=r"keys \['(image|label)'"):
                read(keys)


def test_any_mapping_will_do(digits, masks_of_digits):
    parts = {"signal": digits, "mask": masks_of_digits}
    found = data_examples.examples(types.MappingProxyType(parts), SHAPE, RANGE)
    np.testing.assert_array_equal(found.mask, masks_of_digits[..., None])
    assert data_examples.masked(types.MappingProxyType(parts), None) == parts
    with pytest.raises(ValueError, match='"mask", and another'):
        data_examples.masked(types.MappingProxyType(parts), masks_of_digits)


def test_generators_are_refused_unread():
    def numbers():
        raise AssertionError("read")
        yield

    for bad in (numbers, numbers(), iter([])):
        with pytest.raises(ValueError, match=r"generator.*Dataset\.from_generator"):
            examples(bad)


# The order of examples.


def order(iteration, count=10, batch_size=4, **options):
    """The examples of the batches of one epoch, with the iteration counted as training does."""
    data = data_examples.Examples(np.zeros((count, 1), np.float32))
    iteration = tf.Variable(iteration, dtype=tf.int64)
    options = {"seed": 3, **options}
    dataset = ordering.shuffled(data, batch_size, iteration=iteration, **options)
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


# Streams of Keras.


class Batches(keras.utils.PyDataset):
    """Five batches of 4 numbers, as dicts."""

    def __init__(self, dtype=np.float32, **options):
        super().__init__(**options)
        self.dtype, self.ends = dtype, 0

    def __len__(self):
        return 5

    def __getitem__(self, number):
        index = np.arange(4 * number, 4 * number + 4)
        return {"signal": index[:, None].astype(self.dtype), "index": index}

    def on_epoch_end(self):
        self.ends += 1


def test_batches_of_keras_come_in_an_order_of_seed_and_iteration():
    def numbers(data, iteration=0, **options):
        iteration = keras.Variable(iteration, dtype="int64")
        dataset = streams.as_dataset(data, iteration=iteration, **options)
        assert int(dataset.cardinality()) == 5
        return [int(batch["index"][0]) // 4 for batch in dataset]

    data = Batches()
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert data.ends == 1
    first = numbers(data, shuffle=True)
    assert sorted(first) == [0, 1, 2, 3, 4]
    assert first != sorted(first)
    assert numbers(data, shuffle=True) == first
    assert first not in (numbers(data, 5, shuffle=True), numbers(data, shuffle=True, seed=1))
    assert numbers(data, 4, shuffle=True) == first  # the same pass


def test_labels_of_keras_are_refused():
    class Labelled(Batches):
        def __getitem__(self, number):
            return super().__getitem__(number)["signal"], np.zeros(4)

    with pytest.raises(ValueError, match="without labels"):
        streams.as_dataset(Labelled())

"""What belongs to which shard and process, without a strategy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf.data import examples, ordering, streams
from abp_tf.distribution import backup
from abp_tf.distribution.shards import Shards
from abp_tf.sampling.chains import LatentTable, Pool
from abp_tf.sampling.random import row_normal

ALONE, PAIR = Shards(4), [Shards(4, 0, 2), Shards(4, 1, 2)]


def test_each_process_owns_the_examples_of_its_shards():
    assert [list(one.own) for one in PAIR] == [[0, 2], [1, 3]]
    numbers = np.arange(11)
    for one in PAIR:
        mine = numbers[np.isin(numbers % 4, one.own)]
        np.testing.assert_array_equal(mine, numbers[one.worker :: 2])
        np.testing.assert_array_equal(one.row(mine), np.arange(one.size_of_own(11)))
        for shard in one.own:
            found = mine[one.rows_of(shard)]
            np.testing.assert_array_equal(found, numbers[shard::4])
            assert len(found) == one.size(11, shard)


def pool(shards, rows):
    return Pool((3,), rows, lambda seeds: row_normal(seeds, [3]), 5, shards)


@pytest.mark.parametrize("make", [lambda shards, rows: LatentTable((3,), rows, 5, shards), pool])
def test_tables_of_all_processes_are_the_table_of_one(make):
    whole = make(ALONE, 11)
    parts = [make(shards, 11) for shards in PAIR]
    for worker, part in enumerate(parts):
        np.testing.assert_array_equal(part.states, whole.states[worker::2])
        assert part.rows == whole.rows == 11
    numbers = np.int64([1, 9])
    np.testing.assert_array_equal(parts[1].read(numbers), tf.gather(whole.states, numbers))
    parts[1].write(tf.constant([9], tf.int64), tf.ones([1, 3]))
    np.testing.assert_array_equal(parts[1].read(np.int64([9])), np.ones((1, 3)))
    own = [part.read_own(np.arange(11)) for part in parts]
    assert (own[0][1::2] == 0).numpy().all()
    np.testing.assert_array_equal(own[0][::2], whole.states[::2])


def test_one_shard_is_the_table_without_shards():
    for make in (pool, lambda shards, rows: LatentTable((3,), rows, 5, shards)):
        np.testing.assert_array_equal(make(Shards(), 6).states, make(None, 6).states)


def test_a_pool_gives_each_place_a_chain_of_its_shard():
    table = pool(ALONE, 11)
    seeds = tf.constant([[1, 2], [3, 4]], tf.int64)

    def chosen(place):
        return table.some(tf.constant(place, tf.int64), 0.0, seeds, lambda chain: None)[0].numpy()

    places = [0, 1, 2, 3, 4, 7]
    found = chosen(places)
    assert len(set(found)) == len(places)
    np.testing.assert_array_equal(found % 4, np.array(places) % 4)
    np.testing.assert_array_equal(chosen(places[2:4]), found[2:4])


def rounds(shards, iteration=0, count=10, **options):
    data = examples.Examples(np.arange(count, dtype=np.float32)[:, None])
    done = tf.Variable(iteration, dtype=tf.int64)
    options = {"seed": 3, "iteration": done, "shards": shards, **options}
    found = ordering.shuffled(data, 4, **options)
    return [{name: part.numpy() for name, part in batch.items()} for batch in found]


@pytest.mark.parametrize("iteration", [0, 2])
def test_batches_of_all_processes_are_those_of_one(iteration):
    # Shards 0 and 1 have three examples, shards 2 and 3 have two: the last batch is half empty.
    whole = rounds(ALONE, iteration)
    assert [len(batch["index"]) for batch in whole] == ([4, 4, 2] if not iteration else [2, 4, 4])
    parts = [rounds(shards, iteration) for shards in PAIR]
    for together, *apart in zip(whole, *parts, strict=True):
        assert {*together["index"]} == {*apart[0]["index"], *apart[1]["index"]}
        for batch in (together, *apart):
            np.testing.assert_array_equal(batch["index"] % 4, batch["place"] % 4)
            np.testing.assert_array_equal(batch["signal"][:, 0], batch["index"])
    seen = np.concatenate([batch["index"] for batch in rounds(ALONE)])
    np.testing.assert_array_equal(np.sort(seen), np.arange(10))
    assert (seen != np.sort(seen)).any()


def test_processes_with_numbers_take_as_many_steps_as_the_longest_shard():
    data = examples.Examples(np.zeros((2, 1), np.float32), index=np.int64([1, 3]))
    done = tf.Variable(0, dtype=tf.int64)
    found = ordering.shuffled(data, 4, seed=3, iteration=done, shards=PAIR[1], longest=3)
    assert [len(batch["index"]) for batch in found] == [2, 0, 0]


def test_a_batch_that_shards_cannot_share_is_refused():
    data, done = examples.Examples(np.zeros((9, 1), np.float32)), tf.Variable(0, dtype=tf.int64)
    with pytest.raises(ValueError, match=r"multiple of the 4 shards.*received 6"):
        ordering.shuffled(data, 6, seed=0, iteration=done, shards=ALONE)


def of_shard(shard, shards, repeat=False):
    numbers = tf.data.Dataset.range(shard, 10, shards)
    numbers = numbers.repeat() if repeat else numbers
    return numbers.map(lambda i: {"signal": tf.cast(i, tf.float32)[None], "index": i}).batch(1)


def test_datasets_of_shards_are_joined():
    parts = [streams.stream(of_shard(v, 4), (1,), None, rows=10, of_shard=(v, 4)) for v in range(4)]
    found = list(streams.joined(parts, ALONE, None))
    numbers = [batch["index"].numpy().tolist() for batch in found]
    assert numbers == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found[2]["place"].numpy().tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"steps_per_epoch.*repeat"):
        streams.joined(parts, ALONE, 3)
    endless = [of_shard(v, 4, repeat=True) for v in range(4)]
    assert len(list(streams.joined(endless, ALONE, 5).take(5))) == 5
    with pytest.raises(ValueError, match=r"infinite.*steps_per_epoch"):
        streams.joined(endless, ALONE, None)


def test_an_example_of_another_shard_is_refused():
    wrong = streams.stream(of_shard(2, 4), (1,), None, rows=10, of_shard=(1, 4))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"not in shard 1: i mod 4 must be 1"):
        list(wrong)


def test_one_process_learns_from_a_function_of_the_shard(make_model, digits):
    def part(shard, shards):
        numbers = np.arange(shard, len(digits), shards)
        data = {"signal": digits[shard::shards], "index": numbers}
        return tf.data.Dataset.from_tensor_slices(data).batch(10)

    model = make_model(shards=2, examples=len(digits))
    model.fit(part, epochs=1, verbose=0)
    assert int(model.iteration.numpy()) == 6
    assert model.latents.shape == (120, 4)


def test_a_backup_keeps_what_another_process_writes_for_the_next_one(learned, tmp_path):
    model = abp_tf.Generator(learned.network, shards=2, examples=7)
    directory = backup.Directory(tmp_path)
    directory.save(model, 0)
    (tmp_path / "3-0-1.npy").touch()
    directory.save(model, 1)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"index.json", "2-model.keras", "2-0-0.npy", "2-0-1.npy", "3-0-1.npy"}


def test_shards_are_saved_and_fixed(learned, tmp_path):
    model = abp_tf.Generator(learned.network, shards=2, examples=7)
    assert abp_tf.Generator.from_config(model.get_config()).shards == 2
    with pytest.raises(AttributeError, match=r"shards is fixed"):
        model.shards = 3
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    assert again.shards == 2
    np.testing.assert_array_equal(again.latents, model.latents)
    with pytest.raises(ValueError, match=r"`shards`.*received 0"):
        abp_tf.Generator(learned.network, shards=0)

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling.chains import LatentTable


def test_table_is_read_and_written_by_number():
    table = LatentTable((3,), examples=6, seed=1)
    before = table.states.numpy().copy()
    table.write(tf.constant([4, 1], tf.int64), tf.constant([[1.0, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(table.read(tf.constant([1, 4])), [[4, 5, 6], [1, 2, 3]])
    others = [0, 2, 3, 5]
    np.testing.assert_array_equal(table.states.numpy()[others], before[others])


def test_table_starts_as_the_prior():
    values = LatentTable((10,), examples=5000, seed=2).states.numpy()
    assert abs(values.mean()) < 0.02
    assert abs(values.var() - 1) < 0.02


def test_rows_that_have_moved():
    table = LatentTable((2, 3), examples=5, seed=7)
    assert not len(table.moved())
    first = table.read(tf.constant([3, 1])).numpy()
    first[:, 1, 2] += 1
    table.write(tf.constant([3, 1]), tf.constant(first))
    np.testing.assert_array_equal(table.moved(), [1, 3])


def test_use_for_refuses_other_data():
    table = LatentTable((2,))
    with pytest.raises(ValueError, match=r"examples=N"):
        table.use_for(None)
    table.use_for(10)
    before = table.states.numpy()
    table.use_for(10)
    np.testing.assert_array_equal(table.states, before)
    with pytest.raises(ValueError, match=r"belong to 10 other.*these are 11.*reset_chains"):
        table.use_for(11)
    with pytest.raises(ValueError, match=r"10 .*other content.*reset_chains"):
        table.use_for(10, same=False)


def test_config_round_trip():
    layer = LatentTable((2, 3), examples=4, seed=5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()

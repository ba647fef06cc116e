import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf.latents import LatentTable, Prior


def test_table_is_read_and_written_by_number():
    table = LatentTable((3,), examples=6, seed=1)
    before = table.table.numpy().copy()
    table.write(tf.constant([4, 1], tf.int64), tf.constant([[1.0, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(table.read(tf.constant([1, 4])), [[4, 5, 6], [1, 2, 3]])
    others = [0, 2, 3, 5]
    np.testing.assert_array_equal(table.table.numpy()[others], before[others])


def test_table_starts_as_the_prior():
    values = LatentTable((10,), examples=5000, seed=2).table.numpy()
    assert abs(values.mean()) < 0.02
    assert abs(values.var() - 1) < 0.02


def test_claim_knows_other_data():
    table = LatentTable((2,))
    with pytest.raises(ValueError, match=r"examples=N"):
        table.claim(None)
    table.claim(10, fingerprint=5)
    table.claim(10, fingerprint=5)
    with pytest.raises(ValueError, match=r"belong to 10 other.*these are 11.*reset_chains"):
        table.claim(11, fingerprint=5)
    with pytest.raises(ValueError, match=r"other content.*reset_chains"):
        table.claim(10, fingerprint=6)


def spread_chains(shape, count=4000):
    rng = np.random.default_rng(0)
    size = shape[-1]
    mixing = rng.normal(size=(size, size)) + 2 * np.eye(size)
    return (rng.normal(size=(count, *shape)) @ mixing + rng.normal(size=size)).astype(np.float32)


@pytest.mark.parametrize("shape", [(5,), (3, 2, 4)])
def test_absorbing_whitens_the_chains_and_changes_nothing_decoded(shape):
    prior = Prior(shape)
    chains = spread_chains(shape)
    for _ in range(2):  # the second time μ and A are no longer where they started
        decoded = prior(chains).numpy()
        whitened, root = (part.numpy() for part in prior.absorb(tf.constant(chains)))
        np.testing.assert_allclose(prior(whitened), decoded, atol=3e-5)
        rows = chains.reshape(-1, shape[-1])
        np.testing.assert_allclose(whitened.reshape(rows.shape) @ root, rows - rows.mean(0), atol=1e-4)
        rows = whitened.reshape(-1, shape[-1])
        np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(np.cov(rows.T, bias=True), np.eye(shape[-1]), atol=1e-4)
        chains = np.tanh(whitened) * 2 + 0.3


def test_directions_that_few_examples_say_nothing_about_keep_part_of_the_prior():
    prior = Prior((6,))
    chains = spread_chains((6,), count=3)  # rank 2
    whitened, _ = prior.absorb(tf.constant(chains))
    np.testing.assert_allclose(prior(whitened), chains, atol=1e-4)
    assert np.linalg.eigvalsh(prior.scale.numpy()).min() > 0.5


def test_config_round_trips():
    for layer in (LatentTable((2, 3), examples=4, seed=5), Prior((2, 3))):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert again.get_config() == layer.get_config()


def test_draws_belong_to_their_seeds():
    prior = Prior((3,))
    draw = tf.function(prior.draw)
    whole = draw(tf.constant([[1, 0], [2, 0], [3, 0]], tf.int64)).numpy()
    alone = draw(tf.constant([[3, 0]], tf.int64)).numpy()
    assert (whole[2] == alone[0]).all()
    assert (whole[0] != whole[1]).all()

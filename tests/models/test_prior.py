import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf.models import Prior


def spread_chains(shape, count=4000):
    rng = np.random.default_rng(0)
    size = shape[-1]
    mixing = rng.normal(size=(size, size)) + 2 * np.eye(size)
    return (rng.normal(size=(count, *shape)) @ mixing + rng.normal(size=size)).astype(np.float32)


@pytest.mark.parametrize(("shape", "block"), [((5,), 300), ((3, 2, 4), 1 << 16)])
def test_absorbing_whitens_the_chains_and_changes_nothing_decoded(shape, block, monkeypatch):
    monkeypatch.setattr("abp_tf.models.prior._BLOCK", block)  # the last one has 100 chains
    prior = Prior(shape)
    chains = spread_chains(shape)
    for _ in range(2):  # the second time μ and A are no longer where they started
        decoded = prior(chains).numpy()
        whitened, (root,) = prior.absorb(tf.constant(chains))
        whitened = whitened.numpy()
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
    assert np.linalg.eigvalsh(prior.scales[0].numpy()).min() > 0.5


def test_config_round_trip():
    layer = Prior((2, 3))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def test_draws_belong_to_their_seeds():
    prior = Prior((3,))
    draw = tf.function(prior.draw)
    whole = draw(tf.constant([[1, 0], [2, 0], [3, 0]], tf.int64)).numpy()
    alone = draw(tf.constant([[3, 0]], tf.int64)).numpy()
    assert (whole[2] == alone[0]).all()
    assert (whole[0] != whole[1]).all()

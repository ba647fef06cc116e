import re

import keras
import numpy as np
import pytest

from abp_tf import networks
from abp_tf.networks import SplitLatents, field_generator, latent_blocks


@pytest.mark.parametrize(
    ("shape", "local", "grids"),
    [
        ((4, 4, 2), [(1, 3)], [(2, 2, 3)]),
        ((5, 4, 1), [(3, 1), (6, 2)], [(3, 2, 1), (6, 4, 2)]),
        ((21, 33, 2), [(14, 4)], [(12, 18, 4)]),
        ((33, 21, 2), [(40, 1), (9, 3)], [(36, 24, 1), (9, 6, 3)]),
        ((100, 100, 1), [(14, 6)], [(14, 14, 6)]),
        ((7, 9, 1), (), []),
    ],
)
def test_grids_have_the_size_of_the_nearest_map(shape, local, grids, tmp_path):
    keras.utils.set_random_seed(0)
    network = field_generator(shape, 2, local, width=2)
    blocks = ((2,), *grids)
    assert latent_blocks(network) == blocks
    size = sum(map(np.prod, blocks))
    assert network.input_shape == (None, size)
    assert network.output_shape == (None, *shape)
    latents = np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)
    fields = network(latents).numpy()
    assert fields.dtype == np.float32
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again(latents), fields)
    assert latent_blocks(again) == blocks
    assert networks.resizable(network) is False


def test_a_grid_acts_near_its_positions():
    keras.utils.set_random_seed(0)
    network = field_generator((40, 40, 1), 3, [(10, 2)], width=2)
    _, (*grid, channels) = latent_blocks(network)
    latents = np.zeros((2, network.input_shape[-1]), np.float32)
    at = np.zeros((*grid, channels))
    at[2, 3] = 1
    latents[1, 3:] = at.ravel()
    changed = np.argwhere(np.diff(network(latents), axis=0)[0, ..., 0])
    # The entries of this position are rows 8 to 11 and columns 12 to 15.
    assert 3 <= changed[:, 0].min() <= 8 <= 11 <= changed[:, 0].max() <= 16
    assert 7 <= changed[:, 1].min() <= 12 <= 15 <= changed[:, 1].max() <= 20


@pytest.mark.parametrize("activation", ["linear", "elu"])
@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_frames_are_linear_in_the_latents_where_asked_for(activation, output):
    keras.utils.set_random_seed(0)
    network = field_generator((6, 9, 2), 2, [(9, 2)], 4, activation=activation, output=output)
    latents = np.random.default_rng(0).normal(size=(2, network.input_shape[-1])).astype(np.float32)
    one, other, middle = network(np.concatenate([latents, latents.mean(0, keepdims=True)])).numpy()
    linear = np.allclose(middle, (one + other) / 2, atol=1e-5)
    assert linear == (activation == output == "linear")
    assert (np.abs([one, other]).max() > 1) == (output == "linear")


def test_frames_are_float32_in_mixed_precision():
    network = field_generator((8, 8, 1), 2, [(4, 1)], width=2, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"bfloat16"}
    assert network(np.ones((1, network.input_shape[-1]), "f")).dtype == "float32"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"shape": (3, 9, 1)}, "(3, 9, 1)"),
        ({"global_dim": 0}, "`global_dim`"),
        ({"local": [(14, 0)]}, "channels"),
        ({"local": [(0, 4)]}, "positions"),
        ({"local": [(14,)]}, "(14,)"),
        ({"kernel_size": 1}, "`kernel_size`"),
        ({"width": 0}, "`width`"),
        ({"activation": "relu"}, "'relu'"),
        ({"output": "softmax"}, "'softmax'"),
    ],
)
def test_what_cannot_be_is_refused(options, names):
    with pytest.raises(ValueError, match=f"field_generator .*{re.escape(names)}"):
        field_generator(**{"shape": (8, 8, 1), "global_dim": 2, **options})


def test_blocks_of_a_network_of_ones_own():
    latent = keras.Input((2 + 5 * 3,))
    vector, sequence = SplitLatents(2, [(5, 3)])(latent)
    joined = keras.layers.Concatenate()([keras.layers.RepeatVector(5)(vector), sequence])
    network = keras.Model(latent, keras.layers.Dense(1)(joined))
    assert latent_blocks(network) == ((2,), (5, 3))
    row = np.arange(17, dtype=np.float32)
    head, tail = SplitLatents(2, [(5, 3)])(row[None])
    np.testing.assert_array_equal(np.concatenate([head[0], np.ravel(tail[0])]), row)
    with pytest.raises(ValueError, match=r"SplitLatents .*`grids`.*received 0"):
        SplitLatents(2, [(5, 0)])

"""Networks of volumes."""

import keras
import numpy as np
import pytest
from keras import ops

from abp_tf import networks


def test_initial_volumes_vary_with_the_latents_everywhere():
    keras.utils.set_random_seed(0)
    network = networks.volume_generator((8, 16, 12, 1), latent_dim=6, width=8, levels=2)
    latents = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    volumes = ops.convert_to_numpy(network(latents))
    assert volumes.shape == (64, 8, 16, 12, 1)
    deviation = volumes.std(axis=0)
    assert deviation.min() > 0.02
    assert deviation.mean() > 0.3


def test_precision_ends_in_float32():
    shape = (8, 8, 8, 1)
    for network, entries in (
        (networks.volume_generator(shape, 3, 4, dtype="mixed_bfloat16"), (1, 3)),
        (networks.volume_descriptor(shape, 4, dtype="mixed_bfloat16"), (1, *shape)),
    ):
        assert network.layers[1].compute_dtype == "bfloat16"
        assert ops.convert_to_numpy(network(np.ones(entries, np.float32))).dtype == np.float32


def test_a_score_sees_the_whole_volume():
    network = networks.volume_descriptor((6, 9, 8, 1), width=4, levels=2, scale=2.0)
    volume = np.random.default_rng(0).uniform(-1, 1, (1, 6, 9, 8, 1)).astype(np.float32)
    scores = []
    for corner in (0, -1):
        changed = volume.copy()
        changed[0, corner, corner, corner] += 1
        scores.append(float(network(changed)[0, 0]))
    assert len({float(network(volume)[0, 0]), *scores}) == 3


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"shape": (8, 8, 0, 1)}, r"\(8, 8, 0, 1\)"),
        ({"shape": (8, 8, 8)}, r"\(8, 8, 8\)"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"activation": "relu"}, "relu"),
    ],
)
def test_what_cannot_be_built(change, part):
    with pytest.raises(ValueError, match=f"volume_generator.*{part}"):
        networks.volume_generator(**{"shape": (8, 8, 8, 1), "latent_dim": 3, **change})
    with pytest.raises(ValueError, match=r"volume_descriptor.*levels"):
        networks.volume_descriptor((8, 8, 8, 1), levels=0)

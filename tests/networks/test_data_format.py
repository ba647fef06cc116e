"""Networks have channels last, whatever Keras's global format is."""

import keras
import numpy as np
import pytest

from abp_tf import networks
from abp_tf.networks import mirror


def spread(network):
    """Return a network with other weights than its first ones, some of which are 0."""
    rng = np.random.default_rng(1)
    network.set_weights([rng.normal(size=weight.shape) for weight in network.get_weights()])
    return network


NETWORKS = {
    "linear": lambda: networks.linear((4, 3), 2),
    "image_generator": lambda: networks.image_generator((7, 16, 3), 2, 2, antialias=2, batch_norm=True),
    "image_descriptor": lambda: networks.image_descriptor((7, 16, 3), 2),
    "field_generator": lambda: networks.field_generator((7, 16, 3), 2, ((4, 2), (9, 1)), 2),
    "texture_generator": lambda: networks.texture_generator(
        (8, 15, 3), width=2, levels=2, padding="valid"
    ),
    "texture_descriptor": lambda: networks.texture_descriptor((32, 40, 3), 2),
    "sound_generator": lambda: networks.sound_generator(
        19, 2, 2, factors=(5, 2), kernel_size=5, padding="valid"
    ),
    "sound_descriptor": lambda: networks.sound_descriptor(60, 2, kernel_size=5, stride=2),
    "video_generator": lambda: networks.video_generator(
        (3, 16, 8, 3), 2, 2, base=(2, 1), levels=3, padding="valid"
    ),
    "video_descriptor": lambda: networks.video_descriptor((4, 8, 16, 3), 2, levels=1),
    "volume_generator": lambda: networks.volume_generator((7, 16, 8, 2), 3, 2),
    "volume_descriptor": lambda: networks.volume_descriptor((8, 16, 8, 2), 2),
    "autoencoder_energy": lambda: spread(networks.autoencoder_energy((7, 16, 3), 2, hidden=3)),
    "dynamic_generator": lambda: networks.dynamic_generator(
        networks.image_generator((7, 16, 3), 2, 2), 3, 2
    ),
    "encoder": lambda: spread(networks.encoder((7, 15, 3), ((3,), (4, 8, 2)), 2, hidden=5)),
    "mirrored encoder": lambda: mirror.encoder(networks.image_generator((7, 15, 3), 2, 2)),
    "mirrored discriminator": lambda: mirror.discriminator(networks.image_generator((7, 15, 3), 2, 2)),
}


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


def test_all_networks_are_looked_at():
    kinds = ("_generator", "_descriptor", "linear", "encoder", "autoencoder_energy")
    made = {name for name in networks.__all__ if name.endswith(kinds)}
    assert made == {name for name in NETWORKS if not name.startswith("mirrored")}


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_are_last(name, request):
    expected = NETWORKS[name]()
    request.getfixturevalue("channels_first")
    network = NETWORKS[name]()
    formats = {layer.data_format for layer in network.layers if hasattr(layer, "data_format")}
    assert formats <= {"channels_last"}
    assert (network.input_shape, network.output_shape) == (expected.input_shape, expected.output_shape)
    # Entries are in the order of channels_last too, of what a Flatten makes for one.
    network.set_weights(expected.get_weights())
    shape = (2, *network.input_shape[1:])
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = network(inputs).numpy()
    np.testing.assert_allclose(found, expected(inputs), atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4

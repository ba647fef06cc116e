import keras
import numpy as np
import pytest

from abp_tf import Generator, networks


@pytest.fixture(scope="module")
def both():
    keras.utils.set_random_seed(0)
    frame = networks.image_generator((8, 9, 3), latent_dim=2, width=2)
    return frame, networks.frame_by_frame(frame, 4)


def test_each_frame_is_decoded_by_itself(both):
    frame, network = both
    assert (network.input_shape, network.output_shape) == ((None, 4, 2), (None, 4, 8, 9, 3))
    latents = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    decoded = network(latents).numpy()
    for time in range(4):
        np.testing.assert_allclose(decoded[:, time], frame(latents[:, time]), atol=1e-6)
    np.testing.assert_allclose(network(latents[1:2])[0], decoded[1], atol=1e-6)
    assert network.trainable_variables[0] is frame.trainable_variables[0]


def test_a_saved_network_is_the_same(both, tmp_path):
    network = both[1]
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    latents = np.ones((2, 4, 2), np.float32)
    np.testing.assert_array_equal(again(latents), network(latents))


def test_the_length_can_change_but_not_the_frame(both):
    network = both[1]
    assert networks.resized(network, (7, 2)).output_shape == (None, 7, 8, 9, 3)
    assert networks.free(network) == (True,)
    texture = networks.texture_generator((32, 32, 1), width=2, levels=4)
    sequence = networks.frame_by_frame(texture, 3)
    assert networks.free(sequence) == (True, False, False)
    with pytest.raises(ValueError, match="not the size of frames"):
        networks.resized(sequence, (3, 4, 4, 1))


def test_a_network_whose_rows_depend_on_each_other_is_refused():
    frame = networks.image_generator((8, 8, 1), latent_dim=2, width=2, batch_norm=True)
    model = Generator(networks.frame_by_frame(frame, 3))
    model.compile("adam")
    with pytest.raises(ValueError, match="BatchNormalization"):
        model.fit(np.zeros((2, 3, 8, 8, 1), np.float32))


@pytest.mark.parametrize(("network", "frames"), [(None, 3), (networks.linear((2,), 2), 0)])
def test_unusable_arguments(network, frames):
    with pytest.raises(ValueError, match="frame_by_frame expected"):
        networks.frame_by_frame(network, frames)

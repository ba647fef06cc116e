"""Dynamic generators: their states by a loop in NumPy, clips of other lengths, and learning."""

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import networks


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def both():
    keras.utils.set_random_seed(0)
    frame = networks.image_generator((8, 9, 3), latent_dim=4, width=2)
    return frame, networks.dynamic_generator(frame, 6, latent_dim=3)


def states(network, noise):
    """Return the states `[n, frames, d]` that the noise `[n, frames, k]` moves."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    kernel, recurrent, bias = network.get_layer("state").get_weights()
    state, found = np.zeros((len(noise), len(recurrent))), []
    for moves in np.moveaxis(noise, 1, 0):
        ours, theirs = moves @ kernel + bias[0], state @ recurrent + bias[1]
        [keep, reset, new], [keep_, reset_, new_] = (np.split(x, 3, axis=1) for x in (ours, theirs))
        gate = sigmoid(keep + keep_)
        state = gate * state + (1 - gate) * np.tanh(new + sigmoid(reset + reset_) * new_)
        found.append(state)
    return np.stack(found, 1)


def test_noise_moves_a_state_that_each_frame_decodes(both):
    frame, network = both
    assert (network.input_shape, network.output_shape) == ((None, 6, 3), (None, 6, 8, 9, 3))
    noise = normal(2, 6, 3)
    moved = states(network, noise)
    decoded = network(noise).numpy()
    for time in range(6):
        np.testing.assert_allclose(decoded[:, time], frame(moved[:, time]), atol=1e-5)
    # Later noise does not change a frame, earlier noise does.
    noise[:, 3] += 1
    changed = np.abs(network(noise).numpy() - decoded).max((0, 2, 3, 4)) > 1e-6
    assert changed.tolist() == [False] * 3 + [True] * 3


def test_a_longer_clip_begins_as_a_shorter_one_and_states_stay_bounded(both):
    network = both[1]
    longer = networks.resized(network, (80, 3))
    noise = normal(2, 80, 3)
    np.testing.assert_allclose(longer(noise)[:, :6], network(noise[:, :6]), atol=1e-6)
    assert np.abs(states(network, 30 * noise)).max() <= 1
    assert networks.free(network) == (True,)


def test_chains_explain_a_clip_and_a_saved_model_draws_the_same(tmp_path):
    clips = np.tanh(np.cumsum(normal(2, 6, 8, 8, 1), axis=1) / 2)
    keras.utils.set_random_seed(0)
    frame = networks.image_generator((8, 8, 1), latent_dim=5, width=4)
    model = abp_tf.Generator(
        networks.dynamic_generator(frame, 6, 3),
        sigma=0.3,
        langevin=abp_tf.Langevin(5, 0.3),
        preconditioning=True,
    )
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(clips, batch_size=2, epochs=30, verbose=0).history["reconstruction_error"]
    assert history[-1] < 0.5 * history[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.synthesize(2, seed=3), model.synthesize(2, seed=3))
    assert abp_tf.resized(model, (12, 3)).synthesize(1).shape == (1, 12, 8, 8, 1)


@pytest.mark.parametrize(
    ("frame", "frames", "words"),
    [
        (None, 3, "dynamic_generator expected"),
        (networks.linear((2,), 2), 0, "`frames` .*received 0"),
        (networks.texture_generator((8, 8, 1), width=2, levels=2), 3, r"a vector.*\(2, 2, 1\)"),
    ],
)
def test_unusable_arguments(frame, frames, words):
    with pytest.raises(ValueError, match=words):
        networks.dynamic_generator(frame, frames)

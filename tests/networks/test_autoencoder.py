"""Energies of autoencoders: their closed form, their sums over positions, and models with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import networks


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stationary(shape=(48, 40, 2), levels=2, **options):
    return networks.autoencoder_energy(shape, 3, levels=levels, hidden=0, **options)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_it_is_the_squared_error_of_a_reconstruction(dtype):
    network = networks.autoencoder_energy((9, 12, 2), 3, hidden=5, scale=7.0, dtype=dtype)
    network.get_layer("misfit").gain.assign(0.8)
    signals = normal(4, 9, 12, 2)
    reconstruct = keras.Model(network.input, network.get_layer("reconstruction").output)
    error = 0.8 * signals - reconstruct(signals).numpy()
    found = network(signals)
    assert found.shape == (4, 1)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found[:, 0], -7 / 2 * (error**2).sum((1, 2, 3)), rtol=1e-5)


def test_the_reconstruction_sees_the_whole_image_by_its_dense_layers():
    shape = (28, 28, 1)
    signal = tf.constant(normal(1, *shape))
    for hidden in (5, 0):
        network = networks.autoencoder_energy(shape, 2, hidden=hidden)
        corner = keras.Model(network.input, network.get_layer("reconstruction").output)
        with tf.GradientTape() as tape:
            tape.watch(signal)
            first = corner(signal)[0, 0, 0, 0]
        seen = tape.gradient(first, signal).numpy()[0, ..., 0] != 0
        assert seen.all() == bool(hidden)


@pytest.mark.parametrize("shape", [(37, 1), (13, 22, 3), (5, 9, 12, 1)])
def test_signals_of_one_to_three_sides(shape, tmp_path):
    network = networks.autoencoder_energy(shape, 2, hidden=4)
    signals = normal(3, *shape)
    together = network(signals).numpy()
    for signal, score in zip(signals, together, strict=True):
        np.testing.assert_allclose(network(signal[None])[0], score, rtol=1e-5)
    network.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "network.keras")(signals), together
    )


def test_without_dense_layers_it_is_a_sum_over_positions_at_any_size():
    network = stationary()
    larger = networks.resized(network, (101, 90, 2))
    side = networks.reach(network)[0]
    patch, empty = normal(1, 8, 8, 2), np.zeros((1, 101, 90, 2), np.float32)

    def score(*corners):
        signal = empty.copy()
        for top, left in corners:
            signal[:, top : top + 8, left : left + 8] = patch
        return float(larger(signal)[0, 0])

    first, second = (20, 20), (20 + side + 8, 20 + side + 8)
    second = tuple(4 * (at // 4) for at in second)  # by whole entries of the coarsest map
    empty_score, alone = score(), score(first)
    assert abs(alone - empty_score) > 0.1
    assert score(second) == pytest.approx(alone, rel=1e-4)
    both = score(first, second)
    assert both - empty_score == pytest.approx(2 * (alone - empty_score), rel=1e-4)


@pytest.mark.parametrize(("levels", "kernel_size"), [(1, 3), (2, 3), (3, 3), (2, 5)])
def test_an_entry_of_the_reconstruction_sees_what_it_reaches(levels, kernel_size):
    side = 24 * 2**levels
    network = stationary((side, side, 1), levels, kernel_size=kernel_size)
    signal = tf.constant(normal(1, side, side, 1))
    reconstruct = keras.Model(network.input, network.get_layer("reconstruction").output)
    widths = []
    for at in range(side // 2, side // 2 + 2**levels):
        with tf.GradientTape() as tape:
            tape.watch(signal)
            entry = reconstruct(signal)[0, at, at, 0]
        seen = np.argwhere(tape.gradient(entry, signal).numpy()[0, ..., 0])
        widths.append(seen.max(0) - seen.min(0) + 1)
    assert tuple(np.max(widths, 0)) == networks.reach(network)


def test_chains_learn_and_a_model_is_as_before_after_saving(tmp_path):
    images = np.tanh(normal(40, 12, 12, 1))
    model = abp_tf.Descriptor(
        networks.image_descriptor((12, 12, 1), 3, energy="autoencoder"),
        langevin=abp_tf.Langevin(3, 2**0.5, temperature=1e-4),
        pool=20,
    )
    model.compile(keras.optimizers.Adam(1e-3))
    before = model.score(images).score
    model.fit(images, batch_size=10, epochs=2, verbose=0)
    assert np.abs(model.score(images).score - before).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.synthesize(2, steps=3, from_noise=False), model.synthesize(2, steps=3, from_noise=False)
    )
    model.export(tmp_path / "model" / "1")
    served = tf.saved_model.load(tmp_path / "model" / "1").signatures["score"]
    np.testing.assert_allclose(
        served(signal=tf.constant(images))["score"], model.score(images).score, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (3, 8, 1)}, r"\(side, side, channels\).*received \(3, 8, 1\)"),
        ({"shape": (8,)}, r"\(side, channels\).*received \(8,\)"),
        ({"width": 0}, "`width` .*received 0"),
        ({"levels": 0}, "`levels` .*received 0"),
        ({"hidden": -1}, "`hidden` .*received -1"),
        ({"activation": "swash"}, "'swash'"),
    ],
)
def test_impossible_networks_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        networks.autoencoder_energy(**{"shape": (8, 8, 1), "width": 2, **options})


@pytest.mark.parametrize("option", [{"outputs": 100}, {"initial_deviation": 0.01}])
def test_options_of_scores_are_refused_for_autoencoders(option):
    with pytest.raises(ValueError, match=r"'autoencoder'.*use the energy 'score'"):
        networks.image_descriptor((8, 8, 1), 2, energy="autoencoder", **option)

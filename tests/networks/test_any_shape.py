"""Networks of any shape: some shapes need no cropping, the others are cut out of larger ones."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import networks

image = functools.partial(networks.image_generator, latent_dim=3, width=2)
normed = functools.partial(image, hidden=0, batch_norm=True, antialias=2)
texture = functools.partial(networks.texture_generator, width=4, levels=3)
fire = functools.partial(networks.video_generator, latent_channels=2, width=2, levels=2, time_levels=1)
based = functools.partial(fire, base=(2, 4))
water = functools.partial(fire, stationary=True)
volume = functools.partial(networks.volume_generator, latent_dim=3, width=4)


def sound(shape, **options):
    return networks.sound_generator(shape[0], width=4, factors=(5, 4), **options)


# A shape, and the one that it is cut out of.
CUT = [
    (image, (5, 7, 1), (6, 8, 1)),
    (image, (13, 9, 5), (14, 10, 5)),
    (normed, (50, 30, 2), (56, 32, 2)),
    (texture, (30, 33, 2), (32, 40, 2)),
    (functools.partial(texture, padding="valid"), (30, 33, 2), (32, 40, 2)),
    (sound, (37, 1), (40, 1)),
    (functools.partial(sound, padding="valid"), (41, 1), (60, 1)),
    (fire, (7, 10, 13, 2), (8, 12, 16, 2)),
    (functools.partial(based, padding="valid"), (5, 10, 13, 1), (6, 16, 16, 1)),
    (functools.partial(water, padding="valid"), (5, 10, 13, 1), (6, 12, 16, 1)),
    (volume, (5, 7, 9, 2), (8, 8, 16, 2)),
    (functools.partial(volume, levels=1), (1, 6, 7, 1), (2, 6, 8, 1)),
]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def middle(signals, sides):
    spare = [have - side for have, side in zip(signals.shape[1:-1], sides, strict=True)]
    starts = [more // 2 for more in spare]
    return signals[:, *(slice(at, at + side) for at, side in zip(starts, sides, strict=True))]


@pytest.mark.parametrize(("make", "shape", "whole"), CUT)
def test_a_signal_is_the_middle_of_the_next_larger_one(make, shape, whole, tmp_path):
    network, larger = make(shape), make(whole)
    assert network.output_shape == (None, *shape)
    assert network.input_shape == larger.input_shape
    names = [layer.name for layer in network.layers]
    assert [name for name in names if name != "crop"] == [layer.name for layer in larger.layers]
    assert names[-2:] == ["crop", "range"]
    larger.set_weights(network.get_weights())
    latents = normal(3, *network.input_shape[1:])
    found = network(latents).numpy()
    np.testing.assert_allclose(found, middle(larger(latents).numpy(), shape[:-1]), atol=1e-6)
    assert found.dtype == np.float32
    assert np.abs(found[0] - found[1]).max() > 1e-3
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(latents), found)


@pytest.mark.parametrize(
    ("make", "shape", "whole"), [case for case in CUT if networks.resizable(case[0](case[1]))]
)
def test_cut_generators_are_resized_by_whole_steps(make, shape, whole):
    network, larger = make(shape), make(whole)
    larger.set_weights(network.get_weights())
    *grid, channels = network.input_shape[1:]
    longer = [side + 2 * free for side, free in zip(grid, networks.free(network), strict=True)]
    latents = normal(2, *longer, channels)
    found = networks.resized(network, latents.shape[1:])(latents).numpy()
    expected = networks.resized(larger, latents.shape[1:])(latents).numpy()
    assert np.ptp(np.subtract(found.shape[1:], shape) - np.subtract(expected.shape[1:], whole)) == 0
    np.testing.assert_allclose(found, middle(expected, found.shape[1:-1]), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_large_map_of_one_channel(dtype):
    shape = (201, 301, 1)
    network = networks.image_generator(shape, latent_dim=20, width=8, dtype=dtype)
    assert network.output_shape == (None, *shape)
    assert network.get_layer("signal").output.shape == (None, 224, 320, 1)
    assert network.get_layer("range").compute_dtype == "float32"
    assert networks.image_descriptor(shape, 4).input_shape == (None, *shape)


DESCRIPTORS = [
    (networks.image_descriptor, (4, 4, 2)),
    (networks.image_descriptor, (5, 7, 1)),
    (networks.image_descriptor, (13, 10, 5)),
    (networks.image_descriptor, (4, 30, 1)),
    (networks.autoencoder_energy, (5, 7, 2)),
    (functools.partial(networks.autoencoder_energy, hidden=0), (37, 1)),
    (networks.texture_descriptor, (5, 7, 4)),
    (networks.texture_descriptor, (50, 30, 1)),
    (lambda shape: networks.sound_descriptor(shape[0], stride=3), (37, 1)),
    (networks.video_descriptor, (3, 5, 7, 2)),
    (functools.partial(networks.video_descriptor, stationary=True), (3, 5, 7, 2)),
    (networks.volume_descriptor, (3, 5, 7, 2)),
]


@pytest.mark.parametrize(("make", "shape"), DESCRIPTORS)
def test_a_descriptor_of_any_shape_sees_every_entry(make, shape):
    keras.utils.set_random_seed(1)
    network = make(shape)
    assert network.output_shape == (None, 1)
    signal = tf.constant(normal(1, *shape))
    with tf.GradientTape() as tape:
        tape.watch(signal)
        score = network(signal)
    assert np.abs(tape.gradient(score, signal)).min() > 0
    # And its score is no linear function of them.
    sides = network(-signal) - network(0 * signal), network(0 * signal) - score
    assert not np.allclose(*sides, rtol=1e-3)


def test_padding_of_descriptors_by_default():
    def padding(network):
        return {layer.padding for layer in network.layers if hasattr(layer, "kernel")}

    assert padding(networks.texture_descriptor((31, 99, 3), 2)) == {"valid"}
    assert padding(networks.texture_descriptor((99, 30, 3), 2)) == {"same"}
    assert padding(networks.sound_descriptor(995, 2)) == {"valid"}
    assert padding(networks.sound_descriptor(994, 2)) == {"same"}


# Layers by name with the shapes of their weights, as they were when no network was cropped: files of
# weights made then are read by these networks.
AS_EVER = {
    "latent, hidden 5x16 16, dense 16x384 384, base, up1 4x4x4x8 4, average1, up2 4x4x2x4 2, average2, "
    "signal 3x3x2x3 3, range": lambda: networks.image_generator((32, 24, 3), 5, 2, antialias=2),
    "latent, dense 5x400 400, norm_dense 400 400 400 400, activation_dense, base, up1 4x4x4x8 4, "
    "norm_up1 4 4 4 4, activation_up1, up2 4x4x2x4 2, norm_up2 2 2 2 2, activation_up2, "
    "signal 3x3x2x1 1, range": lambda: networks.image_generator(
        (20, 40, 1), 5, 2, hidden=0, batch_norm=True
    ),
    "latent, up1 5x5x4x2 4, crop1, up2 5x5x3x4 3, crop2, range": lambda: networks.texture_generator(
        (8, 12, 3), 2, 4, levels=2, padding="valid"
    ),
    "latent, up1 25x4x2 4, up2 25x1x4 1, range": lambda: networks.sound_generator(
        40, 2, 4, factors=(5, 4)
    ),
    "latent, up1 3x4x4x8x5, places 4x8x8, activation1, up2 4x4x4x4x8 4, up3 4x4x4x3x4 3, range": (
        lambda: networks.video_generator((4, 16, 32, 3), 5, 4, levels=2)
    ),
    "latent, up1 4x4x4x4x5 4, up2 4x4x4x1x4 1, range": lambda: networks.video_generator(
        (4, 8, 12, 1), 5, 4, levels=2, stationary=True
    ),
    "latent, coarsest 5x48 48, map, up1 4x4x4x4x8 4, up2 4x4x4x1x4 1, range": (
        lambda: networks.volume_generator((8, 4, 12, 1), 5, 4, levels=2)
    ),
    "signal, down1 4x4x3x2 2, activation1, features, score 72x1 1": (
        lambda: networks.image_descriptor((17, 8, 3), 2)
    ),
    "signal, down1 7x7x3x4 4, activation1, down2 5x5x4x5 5, activation2, down3 3x3x5x5 5, activation3, "
    "score 3x3x5x1 1": lambda: networks.texture_descriptor((31, 40, 3), 4),
    "signal, down1 25x1x4 4, activation1, down2 25x4x8 8, activation2, down3 25x8x16 16, activation3, "
    "score 3x16x1 1": lambda: networks.sound_descriptor(995, 4),
    "signal, down1 3x4x4x3x4 4, activation1, down2 3x4x4x4x8 8, activation2, score 3x4x5x8x1 1": (
        lambda: networks.video_descriptor((4, 16, 20, 3), 4, levels=2)
    ),
    "signal, down1 4x4x4x1x4 4, activation1, down2 4x4x4x4x8 8, activation2, score 2x3x3x8x1 1": (
        lambda: networks.volume_descriptor((8, 9, 12, 1), 4, levels=2)
    ),
}


@pytest.mark.parametrize("outline", AS_EVER)
def test_networks_of_shapes_that_need_no_cropping_are_as_ever(outline):
    found = [
        " ".join([layer.name, *("x".join(map(str, weight.shape)) for weight in layer.weights)])
        for layer in AS_EVER[outline]().layers
        if not layer.name.startswith("sum")
    ]
    assert ", ".join(found) == outline


@pytest.mark.parametrize("side", [8, 9, 15, 29, 33, 57, 64, 65, 201, 1000])
def test_maps_of_images_are_hardly_larger_than_needed(side):
    network = networks.image_generator((side, side, 1), 1, 1, hidden=0)
    assert 4 <= network.get_layer("base").output.shape[1] <= 7
    assert side <= network.get_layer("signal").output.shape[1] <= 1.25 * side

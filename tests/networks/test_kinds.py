"""Networks of textures, sounds and clips: sizes, what moves with what, and what rows depend on."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import networks

GENERATORS = {
    "texture": lambda **o: networks.texture_generator((64, 32, 3), width=4, levels=4, **o),
    "sound": lambda **o: networks.sound_generator(400, 2, width=4, factors=(5, 4), **o),
    "video": lambda **o: networks.video_generator((8, 16, 32, 1), 5, 4, base=(2, 4), levels=3, **o),
    "stationary video": lambda **o: networks.video_generator(
        (8, 16, 24, 3), 2, 4, levels=3, time_levels=1, stationary=True, **o
    ),
}
SHAPES = {
    "texture": ((4, 2, 1), (64, 32, 3)),
    "sound": ((20, 2), (400, 1)),
    "video": ((2, 1, 1, 5), (8, 16, 32, 1)),
    "stationary video": ((4, 2, 3, 2), (8, 16, 24, 3)),
}
DESCRIPTORS = {
    "texture": lambda **o: networks.texture_descriptor((40, 48, 3), width=6, **o),
    "sound": lambda **o: networks.sound_descriptor(300, 4, kernel_size=9, stride=3, **o),
    "video": lambda **o: networks.video_descriptor((8, 16, 20, 3), 4, levels=2, **o),
    "stationary video": lambda **o: networks.video_descriptor(
        (8, 16, 20, 3), 4, levels=2, stationary=True, **o
    ),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_have_the_shape_that_was_asked_for(kind):
    keras.utils.set_random_seed(1)
    network, (latent_shape, shape) = GENERATORS[kind](), SHAPES[kind]
    assert network.input_shape == (None, *latent_shape)
    assert network.output_shape == (None, *shape)
    signals = network(normal(3, *latent_shape)).numpy()
    assert signals.shape == (3, *shape)
    assert signals.dtype == np.float32
    assert np.abs(signals).max() <= 1
    # Latents of the prior are seen at the end, neither faint nor saturated.
    assert 0.2 < signals.std() < 0.9
    assert np.abs(signals[0] - signals[1]).mean() > 0.1


@pytest.mark.parametrize(
    "build",
    [
        *GENERATORS.values(),
        lambda **o: networks.image_generator((8, 8, 2), 3, width=4, **o),
        lambda **o: networks.volume_generator((4, 6, 4, 1), 3, width=2, levels=1, **o),
    ],
)
def test_outputs_are_bounded_or_linear(build):
    bounded, linear = build(), build(output="linear")
    linear.set_weights(bounded.get_weights())
    latent = 5 * normal(2, *bounded.input_shape[1:])
    found = linear(latent).numpy()
    assert np.abs(found).max() > 1
    np.testing.assert_allclose(np.tanh(found), bounded(latent), atol=1e-5)
    with pytest.raises(ValueError, match=r"output.*'tanh', 'linear'.*'relu'"):
        build(output="relu")


def test_levels_of_a_texture_descriptor():
    network = networks.texture_descriptor((80, 71, 3), width=9, levels=3)
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")]
    assert [layer.filters for layer in layers] == [9, 12, 16, 16, 16, 1]
    assert [layer.kernel_size[0] for layer in layers] == [7, 5, 3, 3, 3, 3]
    assert [layer.strides[0] for layer in layers] == [2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_descriptors_give_one_number_per_example(kind):
    network = DESCRIPTORS[kind]()
    score = network(normal(2, *network.input_shape[1:]))
    assert score.shape == (2, 1)
    assert score.dtype == "float32"
    tenfold = DESCRIPTORS[kind](scale=10.0)
    tenfold.set_weights(network.get_weights())
    few = normal(2, *network.input_shape[1:])
    np.testing.assert_allclose(tenfold(few), 10 * network(few), rtol=1e-5)


def test_published_sizes():
    assert networks.texture_generator((224, 224, 3), width=2).input_shape == (None, 7, 7, 1)
    assert networks.texture_generator((448, 448, 3), width=2).input_shape == (None, 14, 14, 1)
    assert networks.sound_generator(60_000, width=2).input_shape == (None, 6, 1)
    three = networks.sound_generator(60_000, width=64, factors=(10, 10, 10))
    assert three.input_shape == (None, 60, 1)
    kernels = [layer.kernel.shape for layer in three.layers if hasattr(layer, "kernel")]
    assert kernels == [(25, 128, 1), (25, 64, 128), (25, 1, 64)]
    texture = networks.texture_generator((224, 224, 3), width=64)
    kernels = [layer.kernel.shape for layer in texture.layers if hasattr(layer, "kernel")]
    assert kernels == [
        (5, 5, 512, 1),
        (5, 5, 256, 512),
        (5, 5, 128, 256),
        (5, 5, 64, 128),
        (5, 5, 3, 64),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.texture_generator((64, 64)), r"\(height, width, channels\).*\(64, 64\)"),
        (lambda: networks.texture_generator((64, 64, 3), width=0), "`width` .*received 0"),
        (lambda: networks.texture_generator((64, 64, 3), activation="relu"), "received 'relu'"),
        (lambda: networks.texture_descriptor((30, 64, 3), padding="valid"), "31x31.*received 30x64"),
        (
            lambda: networks.texture_descriptor((99, 70, 3), levels=3, padding="valid"),
            "71x71.*received 99x70",
        ),
        (lambda: networks.texture_descriptor((64, 64, 3), levels=1), "`levels` .* 2 .*received 1"),
        (lambda: networks.texture_descriptor((64, 64, 3), padding="full"), "received 'full'"),
        (lambda: networks.texture_generator((64, 64, 3), padding="full"), "received 'full'"),
        (
            lambda: networks.texture_descriptor((64, 64, 3), activation="no"),
            "activation.*received 'no'",
        ),
        (lambda: networks.sound_generator(100, factors=()), r"factors.*received \(\)"),
        (lambda: networks.sound_generator(100, kernel_size=0), "`kernel_size` .*received 0"),
        (
            lambda: networks.sound_generator(1200, factors=(60, 20)),
            "kernel_size .*60.*received 25",
        ),
        (
            lambda: networks.texture_generator((32, 32, 3), kernel_size=1),
            "kernel_size .*2.*received 1",
        ),
        (lambda: networks.sound_descriptor(994, padding="valid"), "995.*received 994"),
        (lambda: networks.sound_descriptor(2.5), r"received \(2\.5, 1\)"),
        (lambda: networks.video_generator((8, 64, 64, 3), time_levels=5), "time_levels .*levels=4.*5"),
        (lambda: networks.video_generator((8, 64, 64, 3), base=(0, 4)), r"base .*\(0, 4\)"),
        (lambda: networks.video_descriptor((8, 8, 3)), r"\(frames, height, width, channels\)"),
        (
            lambda: networks.video_descriptor((8, 8, 8, 3), kernel_size=(3, 3)),
            r"kernel_size .*received \(3, 3\)",
        ),
    ],
)
def test_impossible_networks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# What moves with what. Biases other than 0 show where borders are filled with zeros.


def with_biases(network):
    rng = np.random.default_rng(5)
    for weight in network.weights:
        if weight.path.endswith("bias"):
            weight.assign(rng.normal(size=weight.shape) * 0.3)
    return network


def test_a_shifted_grid_gives_a_shifted_texture():
    network = with_biases(networks.texture_generator((160, 160, 1), width=4, levels=3))
    grid = normal(1, 20, 20, 1)
    shifted = np.roll(grid, (1, 2), axis=(1, 2))
    texture, moved = network(grid).numpy(), network(shifted).numpy()
    inner = slice(40, 120)
    np.testing.assert_allclose(
        moved[:, 40 + 8 : 120 + 8, 40 + 16 : 120 + 16], texture[:, inner, inner], atol=1e-5
    )
    assert np.abs(moved - texture)[:, inner, inner].mean() > 0.1


@pytest.mark.parametrize(
    ("make", "step", "latents"),
    [
        (functools.partial(networks.texture_generator, (64, 64, 1), width=4, levels=3), 8, 12),
        (
            functools.partial(
                networks.texture_generator, (64, 64, 1), width=4, levels=3, kernel_size=4
            ),
            8,
            10,
        ),
        (functools.partial(networks.sound_generator, 480, width=4, factors=(6, 4)), 24, 26),
    ],
)
def test_without_padding_all_places_are_alike(make, step, latents):
    """What is cut out of a larger texture is that of the latents above it, to the very border."""
    network = with_biases(make(padding="valid"))
    sides, signal = network.input_shape[1:-1], network.output_shape[1:-1]
    assert sides == (latents,) * len(sides)
    larger = normal(1, *(side + 6 for side in sides), 1)
    whole = networks.resized(network, larger.shape[1:])(larger).numpy()
    assert whole.shape[1:-1] == tuple(side + 6 * step for side in signal)
    for at in (0, 4, 6):
        part = network(larger[(slice(None), *(slice(at, at + side) for side in sides))])
        cut = (slice(None), *(slice(at * step, at * step + side) for side in signal))
        np.testing.assert_allclose(part, whole[cut], atol=1e-5)
    # By the same weights as with padding, whose border alone differs.
    padded = with_biases(make())
    padded.set_weights(network.get_weights())
    padded = networks.resized(padded, larger.shape[1:])(larger).numpy()
    rest = [
        (one - other) // 2 for one, other in zip(padded.shape[1:-1], whole.shape[1:-1], strict=True)
    ]
    inner = (slice(None), *(slice(side, -side) for side in rest))
    np.testing.assert_allclose(padded[inner], whole, atol=1e-5)


def test_without_padding_all_frames_are_alike():
    make = functools.partial(networks.video_generator, (16, 16, 32, 1), 2, 4, base=(2, 4), levels=3)
    network = with_biases(make(padding="valid"))
    assert network.input_shape[1:-1] == (10, 1, 1)
    assert network.output_shape[1:-1] == (16, 16, 32)
    larger = normal(1, 14, 1, 1, 2)
    whole = networks.resized(network, larger.shape[1:])(larger).numpy()
    assert whole.shape == (1, 32, 16, 32, 1)
    for at in (0, 3, 4):
        part = network(larger[:, at : at + 10])
        np.testing.assert_allclose(part, whole[:, 4 * at : 4 * at + 16], atol=1e-5)
    everywhere = networks.video_generator(
        (8, 16, 24, 3), 2, 4, levels=3, time_levels=1, stationary=True, padding="valid"
    )
    assert everywhere.output_shape[1:] == (8, 16, 24, 3)
    assert all(more > less for more, less in zip(everywhere.input_shape[1:4], (4, 2, 3), strict=True))


def test_a_clip_knows_places_without_latents():
    """What never moves is explained by no latents: time shows in the strides' own period alone."""
    network = with_biases(
        networks.video_generator((8, 16, 32, 1), 2, 4, base=(2, 4), levels=3, padding="valid")
    )
    clip = network(np.zeros((1, *network.input_shape[1:]), np.float32)).numpy()[0]
    np.testing.assert_allclose(clip[4:], clip[:4], atol=1e-5)
    blocks = clip[0].reshape(2, 8, 4, 8).swapaxes(1, 2)[:, :, 3:5, 3:5]
    assert np.ptp(blocks.mean(axis=(2, 3))) > 0.05
    with pytest.raises(ValueError, match=r"\(None, 1, 1, 2\), received \(9, 2"):
        networks.resized(network, (9, 2, 1, 2))


def test_shifted_latents_give_a_shifted_sound_and_clip():
    sounds = with_biases(networks.sound_generator(20 * 24, width=4, factors=(6, 4)))
    z = normal(1, 20, 1)
    first, second = sounds(z).numpy(), sounds(np.roll(z, 1, axis=1)).numpy()
    np.testing.assert_allclose(second[:, 5 * 24 : 15 * 24], first[:, 4 * 24 : 14 * 24], atol=1e-5)
    clips = with_biases(networks.video_generator((64, 8, 8, 1), 3, 2, levels=1, time_levels=1))
    z = normal(1, 32, 1, 1, 3)
    first, second = clips(z).numpy(), clips(np.roll(z, 1, axis=1)).numpy()
    np.testing.assert_allclose(second[:, 16:48], first[:, 14:46], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "stride"), [("texture", 4), ("sound", 27), ("video", 4), ("stationary video", 4)]
)
def test_a_score_is_a_sum_over_places(kind, stride):
    """Something on an empty ground scores the same wherever it is, and two things their sum."""
    keras.utils.set_random_seed(1)  # weights to which the thing is not all but invisible
    network = with_biases(DESCRIPTORS[kind]())
    shape = network.input_shape[1:]
    length = 8 * shape[0]
    larger = networks.resized(network, (length, *shape[1:]))
    thing = normal(8, *shape[1:])

    def score(*places):
        signal = np.zeros((1, length, *shape[1:]), np.float32)
        for place in places:
            signal[0, place : place + 8] = thing
        return float(larger(signal)[0, 0])

    empty, first, second = score(), stride * (length // stride // 4), stride * (length // stride // 2)
    alone = score(first) - empty
    assert abs(alone) > 0.01
    assert score(second) - empty == pytest.approx(alone, rel=1e-2, abs=2e-3)
    assert score(first, second) - empty == pytest.approx(2 * alone, rel=1e-2, abs=4e-3)


def test_one_entry_of_the_last_map_sees_what_it_reaches():
    for levels, side in ((2, 31), (3, 71)):
        network = networks.texture_descriptor((80, 96, 1), 2, levels=levels)
        assert networks.reach(network) == (side, side)
        signal = tf.zeros((1, 80, 96, 1))
        with tf.GradientTape() as tape:
            tape.watch(signal)
            score = keras.Model(network.input, network.get_layer("score").output)(signal)[0, 0, 0, 0]
        seen = np.argwhere(tape.gradient(score, signal).numpy()[0, ..., 0])
        assert (seen.min(0).tolist(), seen.max(0).tolist()) == ([0, 0], [side - 1, side - 1])
    assert networks.reach(networks.sound_descriptor(300, 4, kernel_size=9, stride=3)) > (9,)


@pytest.mark.parametrize("kind", [*GENERATORS])
def test_resized_generators_share_weights(kind):
    network = GENERATORS[kind]()
    latent_shape, shape = SHAPES[kind]
    longer = networks.resized(network, (3 * latent_shape[0], *latent_shape[1:]))
    assert longer.output_shape == (None, 3 * shape[0], *shape[1:])
    assert [id(weight) for weight in longer.weights] == [id(weight) for weight in network.weights]
    z = normal(2, 3 * latent_shape[0], *latent_shape[1:])
    whole = longer(z).numpy()
    assert whole.shape == (2, 3 * shape[0], *shape[1:])
    sides = zip(latent_shape[:-1], networks.free(network), strict=True)
    free = networks.resized(
        network, (*(None if loose else side for side, loose in sides), latent_shape[-1])
    )
    np.testing.assert_allclose(free(z), whole, atol=1e-6)
    np.testing.assert_allclose(
        free(z[:, : latent_shape[0]]), network(z[:, : latent_shape[0]]), atol=1e-6
    )


def test_resizing_is_refused_where_weights_do_not_fit():
    image = networks.image_generator((16, 16, 1), 4, 2)
    assert not networks.resizable(image)
    assert not networks.resizable(networks.image_descriptor((16, 16, 1), 2))
    with pytest.raises(ValueError, match=r"'image_generator'.*\(4,\)"):
        networks.resized(image, (8,))
    texture = GENERATORS["texture"]()
    for shape in [(4, 4), (4, 4, 2), (0, 4, 1)]:
        with pytest.raises(ValueError, match=rf"\(4, 2, 1\).*received {re.escape(str(shape))}"):
            networks.resized(texture, shape)


@pytest.mark.parametrize("kind", GENERATORS)
def test_rows_do_not_depend_on_their_batch(kind):
    network = GENERATORS[kind]()
    z = normal(8, *network.input_shape[1:])
    together = network(z).numpy()
    alone = np.concatenate([network(z[row : row + 1]).numpy() for row in range(8)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", GENERATORS)
def test_mixed_precision_ends_in_float32(kind):
    network = GENERATORS[kind](dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"bfloat16"}
    assert network(normal(1, *network.input_shape[1:])).dtype == "float32"
    score = DESCRIPTORS[kind](dtype="mixed_bfloat16")
    computed = [layer.compute_dtype for layer in score.layers if layer.weights]
    assert computed == ["bfloat16"] * (len(computed) - 1) + ["float32"]
    assert score.outputs[0].dtype == "float32"


@pytest.mark.parametrize("make", [*GENERATORS.values(), *DESCRIPTORS.values()])
def test_networks_are_saved_and_loaded(make, tmp_path):
    network = make()
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    few = normal(2, *network.input_shape[1:])
    np.testing.assert_array_equal(loaded(few), network(few))
    assert networks.resizable(loaded)
    assert networks.resizable(network)


@pytest.mark.parametrize("activation", networks.SMOOTH)
def test_signals_neither_fade_nor_grow_from_layer_to_layer(activation):
    keras.utils.set_random_seed(3)
    network = networks.texture_generator((128, 128, 1), 4, 32, activation=activation)
    inner = keras.Model(network.input, network.get_layer("up5").output)
    values = inner(normal(2, 4, 4, 4)).numpy()
    assert 0.4 < np.sqrt((values**2).mean()) < 2


def test_every_sample_depends_on_the_latents_with_the_narrowest_kernel():
    network = networks.sound_generator(1200, width=2, factors=(60, 20), kernel_size=60)
    one, other = (network(normal(1, 1, 1, seed=seed)).numpy() for seed in (1, 2))
    assert (one != other).all()

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import networks
from abp_tf.networks import activations

SHAPES = [
    *((size, size, 1) for size in (16, 28, 32, 48, 64, 128)),
    (32, 48, 3),
    (64, 128, 1),
    (128, 64, 3),
    (28, 28, 3),
    (4, 4, 2),
    (5, 7, 1),
    (13, 10, 5),
    (60, 33, 3),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_that_are_asked_for(shape):
    network = networks.image_generator(shape, latent_dim=3, width=2)
    assert network.input_shape == (None, 3)
    assert network.output_shape == (None, *shape)
    latent = 5 * np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    images = network(latent).numpy()
    assert images.shape == (2, *shape)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    assert np.abs(images[0] - images[1]).max() > 1e-3
    # A chain must not depend on its batch: no layer of another kind, all smooth.
    kinds = {type(layer).__name__ for layer in network.layers}
    kept = {"InputLayer", "Dense", "Reshape", "Conv2DTranspose", "Conv2D", "Activation"}
    assert kinds - {"Cropping2D"} == kept
    named = {layer.get_config().get("activation", "linear") for layer in network.layers}
    assert named == {"elu", "linear", "tanh"}


@pytest.mark.parametrize("how", ["argument", "global policy"])
def test_images_are_float32_in_mixed_precision(how):
    before = keras.config.dtype_policy()
    try:
        if how == "global policy":
            keras.config.set_dtype_policy("mixed_bfloat16")
        dtype = None if how == "global policy" else "mixed_bfloat16"
        network = networks.image_generator((16, 16, 1), latent_dim=3, width=2, dtype=dtype)
        linear = networks.linear((5,), latent_dim=3)
    finally:
        keras.config.set_dtype_policy(before)
    computed = {layer.compute_dtype for layer in network.layers if layer.weights}
    assert computed == {"bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert network(np.ones((1, 3), "f")).dtype == linear(np.ones((1, 3), "f")).dtype == "float32"


def test_elu_of_bfloat16_is_that_of_float32_rounded(tmp_path):
    x = tf.cast(tf.linspace(-4.0, 4.0, 161), tf.bfloat16)
    exact = tf.cast(x, tf.float32)

    def curve(function, x):
        """Values, slopes, and slopes of the squared slopes."""
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            slope = inner.gradient(y, x)
            total = tf.reduce_sum(slope**2)
        return [tf.cast(one, tf.float32) for one in (y, slope, outer.gradient(total, x))]

    found, wanted = curve(activations.elu, x), curve(tf.nn.elu, exact)
    np.testing.assert_array_equal(found[0], tf.cast(tf.cast(wanted[0], x.dtype), tf.float32))
    np.testing.assert_allclose(found[1], wanted[1], atol=4e-3)  # half a place of bfloat16
    np.testing.assert_allclose(found[2], wanted[2], atol=2e-2)
    assert found[0].numpy()[x < 0].min() < -0.9

    make = functools.partial(networks.image_generator, (16, 16, 1), 3, 2)
    assert make().get_layer("up1").activation is keras.activations.elu
    network = make(dtype="mixed_bfloat16")
    assert network.get_layer("up1").activation is activations.elu
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    latents = np.ones((2, 3), "f")
    np.testing.assert_array_equal(again(latents), network(latents))


@pytest.mark.parametrize("activation", networks.SMOOTH)
def test_smooth_activations(activation):
    network = networks.image_generator((16, 16, 1), 3, 2, activation=activation)
    assert network.get_layer("up1").activation is keras.activations.get(activation)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "swishy"])
def test_other_activations_are_refused(activation):
    with pytest.raises(ValueError, match=f"activation .*received '{activation}'"):
        networks.image_generator((16, 16, 1), 3, 2, activation=activation)


@pytest.mark.parametrize(
    "shape", [(16, 16), (3, 16, 1), (16, 16, 0), (16, -16, 1), (16.5, 16, 1), (16,)]
)
def test_shapes_of_no_image_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"received {shape}")):
        networks.image_generator(shape, 3, 2)


@pytest.mark.parametrize(
    "options", [{"latent_dim": 0}, {"latent_dim": -1}, {"width": 0}, {"kernel_size": 0}, {"hidden": -1}]
)
def test_impossible_sizes_are_refused(options):
    (name, value) = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"image_generator .*`{name}` .*received {value}"):
        networks.image_generator((16, 16, 1), **{"latent_dim": 3, "width": 2, **options})


def test_width_is_that_of_the_finest_map_and_hidden_may_be_left_out():
    network = networks.image_generator((64, 64, 1), 3, width=2, hidden=0)
    assert network.get_layer("base").output.shape == (None, 4, 4, 16)
    filters = [layer.filters for layer in network.layers if layer.name.startswith("up")]
    assert filters == [16, 8, 4, 2]
    assert "hidden" not in [layer.name for layer in network.layers]
    assert networks.image_generator((64, 64, 1), 3, 2, hidden=7).get_layer("hidden").units == 7


def test_antialiased_maps_are_means_of_neighbours_and_keep_no_pattern_of_the_strides():
    keras.utils.set_random_seed(2)
    plain = networks.image_generator((16, 16, 1), 3, 2)
    network = networks.image_generator((16, 16, 1), 3, 2, antialias=2)
    assert [w.shape for w in network.weights] == [w.shape for w in plain.weights]
    assert network.output_shape == plain.output_shape
    names = ("up1", "average1", "up2", "average2")

    def maps(network):
        inner = keras.Model(network.input, [network.get_layer(name).output for name in names])
        return [part.numpy() for part in inner(np.ones((1, 3), np.float32))]

    def mean(part, side):
        count = part.shape[1] - side + 1
        around = [part[:, y : count + y, x : count + x] for y in range(side) for x in range(side)]
        return np.mean(around, axis=0)

    *_, before, after = maps(network)
    np.testing.assert_allclose(after[:, :15, :15], mean(before, 2), atol=1e-6)
    # Wider, but not wider than an entry of the coarsest map.
    first, averaged, before, after = maps(networks.image_generator((16, 16, 1), 3, 2, antialias=4))
    np.testing.assert_allclose(averaged[:, :7, :7], mean(first, 2), atol=1e-6)
    np.testing.assert_allclose(after[:, 1:14, 1:14], mean(before, 4), atol=1e-6)


def test_batch_norm_normalises_before_each_activation_and_keeps_variances():
    network = networks.image_generator((16, 16, 1), 30, 8, hidden=0, batch_norm=True)
    names = [layer.name for layer in network.layers]
    assert names.index("up1") + 1 == names.index("norm_up1") == names.index("activation_up1") - 1
    latent = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    for name in ("dense", "up1", "up2"):
        inner = keras.Model(network.input, network.get_layer(name).output)
        assert 0.3 < np.std(inner(latent, training=True)) < 3
    model = abp_tf.Generator(network)
    model.compile("adam")
    with pytest.raises(ValueError, match="norm_"):
        model.fit(np.zeros((4, 16, 16, 1), np.float32), verbose=0)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((8, 3, 1), {}, r"received \(8, 3, 1\)"),
        ((8, 8), {}, r"received \(8, 8\)"),
        ((8, 8, 0), {}, r"received \(8, 8, 0\)"),
        ((8, 8, 1), {"activation": "swash"}, "'swash'"),
        ((8, 8, 1), {"width": 0}, "`width` .*received 0"),
        ((8, 8, 1), {"scale": 0.0}, r"`scale`, received 0\.0"),
    ],
)
def test_impossible_descriptors_are_refused(shape, options, words):
    with pytest.raises(ValueError, match=words):
        networks.image_descriptor(shape, **options)


def test_a_network_survives_its_config():
    network = networks.image_generator((16, 32, 3), 3, 2)
    again = keras.Model.from_config(network.get_config())
    again.set_weights(network.get_weights())
    latent = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(again(latent), network(latent))


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
def test_the_linear_network_is_affine(shape):
    network = networks.linear(shape, latent_dim=3)
    layer = network.get_layer("factors")
    layer.bias.assign(np.arange(layer.units, dtype=np.float32))
    latent = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    exact = latent @ layer.kernel.numpy() + np.arange(layer.units)
    np.testing.assert_allclose(network(latent), exact.reshape(4, *shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "latent_dim", "message"),
    [
        ((), 2, r"`shape` .*received \(\)"),
        ((0,), 2, "`shape` .*received 0"),
        ((4, -1), 2, "`shape` .*received -1"),
        ((4,), 0, "`latent_dim` .*received 0"),
    ],
)
def test_impossible_linear_networks_are_refused(shape, latent_dim, message):
    with pytest.raises(ValueError, match=f"linear .*{message}"):
        networks.linear(shape, latent_dim)

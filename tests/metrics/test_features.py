import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import abp_tf
from abp_tf import metrics
from abp_tf.metrics import features


@pytest.fixture(scope="module")
def digits():
    return abp_tf.data.load("digits", size=8)


@pytest.fixture(scope="module")
def extract(digits):
    """A classifier of real digits."""
    held_out = digits.test, digits.test_labels
    return features.classifier(digits.train, digits.train_labels, held_out=held_out)


class TestClassifier:
    def test_it_learns_the_digits(self, digits, extract):
        assert extract.accuracy > 0.85
        found = extract(digits.test)
        assert found.shape == (180, 64)
        assert found.dtype == np.float32
        assert found.min() == 0 < found.std()

    def test_its_distances_order_images(self, digits, extract):
        # Drawn from all writers: those of the test images, which are the last, write otherwise.
        random = np.random.default_rng(0)
        first, second = np.split(random.permutation(digits.train)[:1600], 2)
        real = extract(first)
        others = second, second + random.normal(0, 0.5, second.shape), -second
        for distance in (metrics.frechet_distance, metrics.kernel_distance):
            found = [distance(extract(images), real) for images in others]
            assert found == sorted(found)
            assert found[0] < found[1] / 2 < found[2] / 4

    def test_batches_make_no_difference(self, digits, extract):
        whole = extract(digits.train)  # more than one batch
        np.testing.assert_allclose(extract(digits.train[700:703]), whole[700:703], atol=1e-5)

    def test_the_seed_decides_and_keras_is_left_alone(self, digits):
        few = digits.train[:60], digits.train_labels[:60]
        drawn = []
        for seed in (3, 3, 4):
            keras.utils.set_random_seed(1)
            first = features.classifier(*few, seed=seed, epochs=1)(digits.test)
            drawn.append((first, keras.random.normal((3,)).numpy()))
        np.testing.assert_allclose(drawn[0][0], drawn[1][0], atol=1e-5)
        assert np.abs(drawn[0][0] - drawn[2][0]).max() > 0.1
        keras.utils.set_random_seed(1)
        np.testing.assert_array_equal(drawn[0][1], keras.random.normal((3,)).numpy())

    def test_a_tenth_is_held_out(self, digits, monkeypatch):
        seen = []
        fit = keras.Sequential.fit
        monkeypatch.setattr(
            keras.Sequential, "fit", lambda self, x, *a, **k: seen.append(x) or fit(self, x, *a, **k)
        )
        features.classifier(digits.train[:95], digits.train_labels[:95], epochs=2)
        assert [len(part) for part in seen] == [85, 85]
        # Each epoch has the same images in another order.
        first, second = (sorted(map(bytes, part)) for part in seen)
        assert first == second
        assert (seen[0] != seen[1]).any()

    def test_it_is_kept_and_found(self, digits, tmp_path, monkeypatch):
        few = digits.train[:60], digits.train_labels[:60]
        directory = tmp_path / "new"
        first = features.classifier(*few, directory, epochs=1)
        (file,) = directory.iterdir()
        assert file.suffix == ".keras"
        with monkeypatch.context() as patch:
            patch.setattr(keras.Sequential, "fit", None)
            again = features.classifier(*few, directory, epochs=1)
        np.testing.assert_array_equal(first(digits.test), again(digits.test))
        assert first.accuracy == again.accuracy
        # Nothing learned from other labels, or otherwise, is taken for it.
        trainings = []

        def fit(network, *_, **options):
            trainings.append(options)
            network.optimizer.build(network.trainable_variables)

        monkeypatch.setattr(keras.Sequential, "fit", fit)
        for number, (labels, options) in enumerate(
            [(few[1][::-1], {"epochs": 1}), (few[1], {"epochs": 1, "seed": 1}), (few[1], {"epochs": 2})]
        ):
            features.classifier(few[0], labels, directory, **options)
            assert len(list(directory.iterdir())) == 2 + number
        assert len(trainings) == 4

    @pytest.mark.parametrize("shape", [(3, 5, 1), (40, 20, 3), (1, 1, 2)])
    def test_any_shape_and_number_of_classes(self, shape):
        random = np.random.default_rng(0)
        images = random.uniform(-1, 1, (23, *shape)).astype(np.float32)
        extract = features.classifier(images, np.arange(23) % 7, epochs=1, batch_size=10)
        assert extract(images).shape == (23, 64)
        assert 0 <= extract.accuracy <= 1

    def test_it_computes_in_float32(self, digits, tmp_path):
        few = digits.train[:60], digits.train_labels[:60]
        expected = features.classifier(*few, tmp_path, epochs=1)(digits.test)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            fresh = features.classifier(*few, epochs=1)(digits.test)
            found = features.classifier(*few, tmp_path, epochs=1)(digits.test)
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
        finally:
            keras.config.set_dtype_policy("float32")
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(fresh, expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            ((20, 8, 8, 1), None, "Labels.*received None"),
            ((20, 8, 8, 1), np.zeros(20), r"shape \(20,\) of dtype float64.*np\.unique"),
            ((20, 8, 8, 1), np.arange(19), r"\b20\b.*received shape \(19,\)"),
            ((20, 8, 8, 1), np.arange(20) - 1, "Labels.*received -1"),
            ((20, 8, 8, 1), np.full(20, 3), "Labels.*received class 3"),
            ((20, 8, 8), np.arange(20), r"expected shape \('n', h, w, c\), received \('n', 8, 8\)"),
        ],
    )
    def test_refuses(self, images, labels, message):
        with pytest.raises(ValueError, match=message):
            features.classifier(np.zeros(images, np.float32), labels)

    def test_refuses_values_that_are_not_scaled(self):
        with pytest.raises(ValueError, match=r"\[-1, 1\].*255"):
            features.classifier(np.full((20, 8, 8, 1), 255.0), np.arange(20))
        images = np.zeros((20, 8, 8, 1), np.float32)
        with pytest.raises(
            ValueError, match=r"expected shape \('n', 8, 8, 1\), received \(2, 4, 4, 1\)"
        ):
            features.classifier(images, np.arange(20), held_out=(np.zeros((2, 4, 4, 1)), np.arange(2)))

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (np.zeros((2, 9, 8, 1)), r"expected shape \('n', 8, 8, 1\)"),
            (np.zeros((0, 8, 8, 1)), "received none"),
            (np.zeros((2, 8, 8, 1), np.uint8), "received dtype uint8"),
            (np.full((2, 8, 8, 1), np.nan), "NaN"),
        ],
    )
    def test_refuses_images_of_another_kind(self, extract, images, message):
        with pytest.raises(ValueError, match=message):
            extract(images)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """InceptionV3 as it begins, its weights in a file; larger ones, or all features are nearly 0."""
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(1.5 * layer.kernel)
    path = tmp_path_factory.mktemp("inception") / "inception_v3.weights.h5"
    network.save_weights(path)
    return network, path


class TestInception:
    @pytest.mark.slow
    def test_features_of_a_file(self, weights):
        network, path = weights
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            extract = features.inception(path)
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
        finally:
            keras.config.set_dtype_policy("float32")
        assert extract.accuracy is None
        images = np.random.default_rng(0).uniform(-1, 1, (2, 20, 30, 3)).astype(np.float32)
        images[1] *= 1.5  # as samples may be, which are clipped
        found = extract(images)
        assert found.shape == (2, 2048)
        # What Pillow makes of the same pixels, one channel at a time.
        pixels = np.rint((np.clip(images, -1, 1) + 1) * 127.5)
        resized = [
            [
                Image.fromarray(c.astype(np.float32)).resize((299, 299), Image.Resampling.BILINEAR)
                for c in i
            ]
            for i in np.moveaxis(pixels, -1, 1)
        ]
        prepared = np.moveaxis(np.array(resized), 1, -1) / 127.5 - 1
        expected = network(prepared, training=False).numpy()
        scale = expected.std()
        assert np.abs(expected[0] - expected[1]).max() > 0.01 * scale
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
        # Grey of any size is what it is in three equal channels.
        grey = images[:1, :7, :9, :1]
        three = extract(np.repeat(grey, 3, axis=-1))
        np.testing.assert_allclose(extract(grey), three, atol=1e-4 * scale)
        with pytest.raises(ValueError, match=r"received shape \(1, 7, 9, 2\)"):
            extract(images[:1, :7, :9, :2])

    def test_refuses_what_are_no_weights(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"'imagenet'.*save_weights"):
            features.inception("imagenet")
        path = tmp_path / "other.weights.h5"
        other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other.save_weights(path)
        with pytest.raises(ValueError, match=r"'.*other\.weights\.h5'.*save_weights"):
            features.inception(path)

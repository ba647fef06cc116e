import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from abp_tf.data import load


def image(number, height=6, width=5, channels=1):
    return np.full((height, width, channels), number, np.uint8)


class AbpTinyPictures(tfds.core.GeneratorBasedBuilder):
    """Flat grey images, whose value is their number; several splits."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "label": tfds.features.ClassLabel(num_classes=3),
            "image": tfds.features.Image(shape=(6, 5, 1)),
            "mirror": tfds.features.Image(shape=(6, 5, 1)),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 30), "test": self._generate_examples(100, 8)}

    def _generate_examples(self, first, count):
        for number in range(first, first + count):
            yield number, {"image": image(number), "mirror": image(255), "label": number % 3}


class AbpTinyOthers(tfds.core.GeneratorBasedBuilder):
    """One configuration per peculiarity."""

    VERSION = tfds.core.Version("1.0.0")
    KINDS = (
        "one_split",
        "odd_split",
        "two_splits",
        "sizes",
        "other_key",
        "alpha",
        "deep",
        "floats",
        "no_image",
        "two_images",
        "offline",
        "package",
        "other_test",
        "number",
        "text",
    )
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=kind) for kind in KINDS]  # noqa: RUF012

    def _info(self):
        picture = tfds.features.Image
        features = {
            "alpha": {"image": picture(shape=(6, 5, 4))},
            "deep": {"image": picture(shape=(6, 5, 1), dtype=np.uint16)},
            "floats": {"image": picture(shape=(6, 5, 1), dtype=np.float32)},
            "other_key": {"photo": picture(shape=(6, 5, 3))},
            "no_image": {"text": tfds.features.Text()},
            "number": {"image": picture(shape=(6, 5, 1)), "label": np.uint8},
            "text": {"image": picture(shape=(6, 5, 1)), "label": tfds.features.Text()},
            "two_images": {"left": picture(shape=(6, 5, 3)), "right": picture(shape=(6, 5, 3))},
        }.get(self.builder_config.name, {"image": picture(shape=(None, None, 1))})
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        kind = self.builder_config.name
        if kind == "offline":
            raise ConnectionError("no route to host")
        if kind == "package":
            import abp_package_that_is_missing  # noqa: F401
        names = {
            "odd_split": ["full"],
            "two_splits": ["left", "right"],
            "other_test": ["train", "test"],
        }.get(kind, ["train"])
        return {name: self._generate_examples(name) for name in names}

    def _generate_examples(self, split):
        kind = self.builder_config.name
        for number in range(10):
            height = 6 + (number == 7 and kind == "sizes") + 2 * (split == "test")
            yield (
                number,
                {
                    "alpha": {"image": np.uint8([0, 0, 0, 51 * (number % 6)]) + image(0, channels=4)},
                    "deep": {"image": image(0).astype(np.uint16) + 257 * 28 * number},
                    "floats": {"image": image(0).astype(np.float32)},
                    "other_key": {"photo": image(number, channels=3)},
                    "no_image": {"text": "nothing to see"},
                    "number": {"image": image(number), "label": 250 - number},
                    "text": {"image": image(number), "label": "a name"},
                    "two_images": {"left": image(1, channels=3), "right": image(2, channels=3)},
                }.get(kind, {"image": image(number, height)}),
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


def values(images):
    return np.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def test_own_train_and_test_split(folder):
    images = load("tfds:abp_tiny_pictures", data_dir=folder)
    assert images.train.shape == (30, 6, 5, 1)
    assert images.test.shape == (8, 6, 5, 1)
    assert images.train.dtype == images.test.dtype == np.float32
    # TensorFlow Datasets shuffles once, when it writes.
    assert sorted(values(images.train)) == list(range(30))
    assert sorted(values(images.test)) == list(range(100, 108))
    assert images.name == "tfds:abp_tiny_pictures"


def test_limit_takes_the_first_of_each_split(folder):
    everything = load("tfds:abp_tiny_pictures", data_dir=folder)
    images = load("tfds:abp_tiny_pictures", data_dir=folder, limit=5)
    np.testing.assert_array_equal(images.train, everything.train[:5])
    np.testing.assert_array_equal(images.test, everything.test[:5])


def test_labels_stay_with_their_images(folder):
    images = load("tfds:abp_tiny_pictures", data_dir=folder)
    for part, labels in (
        (images.train, images.train_labels),
        (images.test, images.test_labels),
    ):
        assert labels.dtype == np.int32
        assert labels.tolist() == [value % 3 for value in values(part)]
    fewer = load("tfds:abp_tiny_pictures", data_dir=folder, limit=5, test_share=0)
    np.testing.assert_array_equal(fewer.train_labels, images.train_labels[:5])
    assert fewer.test_labels.shape == (0,)


def test_labels_are_integers(folder):
    images = load("tfds:abp_tiny_others/number", data_dir=folder, test_share=0.2)
    assert images.test_labels.tolist() == [250 - value for value in values(images.test)]
    assert images.train_labels.tolist() == [250 - value for value in values(images.train)]
    for kind in ("text", "one_split"):
        images = load(f"tfds:abp_tiny_others/{kind}", data_dir=folder)
        assert images.train_labels is images.test_labels is None


def test_no_test_images_wanted(folder):
    images = load("tfds:abp_tiny_pictures", data_dir=folder, test_share=0)
    assert images.train.shape == (30, 6, 5, 1)
    assert images.test.shape == (0, 6, 5, 1)


def test_size_and_colour(folder):
    images = load("tfds:abp_tiny_pictures:1.0.0", data_dir=folder, size=(8, 4), grey=False)
    assert images.train.shape == (30, 8, 4, 3)
    assert sorted(values(images.train)) == list(range(30))
    assert images.test.shape == (8, 8, 4, 3)


@pytest.mark.parametrize("kind", ["one_split", "odd_split"])
def test_without_a_test_split_a_share_is_cut(folder, kind):
    images = load(f"tfds:abp_tiny_others/{kind}", data_dir=folder, test_share=0.2)
    everything = load(f"tfds:abp_tiny_others/{kind}", data_dir=folder, test_share=0)
    np.testing.assert_array_equal(images.train, everything.train[:8])
    np.testing.assert_array_equal(images.test, everything.train[8:])


def test_prepared_data_are_read_without_their_code(tmp_path):
    class AbpForgotten(AbpTinyPictures):
        pass

    AbpForgotten(data_dir=tmp_path).download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("abp_forgotten")
    images = load("tfds:abp_forgotten", data_dir=str(tmp_path))
    assert (len(images.train), len(images.test)) == (30, 8)


def test_limit_does_not_read_the_rest(folder, monkeypatch):
    """A pipeline that fails beyond the limit stands for a data set too large to read."""

    def endless(self, *args, **kwargs):
        def examples():
            for number in range(5):
                yield {"image": image(number), "label": number}
            raise AssertionError("read beyond the limit")

        return tf.data.Dataset.from_generator(
            examples,
            output_signature={
                "image": tf.TensorSpec((6, 5, 1), tf.uint8),
                "label": tf.TensorSpec((), tf.int64),
            },
        )

    load("tfds:abp_tiny_pictures", data_dir=folder)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", endless)
    images = load("tfds:abp_tiny_pictures", data_dir=folder, limit=5)
    assert values(images.train) == list(range(5))
    with pytest.raises(tf.errors.OpError, match="read beyond"):
        load("tfds:abp_tiny_pictures", data_dir=folder, limit=6)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [("fashion_mnist", None, (28, 28, 1)), ("celeb_a", 16, (16, 16, 3)), ("mnist", 8, (8, 8, 1))],
)
def test_mocked_data(tmp_path, name, size, shape):
    with tfds.testing.mock_data(num_examples=10):
        images = load(f"tfds:{name}", data_dir=str(tmp_path), size=size, limit=7, test_share=0.5)
    assert images.train.shape == (3, *shape)
    assert images.test.shape == (4, *shape)
    assert images.train.min() >= -1
    assert images.train.max() <= 1
    assert images.train.std() > 0.02


def test_mocked_data_of_many_sizes(tmp_path):
    with tfds.testing.mock_data(num_examples=4):
        with pytest.raises(ValueError, match=r"received \d+x\d+ .*size=64"):
            load("tfds:cats_vs_dogs", data_dir=str(tmp_path))
        images = load("tfds:cats_vs_dogs", data_dir=str(tmp_path), size=8, test_share=0)
    assert images.train.shape == (4, 8, 8, 3)


def test_mocked_data_with_the_splits_of_real_data(folder):
    load("tfds:abp_tiny_pictures", data_dir=folder)
    with tfds.testing.mock_data(num_examples=3, data_dir=folder):
        images = load("tfds:abp_tiny_pictures", data_dir=folder)
    assert len(images.train) == len(images.test) == 3


def test_another_name_of_the_image(folder):
    images = load("tfds:abp_tiny_others/other_key", data_dir=folder, test_share=0)
    assert images.train.shape == (10, 6, 5, 3)
    assert sorted(values(images.train)) == list(range(10))


def test_alpha_shows_white_behind(folder):
    images = load("tfds:abp_tiny_others/alpha", data_dir=folder, test_share=0)
    assert images.train.shape == (10, 6, 5, 3)
    assert set(values(images.train)) == {0, 51, 102, 153, 204, 255}


def test_16_bits_are_scaled(folder):
    images = load("tfds:abp_tiny_others/deep", data_dir=folder, test_share=0)
    assert sorted(values(images.train)) == list(range(0, 280, 28))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_image", r"none .*\['text'\]"),
        ("two_images", r"\['left', 'right'\]"),
        ("floats", r"8 or 16 bits, received float32"),
        ("sizes", r"6x5 .* and 7x5"),
        ("two_splits", r"split 'train'.*\['left', 'right'\]"),
        ("other_test", r"\(\d, \d, 1\) and \(\d, \d, 1\) .*/other_test'"),
        ("nothing_of_the_kind", r"'abp_tiny_others/nothing_of_the_kind'"),
    ],
)
def test_what_cannot_be_used_is_refused(folder, kind, message):
    with pytest.raises(ValueError, match=message):
        load(f"tfds:abp_tiny_others/{kind}", data_dir=folder)


def test_data_that_cannot_be_fetched(folder):
    with pytest.raises(OSError, match="ConnectionError: no route") as failure:
        load("tfds:abp_tiny_others/offline", data_dir=folder)
    assert folder in str(failure.value)
    assert "data_dir" in str(failure.value)


def test_package_that_a_data_set_needs(folder):
    with pytest.raises(ImportError, match="pip install abp_package_that_is_missing"):
        load("tfds:abp_tiny_others/package", data_dir=folder)


def test_data_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda self: None)
    with pytest.raises(FileNotFoundError, match="'fashion_mnist'") as failure:
        load("tfds:fashion_mnist", data_dir=str(tmp_path))
    assert str(tmp_path) in str(failure.value)


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="'fashion_mnits'") as failure:
        load("tfds:fashion_mnits", data_dir=str(tmp_path))
    assert str(tmp_path) in str(failure.value)


def test_name_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="'fashion mnist'"):
        load("tfds:fashion mnist", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="received 'tfds:'"):
        load("tfds:", data_dir=str(tmp_path))

import sys

import numpy as np
import pytest

from abp_tf.data import SOURCES, SOURCES_HELP, load


@pytest.mark.parametrize(
    ("spec", "counts", "side"),
    [("digits", (1617, 180), 16), ("faces", (90, 10), 32), ("nonfaces", (90, 10), 32)],
)
def test_embedded_images(spec, counts, side):
    images = load(spec)
    assert images.name == spec
    assert images.skipped == ()
    for part, count in zip(images[:2], counts, strict=True):
        assert part.dtype == np.float32
        assert part.shape == (count, side, side, 1)
        assert part.min() >= -1
        assert part.max() <= 1
        # Images differ from each other, and most of them from a flat one (some nonfaces are black).
        assert np.median(part.std(axis=0)) > 0.1
        assert np.median(part.std(axis=(1, 2, 3))) > 0.1
    assert images.train.min() < -0.95
    assert images.train.max() > 0.95


def test_digits_are_the_digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = load("digits", size=8, test_share=0)
    np.testing.assert_allclose((images.train[..., 0] + 1) * 8, data.images, atol=0.04)
    # A zero has a hole, a one has none: the enlarged images are upright and in the right order.
    enlarged = load("digits", test_share=0).train[..., 0]
    centre = enlarged[:, 7:9, 7:9].mean(axis=(1, 2))
    assert centre[data.target == 0].mean() < -0.5 < 0.5 < centre[data.target == 1].mean()


def test_digits_are_labelled():
    from sklearn.datasets import load_digits

    images = load("digits", limit=1000, test_share=0.2)
    assert images.train_labels.dtype == images.test_labels.dtype == np.int32
    np.testing.assert_array_equal(images.train_labels, load_digits().target[:800])
    np.testing.assert_array_equal(images.test_labels, load_digits().target[800:1000])
    assert load("digits", limit=10, test_share=0).test_labels.shape == (0,)


@pytest.mark.parametrize("name", ["faces", "nonfaces"])
def test_faces_are_not(name):
    images = load(name)
    assert images.train_labels is images.test_labels is None


def test_faces_are_the_half_with_faces():
    from skimage.data import lfw_subset

    native = load("faces", size=25, test_share=0).train
    assert native.shape == (100, 25, 25, 1)
    np.testing.assert_allclose((native[..., 0] + 1) / 2, lfw_subset()[:100], atol=0.003)
    others = load("nonfaces", size=25, test_share=0).train
    # The mean of faces has eyes, darker than the forehead above and the cheeks below.
    forehead, eyes, cheeks = (native[:, row, 5:17].mean() for row in (3, 9, 12))
    assert forehead - eyes > 0.2 < cheeks - eyes
    forehead, eyes, cheeks = (others[:, row, 5:17].mean() for row in (3, 9, 12))
    assert not forehead > eyes < cheeks
    np.testing.assert_allclose((others[..., 0] + 1) / 2, lfw_subset()[100:], atol=0.003)


def test_loading_is_repeatable():
    for first, second in zip(load("faces", limit=20)[:2], load("faces", limit=20)[:2], strict=True):
        np.testing.assert_array_equal(first, second)


def test_size_and_colour():
    images = load("digits", size=(12, 20), grey=False, limit=10)
    assert images.train.shape == (9, 12, 20, 3)
    assert images.test.shape == (1, 12, 20, 3)
    np.testing.assert_array_equal(images.train[..., 0], images.train[..., 2])


def test_crop_false_shows_more():
    cropped = load("digits", size=(8, 4), limit=100).train
    stretched = load("digits", size=(8, 4), crop=False, limit=100).train
    assert np.abs(cropped - stretched).max() > 0.5


def test_the_end_is_the_test_set():
    everything = load("digits", limit=50, test_share=0)
    assert everything.test.shape == (0, 16, 16, 1)
    assert everything.test.dtype == np.float32
    images = load("digits", limit=50, test_share=0.3)
    np.testing.assert_array_equal(images.train, everything.train[:35])
    np.testing.assert_array_equal(images.test, everything.train[35:])


@pytest.mark.parametrize(("limit", "test"), [(1, 0), (4, 0), (5, 1), (11, 1), (15, 2)])
def test_the_share_is_rounded_to_whole_images(limit, test):
    images = load("digits", limit=limit)
    assert (len(images.train), len(images.test)) == (limit - test, test)


def test_unknown_source_lists_the_known():
    with pytest.raises(ValueError, match="received 'digitz'") as failure:
        load("digitz")
    for name in SOURCES:
        assert f"\n  {name}" in str(failure.value)


def test_every_source_has_one_line_of_help():
    assert list(SOURCES) == list(SOURCES_HELP)
    assert list(SOURCES) == ["digits", "faces", "nonfaces", "tfds", "folder", "npz"]
    for name, line in SOURCES_HELP.items():
        assert line.startswith(name)
        assert "\n" not in line


@pytest.mark.parametrize("name", ["digits", "faces", "nonfaces"])
def test_an_argument_where_none_is_taken(name):
    with pytest.raises(ValueError, match=f"'{name}'.*received '{name}:7'"):
        load(f"{name}:7")


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_below_one(limit):
    with pytest.raises(ValueError, match=f"`limit` .*received {limit}"):
        load("digits", limit=limit)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match=rf"test_share .*\[0, 1\).*received {share}"):
        load("digits", test_share=share)


@pytest.mark.parametrize("size", [0, -8, (16, 0), (16,), (16, 16, 3), 16.0, "16"])
def test_size_that_is_none(size):
    with pytest.raises(ValueError, match="`size`"):
        load("digits", size=size)


def test_split_without_a_training_image():
    with pytest.raises(ValueError, match=r"test_share=0\.9 .*\b2\b.*'digits'"):
        load("digits", limit=2, test_share=0.9)


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("digits", "sklearn.datasets", "demo"),
        ("faces", "skimage.data", "demo"),
        ("nonfaces", "skimage.data", "demo"),
        ("tfds:mnist", "tensorflow_datasets", "datasets"),
    ],
)
def test_missing_package_names_the_extra(monkeypatch, spec, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module}.*pip install "abp_tf\[{extra}\]"'):
        load(spec)

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from abp_tf import data
from abp_tf.data import load


def pixels(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "images.npz"
        np.savez_compressed(path, **arrays)
        return f"npz:{path}"

    return write


@pytest.mark.parametrize("shape", [(10, 6, 5), (10, 6, 5, 1), (10, 6, 5, 3)])
def test_8_bit_images(save, shape):
    array = pixels(*shape)
    spec = save(images=array, labels=np.arange(10), names=np.array(["x"] * 10))
    images = load(spec, test_share=0.2)
    expected = (array / 127.5 - 1).reshape(10, 6, 5, -1)
    assert images.train.dtype == images.test.dtype == np.float32
    np.testing.assert_allclose(images.train, expected[:8], atol=1e-6)
    np.testing.assert_allclose(images.test, expected[8:], atol=1e-6)
    assert images.name == spec


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_keep_their_values(save, dtype):
    array = np.linspace(-1, 1, 4 * 6 * 5).reshape(4, 6, 5).astype(dtype)
    images = load(save(images=array), test_share=0)
    assert images.train.dtype == np.float32
    np.testing.assert_array_equal(images.train[..., 0], array.astype(np.float32))


def test_floats_are_resized_within_the_range(save):
    array = pixels(4, 6, 6).astype(np.float32) // 128 * 2 - 1
    images = load(save(images=array), size=20, test_share=0)
    assert images.train.shape == (4, 20, 20, 1)
    assert images.train.min() == -1
    assert images.train.max() == 1


def test_grey_of_colour(save):
    array = np.zeros((2, 4, 4, 3), np.uint8)
    array[0, ..., 1] = 255
    images = load(save(images=array), grey=True, test_share=0)
    np.testing.assert_allclose(images.train[0], 150 / 127.5 - 1, atol=1e-6)
    assert (images.train[1] == -1).all()


def test_limit_takes_the_first(save):
    array = pixels(10, 4, 5)
    images = load(save(images=array), limit=3, test_share=0)
    np.testing.assert_allclose(images.train[..., 0], array[:3] / 127.5 - 1, atol=1e-6)


def test_no_more_is_decompressed_than_is_asked_for(save, monkeypatch):
    images = pixels(200, 16, 16)
    spec = save(images=images, labels=np.arange(200), other=np.zeros((1000, 1000)))
    read, decompressed = zipfile.ZipExtFile.read, []

    def counted(file, n=-1):
        decompressed.append(len(found := read(file, n)))
        return found

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    found = load(spec, limit=3, test_share=0)
    np.testing.assert_array_equal(data.to_uint8(found.train[..., 0]), images[:3])
    assert found.train_labels.tolist() == [0, 1, 2]
    assert sum(decompressed) < 10_000


def test_the_order_of_fortran(save):
    images = np.asfortranarray(pixels(20, 6, 5))
    found = load(save(images=images), limit=3, test_share=0)
    np.testing.assert_array_equal(data.to_uint8(found.train[..., 0]), images[:3])


def test_key(save):
    first, second = pixels(3, 6, 5), pixels(3, 8, 8)
    spec = save(first=first, second=second, labels=np.arange(3))
    assert load(f"{spec}:second", test_share=0).train.shape == (3, 8, 8, 1)
    with pytest.raises(ValueError, match=r"found 2.*first \(3, 6, 5\), second \(3, 8, 8\)"):
        load(spec)
    with pytest.raises(ValueError, match=r"\['first', 'labels', 'second'\].*'x'"):
        load(f"{spec}:x")
    with pytest.raises(ValueError, match=r"'labels' .*\(3,\)"):
        load(f"{spec}:labels")


def test_labels(save):
    array = pixels(10, 6, 5)
    spec = save(images=array, labels=np.arange(10, dtype=np.uint8) + 200)
    images = load(spec, test_share=0.25, limit=8)
    assert images.train_labels.dtype == images.test_labels.dtype == np.int32
    assert images.train_labels.tolist() == list(range(200, 206))
    assert images.test_labels.tolist() == [206, 207]
    images = load(save(images=array))
    assert images.train_labels is images.test_labels is None
    # The array that is read is not taken for its own labels.
    assert load(save(labels=array)).train_labels is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(4), r"'images' .*\b3\b.*received shape \(4,\)"),
        (np.arange(3)[:, None], r"received shape \(3, 1\)"),
        (np.arange(3.0), r"dtype float64.*np\.unique"),
        (np.array(["a", "b", "a"]), r"dtype <U1.*np\.unique"),
        (np.array(["a", "b", "a"], object), "'labels'"),
        (np.arange(3) + 2**40, "32 bits, received 1099511627776"),
    ],
)
def test_bad_labels_are_refused(save, labels, message):
    with pytest.raises(ValueError, match=message):
        load(save(images=pixels(3, 6, 5), labels=labels), limit=2)


def test_one_colour_image_is_not_many_grey_ones(save):
    spec = save(photo=pixels(64, 48, 3))
    with pytest.raises(ValueError, match=r"found 0.*photo"):
        load(spec)
    with pytest.raises(ValueError, match=r"image\[None\]"):
        load(f"{spec}:photo")


def test_a_colon_in_the_path(tmp_path):
    path = tmp_path / "night:day.npz"
    np.savez(path, a=pixels(3, 6, 5), b=pixels(3, 7, 7))
    assert load(f"npz:{path}:b", test_share=0).train.shape == (3, 7, 7, 1)


def test_python_objects_are_never_unpickled(save):
    spec = save(images=pixels(3, 6, 5), extra=np.array([{}, []], dtype=object))
    assert load(spec, test_share=0).train.shape == (3, 6, 5, 1)
    with pytest.raises(ValueError, match="'extra'"):
        load(f"{spec}:extra")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pixels(3, 6, 5).astype(np.float32), r"x / 127\.5 - 1"),
        (pixels(3, 6, 5) * 8.0 + 7, r"2 \* \(x - .*\) / .* - 1"),
        (pixels(3, 6, 5) / -200.0, r"from -1\.\d+ to"),
        (np.full((3, 6, 5), np.nan), "received NaN.*'images'"),
        (np.full((3, 6, 5), np.inf), "infinity.*'images'"),
        (np.zeros((3, 6, 5), np.uint16), "received uint16.*x / 257"),
        (np.zeros((3, 6, 5), np.int64), r"received int64.*astype\(np\.uint8\)"),
        (np.zeros((3, 6, 5), bool), r"received bool.*255"),
        (np.zeros((3, 6, 5, 4), np.uint8), r"found 0; .*\(3, 6, 5, 4\)"),
        (np.zeros((0, 6, 5), np.uint8), "found 0"),
        (np.zeros((30,), np.uint8), "found 0"),
    ],
)
def test_other_arrays_are_refused(save, array, message):
    with pytest.raises(ValueError, match=message):
        load(save(images=array))


def test_floats_from_0_to_1_are_suspicious(save):
    spec = save(images=pixels(3, 6, 5) / 255)
    with pytest.warns(UserWarning, match=r"'images'.*\[0, 1\].*2 \* x - 1") as caught:
        images = load(spec, test_share=0)
    assert images.train.min() >= 0
    assert caught[0].filename == __file__


def test_no_such_file(tmp_path):
    for spec in (f"npz:{tmp_path / 'no.npz'}", f"npz:{tmp_path / 'no.npz'}:images"):
        with pytest.raises(FileNotFoundError, match=r"no\.npz'"):
            load(spec)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load(f"npz:{tmp_path}")


def test_no_path():
    with pytest.raises(ValueError, match="received 'npz:'"):
        load("npz:")


def test_other_files(tmp_path):
    text, bare, empty = tmp_path / "a.npz", tmp_path / "b.npy", tmp_path / "c.npz"
    text.write_text("this is no archive")
    np.save(bare, pixels(3, 6, 5))
    empty.touch()
    for path in (text, empty):
        with pytest.raises(ValueError, match=rf"{path}"):
            load(f"npz:{path}")
    with pytest.raises(ValueError, match=rf"{bare}"):
        load(f"npz:{bare}")


def test_a_damaged_file(save):
    spec = save(images=pixels(30, 16, 16))
    path = Path(spec.removeprefix("npz:"))
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    for one in (spec, f"{spec}:images"):
        with pytest.raises(ValueError, match=rf"'images' of '.*{path.name}'"):
            load(one)


def test_fashion_mnist_is_cut_where_all_numbers_expect_it():
    folder = os.environ.get("ABP_TF_DATA")
    path = Path(folder or ".", "fashion_mnist_train10k.npz")
    if not folder or not path.is_file():
        pytest.skip("needs fashion_mnist_train10k.npz in the folder ABP_TF_DATA names")
    images = load(f"npz:{path}")
    with np.load(path) as archive:
        array, labels = archive["images"], archive["labels"]
    assert images.train.shape == (9000, 28, 28, 1)
    np.testing.assert_allclose(images.train[8999, ..., 0], array[8999] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(images.test[..., 0], array[9000:] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(images.test_labels, labels[9000:])

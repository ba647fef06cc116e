import warnings

import numpy as np
import pytest
from PIL import Image

from abp_tf.data import load


def save(path, value, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(value, int) else "RGB", size, value).save(path)


def values(images):
    """The grey value of each flat image, to tell which is which."""
    return np.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def broken(path):
    save(path, 50, (64, 64))
    path.write_bytes(path.read_bytes()[:50])


def test_order_is_natural_and_goes_folder_by_folder(tmp_path):
    names = ["2.png", "10.png", "a/9.png", "a/10.png", "a2/1.png", "a10/1.png", "b.PNG"]
    for value, name in enumerate(reversed(names)):
        save(tmp_path / name, len(names) - 1 - value)
    images = load(f"folder:{tmp_path}", test_share=0)
    assert images.train.shape == (7, 4, 4, 1)
    assert values(images.train) == list(range(7))
    assert images.skipped == ()


def test_leading_zeros_do_not_confuse_the_order(tmp_path):
    for value, name in enumerate(["01.png", "1.png", "002.png", "2.png"]):
        save(tmp_path / name, value)
    assert values(load(f"folder:{tmp_path}", test_share=0).train) == [0, 1, 2, 3]


def test_what_is_no_image_is_passed_over(tmp_path):
    save(tmp_path / "a.png", 1)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "paper.pdf").write_text("Pillow writes this format and cannot read it")
    save(tmp_path / ".thumbnails" / "a.png", 2)
    (tmp_path / "._a.png").write_bytes(b"what some systems leave beside a file")
    (tmp_path / "folder.png").mkdir()
    images = load(f"folder:{tmp_path}", test_share=0)
    assert values(images.train) == [1]
    assert images.skipped == ()


def test_a_hidden_parent_does_not_hide_the_folder(tmp_path):
    save(tmp_path / ".cache" / "a.png", 3)
    assert values(load(f"folder:{tmp_path / '.cache'}", test_share=0).train) == [3]


def test_the_test_set_is_a_fixed_choice_from_all_classes(tmp_path):
    for value in range(40):
        save(tmp_path / "ab"[value // 20] / f"{value}.png", value)
    images = load(f"folder:{tmp_path}", test_share=0.5)
    train, test = values(images.train), values(images.test)
    assert len(train) == len(test) == 20
    assert sorted(train + test) == list(range(40))
    assert 0 < sum(value < 20 for value in test) < 20
    assert train == sorted(train)
    assert test == sorted(test)
    again = load(f"folder:{tmp_path}", test_share=0.5)
    np.testing.assert_array_equal(images.test, again.test)


def test_the_choice_never_changes(tmp_path):
    for value in range(10):
        save(tmp_path / f"{value}.png", value)
    # The end of the permutation of 0..9 that NumPy documents as frozen.
    assert values(load(f"folder:{tmp_path}", test_share=0.2).test) == [0, 5]


def test_broken_files_are_named_and_counted(tmp_path):
    save(tmp_path / "good.png", 7, (64, 64))
    broken(tmp_path / "sub" / "torn.png")
    (tmp_path / "text.jpg").write_text("not a photograph")
    (tmp_path / "empty.gif").touch()
    with pytest.warns(UserWarning, match=rf"\b3\b.*{tmp_path}.*empty\.gif") as caught:
        images = load(f"folder:{tmp_path}", test_share=0)
    assert images.skipped == ("empty.gif", "sub/torn.png", "text.jpg")
    assert values(images.train) == [7]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for name in images.skipped:
        assert name in str(caught[0].message)


def test_the_warning_names_the_first_few(tmp_path):
    save(tmp_path / "good.png", 7)
    for place in range(8):
        (tmp_path / f"bad{place}.png").touch()
    with pytest.warns(UserWarning, match=r"\b8\b.*bad4.*\b3\b") as caught:
        images = load(f"folder:{tmp_path}", test_share=0)
    assert "bad5" not in str(caught[0].message)
    assert len(images.skipped) == 8


def test_a_scale_nobody_knows_is_skipped_with_the_reason(tmp_path):
    save(tmp_path / "good.png", 7)
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tif")
    with pytest.warns(UserWarning, match=r"float\.tif .*8 or 16"):
        assert load(f"folder:{tmp_path}", test_share=0).skipped == ("float.tif",)


def test_odd_kinds_side_by_side(tmp_path):
    """One folder with what people really have, read at one size."""
    Image.fromarray(np.full((6, 6), 32768, np.uint16)).save(tmp_path / "0.png")
    Image.new("LA", (6, 6), (0, 0)).save(tmp_path / "1.png")
    Image.new("CMYK", (6, 6), (0, 0, 0, 255)).save(tmp_path / "2.tif")
    Image.new("1", (6, 6), 1).save(tmp_path / "3.png")
    Image.new("RGBA", (6, 6), (0, 255, 0, 255)).save(tmp_path / "4.webp", lossless=True)
    images = load(f"folder:{tmp_path}", size=4, test_share=0).train
    assert images.shape == (5, 4, 4, 3)
    expected = [[0.004] * 3, [1] * 3, [-1] * 3, [1] * 3, [-1, 1, -1]]
    np.testing.assert_allclose(images.mean(axis=(1, 2)), expected, atol=0.01)


def test_grey_and_colour_together_become_colour(tmp_path):
    save(tmp_path / "a.png", 9)
    save(tmp_path / "b.png", (255, 0, 0))
    images = load(f"folder:{tmp_path}", test_share=0).train
    assert images.shape == (2, 4, 4, 3)
    assert images[1, 0, 0].tolist() == [1, -1, -1]
    grey = load(f"folder:{tmp_path}", grey=True, test_share=0).train
    assert grey.shape == (2, 4, 4, 1)
    assert values(grey) == [9, 76]


def test_sub_folders_are_classes(tmp_path):
    for value, name in enumerate(["2/a/1.png", "2/b.png", "10/a.png", "10/b.png", "9 b/a.png"]):
        save(tmp_path / name, value)
    images = load(f"folder:{tmp_path}", test_share=0)
    assert images.train_labels.dtype == np.int32
    found = dict(zip(values(images.train), images.train_labels.tolist(), strict=True))
    assert found == {0: 0, 1: 0, 2: 2, 3: 2, 4: 1}
    assert images.test_labels.shape == (0,)


def test_labels_stay_with_their_images(tmp_path):
    """Through skipped files, the limit and the random choice of the test set."""
    for value in range(40):
        save(tmp_path / "abc"[value // 16] / f"{value}.png", value)
    broken(tmp_path / "a" / "3.png")
    broken(tmp_path / "b" / "17.png")
    with pytest.warns(UserWarning, match=r"\b2\b.*17\.png"):
        images = load(f"folder:{tmp_path}", test_share=0.3, limit=36)
    assert (len(images.train), len(images.test)) == (25, 11)
    for part, labels in (
        (images.train, images.train_labels),
        (images.test, images.test_labels),
    ):
        assert labels.tolist() == [value // 16 for value in values(part)]
    # Classes keep their numbers where the limit leaves others out.
    save(tmp_path / "A" / "0.png", 99)
    assert load(f"folder:{tmp_path}", test_share=0, limit=3).train_labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "names", [["a.png", "b.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b/1.png", "loose.png"]]
)
def test_other_folders_have_no_labels(tmp_path, names):
    for value, name in enumerate(names):
        save(tmp_path / name, value)
    images = load(f"folder:{tmp_path}")
    assert images.train_labels is images.test_labels is None


def test_limit_opens_nothing_beyond(tmp_path):
    for value in range(3):
        save(tmp_path / f"{value}.png", value)
    (tmp_path / "3.png").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = load(f"folder:{tmp_path}", limit=3, test_share=0)
    assert values(images.train) == [0, 1, 2]
    assert images.skipped == ()


def test_limit_counts_readable_images(tmp_path):
    (tmp_path / "0.png").touch()
    for value in (1, 2, 3):
        save(tmp_path / f"{value}.png", value)
    with pytest.warns(UserWarning, match=r"\b1\b.*\.png"):
        images = load(f"folder:{tmp_path}", limit=2, test_share=0)
    assert values(images.train) == [1, 2]


def test_different_sizes_need_a_size(tmp_path):
    save(tmp_path / "a.png", 1, (4, 6))
    save(tmp_path / "b.png", 2, (8, 5))
    with pytest.raises(ValueError, match=r"6x4 \(a\.png\) and 5x8 \(b\.png\).*size=64"):
        load(f"folder:{tmp_path}")
    assert load(f"folder:{tmp_path}", size=5, test_share=0).train.shape == (2, 5, 5, 1)


def test_empty_folder(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=rf"\.png.*{tmp_path}"):
        load(f"folder:{tmp_path}")


def test_no_readable_image(tmp_path):
    broken(tmp_path / "torn.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"\b2\b.*empty\.png .*torn\.png"):
        load(f"folder:{tmp_path}")


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(f"folder:{tmp_path / 'nowhere'}")


def test_a_file_is_no_folder(tmp_path):
    save(tmp_path / "a.png", 1)
    with pytest.raises(NotADirectoryError, match=r"a\.png"):
        load(f"folder:{tmp_path / 'a.png'}")


def test_no_path():
    with pytest.raises(ValueError, match="received 'folder:'"):
        load("folder:")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "photos" / "a.png", 5)
    assert values(load("folder:~/photos", test_share=0).train) == [5]

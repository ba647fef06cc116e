"""Masks that come in files beside damaged images."""

import numpy as np
import pytest
from PIL import Image

from abp_tf import data, mask_files
from abp_tf.data import convert


def write(folder, arrays):
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / name)
    return folder


COUNT = 20


@pytest.fixture
def photos(tmp_path):
    """Images whose brightness tells their number, in subfolders."""
    flat = {f"{'ab'[i % 2]}/{i}.png": np.full((6, 6), 10 * i, np.uint8) for i in range(COUNT)}
    return write(tmp_path / "photos", flat)


def hidden_at(number):
    """A mask of which the hidden pixel tells the number of its image."""
    mask = np.full((6, 6), 255, np.uint8)
    mask[divmod(number, 6)] = 0
    return mask


def numbers(images):
    return np.rint((images[:, 0, 0, 0] + 1) * 12.75).astype(int)


def assert_follow(images):
    """Every image has the mask that was made for it."""
    for part, mask in ((images.train, images.train_mask), (images.test, images.test_mask)):
        assert mask.shape == part.shape[:-1]
        assert mask.dtype == bool
        for number, seen in zip(numbers(part), mask, strict=True):
            assert np.argwhere(~seen).tolist() == [list(divmod(number, 6))]


def test_masks_of_a_folder_follow_the_names_through_the_split(photos, tmp_path):
    # Another format, and masks of no image beside them.
    masks = {f"{'ab'[i % 2]}/{i}.bmp": hidden_at(i) for i in range(COUNT)} | {"c.png": hidden_at(0)}
    write(tmp_path / "masks", masks)
    images = data.load(f"folder:{photos}", test_share=0.3)
    assert len(images.test) == 6
    assert sorted(numbers(images.test)) != list(range(14, 20))  # the split is no cut at the end
    assert_follow(mask_files.attach(images, f"folder:{tmp_path / 'masks'}"))


def test_an_array_follows_the_order_of_the_source_through_the_split(photos, tmp_path):
    images = data.load(f"folder:{photos}", test_share=0.3)
    # Natural order: subfolder a holds the even numbers.
    order = [*range(0, COUNT, 2), *range(1, COUNT, 2)]
    path = tmp_path / "masks.npz"
    np.savez(path, np.stack([hidden_at(number) for number in order]))
    assert_follow(mask_files.attach(images, f"npz:{path}"))


def test_an_array_may_be_that_of_the_training_images_alone(tmp_path):
    images = data.load("digits", size=8, limit=20)
    path = tmp_path / "masks.npz"
    masks = np.random.default_rng(0).random((18, 8, 8)) < 0.5
    np.savez(path, masks=masks, others=masks)
    attached = mask_files.attach(images, f"npz:{path}:masks")
    np.testing.assert_array_equal(attached.train_mask, masks)
    assert attached.test_mask is None


@pytest.mark.parametrize("convert", [bool, np.int64, np.float32, lambda m: m.astype(np.uint8) * 255])
def test_values_of_an_array(tmp_path, convert):
    images = data.load("digits", size=8, limit=20)
    masks = np.random.default_rng(0).random((30, 8, 8)) < 0.5
    path = tmp_path / "masks.npz"
    np.savez(path, masks[..., None].astype(convert) if isinstance(convert, type) else convert(masks))
    # The images are the first of more, and so are the masks.
    attached = mask_files.attach(images, f"npz:{path}", limited=True)
    np.testing.assert_array_equal(attached.train_mask, masks[:18])
    np.testing.assert_array_equal(attached.test_mask, masks[18:20])


def test_from_half_brightness_on_a_pixel_is_observed(tmp_path):
    write(tmp_path / "photos", {"a.png": np.zeros((2, 2), np.uint8)})
    write(tmp_path / "masks", {"a.png": np.array([[0, 127], [128, 255]], np.uint8)})
    images = data.load(f"folder:{tmp_path / 'photos'}", test_share=0)
    attached = mask_files.attach(images, f"folder:{tmp_path / 'masks'}")
    assert attached.train_mask.tolist() == [[[False, False], [True, True]]]


@pytest.mark.parametrize("crop", [True, False])
def test_masks_are_cropped_and_resized_as_their_images_are(tmp_path, crop):
    # The right half is hidden; in the image it is white.
    wide = np.full((8, 16), 255, np.uint8)
    wide[:, 8:] = 0
    write(tmp_path / "photos", {"a.png": 255 - wide})
    write(tmp_path / "masks", {"a.png": wide})
    images = data.load(f"folder:{tmp_path / 'photos'}", size=4, crop=crop, test_share=0)
    attached = mask_files.attach(images, f"folder:{tmp_path / 'masks'}", crop=crop)
    np.testing.assert_array_equal(attached.train_mask, images.train[..., 0] < 0)


SENSOR = np.full((8, 16), 255, np.uint8)  # a photo held upright, as its file stores it
SENSOR[:3, :5] = 0


def turned(array, orientation):
    """Return an image as displayed: 3 is upside down, 6 and 8 are turned to the right and left."""
    return np.rot90(array, {3: 2, 6: -1, 8: 1}[orientation])


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("drawn_on", ["stored", "displayed"])
@pytest.mark.parametrize("tagged", [True, False])
def test_masks_are_turned_as_their_images_are(tmp_path, orientation, drawn_on, tagged):
    if drawn_on == "displayed" and orientation == 3 and not tagged:
        pytest.skip("such a mask cannot be told from one that was drawn on the stored pixels")
    exif = Image.Exif()
    exif[convert.ORIENTATION] = orientation
    photo = write(tmp_path / "photos", {"a.png": SENSOR}) / "a.png"
    Image.fromarray(SENSOR).save(photo, exif=exif)
    mask = write(tmp_path / "masks", {"a.png": SENSOR}) / "a.png"
    if drawn_on == "displayed":
        exif[convert.ORIENTATION] = 1
    drawn = SENSOR if drawn_on == "stored" else turned(SENSOR, orientation)
    Image.fromarray(drawn).save(mask, exif=exif if tagged else None)
    images = data.load(f"folder:{tmp_path / 'photos'}", test_share=0)
    attached = mask_files.attach(images, f"folder:{tmp_path / 'masks'}")
    np.testing.assert_array_equal(attached.train_mask[0], turned(SENSOR, orientation) > 0)


def test_a_mask_may_be_coarser_than_its_image(tmp_path):
    write(tmp_path / "photos", {"a.png": np.zeros((30, 41), np.uint8)})
    write(tmp_path / "masks", {"a.png": np.full((15, 20), 255, np.uint8)})
    images = data.load(f"folder:{tmp_path / 'photos'}", size=8, test_share=0)
    with pytest.warns(UserWarning, match="hidden"):
        assert mask_files.attach(images, f"folder:{tmp_path / 'masks'}").train_mask.all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_holes_are_hidden(tmp_path, mode):
    write(tmp_path / "photos", {"a.png": SENSOR})
    holes = Image.merge("LA", [Image.new("L", (16, 8), 255), Image.fromarray(SENSOR)])
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    holes.convert("RGBA").convert(mode).save(path)
    images = data.load(f"folder:{tmp_path / 'photos'}", test_share=0)
    attached = mask_files.attach(images, f"folder:{tmp_path / 'masks'}")
    np.testing.assert_array_equal(attached.train_mask[0], SENSOR > 0)


def test_names_in_two_forms_of_unicode(tmp_path):
    write(tmp_path / "photos", {"caf\u00e9.png": SENSOR})
    write(tmp_path / "masks", {"cafe\u0301.png": SENSOR})
    images = data.load(f"folder:{tmp_path / 'photos'}", test_share=0)
    attached = mask_files.attach(images, f"folder:{tmp_path / 'masks'}")
    np.testing.assert_array_equal(attached.train_mask[0], SENSOR > 0)


def test_masks_that_hide_nothing_at_all(tmp_path):
    images = data.load("digits", size=8, limit=20)
    path = tmp_path / "masks.npz"
    np.savez(path, np.ones((20, 8, 8)))
    with pytest.warns(UserWarning, match=f"(?s)nothing.*{path}.*A mask holds 1"):
        mask_files.attach(images, f"npz:{path}")


class TestRefusals:
    @pytest.fixture
    def images(self, photos):
        return data.load(f"folder:{photos}", test_share=0.3)

    def refused(self, images, spec, match):
        with pytest.raises(ValueError, match=match):
            mask_files.attach(images, spec)

    def test_names_that_do_not_match(self, images, tmp_path):
        masks = {f"{'ab'[i % 2]}/{i}.png": hidden_at(i) for i in range(2, COUNT)}
        write(tmp_path / "masks", masks | {"stray.png": hidden_at(0)})
        told = r"\b20\b.*\b2\b.*'a/0\.png', 'b/1\.png'.*'stray\.png'"
        self.refused(images, f"folder:{tmp_path / 'masks'}", told)

    def test_nothing_observed(self, images, tmp_path):
        black = np.zeros((6, 6), np.uint8)
        masks = {f"{'ab'[i % 2]}/{i}.png": hidden_at(i) if i % 4 else black for i in range(COUNT)}
        write(tmp_path / "masks", masks)
        told = r"\d of 14: 'a/"
        self.refused(images, f"folder:{tmp_path / 'masks'}", told)

    def test_masks_of_another_shape(self, images, tmp_path):
        masks = {f"{'ab'[i % 2]}/{i}.png": hidden_at(i) for i in range(COUNT)}
        write(
            tmp_path / "masks",
            masks | {"a/4.png": np.ones((6, 9), np.uint8), "x.png": masks["a/2.png"][:2]},
        )
        self.refused(images, f"folder:{tmp_path / 'masks'}", "1 .*'a/4.png' of 6x9 for an image of 6x6")

    def test_two_masks_of_one_image(self, images, tmp_path):
        masks = {f"{'ab'[i % 2]}/{i}.png": hidden_at(i) for i in range(COUNT)}
        write(tmp_path / "masks", masks | {"a/4.bmp": hidden_at(5)})
        self.refused(images, f"folder:{tmp_path / 'masks'}", r"'a/4\.bmp'.*'a/4\.png'")

    def test_images_without_names(self, tmp_path):
        write(tmp_path / "masks", {"0.png": hidden_at(0)})
        self.refused(data.load("digits", limit=9), f"folder:{tmp_path / 'masks'}", "npz:PATH")

    @pytest.mark.parametrize(
        ("arrays", "told"),
        [
            ([np.ones((19, 6, 6))], r"\b20\b.*\b14\b.*received 19"),
            ([np.ones((21, 6, 6))], "received 21"),
            ([np.ones((20, 6, 5))], r"\('n', 6, 6\), received .*\(20, 6, 5\)"),
            ([np.full((20, 6, 6), 0.5)], r"received float64 from 0\.5 to 0\.5"),
            ([np.full((20, 6, 6), np.nan)], "from nan to nan"),
            ([np.zeros((20, 6, 6))], r"14 of 14: 'a/.*\b11\b"),
            ([np.ones((20, 6, 6)), np.ones((20, 6, 6))], r"found 2.*arr_0 .*npz:PATH:KEY"),
        ],
    )  # fmt: skip
    def test_arrays(self, images, tmp_path, arrays, told):
        path = tmp_path / "masks.npz"
        np.savez(path, *arrays)
        self.refused(images, f"npz:{path}", told)

    def test_places_that_are_none(self, images, tmp_path):
        self.refused(images, "npz:", "npz:PATH")
        self.refused(images, "folder:", "folder:PATH")
        path = tmp_path / "masks.npz"
        np.savez(path, np.ones((20, 6, 6)))
        self.refused(images, f"npz:{path}:other", "received .*'other'")
        for spec in ("npz:nowhere.npz", "folder:nowhere"):
            with pytest.raises(FileNotFoundError, match="nowhere"):
                mask_files.attach(images, spec)


def test_missing_values_wait_for_a_mask(tmp_path):
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).uniform(-1, 1, (10, 6, 6)).astype(np.float32)
    images[:, 2] = np.nan
    np.savez(path, images)
    with pytest.raises(ValueError, match=r"NaN .*mask"):
        data.load(f"npz:{path}")
    loaded = data.load(f"npz:{path}", test_share=0, missing=True)
    np.testing.assert_array_equal(loaded.train[..., 0], images)
    images[0, 0] = np.inf
    np.savez(path, images)
    with pytest.raises(ValueError, match="infinity"):
        data.load(f"npz:{path}", missing=True)

import io

import numpy as np
import pytest
from PIL import Image

from abp_tf.data import convert, fit_to, to_uint8


def saved(image, kind, **options):
    """The image as a reader finds it in a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return Image.open(file)


def gradient(channels=None, height=20, width=30):
    values = np.add.outer(3 * np.arange(height), 5 * np.arange(width))
    if channels:
        values = np.stack([values + 7 * place for place in range(channels)], axis=-1)
    return values.astype(np.uint8)


def test_grey_and_colour_keep_their_values():
    grey, colour = gradient(), gradient(3)
    np.testing.assert_array_equal(
        convert.from_pil(saved(Image.fromarray(grey), "PNG")), grey[..., None]
    )
    np.testing.assert_array_equal(convert.from_pil(saved(Image.fromarray(colour), "PNG")), colour)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_cut_off(kind):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = saved(Image.fromarray(values), kind)
    assert image.mode.startswith("I")
    pixels = convert.from_pil(image)
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert abs(convert.to_signals(pixels)[0, 2, 0]) < 0.01


@pytest.mark.parametrize(("mode", "dtype"), [("I;16B", ">u2"), ("I;16", "<u2"), ("I", "<i4")])
def test_other_modes_of_16_bit_grey(mode, dtype):
    values = np.array([[0, 32768], [257 * 9, 65535]], dtype)
    image = Image.frombytes(mode, (2, 2), values.tobytes())
    assert convert.from_pil(image)[..., 0].tolist() == [[0, 128], [9, 255]]


def test_big_endian_16_bit_tiff():
    # One strip of two pixels; Pillow itself writes only little-endian files of this kind.
    entries = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 1)]
    entries.append((279, 4))
    data = b"MM\0*" + (8).to_bytes(4, "big") + len(entries).to_bytes(2, "big")
    for tag, value in entries:
        data += tag.to_bytes(2, "big") + b"\0\3\0\0\0\1" + value.to_bytes(2, "big") + b"\0\0"
    data += bytes(4)
    data += np.array([32768, 65535], ">u2").tobytes()
    assert len(data) == 126
    image = Image.open(io.BytesIO(data))
    assert image.mode == "I;16B"
    assert convert.from_pil(image)[0, :, 0].tolist() == [128, 255]


def test_transparent_value_of_16_bit_grey_is_white():
    values = np.array([[0, 1000, 257 * 40]], np.uint16)
    image = saved(Image.fromarray(values), "PNG", transparency=1000)
    assert convert.from_pil(image)[0, :, 0].tolist() == [0, 255, 40]


@pytest.mark.parametrize("value", [-1, 65536])
def test_grey_beyond_16_bits_is_refused(value):
    with pytest.raises(ValueError, match=rf"{value}\b.*\b16\b"):
        convert.from_pil(Image.new("I", (2, 2), value))


def test_floating_point_image_is_refused():
    with pytest.raises(ValueError, match=r"\b8 or 16\b"):
        convert.from_pil(Image.new("F", (2, 2), 0.5))


def test_alpha_shows_white_behind():
    image = Image.new("RGBA", (3, 1))
    for place, alpha in enumerate((0, 128, 255)):
        image.putpixel((place, 0), (200, 0, 100, alpha))
    pixels = convert.from_pil(saved(image, "PNG"))
    assert pixels.shape == (1, 3, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(pixels[0, 1], [227, 127, 177], atol=1)
    assert pixels[0, 2].tolist() == [200, 0, 100]


@pytest.mark.parametrize("mode", ["LA", "La"])
def test_grey_with_alpha_stays_grey(mode):
    image = Image.new("LA", (2, 1), (90, 255))
    image.putpixel((0, 0), (90, 0))
    pixels = convert.from_pil(image.convert(mode))
    assert pixels.shape == (1, 2, 1)
    assert pixels.ravel().tolist() == [255, 90]


def test_transparent_value_of_grey_is_white():
    image = saved(Image.fromarray(np.array([[10, 20]], np.uint8)), "PNG", transparency=20)
    pixels = convert.from_pil(image)
    assert pixels.shape == (1, 2, 1)
    assert pixels.ravel().tolist() == [10, 255]


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [
        (None, [[255, 0, 0], [0, 0, 255]]),
        (1, [[255, 0, 0], [255, 255, 255]]),
        (b"\0\xff", [[255, 255, 255], [0, 0, 255]]),
    ],
)
def test_palette(transparency, expected):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    found = saved(image, "PNG", **options)
    assert found.mode == "P"
    assert convert.from_pil(found)[0].tolist() == expected


def test_palette_of_a_gif():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    pixels = convert.from_pil(saved(image, "GIF", transparency=0))
    assert pixels[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_one_bit():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert convert.from_pil(saved(image, "PNG")).ravel().tolist() == [0, 255]


def test_cmyk():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = convert.from_pil(saved(image, "TIFF"))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    image = saved(image, "JPEG")
    assert image.mode == "CMYK"
    np.testing.assert_allclose(convert.from_pil(image)[0, 0], [255, 0, 0], atol=4)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (6, (0, -1)), (3, (-1, -1)), (8, (-1, 0))]
)
def test_exif_rotation_moves_the_corner(orientation, corner):
    image = Image.new("L", (4, 2))
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = convert.from_pil(saved(image, "PNG", exif=exif))
    assert pixels.shape == ((4, 2, 1) if orientation in (6, 8) else (2, 4, 1))
    assert pixels[corner] == 255
    assert pixels.sum() == 255


def test_grey_is_that_of_pillow():
    colours = np.random.RandomState(0).randint(0, 256, (50, 40, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(convert.fit(colours, grey=True)[..., 0], expected)


def test_grey_of_signals():
    red = np.array([[[1, -1, -1]]], np.float32)
    grey = convert.fit(red, grey=True)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, [[[2 * 0.299 - 1]]], atol=1e-4)


def test_grey_false_repeats():
    pixels = gradient()[..., None]
    colour = convert.fit(pixels, grey=False)
    assert colour.shape == (20, 30, 3)
    np.testing.assert_array_equal(colour, np.repeat(pixels, 3, axis=-1))


@pytest.mark.parametrize("grey", [None, True])
def test_fit_without_work_changes_nothing(grey):
    pixels = gradient()[..., None]
    np.testing.assert_array_equal(convert.fit(pixels, (20, 30), grey=grey), pixels)


def test_crop_takes_the_centre_and_no_crop_stretches():
    image = np.zeros((10, 30, 1), np.uint8)
    image[:, 10:20] = 200
    assert (convert.fit(image, (10, 10)) == 200).all()
    stretched = convert.fit(image, (10, 10), crop=False)
    assert stretched[:, 5].min() > 190
    assert stretched[:, 0].max() < 10


def test_crop_of_a_tall_image():
    image = np.zeros((30, 10, 1), np.uint8)
    image[10:20] = 200
    assert (convert.fit(image, (10, 10)) == 200).all()
    # The filter looks beyond the edge of what is cut out, as it does everywhere else.
    np.testing.assert_allclose(convert.fit(image, (5, 5))[1:-1], 200, atol=15)


@pytest.mark.parametrize("size", [(7, 3), (3, 7), (64, 48), (31, 29), (1, 1)])
def test_any_size_from_any_size(size):
    for height, width in [(5, 9), (9, 5), (1, 1), (100, 3)]:
        pixels = np.full((height, width, 3), 77, np.uint8)
        fitted = convert.fit(pixels, size)
        assert fitted.shape == (*size, 3)
        assert fitted.dtype == np.uint8
        assert (fitted == 77).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    shrunk = convert.fit(stripes, (16, 16))
    np.testing.assert_allclose(shrunk[:, 2:-2], 127.5, atol=8)


@pytest.mark.parametrize("size", [(25, 25), (7, 5)])
def test_signals_are_resized_like_pixels(size):
    # Far enough from black and white that nothing is clipped on the way.
    pixels = np.random.RandomState(0).randint(90, 166, (12, 10, 3)).astype(np.uint8)
    expected = convert.to_signals(convert.fit(pixels, size))
    fitted = convert.fit(convert.to_signals(pixels), size)
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, expected, atol=2 / 127.5)


def test_resized_signals_stay_in_range():
    signals = np.random.RandomState(0).choice([-1, 1], (12, 10, 3)).astype(np.float32)
    fitted = convert.fit(signals, (25, 25))
    assert fitted.min() == -1
    assert fitted.max() == 1


def test_to_uint8_is_the_inverse_of_the_scaling():
    values = np.arange(256, dtype=np.uint8)
    signals = convert.to_signals(values)
    assert signals.dtype == np.float32
    assert signals.min() == -1
    assert signals.max() == 1
    assert signals[51] == np.float32(51 / 127.5 - 1)
    np.testing.assert_array_equal(to_uint8(signals), values)


def test_to_uint8_clips_and_rounds():
    assert to_uint8(np.array([-np.inf, -1.2, -0.994, 0.99999, 3])).tolist() == [0, 0, 1, 255, 255]


def test_to_uint8_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(np.array([0, np.nan]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 16, 1), (20, 10, 3)])
def test_fit_to(channels, shape):
    images = convert.to_signals(np.stack([gradient(channels), gradient(channels)[::-1]]))
    fitted = fit_to(images.astype(np.float64), shape)
    assert fitted.dtype == np.float32
    assert fitted.shape == (2, *shape)
    for image, source in zip(fitted, images, strict=True):
        expected = convert.fit(source, shape[:2], grey=shape[2] == 1)
        np.testing.assert_allclose(image, expected, atol=1e-6)


def test_fit_to_the_same_shape_and_to_no_images():
    images = convert.to_signals(gradient(3)[None])
    np.testing.assert_array_equal(fit_to(images, images.shape[1:]), images)
    assert fit_to(images[:0], (8, 8, 1)).shape == (0, 8, 8, 1)


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (np.zeros((1, 8, 8, 1)), (8, 8), r"received \(8, 8\)"),
        (np.zeros((1, 8, 8, 1)), (8, 8, 2), r"received \(8, 8, 2\)"),
        (np.zeros((1, 8, 8, 1)), (0, 8, 1), r"received \(0, 8, 1\)"),
        (np.zeros((8, 8, 1)), (8, 8, 1), r"received shape \(8, 8, 1\)"),
        (np.zeros((1, 8, 8, 4)), (8, 8, 1), r"received shape \(1, 8, 8, 4\)"),
        (np.zeros((1, 8, 8, 1), np.uint8), (8, 8, 1), r"received uint8.*127\.5"),
        (np.full((1, 8, 8, 1), 1.5), (8, 8, 1), "from 1.5 to 1.5"),
        (np.full((1, 8, 8, 1), np.nan), (8, 8, 1), "from nan to nan"),
    ],
)
def test_fit_to_refuses(images, shape, message):
    with pytest.raises(ValueError, match=message):
        fit_to(images, shape)

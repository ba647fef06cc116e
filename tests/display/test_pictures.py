import re

import numpy as np
import pytest
from PIL import Image

from abp_tf.display import pictures


def grey(n, height, width, value=0.0):
    return np.full((n, height, width, 1), value, np.float32)


class TestGrid:
    def test_values_and_places(self):
        images = np.stack([grey(1, 1, 2, value)[0] for value in (-1, 0, 1)])
        picture = pictures.grid(images, columns=2, scale=1, gap=1)
        assert picture.dtype == np.uint8
        expected = [[0, 0, 255, 128, 128], [255] * 5, [255, 255, 255, 255, 255]]
        for channel in range(3):
            np.testing.assert_array_equal(picture[..., channel], expected)

    def test_empty_places_are_white(self):
        picture = pictures.grid(grey(3, 2, 2, -1), columns=2, scale=1, gap=0)
        assert (picture[2:, 2:] == 255).all()
        assert (picture[2:, :2] == 0).all()

    def test_enlarges_without_smoothing(self):
        image = np.array([[-1, 1], [1, -1]], np.float32)[None, ..., None]
        picture = pictures.grid(image, columns=1, scale=3)
        expected = np.kron([[0, 255], [255, 0]], np.ones((3, 3)))
        np.testing.assert_array_equal(picture[..., 0], expected)

    def test_colours_stay_in_their_channels(self):
        image = np.array([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
        np.testing.assert_array_equal(pictures.grid(image, 1, scale=1)[0, 0], [0, 128, 255])

    def test_clips_for_display_and_leaves_the_images_alone(self):
        images = np.array([-7.0, 3.0, np.nan, np.inf]).reshape(1, 1, 4, 1)
        before = images.copy()
        picture = pictures.grid(images, 1, scale=1)
        np.testing.assert_array_equal(picture[0, :, 0], [0, 255, 128, 255])
        np.testing.assert_array_equal(images, before)

    @pytest.mark.parametrize(
        ("side", "columns", "scale"),
        # Up to 64 pixels; as far as the width goes; never smaller than the images are.
        [(28, 5, 3), (64, 5, 1), (1, 2, 64), (28, 20, 2), (28, 100, 1), (200, 20, 1)],
    )
    def test_automatic_scale(self, side, columns, scale):
        picture = pictures.grid(grey(1, side, side), columns)
        assert picture.shape[0] == side * scale
        assert picture.shape[1] == columns * (side * scale + 2) - 2
        assert scale == 1 or picture.shape[1] <= 1600

    @pytest.mark.parametrize("shape", [(28, 28, 1), (2, 28, 28, 2), (0, 28, 28, 1)])
    def test_refuses_what_is_no_image(self, shape):
        with pytest.raises(ValueError, match=re.escape(str(shape))):
            pictures.grid(np.zeros(shape, np.float32), 2)

    def test_refuses_eight_bits(self):
        with pytest.raises(ValueError, match="received uint8"):
            pictures.grid(np.zeros((1, 4, 4, 1), np.uint8), 1)

    @pytest.mark.parametrize(
        "bad", [{"columns": 0}, {"gap": -1}, {"scale": 0}, {"scale": 1.5}, {"scale": "big"}]
    )
    def test_refuses_numbers(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            pictures.grid(**{"images": grey(1, 4, 4), "columns": 1, **bad})


class TestRows:
    def test_stacks_in_order(self):
        picture = pictures.rows([grey(2, 64, 64, -1), np.ones((1, 64, 64, 3))], gap=4)
        assert picture.shape == (64 + 4 + 64, 64 + 4 + 64, 3)
        assert (picture[:64, :64] == 0).all()
        assert (picture[64:] == 255).all()

    def test_labels_stand_left_of_their_rows(self):
        batches = [grey(1, 64, 64, -1)] * 3
        plain, labelled = pictures.rows(batches), pictures.rows(batches, ["truth", "", "inpainted"])
        margin = labelled.shape[1] - plain.shape[1]
        np.testing.assert_array_equal(labelled[:, margin:], plain)
        ink = (labelled[:, :margin] < 128).any(axis=(1, 2))
        assert ink[:64].any()
        assert not ink[64:132].any()
        assert ink[132:].any()
        # A label stands half-way up its row, and inside the margin.
        assert abs(np.flatnonzero(ink[:64]).mean() - 32) < 6
        assert (labelled[:, [0, margin - 1]] == 255).all()

    @pytest.mark.parametrize("batches", [[], [grey(1, 4, 4), grey(1, 4, 5)]])
    def test_refuses_unequal_sizes(self, batches):
        with pytest.raises(ValueError, match=re.escape(str([batch.shape for batch in batches]))):
            pictures.rows(batches)

    def test_refuses_missing_labels(self):
        with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
            pictures.rows([grey(1, 4, 4)] * 2, ["only"])


class TestFiles:
    @pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
    def test_png_holds_the_picture(self, tmp_path, shape):
        picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        path = tmp_path / "new" / "folder" / "picture.png"
        pictures.save_png(path, picture)
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), picture)
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize(
        "picture", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)]
    )
    def test_refuses_what_is_no_picture(self, tmp_path, picture):
        with pytest.raises(ValueError, match="uint8"):
            pictures.save_png(tmp_path / "picture.png", picture)
        assert not any(tmp_path.iterdir())

    def test_an_interrupted_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "picture.png"
        pictures.save_png(path, np.zeros((4, 4, 3), np.uint8))
        before = path.read_bytes()

        def fail(*_):
            raise OSError("disk full")

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            pictures.save_png(path, np.ones((4, 4, 3), np.uint8))
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_curves_draws_every_series(self, tmp_path):
        path = tmp_path / "error.png"
        one = {"train": [(1, 0.3), (2, 0.2)]}
        pictures.curves(path, one, ylabel="mean squared error", title="Faces")
        with Image.open(path) as image:
            first = np.asarray(image.convert("RGB"))
        assert first.min() < 100  # There is ink on the paper.
        pictures.curves(path, {**one, "test": [(2, 0.4)]}, ylabel="mean squared error", title="F")
        with Image.open(path) as image:
            assert (np.asarray(image.convert("RGB")) != first).any()

    def test_reliability_draws_coverage_beside_the_diagonal(self, monkeypatch):
        given, drawn = {}, pictures._drawn
        monkeypatch.setattr(
            pictures, "_drawn", lambda series, *rest: given.update(series) or drawn(series, *rest)
        )
        picture = pictures.reliability([0.5, 0.9], np.array([0.4, 0.7]), "Intervals")
        assert given == {"exact intervals": [(0, 0), (1, 1)], "observed": [(0.5, 0.4), (0.9, 0.7)]}
        assert picture.shape[2] == 3
        assert picture.min() < 100  # There is ink on the paper.
        with pytest.raises(ValueError, match="shorter"):
            pictures.reliability([0.5, 0.9], [0.4], "Intervals")

    @pytest.mark.parametrize("series", [{}, {"train": []}])
    def test_curves_refuses_nothing(self, tmp_path, series):
        with pytest.raises(ValueError, match=re.escape(str(series))):
            pictures.curves(tmp_path / "error.png", series, ylabel="y", title="t")

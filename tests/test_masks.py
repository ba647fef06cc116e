import re

import numpy as np
import pytest

from abp_tf import masks

SPECS = ["pepper:0.9", "squares:0.7:3", "block:13", "frames:0.5", "gap:7"]


@pytest.mark.parametrize("spec", SPECS)
class TestEveryKind:
    def test_shape_and_type(self, spec):
        drawn = masks.parse(spec)(5, (28, 20))
        assert drawn.shape == (5, 28, 20)
        assert drawn.dtype == bool

    def test_the_mask_of_an_example_does_not_depend_on_how_many_there_are(self, spec):
        draw = masks.parse(spec)
        np.testing.assert_array_equal(draw(3, (28, 28), seed=4), draw(8, (28, 28), seed=4)[:3])

    def test_examples_and_seeds_differ(self, spec):
        draw = masks.parse(spec)
        one, other = draw(2, (28, 28), seed=1), draw(2, (28, 28), seed=2)
        assert (one[0] != one[1]).any()
        # Were the streams numbered by seed + example, this one would come back.
        assert (one[1] != other[0]).any()
        assert (one[0] != other[0]).any()

    def test_no_masks(self, spec):
        assert masks.parse(spec)(0, (28, 28)).shape == (0, 28, 28)

    def test_text_and_back(self, spec):
        assert str(masks.parse(spec)) == spec
        assert masks.parse(str(masks.parse(spec))) == masks.parse(spec)

    @pytest.mark.parametrize("bad", [{"n": -1}, {"seed": -1}])
    def test_negative_numbers(self, spec, bad):
        with pytest.raises(ValueError, match=f"`{next(iter(bad))}` .*received -1"):
            masks.parse(spec)(**{"n": 1, "shape": (28, 28), **bad})


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_pepper_hides_that_share_independently(p):
    hidden = ~masks.pepper(200, (28, 28), p)
    spread = np.sqrt(p * (1 - p))
    assert abs(hidden.mean() - p) < 4 * spread / np.sqrt(hidden.size)
    neighbours = np.corrcoef(hidden[:, :, 1:].ravel(), hidden[:, :, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.015


@pytest.mark.parametrize("shape", [(1000,), (6, 8, 10)])
def test_pepper_works_for_any_rank(shape):
    drawn = masks.pepper(4, shape, 0.5)
    assert drawn.shape == (4, *shape)
    assert 0.4 < drawn.mean() < 0.6


def test_squares_are_cells_of_a_shifted_grid():
    side, offsets = 3, set()
    drawn = masks.squares(60, (27, 30), 0.5, side)
    for mask in drawn:
        # Where rows differ from the row above, a cell begins: all such rows are a side apart.
        edges_down = np.flatnonzero((mask[1:] != mask[:-1]).any(axis=1)) + 1
        edges_right = np.flatnonzero((mask[:, 1:] != mask[:, :-1]).any(axis=0)) + 1
        assert len(set(edges_down % side)) == len(set(edges_right % side)) == 1
        offsets.add((edges_down[0] % side, edges_right[0] % side))
    assert len(offsets) == side * side
    assert abs(drawn.mean() - 0.5) < 0.03


def test_squares_of_one_pixel_hide_the_same_share_as_pepper():
    assert abs((~masks.squares(100, (28, 28), 0.8, 1)).mean() - 0.8) < 0.01


def test_block_is_one_square_at_a_uniform_place():
    size, corners = 2, []
    for mask in masks.block(1200, (4, 3), size):
        rows, columns = np.nonzero(~mask)
        assert len(rows) == size * size
        assert np.ptp(rows) == np.ptp(columns) == size - 1
        corners.append((rows.min(), columns.min()))
    places, counts = np.unique(corners, axis=0, return_counts=True)
    assert len(places) == 3 * 2
    assert abs(counts - 200).max() < 60


def test_a_block_as_high_as_the_image_fits():
    assert (~masks.block(1, (4, 6), 4)).sum() == 16


def test_a_block_moves_through_a_clip_at_one_pace():
    drawn, travelled = masks.block(40, (9, 20, 16), 4, seed=2), []
    for mask in drawn:
        corners = []
        for frame in mask:
            rows, columns = np.nonzero(~frame)
            assert len(rows) == 16
            assert np.ptp(rows) == np.ptp(columns) == 3
            corners.append((rows.min(), columns.min()))
        steps = np.diff(corners, axis=0)
        pace = (np.array(corners[-1]) - corners[0]) / 8
        assert np.abs(steps - pace).max() <= 1
        travelled.append(pace)
    assert np.abs(travelled).max(axis=0).min() > 0.5
    # Of one frame it is the block of an image.
    np.testing.assert_array_equal(masks.block(3, (1, 9, 8), 3)[:, 0], masks.block(3, (9, 8), 3))


@pytest.mark.parametrize("shape", [(12,), (12, 6, 5)])
def test_frames_are_hidden_whole(shape):
    drawn = masks.frames(300, shape, 0.7, seed=1).reshape(300, 12, -1)
    assert (drawn == drawn[:, :, :1]).all()
    assert abs((~drawn[:, :, 0]).mean() - 0.7) < 0.04
    assert drawn.any(axis=(1, 2)).all()


@pytest.mark.parametrize("shape", [(12,), (12, 6, 5)])
def test_a_gap_is_in_one_piece_at_a_uniform_place(shape):
    drawn = masks.gap(900, shape, 10, seed=1).reshape(900, 12, -1)
    assert (drawn == drawn[:, :, :1]).all()
    starts = drawn[:, :, 0].argmin(axis=1)
    for mask, start in zip(drawn[:, :, 0], starts, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(~mask), np.arange(start, start + 10))
    assert abs(np.bincount(starts, minlength=3) - 300).max() < 70


@pytest.mark.parametrize("size", [0, 12, 13])
def test_a_gap_leaves_something_observed(size):
    with pytest.raises(ValueError, match=rf"1 to 11\b.*received {size}"):
        masks.gap(1, (12,), size)


def test_something_is_always_observed():
    # With p = 0.9 the first draw hides both pixels in four examples of five.
    pepper = masks.pepper(100, (1, 2), 0.9)
    assert pepper.any(axis=(1, 2)).all()
    assert (~pepper).any()
    assert masks.squares(100, (2, 2), 0.9, 2).any(axis=(1, 2)).all()


def test_gives_up_when_nothing_would_ever_be_observed():
    with pytest.raises(ValueError, match=r"\(1, 1\)"):
        masks.pepper(1, (1, 1), 1 - 1e-12)


@pytest.mark.parametrize("p", [0, 1, -0.1, 1.5, float("nan")])
def test_p_must_be_a_probability(p):
    with pytest.raises(ValueError, match=f"received {p}"):
        masks.pepper(1, (8, 8), p)
    with pytest.raises(ValueError, match=f"received {p}"):
        masks.squares(1, (8, 8), p, 2)


def test_sizes_must_fit_the_image():
    with pytest.raises(ValueError, match=r"size .*\b8\b.*8 x 9.*received 9"):
        masks.block(1, (8, 9), 9)
    with pytest.raises(ValueError, match=r"side .*\b8\b.*received 9"):
        masks.squares(1, (8, 9), 0.5, 9)
    with pytest.raises(ValueError, match=r"`size` .*received 0"):
        masks.block(1, (8, 8), 0)
    with pytest.raises(ValueError, match="received size=8"):
        masks.block(1, (8, 8), 8)


@pytest.mark.parametrize("shape", [(), (0, 4), (8,), (2, 8, 8, 1)])
def test_planes_only(shape):
    with pytest.raises(ValueError, match=re.escape(f"received {shape}")):
        masks.block(1, shape, 2)


def test_parse_reads_parameters():
    assert masks.parse("squares:0.9:3") == masks.MaskSpec("squares", p=0.9, size=3)
    np.testing.assert_array_equal(
        masks.parse("squares:0.9:3")(4, (9, 9), seed=5), masks.squares(4, (9, 9), 0.9, 3, seed=5)
    )


@pytest.mark.parametrize("text", ["", "salt:0.9", "Pepper:0.9"])
def test_an_unknown_kind_lists_the_choices(text):
    with pytest.raises(ValueError, match="'pepper:p', 'squares:p:side', 'block:size'"):
        masks.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pepper", "'pepper:p', received 'pepper'"),
        ("pepper:0.9:3", "'pepper:p', received"),
        ("squares:0.9", "'squares:p:side', received"),
        ("pepper:much", "'pepper:p' .*'much'"),
        ("block:2.5", r"'block:size' .*'2\.5'"),
        ("block:0", "`size` .*received 0"),
        ("frames:0.5:3", "'frames:p', received"),
        ("gap:0.5", r"'gap:size' .*'0\.5'"),
        ("pepper:1", r"received 1\.0"),
    ],
)
def test_parse_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        masks.parse(text)


def test_spec_refuses_parameters_of_another_kind():
    with pytest.raises(ValueError, match=r"size.*'block'.*p=0\.5, size=3"):
        masks.MaskSpec("block", p=0.5, size=3)
    with pytest.raises(ValueError, match=r"p and size.*'squares'.*p=0\.5, size=None"):
        masks.MaskSpec("squares", p=0.5)
    with pytest.raises(ValueError, match="'salt'"):
        masks.MaskSpec("salt", p=0.5)

"""Distances by patches: exact in small cases, and in the order in which eyes rank images."""

import re

import numpy as np
import pytest
from scipy import stats

from abp_tf.metrics import nearest_patch_ratio, patches, sliced_wasserstein


def clouds(count: int, seed: int) -> np.ndarray:
    """Draw images whose power falls with the square of the frequency, as that of photographs does."""
    noise = np.random.default_rng(seed).normal(size=(count, 24, 24))
    radius = np.hypot(np.fft.fftfreq(24)[:, None], np.fft.fftfreq(24))
    radius[0, 0] = np.inf
    found = np.fft.ifft2(np.fft.fft2(noise) / radius).real
    return (found / found.std() / 2)[..., None].astype(np.float32)


def blurred(images: np.ndarray) -> np.ndarray:
    rows = (np.roll(images, -1, 1) + images + np.roll(images, 1, 1)) / 3
    return (np.roll(rows, -1, 2) + rows + np.roll(rows, 1, 2)) / 3


def every(images: np.ndarray, size: int, contrast: float) -> np.ndarray:
    """All patches with contrast, one by one."""
    found = [
        image[top : top + size, left : left + size]
        for image in images
        for top in range(images.shape[1] - size + 1)
        for left in range(images.shape[2] - size + 1)
    ]
    return np.array([patch.ravel() for patch in found if patch.std() > contrast])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_ratio_is_that_of_brute_force(channels, monkeypatch):
    monkeypatch.setattr(patches, "_BLOCK", 7)
    random = np.random.default_rng(0)
    images, known, unseen = random.uniform(-1, 1, (3, 3, 8, 9, channels)).astype(np.float32)
    images[0] = 0  # without contrast

    def mean(one):
        pairs = every(one, 4, 0.3)[:, None] - every(known, 4, 0.3)
        return np.linalg.norm(pairs, axis=2).min(axis=1).mean()

    found = nearest_patch_ratio(images, known, unseen, 4, contrast=0.3)
    assert found == pytest.approx(mean(images) / mean(unseen), rel=1e-5)


@pytest.mark.parametrize("size", [5, 9])
def test_grain_is_above_one_and_blur_below(size):
    train, test, other = clouds(200, 1), clouds(60, 2), clouds(60, 3)
    grain = np.random.default_rng(0).normal(size=test.shape)

    def ratio(images):
        return nearest_patch_ratio(images, train, other, size, patches=2000, references=10_000)

    real, little, much = ratio(test), ratio(test + 0.1 * grain), ratio(test + 0.2 * grain)
    assert ratio(blurred(test)) < 0.85 * real
    assert 0.98 < real < 1.02
    assert 1.015 * real < little < 0.97 * much
    shuffled = np.random.default_rng(0).permuted(test.reshape(60, -1), axis=1).reshape(test.shape)
    assert ratio(shuffled) > much


def test_the_numbers_of_patches_and_the_seed_count():
    images, known, unseen = np.random.default_rng(0).normal(size=(3, 4, 20, 20, 1))

    def ratio(**options):
        return nearest_patch_ratio(images, known, unseen, **{"references": 200} | options)

    assert ratio() == ratio()
    assert len({ratio(), ratio(seed=1), ratio(references=100), ratio(patches=50)}) == 4


def test_the_ratio_refuses():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    for wrong in (images[0], images[:, :4], images[:0]):
        with pytest.raises(ValueError, match=f"sides of 5 .*{re.escape(str(wrong.shape))}"):
            nearest_patch_ratio(wrong, images, images)
    with pytest.raises(ValueError, match=r"channels.*\(2, 8, 8, 1\), \(2, 8, 8, 1\), \(2, 8, 8, 3\)"):
        nearest_patch_ratio(images, images, np.repeat(images, 3, -1))
    assert np.isnan(nearest_patch_ratio(0 * images, images, images + 1))
    for real in ((0 * images, images), (images, 0 * images)):
        with pytest.raises(ValueError, match=r"above 0\.15.*none.*`contrast`"):
            nearest_patch_ratio(images, *real)
    with pytest.raises(ValueError, match="NaN"):
        nearest_patch_ratio(np.nan * images, images, images)
    with pytest.raises(ValueError, match="not in the reference"):
        nearest_patch_ratio(images + 1, images, images)


@pytest.mark.parametrize("sizes", [(50, 50), (40, 60), (7, 30), (1, 5)])
def test_one_slice_is_that_of_scipy(sizes):
    random = np.random.default_rng(1)
    a, b = (random.normal(size=(n, 3)) + n for n in sizes)
    wanted = [stats.wasserstein_distance(x, y) for x, y in zip(a.T, b.T, strict=True)]
    np.testing.assert_allclose(patches._wasserstein(a, b), wanted, rtol=1e-9)


def wall(shift: int, side: int = 64) -> np.ndarray:
    """Rows of bricks with dark joints, in two colours."""
    down, right = np.mgrid[:side, shift : shift + side]
    joint = (down % 8 < 2) | ((right + 8 * (down // 8 % 2)) % 16 < 2)
    noise = np.random.default_rng(shift).normal(0, 0.05, (side, side))
    return np.stack([np.where(joint, -0.8, high) + noise for high in (0.6, 0.1)], -1).astype(np.float32)


def test_a_texture_is_farther_the_more_it_is_damaged():
    grain = np.random.default_rng(0).normal(size=(64, 64, 2))
    tiles = wall(5).reshape(16, 4, 16, 4, 2).swapaxes(1, 2).reshape(256, 4, 4, 2)
    tiles = np.random.default_rng(0).permutation(tiles).reshape(16, 16, 4, 4, 2)

    def distance(texture):
        return sliced_wasserstein(texture, wall(0), slices=64)

    another, little = distance(wall(5)), distance(wall(5) + 0.1 * grain)
    assert distance(wall(0)) == 0
    assert another < little < 0.6 * distance(wall(5) + 0.3 * grain)
    assert another < 0.4 * distance(blurred(wall(5)[None])[0])
    assert another < 0.4 * distance(tiles.swapaxes(1, 2).reshape(64, 64, 2))
    assert another < 0.4 * distance(wall(5)[..., ::-1])  # other colours


def test_levels_show_the_scale_of_a_difference():
    def levels(texture):
        return sliced_wasserstein(texture, wall(0), slices=64, per_level=True)

    another = levels(wall(5, 70)[:, :64])
    grainy = levels(wall(5) + 0.3 * np.random.default_rng(0).normal(size=(64, 64, 2)))
    assert (levels(wall(5) + 0.2) > 5 * another).tolist() == [False, False, True]
    assert (grainy > 5 * another).tolist() == [True, False, False]


def test_the_sliced_distance_refuses():
    with pytest.raises(ValueError, match=r"equal channels.*\(64, 64, 2\).*\(64, 64, 1\)"):
        sliced_wasserstein(wall(0), wall(0)[..., :1])
    with pytest.raises(ValueError, match=r"similar sizes.*\(128, 128, 2\).*\(64, 64, 2\)"):
        sliced_wasserstein(wall(0, 128), wall(0))
    with pytest.raises(ValueError, match=r"sides of 16"):
        sliced_wasserstein(wall(0)[:10], wall(0))

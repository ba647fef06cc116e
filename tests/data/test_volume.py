"""Volumes from arrays and NIfTI files."""

import gzip

import numpy as np
import pytest

from abp_tf import data, masks, runs, signals

nibabel = pytest.importorskip("nibabel")
VOLUME = signals.get("volume")
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])


@pytest.fixture
def scans():
    """Five volumes in a unit of their own, from -1000 to 3000."""
    return np.random.default_rng(0).integers(-1000, 3001, (5, 6, 5, 4)).astype(np.int16)


def write(folder, scans, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    for number, scan in enumerate(scans):
        nibabel.save(nibabel.Nifti1Image(scan, affine), folder / f"scan-{number}.nii.gz")
    return f"volume:{folder}"


def test_nifti_files_are_scaled_from_their_least_and_greatest_value(tmp_path, scans):
    scans[0, 0, 0, 0], scans[4, 0, 0, 0] = -1000, 3000
    found = data.load_volume(write(tmp_path / "scans", scans), test_share=0.2)
    assert (found.train.shape, found.test.shape) == ((4, 6, 5, 4, 1), (1, 6, 5, 4, 1))
    assert found.kind == "volume"
    assert found.names == tuple(f"scan-{number}.nii" for number in range(5))
    whole = np.concatenate([found.train, found.test])[..., 0]
    np.testing.assert_allclose(whole, (scans + 1000) / 2000 - 1, atol=1e-6)
    assert (found.header["low"], found.header["high"]) == (-1000, 3000)
    np.testing.assert_array_equal(found.header["affine"], AFFINE)


def test_a_window_cuts_off_what_is_outside(tmp_path, scans):
    source = write(tmp_path / "scans", scans)
    found = data.load_volume(source, window=(0, 1000), test_share=0, limit=2)
    expected = np.clip(scans[:2] / 500 - 1, -1, 1)
    np.testing.assert_allclose(found.train[..., 0], expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"low < high, received \(3, 3\)"):
        data.load_volume(source, window=(3, 3))


def test_written_volumes_are_those_that_were_read(tmp_path, scans):
    found = data.load_volume(write(tmp_path / "scans", scans), test_share=0)
    for name, signal in zip(found.names, found.train, strict=True):
        VOLUME.save(tmp_path / "out" / name.removesuffix(".nii"), signal, found.header)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"scan-{n}{suffix}" for n in range(5) for suffix in (".nii.gz", ".png")}
    written = nibabel.load(tmp_path / "out" / "scan-3.nii.gz")
    np.testing.assert_allclose(written.get_fdata(), scans[3], atol=0.01)
    np.testing.assert_array_equal(written.affine, AFFINE)
    again = data.load_volume(f"volume:{tmp_path / 'out'}", test_share=0)
    np.testing.assert_allclose(again.train, found.train, atol=1e-5)
    assert again.names == found.names


def test_a_deviation_is_written_in_the_unit_of_the_file(tmp_path, scans):
    found = data.load_volume(write(tmp_path / "scans", scans), test_share=0, window=(-1000, 3000))
    deviation = np.full((6, 5, 4, 1), 0.25, np.float32)
    VOLUME.save_deviation(tmp_path / "a", deviation, found.header)
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii.gz").get_fdata(), 500)
    VOLUME.save_deviation(tmp_path / "b", deviation, {})
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), deviation[..., 0])


def test_resized_volumes_lie_where_they_lay(tmp_path):
    ramp = np.broadcast_to(np.arange(8.0)[:, None, None], (8, 4, 4)).astype(np.float32)
    source = write(tmp_path / "scans", [ramp])
    found = data.load_volume(source, size=(4, 4, 2), window=(0, 7), test_share=0)
    assert found.train.shape == (1, 4, 4, 2, 1)
    # The inner voxels are means of two of the old ones, at the middle between them.
    low = found.train[0, 1:3, 0, 0, 0] * 3.5 + 3.5
    np.testing.assert_allclose(low, [2.5, 4.5], atol=1e-5)
    new, old = np.array(found.header["affine"]), AFFINE
    np.testing.assert_allclose(new @ [1, 0, 0, 1], old @ [2.5, 0, 0.5, 1])
    alike = data.load_volume(source, size=(8, 4, 4), test_share=0)
    np.testing.assert_array_equal(alike.header["affine"], AFFINE)


def test_volumes_over_time_are_several(tmp_path, scans):
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(scans, 0, -1), AFFINE), tmp_path / "many.nii")
    found = data.load_volume(f"volume:{tmp_path / 'many.nii'}", test_share=0)
    assert found.train.shape == (5, 6, 5, 4, 1)
    assert found.names == tuple(f"many-{number}.nii" for number in range(1, 6))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5, 4), (1, 6, 5, 4, 1)),
        ((2, 6, 5, 4), (2, 6, 5, 4, 1)),
        ((6, 5, 4, 3), (1, 6, 5, 4, 3)),
        ((2, 6, 5, 4, 1), (2, 6, 5, 4, 1)),
    ],
)
def test_arrays(tmp_path, shape, expected):
    values = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values)
    for source in (f"volume:{tmp_path / 'a.npy'}", f"npz:{tmp_path / 'a.npz'}"):
        found = data.load_volume(source, test_share=0)
        np.testing.assert_array_equal(found.train, values.reshape(expected))
        assert found.header == {}
    eight = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "b.npy", eight)
    found = data.load_volume(f"volume:{tmp_path / 'b.npy'}", test_share=0)
    np.testing.assert_allclose(found.train, eight.reshape(expected) / 127.5 - 1, atol=1e-6)


def test_one_of_several(tmp_path):
    values = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 4))
    np.savez(tmp_path / "a.npz", values)
    found = data.load_volume(f"npz:{tmp_path / 'a.npz'}", item=1, test_share=0)
    np.testing.assert_allclose(found.train[0, ..., 0], values[1], atol=1e-6)


def test_what_cannot_be_used_is_named(tmp_path, scans):
    source = write(tmp_path / "scans", scans)
    torn = gzip.decompress((tmp_path / "scans" / "scan-1.nii.gz").read_bytes())[:400]
    (tmp_path / "scans" / "scan-1.nii.gz").write_bytes(gzip.compress(torn))
    with pytest.warns(UserWarning, match=r"scan-1\.nii\.gz"):
        found = data.load_volume(source, test_share=0)
    assert found.skipped == ("scan-1.nii.gz",)
    assert len(found.train) == 4
    np.save(tmp_path / "bright.npy", np.full((4, 4, 4), 7.0))
    for path, part in [
        ("none.nii", "there is no"),
        ("bright.npy", r"from 7 to 7"),
        ("scans/scan-1.nii.gz", "cannot be read as NIfTI"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=part):
            data.load_volume(f"volume:{tmp_path / path}")
    windowed = data.load_volume(f"volume:{tmp_path / 'bright.npy'}", window=(0, 14), test_share=0)
    assert (windowed.train == 0).all()
    write(tmp_path / "scans", [np.zeros((3, 3, 3), np.float32), scans[1]])
    with pytest.raises(ValueError, match="of one shape"):
        data.load_volume(source)
    with pytest.raises(ValueError, match="'smell'"):
        data.load_volume("smell")


def test_other_affines_are_told(tmp_path, scans):
    write(tmp_path / "scans", scans)
    source = write(tmp_path / "scans", scans[:1], np.eye(4))
    with pytest.warns(UserWarning, match="different affines"):
        found = data.load_volume(source, test_share=0)
    assert "affine" not in found.header
    assert VOLUME.save(tmp_path / "a", found.train[0], found.header).suffix == ".npy"


def test_missing_voxels_want_a_mask(tmp_path, scans):
    whole = scans[:1].astype(np.float32)
    seen = masks.pepper(1, whole.shape[1:], 0.4)
    source = write(tmp_path / "scans", np.where(seen, whole, np.nan))
    with pytest.raises(ValueError, match=r"NaN.*1 \(or True\)"):
        data.load_volume(source)
    np.savez(tmp_path / "masks.npz", seen)
    settings = {"kind": "volume", "data": source, "mask": f"npz:{tmp_path / 'masks.npz'}"}
    found = runs.load_images({**settings, "test_share": 0.0})
    np.testing.assert_array_equal(found.train_mask, seen)
    assert np.isfinite(found.train[..., 0][seen]).all()
    assert np.nanmin(found.train) == -1
    # Hidden voxels are written as such.
    path = VOLUME.save(tmp_path / "a", found.train[0], found.header)
    np.testing.assert_allclose(nibabel.load(path).get_fdata()[seen[0]], whole[seen], rtol=1e-5)
    assert np.isnan(nibabel.load(path).get_fdata()[~seen[0]]).all()
    with pytest.raises(ValueError, match="Leave out size"):
        runs.load_images({**settings, "size": 2, "test_share": 0.0})


def test_a_run_brings_others_to_its_size_and_unit(tmp_path, scans):
    source = write(tmp_path / "scans", scans)
    header = data.load_volume(source, test_share=0).header
    other = write(tmp_path / "others", [np.full((12, 5, 4), 1000, np.int16)])
    settings = {"kind": "volume", "data": source, "size": None, "window": None}
    found = runs.load_like(other, settings, (6, 5, 4, 1), header)
    assert found.train.shape == (1, 6, 5, 4, 1)
    expected = 2 * (1000 - header["low"]) / (header["high"] - header["low"]) - 1
    np.testing.assert_allclose(found.train, expected, atol=1e-5)


def test_a_tile_shows_the_middle_slices():
    volume = np.random.default_rng(0).uniform(-1, 1, (1, 6, 5, 4, 1)).astype(np.float32)
    (tile,) = VOLUME.tiles(volume)
    assert tile.shape == (6, 4 + 1 + 4 + 1 + 5, 1)
    np.testing.assert_array_equal(tile[:5, :4], volume[0, 3])
    np.testing.assert_array_equal(tile[:6, 5:9], volume[0, :, 2])
    np.testing.assert_array_equal(tile[:6, 10:], volume[0, :, :, 2])
    assert (tile[5, :4] == 1).all()
    assert (tile[:, 4] == 1).all()


def test_a_block_is_a_cube():
    drawn = VOLUME.draw_masks("block:3", 20, (8, 7, 6, 1), seed=4)
    assert ((~drawn).sum(axis=(1, 2, 3)) == 27).all()
    assert len({mask.tobytes() for mask in drawn}) > 10
    for numbers, rows in ((5, slice(5)), (np.array([7, 2]), [7, 2])):
        found = VOLUME.draw_masks("block:3", numbers, (8, 7, 6, 1), seed=4)
        np.testing.assert_array_equal(found, drawn[rows])
    for mask in drawn:
        assert [len(np.unique(place)) for place in np.nonzero(~mask)] == [3, 3, 3]
    for spec, shape in [("block:9", (8, 8, 8, 1)), ("block:8", (8, 8, 8, 1))]:
        with pytest.raises(ValueError, match=f"received '{spec}'"):
            VOLUME.draw_masks(spec, 1, shape, 0)

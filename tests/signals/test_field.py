"""The kind of signal "field": units, masks, land, files and pictures."""

import argparse

import numpy as np
import pytest

import abp_tf
from abp_tf import networks, options, runs, signals
from abp_tf.data import load_field, load_fields
from abp_tf.fields import gaps
from tests import made_fields
from train import recover, tally
from train.damaged import Damaged

xarray = pytest.importorskip("xarray")

FIELD = signals.get("field")
COUNT, HEIGHT, WIDTH = 12, 8, 9


@pytest.fixture
def path(tmp_path):
    made_fields.sea(COUNT, HEIGHT, WIDTH).to_netcdf(tmp_path / "sea.nc")
    return tmp_path / "sea.nc"


def test_values_are_in_their_own_units_and_names_are_times(path):
    found = load_fields(f"field:{path}:sst,salt", test_share=0.25)
    field = load_field(path, ["sst", "salt"])
    assert (found.train.shape, found.test.shape) == ((9, HEIGHT, WIDTH, 2), (3, HEIGHT, WIDTH, 2))
    np.testing.assert_array_equal(found.train_mask, field.mask[:9])
    np.testing.assert_array_equal(found.test_mask, field.mask[9:])
    np.testing.assert_array_equal(np.concatenate([found.train, found.test]), field.signal)
    for channel, (low, high) in enumerate(found.header["limits"]):
        seen = field.signal[..., channel][field.mask[..., channel]]
        np.testing.assert_allclose([low, high], np.quantile(seen, [0.005, 0.995]))
    assert not found.train_mask[COUNT // 3].any()  # kept
    assert found.names[:2] == ("2001-01-01.nc", "2001-01-02.nc")
    assert found.header["units"] == ["degC", "g"]
    np.testing.assert_array_equal(FIELD.inside(found.header, field.shape), field.domain)


def test_options_of_the_loader(path):
    found = load_fields(f"field:{path}:sst", times=("2001-01-03", None), every=2, limit=3, test_share=0)
    assert [name[:10] for name in found.names] == ["2001-01-03", "2001-01-05", "2001-01-07"]
    part = load_fields(f"field:{path}:sst", region=[("lon", (0.5, 1.0))])
    assert part.train.shape[1:] == (HEIGHT, 5, 1)
    # As settings and configuration files have it.
    settings = {"kind": "field", "data": f"field:{path}:sst", "region": ["lon=0.5:1", "lat=:30.5"]}
    part = runs.load_images({**settings, "times": "2001-01-03:", "mask": None})
    assert part.train.shape == (9, 4, 5, 1)
    with pytest.raises(ValueError, match=r"entries of .*sst' are hidden"):
        load_fields(f"field:{path}:sst", whole=True)
    data = made_fields.sea(COUNT, HEIGHT, WIDTH)
    complete = data[["sst"]].fillna(20.0).where(data["sea_mask"] == 1).assign(sea_mask=data["sea_mask"])
    complete.to_netcdf(path.with_name("whole.nc"))
    whole = load_fields(f"field:{path.with_name('whole.nc')}", whole=True)
    assert whole.train_mask is None
    inside = FIELD.inside(whole.header, whole.train.shape[1:])
    mean = np.concatenate([whole.train, whole.test])[:, inside].mean()
    np.testing.assert_allclose(whole.train[:, ~inside], mean, rtol=1e-6)  # neither warm nor cold
    scaling = FIELD.scaling(whole, None)
    np.testing.assert_allclose(scaling.scale(whole.train)[:, inside].std(), 1, rtol=1e-5)


def test_models_learn_in_scaled_units_of_what_they_see(path):
    found = load_fields(f"field:{path}:sst,salt")
    mask = runs.training_mask({"mask": "moved", "seed": 3}, found)
    scaling = FIELD.scaling(found, mask)
    assert scaling == abp_tf.Scaling.of(found.train, mask, positions=True)
    spoiled = np.where(mask, found.train, np.float32(1e6))
    assert scaling == FIELD.scaling(found._replace(train=spoiled), mask)
    assert signals.get("image").scaling(found, None) is None


def test_models_learn_differences_from_the_season(path, tmp_path):
    found = load_fields(f"field:{path}:sst,salt", period=9)
    field = load_field(path, ["sst", "salt"])
    np.testing.assert_array_equal(np.concatenate([found.train_time, found.test_time]), field.times)
    scaling = FIELD.scaling(found, found.train_mask)
    times = {"times": field.times[:11], "period": 9}
    expected = abp_tf.Scaling.of(found.train, found.train_mask, positions=True, **times)
    np.testing.assert_array_equal(scaling.centre, expected.centre)
    inside = field.domain
    np.testing.assert_array_equal(scaling.waves[:, inside], expected.waves[:, inside])
    assert np.abs(expected.waves[:, ~inside]).max() > 0  # land has none
    assert not scaling.waves[:, ~inside].any()
    # Times count for a run with a period alone.
    earlier = found._replace(train_time=found.train_time - 1)
    assert runs.describe(found) != runs.describe(earlier)
    plain = found._replace(header=load_fields(f"field:{path}:sst,salt").header)
    assert runs.describe(plain) == runs.describe(plain._replace(train_time=earlier.train_time))
    np.save(tmp_path / "bare.npy", np.arange(160.0).reshape(10, 4, 4))
    with pytest.raises(ValueError, match=r"times.*period 9.*bare.npy"):
        load_fields(f"field:{tmp_path / 'bare.npy'}", period=9)


def test_generators_have_local_latents_by_the_size(path):
    def blocks(shape, **settings):
        return networks.latent_blocks(FIELD.make(FIELD.generator, shape, {"latent_dim": 3, **settings}))

    assert blocks((9, 11, 2)) == ((3,), (5, 6, 6))
    assert blocks((100, 60, 1)) == ((3,), (14, 8, 6))
    assert blocks((100, 60, 1), local=["25x2", "7x1"]) == ((3,), (28, 16, 2), (7, 4, 1))
    for text in ("14", "0x6", "6x-1", "axb"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"POSITIONSxLATENTS.*'{text}'"):
            options.local_grid(text)
    for spec, message in (("sst.nc", "field:PATH"), (f"field:{path}:sand", "'sand'")):
        with pytest.raises(ValueError, match=message):
            load_fields(spec)
    with pytest.raises(FileNotFoundError):
        load_fields("field:nowhere.nc:sst")


def test_a_path_may_hold_colons(tmp_path):
    (tmp_path / "a:b").mkdir()
    file = tmp_path / "a:b" / "c:d.npy"
    np.save(file, np.arange(160.0).reshape(10, 4, 4))
    assert load_fields(f"field:{file}").train.shape == (9, 4, 4, 1)
    assert load_fields(f"field:{file}:field").train.shape == (9, 4, 4, 1)


def test_another_field_has_the_colours_and_the_domain_of_the_first(path, tmp_path):
    first = load_fields(f"field:{path}:sst")
    warmer = made_fields.sea(COUNT, HEIGHT, WIDTH).drop_vars("sea_mask")
    warmer["sst"] = warmer["sst"] + 5
    warmer.to_netcdf(tmp_path / "warmer.nc")
    settings = {"kind": "field", "test_share": 0.1, "seed": 0, "whole": False}
    shape = (HEIGHT, WIDTH, 1)
    other = runs.load_like(f"field:{tmp_path / 'warmer.nc'}:sst", settings, shape, first.header)
    assert other.header == first.header
    mask = first.train_mask
    np.testing.assert_allclose((other.train[: len(mask)] - first.train)[mask], 5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"\(8, 9, 1\), received .*\(8, 9, 2\)"):
        runs.load_like(f"field:{path}:sst,salt", settings, shape, first.header)
    warmer["sst"].attrs["units"] = "K"
    warmer.to_netcdf(tmp_path / "kelvin.nc")
    with pytest.raises(ValueError, match=r"degC.*\['K'\]"):
        runs.load_like(f"field:{tmp_path / 'kelvin.nc'}:sst", settings, shape, first.header)


def test_files_of_the_client_have_their_own_land(path):
    found, own = FIELD.read([f"{path}:sst"], (HEIGHT, WIDTH, 1), {}), load_fields(f"field:{path}:sst")
    assert found.header == own.header
    assert found.train.shape == (COUNT, HEIGHT, WIDTH, 1)
    with pytest.raises(ValueError, match="one file or folder"):
        FIELD.read([str(path), str(path)], (HEIGHT, WIDTH, 1), {})


def test_masks_hide_more_than_the_gaps(path):
    own = load_fields(f"field:{path}:sst,salt").train_mask
    shape = own.shape[1:]
    for spec in ("moved", "pepper:0.5", "block:3"):
        mask = FIELD.draw_masks(spec, len(own), shape, 1, own)
        assert mask.shape == own.shape
        assert not (mask & ~own).any()
        assert (own & ~mask).any()
    np.testing.assert_array_equal(
        own & ~FIELD.draw_masks("moved", len(own), shape, 1, own), gaps.moved(own, 1)
    )
    with pytest.raises(ValueError, match="'moved' expected fields with gaps"):
        FIELD.draw_masks("moved", len(own), shape, 1)
    settings = {"mask": "pepper:0.5", "seed": 1}
    found = runs.training_mask(settings, load_fields(f"field:{path}:sst,salt"))
    np.testing.assert_array_equal(found, FIELD.draw_masks("pepper:0.5", len(own), shape, 1, own))


def test_stored_masks_are_beside_the_gaps(path, tmp_path):
    stored = np.ones((COUNT, HEIGHT, WIDTH), bool)
    stored[:, 5] = False
    np.savez(tmp_path / "masks.npz", stored)
    settings = {"kind": "field", "data": f"field:{path}:sst", "mask": f"npz:{tmp_path / 'masks.npz'}"}
    found, own = runs.load_images(settings), load_fields(f"field:{path}:sst")
    np.testing.assert_array_equal(found.train_mask, own.train_mask & stored[:11, ..., None])
    np.testing.assert_array_equal(found.test_mask, own.test_mask & stored[11:, ..., None])
    np.testing.assert_array_equal(runs.training_mask(settings, found), found.train_mask)


def test_a_frame_is_saved_without_land(path, tmp_path):
    found = load_fields(f"field:{path}:sst,salt")
    source = xarray.load_dataset(path)
    shown = np.where(found.train_mask, found.train, np.nan)
    file = FIELD.save(tmp_path / "a.b", shown[2], found.header)
    assert file == tmp_path / "a.b.nc"
    written = xarray.load_dataset(file)
    for name in ("sst", "salt"):
        np.testing.assert_array_equal(written[name], np.float32(source[name][2]))
        assert written[name].attrs["units"] == source[name].attrs["units"]
    xarray.testing.assert_equal(written["lat"], source["lat"])
    whole = FIELD.save(tmp_path / "whole", np.zeros_like(shown[2]), found.header)
    np.testing.assert_array_equal(np.isnan(xarray.load_dataset(whole)["sst"]), source["sea_mask"] == 0)
    FIELD.save_deviation(tmp_path / "deviation", np.full_like(shown[2], 0.5), found.header)
    sst = xarray.load_dataset(tmp_path / "deviation.nc")["sst"]
    assert np.nanmax(sst.values) == 0.5
    assert sst.attrs == {"units": "degC", "long_name": "deviation of sst"}
    bare = FIELD.save(tmp_path / "bare", shown[2])  # without a header: as it is
    np.testing.assert_array_equal(np.load(bare)[0], shown[2])


def test_maps_are_in_colour_with_grey_gaps_and_white_land(path):
    found = load_fields(f"field:{path}:sst,salt")
    shown = np.where(found.train_mask, found.train, np.nan)
    tiles = FIELD.tiles(shown, found.header)
    assert tiles.shape == (11, HEIGHT, 2 * WIDTH, 3)
    land = ~FIELD.inside(found.header, shown.shape[1:])[..., 0]
    assert (tiles[:, :, :WIDTH][:, land] == 1).all()
    gap = ~found.train_mask[..., 0] & ~land
    assert (tiles[:, :, :WIDTH][gap] == 0).all()
    assert np.ptp(tiles[:, :, :WIDTH][found.train_mask[..., 0]], axis=1).min() > 0.1
    ends = np.float32(found.header["limits"])
    low, high = (FIELD.tiles(shown * 0 + end, found.header) for end in ends.T)
    sea = found.train_mask.all(-1)
    for half in (slice(WIDTH), slice(WIDTH, None)):  # viridis, in both variables
        np.testing.assert_allclose(low[:, :, half][sea][0], [-0.47, -0.99, -0.34], atol=0.01)
        np.testing.assert_allclose(high[:, :, half][sea][0], [0.99, 0.81, -0.71], atol=0.01)
    # Without a header colours are those of the signals.
    alone = FIELD.tiles(shown)
    np.testing.assert_allclose(FIELD.tiles(2 * shown + 8), alone, atol=0.02)


def test_land_never_influences_anything(path, tmp_path):
    """Data that differ on land alone are the same signals, and nothing is returned there."""
    spoiled = made_fields.sea(COUNT, HEIGHT, WIDTH)
    spoiled["sst"][:5, 0, 0] = 40.0  # few: much data outside is an error
    spoiled.to_netcdf(tmp_path / "spoiled.nc")
    first, other = (load_fields(f"field:{one}:sst") for one in (path, tmp_path / "spoiled.nc"))
    assert other.header == first.header
    for name in ("train", "test", "train_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(other, name), getattr(first, name))
    land = made_fields.sea(COUNT, HEIGHT, WIDTH)["sea_mask"].values == 0
    assert not first.train_mask[:, land].any()
    damaged = Damaged(first.train, first.train_mask, None, [], FIELD, first.header)
    found = recover.shown(damaged, first.train)
    np.testing.assert_array_equal(np.isnan(found[..., 0]), np.broadcast_to(land, found.shape[:3]))
    counts = tally.hidden(damaged)
    share = counts["hidden"] / counts["entries"]
    np.testing.assert_allclose(share, 1 - first.train_mask[:, ~land].mean(), rtol=1e-6)

"""Fields with holes: files keep what was observed."""

import os
from pathlib import Path

import numpy as np
import pytest

import abp_tf
from abp_tf.data import field_file, load_field

xarray = pytest.importorskip("xarray")

from tests.made_fields import dataset, draws, observed_entries, raw, stored  # noqa: E402

DATA = Path(os.environ.get("ABP_TF_DATA", "/nowhere"))


class TestFlags:
    def test_what_is_known_of_each_entry(self):
        data = dataset()
        data["sst"][:, 0, 0] = np.nan
        flags = load_field(data).flags()[..., 0]
        mask = data["sst"].notnull().values
        names = field_file.FLAGS
        assert flags.dtype == np.int8
        assert (flags[:, 5, 6] == names["outside_domain"]).all()
        assert (flags[:, 0, 0] == names["never_observed"]).all()
        assert flags[3, 1, 1] == names["frame_without_observation"]
        np.testing.assert_array_equal(flags == names["observed"], mask)
        rest = ~mask & (flags < 2)
        assert rest.any()
        assert (flags[rest] == names["filled"]).all()

    def test_channels_have_their_own(self):
        data = dataset()
        data["b"] = data["sst"].where(data["time"] != data["time"][0])
        flags = load_field(data, ["sst", "b"]).flags()
        assert 2 in flags[0, ..., 1]
        assert 2 not in flags[0, ..., 0]
        assert (flags[3] >= 2).all()


class TestSave:
    @pytest.mark.parametrize(
        ("dtype", "encoding"),
        [
            ("f8", {}),
            ("f4", {"_FillValue": np.float32(-999)}),
            ("f4", {"dtype": "i2", "scale_factor": 0.01, "add_offset": 20.0, "_FillValue": -32768}),
            ("f8", {"dtype": "i4", "scale_factor": 1e-6, "_FillValue": 7}),
            ("f8", {"dtype": "u1", "scale_factor": 0.25, "_FillValue": 0}),
        ],
    )
    def test_observed_values_are_as_they_were(self, tmp_path, dtype, encoding):
        path = stored(tmp_path, dataset(dtype), **encoding)
        field = load_field(path)
        drawn = draws(field)
        field.save(tmp_path / "b.nc", drawn, noise=0.5, settings={"latent_dim": 3}, seed=9)
        before, after = raw(path)["sst"], raw(tmp_path / "b.nc")["sst"]
        mask = field.mask[..., 0]
        assert before.dtype == after.dtype
        assert before.values[mask].tobytes() == after.values[mask].tobytes()
        assert before.attrs.keys() == after.attrs.keys()
        with xarray.open_dataset(path) as old, xarray.open_dataset(tmp_path / "b.nc") as new:
            where = xarray.DataArray(mask, dims=("time", "lat", "lon"))
            xarray.testing.assert_identical(old["sst"].where(where), new["sst"].where(where))
            for name in ("sea_mask", "crs", "lat_bnds", "time", "lat", "lon"):
                xarray.testing.assert_identical(old[name].variable, new[name].variable)
            hidden = ~mask & field.domain[..., 0]
            step = encoding.get("scale_factor", 0)
            found = new["sst"].values
            np.testing.assert_allclose(found[hidden], drawn.mean[..., 0][hidden], atol=step / 2 + 1e-5)
            assert np.isnan(found[:, ~field.domain[..., 0]]).all()

    def test_what_is_beside_the_means(self, tmp_path):
        path = stored(tmp_path, dataset(grid_mapping="crs"))
        field, noise = load_field(path), 0.5
        drawn = draws(field, count=400)
        field.save(tmp_path / "b.nc", drawn, noise=noise, settings={"steps": (1, 2)}, seed=9)
        mask, inside = field.mask[..., 0], field.domain[..., 0]
        hidden = ~mask & inside
        with xarray.open_dataset(tmp_path / "b.nc") as new:
            deviation, members, flag = (new[f"sst_{n}"] for n in ("deviation", "members", "flag"))
            assert deviation.dims == flag.dims == ("time", "lat", "lon")
            assert members.dims == ("member", "time", "lat", "lon")
            assert deviation.dtype == members.dtype == np.float32
            expected = np.sqrt(drawn.deviation[..., 0] ** 2 + noise**2)
            np.testing.assert_allclose(deviation.values[hidden], expected[hidden], rtol=1e-6)
            spread = members.values.std(0)[hidden]
            np.testing.assert_allclose(spread, expected[hidden], rtol=0.2)
            assert abs(spread.mean() / expected[hidden].mean() - 1) < 0.01
            assert (deviation.values[mask] == 0).all()
            assert (members.values[:, mask] == field.signal[..., 0][mask]).all()
            for one in (deviation.values, members.values[0]):
                assert np.isnan(one[:, ~inside]).all()
            np.testing.assert_array_equal(flag, field.flags()[..., 0])
            assert flag.attrs["flag_values"].tolist() == list(field_file.FLAGS.values())
            assert flag.attrs["flag_meanings"].split() == list(field_file.FLAGS)
            assert deviation.attrs["units"] == members.attrs["units"] == "K"
            assert deviation.attrs["standard_name"] == "sea_surface_temperature standard_error"
            assert flag.attrs["standard_name"] == "sea_surface_temperature status_flag"
            assert new.attrs["title"] == "made"
            assert new.attrs["history"].splitlines()[0] == "made"
            assert abp_tf.__version__ in new.attrs["history"].splitlines()[1]
            assert new.attrs["abp_tf_version"] == abp_tf.__version__
            assert new.attrs["abp_tf_seed"] == 9
            assert new.attrs["abp_tf_settings"] == '{"steps": [1, 2]}'
        assert raw(tmp_path / "b.nc")["sst_deviation"].attrs["grid_mapping"] == "crs"
        assert raw(tmp_path / "b.nc").attrs["Conventions"].startswith("CF-")

    def test_the_same_field_gives_the_same_file_and_stays_as_it_was(self, tmp_path):
        field = load_field(stored(tmp_path, dataset()))
        before = field.dataset.copy(deep=True)
        for name in ("b.nc", "c.nc"):
            field.save(tmp_path / name, draws(field), noise=0.1, seed=2)
        xarray.testing.assert_identical(raw(tmp_path / "b.nc"), raw(tmp_path / "c.nc"))
        xarray.testing.assert_identical(before, field.dataset)
        for name, variable in before.variables.items():
            assert variable.encoding == field.dataset.variables[name].encoding

    def test_a_saved_field_is_complete(self, tmp_path):
        field = load_field(stored(tmp_path, dataset()))
        field.save(tmp_path / "b.nc", draws(field), members=2)
        again = load_field(tmp_path / "b.nc", "sst")
        np.testing.assert_array_equal(again.mask, np.broadcast_to(field.domain, field.mask.shape))
        assert raw(tmp_path / "b.nc").sizes["member"] == 2
        field.save(tmp_path / "c.nc", draws(field), members=0)
        assert "sst_members" not in raw(tmp_path / "c.nc")

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data.transpose("lat", "lon", "time", "bnds"),
            lambda data: data.assign(sst=data["sst"].expand_dims("depth", 1)),
            lambda data: data.isel(time=0),
            lambda data: data.drop_vars(["time", "lat", "lon"]),
        ],
    )
    def test_dimensions_stay_as_they_were(self, tmp_path, change):
        path = stored(tmp_path, change(dataset()))
        field = load_field(path)
        field.save(tmp_path / "b.nc", draws(field))
        before, after = raw(path), raw(tmp_path / "b.nc")
        assert before["sst"].dims == after["sst"].dims == after["sst_flag"].dims
        assert ("member", *before["sst"].dims) == after["sst_members"].dims
        kept = before["sst"].notnull()
        xarray.testing.assert_identical(before["sst"].where(kept), after["sst"].where(kept))
        assert (after["sst_flag"].values[kept.values] == 0).all()

    def test_decoded_data_are_kept_bit_for_bit(self, tmp_path):
        options = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 20.0, "_FillValue": -32768}
        data = xarray.load_dataset(stored(tmp_path, dataset(), **options))
        field = load_field(data)
        field.save(tmp_path / "b.nc", draws(field))
        with xarray.open_dataset(tmp_path / "b.nc") as new:
            xarray.testing.assert_identical(data["sst"], new["sst"].where(data["sst"].notnull()))
            xarray.testing.assert_identical(data["time"], new["time"])

    def test_no_code_of_missing_values_is_added(self, tmp_path):
        encoding = {name: {"_FillValue": None} for name in ("sst", "lat", "lon", "time")}
        dataset().to_netcdf(tmp_path / "a.nc", encoding=encoding)
        field = load_field(tmp_path / "a.nc")
        field.save(tmp_path / "b.nc", draws(field))
        old, new = raw(tmp_path / "a.nc"), raw(tmp_path / "b.nc")
        for name in encoding:
            assert old[name].attrs == new[name].attrs

    @pytest.mark.parametrize(
        "valid", [{"valid_range": np.array([-1000, 10], np.int16)}, {"valid_max": np.int16(10)}]
    )
    def test_a_valid_range_of_codes_belongs_to_decoded_values_too(self, tmp_path, valid):
        data = dataset(**valid)
        path = stored(tmp_path, data, dtype="i2", scale_factor=0.01, add_offset=15.0, _FillValue=-9999)
        decoded = xarray.load_dataset(path)
        low = (decoded["sst"] < 15.105).values
        assert 0 < low.sum() < observed_entries().sum()
        for source in (path, decoded):
            field = load_field(source)
            np.testing.assert_array_equal(field.mask[..., 0], low)
            drawn = draws(field)
            with pytest.warns(UserWarning, match="means of 'sst'"):
                field.save(tmp_path / "b.nc", drawn, overwrite=True)
            # Neither a reader of codes nor one of values takes what was written for missing.
            again = load_field(tmp_path / "b.nc", "sst")
            np.testing.assert_array_equal(again.mask.all(axis=0), field.domain)

    def test_several_variables(self, tmp_path):
        data = dataset()
        data["b"] = data["sst"].where(data["sst"] > 14).assign_attrs(units="m")
        data["left_out"] = data["sst"]
        field = load_field(stored(tmp_path, data), ["sst", "b"])
        drawn = draws(field)
        field.save(tmp_path / "b.nc", drawn, noise=[0.5, 2.0])
        new = raw(tmp_path / "b.nc")
        assert "left_out" not in new
        for channel, (name, sigma) in enumerate((("sst", 0.5), ("b", 2.0))):
            hidden = ~field.mask[..., channel] & field.domain[..., channel]
            expected = np.hypot(drawn.deviation[..., channel], sigma)[hidden]
            np.testing.assert_allclose(new[f"{name}_deviation"].values[hidden], expected, rtol=1e-6)

    def test_means_that_the_type_cannot_hold(self, tmp_path):
        options = {"dtype": "u1", "scale_factor": 0.1, "_FillValue": 255}
        field = load_field(stored(tmp_path, dataset() / 2 % 20, **options))
        drawn = draws(field)
        with pytest.warns(UserWarning, match=r"of \d+ means of 'sst'.*25\.5"):
            field.save(tmp_path / "b.nc", drawn._replace(mean=drawn.mean + 100))
        found = raw(tmp_path / "b.nc")["sst"].values
        assert (found[~field.mask[..., 0] & field.domain[..., 0]] == 254).all()

    def test_existing_files_stay(self, tmp_path):
        field = load_field(dataset())
        path = tmp_path / "b.nc"
        path.write_text("mine")
        with pytest.raises(FileExistsError, match=r"b\.nc.*overwrite=True"):
            field.save(path, draws(field))
        assert path.read_text() == "mine"
        field.save(path, draws(field), overwrite=True)
        assert [one.name for one in tmp_path.iterdir()] == ["b.nc"]
        assert "sst_flag" in raw(path)

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (
                lambda drawn: drawn._replace(mean=drawn.mean[1:]),
                {},
                r"mean of shape \(5, 6, 7, 1\).*\(4,",
            ),
            (lambda drawn: drawn._replace(samples=drawn.samples[1:]), {}, "samples of shape"),
            (lambda drawn: drawn._replace(deviation=drawn.deviation * np.nan), {}, "in its deviation"),
            (lambda drawn: drawn, {"noise": -1.0}, "0 or more, received -1.0"),
            (lambda drawn: drawn, {"noise": [1.0, 2.0]}, r"received shape \(2,\)"),
            (lambda drawn: drawn, {"members": -1}, "`members`.*-1"),
        ],
    )
    def test_what_is_refused(self, tmp_path, change, options, message):
        field = load_field(dataset())
        with pytest.raises(ValueError, match=message):
            field.save(tmp_path / "b.nc", change(draws(field)), **options)
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not (DATA / "alboran_sst.nc").is_file(), reason="no alboran_sst.nc in $ABP_TF_DATA")
def test_a_real_file(tmp_path):
    path = DATA / "alboran_sst.nc"
    field = load_field(path)
    assert field.shape == (201, 301, 1)
    assert field.names == ("SST",)
    assert field.outside == 19
    sea = raw(path)["mask"].values == 1
    np.testing.assert_array_equal(field.domain[..., 0], sea)
    assert round(1 - field.mask.sum() / (10 * sea.sum()), 3) == 0.454
    np.testing.assert_array_equal(np.diff(field.times), [1, 1, 1, 1, 1, 1, 1, 2, 1])
    field.save(tmp_path / "b.nc", draws(field, 2), noise=0.3)
    with xarray.open_dataset(path) as old, xarray.open_dataset(tmp_path / "b.nc") as new:
        xarray.testing.assert_identical(old["SST"], new["SST"].where(old["SST"].notnull()))
        assert (new["SST"].notnull() == (sea | old["SST"].notnull())).all()

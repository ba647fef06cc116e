"""Fields with holes: what is read of files, and what is refused."""

import sys

import numpy as np
import pytest

import abp_tf
from abp_tf.data import load_field

xarray = pytest.importorskip("xarray")

from tests.made_fields import (  # noqa: E402
    COUNT,
    HEIGHT,
    WIDTH,
    dataset,
    draws,
    observed_entries,
    raw,
    stored,
    values,
)


class TestErrors:
    """Standard errors of a variable, which are another variable."""

    def made(self, units="K"):
        data = dataset()
        errors = np.random.default_rng(2).uniform(0.1, 0.5, (COUNT, HEIGHT, WIDTH))
        missing = np.where(observed_entries(), errors, np.nan)
        return data.assign(sst_error=(("time", "lat", "lon"), missing, {"units": units})), errors

    def test_they_come_with_the_field(self, tmp_path):
        data, errors = self.made()
        field = load_field(stored(tmp_path, data), sigma="sst_error")
        assert field.names == ("sst",)
        assert set(field) == {"signal", "mask", "sigma", "time"}
        assert len(field) == 4
        np.testing.assert_allclose(field["sigma"][field.mask], errors[field.mask[..., 0]], rtol=1e-6)
        assert "sst_error" not in field.dataset
        plain = load_field(stored(tmp_path, data), "sst")
        assert set(plain) == {"signal", "mask", "time"}
        with pytest.raises(KeyError):
            plain["sigma"]

    @pytest.mark.parametrize(
        ("sigma", "received"),
        [("error", "'error'"), (["sst_error"] * 2, "sst_error"), ("lat_bnds", "lat_bnds")],
    )
    def test_names_that_cannot_be(self, sigma, received):
        with pytest.raises(ValueError, match=received):
            load_field(self.made()[0], "sst", sigma=sigma)

    def test_errors_that_cannot_be(self):
        with pytest.raises(ValueError, match="'K', received 'm'"):
            load_field(self.made("m")[0], sigma="sst_error")
        data, _ = self.made()
        data["sst_error"][0] = np.nan
        with pytest.raises(ValueError, match=r"Sigma.*nan"):
            load_field(data, sigma="sst_error")


class TestLoad:
    def test_what_a_file_holds(self, tmp_path):
        field = load_field(stored(tmp_path, dataset()))
        mask = observed_entries()[..., None]
        assert field.shape == (HEIGHT, WIDTH, 1)
        assert (field.signal.dtype, field.mask.dtype, field.domain.dtype) == (np.float32, bool, bool)
        np.testing.assert_array_equal(field.mask, mask)
        np.testing.assert_array_equal(
            field.signal, np.where(mask, values()[..., None], 0).astype(np.float32)
        )
        np.testing.assert_array_equal(field.domain[..., 0], dataset()["sea_mask"] == 1)
        start = (np.datetime64("2001-02-03") - np.datetime64(0, "D")).astype(int)
        np.testing.assert_allclose(field.times, start + np.array([0.5, 1.5, 2.5, 4.5, 7.5]))
        assert (field.names, field.units) == (("sst",), ("K",))
        assert "5 frames of 6 x 7" in repr(field)
        assert "sst [K]" in repr(field)

    def test_it_is_a_mapping_of_signal_and_mask(self):
        field = load_field(dataset())
        assert set(field) == {"signal", "mask", "time"}
        assert dict(field)["signal"] is field.signal
        assert field.get("index") is None
        with pytest.raises(KeyError, match="times"):
            field["times"]

    @pytest.mark.parametrize(
        "opener",
        [
            lambda path: path,
            str,
            lambda path: [path],
            lambda path: path.parent,
            xarray.open_dataset,
            xarray.load_dataset,
            lambda path: xarray.open_dataset(path, decode_cf=False),
            lambda path: xarray.open_dataset(path)["sst"],
            lambda path: xarray.open_dataset(path)["sst"].transpose("lat", "lon", "time"),
            lambda path: xarray.open_dataset(path)[["sst"]].expand_dims("depth", 1),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_sources(self, tmp_path, opener, packed):
        options = {"dtype": "i2", "scale_factor": 0.001, "add_offset": 15.0, "_FillValue": -7}
        path = stored(tmp_path, dataset(), **(options if packed else {}))
        field = load_field(opener(path), domain="observed")
        mask = observed_entries()[..., None]
        np.testing.assert_array_equal(field.mask, mask)
        np.testing.assert_allclose(
            field.signal[mask], values()[..., None][mask], atol=6e-4 if packed else 1e-5
        )
        assert field.times[1] - field.times[0] == 1

    @pytest.mark.parametrize("rank", [2, 3, 4])
    def test_arrays(self, tmp_path, rank):
        array = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
        array[0, 1, 2] = np.nan
        array = {2: array[0, ..., 0], 3: array[..., 0], 4: array}[rank]
        expected = (
            {2: array[None, ..., None], 3: array[..., None], 4: array}[rank] if rank < 4 else array
        )
        np.save(tmp_path / "a.npy", array)
        np.savez(tmp_path / "a.npz", x=array, other=np.zeros(3))
        names = {2: "x", 3: "x", 4: ["x_0", "x_1"]}[rank]
        ours = {2: "field", 3: "field", 4: ["field_0", "field_1"]}[rank]
        masked = np.ma.masked_invalid(array)
        masked.data[masked.mask] = 1e30
        for source, variable in (
            (tmp_path / "a.npy", None if rank < 4 else ours),
            (tmp_path / "a.npz", names),
            (array, ours),
            (masked, ours),
        ):
            field = load_field(source, variable)
            np.testing.assert_array_equal(field.mask, ~np.isnan(expected))
            np.testing.assert_array_equal(field.signal, np.nan_to_num(expected))
            assert field.times is None

    def test_an_npz_with_times(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=values(), y=values()[0], time=np.arange(COUNT) * 8)
        field = load_field(tmp_path / "a.npz", "x")
        np.testing.assert_array_equal(field.times, np.arange(COUNT) * 8)

    def test_zarr(self, tmp_path):
        pytest.importorskip("zarr")
        dataset().to_zarr(tmp_path / "a", consolidated=False, zarr_format=2)
        field = load_field(tmp_path / "a")
        np.testing.assert_array_equal(field.mask[..., 0], observed_entries())
        assert field.domain.sum() < field.domain.size

    def test_several_variables_are_channels_with_masks_of_their_own(self, tmp_path):
        data = dataset().rename(sst="a")
        data["b"] = data["a"].where(data["a"] > 14).astype(np.float32).assign_attrs(units="m")
        path = tmp_path / "a.nc"
        data.to_netcdf(path)
        field = load_field(path, ["b", "a"])
        assert (field.names, field.units, field.shape[-1]) == (("b", "a"), ("m", "K"), 2)
        np.testing.assert_array_equal(field.mask[..., 0], data["b"].notnull())
        np.testing.assert_array_equal(field.mask[..., 1], data["a"].notnull())

    def test_flags_are_no_field_to_choose(self):
        data = dataset()
        data["quality"] = data["sst"].notnull().astype("i1").assign_attrs(flag_meanings="bad good")
        assert load_field(data).names == ("sst",)

    def test_a_grid_of_curves(self, tmp_path):
        data = dataset().drop_vars(["lat", "lon", "lat_bnds"]).rename(lat="y", lon="x")
        data = data.assign_coords(lat=(("y", "x"), np.ones((HEIGHT, WIDTH))))
        path = stored(tmp_path, data)
        field = load_field(path)
        field.save(tmp_path / "b.nc", draws(field))
        new = xarray.load_dataset(tmp_path / "b.nc")
        assert {"lat", "time"} <= set(new["sst_deviation"].coords)
        np.testing.assert_array_equal(field.mask[..., 0], observed_entries())

    def test_parts(self, tmp_path):
        field = load_field(
            stored(tmp_path, dataset()),
            isel={"time": slice(1, 3), "lat": slice(0, 4), "lon": slice(1, 5)},
        )
        np.testing.assert_array_equal(field.mask[..., 0], observed_entries()[1:3, :4, 1:5])

    @pytest.mark.parametrize(
        ("times", "frames"),
        [
            (("2001-02-04", None), [1, 2, 3, 4]),
            (("2001-02-04", "2001-02-05"), [1, 2]),
            ((None, "2001-02-05T11"), [0, 1]),
            (("2001-02-05T12:00", "2001-02"), [2, 3, 4]),
            ((2001, 2001), [0, 1, 2, 3, 4]),
        ],
    )
    def test_parts_by_time(self, tmp_path, times, frames):
        path = stored(tmp_path, dataset())
        found, whole = load_field(path, times=times), load_field(path)
        np.testing.assert_array_equal(found.times, whole.times[frames])
        np.testing.assert_array_equal(found.signal, whole.signal[frames])

    def test_parts_of_several_files_and_of_the_map(self, tmp_path):
        first, second = dataset(), dataset()
        second["time"] = second["time"] + 10
        paths = [stored(tmp_path, data, f"{i}.nc") for i, data in enumerate((first, second))]
        region = {"lat": (30.3, None), "lon": (0.5, 1.5)}
        found = load_field(paths, every=2, region=region)
        whole = load_field(paths)
        lat, lon = np.linspace(30, 31, HEIGHT) >= 30.3, abs(np.linspace(0, 2, WIDTH) - 1) <= 0.5
        np.testing.assert_array_equal(found.signal, whole.signal[::2][:, lat][:, :, lon])
        np.testing.assert_array_equal(found.domain, whole.domain[lat][:, lon])
        assert found.times.tolist() == whole.times[::2].tolist()
        later = load_field(paths, times=("2001-02-13", None))
        np.testing.assert_array_equal(later.signal, whole.signal[5:])
        plain = dataset().assign_coords(time=np.arange(5) / 10)
        assert load_field(plain, times=("0.2", 0.3)).signal.shape[0] == 2

    def test_nothing_but_the_part_is_read(self, tmp_path):
        import h5py

        path = stored(tmp_path, dataset(), zlib=True, chunksizes=(1, HEIGHT, WIDTH))
        with h5py.File(path) as file:
            chunk = file["sst"].id.get_chunk_info(0)
        with open(path, "r+b") as file:
            file.seek(chunk.byte_offset)
            file.write(bytes(chunk.size))
        with pytest.raises(OSError, match=r"filter|decompress"):
            load_field(path)
        assert load_field(path, times=("2001-02-04", None)).mask.any()

    @pytest.mark.parametrize(
        ("units", "calendar", "expected"),
        [
            ("hours since 1970-01-01", "standard", np.array([0, 1, 2, 3, 59]) / 24),
            ("days since 1971-01-01", "noleap", 365 + np.array([0, 1, 2, 3, 59])),
            ("days since 1971-01-01", "360_day", 360 + np.array([0, 1, 2, 3, 59])),
            ("hours", None, np.array([0, 1, 2, 3, 59]) / 24),
            (None, None, np.array([0, 1, 2, 3, 59])),
        ],
    )
    def test_times(self, tmp_path, units, calendar, expected):
        data = dataset()
        attributes = {"units": units, "calendar": calendar}
        attributes = {key: value for key, value in attributes.items() if value}
        data = data.assign_coords(time=("time", [0, 1, 2, 3, 59], attributes))
        np.testing.assert_allclose(load_field(stored(tmp_path, data)).times, expected)

    def test_a_unit_of_time_nobody_understands(self):
        data = dataset().assign_coords(time=("time", range(COUNT), {"units": "day as %Y%m%d"}))
        with pytest.warns(UserWarning, match="'day as %Y%m%d' of 'time'"):
            assert load_field(data).times is None


class TestDomain:
    INSIDE = dataset()["sea_mask"].values == 1

    @pytest.mark.parametrize(
        ("domain", "change"),
        [
            (None, lambda data: data),
            ("sea_mask", lambda data: data),
            ("~sea_mask", lambda data: data.assign(sea_mask=1 - data["sea_mask"])),
            ("depth", lambda data: data.rename(sea_mask="depth")),
            (
                "sea_mask",
                lambda data: data.assign(sea_mask=data["sea_mask"].where(data["sea_mask"] == 1)),
            ),
            (None, lambda data: data.assign(sea_mask=data["sea_mask"].expand_dims(one=1))),
            (None, lambda data: data.assign(sea_mask=data["sea_mask"].T == 1)),
            (
                None,
                lambda data: data.assign(
                    sea_mask=(1 - data["sea_mask"]).assign_attrs(standard_name="land_binary_mask")
                ),
            ),
            (INSIDE, lambda data: data),
            (INSIDE[..., None], lambda data: data),
            ("observed", lambda data: data.drop_vars("sea_mask")),
        ],
    )
    def test_ways_to_give_it(self, domain, change):
        field = load_field(change(dataset()), domain=domain)
        np.testing.assert_array_equal(field.domain[..., 0], self.INSIDE)

    def test_without_one_everything_is_inside(self):
        assert load_field(dataset(), domain=False).domain.all()
        assert load_field(dataset().drop_vars("sea_mask")).domain.all()
        fraction = dataset().assign(sea_mask=dataset()["sea_mask"] * 0.5)
        assert load_field(fraction).domain.all()

    def test_a_few_observations_outside_are_hidden_flagged_and_kept(self, tmp_path):
        data = dataset().isel(time=np.repeat([0, 1, 2, 4], 50)).drop_vars("time")
        data["sst"][7, 5, 6] = 3.5
        path = stored(tmp_path, data)
        field = load_field(path)
        assert field.outside == 1
        assert "1 observed entries outside" in repr(field)
        assert not field.mask[7, 5, 6]
        assert field.signal[7, 5, 6] == 0
        assert field.flags()[7, 5, 6] == 4
        field.save(tmp_path / "b.nc", draws(field))
        assert raw(tmp_path / "b.nc")["sst"].values[7, 5, 6] == 3.5

    @pytest.mark.parametrize(
        ("domain", "change", "message"),
        [
            ("land", {}, r"sea_mask, crs, .*'land'"),
            ("lat", {}, r"\('lat', 'lon'\), received 'lat'"),
            ("sst", {}, r"'sst'"),
            (
                "sea_mask",
                {"sea_mask": dataset()["sea_mask"] * 3},
                r"0 and 1, received \[0 3\] in 'sea_mask'",
            ),
            (INSIDE[:5], {}, r"\(6, 7\) or \(6, 7, 1\), received bool of \(5, 7\)"),
            (INSIDE * 1, {}, r"received int64 of \(6, 7\)"),
            ("~sea_mask", {}, r"of \d+ are outside by '~sea_mask'.*row 0, .*inverted.*'~NAME'"),
            (None, {"sea_mask": dataset()["sea_mask"] * 0}, r"outside by 'sea_mask'.*inverted"),
            (None, {"sea_mask": dataset()["sea_mask"] * np.eye(6, 7)}, r"outside by 'sea_mask', the"),
            (None, {"mask_of_land": dataset()["sea_mask"]}, r"sea_mask, mask_of_land"),
        ],
    )
    def test_what_is_refused(self, domain, change, message):
        with pytest.raises(ValueError, match=message):
            load_field(dataset().assign(change), domain=domain)


def swapped(data):
    return data.isel(time=[0, 1, 3, 2, 4])


BAD = {
    "unknown": (lambda data: data, {"variable": "SST"}, r"'SST'.*sst \(time: 5, lat: 6, lon: 7\)"),
    "none": (lambda data: data, {"variable": []}, "at least one"),
    "twice": (lambda data: data, {"variable": ["sst", "sst"]}, "'sst', 'sst'"),
    "text": (lambda data: data.assign(sst=data["sst"].astype(str)), {"variable": "sst"}, "'sst'"),
    "a choice": (lambda data: data.assign(b=data["sst"]), {}, "found 2: sst .*, b .*variable=NAME"),
    "two grids": (
        lambda data: data.assign(b=(("time", "y", "x"), np.zeros((5, 2, 3)))),
        {"variable": ["sst", "b"]},
        r"sst \(time: 5, lat: 6, lon: 7\), b \(time: 5, y: 2, x: 3\)",
    ),
    "levels": (
        lambda data: data.assign(sst=data["sst"].expand_dims(depth=3)),
        {},
        r"depth: 3.*isel=\{'depth': 0\}",
    ),
    "no map": (lambda data: data.isel(lat=0, lon=0), {"variable": "sst"}, r"sst \(time: 5\)"),
    "back in time": (swapped, {}, r"2001-02-05T12.* after 2001-02-07T12.*frame 3.*sortby\('time'\)"),
    "time that stands": (lambda data: data.isel(time=[0, 1, 1]), {}, "frame 2.*drop_duplicates"),
    "missing time": (
        lambda data: data.assign_coords(time=[0.0, 1, np.nan, 3, 4]),
        {},
        "nan for frame 2 in 'time'",
    ),
    "infinite": (
        lambda data: data.assign(sst=data["sst"] / (data["lat"] > 30.1)),
        {},
        "inf in frame 0",
    ),
    "beyond float32": (lambda data: data.assign(sst=data["sst"] * 1e38), {}, r"e\+39 in frame 0"),
    "nothing": (lambda data: data.assign(sst=data["sst"] * np.nan), {}, "observed entry of sst"),
    "dimension": (lambda data: data, {"isel": {"depth": 0}}, r"'time': 5.*\['depth'\]"),
    "memory for a row": (
        lambda data: data,
        {"memory": 250},
        r"0 whole frames.*isel=\{'lat': slice\(0, 2\)\}",
    ),
    "times": (lambda data: data, {"times": ("2004", None)}, r"from 2001-02-03.* to 2001-02-10.*2004"),
    "no times": (lambda data: data.drop_vars("time"), {"times": (1, 2)}, "has none"),
    "region": (lambda data: data, {"region": {"lat": (40, 50)}}, "'lat'.*30 to 31.*40 to 50"),
    "coordinate": (lambda data: data, {"region": {"depth": (0, 1)}}, r"\['lat', 'lon'\].*'depth'"),
    "every": (lambda data: data, {"every": 0}, "`every`"),
    "memory": (lambda data: data, {"memory": 1500}, r"5 frames.*2 whole frames.*'time': slice\(0, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(tmp_path, name):
    change, options, message = BAD[name]
    sources = [change(dataset())]
    if name not in ("text", "beyond float32"):
        sources.append(stored(tmp_path, sources[0]))
    for source in sources:
        with pytest.raises(ValueError, match=message):
            load_field(source, **options)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r'pip install "abp_tf\[fields\]"'):
        load_field(values())


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "a.nc").write_text("no data")
    (tmp_path / "empty").mkdir()
    for path, error, message in (
        ("a.nc", ValueError, "a.nc' cannot be read"),
        ("b.nc", FileNotFoundError, "b.nc"),
        ("empty", FileNotFoundError, "empty"),
    ):
        with pytest.raises(error, match=message):
            load_field(tmp_path / path)
    with pytest.raises(ValueError, match="empty list"):
        load_field([])


class TestSeveralFiles:
    def write(self, folder, parts, **encoding):
        for number, part in enumerate(parts):
            stored(folder, part, f"{number + 8}.nc", **encoding)  # 10.nc comes after 9.nc
        return folder

    def test_follow_each_other(self, tmp_path):
        data = dataset().drop_encoding()
        folder = self.write(tmp_path, [data.isel(time=slice(at, at + 2)) for at in (0, 2, 4)])
        field, whole = load_field(folder), load_field(data)
        for key in ("signal", "mask", "domain", "times"):
            np.testing.assert_array_equal(getattr(field, key), getattr(whole, key))
        field.save(tmp_path / "b.nc", draws(field))
        old, new = raw(tmp_path / "8.nc"), raw(tmp_path / "b.nc")
        np.testing.assert_array_equal(new["time"], data["time"])
        assert new["time"].attrs.keys() == old["time"].attrs.keys()
        xarray.testing.assert_identical(old["sea_mask"], new["sea_mask"])

    def test_may_count_time_from_other_days(self, tmp_path):
        first, second = dataset().isel(time=slice(0, 2)), dataset().isel(time=slice(2, 5))
        attributes = {"units": "hours since 2001-02-05", "calendar": "standard"}
        second = second.assign_coords(time=("time", [12, 60, 132], attributes))
        field = load_field(self.write(tmp_path, [first, second]))
        np.testing.assert_allclose(field.times, load_field(dataset()).times)
        field.save(tmp_path / "b.nc", draws(field))
        with (
            xarray.open_dataset(tmp_path / "b.nc") as new,
            xarray.open_dataset(tmp_path / "9.nc") as old,
        ):
            np.testing.assert_array_equal(new["time"][2:], old["time"])

    def test_may_be_single_maps(self, tmp_path):
        data = dataset()
        field = load_field(self.write(tmp_path, [data.isel(time=at) for at in range(COUNT)]))
        np.testing.assert_array_equal(field.mask[..., 0], observed_entries())
        np.testing.assert_allclose(field.times, load_field(data).times)

    def test_of_arrays(self, tmp_path):
        for number, part in enumerate(values()):
            np.save(tmp_path / f"{number}.npy", part)
        paths = sorted(tmp_path.iterdir())
        np.testing.assert_allclose(load_field(paths).signal[..., 0], values(), rtol=1e-6)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda data: data.assign(sst=data["sst"].assign_attrs(units="degC")),
                "'units'.*'K'.*'degC'",
            ),
            (lambda data: data.rename(sst="SST"), r"Expected 'sst' in each file.*9\.nc' has SST"),
            (lambda data: data.isel(lat=slice(0, 5)), r"'lat': 6.*'lat': 5"),
            (lambda data: data.assign_coords(lat=data["lat"] + 1), "other coordinates"),
            (lambda data: data.assign(sst=data["sst"].astype("f4")), "float64.*float32"),
            (lambda data: data.isel(time=[0]), "frame 2"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, tmp_path, change, message):
        parts = [dataset().isel(time=[0, 1]), change(dataset().isel(time=[2, 3]))]
        if "frame 2" in message:
            parts[1] = dataset().isel(time=[1, 2])
        with pytest.raises(ValueError, match=message):
            load_field(self.write(tmp_path, parts))

    def test_that_are_packed_differently_are_refused(self, tmp_path):
        for number, scale in enumerate((0.01, 0.02)):
            part = dataset().isel(time=[2 * number, 2 * number + 1])
            stored(tmp_path, part, f"{number}.nc", dtype="i2", scale_factor=scale, _FillValue=-9)
        with pytest.raises(ValueError, match=r"'scale_factor'.*0\.01.*0\.02.*xarray\.concat"):
            load_field(tmp_path)


def test_geotiff(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("rioxarray")
    stack = np.where(observed_entries(), np.rint(values() * 10), -99).astype(np.int16)
    profile = {
        "driver": "GTiff",
        "height": HEIGHT,
        "width": WIDTH,
        "dtype": "int16",
        "nodata": -99,
        "crs": "EPSG:32630",
        "transform": rasterio.transform.from_origin(1000, 9000, 30, 30),
    }
    with rasterio.open(tmp_path / "a.tif", "w", count=COUNT, **profile) as file:
        file.write(stack)
    field = load_field(tmp_path / "a.tif")
    np.testing.assert_array_equal(field.mask[..., 0], observed_entries())
    np.testing.assert_array_equal(field.signal[..., 0], np.where(stack == -99, 0, stack))
    field.save(tmp_path / "b.nc", draws(field))
    after = raw(tmp_path / "b.nc")
    assert "EPSG" in after["spatial_ref"].attrs["crs_wkt"]
    assert after["x"].values[0] == 1015
    (tmp_path / "many").mkdir()
    for number, band in enumerate(stack):
        with rasterio.open(tmp_path / "many" / f"{number}.tif", "w", count=1, **profile) as file:
            file.write(band[None])
    many = load_field(tmp_path / "many")
    np.testing.assert_array_equal(many.signal, field.signal)


class TestModels:
    @pytest.fixture
    def field(self):
        data = np.random.default_rng(0).uniform(-1, 1, (12, 8, 8, 1))
        data[np.random.default_rng(1).uniform(size=data.shape) < 0.3] = np.nan
        return load_field(data)

    def test_a_field_is_data(self, make_model, field):
        model = make_model()
        model.fit(field, batch_size=12, verbose=0)
        latents = model.infer(field)
        np.testing.assert_array_equal(latents, model.infer(field.signal, field.mask))
        found = model.evaluate(field, batch_size=12, return_dict=True, verbose=0)
        assert np.isfinite(found["reconstruction_error"])
        with pytest.raises(ValueError, match=r'"mask", and another.*x\["signal"\]'):
            model.infer(field, field.mask)

    def test_a_field_is_data_of_baselines(self, field):
        pca = abp_tf.baselines.PCA(2, value_range=None).fit(field)
        np.testing.assert_array_equal(pca.infer(field), pca.infer(field.signal, field.mask))

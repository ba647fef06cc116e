"""Fields that tests make: a sea with holes, its files, and draws of it."""

import numpy as np
import xarray

from abp_tf.results import PosteriorSamples

COUNT, HEIGHT, WIDTH = 5, 6, 7


def observed_entries():
    """Holes in one corner, in random entries, one frame without observations, one position without."""
    mask = np.random.default_rng(1).uniform(size=(COUNT, HEIGHT, WIDTH)) > 0.3
    mask[:, 4:, 5:] = False
    mask[3] = False
    return mask


def values():
    return np.random.default_rng(0).normal(15, 3, (COUNT, HEIGHT, WIDTH))


def dataset(dtype="f8", **attributes):
    """Return a dataset as it is after decoding, of a field `sst` with land and coordinates."""
    sst = np.where(observed_entries(), values(), np.nan).astype(dtype)
    land = np.zeros((HEIGHT, WIDTH), np.int8)
    land[:4] = 1
    land[4:, :5] = 1
    return xarray.Dataset(
        {
            "sst": (
                ("time", "lat", "lon"),
                sst,
                {"units": "K", "standard_name": "sea_surface_temperature", **attributes},
            ),
            "sea_mask": (("lat", "lon"), land),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude"}),
            "lat_bnds": (("lat", "bnds"), np.zeros((HEIGHT, 2))),
        },
        {
            "time": (
                "time",
                np.array([0.5, 1.5, 2.5, 4.5, 7.5]),
                {"units": "days since 2001-02-03", "calendar": "standard"},
            ),
            "lat": (
                "lat",
                np.linspace(30, 31, HEIGHT),
                {"units": "degrees_north", "bounds": "lat_bnds"},
            ),
            "lon": ("lon", np.linspace(0, 2, WIDTH, dtype=np.float32), {"units": "degrees_east"}),
        },
        {"title": "made", "history": "made"},
    )


def stored(folder, data, name="a.nc", **encoding):
    path = folder / name
    data.to_netcdf(path, encoding={"sst": encoding} if encoding else {})
    return path


def draws(field, count=4, seed=5):
    shape = (len(field.signal), count, *field.shape)
    samples = np.random.default_rng(seed).normal(15, 1, shape).astype(np.float32)
    return PosteriorSamples(samples, samples.mean(1), samples.std(1))


def raw(path):
    return xarray.open_dataset(path, decode_cf=False).load()


def sea(count, height, width):
    """Return waves of two variables with connected gaps, land, an empty frame and an empty position."""
    random, mask = np.random.default_rng(0), np.ones((count, height, width), bool)
    for of_frame in mask:
        top, left = random.integers(0, height - 4), random.integers(0, width - 4)
        of_frame[top : top + 4, left : left + 4] = False
    mask[count // 3] = mask[:, 4, 4] = False
    mask[:, :2, :3] = False
    water = np.ones((height, width), np.int8)
    water[:2, :3] = 0
    (y, x), t = np.mgrid[:height, :width], np.arange(count)
    sst = 15 + 3 * np.cos(t / 3)[:, None, None] * np.sin(y / 4) + x / 4
    salt = np.where(mask & (random.random(mask.shape) > 0.2), 100 - 2 * sst, np.nan)
    dims = ("time", "lat", "lon")
    return xarray.Dataset(
        {
            "sst": (dims, np.where(mask, sst, np.nan), {"units": "degC"}),
            "salt": (dims, salt, {"units": "g"}),
            "sea_mask": (("lat", "lon"), water),
        },
        {
            "time": ("time", t, {"units": "days since 2001-01-01"}),
            "lat": ("lat", np.linspace(30, 31, height), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(0, 1, width), {"units": "degrees_east"}),
        },
    )

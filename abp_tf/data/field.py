"""Load fields with holes on a grid from NetCDF and other files: `load_field` returns a `Field`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from abp_tf import checks, files
from abp_tf.data import domain as domains
from abp_tf.data import field_file, grid_files, grids, joining, selection
from abp_tf.data.field_file import FLAGS
from abp_tf.data.lazy import LazyRows

if TYPE_CHECKING:
    import xarray

    from abp_tf.results import PosteriorSamples


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Field(Mapping):
    """Maps of one or more variables over time, with holes.

    It is a mapping with the keys "signal" and "mask" and, if they are known, "time" and "sigma", so
    that models take it as data: `model.fit(field)`, `model.inpaint(field)`, `model.evaluate(field)`.

    Attributes:
        signal: values in their own units, float32 `[n, h, w, channels]`; 0 where hidden.
        mask: bool of the same shape, True = observed.
        domain: bool `[h, w, channels]`; False where nothing is ever asked or shown, such as land.
        times: days of the frames, float64 `[n]`: since 1970-01-01 in the calendar of the file if it has
            dates; None if the frames have no times.
        names: names of the variables, one for each channel.
        units: units of the variables, "" if unknown.
        axes: names of the dimensions of frames, rows and columns.
        dataset: the variables as they are stored, undecoded, with coordinates and attributes.
        outside: number of observed entries outside the domain: they are hidden from models, flagged as
            outside, and kept in files.
        sigma: standard deviation of the noise of each entry, float32 of the shape of `signal`; None if
            it is not known.
    """

    signal: np.ndarray
    mask: np.ndarray
    domain: np.ndarray
    times: np.ndarray | None
    names: tuple[str, ...]
    units: tuple[str, ...]
    axes: grids.Axes
    dataset: xarray.Dataset
    outside: int
    sigma: np.ndarray | None = None

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in set(self):
            raise KeyError(key)
        return getattr(self, "times" if key == "time" else key)

    def __iter__(self) -> Iterator[str]:
        known = {"time": self.times is not None, "sigma": self.sigma is not None}
        return iter(("signal", "mask", *(key for key, there in known.items() if there)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        count, height, width, _ = self.signal.shape
        names = ", ".join(f"{n} [{u}]" if u else n for n, u in zip(self.names, self.units, strict=True))
        size = f"{count} frames of {height} x {width}"
        if isinstance(self.mask, LazyRows):
            return f"<Field {names}: {size}, read when they are needed>"
        hidden = 1 - self.mask.sum() / (count * max(self.domain.sum(), 1))
        beyond = f", {self.outside} observed entries outside it" if self.outside else ""
        return f"<Field {names}: {size}, {hidden:.1%} of the domain hidden{beyond}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one signal, `(h, w, channels)`."""
        return self.signal.shape[1:]

    def flags(self) -> np.ndarray:
        """Return what is known of each entry, int8 `[n, h, w, channels]`, as numbers of `FLAGS`.

        A variable has its own flags: "frame_without_observation" says that nothing of this variable is
        observed in the frame. Of several that hold, the last of `FLAGS` is given.
        """
        found = np.where(self.mask, FLAGS["observed"], FLAGS["filled"]).astype(np.int8)
        empty = ~self.mask.any(axis=(1, 2), keepdims=True)
        found[np.broadcast_to(empty, found.shape)] = FLAGS["frame_without_observation"]
        found[:, ~self.mask.any(axis=0)] = FLAGS["never_observed"]
        found[:, ~self.domain] = FLAGS["outside_domain"]
        return found

    def save(
        self,
        path: str | os.PathLike,
        drawn: PosteriorSamples,
        *,
        noise: float | Sequence[float] | np.ndarray = 0.0,
        members: int | None = None,
        settings: Mapping | None = None,
        seed: int = 0,
        overwrite: bool = False,
    ) -> None:
        """Write the filled field as NetCDF; the file is written whole or not at all.

        Each variable is filled by its mean under its own name and in its own type: packed values are
        rounded to their step, observed ones are stored as they were, bit for bit. Beside it are

        * `NAME_deviation`, the standard deviation of the value itself, posterior and noise; 0 where
          observed;
        * `NAME_members` along `member`, draws of the value itself, posterior and noise;
        * `NAME_flag`, what is known of each entry, as `flags` returns it.

        Nothing is written outside the domain.

        Args:
            path: path of the file, such as "filled.nc".
            drawn: draws of the field in its own units, as of `model.sample_posterior(field)`.
            noise: standard deviation σ of single entries around a draw, in units of the variables: one
                number, one for each channel, or an array that broadcasts against the signal, such as
                `drawn.sigma`; what it holds outside the domain does not count.
            members: largest number of draws to write; None for all, 0 for none.
            settings: settings to write as attribute `abp_tf_settings`, in JSON's types.
            seed: seed of the draws, written as attribute; the noise of members is drawn by it.
            overwrite: whether an existing file is replaced.

        Raises:
            FileExistsError: if the file exists and `overwrite` is False; nothing is changed.
            ValueError: if shapes do not fit, the noise is negative, or draws are not finite.

        Warns:
            UserWarning: if means exceed what a variable can store.

        Example:
            >>> sst = np.where(np.arange(80).reshape(5, 4, 4) % 3 == 0, np.nan, 15.0)
            >>> field = load_field(sst)
            >>> samples = np.full((5, 8, *field.shape), 14.0, np.float32)
            >>> drawn = abp_tf.results.PosteriorSamples(samples, samples.mean(1), samples.std(1))
            >>> field.save("filled.nc", drawn, noise=0.2)
        """
        if os.path.exists(path) and not overwrite:
            raise FileExistsError(
                f"Expected the name of a new file, but {os.fspath(path)!r} exists. Choose another, or "
                "give overwrite=True. Nothing was changed."
            )
        if isinstance(self.signal, LazyRows):
            raise ValueError(
                "save expected a field in memory, received one that is read when it is needed. Load it "
                "by `load_field`, in parts by `isel` if it is too large."
            )
        written = field_file.filled(
            self, drawn, noise=noise, members=members, settings=settings, seed=seed
        )
        # To a path HDF5 would not write, because `aside` holds the lock that HDF5 asks for.
        with files.aside(path) as temporary, open(temporary, "r+b") as file:
            written.to_netcdf(file, format="NETCDF4", engine="h5netcdf")


def load_field(
    source: grid_files.Source,
    variable: str | Sequence[str] | None = None,
    *,
    sigma: str | Sequence[str] | None = None,
    domain: str | np.ndarray | bool | None = None,
    isel: Mapping[str, int | slice] | None = None,
    times: selection.Limits | None = None,
    region: Mapping[str, selection.Limits] | None = None,
    every: int = 1,
    memory: float | None = None,
) -> Field:
    """Load a field with holes; what is missing in the data is hidden.

    Missing are NaN, `_FillValue`, `missing_value`, values outside `valid_range`, and what NumPy masks.
    A frame without any observation is kept.

    Args:
        source: path of a NetCDF file, a Zarr store, a GeoTIFF (bands are frames), or an array `[h, w]`,
            `[n, h, w]` or `[n, h, w, c]` in an NPY or NPZ file; a list of such paths, or a folder of
            such files, which follow each other in time; an `xarray.Dataset` or `xarray.DataArray`; or
            an array.
        variable: name of the variable, or names of several on one grid, which become channels, each
            with a mask of its own; None if there is only one.
        sigma: name of the variable of standard errors, or names, one for each of `variable`: the
            standard deviation of the noise of each entry, in the unit of the variable.
        domain: what belongs to the field. None looks for a variable on the map alone that is named as a
            mask and holds 0 (outside) and 1 (inside), or has the CF standard name `land_binary_mask`
            or `sea_binary_mask`; NAME and "~NAME" of a variable that is 1 or 0 inside; a bool array
            `[h, w]` or `[h, w, channels]`; "observed" for positions that are observed at least once;
            False for every position.
        isel: part of the data to load, by position along named dimensions, as of `xarray.Dataset.isel`:
            `{"time": slice(0, 100), "depth": 0}`.
        times: first and last time of the frames to load, None for an open end: dates as text, of
            which `"2003"` includes the whole year, or numbers if the times have no dates.
        region: lowest and highest value of coordinates of rows and columns by their names, such as
            `{"lat": (35, 37)}`; None for an open end.
        every: load one frame of so many.
        memory: bytes that the field may take; by default half of the machine's memory.

    Returns:
        A `Field`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a variable is not there, an observed value has no positive standard error,
            variables or files are on different grids or have different units, times do not increase,
            values are infinite, more than 1 % of the observed entries are outside the domain, nothing
            is observed or selected, or the field takes too much memory.

    Example:
        >>> sst = np.array([[[15.0, np.nan], [14.5, 14.0]]])
        >>> load_field(sst)["mask"][0, :, :, 0]
        array([[ True, False],
               [ True,  True]])
    """
    parts = grid_files.opened(source)
    first = next(iter(parts.values()))
    errors = [] if sigma is None else grids.chosen(first, sigma)
    names = grids.chosen(first.drop_vars(errors), variable)
    if errors:
        grids.check_errors(first, names, errors)
    if isel:
        parts = {path: _part(one, isel) for path, one in parts.items()}
    parts = selection.selected(parts, names[0], times, region, every)
    joining.check(parts, names + errors)
    _check_memory(list(parts.values()), names + errors, memory)
    whole = joining.joined(parts, names + errors)
    axes = grids.axes(whole, names[0])
    days = grids.times(whole, axes.frames)
    dataset = grids.relevant(whole, axes, names).compute()
    channels = [decoded(dataset, axes, name) for name in names]
    signal, mask = (np.stack(arrays, axis=-1) for arrays in zip(*channels, strict=True))
    if not mask.any():
        raise ValueError(f"Expected an observed entry of {', '.join(names)}, received none.")
    units = tuple(str(dataset[name].attrs.get("units", "")) for name in names)
    inside = domains.domain(whole.drop_vars(names + errors), axes, domain, mask)
    outside = mask & ~inside
    signal[outside], mask[outside] = 0, False
    deviation = None
    if errors:
        read = (decoded(whole, axes, name) for name in errors)
        found = [np.where(known, values, np.float32(np.nan)) for values, known in read]
        deviation = checks.noise(np.stack(found, axis=-1), mask.shape, mask)
    known = (tuple(names), units, axes, dataset, int(outside.sum()), deviation)
    return Field(signal, mask, inside, days, *known)


def _part(dataset: xarray.Dataset, isel: Mapping) -> xarray.Dataset:
    unknown = set(isel) - set(dataset.sizes)
    if unknown:
        raise ValueError(
            f"`isel` expected dimensions of {dict(dataset.sizes)}, received {sorted(unknown)}."
        )
    return dataset.isel(isel)


def _check_memory(datasets: list[xarray.Dataset], names: list[str], memory: float | None) -> None:
    """Refuse a field that takes too much memory before anything of it is read."""
    if memory is None:
        memory = machine_memory() / 2
    # As stored; the signal, float32; the mask, bool.
    size = sum(one[name].size * (one[name].dtype.itemsize + 5) for one in datasets for name in names)
    if size <= memory:
        return
    sizes = dict(datasets[0][names[0]].sizes)
    dim, y, _ = grids.axes(datasets[0], names[0])
    count = sum(one.sizes.get(dim, 1) for one in datasets)
    fits = int(memory * count / size)
    if not fits:  # not even one frame
        dim = y
    part = f"{{{dim!r}: slice(0, {fits or int(memory * sizes[y] / size * count)})}}"
    raise ValueError(
        f"Expected a field of at most {memory / 2**30:.3g} GiB, received {size / 2**30:.3g} GiB: "
        f"{count} frames in {len(datasets)} file(s), the first of {sizes}. {fits} whole frames fit in. "
        f"Load a part of the frames or of the map, such as isel={part}, or by times, region, every."
    )


def machine_memory() -> float:
    """Return the bytes of the machine's memory; infinity where that is not known."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def decoded(dataset: xarray.Dataset, axes: grids.Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a variable, float32 `[n, h, w]`, 0 where hidden, and its mask."""
    stored = field_file.planes(dataset[name].variable, axes)
    packing = field_file.packing(dataset[name].variable)
    signal, mask = np.zeros(stored.shape, np.float32), np.zeros(stored.shape, bool)
    for frame in range(len(stored)):  # one at a time, because values in between are float64
        codes = packing.codes(stored[frame])
        observed = packing.observed(codes)
        values = packing.values(codes)
        with np.errstate(over="ignore"):
            signal[frame] = np.where(observed, values, 0)
        infinite = ~np.isfinite(signal[frame])
        if infinite.any():
            y, x = np.argwhere(infinite)[0]
            raise ValueError(
                f"Expected finite values of {name!r} in the range of float32, received {values[y, x]} "
                f"in frame {frame}, row {y}, column {x}, the first of {np.sum(infinite)} in the frame. "
                "Mark them as missing: dataset.where(np.isfinite(dataset))."
            )
        mask[frame] = observed
    return signal, mask

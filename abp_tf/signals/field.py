"""Fields with holes on a grid: `[n, height, width, variables]`, in their own units."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from abp_tf import data, files, networks
from abp_tf.data import field_series, field_source, folder_rows, grid_files, npz
from abp_tf.fields import gaps
from abp_tf.options import Option, as_text, limits, local_grid, named_limits, positive, share
from abp_tf.scaling import Scaling
from abp_tf.signals import few_examples
from abp_tf.signals.base import Legend, Part, SignalKind
from abp_tf.signals.image import ANY, SMOOTH

_HIDDEN, _OUTSIDE = 0.0, 1.0  # grey and white


class Field(SignalKind):
    """Frames of one or more variables on a grid, each with a mask of its own."""

    name = "field"
    plural = "fields"
    axes = ("height", "width")
    channels = ()
    sources = field_source.FIELD_SOURCES_HELP
    file_source = "field"
    incomplete = True
    guessed = False
    value_range = None
    loader = Part(
        field_source.load_fields,
        {
            "domain": Option(
                str,
                "what belongs to the field: NAME of a variable that is 1 inside, ~NAME of one that is "
                "0 inside, observed for what is ever observed, or all; by default a mask of the file",
                form="NAME",
            ),
            "times": Option(
                as_text(limits),
                "first and last time, such as 2003:2005-06; by default all",
                form="FROM:TO",
            ),
            "region": Option(
                as_text(named_limits),
                "part of the map, such as lat=35:37",
                many=True,
                form="NAME=LOW:HIGH",
            ),
            "every": Option(positive(int), "use one frame of so many"),
            "limit": Option(positive(int), "number of frames to use, the first ones; by default all"),
            "test_share": Option(share, "share of the frames kept for testing, the last ones"),
            "lazy": Option(
                bool,
                f"read frames when needed; by default above {folder_rows.BYTES >> 30} GiB",
            ),
            "whole": Option(
                bool, "learn from whole frames, and refuse hidden entries inside the domain"
            ),
            "period": Option(
                positive(float),
                "learn differences from the mean of the season, which returns after so many days, such "
                "as 365.25; by default from a mean that does not depend on time",
                form="DAYS",
            ),
        },
    )
    generator = Part(
        networks.field_generator,
        {
            "latent_dim": Option(
                positive(int), "number of latent variables of the whole frame", keyword="global_dim"
            ),
            "local": Option(
                as_text(local_grid),
                "grids of M latents at N positions per side; by default up to 14x6",
                many=True,
                form="NxM",
            ),
            "width": Option(positive(int), "channels of the finest feature map"),
            "kernel_size": Option(positive(int), "side of the transposed convolutions' kernels"),
            "activation": SMOOTH,
        },
    )
    descriptor = Part(
        networks.image_descriptor,
        {
            "width": Option(positive(int), "channels of the finest feature map"),
            "kernel_size": Option(positive(int), "side of the convolution kernels"),
            "activation": ANY,
        },
    )
    defaults = {
        "generator": {
            **few_examples.GENERATOR, "latent_dim": 2, "local": None, "sigma": 0.5, "lazy": None,
            "learn_sigma": True, "batch_size": 8, "least_steps_per_epoch": 20,
        },
        "descriptor": {
            **few_examples.DESCRIPTOR, "width": 16, "steps": 30, "start_sigma": 1.0,
            "least_steps_per_epoch": 10, "whole": True, "lazy": None,
        },
        "coopnets": {
            **few_examples.COOPNETS, "latent_dim": 2, "local": None, "descriptor_width": 16,
            "reference_sigma": 0.3, "step_size": 0.03, "sigma": 0.5, "least_steps_per_epoch": 10,
            "lazy": None,
        },
    }  # fmt: skip
    masks = {
        gaps.SPEC: "moved hides what is hidden in other frames",
        "pepper": "pepper:0.5 hides half of the pixels",
        "squares": "squares:0.5:3 hides squares of 3x3",
        "block": "block:9 hides a square of 9x9",
    }
    uploads = (".nc", ".npy", ".npz")
    columns = 5
    drawn_whole = False
    deviation_drawn = False
    together = True

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether fields can have this shape: sides of 4 or more, any number of variables."""
        return len(shape) == 3 and None not in shape and min(shape[:2]) >= 4 and shape[2] >= 1

    def load(self, source: str, settings: Mapping[str, Any], *, missing: bool = False) -> data.Signals:
        """Load a field; `settings["like"]` is the header of fields to whose form it is brought."""
        options = {"lazy": None, **self.loader.keywords(settings)}
        if "times" in options:
            options["times"] = limits(options["times"])
        options["region"] = [named_limits(one) for one in options.get("region", ())]
        return self.loader.function(source, **options, like=settings.get("like"), missing=missing)

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring another field to the grid, the domain and the colours."""
        return {"like": {**header, "shape": tuple(shape)}, "times": None, "every": None, "whole": False}

    def read(
        self,
        paths: Sequence[str],
        shape: Sequence[int],
        header: Mapping[str, Any],
        limit: int | None = None,
    ) -> data.Signals:
        """Read the files of one field, `PATH[:VARIABLE[,VARIABLE]]`, as frames of a shape."""
        if len(paths) > 1:
            raise ValueError(f"Expected one file or folder of a field, received {list(paths)}.")
        settings = {**self.like(shape, header), "test_share": 0.0, "limit": limit}
        found = self.load(f"{self.file_source}:{paths[0]}", settings)
        names = found.names or tuple(files.numbered("frame.nc", len(found.train)))
        return found._replace(names=names)

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return the mask that hides a square of half the shorter side."""
        return f"block:{-(-min(shape[:2]) // 2)}"

    def draw_masks(
        self,
        spec: str,
        count: int | Sequence[int],
        shape: Sequence[int],
        seed: int,
        own: np.ndarray | data.LazyRows | None = None,
    ) -> np.ndarray:
        """Draw masks over the axes of fields; "moved" hides what other masks of `own` hide."""
        if spec != gaps.SPEC:
            return super().draw_masks(spec, count, shape, seed, own)
        if own is None:
            raise ValueError(f"--mask: {spec!r} expected fields with gaps, received whole ones.")
        own = np.asarray(own)  # of all frames, whose gaps are moved
        return own & ~gaps.moved(own, seed)

    def make(self, part: Part, shape: tuple[int, ...], settings: Mapping, **more) -> keras.Model:
        """Build a network; grids of local latents of a generator are text, None for those of a size."""
        if part is self.generator:
            local = settings.get("local") or [f"{max(1, min(14, max(shape[:2]) // 4))}x6"]
            settings = {**settings, "local": [local_grid(one) for one in local]}
        return super().make(part, shape, settings, **more)

    def scaling(self, signals: data.Signals, mask: np.ndarray | None) -> Scaling:
        """Return the scaling by the mean of each pixel, and the deviation of each variable from it.

        If the header has a period, the means are those of the season.
        """
        inside = self.inside(signals.header, signals.train.shape[1:])
        scaling = Scaling.of(
            signals.train,
            np.broadcast_to(inside, signals.train.shape) if mask is None else mask,
            positions=True,
            times=signals.train_time,
            period=signals.header.get("period"),
        )
        if scaling.waves is None:  # as there is no period
            return scaling
        # Outside the domain, where whole frames hold a constant, there are no seasons.
        return dataclasses.replace(scaling, waves=np.where(inside, scaling.waves, 0))

    def inside(self, header: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
        """Return which entries of a field belong to it, bool of its shape."""
        found = field_source.unpacked(header, shape)
        return np.ones(shape, bool) if found is None else found

    def squares(
        self, truth: np.ndarray, found: np.ndarray, counted: np.ndarray, header: Mapping[str, Any]
    ) -> dict[str, tuple[float, int]]:
        """Return the squared errors of each variable in its own unit, by name and unit."""
        result = {}
        for channel, name in enumerate(header.get("names", ())):
            where = counted[..., channel]
            error = found[..., channel][where].astype(np.float64) - truth[..., channel][where]
            name = " ".join(filter(None, [name, header["units"][channel]]))
            result[name] = float(np.sum(error**2)), int(where.sum())
        return result

    def save_deviation(self, stem: str | Path, deviation: np.ndarray, header: Mapping) -> None:
        """Write the standard deviation of samples of one frame, in the units of the variables."""
        self._write(str(stem), deviation, header, "deviation of ")

    def save_all(
        self,
        stem: str | Path,
        parts: Iterable[np.ndarray],
        names: Sequence[str],
        header: Mapping[str, Any],
        times: np.ndarray | None = None,
        what: str = "",
    ) -> Path:
        """Write frames to one NetCDF file, or NPY without names of variables, a part at a time."""
        if "names" not in header:
            return npz.save_rows(Path(f"{stem}.npy"), parts, len(names))
        return field_series.save(Path(f"{stem}.nc"), parts, names, header, times, what)

    def tiles(self, signals: ArrayLike, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return maps in colour, variables side by side; hidden entries are grey, land is white.

        Args:
            signals: `[n, h, w, c]` in the units of the variables; NaN where hidden.
            header: the header of the signals, whose `limits` are the ends of the colours; by default
                those of the signals.
        """
        from matplotlib import colormaps

        signals = np.asarray(signals, np.float32)
        self.check(signals)
        hidden, inside = np.isnan(signals), self.inside(header or {}, signals.shape[1:])
        ends = (header or {}).get("limits") or field_source.limits(signals, ~hidden & inside)
        low, high = np.moveaxis(np.asarray(ends, np.float32), -1, 0)
        shares = (signals - low) / np.where(high > low, high - low, 1)
        colours = 2 * colormaps["viridis"](np.clip(shares, 0, 1))[..., :3] - 1
        colours[hidden] = _HIDDEN
        colours[:, ~inside] = _OUTSIDE
        return np.concatenate(np.moveaxis(colours, 3, 0), axis=2).astype(np.float32)

    def spread(self, deviation: np.ndarray, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return the standard deviation of each variable, in its unit."""
        inside = self.inside(header or {}, deviation.shape)
        return np.where(inside, deviation, np.nan).astype(np.float32)[None]

    def drawn(self, signals: np.ndarray, header: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the header with names, units and limits of the variables if it has none."""
        count = signals.shape[-1]
        known = np.isfinite(signals) & self.inside(header, signals.shape[1:])
        return {
            "names": [f"variable {number + 1}" for number in range(count)],
            "units": [""] * count,
            "limits": field_source.limits(signals, known),
            **header,
        }

    def legends(self, header: Mapping[str, Any]) -> list[Legend]:
        """Return the meaning of the colours of each variable."""
        ends = zip(_labels(header), header["limits"], strict=True)
        return [Legend(label, low, high, "viridis") for label, (low, high) in ends]

    def spread_labels(self, header: Mapping[str, Any]) -> list[str]:
        """Return the names of the deviations of the variables, with their units."""
        return [f"standard deviation of {label}" for label in _labels(header)]

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        """Write a frame, NaN where it is hidden or outside the domain."""
        return self._write(stem, signal, header)

    def _write(self, stem: str, values: np.ndarray, header: Mapping, what: str = "") -> Path:
        values = np.where(self.inside(header, values.shape), values, np.nan).astype(np.float32)
        if "names" not in header:
            path, buffer = Path(f"{stem}.npy"), io.BytesIO()
            np.save(buffer, values[None])
            files.replace(path, buffer.getvalue())
            return path
        sides = [header["rows"], header["columns"]]
        dims = [side["name"] for side in sides]
        dataset = grid_files.load_xarray().Dataset(
            {
                name: (dims, values[..., number], {"units": unit, "long_name": f"{what}{name}"})
                for number, (name, unit) in enumerate(
                    zip(header["names"], header["units"], strict=True)
                )
            },
            {
                side["name"]: (side["name"], np.array(side["values"]), {"units": side["units"]})
                for side in sides
                if side["values"] is not None
            },
        )
        path = Path(f"{stem}.nc")
        # To a path HDF5 would not write, because `aside` holds the lock that HDF5 asks for.
        with files.aside(path) as temporary, open(temporary, "r+b") as file:
            dataset.to_netcdf(file, format="NETCDF4", engine="h5netcdf")
        return path


def _labels(header: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables, with their units in brackets."""
    pairs = zip(header["names"], header["units"], strict=True)
    return [f"{name} [{unit}]" if unit else name for name, unit in pairs]

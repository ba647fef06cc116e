"""Draw maps of fields with holes: what is observed, what fills it, and how certain that is."""

from __future__ import annotations

import io
import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from abp_tf import checks, files
from abp_tf.data import field_file, grids

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from abp_tf.data import Field
    from abp_tf.results import PosteriorSamples

_LAND = "0.75"
_SHOWN = 4  # frames, if none are chosen
_LONGEST = 3.2  # side of a map, in inches


def save_maps(
    path: str | os.PathLike,
    field: Field,
    drawn: PosteriorSamples,
    *,
    truth: np.ndarray | None = None,
    noise: float | Sequence[float] | np.ndarray = 0.0,
    channel: int = 0,
    frames: Sequence[int] | None = None,
) -> None:
    """Draw rows of maps into a PNG file; an existing file is replaced whole.

    The rows are the truth, if there is one, the observations, the observations filled by the mean, and
    the standard deviation. Hidden regions are outlined, and what is outside the domain is grey.

    Args:
        path: path of the file; missing folders are made.
        field: the field.
        drawn: draws of the field in its units.
        truth: values where they are known, NaN elsewhere, of the shape of the field's signal.
        noise: standard deviation σ of single entries around a draw, as for `Field.save`.
        channel: number of the variable to draw.
        frames: numbers of the frames; by default four, from those with fewest to those with most hidden
            entries.

    Raises:
        ValueError: if there is no such channel or frame, or shapes differ.

    Example:
        >>> field = abp_tf.data.load_field(np.where(np.eye(8), np.nan, 15.0))
        >>> samples = np.full((1, 4, *field.shape), 14.5, np.float32)
        >>> drawn = abp_tf.results.PosteriorSamples(samples, samples.mean(1), samples.std(1))
        >>> save_maps("maps.png", field, drawn, noise=0.2)
    """
    if channel not in range(len(field.names)):
        raise ValueError(f"`channel` expected 0 to {len(field.names) - 1}, received {channel!r}.")
    for name, part in (("drawn", drawn.mean), ("truth", field.signal if truth is None else truth)):
        if np.shape(part) != field.signal.shape:
            expected = field.signal.shape
            raise ValueError(f"`{name}` expected the shape {expected}, received {np.shape(part)}.")
    chosen = _frames(field, channel, frames)
    figure = _figure(field, _rows(field, drawn, truth, noise, channel), chosen, channel)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.replace(path, buffer.getvalue())


def _frames(field: Field, channel: int, frames: Sequence[int] | None) -> list[int]:
    count = len(field.signal)
    if frames is None:
        order = np.argsort(-field.mask[..., channel].sum(axis=(1, 2)), kind="stable")
        at = np.linspace(0, count - 1, min(_SHOWN, count)).round().astype(int)
        return [int(frame) for frame in order[at]]
    for frame in frames:
        if checks.integer("save_maps", "frames", frame, 0) >= count:
            raise ValueError(f"`frames` expected 0 to {count - 1}, received {frame}.")
    if not len(frames):
        raise ValueError("`frames` expected at least one number, received none.")
    return list(frames)


def _rows(field: Field, drawn, truth, noise, channel: int) -> dict[str, np.ndarray]:
    """Return the maps of each row, `[n, h, w]` with NaN where there is nothing."""
    mask, inside = field.mask[..., channel], field.domain[..., channel]
    observed = np.where(mask, field.signal[..., channel], np.nan)
    mean = np.where(inside, drawn.mean[..., channel], np.nan)
    sigma = field_file.noise_of_entries(field, noise)[..., channel]
    total = np.hypot(drawn.deviation[..., channel], sigma)
    rows = {} if truth is None else {"truth": np.where(inside, truth[..., channel], np.nan)}
    return {
        **rows,
        "observed": observed,
        "filled": np.where(mask, observed, mean),
        "deviation": np.where(mask, 0, np.where(inside, total, np.nan)),
    }


class Axis(NamedTuple):
    """Positions along one side of a map, their label, and whether they are degrees on a sphere."""

    values: np.ndarray
    label: str
    degrees: bool


def _axis(field: Field, dim: Hashable, size: int) -> Axis:
    """Return the coordinate of a dimension, or numbers of rows or columns where there is none."""
    variable = field.dataset.variables.get(dim)
    if variable is not None and variable.dims == (dim,) and variable.dtype.kind in "iuf":
        packing = field_file.packing(variable)
        values = packing.values(packing.codes(variable.values))
        steps = np.diff(values)
        if (steps > 0).all() or (steps < 0).all():
            units = str(variable.attrs.get("units", ""))
            label = f"{dim} [{units}]" if units else str(dim)
            return Axis(values, label, units.lower().startswith("degree"))
    return Axis(np.arange(size), str(dim), False)


def _figure(field: Field, rows: dict[str, np.ndarray], frames: list[int], channel: int) -> Figure:
    from matplotlib.figure import Figure

    height, width, _ = field.shape
    y, x = _axis(field, field.axes.y, height), _axis(field, field.axes.x, width)
    # A degree of longitude is shorter than one of latitude, but at the equator.
    aspect = 1 / max(np.cos(np.radians(y.values.mean())), 0.1) if x.degrees and y.degrees else 1.0
    sides = np.array([np.ptp(x.values), aspect * np.ptp(y.values)]) + 1e-6
    wide, high = np.maximum(_LONGEST * sides / sides.max(), 1.0)
    figure = Figure(
        figsize=(len(frames) * (wide + 0.2) + 2, len(rows) * (high + 0.3) + 0.8),
        dpi=100,
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(frames), sharex=True, sharey=True, squeeze=False)
    inside, hidden = field.domain[..., channel], ~field.mask[frames][..., channel]
    values = np.concatenate([maps[frames].ravel() for row, maps in rows.items() if row != "deviation"])
    span = np.nanquantile(values, [0.005, 0.995])  # single extremes do not dull the colours
    for places, (row, maps) in zip(grid, rows.items(), strict=True):
        shown, style = maps[frames], {"cmap": "viridis", "vmin": span[0], "vmax": span[1]}
        if row == "deviation":
            style = {"cmap": "magma", "vmin": 0.0, "vmax": float(np.nanmax(shown)) or 1.0}
        for place, one, gaps in zip(places, shown, hidden, strict=True):
            image = _draw(place, x.values, y.values, one, inside, gaps, style)
            place.set_aspect(aspect)
        places[0].set_ylabel(f"{row}\n{y.label}")
        unit = f" [{field.units[channel]}]" if field.units[channel] else ""
        bar = figure.colorbar(
            image, ax=list(places), extend="neither" if row == "deviation" else "both"
        )
        bar.set_label(("deviation of " if row == "deviation" else "") + field.names[channel] + unit)
    titles = grids.labels(field.dataset, field.axes.frames)
    for place, frame in zip(grid[0], frames, strict=True):
        place.set_title(f"frame {frame}" if titles is None else titles[frame])
    for place in grid[-1]:
        place.set_xlabel(x.label)
    if y.label == field.axes.y:  # rows of an array, from the top
        grid[0, 0].invert_yaxis()
    return figure


def _draw(place, x, y, values, inside, hidden, style: dict):
    """Draw one map, with land in grey and hidden regions outlined; return the coloured part."""
    from matplotlib.colors import ListedColormap

    grey = ListedColormap([_LAND])
    place.pcolormesh(
        x, y, np.ma.masked_array(np.zeros(inside.shape), inside), cmap=grey, shading="nearest"
    )
    image = place.pcolormesh(x, y, np.ma.masked_invalid(values), shading="nearest", **style)
    gaps = hidden & inside
    if gaps.any() and not gaps.all() and min(gaps.shape) > 1:
        place.contour(x, y, gaps, levels=[0.5], colors="red", linewidths=0.6)
    return image

"""Load fields with holes as signals for programs, by the name of their source: `load_fields`."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf.data import collect, field_file, field_rows, grids, selection
from abp_tf.data.field import Field, load_field
from abp_tf.data.lazy import LazyRows, mapped, take

FIELD_SOURCES_HELP: dict[str, str] = {
    "field": "field:PATH[:VARIABLE[,VARIABLE]]: NetCDF, Zarr, GeoTIFF, NPY, NPZ or a folder of them; "
    "NaN and _FillValue are hidden, several variables are channels",
}
# Quantiles of a variable that are the ends of its colours; single extremes do not dull them.
_ENDS = (0.005, 0.995)


def load_fields(
    spec: str,
    *,
    domain: str | None = None,
    times: selection.Limits | None = None,
    region: Sequence[tuple[str, selection.Limits]] | None = None,
    every: int = 1,
    limit: int | None = None,
    test_share: float = 0.1,
    whole: bool = False,
    period: float | None = None,
    like: Mapping[str, Any] | None = None,
    missing: bool = False,
    lazy: bool | None = False,
) -> collect.Signals:
    """Load the frames of a field as float32 `[n, h, w, c]` with their masks.

    Values are in the units of the variables; hidden ones are 0. Frames without any observation are
    kept.

    Args:
        spec: "field:PATH" or "field:PATH:VARIABLE", with several variables "field:PATH:ONE,TWO".
        domain: what belongs to the field, as for `abp_tf.data.load_field`; "all" for every position.
        times: first and last time of the frames, as for `load_field`.
        region: limits of coordinates, pairs of a name and the lowest and highest value.
        every: load one frame of so many.
        limit: number of frames to use, the first ones; None for all.
        test_share: share in [0, 1) of the frames to keep for testing: the last ones.
        whole: whether frames must be complete inside the domain, as models without latents need them.
            Outside, where they are the mean of the variable, they then count as observed, and there
            are no masks.
        period: time from one season to the same, in days, for models whose mean is that of the season:
            frames must have times. None for a mean that does not depend on time.
        like: header of signals whose grid, domain and colours the frames have, and whose units they
            must have, with their "shape"; None for their own.
        missing: without effect, because any frames may have holes.
        lazy: True reads frames when they are needed, as `lazy_field` does: `train` and `train_mask` are
            `LazyRows`, and the colours are those of 64 frames. False reads all now; None is True for
            fields of more than 1 GiB as float32, unless they are `whole`.

    Returns:
        The frames, with masks `[n, h, w, c]`, their times, also as names, and a header to write and
        draw them: `names`, `units` and `limits` of the variables, the values at the ends of their
        colours; `rows` and `columns`, the name, unit and values of the coordinates; `domain`, packed;
        and `period`, if there is one.

    Raises:
        ImportError: if a package is missing.
        OSError: if files are missing.
        ValueError: if an argument is out of range, the field cannot be used, or there is a period and
            frames have no times.

    Example:
        >>> np.save("sst.npy", np.where(np.eye(8) > 0, np.nan, np.arange(80.0).reshape(10, 8, 1)))
        >>> fields = load_fields("field:sst.npy")
        >>> fields.train.shape, float(fields.train_mask.mean()), float(fields.train.max())
        ((9, 8, 8, 1), 0.875, 71.0)
    """
    _, argument = collect.find(spec, {"field": None}, FIELD_SOURCES_HELP)
    collect.check_limit(limit)
    collect.check_share(test_share)
    path, variables = split(argument)
    if lazy and whole:
        raise ValueError("`lazy` expected frames with holes, received `whole`. Leave one of them out.")
    part = (times, dict(region or ()), every)
    if lazy is None:
        lazy = not whole and field_rows.is_large(path, variables, *part)
    field = (field_rows.lazy_field if lazy else load_field)(
        path,
        variables,
        domain=False if domain == "all" or "domain" in (like or {}) else domain,
        times=part[0],
        region=part[1],
        every=every,
    )
    header = _header(field)
    if period is not None:
        _check_times(field, period, spec)
        header["period"] = period
    if like:
        _check_alike(field, like, spec)
        if "domain" in like:
            field = _within(field, unpacked(like, field.shape))
        header |= {name: like[name] for name in header.keys() & like.keys()}
    signal, mask = field.signal, field.mask
    if whole:
        _check_whole(field, spec)
        mean = signal.sum((0, 1, 2)) / np.maximum(mask.sum((0, 1, 2)), 1)
        signal = np.where(mask, signal, mean).astype(np.float32)
    labels = grids.labels(field.dataset, field.axes.frames)
    names = (
        None
        if labels is None
        else tuple(f"{one.replace(' ', 'T').replace(':', '')}.nc" for one in labels)
    )
    count = slice(limit)
    parts = collect.split(take(signal, count), test_share, spec)
    train, test = (None if whole else take(take(mask, count), places) for places in parts.places)
    days = field.times
    of_parts = [None if days is None else days[count][places] for places in parts.places]
    return collect.Signals(
        parts.train,
        parts.test,
        spec,
        kind="field",
        names=None if names is None else names[:limit],
        places=parts.places,
        train_mask=train,
        test_mask=test,
        train_time=of_parts[0],
        test_time=of_parts[1],
        header=header,
    )


def split(argument: str) -> tuple[Path, list[str] | None]:
    """Return PATH and the names of `PATH:NAME,NAME`, None without names; PATH may hold colons.

    Example:
        >>> split("sst.nc:SST,error")
        (PosixPath('sst.nc'), ['SST', 'error'])
    """
    whole = Path(argument).expanduser()
    path, colon, names = argument.rpartition(":")
    if not argument or whole.exists() or not (colon and path):
        return whole, None
    return Path(path).expanduser(), names.split(",")


def limits(signals: np.ndarray, known: np.ndarray) -> list[list[float]]:
    """Return the values of each variable at the ends of its colours, `[low, high]`.

    Args:
        signals: float `[n, h, w, c]`.
        known: bool, same shape, True for the entries that count.
    """
    values = (signals[..., c][known[..., c]] for c in range(signals.shape[-1]))
    return [np.quantile(one, _ENDS).tolist() if one.size else [0.0, 0.0] for one in values]


def unpacked(header: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray | None:
    """Return the domain of a header, bool `[h, w, c]`; None if all belongs to it."""
    if header.get("domain") is None:
        return None
    bits = np.frombuffer(zlib.decompress(base64.b64decode(header["domain"])), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def _within(field: Field, domain: np.ndarray | None) -> Field:
    """Return a field with a domain, None for all."""
    if domain is None:
        return field
    return dataclasses.replace(
        field,
        domain=domain,
        mask=mapped(field.mask, lambda mask: mask & domain),
        signal=mapped(field.signal, lambda signal: np.where(domain, signal, np.float32(0))),
    )


def _packed(domain: np.ndarray) -> str | None:
    if domain.all():
        return None
    return base64.b64encode(zlib.compress(np.packbits(domain).tobytes())).decode()


def _header(field: Field) -> dict[str, Any]:
    some = slice(None)
    if isinstance(field.signal, LazyRows):
        some = np.linspace(0, len(field.signal) - 1, min(len(field.signal), 64)).astype(int)
    return {
        "names": list(field.names),
        "units": list(field.units),
        "limits": limits(field.signal[some], field.mask[some]),
        "rows": _coordinate(field, field.axes.y),
        "columns": _coordinate(field, field.axes.x),
        "domain": _packed(field.domain),
    }


def _coordinate(field: Field, dim: Hashable) -> dict[str, Any]:
    """Return the name, the unit and the values of a coordinate; the values are None without one."""
    variable = field.dataset.variables.get(dim)
    if variable is None or variable.dims != (dim,) or variable.dtype.kind not in "iuf":
        return {"name": str(dim), "units": "", "values": None}
    packing = field_file.packing(variable)
    values = packing.values(packing.codes(variable.values)).tolist()
    return {"name": str(dim), "units": str(variable.attrs.get("units", "")), "values": values}


def _check_alike(field: Field, like: Mapping[str, Any], spec: str) -> None:
    shape = tuple(like.get("shape", field.shape))
    if field.shape != shape:
        raise ValueError(f"Expected a field of shape {shape}, received {spec!r} of {field.shape}.")
    units = like.get("units", field.units)
    if any(a and b and a != b for a, b in zip(units, field.units, strict=True)):
        raise ValueError(f"Expected a field in {units}, received {spec!r} in {list(field.units)}.")


def _check_times(field: Field, period: float, spec: str) -> None:
    if field.times is None:
        raise ValueError(
            f"Expected frames with times, because of the period {period:g}, received {spec!r} without "
            "any. Give the file a coordinate of times in days along its frames, or leave --period out."
        )


def _check_whole(field: Field, spec: str) -> None:
    hidden = int((~field.mask & field.domain).sum())
    if hidden:
        raise ValueError(
            f"Expected whole frames, because this model has no latents, but {hidden} entries of "
            f"{spec!r} are hidden. Fill them first, by train.fill or a generator (train.generator and "
            "train.recover), or give --domain observed if they are never observed."
        )

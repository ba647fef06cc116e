"""Write filled fields as NetCDF by the CF conventions, with what else their source holds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from abp_tf import checks
from abp_tf._version import __version__
from abp_tf.data import grids
from abp_tf.data.grid_files import load_xarray
from abp_tf.data.packing import Packing

if TYPE_CHECKING:
    import xarray

    from abp_tf.data.field import Field
    from abp_tf.results import PosteriorSamples

# Numbers of what is known of an entry, by what they mean.
FLAGS = {
    "observed": 0,
    "filled": 1,
    "frame_without_observation": 2,
    "never_observed": 3,
    "outside_domain": 4,
}
# Encodings of xarray that name other variables.
_REFERENCES = ("coordinates", "grid_mapping")


def packing(variable: xarray.Variable) -> Packing:
    """Return how a variable stores its values."""
    return Packing.of(variable.dtype, _attributes_of(variable))


def _attributes_of(variable: xarray.Variable) -> dict:
    """Return the attributes of a variable, with the valid range of what it holds.

    xarray leaves the range of the codes with values that it has unpacked.
    """
    found = dict(variable.attrs)
    scale, offset = (variable.encoding.get(name) for name in ("scale_factor", "add_offset"))
    if scale is None and offset is None:
        return found
    scale, offset = 1.0 if scale is None else float(scale), float(offset or 0.0)
    # Half a code more, because unpacking has rounded.
    for name, more in (("valid_min", [-0.5]), ("valid_max", [0.5]), ("valid_range", [-0.5, 0.5])):
        codes = np.ravel(found.get(name, ""))
        if codes.dtype.kind in "iu":
            found[name] = np.sort((codes + more) * scale + offset).astype(variable.dtype)
    return found


def planes(variable: xarray.Variable, axes: grids.Axes) -> np.ndarray:
    """Return what a variable stores, `[n, h, w]`, in the order of its axes."""
    kept = [dim for dim in axes if dim is not None]
    alone = [dim for dim in variable.dims if dim not in kept]
    found = variable.squeeze(alone).transpose(*kept).values
    return found if axes.frames else found[None]


def filled(
    field: Field,
    drawn: PosteriorSamples,
    *,
    noise=0.0,
    members: int | None = None,
    settings: Mapping | None = None,
    seed: int = 0,
) -> xarray.Dataset:
    """Return the dataset that `Field.save` writes; the arguments are its own."""
    samples = _draws(field, drawn, members)
    noise = noise_of_entries(field, noise)
    generator, flags = np.random.default_rng(seed), field.flags()
    dataset = field.dataset.copy()
    for channel, name in enumerate(field.names):
        mask, signal, sigma = (part[..., channel] for part in (field.mask, field.signal, noise))
        hidden = ~mask & field.domain[..., channel]
        mean, deviation = drawn.mean[..., channel], drawn.deviation[..., channel]
        known = np.where(mask, signal, np.float32(np.nan))  # NaN remains outside the domain
        added: dict[str, tuple[np.ndarray, str, dict]] = {
            "deviation": (
                np.where(hidden, np.hypot(deviation, sigma), np.where(mask, np.float32(0), known)),
                "standard_error",
                {"long_name": f"standard deviation of {name}: posterior and noise, 0 where observed"},
            ),
            "flag": (
                flags[..., channel],
                "status_flag",
                {
                    "long_name": f"what is known of {name}",
                    "flag_values": np.array(list(FLAGS.values()), np.int8),
                    "flag_meanings": " ".join(FLAGS),
                },
            ),
        }
        if samples.shape[1]:
            draws = np.empty((samples.shape[1], *mask.shape), np.float32)
            for member, draw in enumerate(draws):
                error = sigma * generator.standard_normal(mask.shape, np.float32)
                draw[:] = np.where(hidden, samples[:, member, ..., channel] + error, known)
            about = {"long_name": f"draws of {name}: posterior and noise, the value where observed"}
            added["members"] = (draws, "", about)
        variable = field.dataset[name].variable
        for suffix, (values, modifier, attributes) in added.items():
            dataset[f"{name}_{suffix}"] = _beside(variable, field.axes, values, modifier, attributes)
        dataset[name] = _filled(name, variable, field.axes, mean, hidden)
    if samples.shape[1]:
        numbers = np.arange(1, 1 + samples.shape[1])
        dataset = dataset.assign_coords(member=("member", numbers, {"standard_name": "realization"}))
    dataset.attrs = _attributes(field, settings, seed)
    for variable in dataset.variables.values():
        if "_FillValue" not in {*variable.attrs, *variable.encoding}:
            variable.encoding["_FillValue"] = None  # or xarray would add one
    unlimited = set(dataset.encoding.get("unlimited_dims", ())) & set(dataset.sizes)
    dataset.encoding = {"unlimited_dims": unlimited}
    return dataset


def _draws(field: Field, drawn: PosteriorSamples, members: int | None) -> np.ndarray:
    """Return the samples to write, after checks of all parts."""
    asked = ~field.mask & field.domain
    expected = {"samples": drawn.samples[:, 0] if drawn.samples.shape[1] else drawn.mean}
    for name, part in (("mean", drawn.mean), ("deviation", drawn.deviation), *expected.items()):
        if part.shape != field.signal.shape:
            raise ValueError(
                f"`drawn` expected a {name} of shape {field.signal.shape}, received {part.shape}. Draw "
                "with the field that is saved."
            )
        if not np.isfinite(part[asked]).all():
            raise ValueError(
                f"`drawn` expected finite numbers, received NaN or infinity in its {name}."
            )
    if members is not None:
        checks.integer("save", "members", members, 0)
    return drawn.samples[:, :members]


def noise_of_entries(field: Field, noise) -> np.ndarray:
    """Return σ of each entry, `[n, h, w, channels]`, 0 outside the domain whatever it is there."""
    values = np.asarray(noise, np.float32)
    try:
        sigma = np.where(field.domain, np.broadcast_to(values, field.signal.shape), np.float32(0))
    except ValueError:
        raise ValueError(
            f"`noise` expected a number, one for each of {len(field.names)} channels, or an array that "
            f"broadcasts against {field.signal.shape}, received shape {values.shape}."
        ) from None
    if not (np.isfinite(sigma) & (sigma >= 0)).all():
        raise ValueError(f"`noise` expected standard deviations of 0 or more, received {noise!r}.")
    return sigma


def _shaped(
    values: np.ndarray, axes: grids.Axes, like: xarray.Variable, attributes: Mapping
) -> xarray.Variable:
    """Return values `[n, h, w]` or `[k, n, h, w]` as a variable on the dimensions of another one.

    The axis of k is called `member`, and comes first.
    """
    xarray = load_xarray()
    extra = ["member"] * (values.ndim - 3)
    kept = [dim for dim in axes if dim is not None]
    values = values if axes.frames else values.squeeze(-3)
    alone = {dim: size for dim, size in like.sizes.items() if dim not in kept}
    variable = xarray.Variable([*extra, *kept], values, attributes)
    variable = variable.set_dims({**alone, **variable.sizes})
    return variable.transpose(*extra, *like.dims)


def _filled(name, variable: xarray.Variable, axes: grids.Axes, mean, hidden) -> xarray.Variable:
    """Return a variable as stored, with the mean in hidden entries."""
    packed = packing(variable)
    stored = packed.codes(planes(variable, axes)).copy()
    stored[hidden], outside = packed.pack(mean[hidden])
    if outside:
        warnings.warn(
            f"{outside} of {hidden.sum()} means of {name!r} exceed what it stores, "
            f"{packed.values(np.array([packed.low, packed.high]))}, and became the nearest value; "
            f"{name}_members holds the draws as they are.",
            stacklevel=4,
        )
    result = _shaped(
        stored.view(variable.dtype.newbyteorder("=")), axes, variable, _attributes_of(variable)
    )
    result.encoding = _encoding(variable)
    return result


def _beside(
    variable: xarray.Variable, axes: grids.Axes, values: np.ndarray, modifier: str, attributes: dict
) -> xarray.Variable:
    """Return a variable that goes with another one; `modifier` is a modifier of its standard name."""
    own = dict(attributes)
    if "standard_name" in variable.attrs:
        own["standard_name"] = f"{variable.attrs['standard_name']} {modifier}".strip()
    if values.dtype.kind == "f":
        own["_FillValue"] = np.float32(np.nan)
        if "units" in variable.attrs:
            own["units"] = variable.attrs["units"]
    result = _shaped(values, axes, variable, own)
    result.encoding = _encoding(variable)
    return result


def _encoding(variable: xarray.Variable) -> dict:
    """Return how to write a variable: compressed, with the references of another one."""
    references = {key: variable.encoding[key] for key in _REFERENCES if key in variable.encoding}
    return {**references, "zlib": True, "complevel": 4}


def _attributes(field: Field, settings: Mapping | None, seed: int) -> dict:
    """Return the attributes of the source and where the filled values come from."""
    found = {"Conventions": "CF-1.11", **field.dataset.attrs}
    line = f"abp_tf {__version__}: filled the gaps of {', '.join(field.names)}"
    found["history"] = "\n".join(filter(None, [str(found.get("history", "")), line]))
    found |= {"abp_tf_version": __version__, "abp_tf_seed": np.int64(seed)}
    if settings is not None:
        found["abp_tf_settings"] = json.dumps(dict(settings), sort_keys=True)
    return found

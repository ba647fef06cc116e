"""Fill the gaps of a field from file to file: python -m train.fill --help."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from abp_tf import files, programs
from abp_tf.data import Field, load_field
from abp_tf.data.field import machine_memory
from abp_tf.data.field_file import FLAGS
from abp_tf.display import maps
from abp_tf.fields import FieldModel, FieldSettings, choose, gaps, memory, widening
from abp_tf.options import (
    Option,
    at_least,
    at_least_zero,
    flag,
    limits,
    named_limits,
    named_number,
    positive,
)

from . import parsing
from .record import Record, described
from .validation import comparable, concentrated, table, validate

# Name of the file of the learned model in the directory of --export.
MODEL = "field.npz"
# Settings that can be given.
SETTINGS = {
    "latents": Option(
        at_least_zero(int),
        "number of latents of each frame; a setting that is given ends the search, and the others have "
        "their defaults",
        form="K",
    ),
    "mean": Option(
        at_least_zero(float), "variance of the pixel means, relative to that of the residual", form="M"
    ),
    "space": Option(positive(float), "precision of differences between neighbours"),
    "time": Option(
        at_least_zero(float), "precision of differences between successive frames, relative to --space"
    ),
    "decay": Option(positive(float), "inverse length of the correlated residual, in pixels"),
    "noise": Option(positive(float), "variance of the noise, as a share of that of the data"),
    "rhythm": Option(bool, "a prior in time of the latents, damped oscillations that are learned"),
}
OPTIONS = {
    "variable": Option(str, "variables to fill, where there are several", many=True, form="NAME"),
    "sigma": Option(
        str, "variables of their standard errors, in the same order", many=True, form="NAME"
    ),
    "out": Option(str, "new NetCDF file; FILE.json beside it", required=True, form="FILE.nc"),
    "domain": Option(
        str,
        "what belongs to the field: NAME of a variable that is 1 inside, ~NAME of one that is 0 "
        "inside, observed for what is ever observed, or all; by default a mask that the file has",
        form="NAME",
    ),
    "times": Option(
        limits,
        "first and last time of the frames to read, such as 2003:2005-06 or :2005; by default all",
        form="FROM:TO",
    ),
    "every": Option(positive(int), "read one frame of so many", 1, form="K"),
    "region": Option(
        named_limits,
        "part of the map to read, by the coordinates of rows and columns, such as lat=35:37",
        many=True,
        form="NAME=LOW:HIGH",
    ),
    "isel": Option(
        named_number,
        "part of the data to read, by position along a dimension, such as depth=0",
        many=True,
        form="NAME=N",
    ),
    "memory": Option(
        positive(float), "memory that may be used, in GiB; by default 80 % of the machine's", form="X"
    ),
    "samples": Option(at_least(2), "number of draws, which are members in the file", 32, form="K"),
    "seed": Option(at_least_zero(int), "seed of moved gaps and draws", 0),
    "maps": Option(str, "new picture of four frames and their error bars", form="FILE.png"),
    "model": Option(str, "fill by a model that --export has written; learn nothing", form="DIR"),
    "export": Option(str, "new or empty directory for the learned model", form="DIR"),
    "calibrate": Option(
        bool, "multiply error bars by the factor with which they hold under moved gaps", True
    ),
    "cross_validation": Option(bool, "measure errors under other moved gaps at the end", True),
    **SETTINGS,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    result = parsing.plain(
        "train.fill",
        "Fill the gaps of a field on a grid, such as sea-surface temperature under clouds. Settings "
        "are chosen by moved gaps: observed entries are hidden as other frames' gaps would hide them.",
        OPTIONS,
    )
    result.add_argument("data", nargs="+", metavar="FILE", help="NetCDF, Zarr, GeoTIFF, NPY or NPZ")
    result.add_argument("--resume", action="store_true", help="go on with a search that was stopped")
    result.add_argument("--overwrite", action="store_true", help="replace existing files")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code: 0, or 130 after an interruption from the keyboard."""
    began = time.perf_counter()
    arguments = parser().parse_args(argv)
    beside = Path(arguments.out).with_suffix(".json")
    check(arguments, beside)
    loaded = None
    if arguments.model:
        path = Path(arguments.model)
        loaded = FieldModel.load(path / MODEL if path.is_dir() else path)
    field = load(arguments, loaded)
    print(field, flush=True)
    for remark in remarks(field, everywhere=not (arguments.domain or loaded)):
        print(remark, flush=True)
    settings = given(arguments)
    check_memory(field, allowed(arguments))
    if not (loaded or settings):
        gaps.moved(field.mask)  # an error where settings cannot be chosen
    record = Record.open(beside, field, arguments.seed, arguments.resume)
    try:
        model = loaded or learned(field, settings, arguments, record)
        write(field, model, arguments, record)
        if arguments.cross_validation and comparable(field, "there is no cross-validation"):
            record.add(scores=cross_validated(field, model, arguments))
    except KeyboardInterrupt:
        print(f"\nstopped; --resume goes on with the settings that {beside} holds")
        return 130
    record.add(seconds=round(time.perf_counter() - began, 1))
    print(f"done in {record.content['seconds']:.0f} s; settings and scores: {beside}")
    return 0


def check(arguments: argparse.Namespace, beside: Path) -> None:
    """Check options and files before anything is read.

    Args:
        arguments: the options.
        beside: path of the record.

    Raises:
        FileExistsError: if a file exists that would be replaced.
        ValueError: if options do not fit each other.
    """
    out = Path(arguments.out)
    if out.suffix not in (".nc", ".nc4"):
        raise ValueError(f"--out: expected a name that ends in .nc, received {arguments.out!r}.")
    if arguments.model:
        unused = [name for name in ("export", "domain", "resume") if getattr(arguments, name)]
        unused += given(arguments)
        if unused:
            raise ValueError(
                f"--model: expected no options of learning, received {', '.join(map(flag, unused))}. "
                "Leave them or --model out."
            )
    paths = [arguments.out, arguments.maps, None if arguments.resume else beside]
    existing = [str(path) for path in paths if path and Path(path).exists()]
    if arguments.export and files.taken(Path(arguments.export)):
        existing.append(arguments.export)
    if existing and not arguments.overwrite:
        raise FileExistsError(
            f"Expected names of new files, but {', '.join(existing)} exists. Choose other names, "
            "or give --overwrite, or --resume for a search that was stopped. Nothing was changed."
        )


def given(arguments: argparse.Namespace) -> dict:
    """Return the settings that are given, by name."""
    found = {name: getattr(arguments, name) for name in SETTINGS}
    return {name: value for name, value in found.items() if value is not None}


def load(arguments: argparse.Namespace, model: FieldModel | None) -> Field:
    """Load the field; with a learned model, on its domain."""
    domain = False if arguments.domain == "all" else arguments.domain
    source = arguments.data if len(arguments.data) > 1 else arguments.data[0]
    return load_field(
        source,
        arguments.variable,
        sigma=arguments.sigma,
        domain=model.domain if model else domain,
        isel=dict(arguments.isel or ()),
        times=arguments.times,
        region=dict(arguments.region or ()),
        every=arguments.every,
        memory=allowed(arguments),
    )


def remarks(field: Field, everywhere: bool) -> list[str]:
    """Return what may be wrong with the data, before anything is learned: a line for each.

    Args:
        field: the data.
        everywhere: whether no domain was chosen; one that the file has leaves positions out.
    """
    found = []
    for channel, name in enumerate(field.names):
        mask, inside = field.mask[..., channel], field.domain[..., channel]
        if mask[:, inside].all():
            values = field.signal[..., channel][mask]
            found.append(
                f"Nothing of {name} is hidden, its values are from {values.min():g} to "
                f"{values.max():g}. If one of them stands for what is missing, write it into the "
                "attribute `_FillValue` of the variable."
            )
        never = ~mask.any(axis=0)
        if everywhere and inside.all() and len(mask) > 1 and 0.01 < never.mean() < 1:
            found.append(
                f"{name} is never observed at {never.sum()} of {never.size} positions, which are "
                "filled too. If they are land or the like, leave them out: --domain NAME of a mask, or "
                "--domain observed."
            )
    return found


def allowed(arguments: argparse.Namespace) -> float:
    """Return the bytes that may be used."""
    return arguments.memory * 2**30 if arguments.memory else 0.8 * machine_memory()


def check_memory(field: Field, limit: float) -> None:
    """Refuse a field that takes too much memory, before anything is learned.

    Raises:
        ValueError: if it takes more than the limit, in bytes.
    """
    needed, count = memory(field.mask, field.domain), len(field.signal)
    if needed > limit:
        raise ValueError(
            f"--memory: expected to use at most {limit / 2**30:.3g} GiB, but {count} frames of "
            f"{int(field.domain.sum())} positions take about {needed / 2**30:.3g} GiB. About "
            f"{int(count * limit / needed)} frames fit in: choose some by --times or --every, or a "
            "part of the map by --region."
        )


def learned(field: Field, fixed: dict, arguments: argparse.Namespace, record: Record) -> FieldModel:
    """Return a model that has learned the field, with fixed settings or chosen ones."""
    factor = 1.0
    if fixed:
        settings = FieldSettings(**fixed)
        if arguments.calibrate and comparable(field, "error bars are not corrected"):
            factor = widening(field, settings, seed=arguments.seed)
    else:
        resumed = f", {len(record.known)} of them from before" if record.known else ""
        print(f"\nErrors under moved gaps, in standard deviations{resumed}:")
        choice = choose(field, seed=arguments.seed, known=record.known, report=record.tried)
        settings = choice.settings
        if arguments.calibrate:
            factor = choice.widening
    print(f"\nSettings: {described(settings)}")
    if factor != 1:
        print(
            f"Error bars are multiplied by {factor:.3g}, a correction by moved gaps: with it, 90 % of "
            "what these gaps hid is in its interval of 90 %. --no-calibrate leaves it out."
        )
    model = FieldModel(settings, widening=factor).fit(field)
    if arguments.export:
        model.save(Path(arguments.export) / MODEL)
        print(f"written: {Path(arguments.export) / MODEL}")
    return model


def write(field: Field, model: FieldModel, arguments: argparse.Namespace, record: Record) -> None:
    """Write the filled field, maps of it, and how many entries were filled."""
    new = field if arguments.model else None  # else what the model has learned
    drawn = model.sample_posterior(new, samples=arguments.samples, seed=arguments.seed)
    settings = {**model.settings._asdict(), "widening": model.widening}
    options = {"noise": drawn.sigma, "settings": settings, "seed": arguments.seed}
    field.save(arguments.out, drawn, **options, overwrite=arguments.overwrite)
    flags, filled = field.flags(), {}
    for channel, name in enumerate(field.names):
        counts = {key: int((flags[..., channel] == number).sum()) for key, number in FLAGS.items()}
        empty, never = counts["frame_without_observation"], counts["never_observed"]
        filled[name] = counts
        print(
            f"{name}: {counts['filled'] + empty + never} entries filled, {empty} of them in frames "
            f"without any observation, {never} at positions that are never observed"
        )
    chosen = {name: getattr(arguments, name) for name in ("times", "region", "every", "isel")}
    record.add(files=arguments.data, **chosen, model=arguments.model, settings=settings, filled=filled)
    print(f"written: {arguments.out}")
    if arguments.maps:
        maps.save_maps(arguments.maps, field, drawn, noise=drawn.sigma)
        print(f"written: {arguments.maps}")


def cross_validated(field: Field, model: FieldModel, arguments: argparse.Namespace) -> dict:
    """Print and return errors under moved gaps, other ones than those that settings were chosen by."""

    def fill(given):
        used = model
        if not arguments.model:  # learn again, without what is hidden
            used = FieldModel(model.settings, widening=model.widening).fit(given)
        return used.sample_posterior(given, samples=arguments.samples, seed=arguments.seed)

    scores = validate(field, fill, arguments.seed)
    print(f"\nCross-validation under other moved gaps:\n\n{table(scores['variables'])}\n")
    for line in concentrated(scores["variables"]):
        print(line)
    if not arguments.model:
        print(f"{scores['shared']:.0%} of these entries were hidden too when settings were chosen.")
    return scores


if __name__ == "__main__":
    programs.run(main)

"""What is special to one kind of signal in the training programs: its data, networks and options."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import keras

from abp_tf import data, networks, runs

from .kind_defaults import DEFAULTS as OF_KINDS
from .options import positive, share, size


class Network(NamedTuple):
    """A network of one kind of signal.

    Attributes:
        build: makes it from the shape of a signal and keywords.
        keywords: by the setting that tells them; what is None is left to `build`.
    """

    build: Callable[..., keras.Model]
    keywords: dict[str, str]

    def __call__(self, shape: tuple[int, ...], settings: dict, **more) -> keras.Model:
        """Make the network that settings describe."""
        given = {keyword: settings.get(name) for name, keyword in self.keywords.items()}
        given = {**given, **more, "dtype": settings["precision"]}
        return self.build(shape, **{name: value for name, value in given.items() if value is not None})


class Kind(NamedTuple):
    """One kind of signal.

    Attributes:
        sources: where its data may come from, one line of help each.
        generator: its top-down network.
        descriptor: its bottom-up network.
    """

    sources: dict[str, str]
    generator: Network
    descriptor: Network


def _same(*names: str, **others: str) -> dict[str, str]:
    return {name: name for name in names} | others


KINDS = {
    "image": Kind(
        data.SOURCES_HELP,
        Network(
            networks.image_generator,
            _same("latent_dim", "width", "hidden", "kernel_size", "activation", "batch_norm",
                  "antialias"),
        ),
        Network(
            networks.image_descriptor,
            _same("width", "kernel_size", "activation", "outputs", "initial_deviation"),
        ),
    ),
    "texture": Kind(
        data.TEXTURE_SOURCES_HELP,
        Network(
            networks.texture_generator,
            _same("width", "kernel_size", "levels", "activation", "padding",
                  latent_dim="latent_channels"),
        ),
        Network(networks.texture_descriptor, _same("width", "levels", "activation", "padding")),
    ),
    "sound": Kind(
        data.SOUND_SOURCES_HELP,
        Network(
            lambda shape, **keywords: networks.sound_generator(shape[0], **keywords),
            _same("width", "factors", "kernel_size", "activation", "padding",
                  latent_dim="latent_channels"),
        ),
        Network(
            lambda shape, **keywords: networks.sound_descriptor(shape[0], **keywords),
            _same("width", "kernel_size", "stride", "levels", "activation", "padding"),
        ),
    ),
    "video": Kind(
        data.VIDEO_SOURCES_HELP,
        Network(
            networks.video_generator,
            _same("width", "base", "levels", "time_levels", "stationary", "activation", "padding",
                  latent_dim="latent_channels"),
        ),
        Network(
            networks.video_descriptor,
            _same("width", "kernel_size", "levels", "stationary", "activation"),
        ),
    ),
}  # fmt: skip

_COLUMNS = 79  # of --help

# Of the settings that a run with both networks has twice, those of the descriptor.
_PREFIXED = ("width", "kernel_size", "activation", "levels", "padding")
# Networks by the programs that learn them.
_PARTS = {
    "generator": ("generator",),
    "descriptor": ("descriptor",),
    "coopnets": ("generator", "descriptor"),
}

# None: as the source, or the network, has it by itself.
DEFAULTS = {
    "kind": "image",
    "data": "digits",
    "size": None,
    "crop": True,
    "grey": None,
    "limit": None,
    "test_share": 0.1,
    "data_dir": None,
    "patch": None,
    "patches": 100,
    "length": None,
    "hop": None,
    "rate": None,
    "peak": None,
    "fps": None,
    "item": None,
    "levels": None,
    "time_levels": None,
    "factors": None,
    "base": None,
    "stride": None,
    "padding": None,
    "stationary": None,
    "least_steps_per_epoch": 1,
}


def add_options(
    parser: argparse.ArgumentParser, program: str, defaults: dict, of_sources: dict
) -> None:
    """Add the options that say which signals to use, and tell what all options are by default.

    Args:
        parser: of the program.
        program: its name, "generator", "descriptor" or "coopnets".
        defaults: of the program, for images.
        of_sources: what suits a source of images better, by its name.
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.fill(parser.description, _COLUMNS)
    parser.epilog = _told(program, defaults, of_sources)
    add = parser.add_argument_group("data").add_argument
    add(
        "--kind",
        choices=KINDS,
        help="of signals, image by default; it decides the other defaults, below",
    )
    sources = "; ".join(
        f"{name.upper()}: " + "; ".join(kind.sources.values()) for name, kind in KINDS.items()
    )
    add("--data", metavar="SOURCE", help=sources.replace("%", "%%"))
    add("--size", type=size, metavar="N|HxW", help="resize images, textures and frames to this")
    add("--crop", action=argparse.BooleanOptionalAction,
        help="crop the centre to the target's aspect ratio before resizing, or squeeze")  # fmt: skip
    add("--grey", action=argparse.BooleanOptionalAction,
        help="make images grey, or colour; by default as they are")  # fmt: skip
    add("--limit", type=positive(int), help="use the first so many examples")
    add("--test-share", type=share, help="share of the examples held out for testing")
    add("--data-dir", help="where tensorflow-datasets keeps its data")
    add("--patch", type=size, metavar="N|HxW", help="learn a texture from random crops of this size")
    add("--patches", type=positive(int), help="number of these")
    add("--length", type=positive(int), help="samples of a sound, frames of a clip")
    add("--hop", type=positive(int), help="from the start of a sound or clip to that of the next")
    add("--rate", type=positive(float), help="resample sounds to so many samples per second")
    add("--peak", type=positive(float), help="scale each recording to this largest absolute value")
    add("--fps", type=positive(float), help="frames per second of clips")
    add("--item", type=int, help="number of the recording, or photograph, of an array of several")


def _told(program: str, defaults: dict, of_sources: dict) -> str:
    """Tell the defaults of a program for each kind, as one would give them."""
    lines = ["defaults; what is not listed is as the source or the network has it:"]

    def add(start: str, *told: str) -> None:
        lines.extend(
            textwrap.wrap(
                f"{start}: {' '.join(told)}",
                _COLUMNS,
                initial_indent="  ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        )

    strange = _owned(_PARTS[program]) - _options("image", _PARTS[program])
    strange |= {"kind", *(name for name, value in defaults.items() if value is False)}
    plain = {name: value for name, value in defaults.items() if name not in strange}
    add("images", *_as_given(plain))
    for source, values in of_sources.items():
        add(f"--data {source}", *_as_given(values), "and else as above")
    for kind, of_programs in OF_KINDS.items():
        if values := of_programs[program]:
            own = _options(kind, _PARTS[program])
            free = [_flag(name) for name, value in values.items() if value is None and name in own]
            as_network = [*free, "as the network has it"] if free else []
            add(f"--kind {kind}", *_as_given(values), *as_network, "and else as for images")
    return "\n".join(lines)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _as_given(values: dict) -> list[str]:
    given = []
    for name, value in values.items():
        if isinstance(value, bool):
            given.append(_flag(name if value else f"no_{name}"))
        elif value is not None:
            given.append(
                f"{_flag(name)} {value:.6g}" if isinstance(value, float) else f"{_flag(name)} {value}"
            )
    return given


def settle(program: str, given: dict, defaults: dict, of_sources: dict) -> dict:
    """Complete options that were given to the settings of a run.

    Args:
        program: its name, "generator", "descriptor" or "coopnets".
        given: options by name.
        defaults: of the program, for images.
        of_sources: what suits a source of images better, by its name.

    Raises:
        ValueError: an option, or its value, belongs to another kind of signal.
    """
    kind = given.get("kind", DEFAULTS["kind"])
    parts = _PARTS[program]
    strange = set(given) & _owned(parts) - _options(kind, parts)
    if strange:
        names = ", ".join(map(_flag, sorted(strange)))
        raise ValueError(f"{names}: not an option of --kind {kind}. Leave it out.")
    for name in ("kernel_size", "descriptor_kernel_size"):
        if kind != "video" and isinstance(given.get(name), list):
            raise ValueError(
                f"{_flag(name)}: expected one number for --kind {kind}, received {given[name]}; three "
                "are for clips: frames, height and width."
            )
    known = OF_KINDS[kind][program]
    source = given.get("data", {**defaults, **known}["data"])
    if source is None:
        forms = "; ".join(KINDS[kind].sources.values())
        raise ValueError(f"--data: expected a source of --kind {kind}, received none: {forms}.")
    better = of_sources.get(source, {}) if kind == "image" else {}
    return {**defaults, **known, **better, **given}


def enough(settings: dict, examples: int) -> dict:
    """Return settings whose epochs have the least number of iterations, if none was given.

    Args:
        settings: of a run.
        examples: for training.
    """
    one_pass, least = -(-examples // settings["batch_size"]), settings["least_steps_per_epoch"]
    if settings["steps_per_epoch"] or one_pass >= least:
        return settings
    return {**settings, "steps_per_epoch": least}


def _owned(parts: tuple[str, ...]) -> set[str]:
    """Name the options that are about data and networks of any kind."""
    return set().union(*(_options(kind, parts) for kind in KINDS))


def _options(kind: str, parts: tuple[str, ...]) -> set[str]:
    """Name the options that say something of data and networks of a kind."""
    names = set(runs.LOADERS[kind][1])
    for part in parts:
        network = getattr(KINDS[kind], part)
        both = len(parts) > 1 and part == "descriptor"
        names |= {
            f"descriptor_{name}" if both and name in _PREFIXED else name for name in network.keywords
        }
    return names


def generator(shape: tuple[int, ...], settings: dict) -> keras.Model:
    """Make the top-down network that the settings of a run describe."""
    return KINDS[settings["kind"]].generator(shape, settings)


def descriptor(shape: tuple[int, ...], settings: dict, scale: float | None = None) -> keras.Model:
    """Make the bottom-up network that the settings of a run describe."""
    prefixed = {name: settings.get(f"descriptor_{name}", settings[name]) for name in _PREFIXED}
    return KINDS[settings["kind"]].descriptor(shape, {**settings, **prefixed}, scale=scale)

"""What is special to one kind of signal in the training programs: its data, networks and options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import keras

from abp_tf import data, networks, runs

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
        defaults: settings that differ from those for images.
    """

    sources: dict[str, str]
    generator: Network
    descriptor: Network
    defaults: dict


def _same(*names: str, **others: str) -> dict[str, str]:
    return {name: name for name in names} | others


# Of networks that are not for images the library knows better.
_LIBRARY = dict.fromkeys(
    ("data", "latent_dim", "width", "kernel_size", "hidden", "descriptor_width",
     "descriptor_kernel_size", "batch_norm")
)  # fmt: skip

KINDS = {
    "image": Kind(
        data.SOURCES_HELP,
        Network(
            networks.image_generator,
            _same("latent_dim", "width", "hidden", "kernel_size", "activation", "batch_norm"),
        ),
        Network(
            networks.image_descriptor,
            _same("width", "kernel_size", "activation", "outputs", "initial_deviation"),
        ),
        {},
    ),
    "texture": Kind(
        data.TEXTURE_SOURCES_HELP,
        Network(
            networks.texture_generator,
            _same("width", "kernel_size", "levels", "activation", latent_dim="latent_channels"),
        ),
        Network(networks.texture_descriptor, _same("width", "activation")),
        {**_LIBRARY, "data": "brick", "size": 224},
    ),
    "sound": Kind(
        data.SOUND_SOURCES_HELP,
        Network(
            lambda shape, **keywords: networks.sound_generator(shape[0], **keywords),
            _same("width", "factors", "activation", latent_dim="latent_channels"),
        ),
        Network(
            lambda shape, **keywords: networks.sound_descriptor(shape[0], **keywords),
            _same("width", "kernel_size", "activation"),
        ),
        _LIBRARY,
    ),
    "video": Kind(
        data.VIDEO_SOURCES_HELP,
        Network(
            networks.video_generator,
            _same("width", "levels", "time_levels", "stationary", "activation",
                  latent_dim="latent_channels"),
        ),
        Network(networks.video_descriptor, _same("width", "stationary", "activation")),
        _LIBRARY,
    ),
}  # fmt: skip

# Of the settings that a run with both networks has twice, those of the descriptor.
_PREFIXED = ("width", "kernel_size", "activation")

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
    "stationary": None,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which signals to use."""
    add = parser.add_argument_group("data").add_argument
    add("--kind", choices=KINDS, help="of signals; image by default")
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


def add_network(add: Callable) -> None:
    """Add the options of top-down networks that are not for images."""
    add("--levels", type=positive(int), help="how often a texture or the frames of a clip are doubled")
    add("--time-levels", type=int, help="how often the number of frames is doubled")
    add("--factors", type=positive(int), nargs="+", help="by how much each layer lengthens a sound")
    add_stationary(add)


def add_stationary(add: Callable) -> None:
    """Add the option of networks for clips."""
    add("--stationary", action=argparse.BooleanOptionalAction,
        help="whether clips are stationary in space as well as in time")  # fmt: skip


def settle(given: dict, defaults: dict, of_sources: dict, *parts: str) -> dict:
    """Complete options that were given to the settings of a run.

    Args:
        given: options by name.
        defaults: of the program, for images.
        of_sources: what suits a source of images better, by its name.
        *parts: the networks of the program, "generator" or "descriptor".

    Raises:
        ValueError: an option belongs to another kind of signal.
    """
    kind = given.get("kind", DEFAULTS["kind"])
    own = _options(kind, parts)
    strange = set(given) & set().union(*(_options(other, parts) for other in KINDS)) - own
    if strange:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(strange))
        raise ValueError(f"{names}: not an option of --kind {kind}. Leave it out.")
    known = {name: value for name, value in KINDS[kind].defaults.items() if name in defaults}
    source = given.get("data", {**defaults, **known}["data"])
    if source is None:
        forms = "; ".join(KINDS[kind].sources.values())
        raise ValueError(f"--data: expected a source of --kind {kind}, received none: {forms}.")
    better = of_sources.get(source, {}) if kind == "image" else {}
    return {**defaults, **known, **better, **given}


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

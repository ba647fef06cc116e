"""Parsers of the programs, and their configuration files, made from tables of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from abp_tf import runs, signals
from abp_tf.options import Formatter, Option, flag, shown
from abp_tf.signals import SignalKind

from .options import Table, flat, refuse_others


def parse(
    program: str, description: str, table: Callable[[SignalKind], Table], argv: list[str] | None
) -> dict:
    """Parse the command line of a training program, and the configuration file that it names.

    The options are those of the kind of signal: the one that is given, in the file or on the command
    line, or that of the run to be resumed.

    Returns:
        What was given, `run` and `resume` among it.
    """
    first = _parser(add_help=False)
    _add_run(first)
    known, _ = first.parse_known_args(argv)
    config = read_config(known.config) if hasattr(known, "config") else {}
    if getattr(known, "resume", False) and hasattr(known, "run"):
        config.setdefault("kind", runs.Run.open(known.run).config["settings"]["kind"])
    kind = signals.get(getattr(known, "kind", config.get("kind", "image")))
    config.setdefault("kind", kind.name)

    options = table(kind)
    result = _parser(
        prog=f"train.{program}",
        usage=f"train.{program} --run DIR [--kind NAME] [--config FILE] [OPTION ...]",
        description=f"{description} Options for {kind.plural}:",
        epilog=_better(kind, program),
    )
    _add_run(result, required=True)
    for heading, group in options.items():
        target = result.add_argument_group(heading)
        for name, option in group.items():
            option.add_to(target, name)
    found, rest = result.parse_known_args(argv)
    strange = {
        word.split("=")[0].removeprefix("--").replace("-", "_") for word in rest if word[:2] == "--"
    }
    others = {name for one in signals.names() for name in flat(table(signals.get(one)))}
    if strange and strange <= others:
        refuse_others(table, kind, strange)
    if rest:
        result.error(f"unrecognized arguments: {' '.join(rest)}")
    given = vars(found)
    given.pop("config", None)
    return {**_checked(config, table, kind), **given}


def plain(prog: str, description: str, options: Mapping[str, Option]) -> argparse.ArgumentParser:
    """Return the parser of a program whose options are the same for all kinds of signal."""
    result = argparse.ArgumentParser(
        prog=prog, description=description, allow_abbrev=False, formatter_class=Formatter
    )
    for name, option in options.items():
        option.add_to(result, name)
    result.set_defaults(**{name: option.default for name, option in options.items()})
    return result


def read_config(path: str) -> dict:
    """Read options from a YAML file, or the settings from the config.json of a run.

    Raises:
        ValueError: the file holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"--config: {path} cannot be read as YAML: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"]
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(
            f"--config: expected a mapping of options to values in {path}, such as 'epochs: 20', or "
            f"the config.json of a run, received {type(content).__name__}."
        )
    return {key.replace("-", "_"): value for key, value in content.items()}


def _checked(config: Mapping[str, Any], table: Callable, kind: SignalKind) -> dict:
    """Return the options of a configuration file as the command line would have given them."""
    options = flat(table(kind))
    refuse_others(table, kind, set(config) - options.keys() - {"kind"})
    result = {"kind": kind.name}
    for name, option in options.items():
        if name in config:
            try:
                result[name] = option.check(config[name])
            except (ValueError, TypeError) as error:
                raise ValueError(f"--config: {name}: {error}.") from None
    return result


def _parser(**keywords) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=Formatter,
        **keywords,
    )


def _add_run(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the options that say where to learn, of what kind of signal, and with what settings."""
    add = parser.add_argument
    add("--run", required=required, metavar="DIR", help="new directory to write")
    add("--resume", action="store_true", help="continue an interrupted run with its own settings")
    add("--config", metavar="FILE", help="YAML file of options, or the config.json of a run")
    add("--kind", choices=signals.names(), metavar="NAME",
        help=f"{', '.join(signals.names())}: each has options of its own [image]")  # fmt: skip


def _better(kind: SignalKind, program: str) -> str:
    """Return what a program does by default with single sources."""
    lines = [
        f"--data {source}: {' '.join(f'{flag(name)} {shown(value)}' for name, value in values.items())}"
        for source, values in kind.source_defaults.get(program, {}).items()
    ]
    return "\n".join(lines)

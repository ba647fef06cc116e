"""Parse command lines and configuration files by tables of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from abp_tf import runs, signals
from abp_tf.options import Formatter, Option, flag, positive, shown
from abp_tf.signals import SignalKind

from .options import Table, flat, refuse_others


def parse(
    program: str, description: str, table: Callable[[SignalKind], Table], argv: list[str] | None
) -> dict:
    """Parse the command line of a training program and the configuration file that it names.

    The options depend on the kind of signal: the one on the command line, in the configuration file
    or of the run to resume, or else images.

    Args:
        program: name of the program, "generator", "descriptor" or "coopnets".
        description: first sentence of the help.
        table: function from a kind of signal to the program's options.
        argv: words of the command line; None for those of the process.

    Returns:
        Values by name of the options that were given, `run` among them, and `resume` if there is a run
        to resume.

    Raises:
        ValueError: an option belongs to another kind of signal, or the file is not valid.
        SystemExit: the command line is not valid, or has --help.
    """
    first = _parser(add_help=False)
    _add_run(first)
    known, _ = first.parse_known_args(argv)
    config = read_config(known.config) if hasattr(known, "config") else {}
    resume = getattr(known, "resume", None)
    if resume == "auto":
        resume = runs.Run.begun(getattr(known, "run", ""))
    if resume and hasattr(known, "run"):
        config.setdefault("kind", runs.Run.open(known.run).config["settings"]["kind"])
    kind = signals.get(getattr(known, "kind", config.get("kind", "image")))
    config.setdefault("kind", kind.name)

    options = table(kind)
    result = _parser(
        prog=f"train.{program}",
        usage=f"train.{program} --run DIR [--kind NAME] [--config FILE] [OPTION ...]",
        description=f"{description} Options for {kind.plural}, with defaults in brackets:",
        epilog=_source_defaults(kind, program),
    )
    _add_run(result, required=True)
    for heading, group in options.items():
        target = result.add_argument_group(heading)
        for name, option in group.items():
            option.add_to(target, name)
    found, rest = result.parse_known_args(argv)
    unknown = {
        word.split("=")[0].removeprefix("--").replace("-", "_") for word in rest if word[:2] == "--"
    }
    others = {name for one in signals.names() for name in flat(table(signals.get(one)))}
    if unknown and unknown <= others:
        refuse_others(table, kind, unknown)
    if rest:
        result.error(f"unrecognized arguments: {' '.join(rest)}")
    given = vars(found)
    for name in ("config", "resume"):
        given.pop(name, None)
    return {**_checked(config, table, kind), **given, **({"resume": True} if resume else {})}


def without_workers(argv: list[str] | None) -> list[str]:
    """Return the words of a command line without the option --workers.

    Args:
        argv: the words; None for those of the process.

    Example:
        >>> without_workers(["--run", "runs/digits", "--workers", "2", "--resume"])
        ['--run', 'runs/digits', '--resume']
    """
    parser = _parser(add_help=False)
    parser.add_argument("--workers")
    return parser.parse_known_args(argv)[1]


def plain(prog: str, description: str, options: Mapping[str, Option]) -> argparse.ArgumentParser:
    """Return the parser of a program whose options are the same for all kinds of signal.

    Args:
        prog: name of the program in its help.
        description: text at the head of its help.
        options: options by name.
    """
    result = argparse.ArgumentParser(
        prog=prog,
        description=f"{description} Defaults are in brackets.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    for name, option in options.items():
        option.add_to(result, name)
    result.set_defaults(**{name: option.default for name, option in options.items()})
    return result


def read_config(path: str) -> dict:
    """Read options from a YAML file, or settings from the config.json of a run.

    Returns:
        Values by name, not yet checked.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not YAML, or not a mapping.
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
    """Check the options of a configuration file.

    Returns:
        Values by name, as the command line would give them.

    Raises:
        ValueError: an option is unknown or its value is not valid.
    """
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
    """Add the options that all training programs share for the run, its settings and its kind."""
    add = parser.add_argument
    add(
        "--run",
        required=required,
        metavar="DIR",
        help="directory of the run; new, or with --resume an existing one",
    )
    add("--resume", nargs="?", const="yes", choices=("yes", "auto"), metavar="auto",
        help="continue the run in DIR as it began; auto: if there is one")  # fmt: skip
    add("--config", metavar="FILE", help="YAML file of options, or the config.json of another run")
    add("--kind", choices=signals.names(), metavar="NAME",
        help=f"kind of signal: {', '.join(signals.names())} [image]")  # fmt: skip
    add("--workers", type=positive(int), metavar="N", help="processes to start on this machine [1]")
    add("--strategy", choices=("mirrored", "none"), metavar="NAME",
        help="mirrored: all devices, none: one; by default all GPUs if several")  # fmt: skip


def _source_defaults(kind: SignalKind, program: str) -> str:
    """Return help on the defaults that differ for single sources of data."""
    lines = []
    for source, values in kind.source_defaults.get(program, {}).items():
        words = " ".join(f"{flag(name)} {shown(value)}" for name, value in values.items())
        lines.append(f"With --data {source}: {words}")
    return "\n".join(lines)

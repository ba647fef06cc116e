"""Run the programs of the package through one command, `abp-tf`."""

import importlib
import sys
from typing import NamedTuple, TextIO

from abp_tf import programs
from abp_tf._version import __version__


class Program(NamedTuple):
    """Describe a program of the command.

    Attributes:
        module: its module, without the package.
        help: what it does, in one line.
    """

    module: str
    help: str


# Programs by the one or two words that name them. A module is imported only when its program runs, so
# that a program without its optional packages does not disable the others.
PROGRAMS = {
    "train generator": Program(
        "train.generator", "learn a generator of signals, also from incomplete ones"
    ),
    "train descriptor": Program("train.descriptor", "learn a descriptor, an energy of signals"),
    "train coopnets": Program("train.coopnets", "learn a generator and a descriptor together"),
    "recover": Program("train.recover", "recover hidden or indirectly observed signals"),
    "fill": Program("train.fill", "fill the gaps of a field on a grid, such as a NetCDF file"),
    "evaluate": Program("train.evaluate", "measure a learned model on test signals"),
    "gather": Program("train.gather", "make one model file of the backup of several processes"),
    "export": Program("export.saved_model", "export a learned model as a SavedModel"),
    "serve": Program("export.server", "serve exported models over the network"),
    "page": Program("export.page", "show what a served model does on a page in the browser"),
    "client": Program("export.client", "request signals and scores from a served model"),
    "demo": Program("train.demo", "learn, export and serve a small model in a few minutes"),
}


def usage() -> str:
    """Return the usage text: the words that call each program, and what it does."""
    width = max(map(len, PROGRAMS))
    lines = [f"  {words:<{width}}  {program.help}" for words, program in PROGRAMS.items()]
    return "\n".join(
        [
            "usage: abp-tf [--help] [--version] PROGRAM [ARGUMENT ...]",
            "",
            "programs:",
            *lines,
            "",
            "abp-tf PROGRAM --help lists the arguments of a program.",
        ]
    )


def find(argv: list[str]) -> tuple[Program, list[str]] | None:
    """Split a command line into a program and its arguments.

    Args:
        argv: words after `abp-tf`.

    Returns:
        The program and the words after its name; None if the words name no program.

    Example:
        >>> program, rest = find(["train", "generator", "--help"])
        >>> program.module, rest
        ('train.generator', ['--help'])
    """
    for words, program in PROGRAMS.items():
        length = len(words.split())
        if argv[:length] == words.split():
            return program, argv[length:]
    return None


def main(argv: list[str] | None = None) -> int | None:
    """Run the program that the first words name, with the words after them.

    Args:
        argv: words after `abp-tf`; None for those of the process.

    Returns:
        The exit code of the program, or 2 if the words name none.

    Example:
        >>> main(["--version"])
        abp-tf 0.1.0
        0
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (["--help"], ["-h"]):
        return _print(usage(), sys.stdout, 0)
    if argv[:1] == ["--version"]:
        return _print(f"abp-tf {__version__}", sys.stdout, 0)
    if not argv:
        return _print(usage(), sys.stderr, 2)
    found = find(argv)
    if found is None:
        message = f"abp-tf: expected one of the programs listed, received {' '.join(argv[:2])!r}"
        return _print(f"{usage()}\n\n{message}", sys.stderr, 2)
    program, rest = found
    name = _installed_name(program.module)
    return programs.call(lambda words: importlib.import_module(name).main(words), rest)


def _print(text: str, stream: TextIO, code: int) -> int:
    print(text, file=stream)
    return code


def _installed_name(module: str) -> str:
    # In a checkout the folders are at the top (`python -m train.command`); installed, they are inside
    # abp_tf. The prefix of "train" in the name of this package is that of every program.
    return __package__.removesuffix("train") + module


if __name__ == "__main__":
    sys.exit(main())

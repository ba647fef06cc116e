"""The `abp-tf` command: one door to every program of the package."""

import importlib
import sys
from typing import NamedTuple, TextIO

from abp_tf import programs
from abp_tf._version import __version__


class Program(NamedTuple):
    """Where a program lives, and what it does in one line."""

    module: str
    help: str


# The words that name a program, one or two. A module is imported only when its program is asked
# for: a program that lacks an optional package does not take the others with it.
PROGRAMS = {
    "train generator": Program("train.generator", "learn a generator from signals, damaged or not"),
    "train descriptor": Program("train.descriptor", "learn an energy of signals, by Langevin samples"),
    "train coopnets": Program("train.coopnets", "learn a generator and a descriptor together"),
    "recover": Program("train.recover", "fill in what is hidden, or was never seen, of images"),
    "evaluate": Program("train.evaluate", "measure a trained model on signals it has not seen"),
    "export": Program("export.saved_model", "turn a trained model into a SavedModel for serving"),
    "serve": Program("export.server", "answer for exported models over the network"),
    "client": Program("export.client", "ask a model that a server holds, for images from images"),
    "demo": Program("train.demo", "train a small model and look at it, in a few minutes"),
}


def usage() -> str:
    """Returns the usage text: every program with the words that call it."""
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
    """Splits a command line into the program it names and the arguments for that program.

    Args:
        argv: The words after `abp-tf`.

    Returns:
        The program and the rest of the words; None if no program is called so.
    """
    for words, program in PROGRAMS.items():
        length = len(words.split())
        if argv[:length] == words.split():
            return program, argv[length:]
    return None


def main(argv: list[str] | None = None) -> int | None:
    """Runs the program that the first words name, with the words after them.

    Args:
        argv: The words after `abp-tf`; those of the process by default.

    Returns:
        The exit code: that of the program, or 2 if none was named.

    Example:
        >>> main(["--version"])
        abp-tf 0.1.0
        0
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (["--help"], ["-h"]):
        return _say(usage(), sys.stdout, 0)
    if argv[:1] == ["--version"]:
        return _say(f"abp-tf {__version__}", sys.stdout, 0)
    if not argv:
        return _say(usage(), sys.stderr, 2)
    found = find(argv)
    if found is None:
        message = f"abp-tf: no program is called {' '.join(argv[:2])!r}; see the list above"
        return _say(f"{usage()}\n\n{message}", sys.stderr, 2)
    program, rest = found
    name = _installed_name(program.module)
    return programs.call(lambda words: importlib.import_module(name).main(words), rest)


def _say(text: str, stream: TextIO, code: int) -> int:
    print(text, file=stream)
    return code


def _installed_name(module: str) -> str:
    # In a checkout the folders stand at the top (`python -m train.command`), installed they are
    # inside abp_tf: what precedes "train" in this package's own name precedes every program.
    return __package__.removesuffix("train") + module


if __name__ == "__main__":
    sys.exit(main())

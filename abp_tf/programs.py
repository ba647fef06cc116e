"""How the programs of `train/`, `export/` and `benchmarks/` end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from abp_tf.errors import DivergenceError


def call(main: Callable[[list[str] | None], int | None], argv: list[str] | None) -> int | None:
    """Call a program: what its user can mend is told in one line, without a traceback.

    Args:
        main: the program's function of its arguments.
        argv: the arguments; None for those of the command line.

    Returns:
        The exit code.

    Raises:
        SystemExit: with that line, which Python prints as it exits with code 1.
    """
    try:
        return main(argv)
    except (ValueError, OSError, ImportError, DivergenceError) as error:
        sys.exit(f"error: {error}")


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> NoReturn:
    """Call a program, with the arguments of the command line by default, and exit."""
    sys.exit(call(main, argv))

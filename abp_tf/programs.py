"""How the programs of `train/`, `export/` and `benchmarks/` end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from abp_tf.checks import DivergenceError


def call(main: Callable[[list[str] | None], int | None], argv: list[str] | None) -> int:
    """Call a program: what its user can mend is told in one line, without a traceback.

    Args:
        main: the program's function of its arguments.
        argv: the arguments; None for those of the command line.

    Returns:
        The exit code.
    """
    try:
        return main(argv) or 0
    except (ValueError, OSError, ImportError, DivergenceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(main: Callable[[list[str] | None], int | None]) -> NoReturn:
    """Call a program with the arguments of the command line, and exit."""
    sys.exit(call(main, None))

"""How the programs of `train/`, `export/` and `benchmarks/` end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from abp_tf.checks import DivergenceError


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> NoReturn:
    """Run a program and exit: what its user can mend is told in one line, without a traceback.

    Args:
        main: the program's function of its arguments; it returns the exit code.
        argv: the arguments; those of the command line by default.
    """
    try:
        sys.exit(main(argv))
    except (ValueError, OSError, ImportError, DivergenceError) as error:
        sys.exit(f"error: {error}")

"""Run the programs of `train/`, `export/` and `benchmarks/`, and exit with a code and a message."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import NoReturn

from abp_tf.errors import ConvergenceError, DivergenceError, ProcessLostError
from abp_tf.printing import printable

# Errors whose messages say what to change.
_EXPECTED = (ValueError, OSError, ImportError, DivergenceError, ConvergenceError, ProcessLostError)
# Names of TensorFlow's errors of files that cannot be written.
_OF_FILES = ("PermissionDeniedError", "ResourceExhaustedError")


def call(main: Callable[[list[str] | None], int | None], argv: list[str] | None) -> int | None:
    """Call a program, and turn errors that its user can fix into one line without a traceback.

    Args:
        main: main function of the program; it takes the arguments and returns the exit code.
        argv: arguments; None for those of the command line.

    Returns:
        The exit code.

    Raises:
        SystemExit: with that line; Python prints it and exits with code 1.
    """
    try:
        return main(argv)
    except _EXPECTED as error:
        message = str(error)
    except MemoryError as error:
        message = f"There is not enough memory. Use fewer or smaller signals. {error}"
    except Exception as error:
        # TensorFlow's errors of files, as of a disk that is full or may not be written, are no OSError.
        if type(error).__name__ not in _OF_FILES or not type(error).__module__.startswith("tensorflow"):
            raise
        # Without the name of the operation, which precedes the message in braces.
        message = re.sub(r"^\{\{.*?\}\} ", "", str(error).partition("\n")[0])
    sys.exit(f"error: {printable(message)}")


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> NoReturn:
    """Call a program, by default with the arguments of the command line, and exit with its code."""
    sys.exit(call(main, argv))

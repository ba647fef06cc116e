"""What a computation costs: seconds, and memory on top of what the process has already."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def measured() -> Iterator[dict]:
    """Yield a mapping that holds `seconds` and, on Linux, `MB` when the context ends.

    `MB` is the largest resident memory meanwhile, less that at the beginning.

    Example:
        >>> with measured() as cost:
        ...     squares = [number**2 for number in range(10)]
        >>> sorted(set(cost) - {"MB"})
        ['seconds']
    """
    cost: dict = {}
    if CLEAR.exists():
        CLEAR.write_text("5")  # the largest memory so far is now the present one
        before = _kilobytes("VmRSS")
    began = time.time()
    yield cost
    cost["seconds"] = round(time.time() - began, 1)
    if CLEAR.exists():
        cost["MB"] = round((_kilobytes("VmHWM") - before) / 1024)


def resident() -> int:
    """Return the resident memory of this process in MB; 0 where the system does not say it."""
    return round(_kilobytes("VmRSS") / 1024) if STATUS.exists() else 0


def _kilobytes(name: str) -> int:
    line = next(one for one in STATUS.read_text().splitlines() if one.startswith(name + ":"))
    return int(line.split()[1])

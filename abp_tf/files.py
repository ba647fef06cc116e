"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` when the block ends well.

    Args:
        path: where the file is to be; one that is there is replaced at the very end.
    """
    path = Path(path)
    # The same suffix, because writers choose the format by it.
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value) -> None:
    """Write `value` as indented JSON, aside and renamed."""
    with aside(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def replace(path: str | os.PathLike, content: bytes) -> None:
    """Write `content`, aside and renamed; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(path) as temporary:
        temporary.write_bytes(content)

"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath


def taken(path: Path) -> bool:
    """Tell whether something is at a path that is to be a new directory; an empty one may be there."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def stems(names: Sequence[str]) -> list[str]:
    """Return the names of files without suffixes, numbered where two would be one file.

    Example:
        >>> stems(["a.png", "b.png", "more/a.png", "a.bmp"])
        ['a', 'b', 'more/a', 'a-2']
    """
    used: set[str] = set()
    result = []
    for name in names:
        stem, number = PurePath(name).with_suffix("").as_posix(), 1
        candidate = stem
        while candidate.lower() in used:
            number += 1
            candidate = f"{stem}-{number}"
        used.add(candidate.lower())
        result.append(candidate)
    return result


@contextlib.contextmanager
def aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` when the block ends well.

    Args:
        path: where the file is to be; one that is there is replaced at the very end, missing folders
            are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
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
    """Write `content`, aside and renamed."""
    with aside(path) as temporary:
        temporary.write_bytes(content)

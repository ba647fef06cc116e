"""Write files whole or not at all, and name files and folders."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

# The largest number of bytes of a name, and the longest suffix of files that are written by name.
_BYTES, _SUFFIX = 255, ".nii.gz"
# Names of temporary files: eight random digits, and the suffix of the file to be.
_PART = re.compile(r"\.[0-9a-f]{8}\.part(\.[^.]*)?")


def taken(path: Path) -> bool:
    """Return whether a path cannot become a new directory: it exists and is no empty directory.

    What processes left that were killed while they wrote does not count.
    """
    return path.exists() and (not path.is_dir() or any(not _left(entry) for entry in path.iterdir()))


def clean(path: Path) -> None:
    """Remove the temporary files that killed processes left in a directory and below it."""
    for entry in path.rglob(".*.part*"):
        if _left(entry):
            entry.unlink(missing_ok=True)


def _left(path: Path) -> bool:
    """Return whether a path is a temporary file of `aside` whose writer is dead."""
    if not (_PART.fullmatch(path.name) and path.is_file()):
        return False
    try:
        with open(path, "r+b") as file:  # disks of a network lock only what may be written
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its writer lives, or has just renamed it; or nobody can tell
        return False
    return True


def stem(name: str) -> PurePath:
    """Return the name of a file without its suffix, in the one Unicode form that names are compared in.

    macOS stores some letters in two parts, and other systems as one.

    Example:
        >>> stem("caf\u00e9.png") == stem("cafe\u0301.jpg")
        True
    """
    return PurePath(unicodedata.normalize("NFC", name)).with_suffix("")


def stems(names: Sequence[str]) -> list[str]:
    """Return the names of files without suffixes, with numbers where two names would be equal.

    Raises:
        ValueError: if a name is too long for a file system, with the suffix of any kind of signal.

    Example:
        >>> stems(["a.png", "b.png", "more/a.png", "a.bmp"])
        ['a', 'b', 'more/a', 'a-2']
    """
    used: set[str] = set()
    result = []
    for name in names:
        first, number = stem(name).as_posix(), 1
        candidate = first
        while candidate.lower() in used:
            number += 1
            candidate = f"{first}-{number}"
        longest = max(len(os.fsencode(part)) for part in candidate.split("/"))
        if longest + len(_SUFFIX) > _BYTES:
            raise ValueError(
                f"Expected names of files of at most {_BYTES - len(_SUFFIX)} bytes without suffix, "
                f"received {longest}: {name!r}. Shorten it."
            )
        used.add(candidate.lower())
        result.append(candidate)
    return result


def numbered(name: str, count: int) -> list[str]:
    """Return names for `count` signals of one file: its name, with numbers if there are several.

    Example:
        >>> numbered("more/bell.wav", 2)
        ['more/bell-1.wav', 'more/bell-2.wav']
    """
    if count == 1:
        return [name]
    file, width = PurePath(name), len(str(count))
    return [str(file.with_stem(f"{file.stem}-{number:0{width}}")) for number in range(1, count + 1)]


@contextlib.contextmanager
def aside(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` when the block ends without error.

    The temporary file exists and is locked, so that `clean` keeps it while this process lives.

    Args:
        path: path of the file. An existing file is replaced at the end; missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same suffix, because writers choose the format by it; not the name, which may be as long as
    # names can be; no number of the process, which is 1 in every container.
    temporary = path.with_name(f".{secrets.token_hex(4)}.part{path.suffix}")
    with open(temporary, "xb") as file:
        # Lasts as long as this process, and tells others that it lives; some disks have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of the content of a file, which is not read as a whole."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | os.PathLike, value) -> None:
    """Write `value` as indented JSON; an existing file is replaced whole or not at all."""
    replace(path, (json.dumps(value, indent=2) + "\n").encode())


def replace(path: str | os.PathLike, content: bytes) -> None:
    """Write `content`; an existing file is replaced whole or not at all."""
    with aside(path) as temporary:
        temporary.write_bytes(content)

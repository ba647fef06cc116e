"""An archive that is recovered part by part, by one process or several that share a directory.

A part is some successive signals. Which signals are a part, and their seeds, depend on the archive
alone, so that the results are the same bits whichever processes recover the parts. The file of a part
is written last, whole or not at all: what exists is done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from abp_tf import files
from abp_tf.data import npz
from abp_tf.data.examples import digest
from abp_tf.options import flag

# What describes the archive, in the directory of parts.
_ABOUT = "archive.json"


class Shard(NamedTuple):
    """Share number `number` of `count` of an archive; numbers begin with 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard(text: str) -> Shard:
    """Read a share, I/N.

    Example:
        >>> shard("2/3")
        Shard(number=2, count=3)
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N, such as 2/3, I up to N, received {text!r}")
    return Shard(int(number), int(count))


WHOLE = Shard(1, 1)


class Parts:
    """The parts of an archive in a directory; `begin` and `open` return them.

    Attributes:
        about: description of the archive: "signals", their number; "rows", those of a part; and all
            that the results depend on.
    """

    def __init__(self, path: Path, about: dict):
        self.path = path
        self.about = about
        self._digest = digest(json.dumps(about, sort_keys=True).encode())

    def __len__(self) -> int:
        return -(-self.about["signals"] // self.about["rows"])

    @classmethod
    def begin(cls, out: Path, about: Mapping[str, Any]) -> Parts:
        """Make the directory of parts, or go on with one.

        Raises:
            ValueError: if it was begun with another archive, model or options.
        """
        about = json.loads(json.dumps(about))
        if cls.unfinished(out):
            cls.open(out).check(about)
        else:
            files.write_json(_folder(out) / _ABOUT, about)
        return cls(_folder(out), about)

    @classmethod
    def open(cls, out: Path) -> Parts:
        """Return the parts in a directory.

        Raises:
            FileNotFoundError: if there are none.
        """
        try:
            about = json.loads((_folder(out) / _ABOUT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Expected the parts of an archive in {str(out)!r}, but there is no "
                f"{str(_folder(out) / _ABOUT)!r}. Recover them by --shard 1/N to N/N first."
            ) from None
        return cls(_folder(out), about)

    @staticmethod
    def unfinished(out: Path) -> bool:
        """Return whether a directory holds an archive that was begun and is not merged."""
        return (_folder(out) / _ABOUT).exists() and not (out / "recovery.json").exists()

    def check(self, about: Mapping[str, Any]) -> None:
        """Refuse another description, of which only some names may be given.

        Raises:
            ValueError: if something differs; the message names it.
        """
        for name, value in about.items():
            known = self.about.get(name)
            if known != value:
                raise ValueError(
                    f"{flag(name)}: expected {_short(known)}, with which {str(self.path.parent)!r} was "
                    f"begun, received {_short(value)}. Go on with the same options, signals and model, "
                    "or choose another --out."
                )

    def numbers(self, part: int) -> np.ndarray:
        """Return the numbers of the signals of a part."""
        rows = self.about["rows"]
        return np.arange(part * rows, min((part + 1) * rows, self.about["signals"]))

    def missing(self, share: Shard = WHOLE) -> list[int]:
        """Return the parts of a share that are not written yet."""
        mine = range(share.number - 1, len(self), share.count)
        return [part for part in mine if not self._file(part).exists()]

    def write(
        self,
        part: int,
        share: Shard,
        arrays: Mapping[str, np.ndarray],
        sums: Counter,
        skipped: Sequence[str] = (),
    ) -> None:
        """Write what was made of the signals of a part.

        Args:
            part: number of the part.
            share: share that it belongs to.
            arrays: arrays by name, with a row for each signal that could be read.
            sums: sums over these signals.
            skipped: names of the others.
        """
        told = {
            "about": self._digest,
            "share": str(share),
            "sums": json.dumps(sums),
            "skipped": json.dumps(list(skipped)),
        }
        with files.aside(self._file(part)) as path:
            np.savez(path, **arrays, **told)

    def check_complete(self) -> None:
        """Refuse to merge parts of which some are missing, or belong to another archive.

        Raises:
            ValueError: if so; the message names the shares to run again.
        """
        shares, other = Counter(), []
        missing = set(self.missing())
        for part in set(range(len(self))) - missing:
            with np.load(self._file(part)) as stored:
                shares[str(stored["share"])] += 1
                if str(stored["about"]) != self._digest:
                    other.append(str(self._file(part)))
        if other:
            raise ValueError(
                f"Expected parts of one archive, received {len(other)} of another one, such as "
                f"{other[0]!r}: two processes began with different options. Remove them, and run their "
                "shares again."
            )
        if not missing:
            return
        count = max((shard(share).count for share in shares), default=1)
        again = sorted({part % count + 1 for part in missing})
        first = self.numbers(min(missing))
        raise ValueError(
            f"Expected all {len(self)} parts of {str(self.path.parent)!r}, {len(missing)} are missing, "
            f"the first of them signals {first[0]} to {first[-1]}. Run again: "
            f"{', '.join(f'--shard {number}/{count}' for number in again)}."
        )

    def read(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield the named arrays of one part after the other, without parts that have none."""
        for part in range(len(self)):
            with np.load(self._file(part)) as stored:
                found = {name: stored[name] for name in names if name in stored.files}
            if found:
                yield found

    def sums(self) -> Counter:
        """Return the sums of all parts, in their order."""
        total = Counter()
        for part in self.read("sums"):
            total.update(json.loads(str(part["sums"])))
        return total

    def skipped(self) -> list[str]:
        """Return the names of the signals that could not be read."""
        return [name for part in self.read("skipped") for name in json.loads(str(part["skipped"]))]

    def save(self, path: Path, names: list[str], count: int) -> None:
        """Write arrays of all parts to an .npz file, with no more than a part of them in memory.

        Args:
            path: path of the file.
            names: names of arrays, of which those are written that the parts have.
            count: number of rows of all parts.
        """
        there = next(self.read(*names))
        with files.aside(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, array in there.items():
                    kind = array.dtype
                    if kind.kind == "U":  # as long as the longest of all
                        kind = max(part[name].dtype for part in self.read(name))
                    rows = (part[name].astype(kind, copy=False) for part in self.read(name))
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        npz.write_rows(file, rows, count)

    def remove(self) -> None:
        """Remove the directory of the parts."""
        shutil.rmtree(self.path)

    def _file(self, part: int) -> Path:
        return self.path / f"{part:07}.npz"


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _folder(out: Path) -> Path:
    return out / "parts"

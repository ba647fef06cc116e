"""Examples of the data that an export holds beside its functions, for programs that show the model."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf import checks
from abp_tf.data.collect import Signals

FILE = "examples.npz"
# An export stays small: fewer examples are written if their values exceed this.
_BYTES = 4 * 2**20


def choose(signals: Signals, count: int) -> Signals:
    """Return a few test signals, or training signals if there are none for testing.

    They are evenly spaced in the order of the data. There are fewer than `count` if the data are
    fewer, or if their values take more than 4 MB; one is always returned.

    Args:
        signals: signals of a training program.
        count: number of examples, 1 or more.

    Returns:
        The examples, as `train`, with their masks and times.

    Example:
        >>> images = abp_tf.data.load("digits", size=8, limit=100)
        >>> choose(images, 4).train.shape
        (4, 8, 8, 1)
    """
    checks.integer("examples", "count", count, 1)
    part = "test" if len(signals.test) else "train"
    rows, mask, time = (getattr(signals, part + end) for end in ("", "_mask", "_time"))
    size = np.dtype(np.float32).itemsize * int(np.prod(rows.shape[1:]))
    count = max(1, min(count, len(rows), _BYTES // size))
    places = np.linspace(0, len(rows) - 1, count).round().astype(int)
    train = np.asarray(rows[places], np.float32)
    return Signals(
        train,
        train[:0],
        signals.name,
        kind=signals.kind,
        train_mask=None if mask is None else mask[places],
        train_time=None if time is None else time[places],
        header=dict(signals.header),
    )


def write(directory: Path, examples: Signals) -> None:
    """Write examples to a file in a directory.

    Args:
        directory: the directory, which exists.
        examples: the examples, as `choose` returns them.
    """
    about = {"kind": examples.kind, "name": examples.name, "header": dict(examples.header)}
    arrays = {"mask": examples.train_mask, "time": examples.train_time}
    given: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(
        directory / FILE, about=np.array(json.dumps(about)), signal=examples.train, **given
    )


def read(directory: Path) -> Signals | None:
    """Return the examples in a directory, as `train`; None if it has none.

    Raises:
        ValueError: if their file is damaged.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            train = np.asarray(stored["signal"], np.float32)
            mask, time = (stored[name] if name in stored else None for name in ("mask", "time"))
        return Signals(
            train,
            train[:0],
            about["name"],
            kind=about["kind"],
            train_mask=mask,
            train_time=time,
            header=about["header"],
        )
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"Expected examples in {str(path)!r}, which is damaged: {type(error).__name__}: {error}. "
            "Export the model again."
        ) from error

"""Read the files of strangers as signals: what they hold is bounded before it is decoded."""

from __future__ import annotations

import logging
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from abp_tf import data
from abp_tf.data import grid_files
from abp_tf.printing import printable
from abp_tf.signals import SignalKind

log = logging.getLogger(__name__)

# Largest number of bytes that the content of a file may have once it is decoded.
LARGEST = 256 * 2**20
# Largest number of characters of a file's name in messages.
_NAME = 80


def read(
    kind: SignalKind, name: str, content: bytes, shape: Sequence[int], header: Mapping[str, Any]
) -> data.Signals:
    """Return the first signal of a file.

    Args:
        kind: kind of the signals.
        name: name of the file, whose ending is one of `kind.uploads`.
        content: content of the file.
        shape: shape of one signal.
        header: header of the model's signals, to whose form it is brought.

    Raises:
        ValueError: if the ending is another, the content is too large, or it cannot be read.
        ImportError: if the package that reads such files is missing.
    """
    suffix, name = PurePath(name).suffix.lower(), printable(name)[-_NAME:]
    if suffix not in kind.uploads:
        raise ValueError(f"Expected a file that ends in {', '.join(kind.uploads)}, received {name!r}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(content)
        try:
            size = _decoded(path)
            if size > LARGEST:
                raise ValueError(
                    f"Expected a file of at most {LARGEST >> 20} MB when decoded, received {name!r} "
                    f"of {size / 2**20:.0f} MB. Give a smaller part of it."
                )
            return kind.read([str(path)], shape, header, limit=1)
        except ImportError:
            raise
        except Exception as error:  # readers raise errors of many types for damaged files
            log.info("an uploaded file cannot be used", exc_info=error)
            text = str(error).replace(str(path), name).replace(folder, "")
            raise ValueError(f"{name!r} cannot be used: {text}") from error


def _decoded(path: Path) -> int:
    """Return the bytes that the content of a file has by its header; 0 if it is read piece by piece."""
    from PIL import Image

    suffix = path.suffix
    if suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return sum(one.file_size for one in archive.infolist())
    if suffix == ".npy":  # which cannot be mapped if it is shorter than its header says
        return np.load(path, mmap_mode="r").nbytes
    if suffix == ".nc":
        [dataset] = grid_files.opened(path).values()
        with dataset:
            return dataset.nbytes
    if suffix in Image.registered_extensions():
        with Image.open(path) as image:
            return 4 * image.width * image.height
    return 0

"""Files of learned models of fields: NPZ, with settings as JSON."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abp_tf import files
from abp_tf._version import __version__

_ABOUT = "abp_tf_field_model"  # name of the text in JSON


def write(path: str | os.PathLike, about: Mapping, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and what is said about them; an existing file is replaced whole or not at all.

    Args:
        path: path of the file.
        about: settings and the like, in JSON's types.
        arrays: arrays by name.
    """
    text = json.dumps({"version": __version__, **about})
    with files.aside(path) as temporary, open(temporary, "wb") as file:
        named: dict[str, Any] = {_ABOUT: np.array(text), **arrays}
        np.savez_compressed(file, **named)


def read(path: str | os.PathLike, names: Sequence[str]) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what `write` has written: what is said, and the arrays by name.

    Args:
        path: path of the file.
        names: names of the arrays that it must have.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds something else.
    """
    try:
        with np.load(path) as stored:
            return json.loads(str(stored[_ABOUT])), {name: stored[name] for name in names}
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a file that FieldModel.save has written, received {os.fspath(path)!r}: {error}"
        ) from None

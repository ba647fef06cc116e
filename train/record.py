"""The record of a filled field: a JSON file that is written while settings are tried."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from abp_tf import files
from abp_tf._version import __version__
from abp_tf.data import Field
from abp_tf.fields import FieldSettings
from abp_tf.options import shown


class Record:
    """A JSON file with what was found so far; each change is written at once.

    Args:
        path: path of the file.
        content: what it holds.
    """

    def __init__(self, path: Path, content: dict):
        self.path, self.content = path, content

    @classmethod
    def open(cls, path: Path, field: Field, seed: int, resume: bool) -> Record:
        """Begin a record, or go on with that of a run that was stopped.

        Args:
            path: path of the file.
            field: the data.
            seed: seed of the run.
            resume: whether to go on.

        Raises:
            FileNotFoundError: if there is nothing to go on with.
            ValueError: if the record is none, or one of other data, another seed or version.
        """
        begun = {"version": __version__, "seed": seed, "data": fingerprint(field), "tried": []}
        if not resume:
            record = cls(path, {})
            record.add(**begun)
            return record
        if not path.exists():
            raise FileNotFoundError(f"--resume: there is no {path}. Leave --resume out.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = {name: content[name] for name in begun}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"--resume: {path} is no record of train.fill. Move it away.") from None
        for name in ("version", "seed", "data"):
            if found[name] != begun[name]:
                raise ValueError(
                    f"--resume: {path} is of another {name}: it has {found[name]!r}, received "
                    f"{begun[name]!r}. Use what it was begun with, or begin anew with --overwrite."
                )
        return cls(path, found)

    def add(self, **content) -> None:
        """Add to the content, and write the file."""
        self.content |= content
        files.write_json(self.path, self.content)

    def tried(self, settings: FieldSettings, error: float) -> None:
        """Add settings and their error, and print them; an infinite error is stored as null."""
        solved = math.isfinite(error)
        entry = {"settings": settings._asdict(), "error": error if solved else None}
        self.add(tried=[*self.content["tried"], entry])
        text = f"{error:8.4f}  {described(settings)}"
        print(text if solved else f"{text}  left out: conjugate gradients did not converge", flush=True)

    @property
    def known(self) -> dict[FieldSettings, float]:
        """Errors of the settings that were tried."""
        return {
            FieldSettings(**one["settings"]): math.inf if one["error"] is None else one["error"]
            for one in self.content["tried"]
        }


def described(settings: FieldSettings) -> str:
    """Return settings as text.

    Example:
        >>> described(FieldSettings())
        'latents 0  mean 1  space 1  time 0  decay 0.02  noise 0.2  rhythm no'
    """
    return "  ".join(f"{name} {shown(value)}" for name, value in settings._asdict().items())


def fingerprint(field: Field) -> str:
    """Return the SHA-256 of what a model sees of a field: observed entries, mask, domain and times."""
    found = hashlib.sha256(str(field.signal.shape).encode())
    times = np.zeros(0) if field.times is None else field.times
    sigma = np.zeros(0) if field.sigma is None else field.sigma[field.mask]
    for part in (field.signal[field.mask], field.mask, field.domain, times, sigma):
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()

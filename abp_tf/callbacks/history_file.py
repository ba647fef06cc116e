"""Write the logs of every epoch to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras

from abp_tf import files


class HistoryFile(keras.callbacks.Callback):
    """Write the logs of every epoch to a JSON file that survives interruptions.

    Args:
        path: path of the file. It holds a list of objects, one per epoch, and is rewritten whole each
            time.
    """

    only_writes = True  # of several processes, the chief alone runs it

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Append this epoch; entries of an interrupted run for it or later epochs are replaced."""
        past = json.loads(self.path.read_text()) if self.path.exists() else []
        past = [entry for entry in past if entry["epoch"] <= epoch]
        entry = {"epoch": epoch + 1, **{key: float(value) for key, value in (logs or {}).items()}}
        files.write_json(self.path, [*past, entry])

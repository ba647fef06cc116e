"""The logs of every epoch in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras

from abp_tf import files


class HistoryFile(keras.callbacks.Callback):
    """Keep the logs of every epoch in a JSON file, through interruptions.

    Args:
        path: of the file; a list of objects, one per epoch, rewritten whole each time.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Add this epoch; what an interrupted run noted for it or after it is replaced."""
        past = json.loads(self.path.read_text()) if self.path.exists() else []
        past = [entry for entry in past if entry["epoch"] <= epoch]
        entry = {"epoch": epoch + 1, **{key: float(value) for key, value in (logs or {}).items()}}
        files.write_json(self.path, [*past, entry])

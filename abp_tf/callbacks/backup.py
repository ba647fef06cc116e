"""Save a training at the end of every epoch, and resume it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras

from abp_tf import files
from abp_tf.distribution.backup import Directory


class Backup(keras.callbacks.Callback):
    """Save the whole model at the end of every epoch, and resume from the last one saved.

    The backup is one `.keras` file. It is written under another name and then renamed, so that a run
    killed at any moment leaves the last complete one. It holds weights, optimizer, chains, the prior
    and the iteration: `fit` with the same data, seed and `epochs` then ends exactly as without the
    interruption. `keras.models.load_model` can load it too.

    The backup of a model with several shards is a directory instead, with the suffix ".shards", in
    which each process saves the chains that it owns (`abp_tf.distribution.backup`). Any number of
    processes that divides the number of shards resumes from it; they must see the same directory.

    Args:
        path: path of the file, ending in ".keras".

    Example:
        >>> backup = abp_tf.callbacks.Backup("run/model.keras")
        >>> history = model.fit(images, batch_size=20, epochs=2, callbacks=[backup])
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(f"Backup expected a path ending in .keras, received {self.path}.")

    order = 1  # after all other callbacks, so that their changes are saved

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Load the backup and continue from its epoch; without one, save the untrained model."""
        if not self._storage.exists():
            self._storage.save(self.model, 0)
            return
        expected = _data_of(self.model)
        epoch = self._storage.load(self.model)
        found = _data_of(self.model)
        comparable = 0 not in (expected["fingerprint"], found["fingerprint"])
        if expected["chains"] != found["chains"] or (comparable and expected != found):
            raise ValueError(
                f"The backup {self._storage.path} is of a training on other data: expected {expected}, "
                f"found {found}. Use the data and the settings of that training, or choose another "
                "path."
            )
        # Keras reads the epoch to continue with from here; `fit` clears it afterwards.
        self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Store the number of the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the model."""
        self._storage.save(self.model, epoch + 1)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Save the changes of other callbacks at the end, such as restored best weights."""
        if hasattr(self, "_epoch"):
            self._storage.save(self.model, self._epoch + 1)

    @property
    def _storage(self) -> _File | Directory:
        if self.model.shards == 1:
            return _File(self.path)
        return Directory.beside(self.path)


class _File:
    """A backup in one `.keras` file."""

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def load(self, model) -> int:
        """Load a model; return the number of epochs that are done."""
        model.load_weights(self.path)
        with zipfile.ZipFile(self.path) as archive:
            return json.loads(archive.read("backup.json"))["epoch"]

    def save(self, model, epoch: int) -> None:
        with files.aside(self.path) as path:
            model.save(path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("backup.json", json.dumps({"epoch": epoch}))


def _data_of(model) -> dict:
    """Return the number of chains and the checksum of the data, which identify a training's data."""
    chains = sum(table.rows for table in model.tables)
    return {"chains": chains, "fingerprint": int(model.fingerprint.numpy())}

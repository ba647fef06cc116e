"""Save a training at the end of every epoch, and resume it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras

from abp_tf import files


class Backup(keras.callbacks.Callback):
    """Save the whole model at the end of every epoch, and resume from the last one saved.

    The backup is one `.keras` file. It is written under another name and then renamed, so that a run
    killed at any moment leaves the last complete one. It holds weights, optimizer, chains, the prior
    and the iteration: `fit` with the same data, seed and `epochs` then ends exactly as without the
    interruption. `keras.models.load_model` can load it too.

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

    def on_train_begin(self, logs=None) -> None:
        """Load the backup and continue from its epoch; without one, save the untrained model."""
        if not self.path.exists():
            self._save(0)
        else:
            expected = _data_of(self.model)
            self.model.load_weights(self.path)
            found = _data_of(self.model)
            comparable = 0 not in (expected["fingerprint"], found["fingerprint"])
            if expected["chains"] != found["chains"] or (comparable and expected != found):
                raise ValueError(
                    f"The backup {self.path} is of a training on other data: expected {expected}, "
                    f"found {found}. Use the data and the settings of that training, or choose "
                    "another path."
                )
            with zipfile.ZipFile(self.path) as archive:
                epoch = json.loads(archive.read("backup.json"))["epoch"]
            # Keras reads the epoch to continue with from here; `fit` clears it afterwards.
            self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Store the number of the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Save the model."""
        self._save(epoch + 1)

    def on_train_end(self, logs=None) -> None:
        """Save the changes of other callbacks at the end, such as restored best weights."""
        if hasattr(self, "_epoch"):
            self._save(self._epoch + 1)

    def _save(self, epoch: int) -> None:
        with files.aside(self.path) as path:
            self.model.save(path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("backup.json", json.dumps({"epoch": epoch}))


def _data_of(model) -> dict:
    """Return the number of chains and the checksum of the data, which identify a training's data."""
    chains = sum(table.rows for table in model.tables)
    return {"chains": chains, "fingerprint": int(model.fingerprint.numpy())}

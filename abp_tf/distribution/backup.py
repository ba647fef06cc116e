"""Backups of trainings with several shards: a directory, written by all processes, with one commit.

index.json          which of the other files are the backup; renamed into place last, by one process
<n>-model.keras     the model without its chains, and the optimizers
<n>-<t>-<v>.npy     chains of shard `v` in table `t`, written by the process that owns the shard
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import keras
import numpy as np

from abp_tf import files

_OWN = re.compile(r"(\d+)-(model\.keras|\d+-\d+\.npy)")


class Directory:
    """A backup in a directory that all processes see, of a training with several shards.

    A process that is killed at any moment leaves the last complete backup. Any number of processes that
    divides the number of shards can load it.

    Args:
        path: path of the directory.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    @classmethod
    def beside(cls, path: str | os.PathLike) -> Directory:
        """Return the directory that takes the place of a `.keras` file as the backup."""
        return cls(Path(path).with_suffix(".shards"))

    def exists(self) -> bool:
        """Return whether there is a complete backup."""
        return (self.path / "index.json").exists()

    def save(self, model, epoch: int) -> None:
        """Save a model; all processes that train it must call this.

        Args:
            model: a `SignalModel`.
            epoch: number of epochs that are done.
        """
        number = self._index()["number"] + 1 if self.exists() else 1
        for place, table in enumerate(model.tables):
            states = table.states.numpy()
            for shard in table.shards.own:
                with files.aside(self._chains(number, place, shard)) as path:
                    np.save(path, states[table.shards.rows_of(shard)])
        if model.replicas.chief:
            with files.aside(self._model(number)) as path:
                _save_without_chains(model, path)
        model.replicas.barrier()
        if model.replicas.chief:
            chains = [table.rows for table in model.tables]
            index = {"number": number, "epoch": epoch, "shards": model.shards, "chains": chains}
            files.write_json(self.path / "index.json", index)
        model.replicas.barrier()
        if model.replicas.chief:
            self._remove_before(number)

    def load(self, model) -> int:
        """Load weights, optimizers and chains into a model, each process its own.

        Returns:
            The number of epochs that are done.

        Raises:
            ValueError: if the model has another number of shards.
        """
        index = self._index()
        if index["shards"] != model.shards:
            raise ValueError(
                f"The backup {self.path} is of a training with shards={index['shards']}, received a "
                f"model with shards={model.shards}, which would learn otherwise. Build it with the "
                "same number."
            )
        model.load_weights(self.weights_path)
        self._load_chains(model, index)
        return index["epoch"]

    def load_model(self) -> keras.Model:
        """Return the whole model, with all chains, in one process that has the memory for them."""
        model = keras.models.load_model(self.weights_path)
        self._load_chains(model, self._index())
        return model

    @property
    def weights_path(self) -> Path:
        """Path of the file with the model without its chains."""
        return self._model(self._index()["number"])

    def _load_chains(self, model, index: dict) -> None:
        for place, (table, rows) in enumerate(zip(model.tables, index["chains"], strict=True)):
            states = np.empty([table.shards.size_of_own(rows), *table.shape], np.float32)
            for shard in table.shards.own:
                part = np.load(self._chains(index["number"], place, shard), mmap_mode="r")
                states[table.shards.rows_of(shard)] = part
            table.put(states, rows)

    def _index(self) -> dict:
        return json.loads((self.path / "index.json").read_text())

    def _model(self, number: int) -> Path:
        return self.path / f"{number}-model.keras"

    def _chains(self, number: int, table: int, shard: int) -> Path:
        return self.path / f"{number}-{table}-{shard}.npy"

    def _remove_before(self, number: int) -> None:
        # Another process may write the next backup already. What a killed one left will be replaced.
        for path in self.path.iterdir():
            found = _OWN.fullmatch(path.name)
            if found and int(found[1]) < number:
                path.unlink()


def gather(directory: str | os.PathLike, path: str | os.PathLike) -> keras.Model:
    """Make one file of a backup in a directory, with all chains, which `load_model` loads.

    It needs one process, with memory for the chains of all.

    Args:
        directory: directory of a backup, which is left as it is.
        path: path of the file, ending in ".keras".

    Returns:
        the model.

    Raises:
        FileNotFoundError: if the directory has no complete backup.
    """
    backup = Directory(directory)
    if not backup.exists():
        raise FileNotFoundError(
            f"gather expected a directory with a backup, but there is no {backup.path / 'index.json'}."
        )
    model = backup.load_model()
    with files.aside(path) as temporary:
        model.save(temporary)
    return model


def _save_without_chains(model, path: Path) -> None:
    for table in model.tables:
        table.apart = True
    try:
        model.save(path)
    finally:
        for table in model.tables:
            table.apart = False

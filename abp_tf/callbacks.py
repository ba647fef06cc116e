"""Callbacks: backup, error curves, TensorBoard pictures and latents, alarms."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np

from abp_tf import files, metrics
from abp_tf.board import TensorBoardPictures
from abp_tf.data.pipeline import Examples
from abp_tf.gallery import seen

__all__ = [
    "AdaptPreconditioner",
    "Backup",
    "ErrorCurves",
    "ExpandLatents",
    "HistoryFile",
    "StabilityAlarm",
    "TensorBoardPictures",
]


class ExpandLatents(keras.callbacks.Callback):
    """Parameter expansion at the ends of epochs; `Generator.fit` adds it, before all others.

    Args:
        share: of the epochs, from the first, that end with an expansion; the last one does too.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share
        self._expanded = True

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Note that the chains will move."""
        self._expanded = False

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Expand where the schedule says so."""
        epochs = self.params["epochs"]
        if epoch < self.share * epochs or epoch + 1 == epochs:
            self._expand()

    def on_train_end(self, logs=None) -> None:
        """Expand after training that was stopped early."""
        if not self._expanded:
            self._expand()

    def _expand(self) -> None:
        self.model.expand()
        self._expanded = True


class AdaptPreconditioner(keras.callbacks.Callback):
    """Adapt the preconditioner as the network changes; `Generator.fit` adds it, after expansion.

    At the iterations 0, 1, 3, 10, 30, 100 and 300, when the network changes fast, and at the ends of
    the epochs in which the iterations have passed a multiple of 50: it costs as much as some
    iterations, of which few examples make few an epoch. Expansions need it not, it follows them. By
    iterations alone, so that a training that is taken up again, for more epochs too, does the same.
    """

    EARLY = frozenset((1, 3, 10, 30, 100, 300))
    APART = 50

    def __init__(self):
        super().__init__()
        self._begun = 0

    def on_train_begin(self, logs=None) -> None:
        """Adapt to a network that has learned nothing yet."""
        if int(self.model.iteration.value) == 0:
            self.model.precondition()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Note where the epoch begins."""
        self._begun = int(self.model.iteration.value)

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Adapt early in training."""
        if int(self.model.iteration.value) in self.EARLY:
            self.model.precondition()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Adapt, if enough iterations have gone by."""
        if int(self.model.iteration.value) // self.APART > self._begun // self.APART:
            self.model.precondition()


class StabilityAlarm(keras.callbacks.Callback):
    """Warn, once, when `δ² λmax / 4` passes 1; `Generator.fit` adds it.

    Above 1 the Langevin steps overshoot in the stiffest direction: chains jump instead of settling,
    and energies may leave the finite numbers, which stops `fit` with a `DivergenceError`.
    """

    def __init__(self):
        super().__init__()
        self._warned = False

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Look at the stability of the epoch."""
        found = (logs or {}).get("stability", 0.0)
        if found >= 1 and not self._warned:
            self._warned = True
            # In CoopNets the chains of latents are the generator's.
            step_size = getattr(self.model, "generator", self.model).langevin.step_size
            warnings.warn(
                f"Langevin steps are too long: stability δ²λmax/4 is {found:.2f} after epoch "
                f"{epoch + 1}, and must stay below 1. Lower the step size from {step_size:g} to "
                f"{0.7 * step_size / found**0.5:.2g}, or raise sigma.",
                stacklevel=2,
            )


class Backup(keras.callbacks.Callback):
    """Save the whole model at the end of every epoch, and resume from there.

    One `.keras` file, written aside and renamed, so that a run killed at any moment leaves the last
    whole one. It holds weights, optimizer, chains, the prior and the iteration: `fit` with the same
    data, seed and `epochs` then ends exactly where the run left alone would have. It can be loaded
    with `keras.models.load_model` too.

    Args:
        path: of the file, ending in ".keras".

    Example:
        >>> model.fit(images, epochs=10, callbacks=[abp_tf.callbacks.Backup("run/model.keras")])
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(f"Backup expected a path ending in .keras, received {self.path}.")

    def on_train_begin(self, logs=None) -> None:
        """Take up the run where the backup left it; save where it begins if there is none."""
        if not self.path.exists():
            self._save(0)
        else:
            table = self.model.table
            rows, fingerprint = table.rows, table.fingerprint
            self.model.load_weights(self.path)
            if table.rows != rows or fingerprint not in (0, table.fingerprint):
                raise ValueError(
                    f"The backup {self.path} is of a training on other data, with {table.rows} chains; "
                    f"this one has {rows}. Give back the data and the settings it began with, or "
                    "choose another path."
                )
            with zipfile.ZipFile(self.path) as archive:
                epoch = json.loads(archive.read("backup.json"))["epoch"]
            # The place where Keras looks for the epoch to go on with; `fit` clears it afterwards.
            self.model._initial_epoch = epoch

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Save."""
        self._save(epoch + 1)

    def on_train_end(self, logs=None) -> None:
        """Save what other callbacks did at the end, such as restoring the best weights."""
        if hasattr(self, "_epoch"):
            self._save(self._epoch + 1)

    def _save(self, epoch: int) -> None:
        with files.aside(self.path) as path:
            self.model.save(path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("backup.json", json.dumps({"epoch": epoch}))


class ErrorCurves(keras.callbacks.Callback):
    """Reconstruction errors of train, test and negative examples as training goes on.

    All three by the same inference, from the prior, on the same number of examples, so that they can
    be compared: `abp_tf.metrics.verdict` reads over- and under-fitting from them. They are added to
    the logs of the epoch as `train_error`, `test_error` and `negative_error`, where TensorBoard and
    the history find them.

    Args:
        sets: whole signals by name, e.g. `{"train": ..., "test": ..., "negative": ...}`, which a model
            with an `observation` sees through it; or `Examples` with a mask, 1 = observed, where only
            a part is known: then the error is that of observed entries.
        every: number of epochs from one look to the next; the last epoch is always looked at.
        count: examples of each set.
    """

    def __init__(self, sets: dict[str, np.ndarray | Examples], every: int = 5, count: int = 200):
        super().__init__()
        if every < 1 or count < 1:
            raise ValueError(
                f"ErrorCurves expected `every` and `count` of 1 or more, received {every} and {count}."
            )
        parts = {
            name: part if isinstance(part, Examples) else Examples(part) for name, part in sets.items()
        }
        self.sets = {name: part.rows(0, count) for name, part in parts.items() if len(part.signal)}
        self.every = every

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Measure, where it is time."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        for name, (signal, mask, _) in self.sets.items():
            found = self.model.reconstruct(seen(self.model, signal), mask)
            if logs is not None:
                logs[f"{name}_error"] = metrics.reconstruction_error(signal, found, mask)


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

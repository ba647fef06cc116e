"""Callbacks: expansion of the latents, pictures and latents in TensorBoard, error curves, backup."""

from __future__ import annotations

import keras


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

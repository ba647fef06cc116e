"""What `Generator.fit` does between the steps: parameter expansion, and the preconditioner."""

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

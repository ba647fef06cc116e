"""Callbacks that `Generator.fit` adds: noise, expansion, the prior, the preconditioner."""

from __future__ import annotations

import keras


class ExpandLatents(keras.callbacks.Callback):
    """Expand parameters at the ends of epochs; `Generator.fit` adds it before all other callbacks.

    Args:
        share: share of the epochs, from the first on, that end with an expansion; the last epoch does
            too.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share
        self._expanded = True

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Note that the chains have moved since the last expansion."""
        self._expanded = False

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Expand if the epoch is one of the schedule."""
        epochs = self.params["epochs"]
        if epoch < self.share * epochs or epoch + 1 == epochs:
            self._expand()

    def on_train_end(self, logs=None) -> None:
        """Expand if training stopped before the last epoch."""
        if not self._expanded:
            self._expand()

    def _expand(self) -> None:
        self.model.expand()
        self._expanded = True


class AdaptPrior(keras.callbacks.Callback):
    """Let the prior learn from the chains at the end of each epoch; `Generator.fit` adds it."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Adapt the prior."""
        self.model.adapt_prior()


class LearnNoise(keras.callbacks.Callback):
    """Learn σ at the end of each epoch; `Generator.fit` adds it before all other callbacks."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Set σ to its maximum-likelihood value, given the chains of the epoch."""
        self.model.learn_noise()


class AdaptPreconditioner(keras.callbacks.Callback):
    """Estimate the preconditioner as the network changes; `Generator.fit` adds it.

    It does so at the iterations 0, 1, 3, 10, 30, 100 and 300, while the network changes fast, and then
    at the end of each epoch in which the iteration passed a multiple of 50: an estimate costs as much
    as some iterations, and an epoch of few examples has few. Expansions need no new estimate, because
    `Generator.expand` updates it. The schedule depends on the iteration alone, so that a resumed or
    prolonged training has the same one.
    """

    EARLY = frozenset((1, 3, 10, 30, 100, 300))
    APART = 50

    def __init__(self):
        super().__init__()
        self._begun = 0

    def on_train_begin(self, logs=None) -> None:
        """Estimate if the network is untrained."""
        if int(self.model.iteration.numpy()) == 0:
            self.model.precondition()

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Store the iteration at which the epoch begins."""
        self._begun = int(self.model.iteration.numpy())

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Estimate at the early iterations."""
        if int(self.model.iteration.numpy()) in self.EARLY:
            self.model.precondition()

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Estimate if the iteration passed a multiple of 50."""
        if int(self.model.iteration.numpy()) // self.APART > self._begun // self.APART:
            self.model.precondition()

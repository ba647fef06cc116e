"""Callbacks that `Generator.fit` adds: noise, expansion, the prior, the preconditioner."""

from __future__ import annotations

import keras

# Early iterations after which the preconditioner is estimated: from one of the first to the next the
# curvature of the posteriors may grow tenfold, and later slower.
ESTIMATED = frozenset((*range(1, 8), *(round(2 ** (power / 2)) for power in range(6, 17))))
# Those after which latents are expanded, once some batches have been seen.
EXPANDED = frozenset(iteration for iteration in ESTIMATED if iteration >= 16)


class ExpandLatents(keras.callbacks.Callback):
    """Expand parameters at the ends of epochs; `Generator.fit` adds it before all other callbacks.

    With preconditioning it also does so after the iterations `EXPANDED`: the output of an untrained
    network is small, so that latents would have to grow far beyond their prior to explain the data.

    Args:
        share: share of the epochs, from the first on, that end with an expansion and in which early
            iterations do; the last epoch ends with one too.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share
        self._expanded = True
        self._scheduled = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note that the chains move from now on, and whether the epoch is one of the schedule."""
        self._expanded = False
        self._scheduled = epoch < self.share * self.params["epochs"]
        self.model.prior.expect_expansions(self._scheduled)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Expand at the early iterations, if the chains run in coordinates that follow."""
        early = self._scheduled and self.model.preconditioning
        if early and int(self.model.iteration.numpy()) in EXPANDED:
            self.model.expand()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Expand if the epoch is one of the schedule."""
        if self._scheduled or epoch + 1 == self.params["epochs"]:
            self._expand()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Expand if training stopped before the last epoch."""
        if not self._expanded:
            self._expand()

    def _expand(self) -> None:
        self.model.expand()
        self._expanded = True


class AdaptPrior(keras.callbacks.Callback):
    """Let the prior learn from the chains at the end of each epoch; `Generator.fit` adds it."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adapt the prior."""
        self.model.adapt_prior()


class LearnNoise(keras.callbacks.Callback):
    """Learn σ at the end of each epoch; `Generator.fit` adds it before all other callbacks."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Set σ to its maximum-likelihood value, given the chains of the epoch."""
        self.model.learn_noise()


class AdaptPreconditioner(keras.callbacks.Callback):
    """Estimate the preconditioner as the network changes; `Generator.fit` adds it.

    It does so before the first iteration, after the iterations `ESTIMATED`, while the network changes
    fast, and then at the end of each epoch in which the iteration passed a multiple of 50: an estimate
    costs as much as some iterations, and an epoch of few examples has few. Expansions need no new
    estimate, because `Generator.expand` updates it. The schedule depends on the iteration alone, so
    that a resumed or prolonged training has the same one.
    """

    APART = 50

    def __init__(self):
        super().__init__()
        self._begun = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Estimate if the network is untrained."""
        if int(self.model.iteration.numpy()) == 0:
            self.model.precondition()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Store the iteration at which the epoch begins."""
        self._begun = int(self.model.iteration.numpy())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Estimate at the early iterations."""
        if int(self.model.iteration.numpy()) in ESTIMATED:
            self.model.precondition()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Estimate if the iteration passed a multiple of 50."""
        if int(self.model.iteration.numpy()) // self.APART > self._begun // self.APART:
            self.model.precondition()

"""Reconstruction errors of train, test and negative examples during training."""

from __future__ import annotations

import keras
import numpy as np

from abp_tf import metrics
from abp_tf.data.examples import Examples
from abp_tf.display.gallery import given


class ErrorCurves(keras.callbacks.Callback):
    """Measure reconstruction errors of train, test and negative examples during training.

    All three use the same inference, from the prior, on the same number of examples, so that they can
    be compared: `abp_tf.metrics.verdict` derives over- and under-fitting from them. They are added to
    the logs of the epoch as `train_error`, `test_error` and `negative_error`, where TensorBoard and the
    history read them.

    Args:
        sets: whole signals by name, for instance `{"train": ..., "test": ..., "negative": ...}`; a
            model with an `observation` observes them through it. Or `Examples` with a mask (1 =
            observed, 0 = hidden), if only some entries are observed: then the error is that of observed
            entries; and with times, if the scaling of the model has a period.
        every: number of epochs from one measurement to the next; the last epoch is always measured.
        count: number of examples of each set.
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

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measure the errors in every `every`-th epoch and in the last one."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        for name, part in self.sets.items():
            found = self.model.reconstruct(given(self.model, part))
            if logs is not None:
                signal, found = (self.model.scaled(one, part.time) for one in (part.signal, found))
                logs[f"{name}_error"] = metrics.reconstruction_error(signal, found, part.mask)

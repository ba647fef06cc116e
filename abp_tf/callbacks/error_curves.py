"""Reconstruction errors of train, test and negative examples as training proceeds."""

from __future__ import annotations

import keras
import numpy as np

from abp_tf import metrics
from abp_tf.data.examples import Examples
from abp_tf.display.gallery import seen


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

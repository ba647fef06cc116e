"""Pictures of training in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from abp_tf import signals as kinds
from abp_tf.data.examples import Examples
from abp_tf.display import pictures
from abp_tf.display.gallery import drawable, show
from abp_tf.metrics import calibration
from abp_tf.signals import both

_CALIBRATED, _SAMPLES = 16, 8  # signals, and samples of each, for error bars


class TensorBoardPictures(keras.callbacks.Callback):
    """Write signals of the model (`abp_tf.display.gallery`) and its latents to TensorBoard.

    Images are written as pictures; sounds as audio and spectrograms; clips as animations and strips of
    frames; other kinds as `abp_tf.signals` defines. At the end of training the latents of the training
    examples are also written for the projector, each with its picture.

    Args:
        log_dir: log directory of TensorBoard.
        signals: float32 `[n, *signal_shape]` in the units of the data, training examples in the order
            of their numbers; the first 16 are reconstructed, the first 500 are written for the
            projector.
        every: number of epochs from one writing to the next; the last epoch is always written.
        rate: samples or frames per second of sounds and clips; None for other kinds.
        mask: mask of the signals, bool, 1 = observed, 0 = hidden; None means that all is observed.
        kind: kind of signal, a name of `abp_tf.signals`; None derives it from their shape.
        header: values beside the signals, the field of `abp_tf.data.Signals`.
        hidden: observed entries that the model does not learn from, bool of the shape of the signals or
            without the channel axis, such as `abp_tf.fields.gaps.moved` chooses. Samples of the
            posterior without them, of up to 16 signals, give the scalars `coverage_90`, the share
            of these entries inside their interval of 90 %, and `crps`, and a picture of the share by
            level. None for neither.
        time: times of the signals, `[n]`, which a model needs if its scaling has a period.
    """

    only_writes = True  # of several processes, the chief alone runs it

    def __init__(
        self,
        log_dir: str | os.PathLike,
        signals: np.ndarray,
        every: int = 5,
        rate: float | None = None,
        mask: np.ndarray | None = None,
        *,
        kind: str | None = None,
        header: Mapping[str, Any] | None = None,
        hidden: np.ndarray | None = None,
        time: np.ndarray | None = None,
    ):
        super().__init__()
        self.log_dir = Path(log_dir) / "pictures"
        self.signals = signals
        self.every = every
        self.header = {"rate": rate, **(header or {})}
        self.mask = mask
        self.time = time
        self.hidden = None if hidden is None or not hidden.any() else hidden
        self.kind = kinds.of(signals.shape[1:], kind)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Open the log."""
        self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write signals of the model, and a histogram of its latents."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        with self._writer.as_default(step=epoch + 1):
            shown = show(self.model, self.signals, self.mask, self.kind, self.time)
            for name, part in shown.items():
                self.kind.summarize(name, *part, self.header)
            if self._has_latents():
                tf.summary.histogram("latents", self.model.latents)
            if self.hidden is not None:
                self._write_calibration(self.hidden)

    def _write_calibration(self, hidden: np.ndarray) -> None:
        """Write how well the posterior predicts the hidden entries."""
        some = np.flatnonzero(hidden.any(axis=tuple(range(1, hidden.ndim))))[:_CALIBRATED]
        signals, hidden = self.signals[some], hidden[some]
        hidden = hidden if hidden.ndim == signals.ndim else hidden[..., None]
        hidden = np.broadcast_to(hidden, signals.shape)
        mask = ~hidden if self.mask is None else both(self.mask[some], ~hidden)
        part = Examples(signals, mask, time=None if self.time is None else self.time[some])
        drawn = self.model.sample_posterior(part.given(), samples=_SAMPLES, chains=_SAMPLES)
        found = calibration.calibration(signals, drawn, hidden)
        tf.summary.scalar("coverage_90", np.interp(0.9, found.levels, found.coverage))
        tf.summary.scalar("crps", found.crps)
        title = f"Intervals of {_SAMPLES} samples"
        picture = pictures.reliability(found.levels, found.coverage, title)
        tf.summary.image("reliability", picture[None])

    def on_train_end(self, logs: dict | None = None) -> None:
        """Write the files of the projector, and close the log."""
        self._writer.close()
        if self._has_latents() and self.model.latents.ndim == 2:
            shards = self.model.ownership  # of several processes, this one has a part of the latents
            some = np.arange(shards.worker, len(self.signals), shards.workers)[:500]
            time = None if self.time is None else self.time[some]
            shown = drawable(self.model, self.signals[some], self.kind, time)
            tiles = self.kind.tiles(shown, self.header)
            self._write_projector(self.model.latents[: len(some)], tiles, some)

    def _has_latents(self) -> bool:
        """Return whether the model keeps latents of the training examples."""
        return getattr(self.model, "chains", None) == "persistent" and hasattr(self.model, "latents")

    def _write_projector(self, latents, images, examples) -> None:
        from tensorboard.plugins import projector

        side = int(np.ceil(np.sqrt(len(images))))
        sprite = pictures.grid(images, columns=side, scale=1, gap=0)
        # The projector expects a square of tiles.
        missing = side * images.shape[1] - sprite.shape[0]
        sprite = np.pad(sprite, ((0, missing), (0, 0), (0, 0)))
        pictures.save_png(self.log_dir / "sprite.png", sprite)
        rows = ("\t".join(f"{value:.5g}" for value in row) for row in latents)
        (self.log_dir / "latents.tsv").write_text("\n".join(rows) + "\n")
        numbers = "\n".join(map(str, examples))
        (self.log_dir / "examples.tsv").write_text(numbers + "\n")
        config = projector.ProjectorConfig()
        shown = config.embeddings.add(
            tensor_name="latents", tensor_path="latents.tsv", metadata_path="examples.tsv"
        )
        shown.sprite.image_path = "sprite.png"
        shown.sprite.single_image_dim.extend([images.shape[2], images.shape[1]])
        projector.visualize_embeddings(str(self.log_dir), config)

"""Load signals to recover, with their masks and, where it is known, the truth."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from abp_tf import checks, data, files, mask_files, runs, signals
from abp_tf.data.examples import Examples

from . import report


class Damaged(NamedTuple):
    """Hold signals to recover.

    Attributes:
        signal: float32 `[n, *axes, channels]`; hidden entries may hold anything.
        mask: bool `[n, *axes]`, or of the shape of the signals, True where observed; None if an
            operator observes the signals.
        truth: the complete signals, NaN where they are not known; None if they are known nowhere.
        names: names of the files to write, without suffixes.
        kind: kind of signal.
        header: other contents of the signals' files, as in `abp_tf.data.Signals`.
        time: times of the signals, float64 `[n]`; None if they are not known.
    """

    signal: np.ndarray
    mask: np.ndarray | None
    truth: np.ndarray | None
    names: list[str]
    kind: signals.SignalKind
    header: Mapping[str, Any]
    time: np.ndarray | None = None

    @property
    def given(self) -> dict:
        """What of the signals, which a mask hides in part, methods of models take."""
        return Examples(self.signal, self.mask, time=self.time).given()

    @property
    def counted(self) -> np.ndarray:
        """Entries that are hidden although the truth is known, bool of the shape of the signals."""
        known = np.zeros(self.signal.shape, bool) if self.truth is None else np.isfinite(self.truth)
        return known if self.mask is None else known & self.hidden

    @property
    def hidden(self) -> np.ndarray:
        """Entries that the mask hides, bool of the shape of the signals."""
        mask = self.mask if self.mask.ndim == self.signal.ndim else self.mask[..., None]
        return np.broadcast_to(~mask, self.signal.shape)


def load(run: runs.Run, model, arguments: argparse.Namespace) -> Damaged:
    """Load the signals that the options name, their masks, and the truth if it is known.

    Args:
        run: the run whose model recovers.
        model: the model of the run.
        arguments: options of the program.

    Raises:
        ValueError: signals, masks and truth do not fit each other or the run.
    """
    settings, spec, count = run.config["settings"], arguments.mask, arguments.count
    own = arguments.data in ("train", "test")
    observed = settings.get("observe")
    if observed and spec:
        raise ValueError(f"--mask: signals are observed by the run's own {observed!r}. Leave it out.")
    stored, kind = mask_files.is_stored(spec), signals.get(settings["kind"])
    like = functools.partial(
        runs.load_like, settings=settings, shape=model.signal_shape, header=run.config["data"]
    )
    if own:
        images = run.load_images()
    else:
        images = like(arguments.data, limit=count, mask=spec if stored else None)
    if stored and own:
        images = runs.attach_masks(images, spec, settings)
    part = report.sets(images).get(arguments.data if own else "train")
    if part is None:
        raise ValueError("--data: the run has no test signals. Give train, or another source.")
    positions = mask_files.places(images)[arguments.data == "test"]
    names = images.names and [images.names[position] for position in positions]
    mask, truth = part.mask, part.signal
    drawn = spec or (settings.get("mask") if own else None)
    if mask is not None and kind.incomplete and drawn and not mask_files.is_stored(drawn):
        # What is hidden beside the signals' own gaps is known.
        truth = np.where(mask, truth, np.float32(np.nan))
        mask = _drawn(kind, arguments, settings if own else {}, truth, mask)
    elif mask is not None:
        truth = None
        if spec and not stored:
            raise ValueError("--mask: the run's signals have masks of their own. Leave it out.")
    elif not observed:
        mask = _drawn(kind, arguments, settings if own else {}, truth)
    if arguments.truth:
        # Signals that are matched by name may have any position.
        complete = like(arguments.truth, limit=None if own or names else count)
        matching = _matching(complete, names, positions, arguments.truth)
        truth = complete.train[matching]
        if complete.train_mask is not None:
            truth = np.where(complete.train_mask[matching], truth, np.float32(np.nan))
    return Damaged(
        part.signal[:count],
        None if mask is None else mask[:count],
        None if truth is None else truth[:count],
        files.stems(names or [f"{position:05}" for position in positions])[:count],
        kind,
        images.header,
        None if part.time is None else part.time[:count],
    )


def _drawn(
    kind: signals.SignalKind, arguments, settings: dict, images: np.ndarray, own=None
) -> np.ndarray:
    """Draw the masks of --mask or, without it, those that the run draws; beside the signals' own."""
    count, shape = len(images), images.shape[1:]
    if arguments.mask:
        return kind.draw_masks(arguments.mask, count, shape, arguments.seed, own)
    spec = settings.get("mask")
    if spec is None or mask_files.is_stored(spec):
        raise ValueError(f"--mask: expected a mask, because these signals have none. {checks.POLARITY}")
    return kind.draw_masks(spec, count, shape, settings["seed"], own)


def _matching(complete: data.Signals, names: list[str] | None, positions: np.ndarray, source: str):
    """Return positions among complete signals, by the names of damaged ones or by their positions."""
    if names and complete.names:
        found = {files.stem(name): i for i, name in enumerate(complete.names)}
        missing = [name for name in names if files.stem(name) not in found]
        if missing:
            raise ValueError(
                f"--truth: expected signals of the same names, found none for {len(missing)} in "
                f"{source!r}, the first of them {missing[0]!r}."
            )
        return [found[files.stem(name)] for name in names]
    if positions.max() >= len(complete.train):
        raise ValueError(
            f"--truth: expected {positions.max() + 1} signals in the order of the damaged ones, "
            f"received {len(complete.train)} from {source!r}."
        )
    return positions

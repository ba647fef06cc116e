"""Load signals to recover, with their masks and, where it is known, the truth."""

from __future__ import annotations

import argparse
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from abp_tf import checks, data, files, mask_files, runs, signals
from abp_tf.data.examples import Examples
from abp_tf.fields import gaps

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


class Archive(NamedTuple):
    """Signals to recover, of which `rows` loads some at a time.

    Attributes:
        part: all signals, with masks of their own and times if they have any.
        draw: function of numbers of signals and their own masks that returns masks; None if the signals
            have masks of their own alone, or an operator observes them.
        whole: whether the signals themselves are the truth where they are observed.
        complete: the complete signals that --truth names, and the position of each signal among them.
        names: names of the files to write, without suffixes.
        kind: kind of signal.
        header: other contents of the signals' files.
    """

    part: Examples
    draw: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None
    whole: bool
    complete: tuple[data.Signals, np.ndarray] | None
    names: list[str]
    kind: signals.SignalKind
    header: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, numbers: np.ndarray) -> tuple[np.ndarray, Damaged]:
        """Load the signals of some numbers, draw their masks, and load their truth.

        Returns:
            the numbers of those that can be read, and these signals.

        Warns:
            UserWarning: if images cannot be read, which are named.
        """
        try:
            signal = self.part.signal[numbers]
        except data.UnreadableError as error:
            warnings.warn(f"Skipped {len(error.names)} signals. {error}", stacklevel=2)
            numbers = numbers[~np.isin(numbers, error.places)]
            signal = self.part.signal[numbers]
        own, time = (one if one is None else one[numbers] for one in (self.part.mask, self.part.time))
        mask = own if self.draw is None else self.draw(numbers, own)
        truth = None
        if self.whole:
            truth = signal if own is None else np.where(own, signal, np.float32(np.nan))
        if self.complete:
            found, places = self.complete[0], self.complete[1][numbers]
            truth = found.train[places]
            if found.train_mask is not None:
                truth = np.where(found.train_mask[places], truth, np.float32(np.nan))
        names = [self.names[number] for number in numbers]
        return numbers, Damaged(signal, mask, truth, names, self.kind, self.header, time)


def load(run: runs.Run, model, arguments: argparse.Namespace) -> Archive:
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
    drawn = spec or (settings.get("mask") if own else None)
    # What is hidden beside the signals' own gaps is known.
    beside = kind.incomplete and drawn and not mask_files.is_stored(drawn)
    whole, draw = part.mask is None or bool(beside), None
    if whole and not observed:
        draw = _drawing(kind, arguments, settings if own else {}, part)
    elif spec and not stored:
        raise ValueError("--mask: the run's signals have masks of their own. Leave it out.")
    complete = None
    if arguments.truth:
        # Signals that are matched by name may have any position.
        found = like(arguments.truth, limit=None if own or names else count)
        complete = found, np.asarray(_matching(found, names, positions, arguments.truth))
    return Archive(
        part,
        draw,
        whole,
        complete,
        files.stems(names or [f"{position:05}" for position in positions])[:count],
        kind,
        images.header,
    )


def _drawing(kind: signals.SignalKind, arguments, settings: dict, part: Examples) -> Callable:
    """Return the function that draws the masks of --mask or, without it, those that the run draws."""
    spec, seed, shape = arguments.mask, arguments.seed, part.signal.shape[1:]
    if not spec:
        spec, seed = settings.get("mask"), settings.get("seed")
        if spec is None or mask_files.is_stored(spec):
            raise ValueError(
                f"--mask: expected a mask, because these signals have none. {checks.POLARITY}"
            )
    if spec == gaps.SPEC:  # gaps of all other signals are needed
        masks = kind.draw_masks(spec, len(part.signal), shape, seed, part.mask)
        return lambda numbers, own: masks[numbers]
    return lambda numbers, own: kind.draw_masks(spec, numbers, shape, seed, own)


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

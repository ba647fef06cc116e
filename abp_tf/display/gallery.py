"""Show the results of a model, for TensorBoard and for files: signals of any kind, and pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from abp_tf import interpolation
from abp_tf import signals as kinds
from abp_tf.display import pictures

_COUNT, _COLUMNS, _PAIRS = 64, 8, 16
# The largest number of entries to synthesise: large signals are fewer, but at least four.
_ENTRIES = 2**20
# Scaled units from the centre to the ends of the range of pictures.
_UNITS = 3.0


class Shown(NamedTuple):
    """Signals for one picture, float32 `[n, *signal_shape]`, and the number of columns."""

    signals: np.ndarray
    columns: int


def seen(model, signals: np.ndarray) -> np.ndarray:
    """Return the observations of whole signals by the model's operator; the signals if it has none."""
    return signals if model.observation is None else model.observe(signals)


def drawable(model, signals: np.ndarray, kind: kinds.SignalKind | None = None) -> np.ndarray:
    """Return signals in the units of pictures: those of a model with a scaling relative to its range.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: float32 `[n, *signal_shape]` in the units of the data.
        kind: their kind; None for one that draws [-1, 1].

    Returns:
        float32, same shape: without a scaling, or of a kind that draws its own units, the signals
        themselves. Else -1 and 1 are the ends of the `value_range` or, without a range, three units
        below and above the centre.
    """
    if model.scaling is None or (kind is not None and kind.value_range is None):
        return signals
    low, high = model.scaled_range or (-_UNITS, _UNITS)
    return (2 * model.scaled(signals) - (low + high)) / (high - low)


def show(
    model,
    signals: np.ndarray,
    mask: np.ndarray | None = None,
    kind: kinds.SignalKind | None = None,
) -> dict[str, Shown]:
    """Return signals that a model synthesises, reconstructs and interpolates.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: signals to reconstruct, float32 `[n, *signal_shape]` in the units of the data, without
            a scaling in [-1, 1]; at most the first 16 are used.
        mask: mask of the signals, bool, 1 = observed; None if everything is observed.
        kind: kind of the signals, as for `drawable`.

    Returns:
        Signals by name: "synthesis"; "from_noise" if "synthesis" shows chains of a pool; "revision",
        drafts above their revisions, of CoopNets; "reconstruction" and "interpolation" if the model
        has latents. They are in the units of pictures (`drawable`).
    """
    shown = {}
    affordable = max(4, _ENTRIES // int(np.prod(model.signal_shape)))
    count, few = min(_COUNT, affordable), min(_PAIRS, affordable)
    columns = min(_COLUMNS, count)
    if not hasattr(model, "reconstruct"):  # a descriptor
        pool = model.chains == "persistent"
        drawn = model.synthesize(count, from_noise=not pool)
        if pool:
            shown["from_noise"] = Shown(model.synthesize(count // 2), columns)
    else:
        drawn = model.synthesize(count)
    shown["synthesis"] = Shown(drawn, columns)
    latents = getattr(model, "generator", model)  # of CoopNets
    if latents is not model:
        drafts = model.synthesize(few, revised=False)
        shown["revision"] = Shown(np.concatenate([drafts, drawn[:few]]), few)
    if hasattr(latents, "interpolate"):
        given, mask = signals[:few], None if mask is None else mask[:few]
        found = latents.reconstruct(seen(latents, given), mask)
        shown["reconstruction"] = Shown(
            np.concatenate([pictures.visible(given, mask), found]), len(given)
        )
        if len(given) >= 4:
            side = min(_COLUMNS, int(affordable**0.5))
            known = None if mask is None else mask[:4]
            corners = seen(latents, given[:4])
            mixed = latents.interpolate(corners, interpolation.square(side), mask=known)
            shown["interpolation"] = Shown(mixed, side)
    return {
        name: Shown(drawable(model, part.signals, kind), part.columns) for name, part in shown.items()
    }


def gallery(
    model, signals: np.ndarray, mask: np.ndarray | None = None, *, kind: str | None = None
) -> dict[str, np.ndarray]:
    """Draw the signals that `show` returns.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: signals to reconstruct, as for `show`.
        mask: mask of the signals, bool, 1 = observed; None if everything is observed.
        kind: name of the kind of signal; by default the result of `abp_tf.signals.guess`.

    Returns:
        uint8 pictures `[H, W, 3]` by name.
    """
    found = kinds.of(model.signal_shape, kind)
    return {
        name: found.picture(part.signals, part.columns)
        for name, part in show(model, signals, mask, found).items()
    }

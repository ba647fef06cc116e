"""Show the results of a model, for TensorBoard and for files: signals of any kind, and pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from abp_tf import interpolation
from abp_tf import signals as kinds
from abp_tf.data import lazy
from abp_tf.data.examples import Examples
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
    if model.observation is None:
        return signals
    return lazy.mapped(signals, model.observe, model.observed_shape)


def given(model, part: Examples) -> dict:
    """Return whole signals as methods of a model take them: observed by it, with masks and times."""
    return part._replace(signal=seen(model, part.signal)).given()


def drawable(
    model,
    signals: np.ndarray,
    kind: kinds.SignalKind | None = None,
    time: np.ndarray | None = None,
) -> np.ndarray:
    """Return signals in the units of pictures: those of a model with a scaling relative to its range.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: float32 `[n, *signal_shape]` in the units of the data.
        kind: their kind; None for one that draws [-1, 1].
        time: their times, `[n]`, which count if the scaling has a period.

    Returns:
        float32, same shape: without a scaling, or of a kind that draws its own units, the signals
        themselves. Else -1 and 1 are the ends of the `value_range` or, without a range, three units
        below and above the centre.
    """
    if model.scaling is None or (kind is not None and kind.value_range is None):
        return signals
    low, high = model.scaled_range or (-_UNITS, _UNITS)
    return (2 * model.scaled(signals, time) - (low + high)) / (high - low)


def show(
    model,
    signals: np.ndarray,
    mask: np.ndarray | None = None,
    kind: kinds.SignalKind | None = None,
    time: np.ndarray | None = None,
) -> dict[str, Shown]:
    """Return signals that a model synthesises, reconstructs and interpolates.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: signals to reconstruct, float32 `[n, *signal_shape]` in the units of the data, without
            a scaling in [-1, 1]; at most the first 16 are used.
        mask: mask of the signals, bool, 1 = observed; None if everything is observed.
        kind: kind of the signals, as for `drawable`.
        time: times of the signals, `[n]`, which a model needs if its scaling has a period. It draws
            signals at these times, and interpolates at the first of them.

    Returns:
        Signals by name: "synthesis"; "from_noise" if "synthesis" shows chains of a pool; "revision",
        drafts above their revisions, of CoopNets; "reconstruction" and "interpolation" if the model
        has latents. They are in the units of pictures (`drawable`).
    """
    shown, whole = {}, Examples(signals, mask, time=time)
    affordable = max(4, _ENTRIES // int(np.prod(model.signal_shape)))
    count, few = min(_COUNT, affordable), min(_PAIRS, affordable)
    columns = min(_COLUMNS, count)

    def at(number):
        return None if time is None else np.resize(time, number)

    def shaped(found):
        return drawable(model, found, kind, at(len(found)))

    def draw(number, **options):
        return shaped(model.synthesize(number, time=at(number), **options))

    if not hasattr(model, "reconstruct"):  # a descriptor
        pool = model.chains == "persistent"
        drawn = draw(count, from_noise=not pool)
        if pool:
            shown["from_noise"] = Shown(draw(count // 2), columns)
    else:
        drawn = draw(count)
    shown["synthesis"] = Shown(drawn, columns)
    latents = getattr(model, "generator", model)  # of CoopNets
    if latents is not model:
        shown["revision"] = Shown(np.concatenate([draw(few, revised=False), drawn[:few]]), few)
    if hasattr(latents, "interpolate"):
        some = whole.rows(0, few)
        rows = [pictures.visible(some.signal, some.mask), latents.reconstruct(given(latents, some))]
        shown["reconstruction"] = Shown(np.concatenate([*map(shaped, rows)]), len(some.signal))
        if len(some.signal) >= 4:
            side = min(_COLUMNS, int(affordable**0.5))
            corners, weights = given(latents, whole.rows(0, 4)), interpolation.square(side)
            first = None if time is None else np.repeat(time[:1], len(weights))
            mixed = latents.interpolate(corners, weights, time=first)
            shown["interpolation"] = Shown(drawable(model, mixed, kind, first), side)
    return shown


def gallery(
    model,
    signals: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    kind: str | None = None,
    time: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Draw the signals that `show` returns.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        signals: signals to reconstruct, as for `show`.
        mask: mask of the signals, bool, 1 = observed; None if everything is observed.
        kind: name of the kind of signal; by default the result of `abp_tf.signals.guess`.
        time: times of the signals, as for `show`.

    Returns:
        uint8 pictures `[H, W, 3]` by name.
    """
    found = kinds.of(model.signal_shape, kind)
    return {
        name: found.picture(part.signals, part.columns)
        for name, part in show(model, signals, mask, found, time).items()
    }

"""What a model has learned, for TensorBoard and for files: signals of any kind, and pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from abp_tf import interpolation
from abp_tf import signals as kinds
from abp_tf.display import pictures

_COUNT, _COLUMNS, _PAIRS = 64, 8, 16
# Entries that are worth drawing: of large signals there are fewer, but at least four.
_ENTRIES = 2**20


class Shown(NamedTuple):
    """Signals to be seen side by side: float32 `[n, *signal_shape]`, so many in a row."""

    signals: np.ndarray
    columns: int


def seen(model, signals: np.ndarray) -> np.ndarray:
    """Return what a model sees of whole signals: the signals, or what its operator gives."""
    return signals if model.observation is None else model.observe(signals)


def show(model, signals: np.ndarray, mask: np.ndarray | None = None) -> dict[str, Shown]:
    """Let a model show what it can do.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets` of images, textures, sounds or clips.
        signals: float32 `[n, *signal_shape]` in [-1, 1]; up to 16 of the first are reconstructed.
        mask: what is known of them, bool, 1 = observed; None: all of it.

    Returns:
        Signals by name: "synthesis"; "from_noise" if chains of a pool were shown as synthesis;
        "revision", drafts above what became of them; "reconstruction" and "interpolation", where there
        are latents.
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
    return shown


def gallery(
    model, signals: np.ndarray, mask: np.ndarray | None = None, *, kind: str | None = None
) -> dict[str, np.ndarray]:
    """Draw what a model shows of itself.

    Args:
        model: as for `show`, and so are signals and mask.
        signals: float32 `[n, *signal_shape]` in [-1, 1].
        mask: bool, 1 = observed.
        kind: the kind of signal, a name of `abp_tf.signals`; by default what their shape suggests.

    Returns:
        uint8 pictures `[H, W, 3]` by name.
    """
    found = kinds.of(model.signal_shape, kind)
    return {
        name: found.picture(part.signals, part.columns)
        for name, part in show(model, signals, mask).items()
    }

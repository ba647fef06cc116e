"""Draw signals as pictures for a page in the browser: JSON with PNG and WAV files inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from abp_tf.display import pictures
from abp_tf.signals import Legend, SignalKind

# Number of colours in the picture of a legend.
_COLOURS = 128


def signal(kind: SignalKind, values: np.ndarray, header: Mapping[str, Any], **more) -> dict:
    """Return one signal as a picture of its planes, one below the other, and as a sound if it is one.

    Args:
        kind: kind of the signal.
        values: the signal, `[*axes, channels]`; NaN where hidden.
        header: header of signals that `kind.drawn` returned.
        **more: further entries of the result.

    Returns:
        The picture's `png`, `width`, `height` of one plane and number of `planes`; and `sound`.
    """
    played = kind.sound(values, header)
    sound = played and _url("audio/wav", played)
    return {**_stacked(kind.planes(values, header)), "sound": sound, **more}


def spread(kind: SignalKind, deviation: np.ndarray, header: Mapping[str, Any], **more) -> dict:
    """Return the standard deviation of a signal's entries as a map in colour, with its legends.

    Args:
        kind: kind of the signal.
        deviation: the standard deviation, `[*axes, channels]`.
        header: header of signals that `kind.drawn` returned.
        **more: further entries of the result.

    Returns:
        The entries of `signal`, without a sound, and `legends`.
    """
    from matplotlib import colormaps

    maps = kind.spread(deviation, header)
    outside = np.isnan(maps)
    maps = np.nan_to_num(maps, nan=0.0)
    highest = maps.max(axis=(0, 1, 2))
    colours = 2 * colormaps["magma"](maps / np.where(highest > 0, highest, 1))[..., :3] - 1
    colours[outside] = 1.0
    labels = zip(kind.spread_labels(header), highest.tolist(), strict=True)
    legends = [legend(Legend(label, 0.0, high, "magma")) for label, high in labels]
    variables = np.concatenate(list(np.moveaxis(colours, 3, 0)), axis=2)
    return {**_stacked(variables), "legends": legends, **more}


def legend(what: Legend) -> dict:
    """Return a legend with a picture of its colours."""
    from matplotlib import colormaps

    colours = colormaps[what.colours](np.linspace(0, 1, _COLOURS))[None, :, :3]
    png = pictures.png(np.rint(255 * colours).astype(np.uint8))
    return {"label": what.label, "low": what.low, "high": what.high, "png": _url("image/png", png)}


def _stacked(planes: np.ndarray) -> dict:
    count, height, width, _ = planes.shape
    png = pictures.png(pictures.grid(planes, columns=1, scale=1, gap=0))
    return {"png": _url("image/png", png), "width": width, "height": height, "planes": count}


def _url(form: str, content: bytes) -> str:
    return f"data:{form};base64,{base64.b64encode(content).decode()}"

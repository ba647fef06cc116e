"""Sounds: `[n, samples, 1]`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from abp_tf import data, networks
from abp_tf.display import media, pictures
from abp_tf.options import Option, positive, share
from abp_tf.signals import few_examples
from abp_tf.signals.base import Legend, Part, SignalKind, filled
from abp_tf.signals.image import ANY, SMOOTH
from abp_tf.signals.texture import PADDING

# Window in samples, and number of columns, of the spectrogram that represents a sound in pictures.
_WINDOW, _COLUMNS = 256, 256
# Number of points of the curve of standard deviations, each the mean over a piece of the sound.
_POINTS = 1000


def _of_samples(build: Callable) -> Callable:
    """Return a builder of networks that takes the shape `(samples, 1)` in place of `samples`."""
    return functools.wraps(build)(lambda shape, **keywords: build(shape[0], **keywords))


class Sound(SignalKind):
    """Sounds of one channel, stationary in time: networks can produce any length."""

    name = "sound"
    plural = "sounds"
    axes = ("samples",)
    channels = (1,)
    sources = data.SOUND_SOURCES_HELP
    file_source = "wav"
    loader = Part(
        data.load_sound,
        {
            "length": Option(positive(int), "samples of one sound; by default the whole recording"),
            "hop": Option(
                positive(int), "samples from one sound's start to the next; by default --length"
            ),
            "rate": Option(
                positive(float), "sampling rate in Hz; recordings of another rate are resampled"
            ),
            "peak": Option(
                positive(float), "largest absolute value, to which each recording is scaled"
            ),
            "item": Option(int, "number of the only recording to use, in an array of several"),
            "limit": Option(positive(int), "number of sounds to use, the first ones; by default all"),
            "test_share": Option(share, "share of the sounds kept for testing"),
        },
    )
    generator = Part(
        _of_samples(networks.sound_generator),
        {
            "latent_dim": Option(
                positive(int), "latent variables at each position of the latent sequence",
                keyword="latent_channels",
            ),
            "width": Option(positive(int), "channels of the finest hidden layer"),
            "factors": Option(positive(int), "factors by which the layers lengthen a sound", many=True),
            "kernel_size": Option(positive(int), "length of the transposed convolutions' kernels"),
            "activation": SMOOTH,
            "padding": Option(PADDING, "padding; with valid, latents extend beyond the ends"),
        },
    )  # fmt: skip
    descriptor = Part(
        _of_samples(networks.sound_descriptor),
        {
            "width": Option(positive(int), "number of filters in the first layer"),
            "kernel_size": Option(positive(int), "length of the convolution kernels"),
            "stride": Option(positive(int), "stride of the convolutions"),
            "levels": Option(positive(int), "number of convolutions with a stride"),
            "activation": ANY,
            "padding": Option(
                PADDING, "padding of the convolutions; by default valid, or same for short sounds"
            ),
        },
    )
    defaults = {
        "generator": {
            **few_examples.GENERATOR, "latent_dim": 8, "width": 48, "sigma": 0.05, "bands": 512,
            "weight_decay": 8.0, "least_steps_per_epoch": 30,
        },
        "descriptor": {**few_examples.DESCRIPTOR, "length": 10_000, "least_steps_per_epoch": 20},
        "coopnets": {
            **few_examples.COOPNETS, "length": 20_000, "latent_dim": 4, "width": 32, "sigma": 0.1,
            "latent_step_size": 0.05, "least_steps_per_epoch": 20,
        },
    }  # fmt: skip
    masks = {
        "gap": "gap:2000 hides 2000 successive samples",
        "pepper": "pepper:0.5 hides half of the samples",
    }
    uploads = (".wav", ".flac", ".ogg", ".mp3", ".npz")
    columns = 4
    banded = True
    drawn_whole = False
    deviation_drawn = False

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return a gap of a tenth of a sound."""
        return f"gap:{-(-shape[0] // 10)}"

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other sounds to a length and a rate."""
        return {"length": shape[0], "rate": header.get("rate")}

    def save_deviation(self, stem: str | Path, deviation: np.ndarray, header: Mapping) -> None:
        """Draw the standard deviation over time, because it is not meaningful as a sound."""
        rate = header.get("rate")
        starts, means = _means(deviation[:, 0], _POINTS)
        pictures.curves(
            f"{stem}.png",
            {"standard deviation": list(zip(starts / (rate or 1), means, strict=True))},
            "of samples of the recovered sound, in [0, 1]",
            Path(stem).name,
            "time (s)" if rate else "time (samples)",
        )

    def spread(self, deviation: np.ndarray, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return the standard deviation over time, as one row of its means over pieces."""
        return _means(deviation[:, 0], _COLUMNS)[1].astype(np.float32)[None, None, :, None]

    def grid(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return one plane and one row, with a column for each piece of a sound."""
        return 1, 1, min(shape[0], _COLUMNS)

    def painted(self, hidden: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the mask of a sound, from the pieces of it that are hidden."""
        hidden = hidden.ravel()
        return ~hidden[np.arange(shape[0]) * len(hidden) // shape[0]]

    def legends(self, header: Mapping[str, Any]) -> list[Legend]:
        """Return the meaning of the grey of spectrograms."""
        return [Legend("dB of full scale", media.FLOOR, 0.0, "gray")]

    def sound(self, signal: np.ndarray, header: Mapping[str, Any]) -> bytes:
        """Return a sound as a WAV file; NaN, allowed in hidden samples, is silent."""
        return media.wav(filled(signal), header.get("rate") or media.DEFAULT_RATE)

    def summarize(self, name: str, signals: np.ndarray, columns: int, header: Mapping) -> None:
        """Write sounds to TensorBoard as audio and as spectrograms."""
        # TensorBoard accepts one type of data per tag.
        super().summarize(f"{name}/spectrogram", signals, columns, header)
        rate = round(header.get("rate") or media.DEFAULT_RATE)
        tf.summary.audio(name, np.clip(signals, -1, 1), rate, max_outputs=len(signals))

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        """Draw spectrograms: time to the right, frequency up, black at 80 dB below full scale."""
        hop = max(1, signals.shape[1] // _COLUMNS)
        levels = np.stack([media.levels(sound[:, 0], _WINDOW, hop) for sound in signals])
        return (1 - 2 * levels / media.FLOOR)[:, ::-1, :, None].astype(np.float32)

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        path = Path(f"{stem}.wav")
        media.save_wav(path, filled(signal), header.get("rate") or media.DEFAULT_RATE)
        return path


def _means(values: np.ndarray, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first indices of pieces of values, as many as there are at most, and their means."""
    pieces = min(pieces, len(values))
    starts = np.arange(pieces) * len(values) // pieces
    return starts, np.add.reduceat(values, starts) / np.diff(starts, append=len(values))

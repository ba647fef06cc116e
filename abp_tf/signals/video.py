"""Clips of video: `[n, frames, height, width, channels]`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from abp_tf import data, networks
from abp_tf.display import media
from abp_tf.options import Option, positive, share, sides
from abp_tf.signals import few_examples
from abp_tf.signals.base import Part, SignalKind, filled
from abp_tf.signals.image import ANY, SIZE, SMOOTH
from abp_tf.signals.texture import PADDING

# Number of frames of a clip that a picture shows.
_FRAMES = 8
_STATIONARY = Option(bool, "assume stationarity in space, not only in time")


class Video(SignalKind):
    """Clips, grey or in colour, stationary in time: networks can produce any length."""

    name = "video"
    plural = "clips"
    axes = ("frames", "height", "width")
    sources = data.VIDEO_SOURCES_HELP
    file_source = "video"
    loader = Part(
        data.load_video,
        {
            "length": Option(positive(int), "frames of one clip; by default the whole recording"),
            "hop": Option(
                positive(int), "frames from one clip's start to the next; by default --length"
            ),
            "size": Option(SIZE, "size to which frames are resized", form="N|HxW"),
            "crop": Option(bool, "crop to the aspect ratio of --size instead of stretching"),
            "grey": Option(bool, "convert frames to grey, or to colour; by default keep them"),
            "fps": Option(
                positive(float), "frames per second; frames are dropped or repeated to match"
            ),
            "item": Option(int, "number of the only recording to use, in an array of several"),
            "limit": Option(positive(int), "number of clips to use, the first ones; by default all"),
            "test_share": Option(share, "share of the clips kept for testing"),
        },
    )
    generator = Part(
        networks.video_generator,
        {
            "latent_dim": Option(
                positive(int), "latent variables at each position of the latent grid",
                keyword="latent_channels",
            ),
            "width": Option(positive(int), "channels of the finest feature map"),
            "base": Option(
                SIZE,
                "coarsest map, if not --stationary; by default 4x4 where that fits",
                form="N|HxW",
            ),
            "levels": Option(positive(int), "number of layers that double the sides of frames"),
            "time_levels": Option(int, "number of layers that double the number of frames"),
            "stationary": _STATIONARY,
            "activation": SMOOTH,
            "padding": Option(PADDING, "padding in time; with valid, latents extend beyond the ends"),
        },
    )  # fmt: skip
    descriptor = Part(
        networks.video_descriptor,
        {
            "width": Option(positive(int), "number of filters in the first layer"),
            "kernel_size": Option(
                sides(3, "frames x height x width"), "size of the convolution kernels", form="N|TxHxW"
            ),
            "levels": Option(positive(int), "number of convolutions with a stride"),
            "stationary": _STATIONARY,
            "activation": ANY,
        },
    )
    defaults = {
        "generator": {
            **few_examples.GENERATOR, "size": 64, "padding": "valid", "sigma": 0.3, "step_size": 0.3,
            "weight_decay": 4.0, "batch_size": 2, "least_steps_per_epoch": 18,
        },
        "descriptor": {
            **few_examples.DESCRIPTOR, "size": 64, "length": 32, "steps": 30, "batch_size": 4,
            "least_steps_per_epoch": 10,
        },
        "coopnets": {
            **few_examples.COOPNETS, "size": 64, "length": 32, "sigma": 0.3,
            "least_steps_per_epoch": 15,
        },
    }  # fmt: skip
    masks = {
        "frames": "frames:0.5 hides half of the frames",
        "gap": "gap:8 hides 8 successive frames",
        "block": "block:9 hides a moving square of 9x9",
        "pepper": "pepper:0.5 hides half of the pixels",
    }
    columns = 2
    drawn_whole = False
    stacked = True
    uploads = (".gif", ".mp4", ".webm", ".npz")

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return the mask that hides half of the frames."""
        return "frames:0.5"

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other clips to a length, a size, a colour and a rate."""
        size = {"size": tuple(shape[1:3]), "grey": shape[-1] == 1}
        return {**size, "length": shape[0], "fps": header.get("rate")}

    def summarize(self, name: str, signals: np.ndarray, columns: int, header: Mapping) -> None:
        """Write clips to TensorBoard as rows of frames and as an animation."""
        from tensorboard.plugins.image import metadata

        super().summarize(name, signals, columns, header)
        frames = media.frames(signals, columns)
        height, width = frames.shape[1:3]
        # TensorBoard passes the encoded image to the browser, which plays a GIF.
        encoded = [str(width), str(height), media.gif(frames, header.get("rate"))]
        plugin = metadata.create_summary_metadata(display_name=None, description="")
        tf.summary.write(f"{name}/animated", tf.constant(encoded), metadata=plugin)

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        """Lay some frames of each clip side by side."""
        chosen = np.linspace(0, signals.shape[1] - 1, min(_FRAMES, signals.shape[1])).round()
        frames = signals[:, chosen.astype(int)]
        return np.concatenate(list(np.moveaxis(frames, 1, 0)), axis=2)

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        path, rate = Path(f"{stem}.gif"), header.get("rate")
        signal = filled(signal)
        media.save_gif(path, signal, rate)
        if every_format and importlib.util.find_spec("av"):
            media.save_mp4(f"{stem}.mp4", signal, rate)
        return path

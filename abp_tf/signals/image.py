"""Images: `[n, height, width, channels]`, aligned with each other, such as faces or digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf import data, mask_files, networks
from abp_tf.display import pictures
from abp_tf.options import Option, at_least_zero, positive, share, sides
from abp_tf.signals.base import Part, SignalKind, filled

SIZE = sides(2, "height x width")
SMOOTH = Option(networks.SMOOTH, "activation of hidden layers")
ANY = Option((*networks.SMOOTH, "relu", "leaky_relu"), "activation of hidden layers")


class Image(SignalKind):
    """Images, grey or in colour."""

    name = "image"
    plural = "images"
    axes = ("height", "width")
    sources = data.SOURCES_HELP
    source = "digits"
    file_source = "folder"
    loader = Part(
        data.load,
        {
            "size": Option(SIZE, "resize images to this", form="N|HxW"),
            "crop": Option(bool, "crop the centre to the aspect ratio of --size, or stretch"),
            "grey": Option(bool, "make images grey, or colour; by default unchanged"),
            "limit": Option(positive(int), "use the first so many images"),
            "test_share": Option(share, "share of the images held out for testing"),
            "data_dir": Option(str, "where tensorflow-datasets keeps its data", form="DIR"),
        },
    )
    generator = Part(
        networks.image_generator,
        {
            "latent_dim": Option(positive(int), "number of latent variables"),
            "width": Option(positive(int), "channels of the finest map"),
            "hidden": Option(at_least_zero(int), "units of the hidden layer; by default 8 * width"),
            "kernel_size": Option(positive(int), "kernel size of the transposed convolutions"),
            "activation": SMOOTH,
            "batch_norm": Option(
                bool,
                "normalise over batches; by default only without --mask",
                only="coopnets",
            ),
            "antialias": Option(
                positive(int),
                "width in pixels of the average after each doubling; by default the factor of "
                "--observe coarser, 2 with blur, else 1",
                only="generator",
            ),
        },
    )
    descriptor = Part(
        networks.image_descriptor,
        {
            "width": Option(positive(int), "channels of the finest map"),
            "kernel_size": Option(positive(int), "kernel size of the convolutions"),
            "activation": ANY,
            "outputs": Option(positive(int), "units whose sum is the score; 100 as published"),
            "initial_deviation": Option(
                positive(float), "standard deviation of initial weights; .01 as published"
            ),
        },
    )
    defaults = {
        "generator": {"latent_dim": 20, "antialias": None},
        "descriptor": {"activation": "leaky_relu"},
        "coopnets": {
            "latent_dim": 100, "width": 16, "kernel_size": 5, "hidden": 0, "batch_norm": None,
            "descriptor_activation": "leaky_relu",
        },
    }  # fmt: skip
    source_defaults = {
        "generator": {
            "digits": {"latent_dim": 16, "width": 16, "curve_every": 7, "picture_every": 10},
            "faces": {
                "latent_dim": 10, "width": 16, "epochs": 200, "curve_every": 50, "picture_every": 50,
            },
        },
        "descriptor": {"digits": {"width": 16, "epochs": 60, "pool": 500, "picture_every": 20}},
        "coopnets": {
            "digits": {
                "latent_dim": 16, "descriptor_width": 16, "epochs": 60, "curve_every": 20,
                "picture_every": 20,
            },
        },
    }  # fmt: skip
    masks = {
        "pepper": "pepper:0.5 half of the pixels",
        "squares": "squares:0.5:3 squares of 3x3",
        "block": "block:9 a square of 9x9",
    }

    stored_masks = (
        "folder:PATH image files of the same names, white where observed, black where hidden",
        *SignalKind.stored_masks,
    )

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other images to a size and a number of channels."""
        return {"size": tuple(shape[:2]), "grey": shape[-1] == 1}

    def read(self, paths: Sequence[str], shape: Sequence[int], rate: float | None) -> data.Signals:
        """Read image files, and all images below folders, as images of a shape."""
        from abp_tf.data import collect, convert, folder

        look = collect.Request(**self.like(shape, {}))
        names, pixels, forms = folder.read_named(paths, look)
        train = convert.to_signals(pixels)
        return data.Signals(
            train, train[:0], ", ".join(paths), names=tuple(names), kind=self.name, forms=forms
        )

    def masks_by_name(
        self, path: str, names: Sequence[str], sides: Sequence[int], *, crop: bool = True, forms=None
    ) -> np.ndarray:
        """Read masks from image files, which are white where a pixel is observed."""
        return mask_files.by_name(path, names, tuple(sides), crop=crop, forms=forms)

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        return signals

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        pixels, path = data.to_uint8(filled(signal)), Path(f"{stem}.png")
        pictures.save_png(path, pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return path

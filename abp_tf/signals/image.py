"""Images: `[n, height, width, channels]`, aligned with each other, such as faces or digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf import data, mask_files, networks
from abp_tf.data import folder_rows
from abp_tf.data.convert import Form
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
            "size": Option(SIZE, "size to which images are resized", form="N|HxW"),
            "crop": Option(bool, "crop to the aspect ratio of --size instead of stretching"),
            "grey": Option(bool, "convert images to grey, or to colour; by default keep them"),
            "limit": Option(positive(int), "number of images to use, the first ones; by default all"),
            "test_share": Option(share, "share of the images kept for testing"),
            "lazy": Option(
                bool,
                f"read files when needed; by default above {folder_rows.FILES} or "
                f"{folder_rows.BYTES >> 30} GiB",
            ),
            "data_dir": Option(str, "directory where tensorflow-datasets stores its data", form="DIR"),
        },
    )
    generator = Part(
        networks.image_generator,
        {
            "latent_dim": Option(positive(int), "number of latent variables"),
            "width": Option(positive(int), "channels of the finest feature map"),
            "hidden": Option(
                at_least_zero(int), "units of the hidden dense layer; by default 8 * width"
            ),
            "kernel_size": Option(positive(int), "side of the transposed convolutions' kernels"),
            "activation": SMOOTH,
            "batch_norm": Option(
                bool,
                "batch normalization; by default without --mask or latent steps",
                only="coopnets",
            ),
            "antialias": Option(
                positive(int),
                "side of the mean filter after each upsampling; by default the factor of --observe "
                "coarser, 2 with blur, else 1",
                only="generator",
            ),
        },
    )
    descriptor = Part(
        networks.image_descriptor,
        {
            "energy": Option(
                ("autoencoder", "score"),
                "what the energy is: the error of an autoencoder, or a score as in the papers",
            ),
            "width": Option(
                positive(int), "channels of the finest feature map; by default 16, 32 of a score"
            ),
            "kernel_size": Option(
                positive(int), "side of the convolution kernels; by default 3, 4 of a score"
            ),
            "activation": ANY,
            "outputs": Option(
                positive(int), "with a score: output units, whose sum it is; 100 in the paper"
            ),
            "initial_deviation": Option(
                positive(float),
                "with a score: standard deviation of the initial weights; 0.01 in the paper",
            ),
        },
    )
    # Learning of generators as `benchmarks.learning` and `benchmarks.recovery` found it best.
    defaults = {
        "generator": {
            "latent_dim": 60, "antialias": None, "lazy": None, "sigma": 0.25, "steps": 3,
            "step_size": 0.5, "expansion": 0.6, "batch_size": 25, "learning_rate": 4e-3,
            "encoder": True,
        },
        "descriptor": {"energy": "autoencoder", "activation": "leaky_relu", "lazy": None},
        "coopnets": {
            "lazy": None,
            "latent_dim": 100, "width": 16, "kernel_size": 4, "hidden": 0, "batch_norm": None,
            "energy": "autoencoder", "descriptor_activation": "leaky_relu",
        },
    }  # fmt: skip
    source_defaults = {
        "generator": {
            "digits": {"latent_dim": 16, "width": 16, "curve_every": 7, "picture_every": 10},
            "faces": {
                "latent_dim": 10, "width": 16, "epochs": 200, "curve_every": 50, "picture_every": 50,
            },
        },
        "descriptor": {"digits": {"epochs": 60, "pool": 500, "picture_every": 20}},
        "coopnets": {
            "digits": {
                "latent_dim": 16, "epochs": 60, "curve_every": 20,
                "picture_every": 20,
            },
        },
    }  # fmt: skip
    masks = {
        "pepper": "pepper:0.5 hides half of the pixels",
        "squares": "squares:0.5:3 hides squares of 3x3",
        "block": "block:9 hides a square of 9x9",
    }
    uploads = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    stored_masks = (
        "folder:PATH reads images of the same names, white = observed, black = hidden",
        *SignalKind.stored_masks,
    )

    def load(self, source: str, settings: Mapping[str, Any], *, missing: bool = False) -> data.Signals:
        """Load images; those of a large folder are read when they are needed unless settings say no."""
        options = self.loader.keywords(settings)
        if "lazy" in self.loader.options:
            options.setdefault("lazy", None)
        return self.loader.function(source, **options, missing=missing)

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other images to a size and a number of channels."""
        return {"size": tuple(shape[:2]), "grey": shape[-1] == 1}

    def read(
        self,
        paths: Sequence[str],
        shape: Sequence[int],
        header: Mapping[str, Any],
        limit: int | None = None,
    ) -> data.Signals:
        """Read image files, and all images below folders, as images of a shape."""
        from abp_tf.data import collect, convert, folder

        look = collect.Request(**self.like(shape, {}))
        names, pixels, forms = folder.read_named(paths, look)
        train = convert.to_signals(pixels[:limit])
        return data.Signals(
            train,
            train[:0],
            ", ".join(paths),
            names=tuple(names[:limit]),
            kind=self.name,
            forms=forms[:limit],
        )

    def masks_by_name(
        self,
        path: str,
        names: Sequence[str],
        sides: Sequence[int],
        *,
        crop: bool = True,
        forms: Sequence[Form] | None = None,
    ) -> np.ndarray:
        """Read masks from image files, which are white where a pixel is observed."""
        return mask_files.by_name(path, names, tuple(sides), crop=crop, forms=forms)

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        return signals

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        pixels, path = data.to_uint8(filled(signal)), Path(f"{stem}.png")
        pictures.save_png(path, pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return path

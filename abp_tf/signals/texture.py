"""Textures: photographs `[n, height, width, channels]` of patterns that are alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abp_tf import data, networks
from abp_tf.options import Option, positive
from abp_tf.signals import few_examples
from abp_tf.signals.base import Part
from abp_tf.signals.image import ANY, SIZE, SMOOTH, Image

PADDING = ("valid", "same")
_BRICK = {"size": 224, "least_steps_per_epoch": 50}


class Texture(Image):
    """Textures, grey or in colour, stationary in space: networks can produce any size."""

    name = "texture"
    plural = "textures"
    sources = data.TEXTURE_SOURCES_HELP
    source = "brick"
    loader = Part(
        data.load_texture,
        {
            "size": Option(SIZE, "size to which the photograph is resized", form="N|HxW"),
            "grey": Option(bool, "convert the photograph to grey, or to colour; by default keep it"),
            "patch": Option(
                SIZE, "size of the random crops to learn from", keyword="crop", form="N|HxW"
            ),
            "patches": Option(positive(int), "number of random crops", keyword="count"),
            "item": Option(int, "number of the only photograph to use, in an array of several"),
        },
    )
    generator = Part(
        networks.texture_generator,
        {
            "latent_dim": Option(
                positive(int), "latent variables at each position of the latent grid",
                keyword="latent_channels",
            ),
            "width": Option(positive(int), "channels of the finest feature map"),
            "kernel_size": Option(positive(int), "side of the transposed convolutions' kernels"),
            "levels": Option(positive(int), "number of layers that double the sides"),
            "activation": SMOOTH,
            "padding": Option(PADDING, "padding; with valid, latents extend beyond the border"),
        },
    )  # fmt: skip
    descriptor = Part(
        networks.texture_descriptor,
        {
            "width": Option(positive(int), "number of filters in the first layer"),
            "levels": Option(positive(int), "number of convolutions with a stride"),
            "activation": ANY,
            "padding": Option(
                PADDING, "padding of the convolutions; by default valid, or same for small textures"
            ),
        },
    )
    defaults = {
        "generator": {
            **few_examples.GENERATOR, **_BRICK, "patch": 128, "patches": 24, "padding": "valid",
            "latent_dim": 3, "width": 24, "sigma": 0.3, "last_sigma": 0.1, "step_size": 0.4,
            "expansion": 0.4, "learn_prior": True, "learning_rate": 2e-3, "weight_decay": 4.0,
            "epochs": 30, "inference_steps": 40, "inference_cool": 20, "curve_every": 20,
            "picture_every": 10,
        },
        "descriptor": {
            **few_examples.DESCRIPTOR, **_BRICK, "width": 32, "levels": 3, "start_sigma": 0.1,
            "steps": 40, "learning_rate": 3.5e-4, "batch_size": 1, "epochs": 10, "picture_every": 1,
        },
        "coopnets": {
            **few_examples.COOPNETS, **_BRICK, "latent_dim": 3, "width": 24, "kernel_size": 6,
            "padding": "valid", "sigma": 0.3, "descriptor_width": 32, "descriptor_levels": 3,
            "reference_sigma": 1.0, "generator_rate": 1e-4, "descriptor_rate": 5e-4, "batch_size": 1,
            "epochs": 10, "curve_every": 5, "picture_every": 2,
        },
    }  # fmt: skip
    source_defaults = {}
    enlarged = 3

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other photographs to a number of channels, at their size."""
        return {"grey": shape[-1] == 1}

    def read(
        self,
        paths: Sequence[str],
        shape: Sequence[int],
        header: Mapping[str, Any],
        limit: int | None = None,
    ) -> data.Signals:
        """Read image files, and all images below folders, as textures of a shape."""
        return Image().read(paths, shape, header, limit)._replace(kind=self.name)

"""Volumes: `[n, depth, height, width, channels]`."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abp_tf import data, extras, files, masks, networks
from abp_tf.data.volume import VOLUME_SOURCES_HELP, load_volume
from abp_tf.display import pictures
from abp_tf.options import Option, positive, share, sides
from abp_tf.signals import few_examples
from abp_tf.signals.base import Part, SignalKind, both, filled
from abp_tf.signals.image import ANY, SMOOTH


class Volume(SignalKind):
    """Volumes of one size, aligned with each other, such as scans."""

    name = "volume"
    plural = "volumes"
    axes = ("depth", "height", "width")
    sources = VOLUME_SOURCES_HELP
    file_source = "volume"
    loader = Part(
        load_volume,
        {
            "size": Option(
                sides(3, "depth x height x width"), "size to which volumes are resized", form="N|DxHxW"
            ),
            "window": Option(
                float,
                "the two values that become -1 and 1; by default the extremes of the NIfTI files",
                many=True,
                form="X",
            ),
            "item": Option(int, "number of the only volume to use, in an array of several"),
            "limit": Option(positive(int), "number of volumes to use, the first ones; by default all"),
            "test_share": Option(share, "share of the volumes kept for testing"),
        },
    )
    generator = Part(
        networks.volume_generator,
        {
            "latent_dim": Option(positive(int), "number of latent variables"),
            "width": Option(positive(int), "channels of the finest feature map"),
            "levels": Option(positive(int), "number of layers that double the sides"),
            "kernel_size": Option(positive(int), "side of the transposed convolutions' kernels"),
            "activation": SMOOTH,
        },
    )
    descriptor = Part(
        networks.volume_descriptor,
        {
            "width": Option(positive(int), "number of filters in the first layer"),
            "levels": Option(positive(int), "number of convolutions with a stride"),
            "kernel_size": Option(positive(int), "side of the convolution kernels"),
            "activation": ANY,
        },
    )
    defaults = {
        "generator": {
            **few_examples.GENERATOR, "latent_dim": 20, "batch_size": 10, "least_steps_per_epoch": 20,
        },
        "descriptor": {**few_examples.DESCRIPTOR, "steps": 30, "least_steps_per_epoch": 10},
        "coopnets": {**few_examples.COOPNETS, "latent_dim": 20, "least_steps_per_epoch": 10},
    }  # fmt: skip
    masks = {
        "block": "block:9 hides a cube of 9x9x9",
        "gap": "gap:8 hides 8 successive slices",
        "frames": "frames:0.5 hides half of the slices",
        "pepper": "pepper:0.5 hides half of the voxels",
    }
    columns = 3
    drawn_whole = False
    stacked = True
    uploads = (".npy", ".nii", ".npz")

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return the mask that hides a cube of half the shortest side."""
        return f"block:{-(-min(shape[:-1]) // 2)}"

    def draw_masks(
        self,
        spec: str,
        count: int | Sequence[int],
        shape: Sequence[int],
        seed: int,
        own: np.ndarray | data.LazyRows | None = None,
    ) -> np.ndarray:
        """Draw masks over the axes of volumes; "block" hides a cube."""
        parsed = masks.parse(spec)
        size = parsed.size
        if parsed.kind != "block" or size is None:
            return super().draw_masks(spec, count, shape, seed, own)
        spare = [length - size for length in shape[:-1]]
        if min(spare) < 0 or max(spare) == 0:
            raise ValueError(
                f"Expected a block that fits into {tuple(shape[:-1])} and leaves something observed, "
                f"received {spec!r}."
            )
        numbers = range(count) if isinstance(count, int | np.integer) else count
        drawn = np.ones((len(numbers), *shape[:-1]), bool)
        for number, mask in zip(numbers, drawn, strict=True):
            random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(number),)))
            corner = [random.integers(room + 1) for room in spare]
            mask[tuple(slice(start, start + size) for start in corner)] = False
        return both(drawn, own)

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other volumes to a size, with the same window of values."""
        window = [header["low"], header["high"]] if "low" in header else None
        return {"size": list(shape[:-1]), "window": window}

    def save_deviation(self, stem: str | Path, deviation: np.ndarray, header: Mapping) -> None:
        """Write the standard deviation of samples of one volume, in the unit of its file."""
        scale = (header["high"] - header["low"]) / 2 if "low" in header else 1.0
        self._write(str(stem), 2 * deviation - 1, scale * deviation, header)

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        """Lay the middle slices across the three axes side by side, on white."""
        middles = [length // 2 for length in signals.shape[1:4]]
        slices = [signals.take(place, axis) for axis, place in enumerate(middles, start=1)]
        height = max(one.shape[1] for one in slices)
        padded = [
            np.pad(
                one,
                ((0, 0), (0, height - one.shape[1]), (0, number < 2), (0, 0)),
                constant_values=1.0,
            )
            for number, one in enumerate(slices)
        ]
        return np.concatenate(padded, axis=2)

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        """Write a volume in the unit of its file, NaN in hidden voxels, and a picture of slices."""
        values = signal
        if "low" in header:
            values = header["low"] + (signal + 1) / 2 * (header["high"] - header["low"])
        return self._write(stem, signal, values, header)

    def _write(self, stem: str, shown: np.ndarray, values: np.ndarray, header: Mapping) -> Path:
        pictures.save_png(f"{stem}.png", self.picture(filled(shown)[None], 1))
        values = (values[..., 0] if values.shape[-1] == 1 else values).astype(np.float32)
        if "affine" in header:
            with extras.needed("volumes"):
                import nibabel
            path = Path(f"{stem}.nii.gz")
            image = nibabel.Nifti1Image(values, np.array(header["affine"]))
            files.replace(path, gzip.compress(image.to_bytes()))
            return path
        path, buffer = Path(f"{stem}.npy"), io.BytesIO()
        np.save(buffer, values)
        files.replace(path, buffer.getvalue())
        return path

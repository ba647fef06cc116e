"""Run directories: what a program learned, with what settings, from what data.

config.json   settings, data and versions       model.keras   model, chains and optimizer
history.json  logs of every epoch               metrics.json  errors at the end
pictures/     PNG files                         logs/         TensorBoard
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from abp_tf import data, files, mask_files, signals
from abp_tf._version import __version__
from abp_tf.data import examples


class Run:
    """A run directory that exists; `create` and `open` return one.

    Attributes:
        path: of the directory.
        config: what config.json holds: "program", "settings", "data", "versions".
    """

    def __init__(self, path: Path, config: dict):
        self.path = path
        self.config = config
        self.model_path = path / "model.keras"
        self.pictures = path / "pictures"
        self.logs = path / "logs"
        self.pictures.mkdir(exist_ok=True)

    @classmethod
    def create(cls, path: str | os.PathLike, program: str, settings: dict, images) -> Run:
        """Make the directory of a new run.

        Args:
            path: must not exist, or be an empty directory.
            program: that is going to write it.
            settings: all options of the program, in JSON's types.
            images: the `data.Signals` it learns from.

        Raises:
            FileExistsError: something is there; it is left as it is.
        """
        path = Path(path)
        if files.taken(path):
            raise FileExistsError(
                f"Expected a new run directory, but {path} exists. Choose another name, or continue "
                "it with --resume. Nothing was changed."
            )
        path.mkdir(parents=True, exist_ok=True)
        config = {
            "program": program,
            "settings": settings,
            "data": describe(images),
            "versions": {
                "abp_tf": __version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
        }
        files.write_json(path / "config.json", config)
        return cls(path, config)

    @classmethod
    def open(cls, path: str | os.PathLike) -> Run:
        """Return the run in a directory.

        Raises:
            FileNotFoundError: there is none.
        """
        path = Path(path)
        try:
            config = json.loads((path / "config.json").read_text())
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Expected a run directory, but there is no {path / 'config.json'}. Make a run with "
                "`python -m train.generator --run ...`."
            ) from None
        return cls(path, config)

    def load_images(self) -> data.Signals:
        """Load the images the run learned from.

        Raises:
            ValueError: they are not the same any more.
        """
        images = load_images(self.config["settings"])
        found = describe(images)
        if found != self.config["data"]:
            raise ValueError(
                f"The data of the run {self.path} have changed: expected {self.config['data']}, found "
                f"{found}. Give back the data it began with, or begin another run."
            )
        return images

    def load_model(self) -> keras.Model:
        """Load the model as the run's last whole backup holds it.

        Raises:
            FileNotFoundError: there is none yet.
        """
        if not self.model_path.exists():
            raise FileNotFoundError(
                f"The run {self.path} has no model.keras yet. Continue it with --resume."
            )
        return keras.models.load_model(self.model_path)


def load_images(settings: dict) -> data.Signals:
    """Load signals, and their masks if these are stored, as a program's settings say."""
    kind, spec = signals.get(settings["kind"]), settings.get("mask")
    stored = mask_files.is_stored(spec)
    images = kind.load(settings["data"], settings, missing=stored)
    return attach_masks(images, spec, settings) if stored else images


def attach_masks(images: data.Signals, spec: str, settings: dict) -> data.Signals:
    """Return signals that settings say how to load, with masks from files; see `mask_files.attach`."""
    return mask_files.attach(
        images,
        spec,
        crop=settings.get("crop", True),
        limited=settings.get("limit") is not None,
        read=signals.get(images.kind).masks_by_name,
    )


def load_like(
    source: str,
    settings: dict,
    shape: tuple[int, ...],
    header: Mapping[str, Any] = MappingProxyType({}),
    limit: int | None = None,
    mask: str | None = None,
) -> data.Signals:
    """Load other signals, brought to the form of those of a run, all of them as training examples.

    Args:
        source: their name.
        settings: of the run.
        shape: of a signal of the run.
        header: of the run's own signals; see `data.Signals`.
        limit: their number at most.
        mask: "folder:PATH" or "npz:PATH[:KEY]", if they have masks of their own.
    """
    changes = {"data": source, "mask": mask, "limit": limit, "test_share": 0.0, "item": None}
    form = signals.get(settings["kind"]).like(shape, header)
    return load_images({**settings, **changes, **form})


def training_mask(settings: dict, images: data.Signals) -> np.ndarray | None:
    """Return what a run shows its model of the training images: their own masks, or drawn ones.

    Args:
        settings: of the run.
        images: as `load_images` returned them.

    Returns:
        bool, 1 = observed, `[n, h, w]` for images; None: all is observed.
    """
    if images.train_mask is not None or not settings.get("mask"):
        return images.train_mask
    kind, shape = signals.get(images.kind), images.train.shape[1:]
    return kind.draw_masks(settings["mask"], len(images.train), shape, settings["seed"])


def describe(images: data.Signals) -> dict:
    """Tell data from other data: counts, shape, and digests of all values and of stored masks."""
    found = {
        "train": len(images.train),
        "test": len(images.test),
        "shape": list(images.train.shape[1:]),
        "sha256": examples.digest(images.train, images.test),
    }
    found |= images.header
    if images.train_mask is not None:
        found["masks"] = examples.digest(images.train_mask, images.test_mask)
    return found

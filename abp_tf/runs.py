"""Run directories: the results of a training program, its settings, and a description of its data.

config.json   settings, data and versions       model.keras   model, chains and optimizer
history.json  logs of every epoch               metrics.json  errors at the end
model.shards/ backup, if there are several shards
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
from abp_tf.data import LazyRows, examples
from abp_tf.distribution.backup import Directory
from abp_tf.fields import gaps


class Run:
    """An existing run directory; `create` and `open` return one.

    Attributes:
        path: path of the directory.
        config: content of config.json: "program", "settings", "data", "versions".
        model_path: path of the model file.
        shards: path of the directory that holds the backup of a training with several shards.
        pictures: path of the folder of pictures.
        logs: path of the folder of TensorBoard logs.
    """

    def __init__(self, path: Path, config: dict):
        self.path = path
        self.config = config
        self.model_path = path / "model.keras"
        self.shards = Directory.beside(self.model_path).path
        self.pictures = path / "pictures"
        self.logs = path / "logs"
        self.pictures.mkdir(exist_ok=True)

    @classmethod
    def create(cls, path: str | os.PathLike, program: str, settings: dict, images) -> Run:
        """Make the directory of a new run.

        Args:
            path: path of the directory, which must not exist or must be empty.
            program: name of the program that writes the run.
            settings: all options of the program by name, in JSON's types.
            images: the `data.Signals` that the program learns from.

        Raises:
            FileExistsError: if the path exists and is no empty directory; nothing is changed.
        """
        path = Path(path)
        if files.taken(path):
            raise FileExistsError(
                f"Expected a new run directory, but {path} exists. Choose another name, or continue "
                "it with --resume. Nothing was changed."
            )
        path.mkdir(parents=True, exist_ok=True)
        files.clean(path)
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

    @staticmethod
    def begun(path: str | os.PathLike) -> bool:
        """Return whether there is a run in a directory, complete or not."""
        return (Path(path) / "config.json").exists()

    @classmethod
    def open(cls, path: str | os.PathLike) -> Run:
        """Return the run in a directory, and remove what killed programs left half written in it.

        Raises:
            FileNotFoundError: if the directory holds no run.
            ValueError: if its config.json is damaged.
        """
        path = Path(path)
        try:
            config = _checked(json.loads((path / "config.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Expected a run directory, but there is no {path / 'config.json'}. Make a run with "
                "`python -m train.generator --run ...`."
            ) from None
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"Expected the settings of a run in {str(path / 'config.json')!r}, which is damaged: "
                f"{error}. Restore it from a copy, or begin another run."
            ) from None
        files.clean(path)
        return cls(path, config)

    def load_images(self) -> data.Signals:
        """Load the signals that the run learned from.

        Raises:
            ValueError: if the data have changed since the run began.
        """
        images = load_images(self.config["settings"])
        found = describe(images)
        if found != self.config["data"]:
            raise ValueError(
                f"The data of the run {self.path} have changed: expected {self.config['data']}, found "
                f"{found}. Restore the data it began with, or begin another run."
            )
        return images

    def load_model(self) -> keras.Model:
        """Load the model from the last complete backup of the run.

        Raises:
            FileNotFoundError: if the run has no backup yet.
        """
        directory = Directory(self.shards)
        if directory.exists():
            return directory.load_model()
        return keras.models.load_model(self.weights_path)

    @property
    def weights_path(self) -> Path:
        """Path of the file with the weights of the last complete backup.

        Raises:
            FileNotFoundError: if the run has no backup yet.
        """
        directory = Directory(self.shards)
        if directory.exists():
            return directory.weights_path
        if not self.model_path.exists():
            raise FileNotFoundError(
                f"The run {self.path} has no model.keras yet. Continue it with --resume."
            )
        return self.model_path


def _checked(config) -> dict:
    """Return the content of a config.json, or raise ValueError for a part that is missing."""
    for part, kind in {"program": str, "settings": dict, "data": dict}.items():
        if not isinstance(config, dict) or not isinstance(config.get(part), kind):
            raise ValueError(f"it has no {part!r}")
    for name in ("kind", "data", "seed"):
        if name not in config["settings"]:
            raise ValueError(f"its settings have no {name!r}")
    return config


def load_images(settings: dict) -> data.Signals:
    """Load the signals of a program's settings, with their masks if these are stored in files."""
    kind, spec = signals.get(settings["kind"]), settings.get("mask")
    stored = mask_files.is_stored(spec)
    images = kind.load(settings["data"], settings, missing=stored)
    return attach_masks(images, spec, settings) if spec and stored else images


def attach_masks(images: data.Signals, spec: str, settings: dict) -> data.Signals:
    """Return signals with their masks from files, by `mask_files.attach`, and those they have already.

    Args:
        images: the signals.
        spec: specification of the masks: "folder:PATH" or "npz:PATH[:KEY]".
        settings: the settings that the signals were loaded with.
    """
    kind = signals.get(images.kind)
    found = mask_files.attach(
        images,
        spec,
        crop=settings.get("crop", True),
        limited=settings.get("limit") is not None,
        read=kind.masks_by_name,
    )
    if not kind.incomplete:
        return found
    pairs = [(found.train_mask, images.train_mask), (found.test_mask, images.test_mask)]
    train, test = (own if mask is None else signals.both(mask, own) for mask, own in pairs)
    return found._replace(train_mask=train, test_mask=test)


def load_like(
    source: str,
    settings: dict,
    shape: tuple[int, ...],
    header: Mapping[str, Any] = MappingProxyType({}),
    limit: int | None = None,
    mask: str | None = None,
) -> data.Signals:
    """Load other signals in the form of those of a run, all of them as training examples.

    Args:
        source: specification of the other signals, such as "faces" or "folder:PATH".
        settings: settings of the run.
        shape: shape of one signal of the run.
        header: header of the run's own signals, a field of `data.Signals`.
        limit: largest number of signals; None for all.
        mask: specification of the signals' own masks, "folder:PATH" or "npz:PATH[:KEY]"; None if they
            have none.
    """
    changes = {"data": source, "mask": mask, "limit": limit, "test_share": 0.0}
    changes |= {"item": None, "lazy": None}
    form = signals.get(settings["kind"]).like(shape, header)
    return load_images({**settings, **changes, **form})


def training_mask(settings: dict, images: data.Signals) -> np.ndarray | LazyRows | None:
    """Return the mask a run trains with: the stored masks of its training images, or drawn ones.

    Args:
        settings: settings of the run.
        images: signals as `load_images` returns them.

    Returns:
        bool, 1 = observed, `[n, h, w]` for images; `LazyRows` if the signals are; None if all entries
        are observed.
    """
    spec = settings.get("mask")
    if not spec or mask_files.is_stored(spec):
        return images.train_mask
    kind, shape, own = signals.get(images.kind), images.train.shape[1:], images.train_mask
    count, seed = len(images.train), settings["seed"]
    if not isinstance(images.train, LazyRows) or spec == gaps.SPEC:
        return kind.draw_masks(spec, count, shape, seed, own)

    def draw(numbers: np.ndarray) -> np.ndarray:
        return kind.draw_masks(
            spec, numbers.tolist(), shape, seed, None if own is None else own[numbers]
        )

    return LazyRows(draw, count, draw(np.array([0])).shape[1:], bool)


def describe(images: data.Signals) -> dict:
    """Return a description that differs for other data.

    It holds counts, shape, header, and digests of all values, of their masks and of times that count.
    Of values that are read when they are needed it has all names and up to 64 signals.
    """
    values: list[np.ndarray | LazyRows | bytes] = [images.train, images.test]
    masks = [images.train_mask, images.test_mask]
    if isinstance(images.train, LazyRows):
        some = np.linspace(0, len(images.train) - 1, min(len(images.train), 64)).astype(int)
        values = ["\n".join(images.names or ()).encode(), images.train[some]]
        masks = [None if masks[0] is None else masks[0][some]]
    found = {
        "train": len(images.train),
        "test": len(images.test),
        "shape": list(images.train.shape[1:]),
        "sha256": examples.digest(*values),
    }
    found |= images.header
    if images.train_mask is not None:
        found["masks"] = examples.digest(*masks)
    if "period" in images.header:
        found["times"] = examples.digest(images.train_time, images.test_time)
    return found

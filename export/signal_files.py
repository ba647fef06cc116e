"""The files of the client: signals, masks and latents that are read, answers that are written."""

from __future__ import annotations

import argparse
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from abp_tf import Client, data, files, mask_files, signals
from abp_tf.data import npz
from abp_tf.display import pictures

# Rows of the grid, which is for a first look.
ROWS = 10


class Answer(NamedTuple):
    """What a command writes.

    Attributes:
        arrays: for the .npz file.
        folders: signals by the folder that holds one file of each.
        names: of these files; None: numbers.
        rows: labelled signals for the grid; None: those of the first folder.
        header: what files of the signals hold besides; see `abp_tf.data.Signals`.
        kind: of signal; None: none that can be shown.
    """

    arrays: dict[str, np.ndarray]
    folders: dict[str, np.ndarray]
    names: list[str] | None = None
    rows: dict[str, np.ndarray] | None = None
    header: Mapping[str, Any] = MappingProxyType({})
    kind: signals.SignalKind | None = None


def read(client: Client, name: str, arguments: argparse.Namespace) -> data.Signals:
    """Read files as the signals that a function of the model takes.

    Args:
        client: of the model.
        name: of the function.
        arguments: of the program: files and folders, the rate of sounds and clips, and the kind.
    """
    known = client.signatures()
    shape = known[name].inputs["signal"].shape.as_list()[1:] if name in known else []
    kind = None if None in shape else named_kind(arguments, shape)
    if kind is None:
        known = ", ".join(signals.get(one).plural for one in signals.names())
        raise ValueError(
            f"Expected a model that can {name} {known}, but signals of {client.name!r} have the shape "
            f"{shape}. Use abp_tf.Client for other signals."
        )
    return kind.read(arguments.images, shape, arguments.rate)


def named_kind(arguments: argparse.Namespace, shape: Sequence[int]) -> signals.SignalKind | None:
    """Return the kind that the options name, or else what the shape of a signal suggests, or None."""
    return signals.of(shape, arguments.kind) if arguments.kind else signals.guess(shape)


def read_masks(path: str, given: data.Signals) -> np.ndarray:
    """Read masks for signals that were read; return bool `[n, ...]`, True where observed."""
    if npz.is_npz(path):
        return mask_files.attach(given, f"npz:{path}").train_mask
    kind, sides = signals.get(given.kind), given.train.shape[1:-1]
    if Path(path).is_dir():
        return kind.masks_by_name(path, given.names, sides, forms=given.forms)
    # One file for all.
    forms = given.forms[:1] if len(set(given.forms or ())) == 1 else None
    mask = kind.masks_by_name(path, [Path(path).name], sides, forms=forms)
    return np.repeat(mask, len(given.names), axis=0)


def read_latents(argument: str) -> np.ndarray:
    """Read the array that FILE.npy holds, or FILE.npz as `latent` or another KEY."""
    path, key = npz.split(argument)
    if not path.is_file():
        raise FileNotFoundError(f"--latents: expected a file, but there is no file {str(path)!r}.")
    try:
        with open(path, "rb") as file:  # NumPy would leave a torn file open
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            return content["latent" if key is None else key]
    except KeyError:
        raise ValueError(
            f"--latents: expected one of the arrays {content.files} of {str(path)!r}, as in "
            f"FILE.npz:KEY; there is no {key or 'latent'!r}."
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"--latents: {str(path)!r} cannot be read as NumPy's: {error}.") from error


def fresh(text: str) -> Path:
    """Return a directory to write into.

    Raises:
        FileExistsError: something is there.
    """
    path = Path(text)
    if files.taken(path):
        raise FileExistsError(
            f"--to: expected a directory that is new or empty, but {text!r} is not. Nothing was "
            "changed."
        )
    return path


def write(directory: Path, answer: Answer) -> None:
    """Write arrays and, of images, sounds and clips, a file of each and a picture of the first."""
    directory.mkdir(parents=True, exist_ok=True)
    with files.aside(directory / "answers.npz") as path:
        np.savez_compressed(path, **answer.arrays)
    first = next(iter(answer.folders.values()))
    kind = answer.kind
    if kind is None:
        print(f"wrote {directory / 'answers.npz'}; of signals of shape {first.shape[1:]} nothing else")
        return
    names = answer.names or [f"{number:0{len(str(len(first) - 1))}}" for number in range(len(first))]
    for name, folder in answer.folders.items():
        for stem, signal in zip(files.stems(names), folder, strict=True):
            kind.save(directory / name / stem, signal, answer.header)
    if answer.rows is None:
        grid = kind.picture(first[: kind.columns * ROWS])
    else:
        tiles = [kind.tiles(row[: kind.columns]) for row in answer.rows.values()]
        grid = pictures.rows(tiles, list(answer.rows))
    pictures.save_png(directory / "grid.png", grid)
    print(f"wrote {', '.join(f'{name}/' for name in answer.folders)}, grid.png and answers.npz "
          f"into {directory}")  # fmt: skip

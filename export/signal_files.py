"""The files of the client: signals, masks and latents that are read, answers that are written."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import Client, checks, data, files, media, pictures
from abp_tf.data import collect, convert, folder, mask_files, npz

# The grid is for a first look: so many signals in a row, and rows.
_COLUMNS, ROWS = {"image": 10, "sound": 4, "video": 2}, 10
# What signals are called in the plural, and where files of them are read from.
_PLURALS = {"image": "images", "sound": "sounds", "video": "clips"}
_SOURCES = {"sound": "wav", "video": "video"}


class Given(NamedTuple):
    """Signals that were read.

    Attributes:
        names: one for each.
        signals: float32 `[n, *signal_shape]`.
        rate: samples or frames per second; None for images, and where nothing tells.
        plural: what they are called.
    """

    names: list[str]
    signals: np.ndarray
    rate: float | None
    plural: str


class Answer(NamedTuple):
    """What a command writes.

    Attributes:
        arrays: for the .npz file.
        folders: signals by the folder that holds one file of each.
        names: of these files; None: numbers.
        rows: labelled signals for the grid; None: those of the first folder.
        rate: samples or frames per second; None: those of `media.save`.
    """

    arrays: dict[str, np.ndarray]
    folders: dict[str, np.ndarray]
    names: list[str] | None = None
    rows: dict[str, np.ndarray] | None = None
    rate: float | None = None


def read(client: Client, name: str, paths: list[str], rate: float | None) -> Given:
    """Read files as the signals that a function of the model takes.

    Args:
        client: of the model.
        name: of the function.
        paths: files and folders.
        rate: that sounds and clips are brought to; None: their own.
    """
    known = client.signatures()
    shape = known[name].inputs["signal"].shape.as_list()[1:] if name in known else []
    kind = None if None in shape else media.kind(shape)
    if kind is None:
        raise ValueError(
            f"Expected a model that can {name} images, sounds or clips, of one or three channels, but "
            f"signals of {client.name!r} have the shape {shape}. Use abp_tf.Client for other signals."
        )
    if kind == "image":
        request = collect.Request((shape[0], shape[1]), grey=shape[2] == 1)
        names, pixels = folder.read_named(paths, request)
        return Given(names, convert.to_signals(pixels), None, "images")
    found = {path: _recordings(path, kind, shape, rate) for path in paths}
    rates = {part.rate for part in found.values()}
    if len(rates) > 1:
        told = ", ".join(sorted(map(str, rates)))
        raise ValueError(f"--rate: expected {_PLURALS[kind]} of one rate, received {told}. Give one.")
    names = [name for path, part in found.items() for name in _numbered(path, len(part.train))]
    signals = np.concatenate([part.train for part in found.values()])
    return Given(names, signals, rates.pop(), _PLURALS[kind])


def _recordings(path: str, kind: str, shape: list[int], rate: float | None) -> data.Signals:
    """Read sounds or clips of the shape of a model's, one after the other where they are longer."""
    spec = f"{'npz' if _is_npz(path) else _SOURCES[kind]}:{path}"
    if kind == "sound":
        return data.load_sound(spec, length=shape[0], rate=rate, test_share=0.0)
    look = {"size": tuple(shape[1:3]), "grey": shape[3] == 1}
    return data.load_video(spec, length=shape[0], fps=rate, test_share=0.0, **look)


def _numbered(path: str, count: int) -> list[str]:
    """Name what was read from a path, by numbers if it is more than one."""
    file = npz.split(path)[0]
    if count == 1:
        return [file.name]
    width = len(str(count))
    return [f"{file.stem}-{number:0{width}}{file.suffix}" for number in range(1, count + 1)]


def _is_npz(path: str) -> bool:
    return npz.split(path)[0].suffix.lower() == ".npz"


def read_masks(path: str, names: list[str], signals: np.ndarray) -> np.ndarray:
    """Read masks for signals of these names; return bool `[n, ...]`, True where observed."""
    if _is_npz(path):
        damaged = collect.Signals(signals, signals[:0], path)
        return mask_files.attach(damaged, f"npz:{path}").train_mask
    if signals.ndim != 4:
        raise ValueError(
            f"--masks: expected FILE.npz[:KEY], an array of masks ('n', *{signals.shape[1:-1]}), for "
            f"signals that are no images, received {path!r}. {checks.POLARITY}"
        )
    size = signals.shape[1:3]
    if Path(path).is_dir():
        return mask_files.by_name(path, names, size)
    _, pixels = folder.read_named([path], collect.Request(size, grey=True))
    return np.repeat(pixels[..., 0] >= mask_files.WHITE, len(names), axis=0)


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


def plural(signals: np.ndarray) -> str:
    """Return what signals `[n, *signal_shape]` are called, as their folder is."""
    return _PLURALS.get(media.kind(signals.shape[1:]), "signals")


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
    kind = media.kind(first.shape[1:])
    if kind is None:
        print(f"wrote {directory / 'answers.npz'}; of signals of shape {first.shape[1:]} nothing else")
        return
    names = answer.names or [f"{number:0{len(str(len(first) - 1))}}" for number in range(len(first))]
    for name, signals in answer.folders.items():
        for stem, signal in zip(files.stems(names), signals, strict=True):
            media.save(directory / name / stem, signal, answer.rate)
    columns = _COLUMNS[kind]
    if answer.rows is None:
        grid = pictures.grid(media.tiles(first[: columns * ROWS]), columns)
    else:
        tiles = [media.tiles(row[:columns]) for row in answer.rows.values()]
        grid = pictures.rows(tiles, list(answer.rows))
    pictures.save_png(directory / "grid.png", grid)
    print(f"wrote {', '.join(f'{name}/' for name in answer.folders)}, grid.png and answers.npz "
          f"into {directory}")  # fmt: skip

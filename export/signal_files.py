"""Read signals, masks and latents for the client, and write its results."""

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

# Largest number of rows of the grid.
ROWS = 10


class Output(NamedTuple):
    """Hold the output of a command.

    Attributes:
        arrays: arrays of the .npz file by name.
        folders: signals by the name of the folder that holds a file of each.
        names: names of these files; None for numbers.
        rows: signals by label for the grid; None for those of the first folder.
        header: other contents of the files, as in `abp_tf.data.Signals`.
        kind: kind of signal; None for signals that cannot be shown.
    """

    arrays: dict[str, np.ndarray]
    folders: dict[str, np.ndarray]
    names: list[str] | None = None
    rows: dict[str, np.ndarray] | None = None
    header: Mapping[str, Any] = MappingProxyType({})
    kind: signals.SignalKind | None = None


def read(client: Client, name: str, arguments: argparse.Namespace) -> data.Signals:
    """Read files as signals for a function of the model.

    Args:
        client: client of the model.
        name: name of the function, such as "inpaint".
        arguments: options of the program: files and folders, rate and kind.

    Raises:
        ValueError: the model does not have the function, or its signals are of no known kind.
    """
    signatures = client.signatures()
    shape = signatures[name].inputs["signal"].shape[1:] if name in signatures else []
    kind = None if None in shape else named_kind(arguments, shape)
    if kind is None:
        kinds = ", ".join(signals.get(one).plural for one in signals.names())
        raise ValueError(
            f"Expected a model that can {name} {kinds}, but signals of {client.name!r} have the shape "
            f"{shape}. Use abp_tf.Client for other signals."
        )
    return kind.read(arguments.images, shape, {"rate": arguments.rate})


def times(
    client: Client,
    name: str,
    arguments: argparse.Namespace,
    count: int,
    given: data.Signals | None = None,
) -> np.ndarray | None:
    """Return the times of signals for a function of the model, None if it has no seasonal mean.

    Args:
        client: client of the model.
        name: name of the function, such as "inpaint".
        arguments: options of the program, of which --time counts before the times of files.
        count: number of signals.
        given: signals that were read; None if there are none.

    Raises:
        ValueError: there are no times, or not as many as signals.
    """
    signature = client.signatures().get(name)
    if signature is None or "time" not in signature.inputs:
        return None
    if arguments.time is None and given is not None and given.train_time is not None:
        return given.train_time
    if arguments.time is None or len(arguments.time) not in (1, count):
        raise ValueError(
            f"--time: expected one time, or one for each of {count} signals, because {client.name!r} "
            f"has a seasonal mean, received {len(arguments.time or ())}."
        )
    return np.broadcast_to(np.array(arguments.time), (count,))


def named_kind(arguments: argparse.Namespace, shape: Sequence[int]) -> signals.SignalKind | None:
    """Return the kind of --kind or, without it, the usual kind of a shape, None for other shapes."""
    return signals.of(shape, arguments.kind) if arguments.kind else signals.guess(shape)


def read_masks(path: str, given: data.Signals) -> np.ndarray:
    """Read masks of signals.

    Args:
        path: a folder of mask images, one mask image, or FILE.npz[:KEY].
        given: signals, with the names of their files.

    Returns:
        bool `[n, *axes]`, True where observed.
    """
    if npz.is_npz(path):
        return mask_files.attach(given, f"npz:{path}").train_mask
    kind, sides = signals.get(given.kind), given.train.shape[1:-1]
    if Path(path).is_dir():
        return kind.masks_by_name(path, given.names, sides, forms=given.forms)
    # One file for all signals.
    forms = given.forms[:1] if len(set(given.forms or ())) == 1 else None
    mask = kind.masks_by_name(path, [Path(path).name], sides, forms=forms)
    return np.repeat(mask, len(given.names), axis=0)


def read_latents(argument: str) -> np.ndarray:
    """Read latents from FILE.npy, or from FILE.npz[:KEY], whose default key is `latent`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged or has no such array.
    """
    path, key = npz.split(argument)
    if not path.is_file():
        raise FileNotFoundError(f"--latents: expected a file, but there is no file {str(path)!r}.")
    try:
        with open(path, "rb") as file:  # NumPy would leave a damaged file open
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            return content["latent" if key is None else key]
    except KeyError:
        raise ValueError(
            f"--latents: expected one of the arrays {content.files} of {str(path)!r}, as in "
            f"FILE.npz:KEY, received {key or 'latent'!r}."
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"--latents: expected a NumPy file, but {str(path)!r} cannot be read: {error}."
        ) from error


def fresh(text: str) -> Path:
    """Return the path of a new or empty directory.

    Raises:
        FileExistsError: the path is a file or a directory that is not empty.
    """
    path = Path(text)
    if files.taken(path):
        raise FileExistsError(
            f"--to: expected a directory that is new or empty, but {text!r} is not. Nothing was "
            "changed."
        )
    return path


def write(directory: Path, output: Output) -> None:
    """Write arrays and, for signals of a known kind, a file of each and a grid of the first ones."""
    directory.mkdir(parents=True, exist_ok=True)
    with files.aside(directory / "answers.npz") as path:
        np.savez_compressed(path, **output.arrays)
    first = next(iter(output.folders.values()))
    kind = output.kind
    if kind is None:
        print(f"wrote {directory / 'answers.npz'}; no files of signals of shape {first.shape[1:]}")
        return
    names = output.names or [f"{number:0{len(str(len(first) - 1))}}" for number in range(len(first))]
    for name, folder in output.folders.items():
        for stem, signal in zip(files.stems(names), folder, strict=True):
            kind.save(directory / name / stem, signal, output.header)
    if output.rows is None:
        grid = kind.picture(first[: kind.columns * ROWS], header=output.header)
    else:
        tiles = [kind.tiles(row[: kind.columns], output.header) for row in output.rows.values()]
        grid = pictures.rows(tiles, list(output.rows))
    pictures.save_png(directory / "grid.png", grid)
    print(f"wrote {', '.join(f'{name}/' for name in output.folders)}, grid.png and answers.npz "
          f"into {directory}")  # fmt: skip

"""Ask a served model for images, and of them: python -m export.client --help."""

from __future__ import annotations

import argparse
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abp_tf import Client, checks, files, masks, pictures, programs
from abp_tf.data import collect, convert, folder, mask_files, npz

# The grid is for a first look: so many images in a row, samples below each other, and images in all.
_COLUMNS, _SHOWN = 10, 100


class Answer(NamedTuple):
    """What a command writes.

    Attributes:
        arrays: for the .npz file.
        folders: signals by the folder that holds one picture of each.
        names: of these pictures; None: numbers.
        rows: labelled signals for the grid; None: those of the one folder.
    """

    arrays: dict[str, np.ndarray]
    folders: dict[str, np.ndarray]
    names: list[str] | None = None
    rows: dict[str, np.ndarray] | None = None


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    server = argparse.ArgumentParser(add_help=False)
    add = server.add_argument_group("server").add_argument
    add("--server", default="localhost:8500", metavar="HOST:PORT", help="default: %(default)s")
    add("--model", required=True, help="the model's name on the server")
    add("--version", type=_version, help="number, or label, of the version; by default the newest")
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="of a request; default: 60")
    add("--batch-size", type=int, default=16, metavar="ROWS", help="of a request; default: 16")
    add("--tls-root", metavar="FILE", help="root certificates (PEM); without them no TLS")
    answer = argparse.ArgumentParser(add_help=False)
    answer.add_argument("--to", required=True, metavar="DIR",
        help="directory to write, new or empty: pictures by name, grid.png, answers.npz")  # fmt: skip
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument("--seed", type=int, default=0, help="row i has the seed SEED + i; default: 0")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument("--images", required=True, nargs="+", metavar="PATH",
        help="image files, or folders of them; brought to the model's size and colour")  # fmt: skip

    result = argparse.ArgumentParser(
        prog="export.client", description="Ask a model that a server holds: images in, images out."
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("synthesize", parents=[server, answer, seed], help="draw new signals")
    one.add_argument("--count", type=int, default=64, help="how many; default: %(default)s")
    commands.add_parser(
        "reconstruct", parents=[server, answer, seed, images], help="infer latents and decode them"
    )
    one = commands.add_parser(
        "inpaint", parents=[server, answer, seed, images], help="fill in what is hidden"
    )
    hidden = one.add_mutually_exclusive_group(required=True)
    hidden.add_argument("--masks", metavar="PATH",
        help="images, white where a pixel is observed and black where it is hidden: a folder with the "
        "names of the images, or one file for all; cropped and resized as they are")  # fmt: skip
    hidden.add_argument("--mask", metavar="SPEC",
        help="hide pixels at random: pepper:P, squares:P:SIDE or block:SIDE, P the probability of "
        "being hidden")  # fmt: skip
    one.add_argument("--samples", type=int, metavar="K",
        help="complete each image K times; writes every sample, their mean, and their standard "
        "deviation (black 0, white 1)")  # fmt: skip
    one = commands.add_parser("decode", parents=[server, answer], help="decode latents")
    one.add_argument("--latents", required=True, metavar="FILE",
        help="FILE.npy or FILE.npz[:KEY], answers.npz of another command for one")  # fmt: skip
    commands.add_parser(
        "refine", parents=[server, answer, seed, images], help="revise by the energy of a descriptor"
    )
    one = commands.add_parser(
        "score", parents=[server, images], help="print f(x) and the energy, the likeliest image first"
    )
    one.add_argument("--json", metavar="FILE", help="write them there instead, in the images' order")
    commands.add_parser("status", parents=[server], help="list the versions of the model")
    return result


def _version(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def status(client: Client, arguments: argparse.Namespace) -> None:
    """Print the versions of the model and their states."""
    versions = client.status()
    print(f"{'version':>7}  {'state':<9}  error")
    for version in versions:
        print(f"{version.number:>7}  {version.state:<9}  {version.error}".rstrip())


def synthesize(client: Client, arguments: argparse.Namespace) -> Answer:
    """Draw new signals."""
    if arguments.count < 1:
        raise ValueError(f"--count: expected 1 or more, received {arguments.count}.")
    seeds = checks.seeds(arguments.seed, arguments.count)
    answer = client.ask("synthesize", seed=seeds, verbose=1)
    return Answer({**answer, "seed": seeds}, {"images": answer["signal"]})


def reconstruct(client: Client, arguments: argparse.Namespace) -> Answer:
    """Infer the latents of images and decode them."""
    names, images = _images(client, "reconstruct", arguments.images)
    seeds = checks.seeds(arguments.seed, len(images))
    answer = client.ask("reconstruct", signal=images, seed=seeds, verbose=1)
    return Answer(
        {**answer, "seed": seeds, "name": np.array(names)},
        {"images": answer["signal"]},
        names,
        {"images": images, "reconstruct": answer["signal"]},
    )


def inpaint(client: Client, arguments: argparse.Namespace) -> Answer:
    """Fill in what is hidden of images, once or several times."""
    spec = masks.parse(arguments.mask) if arguments.mask else None
    names, images = _images(client, "inpaint", arguments.images)
    if spec:
        mask = spec(len(images), images.shape[1:3], arguments.seed)
    else:
        mask = _masks(arguments.masks, names, images.shape[1:3])
    answer = client.ask(
        "inpaint",
        signal=images,
        mask=mask,
        seed=arguments.seed,
        samples=arguments.samples,
        verbose=1,
    )
    signal = answer["signal"]
    seeds = arguments.seed + np.arange(signal[..., 0, 0, 0].size).reshape(signal.shape[:-3])
    arrays = {**answer, "seed": seeds, "mask": mask, "name": np.array(names)}
    rows = {"images": images, "observed": pictures.visible(images, mask)}
    if arguments.samples is None:
        return Answer(arrays, {"images": signal}, names, {**rows, "inpaint": signal})
    mean, deviation = signal.mean(axis=0), signal.std(axis=0)
    arrays |= {"mean": mean, "deviation": deviation}
    samples = {f"sample-{number + 1}": one for number, one in enumerate(signal)}
    # Values in [-1, 1] have a standard deviation in [0, 1].
    moments = {"mean": mean, "deviation": 2 * deviation - 1}
    rows |= dict(list(samples.items())[:_COLUMNS]) | moments
    return Answer(arrays, samples | moments, names, rows)


def decode(client: Client, arguments: argparse.Namespace) -> Answer:
    """Decode latents."""
    latents = _latents(arguments.latents)
    answer = client.ask("decode", latent=latents, verbose=1)
    return Answer({**answer, "latent": latents}, {"images": answer["signal"]})


def refine(client: Client, arguments: argparse.Namespace) -> Answer:
    """Revise images by the energy of a descriptor or of CoopNets."""
    names, images = _images(client, "refine", arguments.images)
    seeds = checks.seeds(arguments.seed, len(images))
    answer = client.ask("refine", signal=images, seed=seeds, verbose=1)
    return Answer(
        {**answer, "seed": seeds, "name": np.array(names)},
        {"images": answer["signal"]},
        names,
        {"images": images, "refine": answer["signal"]},
    )


def score(client: Client, arguments: argparse.Namespace) -> None:
    """Print, or write, how likely images are."""
    if arguments.json and Path(arguments.json).exists():
        raise FileExistsError(
            f"--json: expected a file that does not exist, but {arguments.json!r} does. Nothing was "
            "changed."
        )
    names, images = _images(client, "score", arguments.images)
    answer = client.ask("score", signal=images)
    rows = [
        {"name": name, "score": float(f), "energy": float(energy)}
        for name, f, energy in zip(names, answer["score"], answer["energy"], strict=True)
    ]
    if arguments.json:
        files.write_json(Path(arguments.json), rows)
        return
    print(f"{'score':>12}  {'energy':>12}  image")
    for row in sorted(rows, key=lambda row: row["energy"]):
        print(f"{row['score']:>12.6g}  {row['energy']:>12.6g}  {row['name']}")


def _images(client: Client, name: str, paths: list[str]) -> tuple[list[str], np.ndarray]:
    """Read images as the signals that a function of the model takes; return names and signals."""
    known = client.signatures()
    shape = known[name].inputs["signal"].shape.as_list()[1:] if name in known else []
    if len(shape) != 3 or shape[-1] not in (1, 3) or None in shape:
        raise ValueError(
            f"Expected a model that can {name} images, with one or three channels, but signals of "
            f"{client.name!r} have the shape {shape}. Use abp_tf.Client for other signals."
        )
    request = collect.Request((shape[0], shape[1]), grey=shape[2] == 1)
    names, pixels = folder.read_named(paths, request)
    return names, convert.to_signals(pixels)


def _masks(path: str, names: list[str], size: tuple[int, int]) -> np.ndarray:
    """Read masks for images of these names; return bool `[n, h, w]`, True where observed."""
    if Path(path).is_dir():
        return mask_files.by_name(path, names, size)
    _, pixels = folder.read_named([path], collect.Request(size, grey=True))
    return np.repeat(pixels[..., 0] >= mask_files.WHITE, len(names), axis=0)


def _latents(argument: str) -> np.ndarray:
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
    """Write arrays and, of signals that are images, pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    with files.aside(directory / "answers.npz") as path:
        np.savez_compressed(path, **answer.arrays)
    first = next(iter(answer.folders.values()))
    if first.ndim != 4 or first.shape[-1] not in (1, 3):
        print(f"wrote {directory / 'answers.npz'}; signals of shape {first.shape[1:]} are no images")
        return
    names = answer.names or [f"{number:0{len(str(len(first) - 1))}}" for number in range(len(first))]
    for name, signals in answer.folders.items():
        for stem, pixels in zip(files.stems(names), convert.to_uint8(signals), strict=True):
            pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            pictures.save_png(directory / name / f"{stem}.png", pixels)
    if answer.rows is None:
        grid = pictures.grid(first[:_SHOWN], _COLUMNS)
    else:
        grid = pictures.rows([row[:_COLUMNS] for row in answer.rows.values()], list(answer.rows))
    pictures.save_png(directory / "grid.png", grid)
    print(f"wrote {', '.join(f'{name}/' for name in answer.folders)}, grid.png and answers.npz "
          f"into {directory}")  # fmt: skip


# Those whose answers are written into a directory; and those that tell something.
WRITING = {
    "synthesize": synthesize,
    "reconstruct": reconstruct,
    "inpaint": inpaint,
    "decode": decode,
    "refine": refine,
}
TELLING = {"score": score, "status": status}


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    directory = fresh(arguments.to) if arguments.command in WRITING else None
    with Client(
        arguments.server,
        arguments.model,
        version=arguments.version,
        timeout=arguments.timeout,
        root_certificates=arguments.tls_root,
        batch_size=arguments.batch_size,
    ) as client:
        if directory is None:
            TELLING[arguments.command](client, arguments)
        else:
            write(directory, WRITING[arguments.command](client, arguments))
    return 0


if __name__ == "__main__":
    programs.run(main)

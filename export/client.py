"""Ask a served model for signals, and of signals: python -m export.client --help."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from abp_tf import Client, checks, files, masks, programs, signals
from abp_tf.display import media, pictures

from . import signal_files
from .signal_files import Answer


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
        help="directory to write, new or empty: PNG, WAV or GIF files by name, grid.png, "
        "answers.npz")  # fmt: skip
    pace = argparse.ArgumentParser(add_help=False)
    pace.add_argument("--rate", type=_rate, metavar="NUMBER",
        help="samples per second of the model's sounds, or frames per second of its clips: what is "
        "read is brought to it, what is written plays at it; by default that of what is read, or else "
        f"{media.DEFAULT_RATE} samples or 10 frames")  # fmt: skip
    pace.add_argument("--kind", choices=signals.names(),
        help="of signal; by default what the shape of the model's signals suggests")  # fmt: skip
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument("--seed", type=int, default=0, help="row i has the seed SEED + i; default: 0")
    given = argparse.ArgumentParser(add_help=False, parents=[pace])
    given.add_argument("--images", "--signals", required=True, nargs="+", metavar="PATH",
        help="files, or folders of them: images, brought to the model's size and colour; sounds and "
        "videos, or arrays of them, FILE.npz[:KEY], cut into windows of its length")  # fmt: skip

    result = argparse.ArgumentParser(
        prog="export.client",
        description="Ask a model that a server holds: images, sounds or clips in and out.",
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser(
        "synthesize", parents=[server, answer, pace, seed], help="draw new signals"
    )
    one.add_argument("--count", type=int, default=64, help="how many; default: %(default)s")
    commands.add_parser(
        "reconstruct", parents=[server, answer, seed, given], help="infer latents and decode them"
    )
    one = commands.add_parser(
        "inpaint", parents=[server, answer, seed, given], help="fill in what is hidden"
    )
    hidden = one.add_mutually_exclusive_group(required=True)
    hidden.add_argument("--masks", metavar="PATH",
        help="images, white where a pixel is observed and black where it is hidden: a folder with the "
        "names of the images, or one file for all; cropped and resized as they are. Of any signals "
        "FILE.npz[:KEY], an array without channels, 1 = observed and 0 = hidden")  # fmt: skip
    hidden.add_argument("--mask", metavar="SPEC",
        help="hide at random: pepper:P pixels or samples, squares:P:SIDE or block:SIDE squares of "
        "pixels, frames:P frames of a clip, gap:LENGTH successive samples of a sound or frames; P the "
        "probability of being hidden")  # fmt: skip
    one.add_argument("--samples", type=int, metavar="K",
        help="complete each signal K times; writes every sample, their mean, and, but for sounds, "
        "their standard deviation (black 0, white 1)")  # fmt: skip
    one = commands.add_parser("decode", parents=[server, answer, pace], help="decode latents")
    one.add_argument("--latents", required=True, metavar="FILE",
        help="FILE.npy or FILE.npz[:KEY], answers.npz of another command for one")  # fmt: skip
    commands.add_parser(
        "refine", parents=[server, answer, seed, given], help="revise by the energy of a descriptor"
    )
    one = commands.add_parser(
        "score", parents=[server, given], help="print f(x) and the energy, the likeliest first"
    )
    one.add_argument("--json", metavar="FILE", help="write them there instead, in their own order")
    commands.add_parser("status", parents=[server], help="list the versions of the model")
    return result


def _rate(text: str) -> float:
    rate = float(text)
    if not 1 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a rate of 1 or more per second, received {text}")
    return rate


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
    drawn = answer["signal"]
    return _answer({**answer, "seed": seeds}, drawn, arguments)


def reconstruct(client: Client, arguments: argparse.Namespace) -> Answer:
    """Infer the latents of signals and decode them."""
    return _revised(client, "reconstruct", arguments)


def inpaint(client: Client, arguments: argparse.Namespace) -> Answer:
    """Fill in what is hidden of signals, once or several times."""
    spec = masks.parse(arguments.mask) if arguments.mask else None
    given = signal_files.read(client, "inpaint", arguments)
    known, kind = given.train, signals.get(given.kind)
    if spec:
        mask = kind.draw_masks(str(spec), len(known), known.shape[1:], arguments.seed)
    else:
        mask = signal_files.read_masks(arguments.masks, given)
    answer = client.ask(
        "inpaint",
        signal=known,
        mask=mask,
        seed=arguments.seed,
        samples=arguments.samples,
        verbose=1,
    )
    signal = answer["signal"]
    seeds = checks.seeds(arguments.seed, len(known))
    if arguments.samples is not None:
        seeds = seeds[:, None] + len(known) * np.arange(arguments.samples)
    arrays = {**answer, "seed": seeds, "mask": mask, "name": np.array(given.names)}
    rows = {kind.plural: known, "observed": pictures.visible(known, mask)}
    if arguments.samples is None:
        rows["inpaint"] = signal
        return Answer(arrays, {kind.plural: signal}, given.names, rows, given.header, kind)
    mean, deviation = signal.mean(axis=1), signal.std(axis=1)
    arrays |= {"mean": mean, "deviation": deviation}
    samples = {f"sample-{number + 1}": one for number, one in enumerate(signal.swapaxes(0, 1))}
    moments = {"mean": mean}
    if kind.deviation_drawn:  # values in [-1, 1] have one in [0, 1]
        moments["deviation"] = 2 * deviation - 1
    rows |= dict(list(samples.items())[: signal_files.ROWS]) | moments
    return Answer(arrays, samples | moments, given.names, rows, given.header, kind)


def decode(client: Client, arguments: argparse.Namespace) -> Answer:
    """Decode latents."""
    latents = signal_files.read_latents(arguments.latents)
    answer = client.ask("decode", latent=latents, verbose=1)
    return _answer({**answer, "latent": latents}, answer["signal"], arguments)


def refine(client: Client, arguments: argparse.Namespace) -> Answer:
    """Revise signals by the energy of a descriptor or of CoopNets."""
    return _revised(client, "refine", arguments)


def score(client: Client, arguments: argparse.Namespace) -> None:
    """Print, or write, how likely signals are."""
    if arguments.json and Path(arguments.json).exists():
        raise FileExistsError(
            f"--json: expected a file that does not exist, but {arguments.json!r} does. Nothing was "
            "changed."
        )
    given = signal_files.read(client, "score", arguments)
    rows = [
        {"name": name, "score": float(f), "energy": float(energy)}
        for name, f, energy in zip(given.names, *client.score(given.train), strict=True)
    ]
    if arguments.json:
        files.write_json(Path(arguments.json), rows)
        return
    print(f"{'score':>12}  {'energy':>12}  name")
    for row in sorted(rows, key=lambda row: row["energy"]):
        print(f"{row['score']:>12.6g}  {row['energy']:>12.6g}  {row['name']}")


def _revised(client: Client, name: str, arguments: argparse.Namespace) -> Answer:
    """Ask for another signal in the place of each that is given."""
    given = signal_files.read(client, name, arguments)
    known, kind = given.train, signals.get(given.kind)
    seeds = checks.seeds(arguments.seed, len(known))
    answer = client.ask(name, signal=known, seed=seeds, verbose=1)
    found = answer["signal"]
    # What an operator gave of signals is not of their size, and cannot stand above them.
    rows = {kind.plural: known, name: found} if found.shape == known.shape else None
    arrays = {**answer, "seed": seeds, "name": np.array(given.names)}
    return _answer(arrays, found, arguments, given)._replace(rows=rows)


def _answer(arrays: dict, found: np.ndarray, arguments, given=None) -> Answer:
    """Return what is written of signals that a model drew, or made of others."""
    kind = signal_files.named_kind(arguments, found.shape[1:])
    folder = "signals" if kind is None else kind.plural
    header = {"rate": arguments.rate} if given is None else given.header
    names = None if given is None else given.names
    return Answer(arrays, {folder: found}, names, header=header, kind=kind)


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
    directory = signal_files.fresh(arguments.to) if arguments.command in WRITING else None
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
            signal_files.write(directory, WRITING[arguments.command](client, arguments))
    return 0


if __name__ == "__main__":
    programs.run(main)

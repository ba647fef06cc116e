"""Request signals and scores from a served model: python -m export.client --help."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from abp_tf import Client, checks, files, masks, programs, qualities, signals
from abp_tf.display import media, pictures
from abp_tf.fields import gaps
from abp_tf.options import Formatter
from abp_tf.printing import printable

from . import connecting, signal_files
from .signal_files import Output


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    server = connecting.parser()
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--to", required=True, metavar="DIR",
        help="new or empty directory for the results: a file of each signal (such as PNG, WAV or "
        "GIF), grid.png and answers.npz")  # fmt: skip
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--rate", type=_rate, metavar="NUMBER",
        help="samples per second of the model's sounds, or frames per second of its clips, for files "
        "that are read and written; by default the rate of the files that are read, or else "
        f"{media.DEFAULT_RATE} samples or 10 frames")  # fmt: skip
    form.add_argument("--kind", choices=signals.names(), metavar="NAME",
        help=f"kind of signal: {', '.join(signals.names())}; by default the usual kind of the shape "
        "of the model's signals")  # fmt: skip
    form.add_argument("--time", type=_time, nargs="+", metavar="TIME",
        help="one time, or one of each signal, for models with a seasonal mean: a number in the unit "
        "of its period, or a date such as 2003-07-01 where that is days; by default the times of the "
        "files that are read")  # fmt: skip
    seed = argparse.ArgumentParser(add_help=False)
    seed.add_argument("--seed", type=int, default=0, metavar="N",
        help="seed of the first row; row i has the seed N + i [%(default)s]")  # fmt: skip
    given = argparse.ArgumentParser(add_help=False, parents=[form])
    given.add_argument("--images", "--signals", required=True, nargs="+", metavar="PATH",
        help="files, or folders of files: images are converted to the model's size and colour; sounds, "
        "videos and arrays, FILE.npz[:KEY], are cut into windows of its length")  # fmt: skip

    result = argparse.ArgumentParser(
        prog="export.client",
        description="Request signals and scores from a model on a server, and write them to files.",
        formatter_class=Formatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        description = f"{text[0].upper()}{text[1:]}. Defaults are in brackets."
        return commands.add_parser(
            name,
            parents=[server, *parents],
            help=text,
            description=description,
            formatter_class=Formatter,
        )

    one = command("synthesize", "draw new signals", output, form, seed)
    one.add_argument("--count", type=int, default=64, metavar="N",
        help="number of signals [%(default)s]")  # fmt: skip
    command("reconstruct", "infer the latents of signals and decode them", output, seed, given)
    one = command("inpaint", "fill in the hidden parts of signals", output, seed, given)
    hidden = one.add_mutually_exclusive_group()
    hidden.add_argument("--masks", metavar="PATH",
        help="mask images, white = observed and black = hidden: a folder with the names of the images, "
        "or one file for all; they are cropped and resized like the images. For any kind of signal "
        "FILE.npz[:KEY], an array without channels, 1 = observed and 0 = hidden")  # fmt: skip
    hidden.add_argument("--mask", metavar="SPEC",
        help="random mask: pepper:P hides pixels or samples, squares:P:SIDE or block:SIDE squares of "
        "pixels, frames:P frames of a clip, gap:LENGTH successive samples or frames; P is the "
        "probability of being hidden; moved hides what is hidden in other frames of a field. Fields "
        "need no mask")  # fmt: skip
    one.add_argument(
        "--quality",
        choices=list(qualities.QUALITIES),
        default=qualities.DEFAULT,
        help="of a generator, how much time a signal may take; more has a smaller error [%(default)s]",
    )
    one.add_argument("--samples", type=int, metavar="K",
        help="draw K samples of each signal; write all samples, their mean and, except for sounds, "
        "their standard deviation (black = 0, white = 1)")  # fmt: skip
    one = command("decode", "decode latents", output, form)
    one.add_argument("--latents", required=True, metavar="FILE",
        help="FILE.npy or FILE.npz[:KEY], such as answers.npz of another command")  # fmt: skip
    command("refine", "revise signals by the energy of a descriptor", output, seed, given)
    one = command("score", "print scores f(x) and energies, the most likely signals first", given)
    one.add_argument("--json", metavar="FILE",
        help="write scores and energies to a new JSON file, in the order of the signals")  # fmt: skip
    command("status", "list the versions of the model")
    return result


def _rate(text: str) -> float:
    rate = float(text)
    if not 1 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a rate of 1 or more per second, received {text}")
    return rate


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float((np.datetime64(text) - np.datetime64(0, "D")) / np.timedelta64(1, "D"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number or a date such as 2003-07-01, received {text!r}"
        ) from None


def status(client: Client, arguments: argparse.Namespace) -> None:
    """Print the versions of the model and their states."""
    versions = client.status()
    print(f"{'version':>7}  {'state':<9}  error")
    for version in versions:
        print(f"{version.number:>7}  {version.state:<9}  {version.error}".rstrip())


def synthesize(client: Client, arguments: argparse.Namespace) -> Output:
    """Draw new signals."""
    if arguments.count < 1:
        raise ValueError(f"--count: expected 1 or more, received {arguments.count}.")
    seeds = checks.seeds(arguments.seed, arguments.count)
    time = signal_files.times(client, "synthesize", arguments, len(seeds))
    outputs = client.ask("synthesize", seed=seeds, time=time, verbose=1)
    drawn = outputs["signal"]
    return _output({**outputs, "seed": seeds}, drawn, arguments)


def reconstruct(client: Client, arguments: argparse.Namespace) -> Output:
    """Infer the latents of signals and decode them."""
    return _revised(client, "reconstruct", arguments)


def inpaint(client: Client, arguments: argparse.Namespace) -> Output:
    """Fill in the hidden parts of signals, once or several times."""
    if arguments.mask and arguments.mask != gaps.SPEC:
        masks.parse(arguments.mask)  # before anything is read
    incomplete = arguments.kind is not None and signals.get(arguments.kind).incomplete
    if not (arguments.mask or arguments.masks or incomplete):
        raise ValueError("--mask, --masks: expected one of the two, received none.")
    given = signal_files.read(client, "inpaint", arguments)
    damaged, kind, mask = given.train, signals.get(given.kind), given.train_mask
    if arguments.mask:
        shape = damaged.shape[1:]
        mask = kind.draw_masks(arguments.mask, len(damaged), shape, arguments.seed, mask)
    elif arguments.masks:
        mask = signals.both(signal_files.read_masks(arguments.masks, given), mask)
    seeds = checks.seeds(arguments.seed, len(damaged))
    time = signal_files.times(client, "inpaint", arguments, len(damaged), given)
    inputs = {"signal": damaged, "mask": mask, "time": time, "seed": seeds}
    if arguments.samples is None:
        outputs = client.ask(qualities.signature(arguments.quality), **inputs, verbose=1)
    else:
        outputs = {"signal": connecting.completions(client, inputs, arguments.samples, verbose=1)}
    signal = outputs["signal"]
    arrays = {**outputs, "seed": seeds, "mask": mask, "name": np.array(given.names)}
    rows = {kind.plural: damaged, "observed": pictures.visible(damaged, mask)}
    if arguments.samples is None:
        rows["inpaint"] = signal
        return Output(arrays, {kind.plural: signal}, given.names, rows, given.header, kind)
    mean, deviation = signal.mean(axis=1), signal.std(axis=1)
    arrays |= {"mean": mean, "deviation": deviation}
    samples = {f"sample-{number + 1}": one for number, one in enumerate(signal.swapaxes(0, 1))}
    moments = {"mean": mean}
    if kind.deviation_drawn:  # values in [-1, 1] have a standard deviation in [0, 1]
        moments["deviation"] = 2 * deviation - 1
    rows |= dict(list(samples.items())[: signal_files.ROWS]) | moments
    return Output(arrays, samples | moments, given.names, rows, given.header, kind)


def decode(client: Client, arguments: argparse.Namespace) -> Output:
    """Decode latents from a file."""
    latents = signal_files.read_latents(arguments.latents)
    time = signal_files.times(client, "decode", arguments, len(latents))
    outputs = client.ask("decode", latent=latents, time=time, verbose=1)
    return _output({**outputs, "latent": latents}, outputs["signal"], arguments)


def refine(client: Client, arguments: argparse.Namespace) -> Output:
    """Revise signals by the energy of a descriptor or of CoopNets."""
    return _revised(client, "refine", arguments)


def score(client: Client, arguments: argparse.Namespace) -> None:
    """Print the scores and energies of signals, or write them to a JSON file."""
    if arguments.json and Path(arguments.json).exists():
        raise FileExistsError(
            f"--json: expected a file that does not exist, but {arguments.json!r} does. Nothing was "
            "changed."
        )
    given = signal_files.read(client, "score", arguments)
    time = signal_files.times(client, "score", arguments, len(given.train), given)
    found = client.score({"signal": given.train, "time": time})
    rows = [
        {"name": name, "score": float(f), "energy": float(energy)}
        for name, f, energy in zip(given.names, *found, strict=True)
    ]
    if arguments.json:
        files.write_json(Path(arguments.json), rows)
        return
    print(f"{'score':>12}  {'energy':>12}  name")
    for row in sorted(rows, key=lambda row: row["energy"]):
        print(f"{row['score']:>12.6g}  {row['energy']:>12.6g}  {printable(row['name'])}")


def _revised(client: Client, name: str, arguments: argparse.Namespace) -> Output:
    """Request a new signal for each given one, by the function `name` of the model."""
    given = signal_files.read(client, name, arguments)
    inputs, kind = given.train, signals.get(given.kind)
    seeds = checks.seeds(arguments.seed, len(inputs))
    time = signal_files.times(client, name, arguments, len(inputs), given)
    outputs = client.ask(name, signal=inputs, time=time, seed=seeds, verbose=1)
    found = outputs["signal"]
    # The output of an operator differs in shape from the signals and cannot be shown above them.
    rows = {kind.plural: inputs, name: found} if found.shape == inputs.shape else None
    arrays = {**outputs, "seed": seeds, "name": np.array(given.names)}
    return _output(arrays, found, arguments, given)._replace(rows=rows)


def _output(arrays: dict, found: np.ndarray, arguments, given=None) -> Output:
    """Return the output of a command: arrays, and signals of the kind of their shape."""
    kind = signal_files.named_kind(arguments, found.shape[1:])
    folder = "signals" if kind is None else kind.plural
    header = {"rate": arguments.rate} if given is None else given.header
    names = None if given is None else given.names
    return Output(arrays, {folder: found}, names, header=header, kind=kind)


# Commands that write to a directory, and commands that print.
WRITING = {
    "synthesize": synthesize,
    "reconstruct": reconstruct,
    "inpaint": inpaint,
    "decode": decode,
    "refine": refine,
}
PRINTING = {"score": score, "status": status}


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    directory = signal_files.fresh(arguments.to) if arguments.command in WRITING else None
    kind = signals.get(getattr(arguments, "kind", None) or "image")
    with connecting.connect(arguments, kind.value_range) as client:
        if directory is None:
            PRINTING[arguments.command](client, arguments)
        else:
            signal_files.write(directory, WRITING[arguments.command](client, arguments))
    return 0


if __name__ == "__main__":
    programs.run(main)

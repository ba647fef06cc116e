"""Command-line options that several programs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from abp_tf import masks, operators
from abp_tf.callbacks import RollBack
from abp_tf.data import mask_files


def positive(kind: type) -> Callable:
    """Return a parser of positive numbers."""

    def parse(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a positive {kind.__name__}, received {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def at_least_zero(kind: type) -> Callable:
    """Return a parser of numbers of 0 or more."""

    def parse(text):
        value = kind(text)
        if not 0 <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected {kind.__name__} of 0 or more, received {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def at_least(least: int) -> Callable:
    """Return a parser of integers of `least` or more."""

    def parse(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, received {text}")
        return value

    parse.__name__ = "int"
    return parse


def share(text: str) -> float:
    """Parse a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share in [0, 1], received {text}")
    return value


def size(text: str) -> int | list[int]:
    """Parse "64", for a square, or "48x64", height by width."""
    return _sides(text, 2, "a side such as 64, or height x width such as 48x64")


def kernel(text: str) -> int | list[int]:
    """Parse "4", the same along all sides, or "3x4x4", frames by height by width."""
    return _sides(text, 3, "a side such as 4, or frames x height x width such as 3x4x4")


def _sides(text: str, count: int, form: str) -> int | list[int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, count) or min(sides, default=0) < 1:
        raise argparse.ArgumentTypeError(f"expected {form}, received {text!r}")
    return sides if len(sides) == count else sides[0]


def mask(text: str) -> str:
    """Check a mask specification; settings keep its text."""
    if mask_files.is_stored(text):
        return text
    try:
        return str(masks.parse(text))
    except ValueError as error:
        stored = " or ".join(map(repr, mask_files.FORMS.values()))
        raise argparse.ArgumentTypeError(f"{error} Masks in files are given as {stored}.") from None


# How operators are written, what their number is, and how they are made of it and the run's seed.
OPERATORS = {
    "projection": ("projection:SIZE", int, operators.Projection),
    "coarser": ("coarser:FACTOR", int, lambda factor, seed: operators.Coarser(factor)),
    "blur": ("blur:SIGMA", float, lambda sigma, seed: operators.Blur(sigma)),
}


def operator(text: str, seed: int = 0) -> operators.Observation:
    """Make the operator that a text such as "projection:200" tells."""
    kind, _, value = text.partition(":")
    try:
        _, number, make = OPERATORS[kind]
        return make(number(value), seed)
    except (KeyError, ValueError) as error:
        forms = ", ".join(form for form, _, _ in OPERATORS.values())
        told = "" if isinstance(error, KeyError) else f" ({error})"
        raise argparse.ArgumentTypeError(f"expected one of {forms}, received {text!r}{told}") from None


def observe(text: str) -> str:
    """Check what an operator is told by; settings keep the text."""
    operator(text)
    return text


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where to learn."""
    add = parser.add_argument
    add("--run", required=True, help="directory to write; it must not exist, but for --resume")
    add("--resume", action="store_true", help="continue an interrupted run with its own settings")


def add_mask(add: Callable, purpose: str) -> None:
    """Add the option that says what is observed of images."""
    add("--mask", type=mask, metavar="SPEC",
        help=f"{purpose}: pepper:0.5 hides half of the pixels, squares:0.5:3 squares of 3x3, block:9 "
        "one square of 9x9, which moves in a clip, frames:0.5 half of its frames, gap:2000 so many "
        "samples of a sound; folder:PATH reads masks of the names of the image files, white where a "
        "pixel is observed and black where it is hidden; npz:PATH[:KEY] an array [n, h, w] of them, "
        "1 = observed, 0 = hidden, in the order of the images")  # fmt: skip


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how long to learn, and how fast."""
    add = parser.add_argument_group("learning").add_argument
    add("--epochs", type=positive(int), help="passes over the images")
    add("--steps-per-epoch", type=positive(int),
        help="iterations in an epoch, where one pass over a small set is too short")  # fmt: skip
    add("--least-steps-per-epoch", type=positive(int),
        help="and at least so many, if that number is not given")  # fmt: skip
    add("--batch-size", type=positive(int), help="images per iteration")
    add("--schedule", choices=["constant", "cosine", "late-cosine"],
        help="of the learning rate: cosine goes down to 5 %%, late-cosine to 10 %% in the second half "
        "of the run")  # fmt: skip
    add("--precision", choices=["float32", "mixed_bfloat16"], help="that networks compute in")
    add("--seed", type=int, help="of weights, noise and order")


def add_network(add: Callable) -> None:
    """Add the options of top-down networks that are not for images."""
    add("--levels", type=positive(int), help="how often a texture or the frames of a clip are doubled")
    add("--time-levels", type=int, help="how often the number of frames is doubled")
    add("--factors", type=positive(int), nargs="+", help="by how much each layer lengthens a sound")
    add("--base", type=size, metavar="N|HxW", help="coarsest map of frames that are not stationary")
    add("--padding", choices=["valid", "same"],
        help="of transposed convolutions of textures, sounds and, in time, clips: valid has latents "
        "beyond the border, where same fades")  # fmt: skip
    add_stationary(add)


def add_bottom_up(add: Callable, prefix: str = "") -> None:
    """Add the options of bottom-up networks that are not for images."""
    add(f"--{prefix}levels", type=positive(int),
        help="number of strided convolutions, for textures, sounds and clips")  # fmt: skip
    add("--stride", type=positive(int), help="of convolutions of sounds")
    add(f"--{prefix}padding", choices=["valid", "same"],
        help="of convolutions of textures and sounds")  # fmt: skip


def add_stationary(add: Callable) -> None:
    """Add the option of networks for clips."""
    add("--stationary", action=argparse.BooleanOptionalAction,
        help="whether clips are stationary in space as well as in time")  # fmt: skip


def add_roll_back(add: Callable) -> None:
    """Add the option of energies that goes back at signs of trouble."""
    add("--roll-back", action="store_true",
        help="at a sign of trouble, or a step that is not finite, go back to the last good epoch with "
        "half of the learning rate; needs --schedule constant")  # fmt: skip


def check_roll_back(settings: dict) -> None:
    """Refuse it where a schedule sets the learning rate."""
    if settings["roll_back"] and settings["schedule"] != "constant":
        raise ValueError("--roll-back changes the learning rate itself: give --schedule constant.")


def roll_back(settings: dict) -> list[RollBack]:
    """Return the callback, if it was asked for."""
    return [RollBack()] if settings["roll_back"] else []

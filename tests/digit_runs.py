"""Runs of the training programs on small digits, made once for all tests that only read them."""

import contextlib
import importlib
import io
from pathlib import Path
from typing import NamedTuple

DIGITS = (
    "--data digits --limit 120 --size 8 --batch-size 50 --kernel-size 3 --width 4 --epochs 2 "
    "--negative faces"
)
LATENT = "--latent-dim 4 --inference-steps 5 --inference-cool 2"
WORDS = {
    "generator": f"{DIGITS} {LATENT} --steps 2 --curve-every 1 --mask pepper:0.3 --encoder",
    "descriptor": f"{DIGITS} --steps 3 --inference-steps 5 --pool 60",
    "coopnets": f"{DIGITS} {LATENT} --steps 3 --curve-every 2 --descriptor-width 4 --latent-steps 2",
}


class DigitRun(NamedTuple):
    """The directory of a run, and what the program said."""

    path: Path
    said: str


def program(name):
    return importlib.import_module(f"train.{name}")


def make(name, path) -> DigitRun:
    """Make a run of a program: 108 training and 12 test images of 8x8 pixels."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert program(name).main(["--run", str(path), *WORDS[name].split()]) == 0
    return DigitRun(path, said.getvalue())

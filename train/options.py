"""The options of the training programs: one table for each program and kind of signal.

The table is where a program's parser, its help, its configuration files and its settings come from
(`train.parsing`).
What belongs to a kind of signal is in `abp_tf.signals`, what belongs to one program in its own module,
and what programs share is here.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

import keras

from abp_tf import mask_files, masks, signals
from abp_tf.callbacks import RollBack
from abp_tf.observation import operators
from abp_tf.options import Option, at_least_zero, flag, positive
from abp_tf.signals import SignalKind

# Options by name, under the headings of --help.
Table = dict[str, dict[str, Option]]

# The networks that a program learns.
PARTS = {
    "generator": ("generator",),
    "descriptor": ("descriptor",),
    "coopnets": ("generator", "descriptor"),
}
# Of the options that a run with both networks has twice, those of the descriptor.
PREFIXED = ("width", "kernel_size", "activation", "levels", "padding")


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


def masking(kinds: list[SignalKind], purpose: str) -> Option:
    """Return the option that says what is observed of signals of some kinds."""
    lines = [line for kind in kinds for line in (*kind.masks.values(), *kind.stored_masks)]
    return Option(mask, f"{purpose}: {'; '.join(dict.fromkeys(lines))}", form="SPEC")


def learning(schedule: str, batch_size: int, **rates: Option) -> dict[str, Option]:
    """Return the options that say how long to learn, and how fast."""
    return {
        "epochs": Option(positive(int), "passes over the examples", 20),
        "steps_per_epoch": Option(positive(int), "iterations in an epoch; by default one pass"),
        "least_steps_per_epoch": Option(positive(int), "and at least so many", 1),
        "batch_size": Option(positive(int), "examples per iteration", batch_size),
        **rates,
        "schedule": Option(
            ("constant", "cosine", "late-cosine"),
            "of the learning rate",
            schedule,
        ),
        "precision": Option(("float32", "mixed_bfloat16"), "of networks", "float32"),
        "seed": Option(int, "of weights, noise and order", 0),
    }


def rate(value: float) -> Option:
    """Return the option of a learning rate."""
    return Option(positive(float), "learning rate of Adam", value)


def beta_1(value: float) -> Option:
    """Return the option of the decay of a mean of gradients."""
    return Option(at_least_zero(float), "decay of Adam's mean of gradients", value)


ROLL_BACK = Option(
    bool,
    "back to the last good epoch if in trouble; with --schedule constant",
    False,
)
NEGATIVE = Option(str, "signals of another sort, for the error curves", form="SOURCE")
PICTURES = Option(positive(int), "epochs between pictures in TensorBoard", 5)
CURVES = Option(positive(int), "epochs between points of the error curves", 5)


def of_kind(kind: SignalKind, program: str) -> Table:
    """Return the options of data and networks of a kind, with the defaults of what they feed."""
    forms = "; ".join(kind.sources.values())
    source = Option(str, forms, kind.source, form="SOURCE")
    table: Table = {"data": {"data": source, **_with_defaults(kind.loader, program)}}
    for part in PARTS[program]:
        table[part] = {
            prefixed(name, program, part): option
            for name, option in _with_defaults(getattr(kind, part), program).items()
            if prefixed(name, program, part) not in flat(table)  # one for both networks
        }
    return table


def prefixed(name: str, program: str, part: str) -> str:
    """Return what the option of a network is called in a program."""
    both = len(PARTS[program]) > 1 and part == "descriptor" and name in PREFIXED
    return f"descriptor_{name}" if both else name


def _with_defaults(part: signals.Part, program: str) -> dict[str, Option]:
    return {
        name: dataclasses.replace(option, default=part.default(name))
        for name, option in part.options.items()
        if option.only in (None, program)
    }


def complete(table: Table, kind: SignalKind, program: str) -> Table:
    """Return a program's table with the defaults that its kind of signal has for it."""
    own = kind.defaults[program]
    return {
        heading: {
            name: dataclasses.replace(option, default=own.get(name, option.default))
            for name, option in group.items()
        }
        for heading, group in table.items()
    }


def flat(table: Table) -> dict[str, Option]:
    """Return the options of all headings."""
    return {name: option for group in table.values() for name, option in group.items()}


def settle(program: str, table: Callable[[SignalKind], Table], given: dict) -> dict:
    """Complete options that were given to the settings of a run.

    Args:
        program: its name, "generator", "descriptor" or "coopnets".
        table: makes its options for a kind of signal.
        given: options by name; `kind` for one.

    Raises:
        ValueError: an option belongs to another kind of signal, or no source is given.
    """
    kind = signals.get(given.get("kind", "image"))
    known = flat(table(kind))
    refuse_others(table, kind, set(given) - known.keys() - {"kind"})
    settings = {name: option.default for name, option in known.items()}
    source = given.get("data", settings["data"])
    if source is None:
        forms = "; ".join(kind.sources.values())
        raise ValueError(f"--data: expected a source of --kind {kind.name}, received none: {forms}.")
    better = kind.source_defaults.get(program, {}).get(source, {})
    return {"kind": kind.name, **settings, **better, **given}


def refuse_others(table: Callable, kind: SignalKind, names: set[str]) -> None:
    """Refuse options that there are not, or not for this kind of signal."""
    if not names:
        return
    told = ", ".join(map(flag, sorted(names)))
    elsewhere = [one for one in signals.names() if names & flat(table(signals.get(one))).keys()]
    if elsewhere:
        raise ValueError(
            f"{told}: not an option of --kind {kind.name}, but of {', '.join(elsewhere)}. Leave it out."
        )
    raise ValueError(f"{told}: there is no such option; --help lists those there are.")


def check_roll_back(settings: dict) -> None:
    """Refuse it where a schedule sets the learning rate."""
    if settings["roll_back"] and settings["schedule"] != "constant":
        raise ValueError("--roll-back changes the learning rate itself: give --schedule constant.")


def roll_back(settings: dict) -> list[RollBack]:
    """Return the callback, if it was asked for."""
    return [RollBack()] if settings["roll_back"] else []


def network(part: str, program: str, shape: tuple[int, ...], settings: dict, **more) -> keras.Model:
    """Build a network of a run as its settings describe it.

    Args:
        part: "generator" or "descriptor".
        program: that the settings are of.
        shape: of a signal.
        settings: of the run.
        **more: keywords of the builder; None is left to it.
    """
    kind = signals.get(settings["kind"])
    build: signals.Part = getattr(kind, part)
    own = {name: settings.get(prefixed(name, program, part)) for name in build.options}
    return kind.make(build, shape, own, dtype=settings["precision"], **more)

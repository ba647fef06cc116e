"""Build the tables of options of the training programs, one for each program and kind of signal.

A program's parser, help, configuration files and settings are all made from its table
(`train.parsing`). Options of a kind of signal are in `abp_tf.signals`, options of one program in the
program's module, and options that programs share here.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable

import keras

from abp_tf import mask_files, masks, signals
from abp_tf.callbacks import RollBack
from abp_tf.fields import gaps
from abp_tf.observation import operators
from abp_tf.options import Option, at_least_zero, flag, positive
from abp_tf.signals import SignalKind

# Options by name, by heading of --help.
Table = dict[str, dict[str, Option]]

# The networks that each program learns.
PARTS = {
    "generator": ("generator",),
    "descriptor": ("descriptor",),
    "coopnets": ("generator", "descriptor"),
}
# Options that both networks have. Where a program learns both networks, those of the descriptor are
# called `descriptor_…`.
PREFIXED = ("width", "kernel_size", "activation", "levels", "padding")


def mask(text: str) -> str:
    """Check a mask specification and return its text, which settings keep.

    Raises:
        argparse.ArgumentTypeError: the text describes no mask.
    """
    if mask_files.is_stored(text) or text == gaps.SPEC:
        return text
    try:
        return str(masks.parse(text))
    except ValueError as error:
        stored = " or ".join(map(repr, mask_files.FORMS.values()))
        raise argparse.ArgumentTypeError(f"{error} For masks in files give {stored}.") from None


# Operators by name: the form of their text, the type of their number, and a function that builds the
# operator from the number and the run's seed.
OPERATORS = {
    "projection": ("projection:SIZE", int, operators.Projection),
    "coarser": ("coarser:FACTOR", int, lambda factor, seed: operators.Coarser(factor)),
    "blur": ("blur:SIGMA", float, lambda sigma, seed: operators.Blur(sigma)),
}


def operator(text: str, seed: int = 0) -> operators.Observation:
    """Build an operator from its text.

    Args:
        text: such as "projection:200", "coarser:4" or "blur:2.0".
        seed: seed of random projections.

    Raises:
        argparse.ArgumentTypeError: the text describes no operator.
    """
    kind, _, value = text.partition(":")
    try:
        _, number, make = OPERATORS[kind]
        return make(number(value), seed)
    except (KeyError, ValueError) as error:
        forms = ", ".join(form for form, _, _ in OPERATORS.values())
        reason = "" if isinstance(error, KeyError) else f" ({error})"
        raise argparse.ArgumentTypeError(
            f"expected one of {forms}, received {text!r}{reason}"
        ) from None


def observe(text: str) -> str:
    """Check the text of an operator and return it, which settings keep."""
    operator(text)
    return text


def masking(kinds: list[SignalKind], purpose: str) -> Option:
    """Return the option of a mask.

    Args:
        kinds: kinds of signal whose masks the help lists.
        purpose: first words of the help.
    """
    lines = [line for kind in kinds for line in (*kind.masks.values(), *kind.stored_masks)]
    return Option(mask, f"{purpose}: {'; '.join(dict.fromkeys(lines))}", form="SPEC")


def learning(schedule: str, batch_size: int, **rates: Option) -> dict[str, Option]:
    """Return the options of learning.

    Args:
        schedule: default schedule of the learning rate.
        batch_size: default number of examples in an iteration.
        **rates: further options, which follow the batch size in the help.
    """
    return {
        "epochs": Option(positive(int), "number of epochs", 20),
        "steps_per_epoch": Option(
            positive(int), "iterations in an epoch; by default one pass over the examples"
        ),
        "least_steps_per_epoch": Option(positive(int), "fewest iterations in an epoch", 1),
        "batch_size": Option(positive(int), "number of training examples in an iteration", batch_size),
        **rates,
        "schedule": Option(
            ("constant", "cosine", "late-cosine"),
            "learning rate schedule",
            schedule,
        ),
        "shards": Option(
            positive(int), "parts that results depend on; by default one for each process"
        ),
        "precision": Option(("float32", "mixed_bfloat16"), "number format of the networks", "float32"),
        "seed": Option(int, "seed of initial weights, noise and order of examples", 0),
    }


def rate(value: float, part: str = "") -> Option:
    """Return the option of the learning rate.

    Args:
        value: default.
        part: network that the optimizer updates, where there are two.
    """
    return Option(positive(float), f"learning rate of {_adam(part)}", value)


def beta_1(value: float, part: str = "") -> Option:
    """Return the option of the optimizer's `beta_1`; the arguments are those of `rate`."""
    return Option(at_least_zero(float), f"decay of the mean gradient in {_adam(part)}", value)


def _adam(part: str) -> str:
    return f"the {part}'s Adam optimizer" if part else "the Adam optimizer"


# Options of the inference of new signals by a generator.
INFERENCE = {
    "inference_steps": Option(
        at_least_zero(int), "Langevin steps with noise to infer latents of new signals", 200
    ),
    "inference_cool": Option(
        at_least_zero(int), "Langevin steps without noise at the end of inference", 100
    ),
}
ROLL_BACK = Option(bool, "return to the last good epoch when learning diverges", False)
NEGATIVE = Option(str, "signals of another sort for the error curves", form="SOURCE")
PICTURES = Option(positive(int), "number of epochs between pictures in TensorBoard", 5)
CURVES = Option(positive(int), "number of epochs between points of the error curves", 5)


def of_kind(kind: SignalKind, program: str) -> Table:
    """Return the options of the data and the networks of a kind of signal.

    Their defaults are those of the functions that take them: the loader and the network builders.
    """
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
    """Return the name that an option of a network has in a program."""
    both = len(PARTS[program]) > 1 and part == "descriptor" and name in PREFIXED
    return f"descriptor_{name}" if both else name


def _with_defaults(part: signals.Part, program: str) -> dict[str, Option]:
    return {
        name: dataclasses.replace(option, default=part.default(name))
        for name, option in part.options.items()
        if option.only in (None, program)
    }


def complete(table: Table, kind: SignalKind, program: str) -> Table:
    """Return a program's table with the defaults of a kind of signal."""
    own = kind.defaults[program]
    return {
        heading: {
            name: dataclasses.replace(option, default=own.get(name, option.default))
            for name, option in group.items()
        }
        for heading, group in table.items()
    }


def flat(table: Table) -> dict[str, Option]:
    """Return the options of all headings by name."""
    return {name: option for group in table.values() for name, option in group.items()}


def settle(program: str, table: Callable[[SignalKind], Table], given: dict) -> dict:
    """Complete the options that were given with defaults.

    Args:
        program: name of the program, "generator", "descriptor" or "coopnets".
        table: function from a kind of signal to the program's options.
        given: values of options by name, `kind` among them.

    Returns:
        The settings of the run by name.

    Raises:
        ValueError: an option belongs to another kind of signal, or there is no source of data.
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
    """Refuse options that a kind of signal does not have.

    Raises:
        ValueError: there are names; the message lists the kinds that have them.
    """
    if not names:
        return
    flags = ", ".join(map(flag, sorted(names)))
    elsewhere = [one for one in signals.names() if names & flat(table(signals.get(one))).keys()]
    if elsewhere:
        raise ValueError(
            f"{flags}: not an option of --kind {kind.name}, but of {', '.join(elsewhere)}. "
            "Leave it out."
        )
    raise ValueError(f"{flags}: there is no such option. --help lists all options.")


def check_roll_back(settings: dict) -> None:
    """Raise ValueError for `roll_back` with a schedule of the learning rate."""
    if settings["roll_back"] and settings["schedule"] != "constant":
        raise ValueError(
            f"--roll-back: expected --schedule constant, received {settings['schedule']!r}. Rolling "
            "back lowers the learning rate itself."
        )


def roll_back(settings: dict) -> list[RollBack]:
    """Return a list of the `RollBack` callback, empty if the settings have none."""
    return [RollBack()] if settings["roll_back"] else []


def network(part: str, program: str, shape: tuple[int, ...], settings: dict, **more) -> keras.Model:
    """Build a network of a run from its settings.

    Args:
        part: "generator" or "descriptor".
        program: name of the program of the run.
        shape: shape of a signal.
        settings: settings of the run.
        **more: further keywords of the builder; those that are None keep its default.
    """
    kind = signals.get(settings["kind"])
    build: signals.Part = getattr(kind, part)
    own = {name: settings.get(prefixed(name, program, part)) for name in build.options}
    return kind.make(build, shape, own, dtype=settings["precision"], **more)

"""Options of programs: the reader, the help and the default of each."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option of a program, which is also one entry of its configuration file.

    Attributes:
        read: function that makes the value from text and raises `argparse.ArgumentTypeError` or
            ValueError for invalid text; `bool` for a pair of `--name` and `--no-name`; a tuple of words
            for a choice of them.
        help: description of the option, without its default.
        default: value of the option if it is not given. The help does not show None.
        keyword: name of the function argument that takes the value, if it differs from the option's.
        many: whether the option takes several values, which become a list.
        form: placeholder for the value in the help, such as "N|HxW".
        required: whether the option must be given.
        only: name of the one program that has the option; None if all have it.
    """

    read: Callable[[str], Any] | tuple[str, ...] | type
    help: str
    default: Any = None
    keyword: str | None = None
    many: bool = False
    form: str | None = None
    required: bool = False
    only: str | None = None

    def add_to(self, group, name: str) -> None:
        """Add the option to an argparse parser or group; its help ends with the default in brackets."""
        text = self.help
        keywords: dict[str, Any] = {"required": self.required}
        if self.read is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        elif isinstance(self.read, tuple):
            text = f"{text}: {', '.join(self.read)}"
            keywords |= {"choices": self.read, "metavar": "NAME"}
        else:
            form = self.form or _FORMS.get(self.read.__name__, "TEXT")
            keywords |= {"type": self.read, "metavar": form}
        if self.many:
            keywords["nargs"] = "+"
        if self.default is not None:
            text += f" [{shown(self.default, ' ' if self.many else 'x')}]"
        group.add_argument(flag(name), help=text.replace("%", "%%"), **keywords)

    def check(self, value: Any) -> Any:
        """Return a value of a configuration file as the command line would give it.

        Raises:
            ValueError: if the value is invalid for the option.
        """
        if value is None:
            return None
        if self.read is bool:
            if not isinstance(value, bool):
                raise ValueError(f"expected true or false, received {value!r}")
            return value
        if isinstance(self.read, tuple):
            if value not in self.read:
                raise ValueError(f"expected one of {', '.join(self.read)}, received {value!r}")
            return value
        try:
            if self.many:
                return [self.read(str(one)) for one in value]
            return self.read(shown(value) if isinstance(value, list) else str(value))
        except argparse.ArgumentTypeError as error:
            raise ValueError(str(error)) from None


class Formatter(argparse.HelpFormatter):
    """A help formatter with one line for most options, at least 100 columns wide."""

    def __init__(self, prog: str):
        columns = max(100, shutil.get_terminal_size().columns)
        super().__init__(prog, max_help_position=33, width=columns)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text  # fill each line separately
        return "\n".join(fill(line, width, indent) for line in text.splitlines())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", "--[no-]", 1)
        return super()._format_action_invocation(action)


def flag(name: str) -> str:
    """Return an option as written on the command line.

    Example:
        >>> flag("batch_size")
        '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def shown(value: Any, between: str = "x") -> str:
    """Return a value as written on the command line, a float to six digits.

    Args:
        value: value of an option.
        between: separator of several values.

    Example:
        >>> shown([3, 4, 4]), shown(2**0.5), shown(True)
        ('3x4x4', '1.41421', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return between.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def positive(kind: type) -> Callable:
    """Return a reader of positive numbers of type `kind`."""

    def parse(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a positive {kind.__name__}, received {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def at_least_zero(kind: type) -> Callable:
    """Return a reader of numbers of 0 or more, of type `kind`."""

    def parse(text):
        value = kind(text)
        if not 0 <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected {kind.__name__} of 0 or more, received {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def at_least(least: int) -> Callable:
    """Return a reader of integers of `least` or more."""

    def parse(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, received {text}")
        return value

    parse.__name__ = "int"
    return parse


def share(text: str) -> float:
    """Read a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share in [0, 1], received {text}")
    return value


def sides(count: int, form: str) -> Callable:
    """Return a reader of sizes: "64", the same along all sides, or one number for each.

    Args:
        count: number of sides.
        form: names of the sides for messages, such as "height x width".

    Example:
        >>> sides(2, "height x width")("48x64")
        [48, 64]
    """
    example = "x".join(["64"] * count)

    def parse(text):
        try:
            found = [int(side) for side in text.lower().split("x")]
        except ValueError:
            found = []
        if len(found) not in (1, count) or min(found, default=0) < 1:
            raise argparse.ArgumentTypeError(
                f"expected a side such as 64, or {form} such as {example}, received {text!r}"
            )
        return found if len(found) == count else found[0]

    parse.__name__ = "sides"
    return parse


def local_grid(text: str) -> tuple[int, int]:
    """Read a grid of local latents, POSITIONSxLATENTS.

    Example:
        >>> local_grid("14x6")
        (14, 6)
    """
    positions, _, count = text.lower().partition("x")
    if not (positions.isdecimal() and count.isdecimal() and int(positions) and int(count)):
        raise argparse.ArgumentTypeError(
            f"expected POSITIONSxLATENTS, both 1 or more, such as 14x6, received {text!r}"
        )
    return int(positions), int(count)


def limits(text: str) -> tuple[str | None, str | None]:
    """Read two limits, `FROM:TO`; both may hold as many colons, and one may be left out.

    Example:
        >>> limits("2003:2005-06"), limits(":2005"), limits("2003-01-01T06:00:2003-01-01T18:00")
        (('2003', '2005-06'), (None, '2005'), ('2003-01-01T06:00', '2003-01-01T18:00'))
    """
    parts = text.split(":")
    half = len(parts) // 2
    first, last = ":".join(parts[:half]), ":".join(parts[half:])
    if len(parts) % 2 or not (first or last):
        raise argparse.ArgumentTypeError(f"expected FROM:TO, both of one form, received {text!r}")
    return first or None, last or None


def named_limits(text: str) -> tuple[str, tuple[str | None, str | None]]:
    """Read the limits of a coordinate, `NAME=LOW:HIGH`.

    Example:
        >>> named_limits("lat=35:37.5")
        ('lat', ('35', '37.5'))
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=LOW:HIGH, received {text!r}")
    return name, limits(values)


def named_number(text: str) -> tuple[str, int]:
    """Read a position along a dimension, `NAME=N`.

    Example:
        >>> named_number("depth=0")
        ('depth', 0)
    """
    name, _, value = text.partition("=")
    try:
        return name, int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=N, received {text!r}") from None


def as_text(parse: Callable) -> Callable:
    """Return a reader that checks text by a function and returns the text, which settings keep.

    Example:
        >>> as_text(limits)("2003:2005-06")
        '2003:2005-06'
    """

    def check(text):
        parse(text)
        return text

    return check


# Placeholder for a value in the help, by the name of its reader.
_FORMS = {"int": "N", "float": "X", "share": "SHARE", "sides": "N"}

"""Checks of input, whose errors contain what was expected, what was received, and a remedy."""

from __future__ import annotations

import numbers
from collections.abc import Callable

import numpy as np

SCALING = "Scale 8-bit images with `images.astype('float32') / 127.5 - 1`."
# Values that exceed a range by so many units in the last place of float32 are taken as rounded.
ROUNDINGS = 4
POLARITY = "A mask holds 1 (or True) where an entry is observed and 0 (or False) where it is hidden."
TIME = "Times are numbers in the unit of the scaling's period, such as days."
NOISE = "Sigma is the standard deviation of the noise of each entry, positive, in units of the signals."


def signals(
    values, shape: tuple[int, ...], value_range: tuple[float, float] | None, mask=None
) -> np.ndarray:
    """Return `values` as a float32 array `[n, *shape]`, or raise an error.

    Args:
        values: anything that NumPy can convert to an array.
        shape: shape of one signal.
        value_range: interval in which observed entries must lie; None lifts the check.
        mask: bool array that broadcasts against `values`; hidden entries are not checked. None means
            that all is observed.

    Returns:
        float32 `[n, *shape]`.

    Raises:
        ValueError: if the dtype, rank or size is wrong, there are no examples, or observed entries are
            not finite or out of range.
    """
    values, given = parted(values)
    if given is not None:
        raise ValueError(
            f"Signals: expected whole signals, received a NumPy masked array with "
            f"{np.sum(~given)} masked entries. Fill them in first, for instance with `inpaint`."
        )
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"Signals: expected floating-point values in {_range_text(value_range)}, received dtype "
            f"{values.dtype}. {SCALING}"
        )
    if values.shape[1:] != shape:
        remedy = (
            "Pass signals of this shape; if the model has an observation, "
            "`model.observe(signals)` computes them from whole signals."
        )
        if (*values.shape[1:], 1) == shape:
            remedy = "Add the channel axis: `images[..., None]`."
        elif values.shape == shape:
            remedy = "Add the batch axis: `signal[None]`."
        raise ValueError(f"Signals: expected shape {('n', *shape)}, received {values.shape}. {remedy}")
    if values.shape[0] == 0:
        raise ValueError("Signals: expected at least one example, received none.")
    observed = values if mask is None else np.where(mask, values, 0)
    if not np.isfinite(observed).all():
        raise ValueError(
            "Signals: expected finite values, received NaN or infinity in observed entries. "
            "Mark missing entries as hidden with a mask. " + POLARITY
        )
    if value_range is not None and outside(observed.min(), observed.max(), value_range):
        raise ValueError(
            f"Signals: expected values in {_range_text(value_range)}, received values from "
            f"{digits(observed.min())} to {digits(observed.max())}. {SCALING} For signals without a "
            "range, make the model or the client with value_range=None."
        )
    return values.astype(np.float32, copy=False)


def widened(value_range: tuple[float, float]) -> tuple[float, float]:
    """Return an interval with room for values that float32 rounded beyond its ends."""
    low, high = value_range
    room = ROUNDINGS * float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
    return low - room, high + room


def outside(lowest: float, highest: float, value_range: tuple[float, float]) -> bool:
    """Return whether values leave an interval by more than roundings of float32.

    Example:
        >>> outside(-1, np.float32(1.0000001), (-1, 1)), outside(-1, 1.00001, (-1, 1))
        (False, True)
    """
    low, high = widened(value_range)
    return bool(lowest < low or highest > high)


def digits(value: float) -> str:
    """Return a number in few digits, or in as many as tell it from other numbers of float32.

    Example:
        >>> digits(255.0), digits(1.00001), digits(1.000001)
        ('255', '1.00001', '1.000001')
    """
    rounded, short = np.float32(value), f"{value:g}"
    return short if np.float32(short) == rounded else str(rounded)


def parted(values) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the entries of an array, and which of them are observed.

    NumPy's masked arrays have True where an entry is hidden, the opposite of a mask of this package.

    Args:
        values: anything NumPy makes an array of, a masked array or a list of them too.

    Returns:
        An array of any shape and dtype; and a bool array of its shape, True where NumPy's mask hides
        nothing, or None if it hides nothing anywhere.

    Example:
        >>> parted(np.ma.masked_less([3.0, -1.0], 0))
        (array([ 3., -1.]), array([ True, False]))
    """
    values = np.ma.asarray(values)
    hidden = np.ma.getmaskarray(values) if np.ma.is_masked(values) else None
    return values.data, None if hidden is None else ~hidden


def noise(values, shape: tuple[int, ...], mask=None) -> np.ndarray:
    """Return the standard deviations of the noise of entries, or raise an error.

    Args:
        values: float, `[n, *signal]` or without the channel axis, in units of the signals; what is
            hidden may be anything.
        shape: shape of the signals, `(n, *signal)`.
        mask: bool array that broadcasts against the signals; None means that all is observed.

    Returns:
        float32, `[n, *signal]`, or `[n, ..., 1]` if the channel axis was missing.

    Raises:
        ValueError: if the shape is wrong, or a value of an observed entry is not positive and finite.

    Example:
        >>> noise([[0.5, np.nan]], (1, 2, 3), np.array([[[True], [False]]])).shape
        (1, 2, 1)
    """
    values = np.ma.filled(np.ma.asarray(values, np.float32), np.nan)
    values = _aligned("Sigma", values, shape, NOISE)
    good = (values > 0) & (values < np.inf)
    bad = ~good if mask is None else mask & ~good
    if bad.any():
        first = np.broadcast_to(values, bad.shape)[bad][0]
        raise ValueError(
            f"Sigma: expected positive finite standard deviations where entries are observed, received "
            f"{np.sum(bad)} others, the first of them {first:g}. Hide these entries, or give them a "
            "large one."
        )
    return values


def mask(values, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask as a bool array that broadcasts against signals of `shape`.

    Args:
        values: bool or 0/1, `[n, *signal]` or without the channel axis; 1 = observed, 0 = hidden.
        shape: shape of the signals, `(n, *signal)`.

    Returns:
        bool, `[n, *signal]`, or `[n, ..., 1]` if the channel axis was missing.

    Raises:
        ValueError: if the shape is wrong, or values are not 0 or 1.
    """
    return entries("Mask", values, shape, POLARITY)


def entries(name: str, values, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return an array of 0 and 1 as a bool array that broadcasts against signals of `shape`.

    Args:
        name: name of the array, for messages.
        values: bool or 0/1, `[n, *signal]` or without the channel axis; what NumPy masks counts as 0.
        shape: shape of the signals, `(n, *signal)`.
        meaning: a sentence that ends messages, on the meaning of 0 and 1.

    Returns:
        bool, `[n, *signal]`, or `[n, ..., 1]` if the channel axis was missing.

    Raises:
        ValueError: if the shape is wrong, or values are not 0 or 1.

    Example:
        >>> entries("where", [[1, 0]], (1, 2, 3), "1 counts.").shape
        (1, 2, 1)
    """
    # What NumPy masks of a mask is not known: hidden.
    values = _aligned(name, np.asarray(np.ma.filled(values, 0)), shape, meaning)
    if values.dtype == bool:
        return values
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{name}: expected only 0 and 1, received values from {values.min()} to "
            f"{values.max()} of dtype {values.dtype}. {meaning}"
        )
    return values.astype(bool)


def _aligned(name: str, values: np.ndarray, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return an array of the shape of signals, or of that without channels, which become 1."""
    if values.shape == shape[:-1] and values.ndim > 1:
        return values[..., None]
    if values.shape != shape and values.shape != (*shape[:-1], 1):
        raise ValueError(
            f"{name}: expected shape {shape[:-1]} or {shape}, received {values.shape}. {meaning}"
        )
    return values


def seeds(seed, count: int) -> np.ndarray:
    """Return one int64 seed per row.

    Args:
        seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
        count: number of rows.

    Returns:
        int64 `[count]`.

    Raises:
        ValueError: if `seed` is neither.
    """
    values = np.asarray(seed)
    if not np.issubdtype(values.dtype, np.integer) or values.shape not in ((), (count,)):
        raise ValueError(
            f"`seed`: expected an integer, or one integer for each of {count} rows, received {seed!r}."
        )
    return values + np.arange(count) if values.ndim == 0 else values.astype(np.int64)


def times(values, count: int) -> np.ndarray:
    """Return one time per row, in the unit of the period of a scaling.

    Args:
        values: one number for all rows, or `count` numbers.
        count: number of rows.

    Returns:
        float64 `[count]`.

    Raises:
        ValueError: if `values` are neither, or not finite.

    Example:
        >>> times(0.5, 3), times([1, 2], 2)
        (array([0.5, 0.5, 0.5]), array([1., 2.]))
    """
    found = np.asarray(values)
    number = np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)
    if not number or found.shape not in ((), (count,)) or not np.isfinite(found).all():
        raise ValueError(
            f"Time: expected a finite number, or one for each of {count} examples, received shape "
            f"{found.shape} of dtype {found.dtype}. {TIME} Turn dates into days: "
            "`(dates - np.datetime64('1970-01-01')) / np.timedelta64(1, 'D')`."
        )
    return np.broadcast_to(found.astype(np.float64), (count,))


def labels(values, count: int, where: str = "") -> np.ndarray:
    """Return class numbers as int32 `[count]`, or raise an error.

    Args:
        values: anything that NumPy can convert to an array.
        count: number of images that the labels belong to.
        where: origin of the labels, such as " of mnist", for messages.

    Returns:
        int32 `[count]`.

    Raises:
        ValueError: if the shape is wrong, or the values are not integers of 32 bits.
    """
    values = np.asarray(values)
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"Labels{where}: expected one integer for each of {count} images, received shape "
            f"{values.shape} of dtype {values.dtype}. Number the classes of labels of any kind with "
            "`np.unique(labels, return_inverse=True)[1]`."
        )
    numbers = values.astype(np.int32)
    if (numbers != values).any():
        raise ValueError(
            f"Labels{where}: expected integers of 32 bits, received {values.min()} to "
            f"{values.max()}. Number the classes with `np.unique(labels, return_inverse=True)[1]`."
        )
    return numbers


def index(values: np.ndarray, count: int) -> None:
    """Raise an error unless examples' numbers are distinct and from 0 to `count` − 1."""
    distinct = len(np.unique(values))
    if distinct != len(values) or values.min() < 0 or values.max() >= count:
        raise ValueError(
            f"Index: expected distinct numbers from 0 to {count - 1}, received {distinct} distinct "
            f"ones among {len(values)}, from {values.min()} to {values.max()}."
        )


def owned(values: np.ndarray, worker: int, workers: int) -> None:
    """Raise an error unless examples' numbers are those that a process owns."""
    others = values[values % workers != worker]
    if len(others):
        raise ValueError(
            f"Index: process {worker} of {workers} keeps the chains of the examples i with i mod "
            f"{workers} = {worker}, received {len(others)} others, {others[0]} among them. Give each "
            "process its own, or all processes the whole arrays without an index."
        )


def integer(owner: str, name: str, value, least: int | None = None) -> int:
    """Return an option as an int, or raise an error unless it is an integer of `least` or more.

    Args:
        owner: name of the class or function that has the option, for the message.
        name: name of the option.
        value: value of the option; integers of NumPy are allowed, bool is not.
        least: smallest value that is allowed; None allows any.

    Raises:
        ValueError: if the value is not such an integer.

    Example:
        >>> integer("Langevin", "steps", np.int64(3), 0)
        3
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):
        expected = "an integer" if least is None else f"an integer of {least} or more"
        raise ValueError(f"{owner} expected `{name}` to be {expected}, received {value!r}.")
    return int(value)


def positive(owner: str, name: str, value, remedy: str = "", *, infinite: bool = False) -> float:
    """Return an option as a float, or raise an error unless it is a number above 0.

    Args:
        owner: name of the class or function that has the option, for the message.
        name: name of the option.
        value: value of the option; numbers of NumPy are allowed, bool is not.
        remedy: a sentence that ends the message.
        infinite: whether infinity is allowed.

    Raises:
        ValueError: if the value is not such a number.

    Example:
        >>> positive("Langevin", "step_size", 1)
        1.0
    """
    if not _is_number(value) or not 0 < value or (value == np.inf and not infinite):
        raise ValueError(f"{owner} expected a positive `{name}`, received {value!r}. {remedy}".rstrip())
    return float(value)


def optional_positive(owner: str, name: str, value) -> float | None:
    """Return an option as a float, or None if it is None. Arguments as for `positive`."""
    return None if value is None else positive(owner, name, value)


def deviations(owner: str, name: str, value) -> float | tuple[float, ...]:
    """Return one standard deviation, or a sequence of them, one per channel, as floats.

    Arguments as for `positive`.

    Example:
        >>> deviations("Generator", "sigma", np.array([1, 0.5]))
        (1.0, 0.5)
    """
    if np.ndim(value) == 0:
        return positive(owner, name, value)
    return tuple(positive(owner, name, one) for one in value)


def not_negative(owner: str, name: str, value) -> float:
    """Return an option as a float; allow finite numbers of 0 or more. Arguments as for `positive`."""
    if not _is_number(value) or not 0 <= value < np.inf:
        raise ValueError(f"{owner} expected a `{name}` of 0 or more, received {value!r}.")
    return float(value)


def share(owner: str, name: str, value) -> float:
    """Return an option as a float; allow numbers in [0, 1]. Arguments as for `positive`."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{owner} expected a `{name}` in [0, 1], received {value!r}.")
    return float(value)


def level(value: float) -> None:
    """Raise an error unless the level of an interval is between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"`level` expected a share between 0 and 1, received {value!r}.")


def one_of(*choices: str) -> Callable:
    """Return a check, a function of (owner, name, value), that a value is one of some words."""

    def check(owner: str, name: str, value) -> str:
        if value not in choices:
            raise ValueError(f"{owner} expected `{name}` to be one of {choices}, received {value!r}.")
        return value

    return check


def instance_of(kind: type) -> Callable:
    """Return a check, a function of (owner, name, value), that a value is an instance of a class."""

    def check(owner: str, name: str, value):
        if not isinstance(value, kind):
            raise ValueError(f"{owner} expected `{name}` to be a {kind.__name__}, received {value!r}.")
        return value

    return check


def value_range(owner: str, name: str, value) -> tuple[float, float] | None:
    """Return an interval as two floats, or None as it is; raise an error for anything else."""
    if value is None:
        return None
    low, high = (float(end) for end in value)
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"{owner} expected `{name}` to be two increasing numbers, received {value!r}.")
    return low, high


def _is_number(value) -> bool:
    """Return whether a value is a real number, of Python or NumPy, but not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _range_text(value_range) -> str:
    return "any range" if value_range is None else f"[{value_range[0]:g}, {value_range[1]:g}]"

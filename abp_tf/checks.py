"""Bad input is refused early, in words that say what was expected, what came, and what to do."""

from __future__ import annotations

import numbers
from collections.abc import Callable

import keras
import numpy as np

SCALING = "Scale 8-bit images with `images.astype('float32') / 127.5 - 1`."
# Values that exceed a range by so many units in the last place of float32 are taken as rounded.
ROUNDINGS = 4
POLARITY = "A mask holds 1 (or True) where an entry is observed and 0 (or False) where it is hidden."


def signals(
    values, shape: tuple[int, ...], value_range: tuple[float, float] | None, mask=None
) -> np.ndarray:
    """Return `values` as a float32 array `[n, *shape]`, or say what is wrong with them.

    Args:
        values: anything NumPy makes an array of.
        shape: of one signal.
        value_range: what observed entries must lie in; none lifts the check.
        mask: bool array that broadcasts against `values`; hidden entries are not looked at.

    Returns:
        float32 `[n, *shape]`.

    Raises:
        ValueError: wrong dtype, rank or size, no examples, NaN or values out of range.
    """
    values, observed = parted(values)
    if observed is not None:
        raise ValueError(
            f"Signals: expected whole signals, received a NumPy masked array with "
            f"{np.sum(~observed)} masked entries. Fill them in first, for instance with `inpaint`."
        )
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"Signals: expected floating-point values in {_range_text(value_range)}, received dtype "
            f"{values.dtype}. {SCALING}"
        )
    if values.shape[1:] != shape:
        remedy = (
            "Give them the shape the model learns from; where it has an observation, "
            "`model.observe(signals)` makes that of whole signals."
        )
        if (*values.shape[1:], 1) == shape:
            remedy = "Add the channel axis: `images[..., None]`."
        elif values.shape == shape:
            remedy = "Add the batch axis: `signal[None]`."
        raise ValueError(f"Signals: expected shape {('n', *shape)}, received {values.shape}. {remedy}")
    if values.shape[0] == 0:
        raise ValueError("Signals: expected at least one example, received none.")
    seen = values if mask is None else np.where(mask, values, 0)
    if not np.isfinite(seen).all():
        raise ValueError(
            "Signals: expected finite values, received NaN or infinity in observed entries. "
            "Mark missing entries as hidden with a mask. " + POLARITY
        )
    if value_range is not None and outside(seen.min(), seen.max(), value_range):
        raise ValueError(
            f"Signals: expected values in {_range_text(value_range)}, received values from "
            f"{digits(seen.min())} to {digits(seen.max())}. {SCALING} For signals without a "
            "range, build the model with value_range=None."
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
    value, short = np.float32(value), f"{value:g}"
    return short if np.float32(short) == value else str(value)


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


def mask(values, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask as a bool array that broadcasts against signals of `shape`.

    Args:
        values: bool or 0/1, `[n, *signal]` or without the channel axis; 1 = observed, 0 = hidden.
        shape: of the signals, `(n, *signal)`.

    Returns:
        bool, `[n, *signal]`, or `[n, ..., 1]` where the channel axis was missing.

    Raises:
        ValueError: other shape, other values, or an example with nothing observed.
    """
    values = np.asarray(np.ma.filled(values, 0))  # what NumPy masks of a mask is not known: hidden
    if values.shape == shape[:-1] and values.ndim > 1:
        values = values[..., None]
    elif values.shape != shape and values.shape != (*shape[:-1], 1):
        raise ValueError(
            f"Mask: expected shape {shape[:-1]} or {shape}, received {values.shape}. {POLARITY}"
        )
    if values.dtype != bool:
        if not np.isin(values, (0, 1)).all():
            raise ValueError(
                f"Mask: expected only 0 and 1, received values from {values.min()} to "
                f"{values.max()} of dtype {values.dtype}. {POLARITY}"
            )
        values = values.astype(bool)
    empty = np.flatnonzero(~values.any(axis=tuple(range(1, values.ndim))))
    if len(empty):
        raise ValueError(
            f"Mask: expected something observed in every example, but nothing is in {len(empty)} of "
            f"{len(values)}, the first of them number {empty[0]}. {POLARITY} Drop examples of which "
            "nothing is known."
        )
    return values


def seeds(seed, count: int) -> np.ndarray:
    """Return one int64 seed per row: `seed + arange(count)`, or `seed` itself if it has `count`."""
    values = np.asarray(seed)
    if not np.issubdtype(values.dtype, np.integer) or values.shape not in ((), (count,)):
        raise ValueError(
            f"`seed`: expected an integer, or one integer for each of {count} rows, received {seed!r}."
        )
    return values + np.arange(count) if values.ndim == 0 else values.astype(np.int64)


def labels(values, count: int, where: str = "") -> np.ndarray:
    """Return class numbers as int32 `[count]`, or say what is wrong with them.

    Args:
        values: anything NumPy makes an array of.
        count: of the images they belong to.
        where: " of ..." for messages.

    Returns:
        int32 `[count]`.

    Raises:
        ValueError: wrong shape, no integers, or integers beyond 32 bits.
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
    """Refuse examples' numbers that are not distinct, or not from 0 to `count` − 1."""
    distinct = len(np.unique(values))
    if distinct != len(values) or values.min() < 0 or values.max() >= count:
        raise ValueError(
            f"Index: expected distinct numbers from 0 to {count - 1}, received {distinct} distinct "
            f"ones among {len(values)}, from {values.min()} to {values.max()}."
        )


def integer(owner: str, name: str, value, least: int | None = None) -> int:
    """Return an option as an int, or refuse what is no integer of `least` or more.

    Args:
        owner: what has the option, for the message.
        name: of the option.
        value: what was given; NumPy's integers are welcome, bool is not.
        least: smallest value that is allowed; None: any.

    Raises:
        ValueError: for anything else.

    Example:
        >>> integer("Langevin", "steps", np.int64(3), 0)
        3
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or (least is not None and value < least):
        expected = "an integer" if least is None else f"an integer of {least} or more"
        raise ValueError(f"{owner} expected `{name}` to be {expected}, received {value!r}.")
    return int(value)


def positive(
    owner: str,
    name: str,
    value,
    remedy: str = "",
    *,
    infinite: bool = False,
    optional: bool = False,
) -> float | None:
    """Return an option as a float, or refuse what is no number above 0.

    Args:
        owner: what has the option, for the message.
        name: of the option.
        value: what was given; NumPy's numbers are welcome, bool is not.
        remedy: a sentence that ends the message.
        infinite: whether infinity is allowed.
        optional: whether None is allowed, and returned.

    Raises:
        ValueError: for anything else.

    Example:
        >>> positive("Langevin", "step_size", 1)
        1.0
    """
    if optional and value is None:
        return None
    if not _is_number(value) or not 0 < value or (value == np.inf and not infinite):
        raise ValueError(f"{owner} expected a positive `{name}`, received {value!r}. {remedy}".rstrip())
    return float(value)


def not_negative(owner: str, name: str, value) -> float:
    """Return an option as a float, or refuse what is no finite number of 0 or more; see `positive`."""
    if not _is_number(value) or not 0 <= value < np.inf:
        raise ValueError(f"{owner} expected a `{name}` of 0 or more, received {value!r}.")
    return float(value)


def share(owner: str, name: str, value) -> float:
    """Return an option as a float, or refuse what is no number in [0, 1]; see `positive`."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{owner} expected a `{name}` in [0, 1], received {value!r}.")
    return float(value)


def one_of(*choices: str) -> Callable:
    """Return a check of an option that is one of some words, of (owner, name, value)."""

    def check(owner: str, name: str, value) -> str:
        if value not in choices:
            raise ValueError(f"{owner} expected `{name}` to be one of {choices}, received {value!r}.")
        return value

    return check


def instance_of(kind: type) -> Callable:
    """Return a check of an option that is of a class, of (owner, name, value)."""

    def check(owner: str, name: str, value):
        if not isinstance(value, kind):
            raise ValueError(f"{owner} expected `{name}` to be a {kind.__name__}, received {value!r}.")
        return value

    return check


def value_range(owner: str, name: str, value) -> tuple[float, float] | None:
    """Return an interval as two floats, None as it is, or refuse what is neither."""
    if value is None:
        return None
    low, high = (float(end) for end in value)
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"{owner} expected `{name}` to be two numbers that rise, received {value!r}.")
    return low, high


def _is_number(value) -> bool:
    """Tell whether a value is a real number, of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def network(model, owner: str) -> None:
    """Refuse networks that cannot be learned: no model, unknown shapes, no weights, float16.

    Args:
        model: what came for a network.
        owner: name of the class that is to own it.

    Raises:
        ValueError: with the remedy.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"{owner} expected `network` to be a keras.Model, received {type(model).__name__}."
        )
    try:
        shapes = model.input_shape, model.output_shape
    except AttributeError:
        shapes = None, None
    if not all(isinstance(shape, tuple) and None not in shape[1:] for shape in shapes):
        raise ValueError(
            f"{owner} expected a network with known shapes of one input and one output, received "
            f"{shapes[0]} and {shapes[1]}. Build it with keras.Input, as a functional or Sequential "
            "model."
        )
    if not model.trainable_variables:
        raise ValueError(f"{owner} expected a network with trainable weights; this one has none.")
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16":
            raise ValueError(
                f"The network computes in float16 (layer {layer.name!r}), in which energies overflow. "
                "Use the policy mixed_bfloat16 or float32."
            )


def independent_rows(model: keras.Model) -> None:
    """Refuse layers that are no pure function of an example: those an example's chain cannot have."""
    tied = (keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.GaussianDropout)
    for layer in model._flatten_layers():
        if isinstance(layer, (*tied, keras.layers.GaussianNoise)):
            raise ValueError(
                f"The network has a layer {layer.name!r} of type {type(layer).__name__}, which ties an "
                "example's chain to its batch, or to chance. Build the network without it."
            )


def _range_text(value_range) -> str:
    return "any range" if value_range is None else f"[{value_range[0]:g}, {value_range[1]:g}]"

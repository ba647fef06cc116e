"""Check arrays of examples: "signal" and, if given, "mask", "index", "sigma" and "time".

The package `abp_tf_client` has this file too, so it imports neither TensorFlow nor `abp_tf` by name.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .. import checks
from .lazy import LazyRows

# Signals, or a mapping with "signal" and optionally "mask", "index", "sigma" and "time".
SignalsLike = ArrayLike | Mapping[str, ArrayLike]

MOSTLY = 0.95  # share of hidden entries above which `examples` warns that the polarity may be wrong
_SOME = 64  # masks that are looked at where all are not in memory


class Examples(NamedTuple):
    """Checked arrays, of which all but `signal` may be None.

    Attributes:
        signal: float32 `[n, ...]`; `LazyRows` if they are read when they are needed.
        mask: bool, True = observed, broadcasts against `signal`; or `LazyRows`.
        index: numbers of the examples, int64 `[n]`.
        sigma: standard deviation of the noise of each entry, float32, broadcasts against `signal`.
        time: times of the examples, float64 `[n]`, in the unit of the period of a scaling.
    """

    signal: np.ndarray
    mask: np.ndarray | None = None
    index: np.ndarray | None = None  # type: ignore[assignment]  # hides the method of tuples
    sigma: np.ndarray | None = None
    time: np.ndarray | None = None

    def rows(self, start: int, stop: int | None = None) -> Examples:
        """Return the rows from `start` to `stop` of all parts."""
        return Examples(**{key: part[start:stop] for key, part in self.batch().items()})

    def batch(self) -> dict:
        """Return the parts that are not None, by name."""
        return {key: part for key, part in self._asdict().items() if part is not None}

    def given(self) -> dict:
        """Return what methods of models take: signals, with their masks and times if there are any."""
        return self._replace(index=None, sigma=None).batch()

    def weights(self, sigma: np.ndarray) -> np.ndarray | None:
        """Return the weights of the entries' errors, `σ / σᵢ` where data bring a `σᵢ`; 0 where hidden.

        Args:
            sigma: σ of each channel, `[channels]`.

        Returns:
            an array that broadcasts against `signal`: the mask itself without `σᵢ`; None if all weights
            are 1.
        """
        if self.sigma is None:
            return self.mask
        seen = np.True_ if self.mask is None else self.mask
        return seen * np.float32(sigma) / np.where(seen, self.sigma, np.float32(1))

    def fingerprint(self) -> int:
        """Return a checksum of the observed entries of up to 64 examples."""
        chosen = np.linspace(0, len(self.signal) - 1, min(len(self.signal), 64)).astype(int)
        observed = self.signal[chosen]
        if self.mask is not None:
            observed = np.where(self.mask[chosen], observed, 0)
        return int(digest(observed.astype(np.float32, copy=False))[:8], 16)


def digest(*parts: np.ndarray | LazyRows | bytes | None) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other; None is skipped."""
    found = hashlib.sha256()
    for part in parts:
        if part is not None:
            found.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return found.hexdigest()


def examples(
    x: Any, shape: tuple[int, ...], value_range: tuple[float, float] | None, noise: bool = False
) -> Examples:
    """Check an array, or a mapping of arrays, and return `Examples`.

    Args:
        x: float array `[n, *shape]`, or a mapping with "signal" and optionally "mask", "index",
            "sigma" and "time", such as a dict or a `data.Field`, or a tuple of one of them, as Keras
            takes for validation. Signals and mask may be `LazyRows`, which are checked when they are
            read. What NumPy's mask hides of a masked array is hidden, beside what "mask" hides.
        shape: shape of one signal.
        value_range: lowest and highest value that observed entries may have; None for any.
        noise: whether data may bring "sigma", the standard deviation of the noise of each entry.

    Raises:
        ValueError: if `checks` refuses a part, a key is unknown, or the lengths of parts differ.

    Warns:
        UserWarning: if more than 95 % of all entries are hidden, as by a mask of the wrong polarity.
    """
    if isinstance(x, tuple):
        if len(x) != 1:
            refuse_labels()
        x = x[0]
    if hasattr(x, "__next__") or inspect.isgeneratorfunction(x):
        raise ValueError(
            "Expected arrays, a tf.data.Dataset or a keras.utils.PyDataset, received a generator, "
            "which can be read only once. Use `tf.data.Dataset.from_generator(...).batch(...)`."
        )
    given = parts(x)
    check_keys(given, noise)
    mask = given.get("mask")
    if isinstance(given["signal"], LazyRows):
        signal, mask = _lazy(given["signal"], mask, shape, value_range)
        _refuse_lazy_noise(given)
    else:
        signal, observed = checks.parted(given["signal"])
        if mask is not None:
            mask = checks.mask(mask, signal.shape)
        if observed is not None:
            mask = checks.mask(observed if mask is None else mask & observed, signal.shape)
        signal = checks.signals(signal, shape, value_range, mask)
    share = 1 if mask is None else np.mean(mask[:_SOME] if isinstance(mask, LazyRows) else mask)
    if share < 1 - MOSTLY:
        warnings.warn(
            f"Mask: {1 - share:.1%} of all entries are hidden. {checks.POLARITY} Check "
            "the polarity of the mask; if it is right, ignore this warning.",
            stacklevel=4,
        )
    index = given.get("index")
    if index is not None:
        index = np.asarray(index)
        if index.shape != (len(signal),) or not np.issubdtype(index.dtype, np.integer):
            raise ValueError(
                f"Index: expected {len(signal)} integers, one per example, received shape "
                f"{index.shape} of dtype {index.dtype}. Leave it out to number the examples in order."
            )
        index = index.astype(np.int64)
    sigma = given.get("sigma")
    if sigma is not None:
        sigma = checks.noise(sigma, signal.shape, mask)
    time = given.get("time")
    if time is not None:
        time = checks.times(time, len(signal))
    return Examples(signal, mask, index, sigma, time)


def _lazy(signal: LazyRows, mask, shape: tuple[int, ...], value_range) -> tuple:
    """Return signals and a mask whose rows are checked when they are read, and the first ones now."""

    def observed(rows):
        return checks.mask(rows, (len(rows), *shape))

    signal = signal.map(lambda rows: checks.signals(rows, shape, value_range))
    signal[:1]
    if mask is None:
        return signal, None
    if len(mask) != len(signal):
        raise ValueError(f"Mask: expected {len(signal)} rows like the signals, received {len(mask)}.")
    if isinstance(mask, LazyRows):
        return signal, mask.map(observed, observed(mask[:1]).shape[1:], bool)
    return signal, observed(mask)


def _refuse_lazy_noise(given: dict) -> None:
    if "sigma" in given:
        raise ValueError(
            'Expected data without "sigma", because the signals are read when they are needed. Give '
            "arrays with the noise of their entries."
        )


def parts(x: SignalsLike) -> dict:
    """Return data as a dict: a copy of a mapping, or an array as "signal"."""
    return dict(x) if isinstance(x, Mapping) else {"signal": x}


def masked(signals: SignalsLike, mask: ArrayLike | None) -> dict:
    """Return the arguments of methods that take signals and a mask, which may be None, as a dict.

    Raises:
        ValueError: if signals are a mapping that has a mask of its own, beside another one.
    """
    given = parts(signals)
    if mask is None:
        return given
    if "mask" in given:
        raise ValueError(
            'Expected one mask, received one in the data, under the key "mask", and another beside '
            'them. Give x["signal"] and the mask.'
        )
    return {**given, "mask": mask}


def incomplete(
    signals: SignalsLike,
    mask: ArrayLike | None,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
) -> Examples:
    """Check signals and mask of `inpaint`; return them, the mask of the shape of the signals."""
    data = examples(masked(signals, mask), shape, value_range)
    if data.mask is None:
        raise ValueError(f"inpaint expected a mask, received None. {checks.POLARITY}")
    return data._replace(mask=np.broadcast_to(data.mask, data.signal.shape))


def refuse_labels() -> NoReturn:
    """Raise the error for tuples, such as pairs of signals and labels."""
    raise ValueError(
        "Expected only signals, received a tuple of several parts: the model learns without "
        'labels. Map the data to {"signal": ...}, with "mask", "index" and "time" if there are any.'
    )


def check_keys(parts: Mapping, noise: bool = False) -> None:
    """Refuse dicts without the key "signal" or with unknown keys; `noise` allows "sigma"."""
    known = ["mask", "index", "time", *(["sigma"] if noise else [])]
    if set(parts) - {"signal", *known} or "signal" not in parts:
        raise ValueError(
            f'Expected a dict with "signal" and optionally {known}, received the keys '
            f"{sorted(map(str, parts))}."
        )

"""Masks: which entries of signals are observed, and which are hidden.

A mask is a bool array `[n, *shape]` over the spatial axes, without the channel axis: True where
a signal is observed, False where it is hidden. The mask of example `i` depends on the seed and
on `i` only: the first masks of a longer series are those of a shorter one, and the masks
of some examples are drawn by their numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from abp_tf import checks
from abp_tf.mask_patterns import block, check_probability, frames, gap, pepper, squares

__all__ = ["MaskSpec", "block", "frames", "gap", "parse", "pepper", "squares"]

_FORMS = {
    "pepper": "pepper:p",
    "squares": "squares:p:side",
    "block": "block:size",
    "frames": "frames:p",
    "gap": "gap:size",
}
_PARAMETERS: dict[str, dict[str, type]] = {
    "pepper": {"p": float},
    "squares": {"p": float, "size": int},
    "block": {"size": int},
    "frames": {"p": float},
    "gap": {"size": int},
}


@dataclass(frozen=True)
class MaskSpec:
    """A kind of mask with its parameters; call it to draw masks.

    `str()` returns the text that `parse` reads.

    Args:
        kind: the pattern, "pepper", "squares", "block", "frames" or "gap".
        p: probability that a pixel, a cell or a frame is hidden; None for "block" and "gap".
        size: side of a cell or of the block in pixels, or length of the gap; None for "pepper"
            and "frames".

    Example:
        >>> spec = MaskSpec("block", size=13)
        >>> str(spec), spec(4, (28, 28), seed=1).shape
        ('block:13', (4, 28, 28))
    """

    kind: str
    p: float | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Refuse unknown kinds, and parameters that are missing, in excess or out of range."""
        if self.kind not in _FORMS:
            raise ValueError(f"{_expected_forms()}, received the kind {self.kind!r}.")
        given = {name for name in ("p", "size") if getattr(self, name) is not None}
        wanted = _PARAMETERS[self.kind].keys()
        if given != wanted:
            raise ValueError(
                f"Expected {' and '.join(wanted)}, and nothing else, for a {self.kind!r} mask, "
                f"received p={self.p}, size={self.size}."
            )
        if self.p is not None:
            check_probability(self.p)
        if self.size is not None:
            checks.integer("MaskSpec", "size", self.size, 1)

    def __call__(self, n: int | Sequence[int], shape: Sequence[int], seed: int = 0) -> np.ndarray:
        """Return `n` masks, or those of the examples with the numbers `n`, bool `[n, *shape]`.

        They are drawn by the function of the name of the kind.
        """
        given = (value for value in (self.p, self.size) if value is not None)
        return _KINDS[self.kind](n, shape, *given, seed)

    def __str__(self) -> str:
        values = (value for value in (self.p, self.size) if value is not None)
        return ":".join([self.kind, *map(str, values)])


_KINDS: dict[str, Callable[..., np.ndarray]] = {
    "pepper": pepper,
    "squares": squares,
    "block": block,
    "frames": frames,
    "gap": gap,
}


def parse(spec: str) -> MaskSpec:
    """Return the `MaskSpec` of a text such as "pepper:0.9".

    Args:
        spec: "pepper:0.9", "squares:0.9:3", "block:13", "frames:0.5" or "gap:5000": the kind, then
            its parameters: the probability of being hidden, and the side in pixels or the length in
            samples or frames.

    Returns:
        The `MaskSpec`.

    Raises:
        ValueError: if the kind is unknown, or a parameter is missing, in excess, not a number or
            out of range.

    Example:
        >>> parse("squares:0.9:3")
        MaskSpec(kind='squares', p=0.9, size=3)
    """
    kind, *values = spec.split(":")
    if kind not in _PARAMETERS:
        raise ValueError(f"{_expected_forms()}, received {spec!r}.")
    if len(values) != len(_PARAMETERS[kind]):
        raise ValueError(f"Expected {_FORMS[kind]!r}, received {spec!r}.")
    parameters = {}
    for (name, reader), value in zip(_PARAMETERS[kind].items(), values, strict=True):
        try:
            parameters[name] = reader(value)
        except ValueError:
            what = "an integer" if reader is int else "a number"
            raise ValueError(
                f"Expected {_FORMS[kind]!r} with {what} for {value!r}, received {spec!r}."
            ) from None
    return MaskSpec(kind, **parameters)


def _expected_forms() -> str:
    return "Expected a mask given as " + ", ".join(map(repr, _FORMS.values()))

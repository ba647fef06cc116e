"""Read and write numbers as the CF conventions store them: packed, with codes for missing values.

CF conventions 1.11, sections 2.5.1 (missing data), 8.1 (packed data) and appendix A (`valid_range`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# What the NetCDF library stores where nothing was written and the variable has no `_FillValue`.
_UNWRITTEN = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "i4": -2147483647,
    "i8": -9223372036854775806,
    "u2": 65535,
    "u4": 4294967295,
    "u8": 18446744073709551614,
}


class Packing(NamedTuple):
    """How a variable stores its values: `value = scale · code + offset`.

    Attributes:
        dtype: type of the codes, as an unsigned one if the variable says so.
        scale: factor of the codes.
        offset: value of the code 0.
        missing: codes that stand for missing values.
        low: lowest valid code.
        high: highest valid code.
    """

    dtype: np.dtype
    scale: float
    offset: float
    missing: np.ndarray
    low: float
    high: float

    @classmethod
    def of(cls, dtype: np.dtype, attributes: Mapping) -> Packing:
        """Return the packing that the attributes of a variable describe.

        Args:
            dtype: type of the stored codes, integer or float.
            attributes: `scale_factor`, `add_offset`, `_FillValue`, `missing_value`, `valid_min`,
                `valid_max`, `valid_range` and `_Unsigned`, of which any may be absent.

        Example:
            >>> packing = Packing.of(np.dtype("i2"), {"scale_factor": 0.01, "_FillValue": np.int16(-1)})
            >>> codes = np.array([2150, -1], np.int16)
            >>> packing.values(codes)[packing.observed(codes)]
            array([21.5])
        """
        dtype = np.dtype(dtype).newbyteorder("=")
        if str(attributes.get("_Unsigned", "")).lower() == "true" and dtype.kind == "i":
            dtype = np.dtype(f"u{dtype.itemsize}")
        scale = float(np.ravel(attributes.get("scale_factor", 1.0))[0])
        offset = float(np.ravel(attributes.get("add_offset", 0.0))[0])
        whole = np.iinfo(dtype) if dtype.kind in "iu" else None
        low, high = (-np.inf, np.inf) if whole is None else (int(whole.min), int(whole.max))
        for name, end in _ends(attributes):
            end, of_values = end.item(), whole is not None and end.dtype.kind == "f"
            if of_values:  # in the units of the values
                end = (end - offset) / scale
            elif dtype.kind == "u" and end < 0:
                end += 2 ** (8 * dtype.itemsize)  # `_Unsigned`: the sign is not meant
            if (name == "low") != (of_values and scale < 0):
                low = max(low, end)
            else:
                high = min(high, end)
        return cls(dtype, scale, offset, _missing(dtype, attributes), low, high)

    def codes(self, stored: np.ndarray) -> np.ndarray:
        """Return what a variable stores in the type of the codes; nothing is converted but the sign."""
        stored = np.asarray(stored)
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return stored.view(self.dtype) if self.dtype.kind == "u" else stored

    def observed(self, codes: np.ndarray) -> np.ndarray:
        """Return where codes stand for values, as bool: neither NaN, nor missing, nor out of range."""
        found = ~np.isin(codes, self.missing) & ~np.isnan(codes)
        infinite = np.isinf(codes)  # is no value out of range, but an error to be reported
        return found & (infinite | ((codes >= self.low) & (codes <= self.high)))

    def values(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of codes, float64."""
        return codes.astype(np.float64) * self.scale + self.offset

    def pack(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the codes of values, rounded to the type of the codes.

        Values that have no valid code get the nearest one. A code that would stand for a missing value
        becomes the next one.

        Args:
            values: finite, of any shape.

        Returns:
            The codes, and how many values are outside the valid range.
        """
        wanted = (np.asarray(values, np.float64) - self.offset) / self.scale
        if self.dtype.kind != "f":
            wanted = np.rint(wanted)
        low, high = float(self.low), float(self.high)
        outside = int(np.sum((wanted < low) | (wanted > high)))
        if self.dtype.kind != "f" and self.dtype.itemsize == 8:
            # float64 has no number for the greatest int64: the next lower one does not overflow.
            low, high = np.nextafter(low, 0), np.nextafter(high, 0)
        codes = np.clip(wanted, low, high).astype(self.dtype)
        middle = low / 2 + high / 2 if np.isfinite([low, high]).all() else 0
        while (taken := np.isin(codes, self.missing)).any():
            codes[taken] = self._next(codes[taken], middle)
        return codes, outside

    def _next(self, codes: np.ndarray, middle: float) -> np.ndarray:
        """Return the neighbours of codes in the direction of the middle, which no code leaves."""
        up = codes < middle
        if self.dtype.kind == "f":
            return np.nextafter(codes, np.where(up, np.inf, -np.inf).astype(self.dtype))
        return np.where(up, codes + 1, codes - 1).astype(self.dtype)


def _ends(attributes: Mapping) -> list[tuple[str, np.generic]]:
    """Return the ends of the valid range that attributes give, named "low" or "high"."""
    given = [("low", "valid_min", 0), ("high", "valid_max", 0)]
    given += [("low", "valid_range", 0), ("high", "valid_range", 1)]
    ends = [(end, np.ravel(attributes[name]), at) for end, name, at in given if name in attributes]
    return [(end, of[at]) for end, of, at in ends if of.dtype.kind in "iuf" and at < of.size]


def _missing(dtype: np.dtype, attributes: Mapping) -> np.ndarray:
    """Return the codes that stand for missing values, in the type of the codes."""
    given = [
        np.ravel(attributes[name]) for name in ("_FillValue", "missing_value") if name in attributes
    ]
    if "_FillValue" not in attributes and dtype.str[1:] in _UNWRITTEN:
        given.append(np.array([_UNWRITTEN[dtype.str[1:]]]))
    found = []
    for one in given:
        if one.dtype.kind not in "iuf":
            continue
        if dtype.kind == "u" and one.dtype.kind == "i":  # `_Unsigned`: the sign is not meant
            one = one.astype(f"i{dtype.itemsize}").view(dtype)
        if dtype.kind != "f":
            # Not a code: a value that lies between codes, or beyond them.
            limits = np.iinfo(dtype)
            one = one[(one == np.rint(one)) & (one >= limits.min) & (one <= limits.max)]
        found.append(one.astype(dtype))
    return np.concatenate(found) if found else np.zeros(0, dtype)

"""Arrays whose rows are read when they are needed, because all of them do not fit memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


class UnreadableError(ValueError):
    """Rows that cannot be read.

    Attributes:
        numbers: their numbers, as the function that reads takes them.
        places: their positions in the `LazyRows` that was indexed.
        names: names of their files.
    """

    def __init__(self, message: str, numbers: list[int], names: list[str]):
        super().__init__(message)
        self.numbers = numbers
        self.names = names
        self.places = np.array(numbers)


class LazyRows:
    """An array whose rows are read when it is indexed, such as images in files.

    `rows[3]`, `rows[2:5]` and `rows[[1, 7]]` read these rows and return NumPy arrays;
    `np.asarray(rows)` reads all. `take` and `map` read nothing.

    Args:
        read: function of numbers, int64 `[m]`, that returns the rows of these numbers, `[m, *shape]`.
        numbers: the number of each row, int64 `[n]`; or n, for rows that are numbered in order.
        shape: shape of one row.
        dtype: type of the rows.

    Example:
        >>> rows = LazyRows(lambda numbers: numbers[:, None] ** 2.0, 1000, (1,))
        >>> rows.shape, rows[[3, 5]].tolist(), rows.take(slice(10, 20))[0].tolist()
        ((1000, 1), [[9.0], [25.0]], [100.0])
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        numbers: np.ndarray | int,
        shape: tuple[int, ...],
        dtype=np.float32,
    ):
        self.numbers = np.arange(int(numbers)) if np.ndim(numbers) == 0 else np.asarray(numbers)
        self.dtype = np.dtype(dtype)
        self._read, self._shape = read, tuple(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the whole array."""
        return (len(self.numbers), *self._shape)

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key) -> np.ndarray:
        numbers = self.numbers[key]
        chosen = np.atleast_1d(numbers)
        if not len(chosen):
            return np.empty((0, *self._shape), self.dtype)
        try:
            rows = np.asarray(self._read(chosen), self.dtype)
        except UnreadableError as error:
            places = np.atleast_1d(np.arange(len(self))[key])
            error.places = places[np.isin(chosen, error.numbers)]
            raise
        return rows if np.ndim(numbers) else rows[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"<LazyRows of shape {self.shape}, {self.dtype}>"

    def take(self, places: slice | np.ndarray) -> LazyRows:
        """Return some of the rows, by a slice or an array of positions, without reading them."""
        return LazyRows(self._read, self.numbers[places], self._shape, self.dtype)

    def map(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
    ) -> LazyRows:
        """Return rows to which a function of arrays `[m, *shape]` is applied when they are read.

        Args:
            function: the function, which treats each row alone.
            shape: shape of a row of its result; that of the rows by default.
            dtype: type of its result; that of the rows by default.
        """
        return LazyRows(
            lambda numbers: function(self._read(numbers)),
            self.numbers,
            self._shape if shape is None else shape,
            dtype or self.dtype,
        )


def take(rows: np.ndarray | LazyRows, places: slice | np.ndarray) -> np.ndarray | LazyRows:
    """Return some rows of an array, read if it is in memory and not read if it is not."""
    return rows.take(places) if isinstance(rows, LazyRows) else rows[places]


def mapped(
    rows: np.ndarray | LazyRows,
    function: Callable,
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """Return a function of an array, or `LazyRows` to which it is applied when they are read."""
    return rows.map(function, shape, dtype) if isinstance(rows, LazyRows) else function(rows)

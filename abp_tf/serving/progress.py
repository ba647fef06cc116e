"""A line of text that shows how many rows have been received."""

from __future__ import annotations


class Progress:
    """Print how many of some rows have been received, on one line.

    Args:
        total: number of all rows.
        shown: whether anything is printed.

    Example:
        >>> Progress(20, shown=True).update(20)
        20/20 rows
    """

    def __init__(self, total: int, shown: bool):
        self._total, self._shown = total, shown

    def update(self, done: int) -> None:
        """Print that `done` rows have been received; the last one ends the line."""
        if self._shown:
            end = "\n" if done == self._total else "\r"  # whose successor is written over it
            print(f"{done}/{self._total} rows", end=end, flush=True)

"""Shards: the parts of examples and chains on which results depend, whatever computes them."""

from __future__ import annotations

from typing import NamedTuple


class Shards(NamedTuple):
    """Which examples belong to which shard, and which shards to which process.

    Example `i` is in shard `i mod count`. The process of number `worker` owns the shards `v` with
    `v mod workers = worker`, and so the examples `i` with `i mod workers = worker`, because `count` is
    a multiple of `workers`. It keeps the chain of example `i` in the row `i // workers`.

    Attributes:
        count: number of shards.
        worker: number of this process.
        workers: number of processes.
    """

    count: int = 1  # type: ignore[assignment]  # hides the method of tuples
    worker: int = 0
    workers: int = 1

    @property
    def own(self) -> range:
        """Numbers of the shards of this process."""
        return range(self.worker, self.count, self.workers)

    def size(self, examples: int, shard: int) -> int:
        """Return the number of examples in a shard, of `examples` in all."""
        return len(range(shard, examples, self.count))

    def size_of_own(self, examples: int) -> int:
        """Return the number of examples that this process owns, of `examples` in all."""
        return len(range(self.worker, examples, self.workers))

    def rows_of(self, shard: int) -> slice:
        """Return the rows of this process's chains that belong to one of its shards."""
        return slice(shard // self.workers, None, self.count // self.workers)

    def row(self, index):
        """Return the rows of the chains of examples that this process owns, by their numbers."""
        return index if self.workers == 1 else index // self.workers

"""Which takes a batch is made of: a function of the seed and of the place reached, and of nothing else.

Every bucket is an endless line of takes: one permutation of them after the other, each a pass. A batch takes the next
places of one bucket's line, and a batch that meets the end of a pass is filled from the next, so every batch is whole,
every rank makes as many steps as any other, and each pass holds every take once (or as often as its bucket lists it).
The place reached is how far each line has been used: it says nothing of ranks or workers, so another number of them
goes on exactly there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Cursor:
    """A place in the data.

    Attributes:
        epoch: whole passes over every bucket so far.
        used: takes drawn from each bucket since the start; empty at the start.
    """

    epoch: int = 0
    used: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "used": list(self.used)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cursor:
        """What `to_json` gave. Raises `ValueError` or `LookupError` if it is something else."""
        epoch, used = int(values["epoch"]), tuple(int(number) for number in values["used"])
        if epoch < 0 or any(number < 0 for number in used):
            raise ValueError("a cursor does not count below zero")
        return cls(epoch, used)


@dataclass(frozen=True)
class Draw:
    """One place of a batch: a take, by its number in the index, at a place of its bucket's pass `epoch`."""

    take: int
    epoch: int
    place: int


@dataclass(frozen=True)
class Plan:
    """A batch to be made: its bucket, its takes, and the place once it is used."""

    bucket: int
    draws: tuple[Draw, ...]
    cursor: Cursor

    def part(self, rank: int, world: int) -> Plan:
        """The rank's share. Every rank's has the same size: `world` must divide the batch."""
        size = len(self.draws) // world
        return Plan(self.bucket, self.draws[rank * size : (rank + 1) * size], self.cursor)


class Order:
    """The order of the takes of some buckets, at least one of which has any."""

    def __init__(self, buckets: Sequence[Sequence[int]], seed: int) -> None:
        if not any(buckets):
            raise ValueError("no bucket has a take")
        self._buckets, self._seed = [list(takes) for takes in buckets], seed
        # A batch may span two passes of each bucket.
        self._permutation = lru_cache(maxsize=2 * len(buckets))(self._permute)

    def plans(self, cursor: Cursor, size: int) -> Iterator[Plan]:
        """Batches of `size` takes from `cursor` on, without end.

        The bucket whose line has been used least, as a share of its takes, is next: passes stay in step.

        Raises:
            ValueError: the cursor is of other buckets.
        """
        used = list(cursor.used or [0] * len(self._buckets))
        if len(used) != len(self._buckets) or any(n for n, takes in zip(used, self._buckets, strict=True) if not takes):
            raise ValueError(f"the place {cursor} is of other buckets or shards")
        filled = [number for number, takes in enumerate(self._buckets) if takes]
        while True:
            bucket = min(filled, key=lambda number: Fraction(used[number], len(self._buckets[number])))
            draws = tuple(self._draw(bucket, place) for place in range(used[bucket], used[bucket] + size))
            used[bucket] += size
            epoch = min(used[number] // len(self._buckets[number]) for number in filled)
            yield Plan(bucket, draws, Cursor(epoch, tuple(used)))

    def _draw(self, bucket: int, place: int) -> Draw:
        epoch, rest = divmod(place, len(self._buckets[bucket]))
        return Draw(self._permutation(bucket, epoch)[rest], epoch, rest)

    def _permute(self, bucket: int, epoch: int) -> list[int]:
        takes = self._buckets[bucket].copy()
        random.Random(f"{self._seed}/{bucket}/{epoch}").shuffle(takes)  # noqa: S311 - an order, not a secret
        return takes

"""How far a dataset is from another that was made of the same footage and that nothing disturbed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine import fingerprint

from curate.dataset import Dataset


@dataclass(frozen=True)
class Difference:
    """What a fault has done to a dataset. Nothing: all zero."""

    rows_lost: int
    rows_doubled: int
    """Rows that are there more often than they should be, or should not be there."""
    files_different: int
    """Files whose bytes differ, that are missing, or that should not be there."""

    def __bool__(self) -> bool:
        return self != Difference(0, 0, 0)


def difference(expected: Path, found: Path) -> Difference:
    """Compare the rows of every table, and the bytes of every file."""
    wanted, there = _rows(expected), _rows(found)
    files, others = fingerprint(expected), fingerprint(found)
    different = sum(files.get(name) != others.get(name) for name in files.keys() | others.keys())
    return Difference((wanted - there).total(), (there - wanted).total(), different)


def _rows(folder: Path) -> Counter[str]:
    dataset = Dataset(str(folder))
    found: Counter[str] = Counter()
    for name in dataset.table_names():
        found.update(f"{name} {row!r}" for row in dataset.stored(name).to_table().to_pylist())
    return found

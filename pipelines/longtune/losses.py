"""Each sample's own loss over a run: what tells a take that teaches from one that cannot be learnt."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.longtune.errors import TuneError

_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),  # shard:key
    "count": pa.int64(),  # steps in which it counted
    "sum": pa.float64(),  # of its losses
    "sum_squares": pa.float64(),  # of their squares
    "last_step": pa.int64(),  # from 1
}
_SCHEMA = pa.schema(_COLUMNS)


@dataclass
class _Sum:
    count: int = 0
    sum: float = 0.0
    sum_squares: float = 0.0
    last_step: int = 0


@dataclass
class SampleLosses:
    """Sums over the steps in which a sample counted, by its key."""

    by_key: dict[str, _Sum] = field(default_factory=dict)

    def add(self, key: str, value: float, step: int) -> None:
        """Take in what a sample lost in a step (from 1). A value that is not finite says nothing and is left out."""
        if math.isfinite(value):
            entry = self.by_key.setdefault(key, _Sum())
            entry.count += 1
            entry.sum += value
            entry.sum_squares += value * value
            entry.last_step = max(entry.last_step, step)

    def merge(self, others: Iterable[SampleLosses]) -> None:
        """Take in what other ranks saw."""
        for other in others:
            for key, theirs in other.by_key.items():
                entry = self.by_key.setdefault(key, _Sum())
                entry.count += theirs.count
                entry.sum += theirs.sum
                entry.sum_squares += theirs.sum_squares
                entry.last_step = max(entry.last_step, theirs.last_step)

    def write(self, path: Path) -> None:
        """Write the sums as Parquet, by key."""
        rows = [{"key": key, **vars(self.by_key[key])} for key in sorted(self.by_key)]
        partial = path.with_name(f".{path.name}.partial")
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), partial)
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> SampleLosses:
        """What `write` wrote. Raises `TuneError` if it cannot be read."""
        try:
            rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise TuneError(f"{path}: no losses of a run can be read there ({error})") from error
        return cls({row.pop("key"): _Sum(**row) for row in rows})

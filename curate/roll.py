"""The sources of a run, held as Arrow columns: as Python objects a hundred thousand rows would be 300 MB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from curate.dataset import to_arrow
from curate.stage import Row
from schemas.sources import SOURCES

AT_ONCE = 1000
"""Rows that are Python objects at a time: about 3 MB."""


class Roll(Sequence[Row]):
    """The rows of a table, each made as it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Roll: ...
    def __getitem__(self, at: int | slice) -> Row | Roll:
        if isinstance(at, slice):
            return Roll(self.table.take(range(*at.indices(len(self)))))
        return dict(self.table.slice(range(len(self))[at], 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), AT_ONCE):
            yield from self.table.slice(start, AT_ONCE).to_pylist()

    def where(self, chosen: pc.Expression) -> Roll:
        """The rows that meet a condition."""
        return Roll(self.table.filter(chosen))


def distinct(inputs: pa.Table) -> Roll:
    """`sources` out of `inputs`: one row per content, read from the first of its paths, with the columns of all its
    rows."""
    ordered = Roll(inputs.sort_by([("source_id", "ascending"), ("path", "ascending")]))
    made: list[pa.Table] = [SOURCES.schema.empty_table()]
    rows: list[Row] = []
    for _, group in groupby(ordered, key=lambda row: row["source_id"]):
        rows.append(_one(list(group)))
        if len(rows) == AT_ONCE:
            made.append(to_arrow(SOURCES, rows))
            rows = []
    made.append(to_arrow(SOURCES, rows))
    return Roll(pa.concat_tables(made).combine_chunks())


def _one(rows: Sequence[Row]) -> Row:
    user: dict[str, Any] = {}
    for row in reversed(rows):
        user |= json.loads(row["user"])
    return rows[0] | {"paths": [r["path"] for r in rows], "user": json.dumps(user, sort_keys=True)}

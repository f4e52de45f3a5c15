"""The tables of a dataset, one module each: what a row means, its columns with their units, its version.

A `Table` is all that the engine and the stages share about data; nothing in this package computes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Table:
    """A named, versioned Arrow schema. A change in a column's meaning raises `version`, which redoes its stage."""

    name: str
    version: int
    doc: str
    schema: pa.Schema


def column(name: str, kind: pa.DataType, doc: str, nullable: bool = True) -> pa.Field:
    """A column whose unit and meaning travel in the Parquet file's own field metadata."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


SOURCE_ID = column(
    "source_id", pa.string(), "id of the source: the first 32 hex digits of its content's SHA-256", False
)
CLIP_ID = column("clip_id", pa.string(), "id of the clip: source id, first and one past last frame", False)
FRAME = column("frame", pa.int64(), "frame number in presentation order, from 0", False)
PTS = column("pts", pa.int64(), "presentation timestamp in the source's time base", False)
T_S = column("t_s", pa.float64(), "seconds since the source's first timestamp", False)
UNMEASURED = column("unmeasured", pa.string(), "why the nulls of this row are null; null when all was measured")

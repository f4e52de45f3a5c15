"""A stage that does nothing, so that whatever a task of it takes is the engine's own work; for `overhead.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import pyarrow as pa

from curate.stage import Row, RowStage, Workspace
from schemas import SOURCE_ID, Table, column


class Trivial(RowStage):
    """One row for each source, of what is known of it already."""

    name: ClassVar[str] = "trivial"
    writes: ClassVar[Table] = Table(
        "trivial", 1, "Nothing new.", pa.schema([SOURCE_ID, column("duration_s", pa.float64(), "seconds", False)])
    )
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"sources": ("source_id", "duration_s")}

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        yield from inputs["sources"].to_pylist()

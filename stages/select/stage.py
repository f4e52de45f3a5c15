"""The two stages that decide: `Screen` before the dear models run, `Select` when all scores are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import Field, model_validator

from curate.rules.judge import Judge
from curate.rules.rule import Location, Rule, columns, faults
from curate.stage import TableStage, Workspace
from schemas import Table, decisions, screening


class _Deciding(TableStage):
    """Keeps the clips that meet every rule; the others say which they broke and by how much."""

    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": ("clip_id", "source_id", "duration_s")}

    rules: dict[str, Rule] = Field(default_factory=dict)
    """Rules by name, in the order in which the funnel counts them."""

    @model_validator(mode="after")
    def _plain_names(self) -> _Deciding:
        for name in self.rules:
            if not (name.isascii() and name.isidentifier()):
                raise ValueError(f"rule {name!r}: a rule's name has only letters, digits and underscores")
        return self

    def inputs(self, there: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The tables and columns that the rules name, beside what it always reads."""
        found = super().inputs(there)
        for table, names in columns(self.rules).items():
            key = "source_id" if table == "sources" else "clip_id"
            found[table] = tuple(dict.fromkeys((*found.get(table, (key,)), *names)))
        return found

    def faults(self, schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[Location, str]]:
        for place, wrong in faults(self.rules, schemas):
            yield ("rules", *place), wrong

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        with Judge(self.rules, inputs) as judge:
            for batch in judge.verdicts():
                yield pa.Table.from_batches([batch]).cast(self.writes.schema)


class Screen(_Deciding):
    """Rules over cheap scores: stages with dear models look only at the clips that are kept here."""

    name: ClassVar[str] = "screen"
    writes: ClassVar[Table] = screening.TABLE


class Select(_Deciding):
    """Rules over all scores. A clip that `screen` turned down is out, for its reasons first."""

    name: ClassVar[str] = "select"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = decisions.TABLE
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "screening": ("clip_id", "kept", "first_rule", "rule_number", "reasons")
    }

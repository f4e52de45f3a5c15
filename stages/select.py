"""Select: rules over stored scores decide which clips are in. Nothing is measured here: deciding anew takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.stage import TableStage, Workspace
from schemas import Table, decisions


class Rule(BaseModel):
    """One condition that a clip must meet. Give `min`, `max`, both, or `equals`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: str = Field(pattern=r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")
    """Where the score stands: `table.column`, such as `motion.mean_w_s`. The table has a row per clip."""
    min: float | None = None
    """Least value that passes."""
    max: float | None = None
    """Greatest value that passes."""
    equals: bool | str | None = None
    """The one value that passes."""
    unmeasured: Literal["reject", "pass"] = "reject"
    """What becomes of a clip whose score is null. A score that is missing is never taken for a low one."""
    why: str = ""
    """The reason for the threshold, for people."""

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        bounds = self.min is not None or self.max is not None
        if bounds == (self.equals is not None):
            raise ValueError("give min, max or both, or else equals")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max, so that no clip could pass")
        return self

    def passes(self) -> str:
        """The condition in SQL. Its values are numbers or bound, never spliced text."""
        table, _, column = self.column.partition(".")
        name = f'"{table}"."{column}"'
        if self.equals is not None:
            return f"{name} = {str(self.equals).lower()}" if isinstance(self.equals, bool) else f"{name} = ?"
        bounds = [
            f"{name} {sign} {bound!r}" for sign, bound in ((">=", self.min), ("<=", self.max)) if bound is not None
        ]
        return " and ".join(bounds)

    def says(self, name: str) -> str:
        """SQL of the reason in words, with the clip's own number."""
        table, _, column = self.column.partition(".")
        value = f'"{table}"."{column}"'
        if self.equals is not None:
            limit = f"is not {str(self.equals).lower() if isinstance(self.equals, bool) else self.equals}"
            return f"'{name}: {self.column} {_quoted(limit)}'"
        bounds = [
            f"{side} {bound:g}" for side, bound in (("below", self.min), ("above", self.max)) if bound is not None
        ]
        if len(bounds) == 1:
            return f"printf('{name}: {self.column} = %.4g is {bounds[0]}', {value})"
        low, high = bounds
        side = f"case when {value} < {self.min!r} then '{low}' else '{high}' end"
        return f"printf('{name}: {self.column} = %.4g is %s', {value}, {side})"


def _quoted(text: str) -> str:
    return text.replace("'", "''")


class Select(TableStage):
    """Keeps the clips that meet every rule; the others say which they broke and by how much."""

    name: ClassVar[str] = "select"
    writes: ClassVar[Table] = decisions.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": (), "motion": (), "quality": ()}

    rules: dict[str, Rule] = Field(default_factory=dict)
    """Rules by name, in the order in which the funnel counts them."""

    @model_validator(mode="after")
    def _known_columns(self) -> Select:
        from schemas import clips, motion, quality

        known = {"clips": clips.TABLE, "motion": motion.TABLE, "quality": quality.TABLE}
        for name, rule in self.rules.items():
            if not name.isidentifier():
                raise ValueError(f"rule {name!r}: a rule's name has only letters, digits and underscores")
            table, _, column = rule.column.partition(".")
            if table not in known:
                raise ValueError(f"rule {name!r}: no table {table!r}; there are {', '.join(known)}")
            if column not in known[table].schema.names:
                raise ValueError(
                    f"rule {name!r}: {table!r} has no column {column!r}; it has {', '.join(known[table].schema.names)}"
                )
        return self

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        bound: list[str] = []
        broken: list[str] = []
        for name, rule in self.rules.items():
            null = f'"{rule.column.partition(".")[0]}"."{rule.column.partition(".")[2]}" is null'
            if isinstance(rule.equals, str):
                bound.append(rule.equals)
            unmeasured = f"'{name}: {rule.column} could not be measured'" if rule.unmeasured == "reject" else "null"
            broken.append(
                f"case when {null} then {unmeasured} when {rule.passes()} then null else {rule.says(name)} end"
            )
        names = ", ".join(f"'{name}'" for name in self.rules)
        # Everything spliced in is a checked identifier, a number, or escaped; free text is bound.
        query = f"""
            with judged as (
                select clips.clip_id, clips.source_id, [{", ".join(broken)}]::varchar[] as verdicts
                from clips left join motion using (clip_id) left join quality using (clip_id)
            ), counted as (
                select *, list_filter(verdicts, lambda v: v is not null) as reasons,
                    list_position(list_transform(verdicts, lambda v: v is not null), true) as first
                from judged
            )
            select clip_id, source_id, len(reasons) = 0 as kept,
                list_extract([{names}]::varchar[], first) as first_rule, first - 1 as rule_number, reasons
            from counted order by source_id, clip_id
        """  # noqa: S608
        with duckdb.connect() as database:
            for table in self.reads:
                database.register(table, inputs[table])
            for batch in database.sql(query, params=bound).to_arrow_reader(100_000):
                yield pa.Table.from_batches([batch]).cast(self.writes.schema)

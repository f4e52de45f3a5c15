"""The language of rules: thresholds, percentiles, any/all/not over them, and quotas, as pydantic models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    model_serializer,
    model_validator,
)

from curate import plugins

COLUMN = r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$"

DEEPEST = 6
"""How deep conditions may stand in conditions. Nobody can read more, and a hostile recipe nests thousands."""

Location = tuple[str | int, ...]


class Condition(BaseModel):
    """Something that is true of a clip, false, or unknown because a score is null.

    One of: a `column` with `min`, `max`, `min_percentile`, `max_percentile` or `equals`; `any`; `all`; `not`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    column: str | None = Field(None, pattern=COLUMN)
    """Where the score stands: `table.column`, such as `motion.mean_w_s`. The table has a row per clip, or is
    `sources`."""
    min: float | None = None
    """Least value that passes."""
    max: float | None = None
    """Greatest value that passes."""
    min_percentile: float | None = Field(None, ge=0, le=100)
    """The least value that passes, as a percentile of the column over all clips that were measured."""
    max_percentile: float | None = Field(None, ge=0, le=100)
    """The greatest value that passes, as such a percentile."""
    equals: StrictBool | float | str | None = None
    """The one value that passes."""
    any: tuple[Condition, ...] | None = Field(None, min_length=1)
    """At least one of these is true."""
    all: tuple[Condition, ...] | None = Field(None, min_length=1)
    """Every one of these is true."""
    not_: Condition | None = Field(None, alias="not")
    """This is false."""

    @property
    def bounds(self) -> tuple[float | None, ...]:
        return self.min, self.max, self.min_percentile, self.max_percentile

    @property
    def children(self) -> Iterator[tuple[Location, Condition]]:
        """The conditions directly inside, each with its place."""
        for name, inner in (("any", self.any), ("all", self.all)):
            yield from (((name, number), child) for number, child in enumerate(inner or ()))
        if self.not_ is not None:
            yield ("not",), self.not_

    def leaves(self, at: Location = ()) -> Iterator[tuple[Location, Condition]]:
        """The conditions on a column, this one or those inside it, each with its place."""
        if self.column is not None:
            yield at, self
        for place, child in self.children:
            yield from child.leaves((*at, *place))

    def named(self, at: Location = ()) -> Iterator[tuple[Location, str, bool]]:
        """Every column that it names: its place, the name, and whether it must be a number."""
        for place, leaf in self.leaves(at):
            assert leaf.column is not None  # noqa: S101 - what makes it a leaf
            yield (*place, "column"), leaf.column, any_given(leaf.bounds)

    def depth(self) -> int:
        return 1 + max((child.depth() for _, child in self.children), default=0)

    def _kinds(self) -> list[str]:
        given = {"column": self.column, "any": self.any, "all": self.all, "not": self.not_}
        return [name for name, value in given.items() if value is not None]

    @model_validator(mode="after")
    def _makes_sense(self) -> Condition:
        kinds = self._kinds()
        if len(kinds) != 1:
            raise ValueError(f"give one of column, any, all, not{', at_most' * isinstance(self, Rule)}, not {kinds}")
        limited = any_given(self.bounds)
        if self.column is not None and limited == (self.equals is not None):
            raise ValueError("a column needs min, max, min_percentile or max_percentile, or else equals")
        if self.column is None and (limited or self.equals is not None):
            raise ValueError("min, max, percentiles and equals need a column")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max, so that no clip could pass")
        low, high = self.min_percentile, self.max_percentile
        if low is not None and high is not None and low > high:
            raise ValueError("min_percentile is above max_percentile, so that no clip could pass")
        if self.depth() > DEEPEST:
            raise ValueError(f"conditions stand in conditions more than {DEEPEST} deep")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = {k: v for k, v in handler(self).items() if v is not None}
        return {"not" if k == "not_" else k: v for k, v in given.items()}


class OperatingPoint(BaseModel):
    """How well a threshold told good from bad where the truth was known."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    precision: float = Field(ge=0, le=1)
    """Share of what it turned down that was bad."""
    recall: float = Field(ge=0, le=1)
    """Share of what was bad that it turned down."""
    on: str
    """What it was measured on."""

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, given: Any) -> Any:
        # YAML 1.1 reads a bare `on` as true.
        return (
            {"on" if key is True else key: value for key, value in given.items()} if isinstance(given, dict) else given
        )


class Rule(Condition):
    """A condition that a clip must meet, or a quota: at most so many clips or hours of a group, the best first.

    A quota counts only clips that break no other kind of rule and no quota before it.
    """

    at_most: int | None = Field(None, ge=1)
    """Clips that a group may keep."""
    at_most_hours: float | None = Field(None, gt=0)
    """Hours of video that a group may keep: a clip is in while it and all better ones come to no more."""
    per: str | None = Field(None, pattern=COLUMN)
    """The column whose value makes a group, such as `clips.source_id`; null: all clips are one group."""
    best: str | None = Field(None, pattern=COLUMN)
    """The column that says which clips are better. Clips without a value come last; equals go by their id."""
    order: Literal["highest", "lowest"] = "highest"
    """Which end of `best` is the better one."""
    unmeasured: Literal["reject", "accept"] = "reject"
    """What becomes of a clip where the rule cannot be decided because a score is null. A score that is missing is never
    taken for a low one."""
    why: str = ""
    """The reason for the threshold, for people."""
    operating_point: OperatingPoint | None = None
    """How the threshold did on a set where the truth is known."""

    @property
    def quota(self) -> bool:
        return self.at_most is not None or self.at_most_hours is not None

    def named(self, at: Location = ()) -> Iterator[tuple[Location, str, bool]]:
        yield from super().named(at)
        for field, column, number in (("per", self.per, False), ("best", self.best, True)):
            if column is not None:
                yield (*at, field), column, number

    def _kinds(self) -> list[str]:
        return super()._kinds() + ["at_most"] * self.quota

    @model_validator(mode="after")
    def _whole_quota(self) -> Rule:
        if self.quota and self.best is None:
            raise ValueError("a quota needs best: the column by which clips are taken, best first")
        if not self.quota and (self.per is not None or self.best is not None):
            raise ValueError("per and best belong to a quota: give at_most or at_most_hours")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = {k: v for k, v in handler(self).items() if v is not None and (k != "order" or self.quota)}
        return {"not" if k == "not_" else k: v for k, v in given.items()}


def any_given(values: Iterable[Any]) -> bool:
    """Whether one of the values is not None; `any` would take 0 for none."""
    return not all(value is None for value in values)


def columns(rules: Mapping[str, Rule]) -> dict[str, tuple[str, ...]]:
    """The columns that rules name, by table, sorted."""
    found: dict[str, set[str]] = {}
    for rule in rules.values():
        for _, name, _ in rule.named():
            table, _, column = name.partition(".")
            found.setdefault(table, set()).add(column)
    return {table: tuple(sorted(names)) for table, names in sorted(found.items())}


def faults(rules: Mapping[str, Rule], schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[Location, str]]:
    """What of the rules does not go with the tables that there are: the place, and what is wrong there."""
    for name, rule in rules.items():
        for place, reference, number in rule.named((name,)):
            if wrong := _wrong(reference, number, schemas):
                yield place, f"{reference}: {wrong}"
        for place, leaf in rule.leaves((name,)):
            if leaf.equals is not None and (wrong := _unequal(leaf, schemas)):
                yield (*place, "equals"), wrong


def _wrong(reference: str, number: bool, schemas: Mapping[str, pa.Schema]) -> str | None:
    table, _, column = reference.partition(".")
    if table not in schemas:
        return f"no stage of this recipe writes the table {table!r}{plugins.closest(table, schemas)}"
    names = schemas[table].names
    if column not in names:
        return f"the table {table!r} has no column {column!r}{plugins.closest(column, names)}"
    if table != "sources" and "clip_id" not in names:
        return f"the table {table!r} has no row per clip: it has no clip_id"
    kind = schemas[table].field(column).type
    if number and not is_number(kind):
        return f"the column holds {kind}, which has no minimum, maximum or percentile; use equals"
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return f"the column holds {kind}; a rule needs a number, a text or a truth value"
    return None


def _unequal(leaf: Condition, schemas: Mapping[str, pa.Schema]) -> str | None:
    table, _, column = str(leaf.column).partition(".")
    if table not in schemas or column not in schemas[table].names:
        return None
    kind = schemas[table].field(column).type
    fits = (
        pa.types.is_boolean(kind)
        if isinstance(leaf.equals, bool)
        else pa.types.is_string(kind)
        if isinstance(leaf.equals, str)
        else is_number(kind)
    )
    return None if fits else f"{leaf.column} holds {kind}, which never equals {leaf.equals!r}"


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

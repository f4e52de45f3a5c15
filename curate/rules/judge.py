"""The judge: decides over all clips by rules, streaming, in DuckDB; and shows how one clip fared, number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from curate.rules.rule import Condition, Rule, columns
from curate.rules.sql import Limits, Phrases, Score, Words

_BATCH = 100_000

Verdicts = Iterator[pa.RecordBatch]
"""clip_id, source_id, kept, first_rule, rule_number, reasons; in the order of source and clip."""


@dataclass(frozen=True)
class Check:
    """How a clip fared at one threshold."""

    column: str
    value: Any
    wants: str
    passed: bool | None
    """None: the score is null."""
    missed_by: float | None = None
    """How far beyond the threshold the value lies; None where it passed or is no number."""
    percentile: float | None = None
    """Share of the measured clips whose value is lower, percent."""
    measured: int | None = None
    """Clips with a value."""


class Judge:
    """Rules and the stored scores they are about; a context manager.

    Args:
        inputs: `clips`, every table that the rules name, and `screening` where clips that are out there stay out.
    """

    def __init__(self, rules: Mapping[str, Rule], inputs: Mapping[str, ds.Dataset]) -> None:
        self._rules = rules
        self._screened = "screening" in inputs
        self._database = duckdb.connect()
        self._words = Words()
        self._scores: dict[str, Score] = {}
        for table, names in columns(rules).items():
            for name in names:
                reference = f"{table}.{name}"
                kind = inputs[table].schema.field(name).type
                self._scores[reference] = Score(reference, f"c{len(self._scores)}", kind)
        self._gather(inputs)
        self._phrases = Phrases(self._scores, self._percentiles(), self._words)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def _gather(self, inputs: Mapping[str, ds.Dataset]) -> None:
        """The table `scored`: a row per clip with every column that the rules name.

        Raises:
            ValueError: a table has several rows for a clip.
        """
        tables = {"clips", *columns(self._rules), *(["screening"] if self._screened else [])}
        for table in tables:
            self._database.register(table, inputs[table])
        joins = [
            f'left join "{table}" using ({"source_id" if table == "sources" else "clip_id"})'
            for table in sorted(tables - {"clips"})
        ]
        picked = [f"{score.source} as {score.name}" for score in self._scores.values()]
        if self._screened:
            picked += [
                "screening.kept is false as screened",
                "screening.first_rule as screened_by",
                "screening.rule_number as screened_at",
                "screening.reasons as screened_why",
            ]
        self._database.execute(
            "create temp table scored as select clips.clip_id, clips.source_id, "  # noqa: S608
            f"cast(round(clips.duration_s * 1000) as bigint) as ms{''.join(f', {p}' for p in picked)} "
            f"from clips {' '.join(joins)}"
        )
        (rows,) = self._one("select count(*) from scored")
        (clips,) = self._one("select count(*) from clips")
        if rows != clips:
            raise ValueError(self._doubled(tables))

    def _doubled(self, tables: set[str]) -> str:
        for table in sorted(tables):
            key = "source_id" if table == "sources" else "clip_id"
            query = f'select {key} from "{table}" group by {key} having count(*) > 1 limit 1'  # noqa: S608
            for (doubled,) in self._database.sql(query).fetchall():
                return f"the table {table!r} has several rows for {doubled}; a rule needs one row per clip"
        return "a table has several rows for one clip; a rule needs one row per clip"

    def _one(self, query: str, bound: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        (row,) = self._database.sql(query, params=bound).fetchall()
        return tuple(row)

    def _percentiles(self) -> Limits:
        """What the percentiles that the rules name come to over the clips that were measured."""
        wanted = dict.fromkeys(
            (str(leaf.column), percent)
            for rule in self._rules.values()
            for _, leaf in rule.leaves()
            for percent in (leaf.min_percentile, leaf.max_percentile)
            if percent is not None
        )
        if not wanted:
            return {}
        picked = [f"quantile_cont({self._scores[c].name}::double, {float(p) / 100!r})" for c, p in wanted]
        return dict(zip(wanted, self._one(f"select {', '.join(picked)} from scored"), strict=True))  # noqa: S608

    # -- all clips ------------------------------------------------------------------------------------------------

    def verdicts(self) -> Verdicts:
        """The verdict on every clip."""
        words = self._words
        steps, broken, told, unmeasured = [], [], [], []
        passing = "not coalesce(screened, false)" if self._screened else "true"
        last = "scored"
        # Thresholds first, whatever the order in the recipe: a quota is shared out among those that meet them all.
        numbered = list(enumerate(self._rules.items()))
        ordered = sorted(numbered, key=lambda item: item[1][1].quota)
        for number, (name, rule) in ordered:
            head = words.add(f"{name}: ")
            if rule.quota:
                steps.append(f"q{number} as ({self._quota(number, rule, passing, last)})")
                last = f"q{number}"
                test, reason = f"over{number}", self._quota_reason(number, rule)
                missing = f"({passing} and {self._scores[rule.per].name} is null)" if rule.per else ""
            else:
                truth = self._phrases.truth(rule)
                steps.append(f"t{number} as (select *, {truth} as true{number} from {last})")  # noqa: S608
                last = f"t{number}"
                test, reason = f"not true{number}", self._phrases.reason(rule, False)
                missing = f"true{number} is null"
            if rule.unmeasured == "reject" and missing:
                passing += f" and not {missing}"
                unmeasured.append((number, missing, f"{head} || {self._nulls(rule)}"))
            passing += f" and ({test}) is not true"
            broken.append((number, test, f"{head} || {reason}"))
        for number, _ in numbered:
            cases = [f"when {test} then {text}" for n, test, text in broken if n == number]
            quiet = "not coalesce(screened, false) and " if self._screened else ""
            cases += [f"when {quiet}{test} then {text}" for n, test, text in unmeasured if n == number]
            told.append(f"case {' '.join(cases)} end")
        names = ", ".join(words.add(name) for name in self._rules)
        steps.append(f"told as (select *, [{', '.join(told)}]::varchar[] as own from {last})")  # noqa: S608
        query = f"""
            with {", ".join(steps)}, counted as (
                select clip_id, source_id, {"screened, screened_by, screened_at, screened_why," * self._screened}
                    list_filter(own, lambda t: t is not null) as mine,
                    list_position(list_transform(own, lambda t: t is not null), true) as first
                from told
            )
            select clip_id, source_id, {self._final(names)} from counted order by source_id, clip_id
        """  # noqa: S608
        yield from self._database.sql(query, params=words.bound).to_arrow_reader(_BATCH)

    def _final(self, names: str) -> str:
        first, number, reasons = f"list_extract([{names}]::varchar[], first)", "first - 1", "mine"
        if self._screened:
            first = f"case when screened then screened_by else {first} end"
            number = f"case when screened then screened_at else {number} end"
            reasons = "case when screened then list_concat(screened_why, mine) else mine end"
            kept = "not coalesce(screened, false) and len(mine) = 0"
        else:
            kept = "len(mine) = 0"
        return f"{kept} as kept, {first} as first_rule, {number} as rule_number, {reasons} as reasons"

    def _quota(self, number: int, rule: Rule, passing: str, last: str) -> str:
        """SQL of the clips with their place in their group, and whether that is beyond the quota."""
        group = f", {self._scores[rule.per].name}" if rule.per else ""
        best = self._scores[str(rule.best)].name
        window = (
            f"over (partition by ({passing}){group} order by {best} "
            f"{'desc' if rule.order == 'highest' else 'asc'} nulls last, clip_id "
            "rows between unbounded preceding and current row)"
        )
        tests = []
        if rule.at_most is not None:
            tests.append(f"place{number} > {self._words.add(rule.at_most)}")
        if rule.at_most_hours is not None:
            tests.append(f"ms{number} > {self._words.add(round(rule.at_most_hours * 3_600_000))}")
        there = f" and {self._scores[rule.per].name} is not null" if rule.per else ""
        return f"""
            select *, {passing}{there} and ({" or ".join(tests)}) as over{number}
            from (select *, count(*) {window} as place{number}, sum(ms) {window} as ms{number} from {last})
        """  # noqa: S608

    def _nulls(self, rule: Rule) -> str:
        if rule.quota:
            return self._words.add(f"{rule.per} could not be measured")
        return self._phrases.unmeasured(rule)

    def _quota_reason(self, number: int, rule: Rule) -> str:
        words = self._words
        group = f" of its {rule.per}" if rule.per else ""
        cases = []
        if rule.at_most is not None:
            beyond = f"place{number} > {words.add(rule.at_most)}"
            tail = words.add(f"{group} by {rule.best}; at most {rule.at_most} are taken")
            cases.append(f"when {beyond} then {words.add('number ')} || place{number}::varchar || {tail}")
        if rule.at_most_hours is not None:
            tail = words.add(f" h with the better ones{group}; at most {rule.at_most_hours:g} h are taken")
            cases.append(f"when true then printf('%.4g', ms{number}::double / 3600000) || {tail}")
        return f"case {' '.join(cases)} end"

    # -- one clip -------------------------------------------------------------------------------------------------

    def checks(self, clip_id: str) -> dict[str, list[Check]]:
        """By rule, how a clip fared at each threshold in it. A quota has none: its reason says the clip's place."""
        wanted = [(name, leaf) for name, rule in self._rules.items() for _, leaf in rule.leaves()]
        found: dict[str, list[Check]] = {name: [] for name in self._rules}
        words = Words()
        phrases = Phrases(self._scores, self._phrases.limits, words)
        picked = [f"{phrases.truth(leaf)}, {self._scores[str(leaf.column)].name}" for _, leaf in wanted]
        if not wanted:
            return found
        clip = words.add(clip_id)
        row = self._one(f"select {', '.join(picked)} from scored where clip_id = {clip}", words.bound)  # noqa: S608
        for number, (name, leaf) in enumerate(wanted):
            passed, value = row[2 * number], row[2 * number + 1]
            found[name].append(self._check(leaf, passed, value))
        return found

    def _check(self, leaf: Condition, passed: bool | None, value: Any) -> Check:
        column = str(leaf.column)
        if leaf.equals is not None:
            wants = str(leaf.equals).lower() if isinstance(leaf.equals, bool) else str(leaf.equals)
            return Check(column, value, f"= {wants}", passed)
        sides = self._phrases.sides(leaf)
        wants = ", ".join(f"{'≥' if sign == '>=' else '≤'} {shown}" for sign, _, shown in sides)
        if value is None:
            return Check(column, None, wants, passed)
        over = [(bound - value) * (1 if sign == ">=" else -1) for sign, bound, _ in sides if bound is not None]
        below, measured = self._one(
            f"select count(*) filter ({self._scores[column].name} < $value), "  # noqa: S608
            f"count({self._scores[column].name}) from scored",
            {"value": value},
        )
        missed = max(over, default=0.0) if passed is False else None
        return Check(column, value, wants, passed, missed, 100 * below / measured, measured)

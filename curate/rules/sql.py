"""Rules in DuckDB's SQL. Only checked identifiers are spliced in; every value and every word is bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from curate.rules.rule import Condition, is_number


class Score:
    """A column of the judge's table: `table.column` of the dataset, under a name of its own."""

    def __init__(self, reference: str, name: str, kind: pa.DataType) -> None:
        self.reference, self.name, self.kind = reference, name, kind
        self.number = is_number(kind)
        # A bound is compared in the column's own precision: 0.4 in a float32 column is not above 0.4.
        self.cast = "float" if pa.types.is_float32(kind) else "double"

    @property
    def source(self) -> str:
        """It in its own table; a NaN or an infinity is no measurement."""
        table, _, column = self.reference.partition(".")
        value = f'"{table}"."{column}"'
        return f"case when isfinite({value}) then {value} end" if pa.types.is_floating(self.kind) else value


class Words:
    """The values that a query binds. Each distinct one has one name."""

    def __init__(self) -> None:
        self.bound: dict[str, Any] = {}
        self._names: dict[tuple[type, Any], str] = {}

    def add(self, value: Any) -> str:
        key = type(value), value
        if key not in self._names:
            self._names[key] = f"p{len(self._names)}"
            self.bound[self._names[key]] = value
        return f"${self._names[key]}"


Limits = Mapping[tuple[str, float], float | None]
"""By column and percentile: the value there; None where nothing was measured."""


class Phrases:
    """Says conditions, and why they hold or not, about the columns of the judge's table."""

    def __init__(self, scores: Mapping[str, Score], limits: Limits, words: Words) -> None:
        self._scores, self.limits, self._words = scores, limits, words

    def sides(self, leaf: Condition) -> list[tuple[str, float | None, str]]:
        """A threshold's sides: `>=` or `<=`, the value there, and what it is called in a reason."""
        found: list[tuple[str, float | None, str]] = []
        for sign, bound, percent in ((">=", leaf.min, leaf.min_percentile), ("<=", leaf.max, leaf.max_percentile)):
            if bound is not None:
                found.append((sign, bound, f"{bound:g}"))
            if percent is not None:
                value = self.limits[str(leaf.column), percent]
                shown = "nothing" if value is None else f"{value:.4g}"
                found.append((sign, value, f"{shown}, percentile {percent:g} of all clips"))
        return found

    def truth(self, condition: Condition) -> str:
        """SQL that is true, false, or null where a null score leaves it open."""
        if condition.column is not None:
            return self._leaf(condition)
        if condition.not_ is not None:
            return f"(not {self.truth(condition.not_)})"
        word = " or " if condition.any is not None else " and "
        return "(" + word.join(self.truth(child) for _, child in condition.children) + ")"

    def _leaf(self, leaf: Condition) -> str:
        score = self._scores[str(leaf.column)]
        if leaf.equals is not None:
            value = self._words.add(leaf.equals)
            wanted = f"cast({value} as {score.cast})" if score.number else value
            return f"({score.name} = {wanted})"
        bounds = [f"{score.name} {sign} {self._bound(score, value)}" for sign, value, _ in self.sides(leaf)]
        return f"({' and '.join(bounds)})"

    def _bound(self, score: Score, value: float | None) -> str:
        return "null" if value is None else f"cast({self._words.add(value)} as {score.cast})"

    def reason(self, condition: Condition, holds: bool) -> str:
        """SQL of why a condition that is true (`holds`) or false is so, with the clip's own numbers."""
        if condition.not_ is not None:
            return self.reason(condition.not_, not holds)
        if condition.column is not None:
            return self._leaf_reason(condition, holds)
        children = [child for _, child in condition.children]
        told = [
            f"case when {self.truth(child)} is {'true' if holds else 'false'} then {self.reason(child, holds)} end"
            for child in children
        ]
        return self.joined(told)

    def joined(self, parts: Iterable[str]) -> str:
        """SQL of those texts that are not null, in a row."""
        there = f"list_filter([{', '.join(parts)}]::varchar[], lambda t: t is not null)"
        return f"array_to_string({there}, {self._words.add(' and ')})"

    def _leaf_reason(self, leaf: Condition, holds: bool) -> str:
        score = self._scores[str(leaf.column)]
        if leaf.equals is not None:
            if isinstance(leaf.equals, bool):
                return self._words.add(f"{leaf.column} is {'' if holds else 'not '}{str(leaf.equals).lower()}")
            return self._with_value(score, f" is {'' if holds else 'not '}{leaf.equals}")
        if holds:
            kept = [f"{'at least' if sign == '>=' else 'at most'} {shown}" for sign, _, shown in self.sides(leaf)]
            return self._with_value(score, f" is {' and '.join(kept)}")
        broken = []
        for sign, value, shown in self.sides(leaf):
            beyond, word = ("<", "below") if sign == ">=" else (">", "above")
            tail = self._words.add(f" is {word} {shown}")
            broken.append(f"when {score.name} {beyond} {self._bound(score, value)} then {tail}")
        return f"{self._value(score)} || case {' '.join(broken)} end"

    def _value(self, score: Score) -> str:
        shown = f"printf('%.4g', {score.name}::double)" if score.number else f"{score.name}::varchar"
        return f"{self._words.add(f'{score.reference} = ')} || {shown}"

    def _with_value(self, score: Score, tail: str) -> str:
        return f"{self._value(score)} || {self._words.add(tail)}"

    def unmeasured(self, condition: Condition) -> str:
        """SQL of which of its scores are null."""
        names = dict.fromkeys(str(leaf.column) for _, leaf in condition.leaves())
        told = [f"case when {self._scores[n].name} is null then {self._words.add(n)} end" for n in names]
        return f"{self.joined(told)} || {self._words.add(' could not be measured')}"

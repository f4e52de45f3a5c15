"""`curate explain`: why a clip is in or out, number by number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import pyarrow.compute as pc
import typer
from rich.console import Console

from curate import tombstones
from curate.books import read_recipe
from curate.commands import WRONG_USE, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.dataset import Dataset
from curate.recipe import Recipe
from curate.redecide import DECIDING
from curate.rules.judge import Judge
from curate.rules.rule import Rule
from curate.stage import Stage
from schemas import clips, decisions, faces, ledger, screening, shards, sources

CERTIFICATE = ("confidence", "detectors", "doubt", "doubt_kind", "doubt_s", "doubt_why", "longest_frame_s", "scan")
"""Columns of `clips` that say what speaks for its being one take."""

SHOWN_CHARACTERS = 200
"""Of a value on a terminal: an embedding has hundreds of numbers."""

MOST_IDENTITIES = 20
"""People of a clip that are told with what they are in other sources; a crowd has more."""


def explain(
    dataset: DatasetArgument,
    clip: Annotated[
        str,
        typer.Argument(help="The clip's id, or enough of its start to be the only one; or SOURCE-FILE@SECONDS."),
    ],
    json_output: JsonOption = False,
) -> None:
    """Say why a clip is in or out: each rule with the clip's own number, its certificate, and every score."""
    with plain_errors():
        found = explanation(existing(dataset), clip)
        if json_output:
            typer.echo(json.dumps(_finite(found), default=str))
        else:
            _show(Console(soft_wrap=True), found)


def explanation(dataset: Dataset, clip: str) -> dict[str, Any]:
    """All that the dataset holds about one clip, and how it fared at each rule."""
    state = _one(dataset, clip)
    clip_id = state["clip_id"]
    tables: dict[str, Any] = {}
    for name in dataset.table_names():
        stored = dataset.stored(name)
        if "clip_id" not in stored.schema.names or name in (ledger.TABLE.name, shards.SAMPLES.name):
            continue  # `samples` repeats the others, as a shard will hold it
        if rows := stored.to_table(filter=pc.field("clip_id") == clip_id).to_pylist():
            tables[name] = [{k: v for k, v in row.items() if k not in ("clip_id", "source_id")} for row in rows]
    if who := _identities(dataset, tables):
        tables[faces.IDENTITIES.name] = who
    take = tables.get(clips.TABLE.name, [{}])[0]
    copies = [
        {"table": name, **{k: v for k, v in row.items() if v is not None}}
        for name, rows in tables.items()
        for row in rows
        if row.get("copy_of")
    ]
    return {
        "ledger": state,
        "span_s": [take.get("start_s"), take.get("end_s")],
        "rules": _rules(dataset, read_recipe(dataset), clip_id, tables),
        "certificate": {name: take[name] for name in CERTIFICATE if name in take},
        "copy_of": copies,
        "tables": tables,
    }


def _identities(dataset: Dataset, tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who the people that are seen in the clip are over all sources, longest seen first."""
    seen: dict[str, float] = {}
    for face in tables.get(faces.FACES.name, []):
        if face["person_id"] is not None:
            seen[face["person_id"]] = seen.get(face["person_id"], 0.0) + face["end_s"] - face["start_s"]
    if not seen or faces.IDENTITIES.name not in dataset.table_names():
        return []
    stored = dataset.scan(faces.IDENTITIES).to_table(filter=pc.field("person_id").isin(list(seen))).to_pylist()
    return sorted(stored, key=lambda row: -seen[row["person_id"]])[:MOST_IDENTITIES]


def _one(dataset: Dataset, clip: str) -> dict[str, Any]:
    """The ledger's row of the one clip that is meant; anything else is wrong use."""
    book = dataset.scan(ledger.TABLE).to_table(filter=pc.field("kind") == "clip").to_pylist()
    matches = [row for row in book if row["clip_id"].startswith(clip)]
    name, at, second = clip.rpartition("@")
    if not matches and at and name:
        try:
            moment = float(second)
        except ValueError:
            stop(f"{clip!r}: after @ comes a time in seconds, such as {name}@12.5", WRONG_USE)
        mine = [row for row in book if row["path"] == name or row["path"].endswith(f"/{name}")]
        when = pc.field("clip_id").isin([row["clip_id"] for row in mine])
        there = (pc.field("start_s") <= moment) & (pc.field("end_s") > moment)
        spans = dataset.scan(clips.TABLE).to_table(columns=["clip_id"], filter=when & there)
        matches = [row for row in mine if row["clip_id"] in spans["clip_id"].to_pylist()]
    if not matches and tombstones.load(dataset).clip(clip):
        stop(
            f"{clip!r} was purged: it was taken out of the dataset, or its source was, and nothing of it is kept",
            WRONG_USE,
        )
    if len(matches) != 1:
        some = ", ".join(m["clip_id"] for m in matches[:3])
        stop(f"{clip!r} names {len(matches)} clips{f': {some}, …' if some else '; see tables/ledger'}", WRONG_USE)
    return matches[0]


def _rules(dataset: Dataset, recipe: Recipe, clip_id: str, tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rule in order: what it asks, whether the clip meets it, and each threshold in it."""
    found = []
    for table in DECIDING:
        stage = recipe.writer(table)
        rules = getattr(stage, "rules", None)
        if stage is None or not rules or not all(isinstance(rule, Rule) for rule in rules.values()):
            continue
        verdict = tables.get(table, [{"reasons": []}])[0]
        with Judge(rules, _inputs(dataset, recipe, stage)) as judge:
            checks = judge.checks(clip_id)
        said = verdict["reasons"]
        if table == decisions.TABLE.name:  # those of the screening stand first
            said = said[len(tables[screening.TABLE.name][0]["reasons"]) if screening.TABLE.name in tables else 0 :]
        for name, rule in rules.items():
            reason = next((r.partition(": ")[2] for r in said if r.startswith(f"{name}: ")), None)
            listed = [asdict(check) for check in checks[name]]
            told = {"stage": stage.name, "rule": name, "passed": reason is None, "reason": reason, "why": rule.why}
            found.append(told | {"checks": listed})
    return found


def _inputs(dataset: Dataset, recipe: Recipe, stage: Stage) -> dict[str, Any]:
    engine = {sources.SOURCES.name: sources.SOURCES}
    names = [t for t in stage.inputs(recipe.tables) if t != screening.TABLE.name]
    written = {name: recipe.writer(name) for name in names}
    return {name: dataset.scan(made.writes if made else engine[name]) for name, made in written.items()}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- for people ---------------------------------------------------------------------------------------------------


def _show(console: Console, found: dict[str, Any]) -> None:
    def say(line: str = "") -> None:
        console.print(line, highlight=False, markup=False)

    state, (start_s, end_s) = found["ledger"], found["span_s"]
    say(f"{state['clip_id']} is {state['state']}")
    # repr, so that a newline or an escape sequence in a file's name cannot draw on the terminal
    say(f"  {state['duration_s']:.1f} s, from {start_s:.2f} s to {end_s:.2f} s of {state['path']!r}")
    if state["reason"]:
        say(f"  because {_printable(state['reason'])} (stage {state['stage']})")
    for copy in found["copy_of"]:
        say("  a copy: " + ", ".join(f"{k} {_number(v)}" for k, v in copy.items()))
    for rule in found["rules"]:
        for line in _lines(rule):
            say(f"  {line}")
    if found["certificate"]:
        told = ", ".join(f"{k} {_number(v)}" for k, v in found["certificate"].items() if v is not None)
        say(f"one take: {told}")
    for table, rows in found["tables"].items():
        for row in rows:
            say(f"\n{table}")
            for name, value in row.items():
                say(f"  {name} = {_short(value)}")


def _lines(rule: dict[str, Any]) -> Iterator[str]:
    """A rule's line, or a line for each threshold in it."""
    head = f"{'in ' if rule['passed'] else 'OUT'}  {rule['stage']}.{rule['rule']}"
    if not rule["checks"]:
        yield f"{head}: {_printable(rule['reason'] or 'within the quota')}"
    for check in rule["checks"]:
        value = "not measured" if check["value"] is None else _number(check["value"])
        line = f"{head}: {check['column']} = {value}, wants {_printable(check['wants'])}"
        if check["missed_by"] is not None:
            line += f", missed by {check['missed_by']:.4g}"
        if check["percentile"] is not None:
            line += f"; {check['percentile']:.0f} % of {check['measured']} clips have less"
        yield line


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _printable(str(value))


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters; --json)"

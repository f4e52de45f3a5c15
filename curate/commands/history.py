"""`curate history` and `curate compare`: what the runs of a dataset came to, and what changed between two."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from curate import history as runs
from curate.commands import FAILED, WRONG_USE, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.dataset import Dataset, DatasetBusyError
from curate.lease import holder
from curate.profile import ENOUGH, difference, drifted
from curate.terminal import whole_table

_TOLD = 15
"""Scores, and words, that a terminal is shown."""


def history(
    dataset: DatasetArgument,
    most: Annotated[int, typer.Option("--last", min=1, help="Show at most this many of the latest runs.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Show the runs of a dataset: when, how long, how they ended, what they left."""
    with plain_errors():
        opened = existing(dataset)
        past = runs.records(opened, most)
        found = told(past, busy=bool(past) and past[-1].state == runs.RUNNING and _busy(opened))
    if json_output:
        typer.echo(json.dumps(found))
        return
    table = whole_table("run", "ended", "tasks", "sources", "takes kept", "hours kept", "failed", "took")
    table.columns[0].no_wrap = True
    for record in found:
        by_kind = record["states"]
        hours = next((step["hours"] for step in record["funnel"] if step["name"] == "kept"), None)
        table.add_row(
            record["id"],
            record["state"] + (f": {record['error']}" if record["error"] else ""),
            str(record["tasks"]),
            str(sum(by_kind.get("source", {}).values())),
            str(by_kind.get("clip", {}).get("kept", "")),
            "" if hours is None else f"{hours:.3f}",
            str(sum(states.get("failed", 0) for states in by_kind.values())),
            "" if record["wall_s"] is None else f"{record['wall_s']:.1f} s",
        )
    Console().print(table if found else "No run is remembered.")


def told(records: list[runs.Record], busy: bool) -> list[dict[str, Any]]:
    """Records as plain values. One that says `running` was killed, unless it is the latest and the dataset is held."""
    rows = [asdict(record) for record in records]
    for number, row in enumerate(rows, start=1):
        if row["state"] == runs.RUNNING and not (busy and number == len(rows)):
            row["state"] = "killed"
    return rows


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="DATASET, or DATASET@RUN: an id, or -2 for the last but one.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What A is held against, named alike.")],
    fail_over: Annotated[
        float | None,
        typer.Option(
            "--fail-over",
            min=0,
            max=1,
            help="Exit with 1 if a score's two distributions lie farther apart than this (Kolmogorov-Smirnov distance, "
            "0 to 1), or the share of hours kept does.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Say what changed between two datasets or two runs of one: funnel, scores, captions."""
    with plain_errors():
        found = difference(_profile(first), _profile(second))
    found["drifted"] = drifted(found, fail_over) if fail_over is not None else []
    if json_output:
        typer.echo(json.dumps(found))
    else:
        _show(Console(), found)
    if found["drifted"]:
        raise typer.Exit(FAILED)


def _profile(named: str) -> dict[str, Any]:
    url, at, run = named.rpartition("@")
    # An @ may stand in a folder's name, too: what is a dataset as it is written is meant so.
    if not at or Dataset(named).exists("recipe.yaml"):
        return runs.profile(existing(named))
    try:
        return runs.profile(existing(url), run)
    except LookupError as error:
        stop(str(error.args[0]), WRONG_USE)


def _busy(dataset: Dataset) -> bool:
    if not dataset.local:
        return holder(dataset.url) is not None
    try:
        with dataset.locked():
            return False
    except DatasetBusyError:
        return True


def _show(console: Console, found: dict[str, Any]) -> None:
    funnel = Table("step", "count A", "count B", "hours A", "hours B")
    for step in found["funnel"]:
        funnel.add_row(step["step"], *(_number(v) for v in step["count"]), *(_number(v) for v in step["hours"]))
    console.print(funnel)
    heads = ("distance", "median A", "median B", "clips A", "clips B", "nulls A", "nulls B")
    scores = whole_table("score", *heads, title="scores, the most changed first")
    for row in found["scores"][:_TOLD]:
        few = "" if row["enough"] else " ?"
        scores.add_row(
            row["column"],
            _number(row["distance"]) + few,
            *(_number(value) for key in ("medians", "clips", "nulls") for value in row[key]),
        )
    console.print(scores)
    if not all(row["enough"] for row in found["scores"]):
        console.print(f"?: fewer than {ENOUGH} clips on a side, too few to call it drift", highlight=False)
    for name, side in (("A", found["only_in_a"]), ("B", found["only_in_b"])):
        if side:
            console.print(f"only in {name}: {', '.join(side)}", highlight=False, markup=False)
    captions = Table("captions of level", "A", "B", "words each A", "words each B")
    for level, (one, other) in found["captions"]["levels"].items():
        sides = [one or {}, other or {}]
        captions.add_row(level, *(_number(s.get("captions")) for s in sides), *(_number(s.get("words")) for s in sides))
    if captions.row_count:
        console.print(captions)
    if found["captions"]["words"]:
        changed = (f"{word} {before:.0%} -> {now:.0%}" for word, before, now in found["captions"]["words"][:_TOLD])
        console.print(f"share of captions with a word: {', '.join(changed)}", highlight=False, markup=False)
    for line in found["drifted"]:
        console.print(f"drifted: {line}", style="red", highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

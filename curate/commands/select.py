"""`curate select`: other rules over stored scores, seen before they are written."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curate.commands import FAILED, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.ledger import Step
from curate.redecide import Changed, Redecision, UnfinishedError, Work, command, redecide

SHOWN = 10
"""Clips of each kind on the terminal; --json lists more."""


def select(
    dataset: DatasetArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="stage.rules.NAME.FIELD=value over the dataset's own rules; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Decide anew from stored scores, in seconds: no video is opened, no model runs."""
    with plain_errors():
        place = existing(dataset)
        try:
            found = redecide(place, overrides or [], dry_run)
        except UnfinishedError as error:
            stop(str(error), FAILED)
        following = command(dataset) if found.to_do else None
        if json_output:
            typer.echo(json.dumps({**asdict(found), "next": following}))
            return
        _show(Console(), found)
        if dry_run:
            typer.echo("Nothing was written. The same command without --dry-run makes it so.")
        elif following:
            typer.echo(f"To do: {told(found.to_do)}. Next: {shlex.join(following)}")
        else:
            typer.echo("Everything that follows from the decisions is there.")


def told(works: list[Work]) -> str:
    """What there is to do, in words."""
    parts = [f"{w.stage} ({w.clips} clips)" if w.clips else w.stage for w in works]
    return ", ".join(parts)


def _show(console: Console, found: Redecision) -> None:
    table = Table("step", "clips before", "after", "hours before", "after", "change")
    before = {step.name: step for step in found.before}
    *rules, kept = found.after
    gone = [step for step in found.before if step.name not in {after.name for after in found.after}]
    for step in (*rules, *gone, kept):
        old = before.get(step.name)
        new = step if step in found.after else None
        table.add_row(step.name, *_row(old, new))
    console.print(table)
    for what, changed in (("come in", found.come_in), ("go out", found.go_out)):
        console.print(f"{changed.clips} clips ({changed.hours:.3f} h) {what}", highlight=False)
        _list(console, changed)


def _row(old: Step | None, new: Step | None) -> list[str]:
    counts = [str(s.count) if s else "" for s in (old, new)]
    hours = [f"{s.hours:.3f}" if s else "" for s in (old, new)]
    change = (
        f"{new.hours - old.hours:+.3f} h" if old and new and (old.count, old.hours) != (new.count, new.hours) else ""
    )
    return [*counts, *hours, change]


def _list(console: Console, changed: Changed) -> None:
    for row in changed.listed[:SHOWN]:
        # repr, so that a newline or an escape sequence in a file's name cannot draw on the terminal
        line = f"  {row['clip_id']}  {row['duration_s']:.1f} s of {row['path']!r}"
        console.print(f"{line}: {row['reason']!r}" if row["reason"] else line, highlight=False, markup=False)
    if changed.clips > SHOWN:
        console.print(f"  and {changed.clips - SHOWN} more", highlight=False)

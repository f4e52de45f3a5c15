"""`curate status`: how far a dataset is, its funnel and its errors, read from its tables."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.commands import DatasetArgument, JsonOption, existing, funnel_table, plain_errors
from curate.dataset import Dataset
from curate.ledger import Step
from curate.redecide import command, outstanding
from curate.terminal import whole_table
from schemas import errors, ledger


def status(
    dataset: DatasetArgument,
    most: Annotated[int, typer.Option("--errors", min=0, help="Show at most this many errors.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Show what a dataset holds: sources and clips by state, the retention funnel, errors."""
    with plain_errors():
        found = state(existing(dataset))
        if json_output:
            typer.echo(json.dumps(found))
            return
        console = Console()
        if not found["complete"]:
            console.print("The last run did not finish; run the same command again to complete it.", highlight=False)
        else:
            console.print(funnel_table([Step(**step) for step in found["funnel"]]))
            for kind, by_state in found["states"].items():
                console.print(f"{kind}s: " + ", ".join(f"{n} {s}" for s, n in by_state.items()), highlight=False)
        if found["to_do"]:
            told = ", ".join(work["stage"] for work in found["to_do"])
            following = shlex.join(command(dataset))
            console.print(f"To do since the last decision: {told}. Next: {following}", highlight=False, markup=False)
        console.print(_errors(found["errors"][:most]) if found["errors"] else "No errors.", highlight=False)
        if len(found["errors"]) > most:
            console.print(f"and {len(found['errors']) - most} more; --errors N shows them", highlight=False)


def state(dataset: Dataset) -> dict[str, Any]:
    """Progress, funnel and errors of a dataset as JSON."""
    complete = bool(dataset.keys(ledger.TABLE.name)) and dataset.exists("summary.json")
    found = json.loads(dataset.read("summary.json")) if complete else {"funnel": [], "states": {}}
    rows = dataset.scan(errors.TABLE).to_table(columns=["path", "source_id", "clip_id", "stage", "error", "message"])
    parts = {name: dataset.count(name) for name in dataset.table_names()}
    to_do = outstanding(dataset) if complete else []
    return {**found, "complete": complete, "to_do": to_do, "errors": rows.to_pylist(), "parts": parts}


def _errors(rows: list[dict[str, Any]]) -> Table:
    table = whole_table("source", "clip", "stage", "what was wrong")
    for row in rows:
        # repr, so that a newline or an escape sequence in a file's name cannot draw on the terminal; escape, so that
        # brackets in it are no markup
        told = escape(repr(row["path"])[1:-1]), row["clip_id"] or "", row["stage"], escape(repr(row["message"])[1:-1])
        table.add_row(*told)
    return table

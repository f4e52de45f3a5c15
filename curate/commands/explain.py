"""`curate explain`: why a clip is in or out, number by number."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow.compute as pc
import typer
from rich.console import Console

from curate.commands import WRONG_USE, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.dataset import Dataset
from schemas import ledger


def explain(
    dataset: DatasetArgument,
    clip: Annotated[str, typer.Argument(help="The clip's id, or enough of its start to be the only one.")],
    json_output: JsonOption = False,
) -> None:
    """Say why a clip is in or out: its state, its reasons, and every score it was judged by."""
    with plain_errors():
        found = explanation(existing(dataset), clip)
        if json_output:
            typer.echo(json.dumps(found, default=str))
            return
        console = Console()
        state = found["ledger"]
        console.print(f"{state['clip_id']} is {state['state']}", highlight=False, markup=False)
        console.print(f"  from {state['path']!r}", highlight=False, markup=False)
        if state["reason"]:
            console.print(f"  because {state['reason']} (stage {state['stage']})", highlight=False, markup=False)
        for table, rows in found["tables"].items():
            for row in rows:
                console.print(f"\n{table}", highlight=False)
                for name, value in row.items():
                    console.print(f"  {name} = {value!r}", highlight=False, markup=False)


def explanation(dataset: Dataset, clip: str) -> dict[str, Any]:
    """All rows that the dataset holds about one clip."""
    book = dataset.scan(ledger.TABLE).to_table(filter=pc.field("kind") == "clip")
    matches = [row for row in book.to_pylist() if row["clip_id"].startswith(clip)]
    if len(matches) != 1:
        some = ", ".join(m["clip_id"] for m in matches[:3])
        stop(f"{clip!r} names {len(matches)} clips{f': {some}, …' if some else '; see tables/ledger'}", WRONG_USE)
    clip_id = matches[0]["clip_id"]
    tables: dict[str, Any] = {}
    for name in dataset.table_names():
        stored = dataset.stored(name)
        if "clip_id" not in stored.schema.names or name in (ledger.TABLE.name, "samples"):
            continue  # `samples` repeats the others, as a shard will hold it
        if rows := stored.to_table(filter=pc.field("clip_id") == clip_id).to_pylist():
            tables[name] = [{k: v for k, v in row.items() if k not in ("clip_id", "source_id")} for row in rows]
    return {"ledger": matches[0], "tables": tables}

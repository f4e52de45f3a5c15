"""`curate explain`: why a clip is in or out, number by number."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow.compute as pc
import typer
import yaml
from rich.console import Console

from curate import recipe as recipes
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
    stored = yaml.safe_load(dataset.read("recipe.yaml"))
    stored.pop("longtake", None)
    recipe = recipes.parse(yaml.safe_dump(stored), "recipe.yaml")
    tables: dict[str, Any] = {}
    for stage in recipe.stages:
        if "clip_id" in stage.writes.schema.names and stage.writes.name != "samples":
            rows = dataset.scan(stage.writes).to_table(filter=pc.field("clip_id") == clip_id).to_pylist()
            if rows:
                tables[stage.writes.name] = [
                    {k: v for k, v in r.items() if k not in ("clip_id", "source_id")} for r in rows
                ]
    return {"ledger": matches[0], "tables": tables}

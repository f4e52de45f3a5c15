"""`curate plan`: what a run will take, before it is started."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from curate import recipe as recipes
from curate.commands import JsonOption, logs, plain_errors
from curate.commands.placed import placed
from curate.dataset import Dataset
from curate.forecast import Forecast, Range, forecast, write
from curate.place import Place
from curate.progress import Reporter


@placed
def plan(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name or a YAML file.")],
    inputs: Annotated[list[str], typer.Option("-i", "--input", help="As of `curate run`; may be repeated.")],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="The dataset to be: the run there then says how wrong the forecast was."),
    ] = None,
    count: Annotated[
        int, typer.Option("--sample", min=1, help="Sources to run, whole, into a folder that is thrown away.")
    ] = 8,
    price: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="Of all workers together, in any currency.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="stage.parameter=value over the recipe.")] = None,
    json_output: JsonOption = False,
    *,
    place: Place,
) -> None:
    """Forecast time, disk and cost of a run from a sample of its sources."""
    with plain_errors():
        read = recipes.load(recipe, overrides or [])
        with Reporter(logs(), quiet=json_output) as reporter:
            made = forecast(read, inputs, count, reporter, place, price)
        if output:
            write(Dataset(output), made)
    if json_output:
        typer.echo(json.dumps(asdict(made)))
    else:
        _show(Console(), made)


def _show(console: Console, made: Forecast) -> None:
    console.print(
        f"{made.sampled} of {made.sources} sources run ({made.sampled_bytes / 1e9:.3g} of {made.bytes / 1e9:.3g} GB)",
        highlight=False,
    )
    table = Table("", "forecast", "nine times in ten")
    rows: list[tuple[str, Range, str]] = [
        ("video", made.video_h, "h"),
        ("kept", made.kept_h, "h"),
        ("work", made.worker_h, "worker h"),
        (f"time, {made.threads} at once", made.wall_h, "h"),
        ("disk", made.disk_gb, "GB"),
    ]
    rows += [("cost", made.cost, "")] if made.cost else []
    for name, (value, low, high), unit in rows:
        table.add_row(name, f"{value:.3g} {unit}", f"{low:.3g} to {high:.3g}")
    console.print(table)
    dearest = sorted(made.by_stage_h.items(), key=lambda item: -item[1])[:5]
    told = ", ".join(f"{stage} {hours / max(1e-9, sum(made.by_stage_h.values())):.0%}" for stage, hours in dearest)
    console.print(f"dearest stages: {told}", highlight=False)

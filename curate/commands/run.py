"""`curate run`: the main job."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from curate import recipe as recipes
from curate.commands import FAILED, WRONG_USE, JsonOption, funnel_table, logs, plain_errors, stop
from curate.commands.placed import placed
from curate.dataset import Dataset
from curate.forecast import verdict
from curate.place import Place
from curate.progress import Reporter
from curate.run import Summary
from curate.run import run as run_job
from schemas import sources


@placed
def run(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name (see `curate recipes`) or a YAML file.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The dataset directory; made if it is not there.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--input",
            help="A file, a folder, a glob, or a CSV/Parquet list with a column `path`; may be repeated. "
            "Left out: the sources that the dataset has already.",
        ),
    ] = None,
    more_inputs: Annotated[list[str] | None, typer.Argument(help="More inputs.", metavar="[PATH]...")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="stage.parameter=value over the recipe; may be repeated.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any source or clip failed.")] = False,
    json_output: JsonOption = False,
    *,
    place: Place,
) -> None:
    """Make or bring up to date a dataset: what is there is not done again, and a killed run is completed."""
    console = logs()
    with plain_errors():
        plan = recipes.load(recipe, overrides or [])
        given = [*(inputs or []), *(more_inputs or [])]
        if not given and not Dataset(output).keys(sources.SOURCES.name):
            stop(f"{output} has no sources yet; name some with -i", WRONG_USE)
        with Reporter(console, quiet=json_output) as reporter:
            summary = run_job(plan, given, output, reporter, place, retry_failed)
        off = verdict(Dataset(output), plan)
    if not sum(summary.states["source"].values()):
        stop(
            f"no video was found in {', '.join(given)}; {summary.passed_over} files of other kinds were passed over",
            WRONG_USE,
        )
    if json_output:
        typer.echo(json.dumps({**asdict(summary), "failed": summary.failed, "dataset": output, "forecast": off}))
    else:
        show(console, summary, output)
        if off:
            console.print(f"Forecast: {_judged(off)}", highlight=False)
    if strict and summary.failed:
        raise typer.Exit(FAILED)


def _judged(off: dict[str, Any]) -> str:
    """How wrong a forecast was, in words."""
    units = {"wall_h": "h", "worker_h": "worker h", "disk_gb": "GB", "kept_h": "h kept"}
    told = []
    for name, found in off.items():
        share = "" if found["off"] is None else f" ({found['off']:+.0%})"
        told.append(f"{found['forecast'][0]:.3g} {units[name]}, was {found['real']:.3g}{share}")
    return "; ".join(told)


def show(console: Console, summary: Summary, output: str) -> None:
    """The summary that a person reads after a run."""
    if not summary.tasks:
        console.print("Nothing to do: everything is there already.", highlight=False)
    console.print(funnel_table(summary.funnel))
    for kind, by_state in summary.states.items():
        parts = ", ".join(f"{count} {state}" for state, count in by_state.items())
        console.print(f"{kind}s: {parts}", highlight=False)
    if summary.passed_over:
        console.print(f"{summary.passed_over} files of other kinds were passed over", highlight=False)
    if summary.seconds:
        slowest, seconds = max(summary.seconds.items(), key=lambda item: item[1])
        console.print(
            f"{summary.tasks} tasks in {summary.wall_s:.1f} s; slowest stage: {slowest} "
            f"({seconds:.1f} of {sum(summary.seconds.values()):.1f} worker seconds)",
            highlight=False,
        )
    if summary.failed:
        console.print(f"{summary.failed} failed; see them with: curate status {output}", highlight=False, markup=False)
    console.print(f"Look at it: curate report {output}", highlight=False, markup=False)

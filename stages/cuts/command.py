"""`curate cuts VIDEO`: the cuts and takes of one file, without a dataset."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from curate.commands import JsonOption, plain_errors
from curate.commands.single import analysed
from curate.sandbox import Tables
from curate.single import Single
from stages.takes import COUNTED

RECIPE = "{name: cuts, stages: {signals: {}, cuts: {}, takes: {}}}"


def cuts(
    video: Annotated[str, typer.Argument(help="A video file, local or remote.")],
    detector: Annotated[
        str, typer.Option(help="cascade, transnetv2, adaptive or content, as `cuts.detector` in a recipe.")
    ] = "cascade",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="cuts.parameter=value or takes.parameter=value; may be repeated.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show where the shots of one video end, by what transition, and which takes lie between them."""
    with plain_errors():
        given = [f"cuts.detector={detector}", *(overrides or [])]
        found = summary(*analysed(video, RECIPE, given, "looking for cuts", json_output))
    if json_output:
        typer.echo(json.dumps(found))
    else:
        show(Console(), found)


def summary(single: Single, tables: Tables) -> dict[str, Any]:
    """What is printed as JSON: the boundaries in frames, the same with kinds and times, and the takes."""
    rows = tables["boundaries"].drop_columns(["source_id"]).to_pylist()
    (end,) = (row for row in rows if row["kind"] == "end")
    accepted = [row for row in rows if row["accepted"] and row["kind"] != "end"]
    return {
        "fps": single.source["fps"],
        "frames": single.decode["frames"],
        "boundaries": [[row["start_frame"], row["end_frame"]] for row in accepted],
        "detectors": end["detector"],
        "transitions": accepted,
        "doubts": [row for row in rows if not row["accepted"]],
        "takes": tables["clips"].drop_columns(["source_id", "clip_id", "detectors"]).to_pylist(),
        "decode_errors": single.decode["decode_errors"],
        "stopped_early": single.decode["stopped_early"],
    }


def show(console: Console, found: dict[str, Any]) -> None:
    """The same for a person."""
    table = Table("frames", "seconds", "transition", "probability")
    for row in found["transitions"]:
        hard = row["start_frame"] == row["end_frame"]
        frames = str(row["start_frame"]) if hard else f"{row['start_frame']}–{row['end_frame'] - 1}"
        seconds = f"{row['start_s']:.2f}" if hard else f"{row['start_s']:.2f}–{row['end_s']:.2f}"
        likely = "" if row["probability"] is None else f"{row['probability']:.3f}"
        table.add_row(frames, seconds, row["kind"], likely)
    console.print(table)
    table = Table("take", "seconds", "length", "confidence", "doubt", "scan")
    for take in found["takes"]:
        counts = take["doubt"] >= COUNTED
        doubt = f"{take['doubt_kind']} at {take['doubt_s']:.2f} s: {take['doubt']:.2f}" if counts else ""
        table.add_row(
            f"{take['start_frame']}–{take['end_frame'] - 1}",
            f"{take['start_s']:.2f}–{take['end_s']:.2f}",
            f"{take['duration_s']:.2f}" + (" long" if take["long_enough"] else ""),
            f"{take['confidence']:.3f}",
            doubt,
            take["scan"] or "",
        )
    console.print(table)
    console.print(f"{found['frames']} frames; looked: {found['detectors']}", highlight=False)
    if found["decode_errors"] or found["stopped_early"]:
        trouble = f"; reading stopped early: {found['stopped_early']}" if found["stopped_early"] else ""
        console.print(f"{found['decode_errors']} packets could not be decoded{trouble}", highlight=False, markup=False)

"""`curate speech VIDEO`: who speaks when in one file, and what, without a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands import JsonOption, plain_errors
from curate.commands.single import analysed
from curate.stage import Row
from curate.terminal import legible
from stages.speech.formats import rttm, vtt, who

RECIPE = "{name: speech, stages: {speech: {}}}"


def speech(
    video: Annotated[str, typer.Argument(help="A file with sound, local or remote.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="speech.parameter=value, such as speech.transcriber=none; may be repeated."),
    ] = None,
    rttm_file: Annotated[Path | None, typer.Option("--rttm", help="Write the turns to this file as RTTM.")] = None,
    vtt_file: Annotated[Path | None, typer.Option("--vtt", help="Write the lines to this file as WebVTT.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Show who speaks when in one file, and what is said."""
    with plain_errors():
        _, tables = analysed(video, RECIPE, overrides or [], "listening", json_output, sound_only=True)
        rows = tables["speech"].drop_columns(["source_id"]).to_pylist()
        for place, text in ((rttm_file, rttm(rows, Path(video).stem)), (vtt_file, vtt(rows))):
            if place:
                place.write_text(text, encoding="utf-8")
    found = summary(rows)
    if json_output:
        typer.echo(json.dumps(found))
    else:
        show(Console(), found)


def summary(rows: list[Row]) -> dict[str, Any]:
    """What is printed as JSON: the lines, and for each voice how long it speaks."""
    lines = [row for row in rows if row["kind"] != "none"]
    spoken: dict[str, float] = {}
    for row in lines:
        if row["kind"] == "speech":
            spoken[who(row)] = spoken.get(who(row), 0.0) + row["end_s"] - row["start_s"]
    return {
        "speakers": spoken,
        "lines": lines,
        "why_none": next((row["unmeasured"] for row in rows if row["kind"] == "none"), None),
        "trouble": rows[0]["trouble"] if rows else None,
    }


def show(console: Console, found: dict[str, Any]) -> None:
    """The same for a person."""
    if found["lines"]:
        table = Table("seconds", "speaker", "overlap", "text", "from")
        for row in found["lines"]:
            overlap = f"{row['overlap_s']:.1f} s" if row["overlap_s"] and row["overlap_s"] >= 0.05 else ""
            origin = f"{row['origin']}{', weak' if row['weak'] else ''}"
            speaker = who(row) if row["kind"] == "speech" else f"({row['kind']})"
            seconds = f"{row['start_s']:.2f}–{row['end_s']:.2f}"
            table.add_row(seconds, Text(legible(speaker)), overlap, Text(legible(row["text"] or "")), origin)
        console.print(table)
        for name, seconds in found["speakers"].items():
            console.print(f"{legible(name)}: {seconds:.1f} s", highlight=False, markup=False)
    if found["why_none"]:
        console.print(f"No speech: {legible(found['why_none'])}", highlight=False, markup=False)
    if found["trouble"]:
        console.print(f"Note: {legible(found['trouble'])}", highlight=False, markup=False)

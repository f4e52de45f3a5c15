"""`curate faces VIDEO`: who is seen in one file, and when, without a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands import WRONG_USE, JsonOption, plain_errors, stop
from curate.commands.single import analysed
from curate.sandbox import Tables
from curate.single import Single
from curate.terminal import legible
from stages.cover import Cover
from stages.faces import sheet as sheets
from stages.faces.members import CastError, members

RECIPE = """
name: faces
stages: {signals: {}, cuts: {}, takes: {}, stills: {fps: 2}, face_tracks: {}, people: {}, faces: {}}
"""
"""Two stills a second: a face that is seen for a second is seen twice, and followed where it moves."""
SHEETS = (".jpg", ".jpeg", ".png")

CastOption = Annotated[
    str | None,
    typer.Option(
        help="Folder with photos, NAME.jpg or NAME/*.jpg, or a table with name, photo, …; nobody is named without."
    ),
]


def refuse_wrong(cast: str | None) -> None:
    """End with a message where a cast cannot be read, before a film is."""
    if cast is not None:
        try:
            members(cast)
        except CastError as error:
            stop(str(error), WRONG_USE)


def faces(
    video: Annotated[str, typer.Argument(help="A video file, local or remote.")],
    cast: CastOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a picture with a row of faces for each person, .jpg or .png.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="stage.parameter=value, as people.same=0.4; may be repeated.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show who is seen in one video: people, how long and in which takes, and with a cast their names."""
    if sheet is not None and sheet.suffix.lower() not in SHEETS:
        stop(f"{sheet}: a sheet is a .jpg or a .png", WRONG_USE)
    refuse_wrong(cast)
    with plain_errors():
        given = [f"people.cast={json.dumps(cast)}"] if cast is not None else []
        single, tables = analysed(video, RECIPE, [*given, *(overrides or [])], "looking for faces", json_output)
        found = summary(single, tables)
        if sheet is not None:
            sheets.write(sheet, tables["people"].to_pylist(), tables["face_tracks"].to_pylist())
    if json_output:
        typer.echo(json.dumps(found))
    else:
        show(Console(), found)


def summary(single: Single, tables: Tables) -> dict[str, Any]:
    """What is printed as JSON: the people with the evidence for each, and the tracks; no pictures, no embeddings."""
    tracks = tables["faces"].drop_columns(["source_id"]).to_pylist()
    return {
        "duration_s": single.source["duration_s"],
        "stills": tables["stills"].num_rows,
        "people": tables["people"].drop_columns(["source_id", "portrait", "candidates"]).to_pylist(),
        "tracks": tracks,
        "takes": tables["clips"].select(["clip_id", "start_s", "end_s"]).to_pylist(),
        "stopped_early": single.decode["stopped_early"],
    }


def show(console: Console, found: dict[str, Any]) -> None:
    """The same for a person."""
    table = Table("person", "sure", "seen for", "takes", "when", "why no name")
    times = {track["track_id"]: (track["start_s"], track["end_s"]) for track in found["tracks"]}
    for person in found["people"]:
        sure = person["name_confidence"] if person["name"] else None
        table.add_row(
            Text(legible(person["label"])),
            "" if sure is None else f"{sure:.2f}",
            f"{person['screen_s']:.1f} s",
            str(len(person["clips"])),
            ", ".join(f"{start:.1f}–{end:.1f}" for start, end in Cover(times[t] for t in person["tracks"]).spans),
            Text(legible(person["unnamed"] or "")),
        )
    console.print(table)
    nobody = [track for track in found["tracks"] if track["person_id"] is None]
    for track in nobody:
        when = f"{track['start_s']:.1f}–{track['end_s']:.1f} s"
        console.print(
            f"{when}: a face of nobody that can be told ({track['unmeasured']})", highlight=False, markup=False
        )
    if found["stopped_early"]:
        console.print(f"reading stopped early: {found['stopped_early']}", highlight=False, markup=False)

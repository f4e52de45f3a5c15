"""`curate characters VIDEO`: who speaks and who is seen in one file, under what name, without a dataset."""

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
from curate.sandbox import Tables
from curate.single import Single
from curate.terminal import legible
from stages.characters.turns import turns
from stages.faces.command import CastOption, refuse_wrong
from stages.speech.formats import rttm, vtt

RECIPE = """
name: characters
stages:
  signals: {}
  stills: {fps: 2}
  cuts: {}
  takes: {}
  speech: {}
  voices: {}
  pitches: {}
  face_tracks: {}
  people: {}
  faces: {}
  identify: {}
  characters: {}
  dialogue: {}
"""
READS_NAMES = "  lower_thirds: {}\n"
"""Without a cast nobody would be named by what is read."""


def characters(
    video: Annotated[str, typer.Argument(help="A video file, local or remote.")],
    cast: CastOption = None,
    corrections: Annotated[
        str | None, typer.Option(help="YAML file: {film.mp4: {rename: …, merge: …, split: …}}.")
    ] = None,
    read_names: Annotated[
        bool, typer.Option(help="Whether names of the cast are read low in the picture; a fourteenth of real time.")
    ] = True,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="stage.parameter=value, such as speech.transcriber=none; may be repeated."),
    ] = None,
    rttm_file: Annotated[Path | None, typer.Option("--rttm", help="Write the lines to this file as RTTM.")] = None,
    vtt_file: Annotated[Path | None, typer.Option("--vtt", help="Write the lines to this file as WebVTT.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Show who speaks and who is seen in one video: each character's voices, face and time, and who says what."""
    refuse_wrong(cast)
    with plain_errors():
        given = [f"{stage}.cast={json.dumps(cast)}" for stage in ("people", "characters")] if cast is not None else []
        given += [f"characters.corrections={json.dumps(corrections)}"] if corrections is not None else []
        given += overrides or []
        recipe = RECIPE + (READS_NAMES if read_names and cast is not None else "")
        found = summary(*analysed(video, recipe, given, "looking and listening", json_output))
        lines = [row | {"kind": "speech", "speaker": row["label"]} for row in found["lines"]]
        for place, text in ((rttm_file, rttm(lines, Path(video).stem)), (vtt_file, vtt(lines))):
            if place:
                place.write_text(text, encoding="utf-8")
    if json_output:
        typer.echo(json.dumps(found))
    else:
        show(Console(), found)


def summary(single: Single, tables: Tables) -> dict[str, Any]:
    """What is printed as JSON: characters with the evidence for each, turns, lines; no pictures, no embeddings."""
    lines = tables["dialogue"].drop_columns(["source_id"]).to_pylist()
    speech = tables["speech"].to_pylist()
    return {
        "duration_s": single.source["duration_s"],
        "characters": tables["characters"].drop_columns(["source_id"]).to_pylist(),
        "utterances": list(turns(lines)),
        "lines": lines,
        "no_speech": next((row["unmeasured"] for row in speech if row["kind"] == "none"), None),
        "trouble": next((row["trouble"] for row in speech if row["trouble"]), None),
        "stopped_early": single.decode["stopped_early"],
    }


def show(console: Console, found: dict[str, Any]) -> None:
    """The same for a person."""
    table = Table("character", "speaks", "is seen", "seen while speaking", "voices", "face and voice are one's")
    for row in found["characters"]:
        table.add_row(
            Text(legible(row["label"])),
            _seconds(row["speaking_s"]),
            _seconds(row["screen_s"]),
            f"{row['on_screen_s'] / row['speaking_s']:.0%}" if row["speaking_s"] and row["people"] else "",
            ", ".join(map(str, row["voices"])),
            "" if row["confidence"] is None else f"{row['confidence']:.2f}",
        )
    if found["characters"]:
        console.print(table)
        for row in found["characters"]:
            known = [row["description"], row["cast_description"]]
            if row["named_by"]:
                known.insert(0, f"named by {row['named_by']} ({row['name_confidence'] or 0:.2f})")
            told = legible(f"{row['label']}: {'; '.join(filter(None, known))}")
            console.print(told, highlight=False, markup=False)
    else:
        console.print("Nobody can be told apart." if found["utterances"] else "Nobody is seen or heard.")
    said = Table("seconds", "who", "sure", "on screen")
    for turn in found["utterances"]:
        sure = "" if turn["confidence"] is None else f"{turn['confidence']:.2f}"
        when = f"{turn['start']:.1f}–{turn['end']:.1f}"
        who, seen = (
            Text(legible(text)) for text in (turn["character"] or "cannot be told", ", ".join(turn["on_screen"]))
        )
        said.add_row(when, who, sure, seen)
    if found["utterances"]:
        console.print(said)
    for note in ("no_speech", "trouble", "stopped_early"):
        if found[note]:
            console.print(legible(f"{note.replace('_', ' ')}: {found[note]}"), highlight=False, markup=False)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value else ""

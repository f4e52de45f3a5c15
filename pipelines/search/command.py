"""`curate search DATASET "text"`: moments by what their captions say, and where to watch them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from pathlib import PurePosixPath
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.commands import FAILED, WRONG_USE, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.stage import Row
from pipelines.search.moments import Found, Moments, QueryError, SearchError, opened

MOST_SHOWN, BEFORE = 400, 80
"""Letters of a caption on the terminal, and of those the most before the first that match; --json has all."""


class Level(StrEnum):
    clip = "clip"
    shot = "shot"
    event = "event"
    story = "story"


def search(
    dataset: DatasetArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is seen or heard, in your own words.")],
    level: Annotated[Level | None, typer.Option(help="Only captions of this time scale.")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Only in kept takes.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Moments at most.")] = 10,
    json_output: JsonOption = False,
) -> None:
    """Find moments by their captions: by words, and by meaning where the dataset has the captions' vectors."""
    with plain_errors():
        place = existing(dataset)
        try:
            with opened(place, level.value if level else None, kept) as moments:
                found = moments.find(text, limit)
                told = rankings(moments, found)
        except QueryError as error:
            stop(str(error), WRONG_USE)
        except SearchError as error:
            stop(str(error), FAILED)
        if json_output:
            rows = [_plain(moment) for moment in found.moments]
            typer.echo(json.dumps({"query": text, "captions": moments.captions, "rankings": told, "moments": rows}))
            return
        _show(Console(), found.moments, told, moments.captions)


def rankings(moments: Moments, found: Found) -> list[dict[str, Any]]:
    """How it was ranked, and why not otherwise."""
    model = moments.model if found.by_meaning is None else None
    return [
        {"by": "words", "how": "BM25F", "captions": moments.captions, "missing": found.by_words},
        {"by": "meaning", "how": model, "captions": moments.vectors if model else 0, "missing": found.by_meaning},
    ]


def _plain(moment: Row) -> dict[str, Any]:
    matched = [piece["text"] for piece in moment["pieces"] if piece["matches"]]
    return {name: value for name, value in moment.items() if name != "pieces"} | {"matched": matched}


def _show(console: Console, found: Sequence[Row], told: Sequence[dict[str, Any]], captions: int) -> None:
    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    ran = [one for one in told if one["missing"] is None]
    by = " and ".join(f"by {one['by']} ({one['how']}, {one['captions']} captions)" for one in ran)
    if found:
        table = Table("", "score", "source", "from - to", "level", "caption")
        for number, moment in enumerate(found, 1):
            name = PurePosixPath(moment["source"] or "").name
            span = f"{clock(moment['start_s'])} - {clock(moment['end_s'])}"
            table.add_row(
                str(number), f"{moment['score']:.3f}", Text(printable(name)), span, moment["level"], _marked(moment)
            )
        console.print(table)
        for number, moment in enumerate(found, 1):
            watch = moment["watch"]
            say(f"{number:>3}  {printable(watch['path'] or 'its source is not listed')} at {clock(watch['start_s'])}")
    else:
        say(f"No caption of {captions} has any of these words.")
    say(f"Ranked {by}{'; a score of 1 is first in each' if len(ran) == 2 else ''}.")
    for one in told:
        if one["missing"]:
            say(f"Not by {one['by']}: {printable(one['missing'])}.")


def _marked(moment: Row) -> Text:
    """The caption, or its part about the first match, with the matching words set off."""
    pieces, text = moment["pieces"], Text()
    first = next((n for n, piece in enumerate(pieces) if piece["matches"]), 0)
    length = sum(len(piece["text"]) for piece in pieces)
    begin = first
    while begin and (length <= MOST_SHOWN or sum(len(p["text"]) for p in pieces[begin:first]) < BEFORE):
        begin -= 1
    text.append("… " if begin else "")
    for matches, run in groupby(pieces[begin:], lambda piece: piece["matches"]):
        text.append(printable("".join(piece["text"] for piece in run)), "bold reverse" if matches else "")
    if len(text) > MOST_SHOWN:
        text.truncate(MOST_SHOWN, overflow="ellipsis")
    return text


def printable(text: str) -> str:
    """A text in which no control character can draw on the terminal."""
    return "".join(c if c.isprintable() else " " for c in text.encode(errors="replace").decode())


def clock(seconds: float) -> str:
    """h:mm:ss, cut to whole seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"

"""Who is who, measured on films whose maker says who speaks when (`bench/make_dialogue.py` of the footage).

With the whole cast, and with each name left out of it in turn:

- DER and JER (pyannote.metrics; no collar, overlap scored) of lines by character, whatever it is called;
- B-cubed precision and recall (Bagga and Baldwin, 1998) of the film's lines, each by who is said to speak most of it;
- accuracy: of the lines, and of their seconds, how many have the right name. In the cast: of those whose speaker is in
  it. Unknown: of those whose speaker was left out, how many have no name; a name there is a false one.

Then which people of all films are one, without a cast: B-cubed of `identities`. Last, what the sides cost on one core,
decode not included, as multiples of real time.

    python tests/benchmarks/characters.py dialogue.mp4 [FILM.mp4 …]
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ["OMP_NUM_THREADS"] = "1"

import pyarrow as pa
import pyarrow.dataset as ds
import torch
import typer
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate
from rich.console import Console
from rich.table import Table

from curate.dataset import to_arrow
from curate.single import Single
from curate.stage import RowStage
from curate.workspace import open_workspace
from stages.characters.pitches import Pitches
from stages.characters.stage import Characters, Dialogue
from stages.characters.thirds import LowerThirds
from stages.characters.turns import turns
from stages.cuts.signals import Signals
from stages.cuts.stage import Cuts
from stages.faces.identities import Identities
from stages.faces.members import Member, members
from stages.faces.people import People
from stages.faces.seen import Faces
from stages.faces.stage import FaceTracks
from stages.speech.stage import Speech
from stages.speech.voices import Voices
from stages.stills import Stills
from stages.takes import Takes
from tests.benchmarks.faces import b_cubed, shots, true_name

Tables = dict[str, pa.Table]
SIDES: dict[str, tuple[RowStage, ...]] = {
    "sound": (Speech(transcriber="none"), Voices(), Pitches()),
    "faces": (FaceTracks(), People(), Faces()),
    "names on screen": (LowerThirds(),),
    "joining": (Characters(), Dialogue()),
}


@dataclass(frozen=True)
class Film:
    """A film, its tables without a cast, its lines {start, end, character} and who is in its cast."""

    name: str
    tables: Tables
    lines: list[dict[str, Any]]
    cast: list[Member]
    duration_s: float
    shots: list[tuple[float, float, list[str]]]


def run(stage: RowStage, tables: Tables) -> pa.Table:
    with open_workspace("memory://characters") as work:
        inputs = {n: tables[n].select(list(c)) if c else tables[n] for n, c in stage.inputs(tables).items()}
        return to_arrow(stage.writes, list(stage.run(inputs, work)))  # type: ignore[arg-type]


def watched(path: Path, clock: dict[str, float]) -> Film:
    with Single(str(path)) as single:
        tables = single.run([Signals(), Stills(fps=2)], [Cuts(), Takes()])
        duration_s = single.source["duration_s"]
        tables["sources"] = to_arrow_with_path(tables["sources"], path)
        for side, stages in SIDES.items():
            began = time.process_time()
            for stage in stages:
                tables[stage.writes.name] = run(stage, tables)
            clock[side] += time.process_time() - began
    truth = json.loads(path.with_suffix(".json").read_text())
    film = list(shots(truth, duration_s))
    return Film(path.stem, tables, truth["utterances"], members(path.with_suffix(".cast")), duration_s, film)


def to_arrow_with_path(sources: pa.Table, path: Path) -> pa.Table:
    """The source by the file itself, which stands after the process that fetched it is closed."""
    number = sources.schema.get_field_index("path")
    return sources.set_column(number, sources.schema.field(number), pa.array([str(path)]))


def told(film: Film, without: str | None) -> list[dict[str, Any]]:
    """Turns {start, end, character} with the cast but one."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {"name": member.name, "photo": [photo.name for photo in member.photos]}
            for member in film.cast
            if member.name != without
        ]
        for member in film.cast:
            for photo in member.photos:
                (Path(folder) / photo.name).write_bytes(photo.read_bytes())
        table = Path(folder) / "cast.json"
        table.write_text(json.dumps(rows))
        tables = film.tables | {"people": run(People(cast=str(table)), film.tables)}
        tables |= {"faces": run(Faces(), tables)}
        tables |= {"characters": run(Characters(cast=str(table)), tables)}
    return list(turns(run(Dialogue(), tables).to_pylist()))


def most(line: dict[str, Any], found: Sequence[dict[str, Any]]) -> str:
    """Who is said to speak most of a line; `` where nobody is."""
    seconds: dict[str, float] = {}
    for turn in found:
        both = min(turn["end"], line["end"]) - max(turn["start"], line["start"])
        if both > 0:
            seconds[turn["character"] or ""] = seconds.get(turn["character"] or "", 0.0) + both
    return max(seconds, key=lambda who: seconds[who], default="")


def right_s(line: dict[str, Any], found: Sequence[dict[str, Any]], names: set[str]) -> float:
    """Seconds of a line that have the right name; of somebody who is not among the names, that have none of these."""
    total = 0.0
    for turn in found:
        both = max(0.0, min(turn["end"], line["end"]) - max(turn["start"], line["start"]))
        right = turn["character"] == line["character"] if line["character"] in names else turn["character"] not in names
        total += both * right
    return min(total, line["end"] - line["start"])


def annotation(found: Sequence[dict[str, Any]]) -> Annotation:
    made = Annotation()
    for n, turn in enumerate(found):
        if turn["character"]:
            made[Segment(turn["start"], turn["end"]), n] = turn["character"]
    return made


class Scores:
    """Counts over films: lines and seconds that are right, of all, by whether their speaker is in the cast."""

    def __init__(self) -> None:
        self.der, self.jer = DiarizationErrorRate(), JaccardErrorRate()
        self.lines: dict[bool, list[float]] = {True: [], False: []}
        self.seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        self.found: list[str] = []
        self.true: list[str] = []

    def add(self, film: Film, without: str | None) -> None:
        found = told(film, without)
        names = {member.name for member in film.cast} - {without}
        whole = Timeline([Segment(0, film.duration_s)])
        known = annotation(film.lines)
        self.der(known, annotation(found), uem=whole)
        self.jer(known, annotation(found), uem=whole)
        for n, line in enumerate(film.lines):
            who, inside = most(line, found), line["character"] in names
            self.lines[inside].append(who == line["character"] if inside else who not in names)
            self.seconds[inside].append((right_s(line, found, names), line["end"] - line["start"]))
            case = f"{film.name} {without}"
            self.found.append(f"{case} {who or f'nobody {n}'}")
            self.true.append(f"{case} {line['character']}")

    def row(self) -> Iterator[str]:
        precision, recall, _ = b_cubed(self.found, self.true)
        yield from (f"{value:.3f}" for value in (abs(self.der), abs(self.jer), precision, recall))
        for inside in (True, False):
            lines, seconds = self.lines[inside], self.seconds[inside]
            if not lines:
                yield from ("", "")
                continue
            yield f"{sum(lines) / len(lines):.3f} of {len(lines)}"
            yield f"{sum(right for right, _ in seconds) / sum(total for _, total in seconds):.3f}"


def identities(films: Sequence[Film]) -> tuple[float, float, float]:
    """B-cubed of the people of all films into identities, by who their tracks show most."""
    inputs = {}
    for name in ("people", "face_tracks", "characters", "voices"):
        inputs[name] = ds.dataset(pa.concat_tables([film.tables[name] for film in films]))
    with open_workspace("memory://identities") as work:
        rows = pa.concat_tables(list(Identities().run(inputs, work))).to_pylist()
    true = {}
    for film in films:
        tracks = {track["track_id"]: track for track in film.tables["face_tracks"].to_pylist()}
        for person in film.tables["people"].to_pylist():
            names = [true_name(tracks[track], film.shots) for track in person["tracks"]]
            true[person["person_id"]] = max(set(names), key=names.count)
    return b_cubed([row["identity_id"] for row in rows], [true[row["person_id"]] for row in rows])


def main(
    films: Annotated[list[Path], typer.Argument(help="FILM.mp4 with FILM.json and FILM.cast beside it.")],
) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    watched(films[0], dict.fromkeys(SIDES, 0.0))  # load the networks
    clock = dict.fromkeys(SIDES, 0.0)
    seen = [watched(path, clock) for path in films]
    head = ("film", "cast", "DER", "JER", "B³ P", "B³ R", "lines in cast", "seconds", "lines unknown", "seconds")
    table = Table(*head)
    all_in, all_out = Scores(), Scores()
    for film in seen:
        whole, less = Scores(), Scores()
        for scores in (whole, all_in):
            scores.add(film, None)
        for member in film.cast:
            for scores in (less, all_out):
                scores.add(film, member.name)
        table.add_row(film.name, "whole", *whole.row())
        table.add_row(film.name, "less one", *less.row())
    table.add_row("all", "whole", *all_in.row())
    table.add_row("all", "less one", *all_out.row())
    console = Console(width=150)
    console.print(table)
    precision, recall, f1 = identities(seen)
    console.print(f"identities over the films, no cast: B³ P {precision:.3f}, R {recall:.3f}, F1 {f1:.3f}")
    total_s = sum(film.duration_s for film in seen)
    for side, took_s in clock.items():
        console.print(f"{side}: {total_s / took_s:.1f} times real time on one core")


if __name__ == "__main__":
    typer.run(main)

"""Who is seen, measured on films whose maker says who is on screen (`bench/make_dialogue.py` of the footage).

Without a cast: B-cubed precision, recall and F1 (Bagga and Baldwin, 1998) of tracks into people, a track of nobody
being alone. With it: of all (person, instant) on screen how many have the right name (recall), of all named how many
are right (precision). Then each name is taken out of the cast in turn, and what its face is called then is counted:
right is `unknown`. Last, what the stage costs on one core, decode not included: CPU seconds of FaceTracks and People.

    python tests/benchmarks/faces.py dialogue.mp4 [FILM.mp4 …]
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from curate.dataset import to_arrow
from curate.single import Single
from schemas import faces
from stages.cuts.signals import Signals
from stages.cuts.stage import Cuts
from stages.faces.people import People
from stages.faces.seen import Faces
from stages.faces.stage import FaceTracks
from stages.stills import Stills
from stages.takes import Takes

STEP_S = 0.1
Rows = list[dict[str, Any]]


class Desk:
    """A workspace that nobody looks at."""

    def progress(self, video_s: float) -> None:
        pass


def shots(truth: Mapping[str, Any], duration_s: float) -> Iterator[tuple[float, float, list[str]]]:
    """(start, end, on screen) of each shot: it lasts until the next line begins."""
    lines = truth["utterances"]
    starts = [0.0, *(line["start"] for line in lines[1:]), duration_s]
    yield from ((starts[n], starts[n + 1], line["on_screen"]) for n, line in enumerate(lines))


def true_name(track: Mapping[str, Any], film: Sequence[tuple[float, float, list[str]]]) -> str:
    """Who a track shows: of two side by side the first is on the left."""
    middle = (track["times_s"][0] + track["times_s"][-1]) / 2
    _, _, on_screen = next(shot for shot in film if shot[0] <= middle < shot[1])
    x = np.mean([(box[0] + box[2]) / 2 for box in track["boxes"]])
    return on_screen[0] if len(on_screen) == 1 or x < 0.5 else on_screen[1]


def b_cubed(found: Sequence[str], true: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of labels against labels."""
    same_found = np.equal.outer(np.array(found), np.array(found))
    same_true = np.equal.outer(np.array(true), np.array(true))
    both = (same_found & same_true).sum(1)
    precision, recall = float((both / same_found.sum(1)).mean()), float((both / same_true.sum(1)).mean())
    return precision, recall, 2 * precision * recall / (precision + recall)


def told(tracks: pa.Table, cast: Path | None) -> Rows:
    """Rows of `faces`."""
    people = list(People(cast=None if cast is None else str(cast)).run({"face_tracks": tracks}, Desk()))
    tables = {"face_tracks": tracks, "people": to_arrow(faces.PEOPLE, people)}
    return to_arrow(faces.FACES, list(Faces().run(tables, Desk()))).to_pylist()


def instants(rows: Rows, film: Sequence[tuple[float, float, list[str]]]) -> tuple[int, int, int]:
    """(person, instant) pairs that are named right, that are true, and that are named."""
    right = true = named = 0
    for start, end, on_screen in film:
        for t_s in np.arange(start, end, STEP_S):
            there = {row["name"] for row in rows if row["name"] and row["start_s"] <= t_s < row["end_s"]}
            right, true, named = right + len(there & set(on_screen)), true + len(on_screen), named + len(there)
    return right, true, named


def left_out(tracks: pa.Table, cast: Path, film: Sequence[tuple[float, float, list[str]]]) -> tuple[int, int]:
    """Tracks of those who were taken out of the cast: how many are unknown then, and how many there are."""
    unknown = total = 0
    for photo in sorted(cast.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            others = Path(shutil.copytree(cast, Path(folder) / "cast"))
            (others / photo.name).unlink()
            for row in told(tracks, others):
                if row["unmeasured"] is None and true_name(row, film) == photo.stem:
                    total, unknown = total + 1, unknown + (row["name"] is None)
    return unknown, total


def main(
    films: Annotated[list[Path], typer.Argument(help="FILM.mp4 with FILM.json and FILM.cast beside it.")],
) -> None:
    table = Table(
        "film", "tracks", "nobody", "people", "B³ P", "R", "F1", "names P", "R", "left out", "times real time"
    )
    for path in films:
        with Single(str(path)) as single:
            tables = single.run([Signals(), Stills(fps=2)], [Cuts(), Takes()])
            duration_s = single.source["duration_s"]
        film = list(shots(json.loads(path.with_suffix(".json").read_text()), duration_s))
        list(FaceTracks().run({name: part.slice(0, 3) for name, part in tables.items()}, Desk()))  # load the networks
        began = time.process_time()
        tracks = to_arrow(faces.TRACKS, list(FaceTracks().run(tables, Desk())))
        rows = told(tracks, None)
        took_s = time.process_time() - began
        seen = [row for row in rows if row["unmeasured"] is None]
        labels = [row["person_id"] or row["track_id"] for row in rows]
        scores = b_cubed(labels, [true_name(row, film) for row in rows])
        right, true, named = instants(told(tracks, path.with_suffix(".cast")), film)
        out, of = left_out(tracks, path.with_suffix(".cast"), film)
        table.add_row(
            path.name,
            str(len(rows)),
            str(len(rows) - len(seen)),
            str(len({row["person_id"] for row in seen})),
            *(f"{score:.3f}" for score in scores),
            f"{right / max(1, named):.3f}",
            f"{right / true:.3f}",
            f"{out} of {of}",
            f"{duration_s / took_s:.1f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)

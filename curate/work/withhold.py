"""What a task may not commit: the rows of purged spans, and whatever would say who a purged person is.

Here people are recognised by the cast before they are withheld, so that a take of a new source which shows or lets hear
somebody who was taken out is found, and taken out as well (unless takes were to be kept).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.dataset import Dataset, to_arrow
from curate.sandbox import Tables
from curate.stage import Row
from curate.tombstones import PERSON, Tombstone, Tombstones, bury, stripped
from schemas import Table, characters, faces, speech

Span = tuple[float, float]


def withheld(
    dataset: Dataset,
    tombstones: Tombstones,
    table: Table,
    rows: pa.Table,
    source_id: str,
    inputs: Mapping[str, Any],
    made: Tables,
) -> pa.Table:
    """The rows of a source that may be committed.

    Args:
        inputs: where the stage's input rows are, by table.
        made: tables that this task has made already; face tracks that turn out to be a purged person's are stripped.
    """
    rows = tombstones.outside(table, rows, source_id)
    if not tombstones.persons:
        return rows
    shown: list[Span] = []
    if table.name == faces.PEOPLE.name:
        rows, shown = _people(dataset, tombstones, rows, inputs, made)
    elif table.name == speech.TABLE.name:
        shown = list(_spans(rows, _fatal(tombstones, rows["speaker"].to_pylist())))
    elif table.name == characters.DIALOGUE.name:
        shown = list(_spans(rows, [label == PERSON for label in rows["label"].to_pylist()]))
    if shown:
        owner = tombstones.owner(source_id)
        bury(dataset, tombstones.with_new(Tombstone("span", owner, (), a, b, PERSON) for a, b in shown))
    return tombstones.nameless(rows)


def _fatal(tombstones: Tombstones, names: Iterable[Any]) -> list[bool]:
    """Which names are of people whose takes must go, too."""
    found = [tombstones.person(name) for name in names]
    return [stone is not None and not stone.keep_clips for stone in found]


def _spans(rows: pa.Table, which: Iterable[bool]) -> Iterable[Span]:
    for row, chosen in zip(rows.select(["start_s", "end_s"]).to_pylist(), which, strict=True):
        if chosen:
            yield row["start_s"], row["end_s"]


def _people(
    dataset: Dataset, tombstones: Tombstones, rows: pa.Table, inputs: Mapping[str, Any], made: Tables
) -> tuple[pa.Table, list[Span]]:
    """`people` without the purged: those whose takes stay are not in it; the others stand there without name and face
    until their takes are gone, so that their voices are found. Also the times at which these are seen."""
    listed: list[Row] = rows.to_pylist()
    purged = {row["person_id"]: stone for row in listed if (stone := tombstones.person(row["name"]))}
    if not purged:
        return rows, []
    tracks = {track for row in listed if row["person_id"] in purged for track in row["tracks"]}
    key = inputs[faces.TRACKS.name]["key"]
    whole = dataset.read_part(faces.TRACKS, key)
    strip(dataset, key, tracks)
    if faces.TRACKS.name in made:
        made[faces.TRACKS.name] = stripped(made[faces.TRACKS.name], list(tracks))
    stay = {who for who, stone in purged.items() if stone.keep_clips}
    nobody: Row = {"label": PERSON, "portrait": b"", "unnamed": PERSON}
    nobody |= dict.fromkeys(("name", "name_confidence", "nearest", "distance", "margin"))
    left = [row | (nobody if row["person_id"] in purged else {}) for row in listed if row["person_id"] not in stay]
    seen = {t for row in listed if row["person_id"] in purged.keys() - stay for t in row["tracks"]}
    times = whole.filter(pc.field("track_id").isin(sorted(seen)))
    return to_arrow(faces.PEOPLE, left), list(_spans(times, [True] * times.num_rows))


def strip(dataset: Dataset, key: str, tracks: Collection[str]) -> None:
    """Take embedding and portrait from tracks of a part of `face_tracks` that is in place."""
    rows = stripped(dataset.read_part(faces.TRACKS, key), list(tracks))
    dataset.write_part(faces.TRACKS, key, rows, dataset.provenance(faces.TRACKS.name, key))

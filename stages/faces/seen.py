"""The stage `faces`: each track with its person, to be joined with what is heard, by source and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from curate.stage import Row, RowStage, Workspace
from schemas import Table, faces

_OF_TRACK = tuple(name for name in faces.FACES.schema.names if name in faces.TRACKS.schema.names)
_OF_PERSON = ("person_id", "label", "name", "name_confidence")


class Faces(RowStage):
    """Tracks without the embeddings, which nobody needs to know who is seen. Milliseconds a source."""

    name: ClassVar[str] = "faces"
    writes: ClassVar[Table] = faces.FACES
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "face_tracks": (*_OF_TRACK, "embedding"),
        "people": (*_OF_PERSON, "tracks"),
    }

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        rows = inputs["face_tracks"].to_pylist()
        vectors = {row["track_id"]: np.array(row["embedding"]) for row in rows if row["embedding"] is not None}
        of_track = {track: person for person in inputs["people"].to_pylist() for track in person["tracks"]}
        for row in sorted(rows, key=lambda row: (row["start_s"], row["track_id"])):
            found = {name: row[name] for name in _OF_TRACK}
            if person := of_track.get(row["track_id"]):
                found |= {name: person[name] for name in _OF_PERSON}
                others = [vectors[track] for track in person["tracks"] if track != row["track_id"]]
                if others:
                    away = np.linalg.norm(np.array(others) - vectors[row["track_id"]], axis=1)
                    found["distance"] = float(away.mean())
            yield found

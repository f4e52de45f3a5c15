"""Stills of real footage at 2 a second and their takes, as the decode and `takes` would give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from curate.dataset import to_arrow
from curate.media.probe import probe
from curate.media.sampling import Sampler
from curate.media.video import Decode, Timing
from schemas import clips, faces, stills
from stages.faces.people import People
from stages.faces.seen import Faces
from stages.faces.stage import FaceTracks
from tests.stages.looking import clip, run


def watched(path: Path, spans: Sequence[tuple[float, float]], **parameters: Any) -> pa.Table:
    """`face_tracks` of takes with the given (start, end) in seconds, of which nothing else is decoded."""
    wanted, kept = Sampler(2), []
    for number, frame in enumerate(Decode(str(path), Timing.of(probe(str(path))))):
        if frame.t_s > max(end for _, end in spans):
            break
        if wanted.takes(frame.t_s) and any(start <= frame.t_s < end for start, end in spans):
            jpeg = cv2.imencode(".jpg", frame.picture(640), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            row = {"source_id": "s", "frame": number, "pts": frame.pts, "t_s": frame.t_s, "width": 640, "height": 360}
            kept.append(row | {"jpeg": jpeg})
    takes = [clip(start, end, f"c{n:02d}") for n, (start, end) in enumerate(spans)]
    tables = {"stills": to_arrow(stills.TABLE, kept), "clips": to_arrow(clips.TABLE, takes)}
    return to_arrow(faces.TRACKS, run(FaceTracks(**parameters), tables))


def told(tracks: pa.Table, **parameters: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `people` and of `faces`."""
    people = run(People(**parameters), {"face_tracks": tracks})
    tables = {"face_tracks": tracks, "people": to_arrow(faces.PEOPLE, people)}
    return people, run(Faces(), tables)

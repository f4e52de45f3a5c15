"""The stage `face_tracks`: faces found in stills, followed through each take, and made numbers of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, faces
from stages import looks
from stages.faces import detect, tracks
from stages.faces.detect import Detector
from stages.faces.look import Bounds, Look
from stages.stills import opened

DECIMALS = 4


class FaceTracks(RowStage):
    """Looks for faces in every take, long or short: who is who is told over the whole source.

    About 35 ms a still of 640x360 and 150 to 400 ms a track on one core: a fifth of real time at 2 fps.
    """

    name: ClassVar[str] = "face_tracks"
    writes: ClassVar[Table] = faces.TRACKS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "stills": ("t_s", "jpeg"),
    }

    detector: Detector = "libfacedetection"
    """Who finds faces. On 19 pictures of hamilton.mp4 it found 43, dlib's `mmod` 24 and `hog` 13, at 30, 1100 and 75 ms
    a picture; it sees profiles, and faces of 10 px. `insightface:FOLDER` takes SCRFD and ArcFace of a pack of yours, to
    find and to embed; `people.detector` must then be the same."""
    least_score: float = Field(0.7, ge=0, le=1)
    """The detector's score from which a box counts: of the hands, dials and pancakes of the real takes that it took
    for faces all but two stay below."""
    least_px: float = Field(20.0, ge=8)
    """Side of the smallest face that is followed, px of the still (geometric mean of both)."""
    most_faces: int = Field(16, ge=1)
    """Faces followed in one still, the largest: a crowd costs no more than that."""
    recognised_px: float = Field(24.0, ge=8)
    """Side, px, from which a face is recognised: looks at the dancer of the real takes, whose face has 26 px, lie
    0.27 to 0.46 apart, as those at large faces do."""
    sharpness: float = Field(0.09, ge=0)
    """Sharpness from which it is: the faces out of focus in the background of the real takes have 0.06 to 0.08."""
    frontality: float = Field(0.0, ge=-2)
    """Score of dlib's frontal detectors from which it is; 0 is their own threshold. Where the detector is sure, 0.4
    less will do. Profiles have -2 to -0.5."""
    looks: int = Field(5, ge=1, le=64)
    """Looks of a track that are embedded at most, at 75 ms each: the best in each part of its time."""
    mouth: bool = False
    """Also measure how far the lips are apart. Off, since the points it needs were trained on iBUG 300-W, whose licence
    excludes commercial use."""

    def faults(self, schemas: Mapping[str, pa.Schema]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if missing := detect.fault(self.detector):
            yield ("detector",), missing

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        jpegs = inputs["stills"].column("jpeg")
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        for clip in inputs["clips"].to_pylist():
            pictures = ((float(times[n]), opened(jpegs[n].as_py())) for n in looks.inside(times, clip))
            for number, track in enumerate(self._tracks(self._seen(pictures, work))):
                row: Row = {"source_id": clip["source_id"], "clip_id": clip["clip_id"]}
                row["track_id"] = f"{clip['clip_id']}-{number:03d}"
                yield row | _span(track, clip, step) | self._row(track)
                work.progress(clip["end_s"])

    def _seen(self, pictures: Iterator[tuple[float, np.ndarray]], work: Workspace) -> Iterator[list[Look]]:
        """The looks in each picture, with its time."""
        for t_s, bgr in pictures:
            yield self._looks(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), t_s)
            work.progress(t_s)

    def _looks(self, picture: np.ndarray, t_s: float) -> list[Look]:
        boxes = detect.found(picture, self.detector, self.least_score, self.least_px, self.most_faces)
        found = [Look(picture, box, t_s) for box in boxes]
        if self.mouth:
            for look in found:
                look.measure_mouth(picture)
        return found

    @property
    def _bounds(self) -> Bounds:
        return Bounds(self.recognised_px, self.sharpness, self.frontality)

    def _tracks(self, seen: Iterator[list[Look]]) -> list[tracks.Track]:
        bounds = self._bounds
        return [part for track in tracks.followed(seen, bounds) for part in tracks.parted(track, bounds, self.looks)]

    def _row(self, track: tracks.Track) -> Row:
        best = max(track.chosen or track.looks, key=lambda look: look.quality)
        row: Row = {
            "times_s": [look.t_s for look in track.looks],
            "boxes": [look.area for look in track.looks],
            "scores": [look.box.score for look in track.looks],
            "qualities": [look.quality for look in track.looks],
            "mouth": [look.mouth for look in track.looks] if self.mouth else None,
            "detections": len(track.looks),
            "size_px": float(np.median([look.box.side for look in track.looks])),
            "confidence": max(look.box.score for look in track.looks),
            "quality": best.quality,
            "sharpness": best.sharpness,
            "frontality": best.frontality,
            "looks": len(track.chosen),
            "portrait": best.portrait(),
            "model": detect.name(self.detector),
        }
        if not track.chosen:
            return row | {"unmeasured": self._fault(track)}
        weights = np.array([look.quality for look in track.chosen]) + 1e-6
        mean = np.average([look.embedding for look in track.chosen], axis=0, weights=weights)
        return row | {"embedding": mean.tolist()}

    def _fault(self, track: tracks.Track) -> str:
        """What is wrong with most looks of a track that cannot be recognised, by its best such look's figures."""
        faults = [(self._bounds.fault(look) or "", look.quality) for look in track.looks]
        kind = Counter(fault.split(":")[0] for fault, _ in faults).most_common(1)[0][0]
        return max((pair for pair in faults if pair[0].startswith(kind)), key=lambda pair: pair[1])[0]


def _span(track: tracks.Track, clip: Row, step: float) -> Row:
    """When a face is there: a face in the take's first still was there before it, one in its last still after it."""
    first, last = track.looks[0].t_s, track.looks[-1].t_s
    start = clip["start_s"] if first - clip["start_s"] < step else first
    return {"start_s": round(start, DECIMALS), "end_s": round(min(clip["end_s"], last + step), DECIMALS)}

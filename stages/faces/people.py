"""The stage `people`: which tracks of a source are one person, and what the person is called, if a cast says so.

Decides from what `face_tracks` stored, so another threshold or cast costs seconds. Every merge keeps its evidence and
can be undone by `apart`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from curate.stage import Row, RowStage, Workspace
from schemas import Table, faces
from stages.faces import cast, clusters, members
from stages.faces.cast import Cast
from stages.faces.clusters import Merge
from stages.faces.detect import Detector

SCALE = 0.04
"""Distance over which the odds of a name change by a factor of e: looks at one person vary by about as much."""
NOBODY = 0.55
"""Distance at which a name is as likely as somebody who is not in the cast: between dlib's 0.6, at which pairs of LFW
tell best, and the 0.5 of `cast_distance`."""
REACH, CLEAR = 0.05, 0.15
"""A name may be so much farther than `cast_distance` where the second nearest is so much farther still. In a small cast
that finds faces whose looks are poor; in a large one strangers have no name that stands out so."""
CANDIDATES = 5
"""Names of the cast that are kept with a person, the nearest: the right one is nearest nearly always."""
DECIMALS = 3


@dataclass
class Person:
    """Tracks, by their numbers, with what the cast says of them."""

    tracks: list[int]
    merges: list[Merge] = field(default_factory=list)
    name: str | None = None
    confidence: float | None = None
    nearest: str | None = None
    distance: float | None = None
    margin: float | None = None
    candidates: list[Row] = field(default_factory=list)
    unnamed: str | None = None


class People(RowStage):
    """Clusters tracks by average linkage; two that share a still are never one person. Milliseconds a source."""

    name: ClassVar[str] = "people"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = faces.PEOPLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "face_tracks": (
            *("source_id", "track_id", "clip_id", "start_s", "end_s", "times_s"),
            *("detections", "quality", "embedding", "portrait"),
        ),
    }
    opens_media: ClassVar[bool] = True
    """The cast's photos are decoded."""

    same: float = Field(0.45, ge=0, le=1)
    """Mean distance of two groups' tracks up to which they are one person. dlib's network tells pairs of LFW apart best
    at 0.6; groups must be purer than that, for a mistake here spreads to every line that the person says."""
    cast: str | None = None
    """Folder with photos, `NAME.jpg` or `NAME/*.jpg`, or a table (CSV, JSON, YAML, Parquet) with the columns `name` and
    `photo`; nobody is named without one."""
    cast_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", validate_default=True)
    """Of the photos and names; filled in when the recipe is read, so that another cast names anew."""
    detector: Detector = "libfacedetection"
    """Who finds the faces in the cast's photos, as in `face_tracks`."""
    cast_distance: float = Field(0.5, ge=0, le=1)
    """Mean distance of a person's tracks to a name's nearest photo up to which that is the name: stricter than 0.6,
    since a cast of 200 is 200 chances to be wrong."""
    cast_margin: float = Field(0.05, ge=0, le=1)
    """By how much the second nearest name must be farther; 0.15 for a name that is itself up to 0.05 too far."""
    apart: tuple[tuple[str, str], ...] = ()
    """Pairs of track ids that are not one person, whatever they look like: undoes a merge."""

    @field_validator("cast_sha256")
    @classmethod
    def _digest(cls, given: str | None, info: ValidationInfo) -> str | None:
        folder = info.data.get("cast")
        if folder is None:
            return None
        # Given by a dataset's own recipe, which is read where the photos may not be; `run` checks it.
        return given or members.digest(folder)

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        known = None
        if self.cast and self.cast_sha256:
            known = cast.read(self.cast, self.cast_sha256, self.detector, lambda: work.progress(0.0))
        rows = [row for row in inputs["face_tracks"].to_pylist() if row["embedding"] is not None]
        if not rows:
            return
        people = self.people(rows, known)
        people.sort(key=lambda person: (-_screen_s(rows, person), person.tracks[0]))
        unknown = 0
        for number, person in enumerate(people):
            unknown += person.name is None
            label = person.name or f"unknown {unknown}"
            yield _row(rows, person, f"{rows[0]['source_id'][:16]}-p{number:03d}", label)

    def people(self, rows: Sequence[Row], known: Cast | None) -> list[Person]:
        """Who is who among tracks that have an embedding."""
        embeddings = np.array([row["embedding"] for row in rows], float)
        apart = clusters.distances(embeddings)
        cannot = clusters.sharing([row["times_s"] for row in rows]) | self._told(rows)
        if known is None or not known.names:
            people = _people(*clusters.grouped(apart, cannot, self.same))
            for person in people:
                person.unnamed = "no cast was given" if known is None else "nobody in the cast has a photo"
            return people
        away = np.array([known.apart(embedding) for embedding in embeddings])
        quality = np.array([row["quality"] for row in rows])
        # What the cast tells apart, track by track, is not joined for looking alike.
        sure = np.array([self._sure(distances) for distances in away])
        nearest = away.argmin(1)
        cannot |= (sure[:, None] & sure[None]) & (nearest[:, None] != nearest[None])
        people = _people(*clusters.grouped(apart, cannot, self.same))
        for person in people:
            mean = np.average(away[person.tracks], axis=0, weights=quality[person.tracks] + 1e-6)
            self._name(person, known.names, mean)
            if known.portraits:
                person.candidates = [
                    {"name": known.names[n], "distance": float(mean[n]), "portrait": known.portraits[n]}
                    for n in np.argsort(mean)[:CANDIDATES].tolist()
                ]
        return _joined(people, apart, cannot)

    def _told(self, rows: Sequence[Row]) -> np.ndarray:
        """Pairs that the user has told apart: (n, n) bool."""
        numbers = {row["track_id"]: n for n, row in enumerate(rows)}
        told = np.zeros((len(rows), len(rows)), bool)
        for pair in self.apart:
            a, b = (numbers.get(track) for track in pair)
            if a is not None and b is not None:
                told[a, b] = told[b, a] = True
        return told

    def _sure(self, away: np.ndarray) -> bool:
        """Whether distances (names,) decide for a name."""
        nearest = np.sort(away)
        margins = nearest[1:2] - nearest[0]
        if nearest[0] <= self.cast_distance:
            return bool((margins >= self.cast_margin).all())
        return bool(nearest[0] <= self.cast_distance + REACH and (margins >= CLEAR).any())

    def _name(self, person: Person, names: Sequence[str], away: np.ndarray) -> None:
        """The nearest name by its distances (names,), and why it is or is not given."""
        order = np.argsort(away)
        first = int(order[0])
        person.nearest, person.distance = names[first], float(away[first])
        person.margin = float(away[order[1]] - away[first]) if len(order) > 1 else None
        likely = np.exp(-(away - away[first]) / SCALE)
        person.confidence = float(1 / (likely.sum() + np.exp(-(NOBODY - away[first]) / SCALE)))
        if self._sure(away):
            person.name, person.unnamed = person.nearest, None
        elif person.distance > self.cast_distance:
            person.unnamed = f"not in the cast: {person.distance:.2f} from {person.nearest}, who is nearest"
        else:
            second = names[int(order[1])]
            person.unnamed = f"as near to {second} as to {person.nearest}: {person.margin:.2f} between them"


def _people(groups: Sequence[list[int]], merges: Sequence[Merge]) -> list[Person]:
    return [Person(group, [merge for merge in merges if merge.one[0] in group]) for group in groups]


def _joined(people: Sequence[Person], apart: np.ndarray, cannot: np.ndarray) -> list[Person]:
    """The people, those of one name made one; of two that share a still the one nearer to the name has it."""
    by_name: dict[str, Person] = {}
    found = [person for person in people if person.name is None]
    for person in sorted(people, key=lambda person: person.distance or 0.0):
        if person.name is None:
            continue
        first = by_name.setdefault(person.name, person)
        if first is person:
            found.append(person)
        elif cannot[np.ix_(first.tracks, person.tracks)].any():
            person.unnamed = f"seen beside {person.name}, who is nearer to that name"
            person.name = None
            found.append(person)
        else:
            joint = clusters.merge("one name", apart, first.tracks, person.tracks)
            share = len(person.tracks) / (len(first.tracks) + len(person.tracks))
            first.distance = _mixed(first.distance, person.distance, share)
            first.margin = _mixed(first.margin, person.margin, share)
            first.confidence = _mixed(first.confidence, person.confidence, share)
            first.merges += [*person.merges, joint]
            first.tracks = sorted([*first.tracks, *person.tracks])
    return found


def _mixed(one: float | None, other: float | None, share: float) -> float | None:
    return None if one is None or other is None else one + share * (other - one)


def _screen_s(rows: Sequence[Row], person: Person) -> float:
    return float(sum(rows[n]["end_s"] - rows[n]["start_s"] for n in person.tracks))


def _row(rows: Sequence[Row], person: Person, person_id: str, label: str) -> Row:
    mine = sorted((rows[n] for n in person.tracks), key=lambda row: (row["start_s"], row["track_id"]))
    return {
        "source_id": rows[0]["source_id"],
        "person_id": person_id,
        "label": label,
        "name": person.name,
        "name_confidence": person.confidence,
        "nearest": person.nearest,
        "distance": person.distance,
        "margin": person.margin,
        "candidates": person.candidates or None,
        "screen_s": round(_screen_s(rows, person), DECIMALS),
        "start_s": mine[0]["start_s"],
        "end_s": max(row["end_s"] for row in mine),
        "clips": list(dict.fromkeys(row["clip_id"] for row in mine)),
        "tracks": [row["track_id"] for row in mine],
        "merges": [_evidence(rows, merge) for merge in person.merges],
        "portrait": max(mine, key=lambda row: row["quality"])["portrait"],
        "unnamed": person.unnamed,
    }


def _evidence(rows: Sequence[Row], merge: Merge) -> Row:
    def ids(numbers: Sequence[int]) -> list[str]:
        return [rows[n]["track_id"] for n in numbers]

    a, b = ids(merge.nearest)
    return {
        "why": merge.why,
        "distance": merge.distance,
        "track_a": a,
        "track_b": b,
        "between": merge.between,
        "tracks_a": ids(merge.one),
        "tracks_b": ids(merge.other),
    }

"""The stage `identities`: which people of all sources are one, without a cast, and under what name.

Average linkage over people, as `people` does it over tracks, with a stricter distance: thousands of sources have
millions of pairs. Two groups that become one have a pair of members at their mean distance or nearer, so only people
who are linked by near pairs need be held against each other: the result is that of clustering all at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from curate.stage import Row, TableStage, Workspace
from schemas import Table, faces
from stages.faces import clusters
from stages.faces.by_hand import read_corrections
from stages.faces.clusters import Merge
from stages.faces.people import NOBODY, SCALE
from stages.speech.networks import CAMPPLUS

BLOCK = 2048
"""People held against each other at once: 17 MB of distances."""
LARGEST = 4000
"""People linked by near pairs who are clustered at once, at 130 MB. More are parted by a stricter distance, which loses
merges but makes none."""
STRICTER, LEAST_REACH = 0.9, 0.1
"""By how much, and down to where: nearer than that are copies of one picture."""
VOICES, VOICES_STEP = 0.475, 0.15
"""Cosine distance at which voices neither speak for nor against two people being one (as in `characters`), and from
there to where they say all that they may."""
FOR, AGAINST = 0.05, 0.1
"""By how much voices may bring two faces nearer or apart: they speak rather against than for."""
BATCH = 10_000


class Corrections(BaseModel):
    """What a person says of who is who, by ids of `people`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    apart: tuple[tuple[str, str], ...] = ()
    """Pairs that are never one."""
    together: tuple[tuple[str, str], ...] = ()
    """Pairs that are one, even two of one source or of two names."""


def read(path: str) -> Corrections:
    """The corrections in a YAML file. Raises `ValueError` that says where it is wrong and what it should be."""
    form = "{apart: [[PERSON, PERSON]], together: [[PERSON, PERSON]]}"
    return read_corrections(path, TypeAdapter(Corrections), form)


@dataclass
class People:
    """The people of all sources who can be recognised, in order of their ids."""

    ids: list[str]
    sources: np.ndarray
    """Number of each one's source."""
    source_ids: list[str]
    embeddings: np.ndarray
    """(people, 128) float32."""
    screen_s: np.ndarray
    by_photo: list[str | None]
    """The name that a photo gave: of two names nobody is one, of one name everybody."""
    names: list[tuple[str, float] | None]
    """The name that it has in its source, and how sure that is."""
    voices: dict[int, np.ndarray] = field(default_factory=dict)
    """Unit vector by number of a person."""


class Identities(TableStage):
    """Joins the people of all sources. Seconds for thousands of people, minutes for a hundred thousand."""

    name: ClassVar[str] = "identities"
    writes: ClassVar[Table] = faces.IDENTITIES
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "people": ("source_id", "person_id", "name", "name_confidence", "screen_s", "tracks"),
        "face_tracks": ("track_id", "quality", "embedding"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "characters": ("source_id", "people", "voices", "name", "name_confidence"),
        "voices": ("source_id", "voice", "seconds", "embedding", "model"),
    }

    same: float = Field(0.4, ge=0, le=1)
    """Mean distance of two groups of people up to which they are one, stricter than within a source (0.45): of LFW's
    pairs of different people one in 10 000 is nearer than 0.35, and there are more chances to be wrong. In films of the
    tests one person lies 0.01 to 0.05 apart in the same light, up to 0.42 in photos years apart, and 0.38 from a photo
    when on a stage; two people 0.68 and more. Lower it where there are many thousands of people."""
    corrections: Corrections = Corrections()
    """What a person says of who is who: `apart` and `together`, pairs of ids of `people`; or the path of a YAML file
    with that, which is read when the recipe is."""

    @field_validator("corrections", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return read(given) if isinstance(given, str) else given

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        people = _people(inputs)
        told = _Told.of(people, self.corrections)
        groups: list[list[int]] = []
        evidence: dict[int, list[Row]] = defaultdict(list)
        reach = self.same + (FOR if people.voices else 0.0)
        for part in _linked(people.embeddings, np.arange(len(people.ids)), reach, told.one, work):
            if len(part) == 1:
                groups.append(part)
                continue
            mine, merges = clusters.grouped(*_held(people, part, told), self.same)
            groups += [[part[n] for n in group] for group in mine]
            for merge in merges:
                _note(evidence, people, part, told, merge)
            work.progress(0.0)
        rows = self._rows(people, groups, evidence)
        for first in range(0, len(rows), BATCH):
            yield pa.Table.from_pylist(rows[first : first + BATCH], schema=faces.IDENTITIES.schema)

    def _rows(self, people: People, groups: Sequence[Sequence[int]], evidence: Mapping[int, list[Row]]) -> list[Row]:
        order = sorted(groups, key=lambda group: (-float(people.screen_s[list(group)].sum()), group[0]))
        found: dict[int, Row] = {}
        unknown = 0
        for group in order:
            named = [(people.names[n], n) for n in group]
            totals: defaultdict[str, float] = defaultdict(float)
            for given, _ in named:
                if given:
                    totals[given[0]] += given[1]
            name = max(sorted(totals), key=lambda name: totals[name]) if totals else None
            witnesses = [(given[1], n) for given, n in named if given and given[0] == name]
            unknown += name is None
            label = name or f"unknown {unknown}"
            mean = _mean_distances(people.embeddings[list(group)])
            for place, n in enumerate(group):
                row: Row = {"source_id": people.source_ids[n], "person_id": people.ids[n], "label": label, "name": name}
                row |= {"identity_id": f"i-{people.ids[group[0]]}", "people": len(group)}
                row |= {"sources": len({people.source_ids[m] for m in group}), "distance": mean[place]}
                row |= {"merges": evidence.get(n, [])}
                if name is not None:
                    sure, witness = max((_carried(people, n, m, sure), -m) for sure, m in witnesses)
                    row |= {"name_confidence": sure, "named_in": people.source_ids[-witness]}
                found[n] = row
        return [found[n] for n in sorted(found, key=lambda n: (people.source_ids[n], people.ids[n]))]


@dataclass
class _Told:
    """What is known of who is who, by numbers of people."""

    never: Mapping[int, set[int]]
    """Who is told apart from whom."""
    always: Mapping[int, int]
    """By person the first of those whom the user says that he or she is."""
    one: Sequence[tuple[int, int]]
    """Pairs who are one, however far apart: by hand, and by the name that photos give."""

    @staticmethod
    def of(people: People, corrections: Corrections) -> _Told:
        """Pairs of people who are not there are passed over."""
        place = {person: n for n, person in enumerate(people.ids)}
        never: defaultdict[int, set[int]] = defaultdict(set)
        for a, b in corrections.apart:
            if a in place and b in place and a != b:
                never[place[a]].add(place[b])
                never[place[b]].add(place[a])
        first: dict[int, int] = {}

        def root(n: int) -> int:
            while first.get(n, n) != n:
                n = first[n]
            return n

        for a, b in corrections.together:
            if a in place and b in place:
                low, high = sorted((root(place[a]), root(place[b])))
                first |= {place[a]: low, place[b]: low, low: low, high: low}
        always = {n: root(n) for n in first}
        named: dict[str, int] = {}
        pairs = [(named.setdefault(name, n), n) for n, name in enumerate(people.by_photo) if name is not None]
        return _Told(never, always, [(a, b) for a, b in [*always.items(), *pairs] if a != b])


def _held(people: People, part: Sequence[int], told: _Told) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, n) of some people, 0 for those who are one, and which pairs can never be."""
    numbers = np.array(part)
    apart = clusters.distances(people.embeddings[numbers].astype(float))
    spoken = [(n, people.voices[person]) for n, person in enumerate(part) if person in people.voices]
    if len(spoken) > 1:
        rows = np.array([n for n, _ in spoken])
        vectors = np.array([vector for _, vector in spoken])
        away = np.clip((1 - vectors @ vectors.T - VOICES) / VOICES_STEP, -1, 1)
        apart[np.ix_(rows, rows)] += np.where(away > 0, AGAINST, FOR) * away
        apart = np.maximum(apart, 0)
        np.fill_diagonal(apart, 0)
    cannot = people.sources[numbers][:, None] == people.sources[numbers][None]
    by_photo = np.array([people.by_photo[person] or "" for person in part])
    photos = (by_photo[:, None] != "") & (by_photo[None] != "")
    cannot |= photos & (by_photo[:, None] != by_photo[None])
    always = np.array([told.always.get(person, -1) for person in part])
    by_hand = (always[:, None] == always[None]) & (always[:, None] >= 0)
    apart[by_hand | (photos & (by_photo[:, None] == by_photo[None]))] = 0.0
    cannot &= ~by_hand
    place = {person: n for n, person in enumerate(part)}
    for person in place:
        for other in told.never.get(person, ()):
            if other in place:
                cannot[place[person], place[other]] = True
    np.fill_diagonal(cannot, False)
    return apart, cannot


def _note(evidence: dict[int, list[Row]], people: People, part: Sequence[int], told: _Told, merge: Merge) -> None:
    """Write down a merge with the person of either side who is nearest to the other."""
    one, other = (part[n] for n in merge.nearest)
    name = people.by_photo[one]
    why = "one name" if name is not None and name == people.by_photo[other] else "alike"
    if one in told.always and told.always[one] == told.always.get(other):
        why = "by hand"
    between = float(np.linalg.norm(people.embeddings[one] - people.embeddings[other]))
    voices = None
    if one in people.voices and other in people.voices:
        voices = 1 - float(people.voices[one] @ people.voices[other])
    for mine, theirs in ((one, other), (other, one)):
        evidence[mine].append(
            {"why": why, "person_id": people.ids[theirs], "source_id": people.source_ids[theirs]}
            | {"distance": merge.distance, "between": between, "voices": voices}
        )


def _carried(people: People, person: int, witness: int, sure: float) -> float:
    """How sure somebody's name is that another person of the identity has: that sureness, times that they are one."""
    if person == witness:
        return sure
    distance = float(np.linalg.norm(people.embeddings[person] - people.embeddings[witness]))
    return sure / (1 + math.exp((distance - NOBODY) / SCALE))


def _mean_distances(embeddings: np.ndarray) -> list[float | None]:
    """Of each to all others; None for one alone."""
    if len(embeddings) < 2:
        return [None] * len(embeddings)
    apart = clusters.distances(embeddings.astype(float))
    means: list[float | None] = (apart.sum(1) / (len(apart) - 1)).tolist()
    return means


def _linked(
    embeddings: np.ndarray, mine: np.ndarray, reach: float, joined: Sequence[tuple[int, int]], work: Workspace
) -> Iterator[list[int]]:
    """The connected parts of people nearer than `reach`, or joined; each in order, one larger than `LARGEST` parted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    vectors = np.ascontiguousarray(embeddings[mine])
    place = {int(person): n for n, person in enumerate(mine)}
    told = [(place[a], place[b]) for a, b in joined if a in place and b in place]
    links = [np.array(told, int).reshape(-1, 2).T]
    squares = (vectors**2).sum(1)
    for first in range(0, len(vectors), BLOCK):
        for second in range(first, len(vectors), BLOCK):
            one, other = slice(first, first + BLOCK), slice(second, second + BLOCK)
            away = squares[one, None] + squares[None, other] - 2 * vectors[one] @ vectors[other].T
            near = np.nonzero(away <= reach**2 + 1e-6)
            links.append(np.array([near[0] + first, near[1] + second]))
        work.progress(0.0)
    a, b = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(mine), len(mine)))
    count, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(count + 1))
    for n in range(count):
        part = mine[order[starts[n] : starts[n + 1]]]
        if len(part) <= LARGEST:
            yield part.tolist()
        elif reach > LEAST_REACH:
            yield from _linked(embeddings, part, STRICTER * reach, joined, work)
        else:
            yield from (part[first : first + LARGEST].tolist() for first in range(0, len(part), LARGEST))


def _people(inputs: Mapping[str, ds.Dataset]) -> People:
    """Everybody who can be recognised, by the mean of his or her tracks, weighted by quality."""
    rows = inputs["people"].to_table(columns=list(Identities.reads["people"])).to_pylist()
    rows.sort(key=lambda row: row["person_id"])
    of_track = {track: n for n, row in enumerate(rows) for track in row["tracks"]}
    sums, weights = np.zeros((len(rows), 128), np.float64), np.zeros(len(rows))
    for batch in inputs["face_tracks"].to_batches(columns=list(Identities.reads["face_tracks"]), batch_size=BATCH):
        for track in batch.to_pylist():
            n = of_track.get(track["track_id"])
            if n is not None and track["embedding"] is not None:
                weight = track["quality"] + 1e-6
                sums[n] += weight * np.asarray(track["embedding"])
                weights[n] += weight
    there = np.flatnonzero(weights > 0)
    rows = [rows[n] for n in there]
    numbers = {source: n for n, source in enumerate(dict.fromkeys(row["source_id"] for row in rows))}
    people = People(
        [row["person_id"] for row in rows],
        np.array([numbers[row["source_id"]] for row in rows], int),
        [row["source_id"] for row in rows],
        (sums[there] / weights[there, None]).astype(np.float32),
        np.array([row["screen_s"] for row in rows], float),
        [row["name"] for row in rows],
        [(row["name"], row["name_confidence"] or 0.0) if row["name"] else None for row in rows],
    )
    if "characters" in inputs:
        _add_characters(people, inputs)
    return people


def _add_characters(people: People, inputs: Mapping[str, ds.Dataset]) -> None:
    """Names that characters have by other evidence, and the voices of those who have one."""
    place = {(source, person): n for n, (source, person) in enumerate(zip(people.source_ids, people.ids, strict=True))}
    voices: dict[tuple[str, int], tuple[float, list[float]]] = {}
    if "voices" in inputs:
        for row in inputs["voices"].to_table(columns=list(Identities.reads_if_there["voices"])).to_pylist():
            if row["embedding"] and row["model"] == CAMPPLUS.name:  # what `VOICES` was set on
                voices[row["source_id"], row["voice"]] = row["seconds"], row["embedding"]
    for row in inputs["characters"].to_table(columns=list(Identities.reads_if_there["characters"])).to_pylist():
        mine = [voices[key] for voice in row["voices"] if (key := (row["source_id"], voice)) in voices]
        for person in row["people"]:
            n = place.get((row["source_id"], person))
            if n is None:
                continue
            if row["name"] and people.names[n] is None:
                people.names[n] = row["name"], row["name_confidence"] or 0.0
            if mine:
                people.voices[n] = np.array(max(mine)[1])

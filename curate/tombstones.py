"""What was taken out of a dataset, so that no later run brings it back: salted hashes by which it is recognised.

`curate purge` writes them, and every task looks at them before it commits. A tombstone is a file of its own under
`purged/`; while what it stands for is not wholly removed its name says `pending`, and the next run goes on from there.
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import pyarrow as pa
from pydantic import TypeAdapter

from curate.dataset import Dataset
from curate.keys import digest
from schemas import Table, clips, faces, signals, speech

FOLDER, SALT, PENDING = "purged", "salt", "pending-"
PURGED, PERSON = "purged", "purged person"
"""Reasons: taken out itself, or for somebody who was."""
HIDDEN, SOMEBODY = "(purged)", "somebody"
"""What stands where a path or a name stood."""
WHOLE = 16
"""Leading hex digits of a source's id with which every id of its clips, nodes and persons begins."""
LEAST_S = 0.001
"""Seconds that two spans share at least where they overlap; the ends of neighbours may differ by rounding."""
_WORD = re.compile(r"[^\W_]+")
_PLACES = frozenset({"path", "paths", "user", "media", "shard", "keys", "key"})
"""Columns that say where something is: they are not text, and a name in them would lead astray if it were changed."""


@dataclass(frozen=True)
class Tombstone:
    """One thing taken out. `mark` is the hash of a source's id, or (`person`) of a name."""

    kind: Literal["source", "span", "tracks", "person"]
    mark: str
    paths: tuple[str, ...] = ()
    """Of a source: hashes of its paths and of their file names."""
    start_s: float = 0.0
    end_s: float = 0.0
    """Of a span: where it lies in its source, seconds."""
    reason: str = PURGED
    clip: str | None = None
    """Of a span: hash of the take's id when it was taken out."""
    tracks: tuple[str, ...] = ()
    """Of `tracks`: hashes of the face tracks that must have neither embedding nor portrait."""
    words: int = 0
    """Of a person: words in the name."""
    keep_clips: bool = False
    """Of a person: whether takes that show the person stay."""

    @property
    def name(self) -> str:
        return digest(asdict(self))


_STONE = TypeAdapter(Tombstone)


@dataclass
class Tombstones:
    """A dataset's tombstones."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    done: tuple[Tombstone, ...] = ()
    pending: tuple[Tombstone, ...] = ()

    def __post_init__(self) -> None:
        self.all = (*self.done, *self.pending)
        self._sources = {t.mark for t in self.all if t.kind == "source"}
        self._paths = {path for t in self.all for path in t.paths}
        self._tracks = {track for t in self.all for track in t.tracks}
        self._persons = {t.mark: t for t in self.all if t.kind == "person"}
        self._clips = {t.clip for t in self.all if t.clip}
        self._lengths = sorted({t.words for t in self._persons.values()}, reverse=True)
        self.mark = lru_cache(maxsize=100_000)(self._mark)

    def __bool__(self) -> bool:
        return bool(self.all)

    def _mark(self, text: str) -> str:
        return blake2b(text.encode(errors="surrogateescape"), key=self.salt, digest_size=16).hexdigest()

    def only_pending(self) -> Tombstones:
        """What is still to be removed."""
        return Tombstones(self.salt, (), self.pending)

    def with_new(self, new: Iterable[Tombstone]) -> Tombstones:
        """The same with others, not yet removed, on top."""
        return replace(self, pending=tuple(dict.fromkeys((*self.pending, *(t for t in new if t not in self.done)))))

    # -- recognising ----------------------------------------------------------------------------------------------

    def owner(self, identity: str) -> str:
        """The mark of the source that an id of any kind belongs to."""
        return self.mark(identity[:WHOLE])

    def source(self, identity: str) -> bool:
        """Whether a source, or whose source a clip, node or person is, was taken out."""
        return bool(self._sources) and self.owner(identity) in self._sources

    def path(self, path: str) -> bool:
        """Whether a purged source had that path or file name."""
        return self.mark(path) in self._paths

    def clip(self, clip_id: str) -> bool:
        return self.mark(clip_id) in self._clips or self.source(clip_id)

    def track(self, track_id: str) -> bool:
        """Whether a face track must have neither embedding nor portrait."""
        return bool(self._tracks) and self.mark(track_id) in self._tracks

    def spans(self, source_id: str) -> list[Tombstone]:
        """What was taken out of a source that stays."""
        return self._of("span", source_id)

    def tracked(self, source_id: str) -> bool:
        """Whether faces of the source must not be recognised."""
        return bool(self._of("tracks", source_id))

    def _of(self, kind: str, source_id: str) -> list[Tombstone]:
        found = [t for t in self.all if t.kind == kind]
        owner = self.owner(source_id) if found else ""
        return [t for t in found if t.mark == owner]

    def person(self, name: str | None) -> Tombstone | None:
        """The tombstone of a name, however it is written."""
        return self._persons.get(self.mark(normal(name))) if name and self._persons else None

    @property
    def persons(self) -> bool:
        return bool(self._persons)

    # -- what may be written --------------------------------------------------------------------------------------

    def spoken(self, text: str) -> str:
        """A text without the purged names, whole and in whatever case; `somebody` stands in their place."""
        if not self._persons:
            return text
        words = list(_WORD.finditer(unicodedata.normalize("NFC", text)))
        if not words:
            return text
        text = words[0].string
        kept, at, number = [], 0, 0
        while number < len(words):
            for length in self._lengths:
                run = words[number : number + length]
                if len(run) == length and self.mark(" ".join(w.group().casefold() for w in run)) in self._persons:
                    kept += [text[at : run[0].start()], SOMEBODY]
                    at, number = run[-1].end(), number + length - 1
                    break
            number += 1
        return "".join([*kept, text[at:]])

    def outside(self, table: Table, rows: pa.Table, source_id: str) -> pa.Table:
        """A source's rows without what lies in its purged spans: takes, spoken lines, and whatever is of a moment.

        Only `signals` stays, the differences between frames: the source's other takes are found by them.
        """
        spans = self.spans(source_id)
        if spans and table.name in (clips.TABLE.name, speech.TABLE.name):
            return _outside(rows, rows["start_s"].to_pylist(), rows["end_s"].to_pylist(), spans)
        if spans and "t_s" in rows.schema.names and table.name != signals.TABLE.name:
            times = rows["t_s"].to_pylist()
            # A still stands for the moments about it, so that its time alone decides.
            return _outside(rows, times, [t if t is None else t + 2 * LEAST_S for t in times], spans)
        if table.name == faces.TRACKS.name and self._tracks:
            return stripped(rows, [t for t in rows["track_id"].to_pylist() if self.track(str(t))])
        return rows

    def nameless(self, rows: pa.Table) -> pa.Table:
        """Rows in which no purged name stands: a cell that is one is null where it may be, and else `somebody`."""
        if not self._persons:
            return rows
        for place, column in enumerate(rows.schema):
            if column.name.endswith("_id") or column.name in _PLACES or not _says(column.type):
                continue
            before = rows.column(place).to_pylist()
            plain = pa.types.is_string(column.type) and column.nullable
            after = [None if plain and isinstance(v, str) and self.person(v) else self.told(v) for v in before]
            if after != before:
                rows = rows.set_column(place, column, pa.array(after, column.type))
        return rows

    def told(self, value: Any) -> Any:
        """A value of any depth without the purged names."""
        if isinstance(value, str):
            return self.spoken(value)
        if isinstance(value, list):
            return [self.told(v) for v in value]
        if isinstance(value, dict):
            return {k: self.told(v) for k, v in value.items()}
        return value


def normal(name: str) -> str:
    """A name as it is compared: `Ann_LEE ` is `ann lee`."""
    return " ".join(w.group().casefold() for w in _WORD.finditer(unicodedata.normalize("NFC", name)))


def stripped(tracks: pa.Table, which: Sequence[Any]) -> pa.Table:
    """Rows of `face_tracks`, those of some tracks without embedding and portrait."""
    chosen = set(which)
    if not chosen:
        return tracks
    rows = [
        row | {"embedding": None, "portrait": b"", "unmeasured": PERSON} if row["track_id"] in chosen else row
        for row in tracks.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=tracks.schema)


class TombstoneError(Exception):
    """A tombstone that cannot be read: what it stands for would come back, so nothing may go on."""


def load(dataset: Dataset) -> Tombstones:
    """The dataset's tombstones; none in nearly all.

    Raises:
        TombstoneError: one is damaged.
    """
    names = dataset.names(FOLDER)
    if SALT not in names:
        return Tombstones()
    done: list[Tombstone] = []
    pending: list[Tombstone] = []
    for name in sorted(names):
        if name != SALT:
            (pending if name.startswith(PENDING) else done).append(_stone(dataset, f"{FOLDER}/{name}"))
    return Tombstones(bytes.fromhex(dataset.read(f"{FOLDER}/{SALT}").decode()), tuple(done), tuple(pending))


def _stone(dataset: Dataset, relative: str) -> Tombstone:
    try:
        told = json.loads(dataset.read(relative))
        return _STONE.validate_python(told)
    except (ValueError, RecursionError) as error:
        raise TombstoneError(
            f"{dataset.path(relative)}: is damaged, and what was purged by it would come back; restore the file, or "
            "remove it and purge again"
        ) from error


def bury(dataset: Dataset, tombstones: Tombstones) -> None:
    """Write what is new of the tombstones, pending."""
    there = dataset.names(FOLDER)
    if SALT not in there:
        dataset.write(f"{FOLDER}/{SALT}", tombstones.salt.hex().encode())
    for stone in tombstones.pending:
        if f"{PENDING}{stone.name}.json" not in there:
            dataset.write(f"{FOLDER}/{PENDING}{stone.name}.json", json.dumps(asdict(stone)).encode())


def settled(dataset: Dataset, tombstones: Tombstones) -> None:
    """Mark the pending ones as removed."""
    for stone in tombstones.pending:
        dataset.write(f"{FOLDER}/{stone.name}.json", json.dumps(asdict(stone)).encode())
        dataset.remove(f"{FOLDER}/{PENDING}{stone.name}.json")


def _outside(rows: pa.Table, starts: Sequence[Any], ends: Sequence[Any], spans: Sequence[Tombstone]) -> pa.Table:
    """The rows that overlap none of the spans; those without times stay."""
    stay = [
        start is None or not any(start < s.end_s - LEAST_S and end > s.start_s + LEAST_S for s in spans)
        for start, end in zip(starts, ends, strict=True)
    ]
    return rows.filter(pa.array(stay, pa.bool_()))


def _says(kind: pa.DataType) -> bool:
    """Whether text stands in values of a type."""
    if pa.types.is_struct(kind):
        return any(_says(kind.field(n).type) for n in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _says(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

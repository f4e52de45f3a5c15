"""From what a user wants taken out (a source, a clip, somebody) to the tombstones that stand for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from curate.dataset import Dataset
from curate.folder import decoded, filesystem
from curate.listing import InputError, listing
from curate.tombstones import PERSON, Tombstone, Tombstones, normal
from schemas import characters, clips, duplicates, faces, sources, speech

Row = dict[str, Any]


@dataclass
class Wanted:
    """What is to go."""

    stones: list[Tombstone] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    clips: list[str] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    """Clips that show the same as one that goes: they stay."""
    left: list[str] = field(default_factory=list)
    """Paths of sources that stay, which say a purged name, or whose own columns do."""


class Takedown:
    """Looks up in a dataset what the user names.

    Every method raises InputError where something is not there and was not taken out before.
    """

    def __init__(self, dataset: Dataset, tombstones: Tombstones) -> None:
        self._dataset, self._stones = dataset, tombstones
        self.wanted = Wanted()

    # -- sources --------------------------------------------------------------------------------------------------

    def source(self, given: str) -> None:
        """A source by its id, or by a path, folder, glob or list as given to a run."""
        named = set(listing([given]).files)
        folders = tuple(f"{path.rstrip('/')}/" for path in named)
        rows = [
            row
            for row in self._rows(sources.INPUTS, "source_id", "path")
            if row["source_id"] == given or row["path"] in named or row["path"].startswith(folders)
        ]
        found = {row["source_id"] for row in rows}
        if not found and not (self._stones.source(given) or any(map(self._stones.path, named))):
            raise InputError(f"{given}: is no source of {self._dataset.url}, by id or by path; see its table sources")
        for source_id in sorted(found):
            paths = {row["path"] for row in self._rows(sources.INPUTS, "source_id", "path", source_id=source_id)}
            marks = {self._stones.mark(text) for path in paths for text in (path, path.rsplit("/", 1)[-1])}
            self.wanted.stones.append(Tombstone("source", self._stones.owner(source_id), tuple(sorted(marks))))
            self.wanted.sources.append(source_id)

    # -- clips ----------------------------------------------------------------------------------------------------

    def clip(self, given: str) -> None:
        """A clip by its id."""
        rows = self._rows(clips.TABLE, "clip_id", "source_id", "start_s", "end_s", clip_id=given)
        if not rows and not self._stones.clip(given):
            raise InputError(
                f"{given}: is no clip of {self._dataset.url}; give the whole id, as curate explain says it"
            )
        for row in rows:
            self._take(row, "purged")

    def _take(self, row: Row, reason: str) -> None:
        mark, clip = self._stones.owner(row["source_id"]), self._stones.mark(row["clip_id"])
        self.wanted.stones.append(Tombstone("span", mark, (), row["start_s"], row["end_s"], reason, clip))
        self.wanted.clips.append(row["clip_id"])

    # -- people ---------------------------------------------------------------------------------------------------

    def character(self, given: str, keep_clips: bool) -> None:
        """Somebody by name, by the id of a person, or as SOURCE/LABEL or SOURCE/CHARACTER_ID."""
        source_id, _, who = given.rpartition("/")
        name = normal(who)
        people = [row for row in self._rows(faces.PEOPLE) if _is(row, source_id, who, name, "person_id")]
        voices = [row for row in self._rows(characters.CHARACTERS) if _is(row, source_id, who, name, "character_id")]
        known = {(row["source_id"], person) for row in voices for person in row["people"]}
        if known:
            rows = self._rows(faces.PEOPLE)
            people = [row for row in rows if (row["source_id"], row["person_id"]) in known or row in people]
        heard = [*self._lines(voices), *self._spoken(source_id, name)]
        names = {row["name"] for row in (*people, *voices) if row["name"]} | (
            {who} if not source_id and heard else set()
        )
        if not (people or voices or heard) and not self._stones.person(who):
            raise InputError(
                f"{given}: is nobody in {self._dataset.url}; give a name of its tables people or characters, or "
                "SOURCE/LABEL for somebody without a name"
            )
        for one in sorted({normal(n): n for n in names}.values()):
            mark, words = self._stones.mark(normal(one)), len(normal(one).split())
            self.wanted.stones.append(Tombstone("person", mark, words=words, keep_clips=keep_clips))
        self.wanted.persons.append(given)
        tracks: dict[str, set[str]] = {}
        for row in people:
            tracks.setdefault(row["source_id"], set()).update(row["tracks"])
        if keep_clips:
            for source, mine in sorted(tracks.items()):
                marks = tuple(sorted(map(self._stones.mark, mine)))
                self.wanted.stones.append(Tombstone("tracks", self._stones.owner(source), tracks=marks))
            return
        shown = [(s, a, b) for s, mine in tracks.items() for a, b in self._seen(s, mine)]
        spans = [*shown, *heard]
        for row in self._rows(clips.TABLE, "clip_id", "source_id", "start_s", "end_s"):
            if any(s == row["source_id"] and a < row["end_s"] and b > row["start_s"] for s, a, b in spans):
                self._take(row, PERSON)

    def _seen(self, source_id: str, tracks: set[str]) -> Iterator[tuple[float, float]]:
        for row in self._rows(faces.TRACKS, "track_id", "start_s", "end_s", source_id=source_id):
            if row["track_id"] in tracks:
                yield row["start_s"], row["end_s"]

    def _lines(self, voices: Sequence[Row]) -> Iterator[tuple[str, float, float]]:
        mine = {(row["source_id"], row["character_id"]) for row in voices}
        columns = ("source_id", "character_id", "start_s", "end_s")
        for row in self._rows(characters.DIALOGUE, *columns) if mine else ():
            if (row["source_id"], row["character_id"]) in mine:
                yield row["source_id"], row["start_s"], row["end_s"]

    def _spoken(self, source_id: str, name: str) -> Iterator[tuple[str, float, float]]:
        for row in self._rows(speech.TABLE, "source_id", "speaker", "start_s", "end_s"):
            if row["speaker"] and normal(row["speaker"]) == name and source_id in ("", row["source_id"]):
                yield row["source_id"], row["start_s"], row["end_s"]

    # -- all together ---------------------------------------------------------------------------------------------

    def finish(self) -> Wanted:
        """What is to go, with what the user should know of it.

        Raises:
            InputError: a source of which clips go, and which has to be done again, is not where it was.
        """
        wanted = self.wanted
        wanted.clips = list(dict.fromkeys(wanted.clips))
        stones = self._stones.with_new(wanted.stones)
        missing = []
        for row in self._rows(sources.SOURCES, "source_id", "path", "user"):
            stays = not stones.source(row["source_id"])
            if stays and any(s in wanted.stones for s in stones.spans(row["source_id"])) and not _there(row["path"]):
                missing.append(row["path"])
            said = any(stones.spoken(text) != text for text in (row["path"].rsplit("/", 1)[-1], row["user"]))
            if stays and stones.persons and said:
                wanted.left.append(row["path"])
        if missing:
            raise InputError(
                f"{', '.join(missing[:3])}: not there; the other clips of a source of which a clip goes are cut anew. "
                "Bring it back, or take the whole source out with --source"
            )
        for row in self._rows(duplicates.TABLE, "clip_id", "copy_of"):
            pair = (row["clip_id"], row["copy_of"])
            gone = [clip in wanted.clips or stones.source(clip) for clip in pair if clip]
            if len(gone) == 2 and gone[0] != gone[1]:
                wanted.copies.append(pair[gone.index(False)])
        wanted.copies = sorted(set(wanted.copies))
        return wanted

    def _rows(self, table: Any, *columns: str, **where: str) -> list[Row]:
        chosen = None
        for name, value in where.items():
            chosen = pc.field(name) == value
        return self._dataset.scan(table).to_table(columns=list(columns) or None, filter=chosen).to_pylist()


def _is(row: Row, source_id: str, who: str, name: str, identity: str) -> bool:
    if source_id:
        return row["source_id"].startswith(source_id) and who in (row[identity], row["label"], row["name"])
    return bool(row["name"] and normal(row["name"]) == name) or (identity == "person_id" and row[identity] == who)


def _there(path: str) -> bool:
    fs, inner = filesystem(decoded(path))
    try:
        return bool(fs.exists(inner))
    except OSError as error:
        raise InputError(f"{path}: cannot be looked at: {error.strerror or os.strerror(error.errno or 0)}") from error

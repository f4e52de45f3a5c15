"""The Parquet files: a row for each kept clip, with what its sample's .json says of it, typed and explained."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.dataset import Dataset
from curate.rules.rule import is_number
from curate.stage import Row
from pipelines.push.files import DATA, File, PushError, made
from pipelines.push.ready import Samples
from schemas import column, shards
from stages.shard import MEMBERS

ROWS = 20_000
"""Clips in a file: at 5 to 20 kB a row in memory, what any reader holds at once."""
GROUP = 1000
"""Clips in a row group, by which a reader passes over what it does not want."""

SPLITS = {"train": "train", "val": "validation"}
"""A split's name in a dataset, and on the Hub."""

LEVELS = ("clip", "shot", "event", "story")
NODE = ("start_s", "end_s", "text", "prompt", "short")

USER: dict[str, tuple[str, ...]] = {
    "license": ("license", "licence"),
    "url": ("url", "source_url"),
    "creator": ("creator", "author"),
}
"""Columns of a user's own list that say whose a source is, by what they are called there."""

_SPAN = [("start_s", pa.float64()), ("end_s", pa.float64())]
_CAPTIONS = pa.list_(pa.struct([*_SPAN, *((name, pa.string()) for name in NODE[2:])]))
_SEEN = pa.list_(pa.struct([("label", pa.string()), ("name", pa.string()), ("seen_s", pa.float64())]))
_SAID = pa.list_(
    pa.struct([*_SPAN, *((name, pa.string()) for name in ("label", "name", "text")), ("confidence", pa.float64())])
)

BASE = [
    column("clip_id", pa.string(), "id of the clip: source id, first and one past last frame", False),
    column("source_id", pa.string(), "id of its source: the first 32 hex digits of its content's SHA-256", False),
    column("start_s", pa.float64(), "where it begins in its source, seconds", False),
    column("end_s", pa.float64(), "where it ends in its source, seconds", False),
    column("duration_s", pa.float64(), "seconds", False),
    column("frames", pa.int64(), "pictures", False),
    column("fps", pa.float64(), "mean frame rate, frames per second", False),
    column("width", pa.int64(), "picture width in px", False),
    column("height", pa.int64(), "picture height in px", False),
    column("audio_s", pa.float64(), "seconds of sound; null: it has none"),
    column("video_bytes", pa.int64(), "size of its .mp4", False),
    column("video_sha256", pa.string(), "checksum of its .mp4", False),
    column("caption", pa.string(), "what happens in it: the .txt of its sample, its shots' captions joined", False),
    column("caption_short", pa.string(), "the same in a sentence a shot"),
    column("caption_prompt", pa.string(), "the same as a user would ask a generator for it"),
    column("caption_model", pa.string(), "who wrote it: `grounded` puts measured facts into sentences"),
    *(
        column(f"captions_{level}", _CAPTIONS, f"captions of level {level}; times from the clip's start, seconds")
        for level in LEVELS
    ),
]
PLACE = [
    column("shard", pa.string(), "path of the tar that holds it", False),
    column("member", pa.string(), "key of its sample there: its members are KEY.mp4, KEY.json and KEY.txt", False),
]
PEOPLE = [
    column("seen", _SEEN, "who is seen, and for how long, seconds"),
    column("dialogue", _SAID, "who says what; times from the clip's start, seconds; null text: unsure, not quoted"),
]


@dataclass(frozen=True)
class Choice:
    """What is published of each clip beside its own numbers and captions."""

    shards: bool = True
    people: bool = False
    paths: bool = False
    columns: tuple[str, ...] = ()
    """Columns of the user's own list beyond `USER`."""


@dataclass(frozen=True)
class Tables:
    """The Parquet files that were made."""

    schema: pa.Schema
    files: list[File]
    rows: pa.Table
    """All of them, and `split`; of a nested column nothing."""

    def bytes_of(self, split: str) -> int:
        """Size of a split's files."""
        return sum(file.bytes for file in self.files if file.path.startswith(f"{DATA}{split}-"))


def write(dataset: Dataset, samples: Samples, choice: Choice, paths: dict[str, str], folder: Path) -> Tables:
    """Make the Parquet files in a folder.

    Args:
        paths: of the sources by their ids, for who wants them published.
    """
    layout = _Layout.of(dataset, samples, choice, paths)
    files: list[File] = []
    flat = [field.name for field in layout.schema if not pa.types.is_nested(field.type)]
    kept: list[pa.Table] = []
    for split, rows in groupby(samples, lambda row: str(row["split"])):  # in whose order the shards are sorted
        locals_: list[Path] = []
        while tables := list(_tables(layout, rows)):
            locals_.append(folder / f"{split}-{len(locals_)}.parquet")
            with pq.ParquetWriter(locals_[-1], layout.schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table)
                    own = pa.array([split] * len(table), pa.string())
                    kept.append(table.select(flat).append_column("split", own))
        of = len(locals_)
        files += [made(f"{DATA}{split}-{n:05d}-of-{of:05d}.parquet", path) for n, path in enumerate(locals_)]
    return Tables(layout.schema, files, pa.concat_tables(kept))


def _tables(layout: _Layout, rows: Iterator[Row]) -> Iterator[pa.Table]:
    """The next file's row groups."""
    left = islice(rows, ROWS)
    while group := [layout.row(row) for row in islice(left, GROUP)]:
        yield pa.Table.from_pylist(group, schema=layout.schema)


@dataclass(frozen=True)
class _Layout:
    """The columns, and how a sample becomes a row of them."""

    schema: pa.Schema
    scores: dict[str, list[str]]
    user: dict[str, tuple[str, ...]]
    choice: Choice
    paths: dict[str, str]

    @classmethod
    def of(cls, dataset: Dataset, samples: Samples, choice: Choice, paths: dict[str, str]) -> _Layout:
        tables: set[str] = set()
        given: set[str] = set()
        for row in samples:
            tables |= set(row["json"]["scores"])
            given |= set(row["json"]["source"])
        user: dict[str, tuple[str, ...]] = {name: told for name, told in USER.items() if given & set(told)}
        for name in choice.columns:
            if name not in given:
                there = f"the list had {', '.join(sorted(given))}" if given else "no list gave any"
                raise PushError(f"--column {name}: no source of a kept clip has it; {there}")
            user.setdefault(name, (name,))
        fields = [*BASE, *(PLACE if choice.shards else ()), *(PEOPLE if choice.people else ())]
        fields += [column(name, pa.string(), f"of its source, as its owner's list says: {name}") for name in user]
        if choice.paths:
            fields.append(column("source_path", pa.string(), "where its source lay when it was curated"))
        scores: dict[str, list[str]] = {}
        for table in sorted(tables):
            told = [field for field in dataset.stored(table).schema if _is_score(field)]
            scores[table] = [field.name for field in told]
            fields += [pa.field(f"{table}_{f.name}", f.type, metadata={"doc": _doc(table, f)}) for f in told]
        names = [field.name for field in fields]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise PushError(
                f"two columns would be called {doubled[0]!r}; rename the stage's table or the list's column"
            )
        return cls(pa.schema(fields), scores, user, choice, paths)

    def row(self, sample: Row) -> Row:
        """A clip's row."""
        told = sample["json"]
        by_level = {level: [n for n in told["captions"] if n["level"] == level] for level in LEVELS}
        shots = by_level["shot"]
        row: Row = {field.name: told.get(field.name) for field in BASE}
        row |= {"video_bytes": sample["bytes"], "video_sha256": sample["media_sha256"], "caption": sample["txt"]}
        for layer in ("short", "prompt"):
            row[f"caption_{layer}"] = " ".join(shot[layer] or shot["text"] for shot in shots)
        row["caption_model"] = ", ".join(dict.fromkeys(shot["model"] for shot in shots)) or None
        for level, nodes in by_level.items():
            row[f"captions_{level}"] = [{name: node[name] for name in NODE} for node in nodes]
        if self.choice.shards:
            row |= {"shard": sample["shard"], "member": sample["clip_id"]}
        if self.choice.people:
            row |= {field.name: told.get(field.name, []) for field in PEOPLE}
        for name, spelt in self.user.items():
            row[name] = next((text(told["source"][s]) for s in spelt if told["source"].get(s) is not None), None)
        if self.choice.paths:
            row["source_path"] = self.paths.get(sample["source_id"])
        for table, columns in self.scores.items():
            row |= {f"{table}_{name}": told["scores"].get(table, {}).get(name) for name in columns}
        return row


def text(value: Any) -> str:
    """A value of a user's list as text, without blanks about it."""
    return str(value).strip()


def user(told: dict[str, Any], name: str) -> str:
    """What a user's list says of a source under one of `USER`'s names; empty: nothing."""
    return next((text(told[spelt]) for spelt in USER[name] if told.get(spelt) is not None), "")


def _is_score(field: pa.Field) -> bool:
    kind = field.type
    return field.name not in ("clip_id", "source_id") and (
        is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)
    )


def _doc(table: str, field: pa.Field) -> str:
    doc = ((field.metadata or {}).get(b"doc") or b"").decode()
    return f"{table}.{field.name}: {doc}"


def members(dataset: Dataset) -> list[str]:
    """What the members of a sample are called in the shards, beside .json and .txt."""
    rows = dataset.scan(shards.SAMPLES).to_table(columns=list(MEMBERS))
    return [extension for name, extension in MEMBERS.items() if rows[name].null_count < len(rows)]


def samples_schema(samples: Samples, extensions: Collection[str]) -> pa.Schema:
    """The types of a sample in the shards, as `datasets` reads it: those of the .json over all samples.

    A reader that looks at the first few only takes a score that is null there for one that is null everywhere.
    """
    kind: pa.DataType = pa.struct([])
    batch: list[Any] = []

    def merged(rows: Sequence[Any]) -> pa.DataType:
        both = [pa.schema([pa.field("json", t)]) for t in (kind, pa.array(rows).type)]
        return pa.unify_schemas(both, promote_options="permissive").field("json").type

    for row in samples:
        batch.append(row["json"])
        if len(batch) == GROUP:
            kind, batch = merged(batch), []
    if batch:
        kind = merged(batch)
    plain = {"__key__": pa.string(), "__url__": pa.string(), "json": kind, "txt": pa.string()}
    return pa.schema([*plain.items(), *((name, pa.binary()) for name in sorted(extensions))])

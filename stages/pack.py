"""The samples: kept clips with captions and scores laid out over shards, train and val apart by source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import Field

from curate.stage import Row, Stage, TableStage, Workspace
from schemas import Table, caption_checks, captions, shards
from stages.caption.chosen import captions_chosen, takes_told

_BATCH = 10_000

_LONGEST_LIST = 16
"""Numbers in a fixed-size list beyond which it is a vector, not a score."""


NODE = ("node_id", "level", "start_s", "end_s", "text", "prompt", "short", *captions.FIELDS, "model", "confidence")
"""What a sample's .json says of each node of the caption tree that the clip lies in or that lies in the clip."""


PEOPLE = ("faces", "characters", "dialogue")
"""The tables that say who is there: names and times, never embeddings."""

MADE = ("latents", "text_embeddings")
"""The tables of what a generator's networks made of a clip: files, which become members of its sample."""


class Pack(TableStage):
    """Lays out the samples: which shard each clip goes to, and the bytes of its text members.

    Samples stand in the order of their source's content hash, which mixes sources as well as any shuffle and gives
    the same shards wherever the job runs.
    """

    name: ClassVar[str] = "pack"
    version: ClassVar[int] = 5
    writes: ClassVar[Table] = shards.SAMPLES
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "media": (),
        "clips": (),
        "captions": (),
        "motion": (),
        "quality": (),
        "sources": ("source_id", "user"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys("raft text overlay crop safety aesthetics technical embeddings duplicates balance".split(), ()),
        "caption_checks": ("source_id", "node_id", "passed", "text_from"),
        **dict.fromkeys(MADE, ("clip_id", "path", "sha256", "bytes")),
        "faces": ("source_id", "start_s", "end_s", "person_id", "label", "name"),
        "characters": ("source_id", "people", "label", "name"),
        "dialogue": ("source_id", "start_s", "end_s", "text", "weak", "label", "name", "confidence"),
    }

    target_mb: float = Field(512.0, gt=0)
    """Aimed size of a shard, MB. WebDataset advises 100 MB to 1 GB: large enough to stream, small enough to shuffle."""
    val_share: float = Field(0.02, ge=0, lt=1)
    """Share of sources whose clips go to val: all clips of one source share a split, so that none leaks."""

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        with duckdb.connect() as database:
            for name in inputs:
                database.register(name, inputs[name])
            scores = {name: _scores(inputs[name].schema) for name in inputs if name in _scored(self)}
            there = {kind: [name for name in names if name in inputs] for kind, names in _KINDS.items()}
            query = _samples(scores, caption_checks.TABLE.name in inputs, there["people"], there["made"])
            reader = database.sql(query).to_arrow_reader(_BATCH)
            places: dict[str, _Place] = {"train": _Place(), "val": _Place()}
            for batch in reader:
                rows = [self._sample(row, places, scores) for row in batch.to_pylist()]
                yield pa.Table.from_pylist(rows, schema=self.writes.schema)

    def _sample(self, row: Row, places: dict[str, _Place], scores: Collection[str]) -> Row:
        split = "val" if _fraction(row["source_id"]) < self.val_share else "train"
        size = row["bytes"] + sum(row.get(f"{name}_bytes") or 0 for name in MADE)
        shard, position = places[split].next(size, self.target_mb * 1e6)
        return {
            "shard": f"shards/{split}/{shard:06d}.tar",
            "position": position,
            "split": split,
            "clip_id": row["clip_id"],
            "source_id": row["source_id"],
            "media": row["path"],
            "media_sha256": row["sha256"],
            "bytes": row["bytes"],
            **{f"{name}{end}": row.get(f"{name}{end}") for name in MADE for end in ("", "_sha256")},
            "json": json.dumps(_metadata(row, scores), sort_keys=True, ensure_ascii=False),
            "txt": "\n".join(node["text"] for node in row["captions"] if node["level"] == "shot"),
        }


def _scored(stage: Stage) -> set[str]:
    """The tables that have a row of scores for a clip."""
    return {"motion", "quality", *stage.reads_if_there} - {caption_checks.TABLE.name, *PEOPLE, *MADE}


def _scores(schema: pa.Schema) -> list[str]:
    """The columns of a table that go into the sample's .json. Bytes and vectors do not: they are no reading for a
    trainer's filters, and would be most of the file."""
    return [f.name for f in schema if f.name not in ("clip_id", "source_id") and not _bulky(f.type)]


def _bulky(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return bool(kind.list_size > _LONGEST_LIST)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return bool(pa.types.is_floating(kind.value_type)) or _bulky(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


_KINDS = {"people": PEOPLE, "made": MADE}


def _samples(
    scores: Mapping[str, list[str]], checked: bool, people: Collection[str], made: Collection[str] = ()
) -> str:
    """SQL of a row per sample, with a struct of each table's scores under the table's name, and who is there.

    Args:
        people: which of `PEOPLE` there are.
        made: which of `MADE` there are.
    """
    packed = []
    for name, columns in scores.items():
        fields = ", ".join(f'"{column}" := "{name}"."{column}"' for column in columns)
        packed.append(f'case when "{name}".clip_id is not null then struct_pack({fields}) end as "{name}"')
    node = ", ".join(f"{name}: c.{name}" for name in NODE)
    joined = [f'left join "{name}" using (clip_id)' for name in scores]
    there = {"seen": _seen("characters" in people)} if "faces" in people else {}
    there |= {"dialogue": _SAID} if "dialogue" in people else {}
    for name, query in there.items():
        packed.append(f'"{name}".rows as "{name}"')
        joined.append(f'left join ({query}) "{name}" using (clip_id)')
    for name in made:
        packed.append(f"{name}.path as {name}, {name}.sha256 as {name}_sha256, {name}.bytes as {name}_bytes")
        joined.append(f"left join {name} using (clip_id)")
    return f"""
    with chosen as ({captions_chosen(checked)}), told as (
        select clips.clip_id, list({{{node}}} order by c.start_s, c.end_s desc, c.node_id) as nodes
        from clips join chosen c on c.source_id = clips.source_id
            and (c.clip_id = clips.clip_id
                or c.clip_id is null and c.start_s < clips.end_s and c.end_s > clips.start_s)
        where clips.clip_id in (select clip_id from ({takes_told(checked)}))
        group by clips.clip_id
    )
    select media.*, clips.start_s, clips.end_s, sources.user, told.nodes as captions, {", ".join(packed)}
    from media join clips using (clip_id) join told using (clip_id)
    join sources on sources.source_id = media.source_id
    {" ".join(joined)}
    order by media.source_id, clips.start_frame
    """  # noqa: S608 - names of tables and columns out of schemas


_SAID = """
select clips.clip_id, list({start_s: greatest(d.start_s, clips.start_s) - clips.start_s,
    end_s: least(d.end_s, clips.end_s) - clips.start_s, label: d.label, name: d.name,
    text: case when not d.weak then d.text end, confidence: d.confidence} order by d.start_s, d.end_s) as rows
from clips join dialogue d on d.source_id = clips.source_id and d.start_s < clips.end_s and d.end_s > clips.start_s
group by clips.clip_id
"""
"""The spoken lines of each clip. Text that is often wrong is left out."""


def _seen(corrected: bool) -> str:
    """SQL of who is seen in each clip, and how long, longest first; under the labels of `characters` where it is."""
    label, name, owner = "f.label", "f.name", ""
    if corrected:
        label, name = "coalesce(o.label, f.label)", "coalesce(o.name, f.name)"
        owner = """left join (select source_id, unnest(people) as person_id, label, name from characters) o
            on o.source_id = f.source_id and o.person_id = f.person_id"""
    return f"""
    select clip_id, list({{label: label, name: name, seen_s: seen_s}} order by seen_s desc, label) as rows from (
        select clips.clip_id, {label} as label, {name} as name,
            sum(least(f.end_s, clips.end_s) - greatest(f.start_s, clips.start_s)) as seen_s
        from clips join faces f on f.source_id = clips.source_id and f.start_s < clips.end_s and f.end_s > clips.start_s
        {owner} where f.person_id is not null group by all
    ) group by clip_id
    """  # noqa: S608 - names of columns


class _Place:
    """The shard being filled."""

    def __init__(self) -> None:
        self.shard, self.position, self.bytes = 0, 0, 0.0

    def next(self, size: int, target: float) -> tuple[int, int]:
        if self.position and self.bytes + size > target:
            self.shard, self.position, self.bytes = self.shard + 1, 0, 0.0
        place = self.shard, self.position
        self.position += 1
        self.bytes += size
        return place


def _fraction(source_id: str) -> float:
    """A number in [0, 1) that belongs to the source for good: adding sources moves none between splits."""
    return int(hashlib.sha256(f"split:{source_id}".encode()).hexdigest()[:8], 16) / 2**32


def _metadata(row: Row, scores: Collection[str]) -> dict[str, Any]:
    """The sample's .json. Caption times count from the clip's own start."""
    start_s = row["start_s"]
    return {
        "clip_id": row["clip_id"],
        "source_id": row["source_id"],
        "start_s": start_s,
        "end_s": row["end_s"],
        "duration_s": row["duration_s"],
        "frames": row["frames"],
        "fps": row["fps"],
        "width": row["width"],
        "height": row["height"],
        "audio_s": row["audio_s"],
        "captions": [
            {**node, "start_s": node["start_s"] - start_s, "end_s": node["end_s"] - start_s} for node in row["captions"]
        ],
        **{name: row[name] or [] for name in ("seen", "dialogue") if name in row},
        "scores": {name: row[name] or {} for name in scores},
        "source": json.loads(row["user"]),
    }

"""Whether a dataset may be published as it lies there: finished, decided, packed, and silent where it must be."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from curate import history, tombstones
from curate.dataset import Dataset
from curate.redecide import command, outstanding
from curate.stage import Row
from pipelines.push.files import LARGEST, File, PushError, of_dataset
from schemas import characters, faces, indexes, ledger, shards

_LOCAL = re.compile(r"(/|~|file:|[A-Za-z]:[\\/]|\\\\)\S")
"""How a path on somebody's own disk begins."""


@dataclass(frozen=True)
class Samples:
    """What was packed: the table `samples`, in the order of the shards."""

    rows: pa.Table
    """Columns shard, position, split, clip_id, source_id, media_sha256, bytes, txt and json."""

    def __iter__(self) -> Iterator[Row]:
        """Its rows, with the .json parsed."""
        for batch in self.rows.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                yield row | {"json": json.loads(row["json"])}


def finished(dataset: Dataset) -> None:
    """Only for the holder of the dataset's lock.

    Raises:
        PushError: a run or a purge is not through, or the decisions are newer than the shards.
    """
    again = shlex.join(command(dataset.url))
    last = history.latest(dataset)
    if not dataset.keys(ledger.TABLE.name) or not dataset.exists("summary.json"):
        raise PushError(f"{dataset.url}: its run did not finish; run it first: {again}")
    if last is not None and last.state != history.DONE:
        state = "was killed" if last.state == history.RUNNING else last.state
        raise PushError(f"{dataset.url}: its last run ({last.id}) {state}; complete it first: {again}")
    if tombstones.load(dataset).pending:
        raise PushError(f"{dataset.url}: something is still to be taken out of it; complete that first: {again}")
    there = set(dataset.table_names())
    if shards.SAMPLES.name not in there:
        raise PushError(f"{dataset.url} has no samples: run a recipe with the stages pack, shard and index first")
    with duckdb.connect() as database:
        database.register("ledger", dataset.scan(ledger.TABLE))
        database.register("samples", dataset.scan(shards.SAMPLES))
        ((kept, apart),) = database.sql(_KEPT).fetchall()
    if not kept:
        raise PushError(f"{dataset.url} has no kept clip; see why: curate status {shlex.quote(dataset.url)}")
    work = ", ".join(item["stage"] for item in outstanding(dataset))
    if apart or work:
        behind = work or f"{apart} clips differ"
        raise PushError(f"{dataset.url}: its decisions are newer than its shards ({behind}); first: {again}")


_KEPT = """
with kept as (select clip_id from ledger where kind = 'clip' and state = 'kept')
select (select count(*) from kept),
    (select count(*) from kept full join samples using (clip_id) where kept.clip_id is null or samples.clip_id is null)
"""


def samples(dataset: Dataset) -> Samples:
    """Everything that was packed."""
    columns = ["shard", "position", "split", "clip_id", "source_id", "media_sha256", "bytes", "txt", "json"]
    rows = dataset.scan(shards.SAMPLES).to_table(columns=columns)
    return Samples(rows.sort_by([("shard", "ascending"), ("position", "ascending")]))


def packed(dataset: Dataset) -> list[File]:
    """The shards and their indexes.

    Raises:
        PushError: there are none, one is not what the tables say, or one is too large.
    """
    listed = dataset.scan(shards.SHARDS).to_table(columns=["shard", "bytes", "sha256"]).to_pylist()
    if not listed:
        raise PushError(f"{dataset.url} has no shards: run a recipe with the stages shard and index, or --only-parquet")
    for row in listed:
        if row["bytes"] > LARGEST:
            raise PushError(
                f"{row['shard']} has {row['bytes'] / 1e9:.1f} GB; the Hub takes {LARGEST / 1e9:.0f} GB a file at most: "
                "pack smaller ones first, with curate run … --set pack.target_mb=512 (or shorter takes: takes.max_s)"
            )
        size = dataset.fs.info(dataset.path(row["shard"]))["size"] if dataset.exists(row["shard"]) else None
        if size != row["bytes"]:
            what = "is missing" if size is None else f"has {size} bytes, not {row['bytes']}"
            raise PushError(f"{row['shard']} {what}; make it anew: {shlex.join(command(dataset.url))}")
    files = [of_dataset(dataset, row["shard"], row["bytes"], row["sha256"]) for row in listed]
    for row in dataset.scan(indexes.TABLE).to_table(columns=["path", "sha256"]).to_pylist():
        size = dataset.fs.info(dataset.path(row["path"]))["size"]
        files.append(of_dataset(dataset, row["path"], size, row["sha256"]))
    return files


def named(dataset: Dataset, packed: Samples) -> list[str]:
    """Names of people that stand in what would be published, by what knows them in the dataset."""
    known: set[str] = set()
    for table in (characters.CHARACTERS, characters.DIALOGUE, faces.FACES, faces.PEOPLE):
        rows = dataset.scan(table).to_table(columns=["name"])
        known |= {name for name in rows["name"].unique().to_pylist() if name}
    if not known:
        return []
    said = re.compile(rf"\b({'|'.join(map(re.escape, sorted(known, key=len, reverse=True)))})\b", re.IGNORECASE)
    by_case = {name.casefold(): name for name in known}
    found: set[str] = set()
    for column in ("json", "txt"):
        texts: list[Any] = packed.rows[column].to_pylist()
        for text in texts:
            # In a .json names stand as they are: it is written without escapes of letters.
            found |= {by_case.get(match.casefold(), match) for match in said.findall(str(text))}
    return sorted(found)


def local_paths(packed: Samples) -> list[str]:
    """The columns of the user's own lists, as the shards hold them, that say where something lies on a disk."""
    found: set[str] = set()
    for row in packed:
        found |= {name for name, value in row["json"]["source"].items() if _says_path(value)}
    return sorted(found)


def _says_path(value: Any) -> bool:
    return isinstance(value, str) and bool(_LOCAL.match(value))


def shown(names: Sequence[str], most: int = 5) -> str:
    """A list in words, cut short."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""Whether the files of a dataset are those that were written, and what has to go so that the next run makes them again.

A file that is not is never patched: the part whose task makes it is dropped, and the planner finds that task undone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from curate import packs
from curate.dataset import Dataset
from curate.parts import DamagedError, damage
from curate.stage import Row
from schemas import errors, indexes, latents, media, shards

FILES = dict.fromkeys((media.TABLE, latents.LATENTS, latents.TEXT, indexes.TABLE), "path") | {shards.SHARDS: "shard"}
"""By table whose rows each stand for a file of the dataset: the column with its name."""
FOLDERS = ("clips", "shards")
"""Where those files are."""

_THREADS = 2 * (os.cpu_count() or 1)
"""Hashing releases the interpreter's lock, and opening a file waits for the disk."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """A file that is missing or is not what was written."""

    path: str
    what: str
    table: str | None = None
    key: str | None = None
    """The part whose task makes the file anew; None: whatever needs it does."""

    @property
    def packed(self) -> bool:
        """Whether it is a pack of parts, which says itself which they are."""
        return self.table is not None and self.key is None


def parts(dataset: Dataset, tell: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """The parts of tables, and of intervals that wait to be joined, whose bytes are not those that were written.

    Args:
        tell: told how many bytes were read.
    """
    places = {
        f"tables/{table}/{name}": (table, None if packs.is_pack(name) else name.removesuffix(packs.SUFFIX))
        for table in dataset.table_names()
        for name in sorted(dataset.names(f"tables/{table}"))
    }
    paths = [*places, *sorted(dataset.tree("intervals"))]

    def look(path: str) -> Finding | None:
        try:
            with dataset.open(path) as file:
                what = damage(file)
                tell(file.tell())
        except FileNotFoundError:
            return None  # dropped since it was listed
        except OSError as error:
            what = f"it cannot be read: {error.strerror or error}"
        return Finding(path, what, *places.get(path, (None, None))) if what else None

    with ThreadPoolExecutor(_THREADS) as pool:
        return [found for found in pool.map(look, paths) if found]


def files(
    dataset: Dataset, bad: Iterable[Finding] = (), whole: bool = False, tell: Callable[[int], None] = lambda _: None
) -> list[Finding]:
    """The clips, shards and the like that are not as the rows which stand for them say.

    Args:
        bad: parts that cannot be read.
        whole: compare checksums, for which each file is read; else only whether it is there, and its size.
    """
    unread = {(found.table, found.key) for found in bad}
    there = {path: size for folder in FOLDERS for path, size in dataset.sizes(folder).items()}
    # Of a table with a damaged pack it is not known what its rows stand for.
    tables = [(t.name, column) for t, column in FILES.items() if (t.name, None) not in unread]
    named = [
        (Finding(row[column], "", table, key), row.get("bytes"), row["sha256"])
        for table, column in tables
        for key, rows in _parts(dataset, table, {k for t, k in unread if t == table})
        for row in rows
        if row[column] is not None
    ]

    def look(file: Finding, size: int | None, checksum: str) -> Finding | None:
        if file.path not in there:
            return replace(file, what="it is missing")
        if size is not None and there[file.path] != size:
            return replace(file, what=f"torn: it has {there[file.path]} of {size} bytes")
        if whole and _checksum(dataset, file.path, tell) != checksum:
            return replace(file, what="its bytes are not those that were written")
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        return [found for found in pool.map(lambda one: look(*one), named) if found]


def mend(dataset: Dataset, findings: Sequence[Finding]) -> None:
    """Drop what is damaged, so that the next run makes it anew. Only for the holder of the dataset's lock.

    Packs are for `curate.lost`. A part goes before its errors, and a file after its part: a part says which there are.
    """
    for found in findings:
        if found.table == errors.TABLE.name:
            for table in dataset.table_names():
                dataset.drop_part(table, str(found.key))  # without its errors it would pass for a success
        elif found.table:
            dataset.drop_part(found.table, str(found.key))
            dataset.drop_part(errors.TABLE.name, str(found.key))
        dataset.remove(found.path)


def _parts(dataset: Dataset, table: str, unread: Set[str | None]) -> Iterator[tuple[str, list[Row]]]:
    """The parts of a table that can be read, by key."""
    found = packs.view(dataset, table)
    for pack in found.packs:
        for part in pack.parts(dataset, [at for at, key in enumerate(pack.keys) if key not in found.loose]):
            yield part.key, part.rows.to_pylist()

    def read(key: str) -> list[Row]:
        try:
            data = dataset.read_parquet(dataset.part(table, key))
        except (DamagedError, FileNotFoundError):
            return []
        return list(pq.read_table(pa.BufferReader(data)).to_pylist())

    loose = sorted(found.loose.difference(unread))
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from zip(loose, pool.map(read, loose), strict=True)


def _checksum(dataset: Dataset, path: str, tell: Callable[[int], None]) -> str:
    found = hashlib.sha256()
    try:
        with dataset.open(path) as file:
            while block := file.read(_BLOCK):
                found.update(block)
                tell(len(block))
    except OSError:
        return ""  # a bad sector is no checksum of anything
    return found.hexdigest()

"""Whether the files of a dataset are those that were written, and what has to go so that the next run makes them again.

A file that is not is never patched: the part whose task makes it is dropped, and the planner finds that task undone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

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


def parts(dataset: Dataset, tell: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """The parts of tables, and of intervals that wait to be joined, whose bytes are not those that were written.

    Args:
        tell: told how many bytes were read.
    """
    places = {dataset.part(t, k): (t, k) for t in dataset.table_names() for k in sorted(dataset.keys(t))}
    paths = [*places, *sorted(dataset.tree("intervals"))]

    def look(path: str) -> Finding | None:
        try:
            with dataset.fs.open(dataset.path(path), "rb") as file:
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
    mine = [(t.name, key, column) for t, column in FILES.items() for key in sorted(dataset.keys(t.name))]

    def look(table: str, key: str, column: str) -> list[Finding]:
        found = []
        for path, size, checksum in _named(dataset, table, key, column):
            what = None
            if path not in there:
                what = "it is missing"
            elif size is not None and there[path] != size:
                what = f"torn: it has {there[path]} of {size} bytes"
            elif whole and _checksum(dataset, path, tell) != checksum:
                what = "its bytes are not those that were written"
            if what:
                found.append(Finding(path, what, table, key))
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        looked = pool.map(lambda part: look(*part), [part for part in mine if part[:2] not in unread])
        return [finding for found in looked for finding in found]


def mend(dataset: Dataset, findings: Sequence[Finding]) -> None:
    """Drop what is damaged, so that the next run makes it anew. Only for the holder of the dataset's lock.

    A part goes before its errors, and a file after its part: a part says which there are.
    """
    for found in findings:
        if found.table == errors.TABLE.name:
            for table in dataset.table_names():
                dataset.drop_part(table, str(found.key))  # without its errors it would pass for a success
        elif found.table:
            dataset.drop_part(found.table, str(found.key))
            dataset.drop_part(errors.TABLE.name, str(found.key))
        dataset.remove(found.path)


def _named(dataset: Dataset, table: str, key: str, column: str) -> list[tuple[str, int | None, str]]:
    """Path, size (None: not known) and checksum of the files that the rows of a part stand for."""
    try:
        rows = pq.read_table(pa.BufferReader(dataset.read_parquet(dataset.part(table, key))))
    except (DamagedError, FileNotFoundError):
        return []
    listed: list[Row] = rows.to_pylist()
    return [(row[column], row.get("bytes"), row["sha256"]) for row in listed if row[column] is not None]


def _checksum(dataset: Dataset, path: str, tell: Callable[[int], None]) -> str:
    found = hashlib.sha256()
    try:
        with dataset.fs.open(dataset.path(path), "rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
                tell(len(block))
    except OSError:
        return ""  # a bad sector is no checksum of anything
    return found.hexdigest()

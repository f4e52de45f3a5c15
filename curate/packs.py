"""Packs: the parts of a table gathered in few Parquet files, so that a hundred thousand sources are not as many files.

A task writes a part of its own, a *loose* one. At the end of a step the engine gathers a table's loose parts into a
pack: their rows in the order of their keys, and in the footer which rows are of which part, and what made it. Where a
part is both loose and in a pack, the loose one holds. Packs are named by their content and never changed: what has to
leave one leaves by a new pack which says whose place it takes, so that a process killed between the two loses nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.folder import Folder
from curate.parts import PROVENANCE, DamagedError

PREFIX, SUFFIX = "pack-", ".parquet"
INDEX = b"longtake.pack"
"""Key in the footer's metadata under which a pack's index stands, as JSON."""


@dataclass(frozen=True)
class Part:
    """A part on its way into or out of a pack: its rows, and its provenance as JSON."""

    key: str
    rows: pa.Table
    provenance: str

    @cached_property
    def size(self) -> int:
        """Bytes of the rows as Arrow holds them."""
        return int(self.rows.nbytes)

    def sealed(self) -> pa.Table:
        """The rows with the provenance in their schema's metadata, as a file of their own has them."""
        return self.rows.replace_schema_metadata({PROVENANCE: self.provenance.encode()})


@dataclass(frozen=True)
class Pack:
    """A pack's index."""

    path: str
    """Inside the dataset."""
    keys: list[str]
    """Sorted."""
    starts: np.ndarray
    """First row of each key, and the number of all."""
    made_by: list[int]
    """Index in `provenances`, by key."""
    provenances: list[str]
    replaces: frozenset[str]
    """Names of the packs whose place it takes."""
    size: int
    """Bytes of its rows as Arrow holds them."""
    footer: pq.FileMetaData
    groups: np.ndarray
    """First row of each row group, and the number of all."""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def place(self, key: str) -> int | None:
        """Where a key stands in the index; None where it is not there."""
        at = bisect_left(self.keys, key)
        return at if at < len(self.keys) and self.keys[at] == key else None

    def provenance(self, at: int) -> str:
        return self.provenances[self.made_by[at]]

    def rows(self, folder: Folder, at: int, columns: Sequence[str] = ()) -> pa.Table:
        """The rows of the part at a place of the index."""
        first, last = int(self.starts[at]), int(self.starts[at + 1])
        begin, end = self._within(first, last)
        with folder.open(self.path) as file:
            found = pq.ParquetFile(file, metadata=self.footer).read_row_groups(
                list(range(begin, end)), columns=list(columns) or None, use_threads=False
            )
        return found.slice(first - int(self.groups[begin]), last - first).replace_schema_metadata(None)

    def parts(self, folder: Folder, places: Iterable[int] | None = None) -> Iterator[Part]:
        """Parts in the order of their keys, all by default; each row group is read once."""
        with folder.open(self.path) as file:
            whole = pq.ParquetFile(file, metadata=self.footer)
            held, span = whole.schema_arrow.empty_table(), (0, 0)
            for at in range(len(self.keys)) if places is None else places:
                first, last = int(self.starts[at]), int(self.starts[at + 1])
                if span != (span := self._within(first, last)):
                    held = whole.read_row_groups(list(range(*span)), use_threads=False)
                rows = held.slice(first - int(self.groups[span[0]]), last - first)
                yield Part(self.keys[at], rows.replace_schema_metadata(None), self.provenance(at))

    def _within(self, first: int, last: int) -> tuple[int, int]:
        """The row groups that hold some rows, as first and one past the last; one at least."""
        begin = int(np.searchsorted(self.groups, first, "right")) - 1
        begin = min(begin, len(self.groups) - 2)
        return begin, max(begin + 1, int(np.searchsorted(self.groups, last, "left")))


@dataclass(frozen=True)
class View:
    """What a table consists of."""

    loose: frozenset[str]
    """Keys of the loose parts."""
    packs: list[Pack]
    """In the order of their names."""
    replaced: frozenset[str]
    """Names of packs that are there though others have taken their place."""

    def keys(self) -> set[str]:
        return set(self.loose).union(*(pack.keys for pack in self.packs))

    def __len__(self) -> int:
        return sum(len(pack.keys) for pack in self.packs) + sum(self.find(key) is None for key in self.loose)

    def find(self, key: str) -> tuple[Pack, int] | None:
        """Where a key is packed."""
        for pack in self.packs:
            if (at := pack.place(key)) is not None:
                return pack, at
        return None


def view(folder: Folder, table: str) -> View:
    """A table's parts as they are now.

    Raises:
        DamagedError: a pack's index cannot be read.
    """
    for last in (False, True):
        names = [n for n in folder.names(f"tables/{table}") if n.endswith(SUFFIX)]
        packed = sorted(n for n in names if is_pack(n))
        try:
            packs = [opened(folder, f"tables/{table}/{name}") for name in packed]
        except FileNotFoundError:  # another process has put a new pack in its place since
            if last:
                raise
            continue
        replaced = frozenset(name for pack in packs for name in pack.replaces).intersection(packed)
        loose = frozenset(n.removesuffix(SUFFIX) for n in names if not is_pack(n))
        return View(loose, [p for p in packs if p.name not in replaced], replaced)
    raise AssertionError("the second look returns or raises")


def opened(folder: Folder, path: str) -> Pack:
    """A pack's index, read once in the life of a process: its name says its content."""
    return _opened(_Place(folder, path))


class _Place:
    """A pack's file, which equals another object for the same file."""

    def __init__(self, folder: Folder, path: str) -> None:
        self.folder, self.path = folder, path
        self._name = f"{folder.url}/{path}"

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self._name == other._name


@lru_cache(maxsize=256)
def _opened(place: _Place) -> Pack:
    with place.folder.open(place.path) as file:
        try:
            footer = pq.read_metadata(file)
            told = json.loads((footer.metadata or {})[INDEX])
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise DamagedError(place.path, f"its index cannot be read: {error}") from error
    groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    return Pack(
        place.path,
        told["keys"],
        np.concatenate([[0], np.cumsum(told["rows"], dtype=np.int64)]),
        told["made_by"],
        told["provenances"],
        frozenset(told["replaces"]),
        told["bytes"],
        footer,
        np.concatenate([[0], np.cumsum(groups, dtype=np.int64)]),
    )


def is_pack(name: str) -> bool:
    """Whether a file of a table is a pack, by its name."""
    return name.startswith(PREFIX)

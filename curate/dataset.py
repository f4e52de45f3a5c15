"""The dataset directory: tables as Parquet parts named by task keys, clips, shards, the recipe as run.

A part is put in place in one step, and its presence is what "done" means. A task's errors are written before its
part, so a part that is there has its errors there too. Where there are many, they are gathered (see `curate.packs`).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from curate import packing, packs
from curate.folder import Folder
from curate.lease import DatasetBusyError, exclusive
from curate.parts import PROVENANCE, encode_part, seal, verified
from curate.stage import Row
from schemas import Table


class Dataset(Folder):
    """A dataset directory, local or remote."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._views: dict[str, packs.View] = {}
        """What was packed of a table when a part was last sought there."""

    def part(self, table: str, key: str) -> str:
        return f"tables/{table}/{key}.parquet"

    def keys(self, table: str) -> set[str]:
        """Keys of the parts that are in place."""
        return packs.view(self, table).keys()

    def count(self, table: str) -> int:
        """How many parts are in place."""
        return len(packs.view(self, table))

    def write_part(self, table: Table, key: str, rows: pa.Table, provenance: Mapping[str, Any]) -> None:
        """Put a part in place in one step. One of the same key in a pack no longer holds, and goes with `settle`."""
        self.write(self.part(table.name, key), encode_part(table, [rows], provenance))

    def drop_part(self, table: str, key: str) -> None:
        self.drop_parts(table, [key])

    def drop_parts(self, table: str, keys: Collection[str]) -> None:
        """Take parts out, so that none of their bytes stays. Only for the holder of the dataset's lock."""
        if keys:
            packing.drop(self, table, keys)

    def read_part(self, table: Table, key: str, columns: Sequence[str] = ()) -> pa.Table:
        """The rows of a part.

        Raises:
            DamagedError: its bytes are not those that were written.
            FileNotFoundError: it is not there.
        """
        try:
            data = self.read_parquet(self.part(table.name, key))
        except FileNotFoundError:
            pack, at = self._packed(table.name, key)
            return pack.rows(self, at, columns)
        rows = pq.read_table(pa.BufferReader(data), columns=list(columns) or None)
        return rows.replace_schema_metadata(None)

    def read_parquet(self, relative: str) -> bytes:
        """A Parquet file's bytes.

        Raises:
            DamagedError: they are not those that were written.
        """
        return verified(self.read(relative), relative)

    def seal(self, table: str, key: str) -> str | None:
        """The checksum that a part says it has; None where it says none or is not there."""
        try:
            with self.open(self.part(table, key)) as file:
                return seal(file)
        except OSError:
            return None

    def provenance(self, table: str, key: str) -> dict[str, Any]:
        try:
            with self.open(self.part(table, key)) as file:
                told = (pq.read_schema(file).metadata or {}).get(PROVENANCE, b"{}").decode()
        except FileNotFoundError:
            pack, at = self._packed(table, key)
            told = pack.provenance(at)
        return dict(json.loads(told))

    def parts(self, table: str) -> Iterator[tuple[str, pa.Table]]:
        """Every part of a table one after the other, as stored, with its provenance in the metadata of its schema."""
        found = packs.view(self, table)
        for pack in found.packs:
            for part in pack.parts(self, [at for at, key in enumerate(pack.keys) if key not in found.loose]):
                yield part.key, part.sealed()
        for key in sorted(found.loose):
            data = self.read_parquet(self.part(table, key))
            yield key, pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)

    def _packed(self, table: str, key: str) -> tuple[packs.Pack, int]:
        """Where a part is that is not loose.

        Raises:
            FileNotFoundError: nowhere.
        """
        seen = self._views.get(table)
        found = seen.find(key) if seen is not None else None
        if found is None or not self.exists(found[0].path):  # packed, or packed anew, since we looked
            self._views[table] = packs.view(self, table)
            found = self._views[table].find(key)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(self.part(table, key)))
        return found

    def scan(self, table: Table, keys: Iterable[str] | None = None) -> ds.Dataset:
        """The given parts (all by default) as one lazily read table: packs first, then loose parts by their keys."""
        return self._table(table.name, keys, table.schema)

    def stored(self, name: str) -> ds.Dataset:
        """A table as its parts have it, whichever version of whichever stage wrote them."""
        return self._table(name, None, None)

    def _table(self, name: str, keys: Iterable[str] | None, schema: pa.Schema | None) -> ds.Dataset:
        found = packs.view(self, name)
        chosen = found.keys() if keys is None else set(keys)
        paths: list[str] = []
        pieces: list[pa.Table] = []
        left = set(chosen)
        for pack in found.packs:
            places = [at for at, key in enumerate(pack.keys) if key in chosen and key not in found.loose]
            left.difference_update(pack.keys[at] for at in places)
            if len(places) == len(pack.keys):
                paths.append(self.path(pack.path))
            elif places:
                pieces += [part.rows for part in pack.parts(self, places)]
        paths += [self.path(self.part(name, key)) for key in sorted(left)]
        # Arrow's own filesystem opens a file in half the time.
        fs = pa.fs.LocalFileSystem() if self.local else self.arrow
        files = ds.dataset(paths, schema=schema, format="parquet", filesystem=fs) if paths else None
        if not pieces:
            return files or ds.dataset((schema or pa.schema([])).empty_table())
        some = ds.dataset(pa.concat_tables(pieces).cast(files.schema if files else schema or pieces[0].schema))
        return ds.dataset([files, some]) if files else some

    def table_names(self) -> list[str]:
        """The tables that have parts. One listing, for on an object store each is a request."""
        inside = [path.split("/") for path in self.tree("tables")]
        return sorted({name for _, name, *file in inside if len(file) == 1})

    def settle(self) -> None:
        """Finish what a process left that was killed while it packed. Only for the holder of the dataset's lock."""
        for table in self.table_names():
            packing.settle(self, table)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the dataset for one writer: a lock on a local disk, a lease on an object store (`curate.lease`).

        Both die with their process, however that ends.

        Raises:
            DatasetBusyError: another process is writing to it.
            LeaseLostError: the lease went away meanwhile.
            UrlError: nothing can be written there.
        """
        if not self.local:
            with exclusive(self.url) as check:
                self.guard = check
                try:
                    yield
                finally:
                    self.guard = lambda: None
            return
        import fcntl  # only POSIX has it, and only a local dataset needs it

        os.makedirs(self.root, exist_ok=True)
        # A link that somebody else put there is not followed: it would make or touch a file of their choice.
        with os.fdopen(os.open(f"{self.root}/.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DatasetBusyError(
                    f"{self.url}: another run is writing to this dataset; wait for it, or choose another -o"
                ) from error
            yield


def to_arrow(table: Table, rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table of exactly the table's schema.

    Raises:
        ValueError: a row has a column that the table lacks, or lacks one that may not be null.
    """
    known = set(table.schema.names)
    for row in rows:
        if unknown := set(row) - known:
            raise ValueError(f"table {table.name!r} has no column {', '.join(sorted(unknown))}")
        for column in table.schema:
            if not column.nullable and row.get(column.name) is None:
                raise ValueError(f"table {table.name!r}: column {column.name!r} may not be null")
    return pa.Table.from_pylist(list(rows), schema=table.schema)

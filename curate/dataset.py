"""The dataset directory: tables as Parquet parts named by task keys, clips, shards, the recipe as run.

A part is put in place in one step, and its presence is what "done" means. A task's errors are written before its
part, so a part that is there has its errors there too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curate.folder import Folder
from curate.lease import DatasetBusyError, exclusive
from curate.parts import PROVENANCE, encode_part, seal, verified
from curate.stage import Row
from schemas import Table


class Dataset(Folder):
    """A dataset directory, local or remote."""

    def part(self, table: str, key: str) -> str:
        return f"tables/{table}/{key}.parquet"

    def keys(self, table: str) -> set[str]:
        """Keys of the parts that are in place."""
        return {n.removesuffix(".parquet") for n in self.names(f"tables/{table}") if n.endswith(".parquet")}

    def write_part(self, table: Table, key: str, rows: pa.Table, provenance: Mapping[str, Any]) -> None:
        """Put a part in place in one step."""
        self.write(self.part(table.name, key), encode_part(table, [rows], provenance))

    def drop_part(self, table: str, key: str) -> None:
        self.remove(self.part(table, key))

    def read_part(self, table: Table, key: str, columns: Sequence[str] = ()) -> pa.Table:
        """The rows of a part.

        Raises:
            DamagedError: its bytes are not those that were written.
        """
        rows = pq.read_table(
            pa.BufferReader(self.read_parquet(self.part(table.name, key))), columns=list(columns) or None
        )
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
        with self.open(self.part(table, key)) as file:
            return dict(json.loads((pq.read_schema(file).metadata or {}).get(PROVENANCE, b"{}")))

    def scan(self, table: Table, keys: Iterable[str] | None = None) -> ds.Dataset:
        """The given parts (all by default) as one lazily read table, in the order of their keys."""
        chosen = sorted(self.keys(table.name) if keys is None else keys)
        paths = [self.path(self.part(table.name, key)) for key in chosen]
        if not paths:
            return ds.dataset(table.schema.empty_table())
        return ds.dataset(paths, schema=table.schema, format="parquet", filesystem=self.arrow)

    def table_names(self) -> list[str]:
        """The tables that have parts."""
        return sorted({path.split("/")[1] for path in self.tree("tables")})

    def stored(self, name: str) -> ds.Dataset:
        """A table as its parts have it, whichever version of whichever stage wrote them."""
        paths = [self.path(self.part(name, key)) for key in sorted(self.keys(name))]
        return ds.dataset(paths, format="parquet", filesystem=self.arrow)

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
        import os

        os.makedirs(self.root, exist_ok=True)
        with open(f"{self.root}/.lock", "w") as handle:
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

"""Parquet files that carry the checksum of their own bytes, so that one which a disk or a hand has damaged is noticed.

The SHA-256 stands in the footer's key-value metadata, where any Parquet reader passes it over. It is that of the file
with zeros in the digest's own place, so the same rows still give the same bytes, and there is no second file to lose.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.stage import DamagedError
from schemas import Table

PROVENANCE = b"longtake"
"""Key in a part's schema metadata under which its provenance stands, as JSON."""

SEAL = "longtake.seal"
"""Key in the footer's metadata under which the checksum stands."""

_PREFIX, _DIGITS = "longtake-sha256:", 64
_UNSEALED = _PREFIX + "0" * _DIGITS
# As Thrift's compact protocol writes the entry: the key, a field of bytes, its length, the value.
_MARK = SEAL.encode() + b"\x18" + bytes([len(_UNSEALED)]) + _PREFIX.encode()
_TRACE = re.compile(re.escape(SEAL.encode()) + b"|" + re.escape(_PREFIX.encode()))
"""What is left of a seal whichever bit of its mark is flipped: a file with neither was written without one."""
_MAGIC, _TAIL = b"PAR1", 8
"""A Parquet file ends with its footer, the footer's length in four bytes, and the magic."""
_CHUNK = 1 << 20


def encode(schema: pa.Schema, batches: Iterable[pa.Table], metadata: Mapping[str, str] | None = None) -> bytes:
    """Sealed Parquet bytes of tables, at least one row group each. The same rows and metadata give the same bytes.

    Args:
        schema: what the tables are cast to; its metadata is kept.
        metadata: more entries for the footer, which may not be known before the last table.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for batch in batches:
            # In one piece: where a column's chunks end shows in the bytes of its pages.
            writer.write_table(batch.combine_chunks().cast(schema).replace_schema_metadata(schema.metadata))
        writer.add_key_value_metadata({**(metadata or {}), SEAL: _UNSEALED})
    return _sealed(buffer)


def encode_part(table: Table, batches: Iterable[pa.Table], provenance: Mapping[str, Any]) -> bytes:
    """Parquet bytes of one part. The same rows and provenance give the same bytes."""
    return encode(table.schema.with_metadata({PROVENANCE: json.dumps(provenance, sort_keys=True).encode()}), batches)


def damage(file: IO[bytes]) -> str | None:
    """What is wrong with a Parquet file; None where its bytes are those that were written.

    One without a seal, as earlier versions wrote them, is taken as it is if its footer can be read.

    Args:
        file: open for reading, seekable.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(_MAGIC)))
    if size < len(_MAGIC) + _TAIL or file.read() != _MAGIC:
        return f"torn: its end is missing, {size} bytes are left"
    digest, place = _find(file)
    if not digest:
        return _unsealed(file)
    return None if digest == _digest(file, size, place) else "its bytes are not those that were written"


def seal(file: IO[bytes]) -> str | None:
    """The checksum that a Parquet file says it has; None where it says none."""
    return _find(file)[0].decode("ascii", "replace") or None


def _find(file: IO[bytes]) -> tuple[bytes, int]:
    """The digest in the footer, and where it stands; empty where there is none."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _TAIL))
    begin = max(0, size - _TAIL - int.from_bytes(file.read(_TAIL)[:4], "little"))
    file.seek(begin)
    footer = file.read()
    # The last one: rows' own text stands before it, in the statistics of their columns.
    place = footer.rfind(_MARK)
    if place < 0:
        return b"", 0
    place += len(_MARK)
    return footer[place : place + _DIGITS], begin + place


def verified(data: bytes, path: str) -> bytes:
    """The bytes of a Parquet file as they are.

    Raises:
        DamagedError: they are not those that were written. It names `path`.
    """
    if what := damage(io.BytesIO(data)):
        raise DamagedError(path, what)
    return data


def _unsealed(file: IO[bytes]) -> str | None:
    """What is wrong with a file in whose footer no whole seal was found."""
    file.seek(0)
    if _TRACE.search(file.read()):
        return "its checksum is damaged"
    try:
        file.seek(0)
        pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        return f"its footer cannot be read: {error}"
    return None


def _sealed(file: io.BytesIO) -> bytes:
    """The file with its digest where the zeros are. Written in place: an hour's rows are there often enough."""
    with file.getbuffer() as data:
        begin = len(data) - _TAIL - int.from_bytes(data[-_TAIL:][:4], "little")
        place = begin + bytes(data[begin:]).rindex(_MARK) + len(_MARK)
        data[place : place + _DIGITS] = hashlib.sha256(data).hexdigest().encode()
    return file.getvalue()


def _digest(file: IO[bytes], size: int, place: int) -> bytes:
    """Digest of a file with zeros from `place` on where its own stands."""
    found = hashlib.sha256()
    for start, end in ((0, place), (place + _DIGITS, size)):
        if start:
            found.update(b"0" * _DIGITS)
        file.seek(start)
        left = end - start
        while left and (chunk := file.read(min(left, _CHUNK))):
            found.update(chunk)
            left -= len(chunk)
    return found.hexdigest().encode()

"""Looks for text in every byte of a folder: as it lies there, and decoded (Parquet by columns, tars, JSON, scripts)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def occurrences(folder: Path, *wanted: str | bytes) -> list[str]:
    """`file: what` of everything wanted that is found in whatever case, in a file's name, its bytes or its values."""
    needles = [w.lower() if isinstance(w, bytes) else w.lower().encode() for w in wanted]
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        texts = [name.encode(), *layers(name, path.read_bytes())]
        found += [f"{name}: {needle[:80]!r}" for needle in needles if any(needle in text.lower() for text in texts)]
    return found


def layers(name: str, data: bytes) -> Iterator[bytes]:
    """A file's bytes, and what they hold beneath their encoding."""
    yield data
    if name.endswith(".parquet"):
        part = pq.read_table(io.BytesIO(data))
        for place, field in enumerate(part.schema):
            for value in part.column(place).to_pylist():
                yield from _values(value)
            yield repr((field, field.metadata)).encode()
        yield repr(part.schema.metadata).encode()
    elif name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                yield member.name.encode()
                file = tar.extractfile(member)
                yield from layers(member.name, file.read() if file else b"")
    elif name.endswith((".json", ".js")):
        text = data.decode()
        for _ in range(3):  # a script of the report holds JSON within a string of JSON
            start, end = text.find('"'), text.rfind('"')
            try:
                value = json.loads(text if text[:1] in "{[" else text[start : end + 1])
            except ValueError:
                return
            yield from _values(value)
            if not isinstance(value, str):
                return
            text = value


def _values(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode(errors="surrogateescape")
        if value[:1] == "{":
            yield from _values(json.loads(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key).encode()
            yield from _values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner)

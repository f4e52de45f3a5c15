"""The folder an export is written to: whole or not at all, with names that no other file can be reached by."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.dataset import Dataset
from pipelines.export.taken import ExportError

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula, by OWASP's list for CSV injection."""


class Out:
    """The files of one export."""

    def __init__(self, dataset: Dataset, root: Path) -> None:
        self._dataset, self._root = dataset, root
        self.files = 0

    def text(self, name: str, text: str) -> None:
        self._new(name).write_text(text, encoding="utf-8", newline="\n")

    def json(self, name: str, data: Any) -> None:
        self.text(name, json.dumps(data, ensure_ascii=False, indent=1) + "\n")

    def lines(self, name: str, rows: Iterable[Any]) -> None:
        """JSONL."""
        self.text(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def csv(self, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A CSV with a header. Text that a spreadsheet would calculate gets an apostrophe in front."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
        self.text(name, buffer.getvalue())

    def media(self, name: str, path: str) -> str:
        """A file of the dataset under another name: a hard link where the disk can, else a copy. Returns the name."""
        target = self._new(name)
        with self._dataset.fetch(path) as source:
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        return name

    def parquet(self, name: str, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
        """A Parquet file, written row by row, each a row group of its own: a row may be large."""
        with pq.ParquetWriter(self._new(name), schema) as writer:
            for row in rows:
                writer.write_table(pa.Table.from_pylist([row], schema=schema))

    def fetch(self, path: str) -> AbstractContextManager[Path]:
        """A file of the dataset as a local file, to read."""
        return self._dataset.fetch(path)

    def _new(self, name: str) -> Path:
        for part in name.split("/"):
            if not _SAFE.fullmatch(part):
                raise ExportError(f"{part!r} is no name for a file; the dataset's ids were made by something else")
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files += 1
        return target


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@contextmanager
def whole(dataset: Dataset, target: Path) -> Iterator[Out]:
    """An `Out` that becomes `target` when the block ends well; else nothing is left of it.

    Raises:
        ExportError: there is something at the target.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} is there and not empty; choose another -o, or remove it")
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".tmp-{target.name}-", dir=parent, ignore_cleanup_errors=True) as work:
        made = Path(work) / "export"
        made.mkdir()
        yield Out(dataset, made)
        os.replace(made, target)

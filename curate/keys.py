"""Task keys: a task is its inputs, so its name is a hash of them, and what is already there need not be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from curate.stage import Stage

LENGTH = 32
"""Hex digits of a key: 128 bits, so that a billion tasks collide with a chance below 1e-20."""


def digest(value: Any) -> str:
    """A key out of anything that JSON can say. Equal values give equal keys on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def rows_digest(rows: Iterable[Any]) -> str:
    """A digest of rows in their order, one at a time: all of them as one text would be as large as all of them."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return whole.hexdigest()[:LENGTH]


def stage_digest(stage: Stage) -> str:
    """The part of a key that all tasks of a stage share. The order of a mapping counts, as that of rules does."""
    return digest([stage.name, stage.version, stage.writes.version, stage.model_dump_json()])


def task_key(stage_key: str, inputs: Mapping[str, str]) -> str:
    """Key of one task: its stage and the keys or digests of what it reads."""
    return digest([stage_key, dict(inputs)])


def group_digests(table: pa.Table, by: str) -> dict[str, str]:
    """A digest of the rows of each value of the column `by`, whatever stands elsewhere in the table."""
    hashes: dict[str, Any] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            group = hashes.setdefault(row[by], hashlib.sha256())
            group.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return {group: h.hexdigest()[:LENGTH] for group, h in hashes.items()}

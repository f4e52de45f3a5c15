"""What the page loads when a clip is opened: its captions and what was measured from second to second.

Clips stand in chunks of a hundred, a script each: a page opened from disk can load nothing else.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any

import duckdb
import pyarrow as pa

from curate.dataset import Dataset
from curate.report import people
from curate.report.data import NO_SCORES
from schemas import caption_checks, captions, sources

CHUNK = 100
"""Clips a script."""

DENSEST = 5.0
"""Rows a second of a table that counts as a series; what has more (a row a frame) is no reading for people."""

FOLDER = "report/details"


def write(dataset: Dataset, clips: pa.Table) -> None:
    """Write every chunk for clips (clip_id, source_id, start_s, end_s) in the page's order."""
    with duckdb.connect() as database:
        numbers = pa.array(range(clips.num_rows), pa.int64())
        database.register("shown", clips.append_column("number", numbers))
        told = _captions(database, dataset)
        there = people.spans(database, dataset)
        series = _series(database, dataset)
    chunks = range(0, clips.num_rows, CHUNK)
    for first in chunks:
        some = range(first, min(first + CHUNK, clips.num_rows))
        chunk = [{"captions": told.get(n, []), "people": there.get(n, []), "series": series.get(n, {})} for n in some]
        text = json.dumps(json.dumps(chunk, separators=(",", ":"), allow_nan=False))
        dataset.write(
            f"{FOLDER}/{first // CHUNK:05d}.js", f"detailsOf({first // CHUNK}, JSON.parse({text}));\n".encode()
        )
    kept = {f"{FOLDER}/{first // CHUNK:05d}.js" for first in chunks}
    for path in dataset.tree(FOLDER):
        if path not in kept:
            dataset.remove(path)


LAYERS = ("raw", "prompt", "short", *captions.FIELDS)
"""What is shown of a caption beside its text, where it differs from that."""


def _captions(database: duckdb.DuckDBPyConnection, dataset: Dataset) -> dict[int, list[dict[str, Any]]]:
    """By clip: the captions of all levels over it, as they may be used; times count from the clip's start.

    `wrong` says why one may not be used, `noted` what was repaired in one that may.
    """
    for table in (captions.TABLE, caption_checks.TABLE):
        database.register(table.name, dataset.scan(table))
    names = ", ".join(f"w.{name}" for name in LAYERS)
    checked = bool(dataset.keys(caption_checks.TABLE.name))
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, level, start_s, end_s, text, model, passed, flags, *layers in database.sql(
        _CAPTIONS.format(layers=names), params={"checked": checked}
    ).fetchall():
        more = {n: v if isinstance(v, str) else ", ".join(v) for n, v in zip(LAYERS, layers, strict=True) if v}
        shown = {"level": level, "start": start_s, "end": end_s, "text": text or "", "model": model}
        shown["wrong" if not passed or not text else "noted"] = list(flags)
        found[number].append(shown | {"layers": {n: v for n, v in more.items() if v != text}})
    return found


_CAPTIONS = """
select s.number, c.level, greatest(c.start_s, s.start_s) - s.start_s, least(c.end_s, s.end_s) - s.start_s, w.text,
    w.model, case when $checked then coalesce(k.passed, false) else len(c.flags) = 0 end,
    coalesce(k.flags, c.flags), {layers}
from shown s join captions c on c.source_id = s.source_id
    and (c.clip_id = s.clip_id or (c.clip_id is null and c.start_s < s.end_s and c.end_s > s.start_s))
left join caption_checks k on k.source_id = c.source_id and k.node_id = c.node_id
left join captions w on w.source_id = c.source_id and w.node_id = coalesce(k.text_from, c.node_id)
order by s.number, c.start_s, c.end_s desc
"""


def _series(database: duckdb.DuckDBPyConnection, dataset: Dataset) -> dict[int, dict[str, list[float | None]]]:
    """By clip: each series of every table that has rows over time, as its mean in every second of the clip."""
    found: dict[int, dict[str, list[float | None]]] = defaultdict(dict)
    database.register("sources", dataset.scan(sources.SOURCES))
    ((seconds_in_all,),) = database.sql("select coalesce(sum(duration_s), 0) from sources").fetchall()
    for table in sorted(set(dataset.table_names()) - NO_SCORES):
        stored = dataset.stored(table)
        names = stored.schema.names
        time = "t_s" if "t_s" in names else "start_s" if "second" in names else None
        fields = [f.name for f in stored.schema if pa.types.is_floating(f.type)]
        fields = [name for name in fields if name not in ("t_s", "start_s", "end_s", "previous_s")]
        if time is None or "source_id" not in names or not fields:
            continue
        if stored.count_rows() > DENSEST * seconds_in_all:
            continue
        database.register("series", stored)
        mine = "series.clip_id = s.clip_id" if "clip_id" in names else "series.source_id = s.source_id"
        means = ", ".join(f'avg(series."{name}")' for name in fields)
        rows = database.sql(
            f"select s.number, floor(series.{time} - s.start_s)::int as second, {means} from shown s join series "  # noqa: S608
            f"on {mine} and series.{time} >= s.start_s and series.{time} < s.end_s group by all order by all"
        ).to_arrow_table()
        _take(found, table, fields, rows)
    return found


def _take(found: dict[int, dict[str, list[float | None]]], table: str, fields: list[str], rows: pa.Table) -> None:
    numbers: list[Any] = rows.column(0).to_pylist()
    seconds: list[Any] = rows.column(1).to_pylist()
    for place, name in enumerate(fields):
        column = rows.column(place + 2)
        if column.null_count == len(column):
            continue
        rounded = [None if v is None or not math.isfinite(v) else float(f"{v:.4g}") for v in column.to_pylist()]
        for number, second, value in zip(numbers, seconds, rounded, strict=True):
            line = found[number].setdefault(f"{table}.{name}", [])
            line.extend([None] * (second - len(line)))
            line.append(value)

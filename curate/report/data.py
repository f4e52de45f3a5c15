"""What the report's page shows, in columns: clips with every score found in any table, sources, rules, errors.

No table is known by name but the field's own: a score is a column of a table that has a row per clip. What it means
and its unit come with it, in the Parquet file.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa

from curate.books import read_recipe, read_summary
from curate.dataset import Dataset
from curate.folder import decoded
from curate.recipe import Recipe
from curate.redecide import DECIDING, command, outstanding
from curate.rules.rule import Rule, is_number
from schemas import caption_checks, captions, clips, decisions, errors, ledger, media, screening, shards

MOST_CLIPS = 20_000
"""Clips on the page. Of a larger dataset it shows a sample, the same each time, and says so."""

NO_SCORES = {
    t.name for t in (ledger.TABLE, decisions.TABLE, screening.TABLE, errors.TABLE, captions.TABLE, media.TABLE)
}
NO_SCORES |= {shards.SAMPLES.name, shards.SHARDS.name}
"""Tables that say what became of a clip, not what it is like; the page shows them otherwise."""


@dataclass(frozen=True)
class Shown:
    """The page's data, and its clips as rows (clip_id, source_id, path, start_s, end_s) in the page's order."""

    data: dict[str, Any]
    clips: pa.Table


def as_script(name: str, data: Any) -> bytes:
    """A script that sets `window.NAME`. A page opened from disk may load scripts, but fetch nothing."""
    text = json.dumps(json.dumps(data, separators=(",", ":"), allow_nan=False))
    return f"window.{name} = JSON.parse({text});\n".encode()


def gather(dataset: Dataset) -> Shown:
    """Everything that the page needs at once."""
    recipe, summary = read_recipe(dataset), read_summary(dataset)
    with duckdb.connect() as database:
        for module in (ledger, clips, decisions, screening, media, captions, caption_checks):
            database.register(module.TABLE.name, dataset.scan(module.TABLE))
        ((total,),) = database.sql("select count(*) from ledger join clips using (clip_id)").fetchall()
        rows = database.sql(_CLIPS, params={"most": MOST_CLIPS}).to_arrow_table()
        database.register("shown", rows)
        sources = database.sql(_SOURCES).to_arrow_table().to_pylist()
        columns = _scores(database, dataset)
    place = {source["source_id"]: number for number, source in enumerate(sources)}
    remaining = outstanding(dataset)
    data = {
        "name": dataset.url.rstrip("/").rsplit("/", 1)[-1],
        "select": shlex.join(["curate", "select", place_of(dataset)]),
        "clipsInAll": total,
        "funnel": summary["funnel"],
        "states": summary["states"],
        "toDo": [work["stage"] for work in remaining],
        "next": shlex.join(command(place_of(dataset))) if remaining else None,
        "rules": rules_of(recipe),
        "columns": columns,
        "clips": _clips(rows, place),
        "sources": [{k: s[k] for k in ("path", "state", "reason")} | {"href": _href(s["path"])} for s in sources],
        "errors": dataset.scan(errors.TABLE).to_table(columns=["path", "clip_id", "stage", "message"]).to_pylist(),
    }
    return Shown(data, rows.select(["clip_id", "source_id", "start_s", "end_s"]))


_CLIPS = """
with caption as (
    select c.clip_id, string_agg(w.text, ' ' order by c.start_s) as text
    from captions c left join caption_checks k on k.source_id = c.source_id and k.node_id = c.node_id
    join captions w on w.source_id = c.source_id and w.node_id = coalesce(k.text_from, c.node_id)
    where c.level = 'shot' group by c.clip_id
), chosen as (
    select ledger.* from ledger join clips using (clip_id) order by md5(clip_id) limit $most
)
select l.clip_id, l.source_id, l.state, l.reason, l.duration_s, c.start_s, c.end_s, m.path as file, t.text,
    d.first_rule, d.rule_number, s.kept is false as screened
from chosen l join clips c using (clip_id) left join media m using (clip_id) left join caption t using (clip_id)
left join decisions d using (clip_id) left join screening s using (clip_id)
order by l.state <> 'kept', l.duration_s desc, l.clip_id
"""

_SOURCES = "select source_id, path, state, reason from ledger where kind = 'source' order by path"


def _clips(rows: pa.Table, place: dict[str, int]) -> dict[str, list[Any]]:
    named: dict[str, list[Any]] = {name: rows.column(name).to_pylist() for name in rows.column_names}
    return {
        "id": named["clip_id"],
        "source": [place[source] for source in named["source_id"]],
        "start": [round(v, 3) for v in named["start_s"]],
        "end": [round(v, 3) for v in named["end_s"]],
        "seconds": [round(v, 3) for v in named["duration_s"]],
        "state": named["state"],
        "reason": named["reason"],
        "file": [quote(path) if path else None for path in named["file"]],
        "text": named["text"],
    }


def _href(path: str) -> str | None:
    """A local source as a URL that a page on the same disk can play."""
    local = decoded(path)
    return f"file://{quote(os.fsencode(Path(local)))}" if local.startswith("/") else None


def place_of(dataset: Dataset) -> str:
    """How the dataset is named from wherever the page is read."""
    return dataset.root if dataset.local else dataset.url


def rules_of(recipe: Recipe) -> list[dict[str, Any]]:
    """Every rule of the stages that decide, in the order in which the funnel counts them."""
    found = []
    for table in DECIDING:
        stage = recipe.writer(table)
        for name, rule in (getattr(stage, "rules", None) or {}).items():
            if stage is not None and isinstance(rule, Rule):
                found.append({"stage": stage.name, "screen": table == screening.TABLE.name, "name": name})
                found[-1]["rule"] = rule.model_dump(mode="json")
    return found


def _scores(database: duckdb.DuckDBPyConnection, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """By `table.column`: what it means, its kind, and its value for each clip shown."""
    found: dict[str, dict[str, Any]] = {}
    for table in [*sorted(set(dataset.table_names()) - NO_SCORES), "sources"]:
        stored = dataset.stored(table)
        key = "source_id" if table == "sources" else "clip_id"
        fields = [
            f for f in stored.schema if _scalar(f.type) and f.name not in ("clip_id", "source_id", "user", "path")
        ]
        if key not in stored.schema.names or not fields:
            continue
        database.register("scores", stored)
        ((several,),) = database.sql(f"select count(*) > count(distinct {key}) from scores").fetchall()  # noqa: S608
        if several:
            continue  # a series or events, not a score
        names = ", ".join(f'scores."{field.name}"' for field in fields)
        rows = database.sql(
            f"select {names} from shown left join scores using ({key}) "  # noqa: S608 - names out of a schema, quoted
            "order by shown.state <> 'kept', shown.duration_s desc, shown.clip_id"
        ).to_arrow_table()
        for field, values in zip(fields, rows.columns, strict=True):
            if values.null_count < len(values):
                found[f"{table}.{field.name}"] = _column(field, values)
    return found


def _scalar(kind: pa.DataType) -> bool:
    return is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)


def _column(field: pa.Field, values: pa.ChunkedArray) -> dict[str, Any]:
    kind = "number" if is_number(field.type) else "truth" if pa.types.is_boolean(field.type) else "text"
    single = pa.types.is_float32(field.type)
    listed: list[Any] = values.to_pylist()
    if pa.types.is_floating(field.type):
        # A float32 as the shortest decimal that gives it back: half the bytes, and the same number.
        texts: list[Any] = values.cast(pa.string()).to_pylist() if single else listed
        listed = [None if v is None or not math.isfinite(v) else float(t) for v, t in zip(listed, texts, strict=True)]
    doc = ((field.metadata or {}).get(b"doc") or b"").decode()
    return {"doc": doc, "kind": kind, "single": single, "values": listed}

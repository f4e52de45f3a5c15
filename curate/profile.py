"""A dataset in a few kilobytes: its funnel, the distribution of every score, and what its captions are like.

Two profiles can be held against each other after the rows of the first are gone: see `difference`.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from curate.dataset import Dataset

POINTS = 51
"""Quantiles kept of a distribution: a distance of two is then true to 1/50, and a profile stays below 50 kB."""
ROWS = 200_000
"""Clips looked at, chosen by the hash of their ids: a share of so many is true to 0.4 % (three deviations)."""
WORDS = 300
"""The most frequent words of the captions that are kept: what a caption model says too often is among them."""
ENOUGH = 30
"""Clips that a score must have on both sides to be called drifted: of fewer, the distance of two draws from one
distribution exceeds 0.35 once in twenty times (Smirnov's table)."""

_NOT_SCORES = {"ledger", "errors", "samples", "face_tracks", "faces"}


def measure(dataset: Dataset) -> dict[str, Any]:
    """The profile of what a dataset holds now."""
    summary = json.loads(dataset.read("summary.json")) if dataset.exists("summary.json") else {}
    with duckdb.connect(config={"threads": 1}) as database:
        scores: dict[str, Any] = {}
        for name in dataset.table_names():
            table = dataset.stored(name)
            if name not in _NOT_SCORES and "clip_id" in table.schema.names:
                scores |= _scores(database, name, table)
        captions = _captions(database, dataset.stored("captions")) if "captions" in dataset.table_names() else {}
    return {"funnel": summary.get("funnel", []), "scores": scores, "captions": captions}


def _scores(database: duckdb.DuckDBPyConnection, name: str, table: ds.Dataset) -> dict[str, Any]:
    """Of a table with one row a clip: each numeric column's count, nulls and quantiles."""
    columns = [
        field.name
        for field in table.schema
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)
    ]
    if not columns:
        return {}
    database.register("profiled", table)
    rows, clips = database.sql("select count(*), count(distinct clip_id) from profiled").fetchall()[0]
    if not rows or rows != clips:
        return {}
    points = [round(i / (POINTS - 1), 4) for i in range(POINTS)]
    quoted = ['"' + column.replace('"', '""') + '"' for column in columns]
    values = [f"case when isfinite({q}::double) then {q}::double end" for q in quoted]
    asked = ", ".join(f"count({v}), quantile_cont({v}, {points})" for v in values)
    every = -(-rows // ROWS)
    query = f"select count(*), {asked} from profiled where hash(clip_id) % {every} = 0"  # noqa: S608 - quoted names
    seen, *found = database.sql(query).fetchall()[0]
    scores = {}
    for column, count, quantiles in zip(columns, found[::2], found[1::2], strict=True):
        scores[f"{name}.{column}"] = {
            "clips": count * every,
            "nulls": (seen - count) * every,
            "quantiles": [float(f"{q:.6g}") for q in quantiles] if count else [],
        }
    return scores


def _captions(database: duckdb.DuckDBPyConnection, table: ds.Dataset) -> dict[str, Any]:
    """Captions and words a caption by level, and the share of captions that hold each of the commonest words."""
    database.register("told", table)
    levels = {
        level: {"captions": count, "words": float(words or 0)}
        for level, count, words in database.sql(
            "select level, count(*), avg(len(regexp_extract_all(coalesce(text, ''), '\\S+'))) from told "
            "group by level order by level"
        ).fetchall()
    }
    words = database.execute(_WORDS, [WORDS]).fetchall()
    return {"levels": levels, "words": {word: round(share, 5) for word, share in words}}


_WORDS = """
with spoken as (
    select row_number() over () as caption, regexp_extract_all(lower(coalesce(text, '')), '[\\p{L}\\p{N}]+') as words
    from told
),
seen as (select distinct caption, unnest(words) as word from spoken)
select word, count(*) / (select count(*) from told) from seen group by word order by 2 desc, 1 limit ?
"""


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """What changed from profile `a` to profile `b`.

    Returns:
        `funnel`: steps with the hours of each; `scores`: rows of column, distance (Kolmogorov and Smirnov's: the
        largest difference of the two distributions, 0 to 1), medians, counts, the farthest first; `captions`: by
        level, and the words whose share of captions changed most; `kept`: the share of the
        takes' hours that was kept, on both sides.
    """
    rows = []
    for column in sorted(a["scores"].keys() & b["scores"].keys()):
        one, other = a["scores"][column], b["scores"][column]
        rows.append(
            {
                "column": column,
                "distance": distance(one["quantiles"], other["quantiles"]),
                "medians": [_median(one["quantiles"]), _median(other["quantiles"])],
                "clips": [one["clips"], other["clips"]],
                "nulls": [one["nulls"], other["nulls"]],
                "enough": min(one["clips"], other["clips"]) >= ENOUGH,
            }
        )
    rows.sort(key=lambda row: (-(row["distance"] or 0), row["column"]))
    words_a, words_b = a["captions"].get("words", {}), b["captions"].get("words", {})
    changes = {word: words_b.get(word, 0) - words_a.get(word, 0) for word in words_a.keys() | words_b.keys()}
    words = sorted(changes, key=lambda word: (-abs(changes[word]), word))[:20]
    return {
        "funnel": _steps(a["funnel"], b["funnel"]),
        "scores": rows,
        "only_in_a": sorted(a["scores"].keys() - b["scores"].keys()),
        "only_in_b": sorted(b["scores"].keys() - a["scores"].keys()),
        "captions": {
            "levels": {
                level: [a["captions"].get("levels", {}).get(level), b["captions"].get("levels", {}).get(level)]
                for level in sorted(a["captions"].get("levels", {}).keys() | b["captions"].get("levels", {}).keys())
            },
            "words": [[word, words_a.get(word, 0), words_b.get(word, 0)] for word in words if changes[word]],
        },
        "kept": [_kept(a["funnel"]), _kept(b["funnel"])],
    }


def drifted(found: dict[str, Any], limit: float) -> list[str]:
    """What of a difference lies beyond a limit, in words: a score's distance, or the share of hours kept."""
    told = [
        f"{row['column']}: distance {row['distance']:.2f} (median {row['medians'][0]:.4g} before, "
        f"{row['medians'][1]:.4g} now)"
        for row in found["scores"]
        if row["enough"] and row["distance"] is not None and row["distance"] > limit
    ]
    before, now = found["kept"]
    if before is not None and now is not None and abs(before - now) > limit:
        told.append(f"hours kept: {before:.0%} before, {now:.0%} now")
    return told


def distance(a: list[float], b: list[float]) -> float | None:
    """Kolmogorov and Smirnov's distance of two distributions given by evenly spaced quantiles; None if one is empty."""
    if not a or not b:
        return None
    grid = np.unique(np.concatenate([a, b]))
    return round(float(max(np.abs(_share(a, grid, side) - _share(b, grid, side)).max() for side in _SIDES)), 4)


_SIDES = ("left", "right")


def _share(quantiles: list[float], at: np.ndarray, side: str) -> np.ndarray:
    """The share of values below (`left`) each point, or up to and with it (`right`)."""
    levels = np.linspace(0, 1, len(quantiles))
    # Equal quantiles are one value that many have: the share jumps there, from the first's level to the last's.
    unique, first, count = np.unique(quantiles, return_index=True, return_counts=True)
    below, with_it = levels[first], levels[first + count - 1]
    upper = np.clip(np.searchsorted(unique, at), 0, len(unique) - 1)
    lower = np.maximum(upper - 1, 0)
    gap = unique[upper] - unique[lower]
    along = np.clip((at - unique[lower]) / np.where(gap > 0, gap, 1.0), 0, 1)
    between = with_it[lower] + (below[upper] - with_it[lower]) * along
    inner = np.where(unique[upper] == at, (below if side == "left" else with_it)[upper], between)
    return np.where(at < unique[0], 0.0, np.where(at > unique[-1], 1.0, inner))


def _median(quantiles: list[float]) -> float | None:
    return quantiles[len(quantiles) // 2] if quantiles else None


def _kept(funnel: list[dict[str, Any]]) -> float | None:
    hours = {step["name"]: step["hours"] for step in funnel}
    return hours["kept"] / hours["takes"] if hours.get("takes") and "kept" in hours else None


def _steps(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before, now = ({step["name"]: step for step in steps} for steps in (a, b))
    names = [step["name"] for step in b] + [name for name in before if name not in now]
    return [
        {
            "step": name,
            "count": [before.get(name, {}).get("count"), now.get(name, {}).get("count")],
            "hours": [before.get(name, {}).get("hours"), now.get(name, {}).get("hours")],
        }
        for name in names
    ]

"""What the page says of a dataset: how much there is, where it is from, how it was made, who is in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from curate import tombstones
from curate.books import RECIPE, read_summary, recipe_values
from curate.dataset import Dataset
from pipelines.push import licences
from pipelines.push.models import ran
from pipelines.push.ready import Samples
from pipelines.push.table import Tables, user
from schemas import characters, speech

MOST = 12
"""Rows of a table of the page at most; the rest are counted together."""
QUANTILES = (0, 5, 50, 95, 100)

_HIDDEN = "(left out)"
_PRIVATE = frozenset({"cast", "corrections", "consenting", "apart", "together", "url", "key_variable"})
"""Parameters that say who somebody is, or where something of the maker's own lies."""
_PATH = re.compile(r"(/|~|file:|\.\.?/|[A-Za-z]:[\\/]|\\\\)|[^\s:]*/[^\s]*/")


@dataclass(frozen=True)
class Group:
    """Sources of one kind."""

    name: str
    sources: int
    clips: int
    hours: float


def size_category(clips: int) -> str:
    """The Hub's word for how many rows there are."""
    steps = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12]
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    at = int(np.searchsorted(steps, clips, side="right"))
    if not at:
        return "n<1K"
    return f"n>{names[-1]}" if at == len(steps) else f"{names[at - 1]}<n<{names[at]}"


def grouped(samples: Samples, told: Mapping[str, str]) -> list[Group]:
    """Kept clips by what is told of their sources, the longest first; what is not told is empty."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    clips: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in samples:
        name = told.get(row["source_id"], "")
        sources[name].add(row["source_id"])
        clips[name] += 1
        seconds[name] += row["json"]["duration_s"]
    groups = [Group(name, len(ids), clips[name], seconds[name] / 3600) for name, ids in sources.items()]
    return sorted(groups, key=lambda group: (-group.hours, group.name))


def shortened(groups: list[Group]) -> list[Group]:
    """The first of them, and the others as one."""
    if len(groups) <= MOST:
        return groups
    rest = groups[MOST - 1 :]
    sums = (sum(g.sources for g in rest), sum(g.clips for g in rest), sum(g.hours for g in rest))
    return [*groups[: MOST - 1], Group(f"{len(rest)} others", *sums)]


def said(samples: Samples, name: str) -> dict[str, str]:
    """By source: what the user's list says under `license`, `url` or `creator`. One licence has one spelling."""
    told = {row["source_id"]: user(row["json"]["source"], name) for row in samples}
    return {source: licences.spelt(value) for source, value in told.items()} if name == "license" else told


def hosts(urls: Mapping[str, str]) -> dict[str, str]:
    """By source: the host of its URL."""
    return {source: urlsplit(url).hostname or "" for source, url in urls.items()}


def distributions(rows: pa.Table, schema: pa.Schema) -> list[dict[str, Any]]:
    """Of each numeric column that is a score: its quantiles over the kept clips, and how many have none."""
    found = []
    for field in schema:
        numeric = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        doc = (field.metadata or {}).get(b"doc", b"").decode()
        if not numeric or not re.match(r"\w+\.\w+: ", doc):
            continue
        values = rows[field.name].cast(pa.float64())
        known = np.asarray(values.drop_null())
        known = known[np.isfinite(known)]
        quantiles = [float(q) for q in np.percentile(known, QUANTILES)] if len(known) else []
        name, meaning = doc.split(": ", 1)
        found.append({"name": name, "doc": meaning, "quantiles": quantiles, "nulls": len(rows) - len(known)})
    return found


def counted(rows: pa.Table, *columns: str) -> list[tuple[str, int, float]]:
    """Clips and hours by the values of columns (`width`, `height`: `1280 x 720`), the most first."""
    clips: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for *values, duration in zip(*(rows[c].to_pylist() for c in (*columns, "duration_s")), strict=True):
        name = " x ".join(f"{value:g}" for value in values)
        clips[name] += 1
        seconds[name] += duration
    ordered = sorted(clips, key=lambda name: (-clips[name], name))
    found = [(name, clips[name], seconds[name] / 3600) for name in ordered[:MOST]]
    if rest := ordered[MOST:]:
        found.append((f"{len(rest)} others", sum(clips[n] for n in rest), sum(seconds[n] for n in rest) / 3600))
    return found


def provenance(dataset: Dataset) -> dict[str, Any]:
    """How it was made: the recipe without what is the maker's own, its digest, each stage, the versions of packages."""
    text = dataset.read(RECIPE)
    recipe = recipe_values(dataset)
    stages: dict[str, dict[str, Any]] = {}
    versions: defaultdict[str, set[str]] = defaultdict(set)
    for table in dataset.table_names():
        # The parts of a table were made alike: were a parameter changed, they would have been made anew.
        for key in sorted(dataset.keys(table))[:1]:
            told = dataset.provenance(table, key)
            for package, version in told.get("versions", {}).items():
                versions[package].add(version)
            if told.get("stage"):
                parameters = _public(told.get("parameters") or {})
                stages[told["stage"]] = {"version": told["stage_version"], "table": table, "parameters": parameters}
    order = list(recipe["stages"])
    return {
        "recipe": recipe["name"],
        "description": recipe.get("description") or "",
        "digest": hashlib.sha256(text).hexdigest(),
        "text": yaml.safe_dump(_public(recipe), sort_keys=False, allow_unicode=True, width=110),
        "longtake": ", ".join(sorted(versions.pop("longtake", {recipe.get("longtake", "")}))),
        "versions": {package: ", ".join(sorted(found)) for package, found in sorted(versions.items())},
        "stages": [{"name": n, **stages[n]} for n in order if n in stages],
    }


def _public(value: Any, key: str = "") -> Any:
    """A recipe or parameters without paths, addresses and people's names."""
    if isinstance(value, dict):
        return {k: _public(v, str(k)) for k, v in value.items()}
    if key in _PRIVATE and value not in (None, [], {}, ""):
        return _HIDDEN
    if isinstance(value, list):
        return [_public(v, key) for v in value]
    if isinstance(value, str) and key not in ("why", "description", "on") and _PATH.match(value):
        return _HIDDEN
    return value


def people(dataset: Dataset, recipe: Mapping[str, Any], names: int) -> dict[str, Any]:
    """What the page says of the people in the pictures and in the sound."""
    stages = recipe.get("stages", {})
    clips = stages.get("clips") or {}
    stones = tombstones.load(dataset)
    done: Counter[str] = Counter(stone.kind for stone in stones.done)
    return {
        "faces": "face_tracks" in stages,
        "voices": "speech" in stages,
        "known_again": "voices" in stages or "face_tracks" in stages,
        "blurred": bool(clips.get("blur_faces")),
        "spared": len((clips.get("blur") or {}).get("consenting") or ()),
        "characters": dataset.scan(characters.CHARACTERS).count_rows(),
        "names": names,
        "purged": {kind: done[kind] for kind in ("source", "span", "person") if done[kind]},
    }


def limits(dataset: Dataset, samples: Samples, tables: Tables, recipe: Mapping[str, Any]) -> list[str]:
    """What a user should know before trusting it, each as a sentence."""
    stages = set(recipe.get("stages", {}))
    captioners = sorted({node["model"] for row in samples for node in row["json"]["captions"]})
    told = []
    others = [name for name in captioners if name != "grounded"]
    if "grounded" in captioners:
        every = "Captions" if not others else "Some captions"
        told.append(
            f"{every} are *grounded*: sentences made from measured facts (camera, motion, light, colour, text, faces, "
            "speech). They do not say what is seen beyond that: no objects, no actions."
        )
    if others:
        told.append(f"Captions were written by {', '.join(others)}: a model that may be wrong about what is seen.")
    if "verify" not in stages:
        told.append("Captions were not checked against what was measured (no stage `verify`).")
    weak = dataset.scan(speech.TABLE).to_table(columns=["weak", "origin"])
    heard: list[Any] = weak.filter(pc.field("weak"))["origin"].unique().to_pylist()
    if heard:
        told.append(
            f"Speech was written down by {', '.join(sorted(heard))}, which is often wrong: marked weak, quoted nowhere."
        )
    for missing, sentence in (
        (("safety", "not looked for unsafe content")),
        (("dedup", "not compared: the same footage may be in it more than once")),
        (("overlay", "not looked at for watermarks and logos")),
        (("text", "not looked at for text and subtitles")),
    ):
        if missing not in stages:
            told.append(f"Clips were {sentence} (no stage `{missing}`).")
    empty = [d["name"] for d in distributions(tables.rows, tables.schema) if not d["quantiles"]]
    if empty:
        named = ", ".join(f"`{name}`" for name in empty[:MOST]) + (" and others" if len(empty) > MOST else "")
        told.append(f"Not measured for any clip: {named}. The columns `…_unmeasured` say why.")
    told.append(
        "Thresholds and detectors were not validated on this footage; every score is given, so that you can choose."
    )
    return told


def gather(dataset: Dataset, samples: Samples, tables: Tables, names: int) -> dict[str, Any]:
    """All of it."""
    recipe = recipe_values(dataset)
    licences, urls = said(samples, "license"), said(samples, "url")
    duration = np.asarray(tables.rows["duration_s"])
    splits: list[Any] = tables.rows["split"].to_pylist()
    split = Counter(splits)
    sizes = {name: _split(samples, name) | {"table_bytes": tables.bytes_of(name)} for name in split}
    return {
        "clips": len(tables.rows),
        "hours": float(duration.sum()) / 3600,
        "sources": len(set(tables.rows["source_id"].to_pylist())),
        "durations": [float(q) for q in np.percentile(duration, QUANTILES)],
        "sounding": sum(value is not None for value in tables.rows["audio_s"].to_pylist()),
        "splits": sizes,
        "funnel": read_summary(dataset)["funnel"],
        "resolutions": counted(tables.rows, "width", "height"),
        "rates": counted(_rounded(tables.rows), "fps"),
        "scores": distributions(tables.rows, tables.schema),
        "licences": grouped(samples, licences),
        "hosts": shortened(grouped(samples, hosts(urls))) if any(urls.values()) else [],
        "creators": len({name for name in said(samples, "creator").values() if name}),
        "provenance": provenance(dataset),
        "models": ran(dataset),
        "people": people(dataset, recipe, names),
        "limits": limits(dataset, samples, tables, recipe),
    }


def _split(samples: Samples, name: str) -> dict[str, Any]:
    mine = [row for row in samples if row["split"] == name]
    return {
        "clips": len(mine),
        "sources": len({row["source_id"] for row in mine}),
        "hours": sum(row["json"]["duration_s"] for row in mine) / 3600,
        "bytes": sum(row["bytes"] for row in mine),
    }


def _rounded(rows: pa.Table) -> pa.Table:
    place = rows.schema.get_field_index("fps")
    return rows.set_column(place, "fps", pc.round(rows["fps"], 2))


def as_json(value: Any) -> str:
    """Parameters on one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)

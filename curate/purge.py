"""Takes out of a dataset what its tombstones name: every part, file and member of a tar that says anything of it.

What is taken out of a table that other rows share, or of a source that stays, is dropped as a whole: the next run makes
it anew from what is left, by the same keys. So a purge that was killed is completed by the next one, or by any run.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import yaml

from curate import history
from curate.books import RECIPE, write_recipe
from curate.dataset import Dataset
from curate.parts import encode
from curate.recipe import Recipe, parse
from curate.stage import RowStage, Stage
from curate.tombstones import FOLDER, SOMEBODY, WHOLE, Tombstones, settled, stripped
from curate.work.ingest import hidden
from schemas import captions, errors, faces, indexes, ledger, shards, sources

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}")
REPORT, REPLIES, INTERVALS, SHARDS = "report/", "replies/", "intervals/", "shards/"
_LAYERS = ("text", "raw", "prompt", "short")
"""Columns of `captions` by which a kept answer of a model is known again."""


@dataclass
class Removal:
    """What has to go, or be written anew."""

    drop: list[tuple[str, str]] = field(default_factory=list)
    """Parts as (table, key)."""
    edit: list[tuple[str, str]] = field(default_factory=list)
    """Parts that stay, without the rows or cells that must not."""
    files: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    """Of other makers: their other members stay."""


def settle(dataset: Dataset, recipe: Recipe, tombstones: Tombstones) -> None:
    """Remove what is pending. Only for the holder of the dataset's lock.

    Files go first: a part says which there are until they are gone.
    """
    if not tombstones.pending:
        return
    fresh = tombstones.only_pending()
    found = find(dataset, recipe, fresh)
    for path in found.files:
        dataset.remove(path)
    for path in found.tars:
        _repack(dataset, path, fresh)
    _edit(dataset, found.edit, fresh)
    for table, keys in _by_table(found.drop).items():
        dataset.drop_parts(table, keys)
    if dataset.exists(RECIPE):
        write_recipe(dataset, without(recipe, tombstones))
    history.forget(dataset)
    settled(dataset, tombstones)


def find(dataset: Dataset, recipe: Recipe, fresh: Tombstones) -> Removal:
    """What a dataset holds of that for which the tombstones stand. Changes nothing."""
    found = Removal()
    looks = _Parts(fresh, recipe)
    for table in dataset.table_names():
        for key, rows in dataset.parts(table):
            looks.see(table, key, *_texts(table, rows, fresh))
    looks.decide(found)
    for path in dataset.tree(""):
        if path.startswith(("tables/", f"{FOLDER}/")) or path == RECIPE:
            continue
        name = path.rsplit("/", 1)[-1]
        index = path.startswith(SHARDS) and name == "index.json"
        if path.startswith((REPORT, INTERVALS)) or path in looks.tars or index or _named(name, fresh):
            found.files.append(path)
        elif path.endswith(".tar") and any(_named(name, fresh) for name in _members(dataset, path)):
            (found.files if path.startswith(SHARDS) else found.tars).append(path)
    # Always, since a shard that a killed purge removed tells no longer that its index is wrong.
    found.drop += [(indexes.TABLE.name, key) for key in sorted(dataset.keys(indexes.TABLE.name))]
    found.files += _replies(dataset, set(found.drop), fresh)
    return found


class _Parts:
    """The parts of all tables, and what each says of what must go."""

    def __init__(self, fresh: Tombstones, recipe: Recipe) -> None:
        self._fresh, self._recipe = fresh, recipe
        self._of: dict[tuple[str, str], set[str]] = {}
        self._bad: set[tuple[str, str]] = set()
        self._said: defaultdict[str, set[str]] = defaultdict(set)
        """By source (the first digits of its id): tables that say a purged name, or what a stripped face track was."""
        self._reached: dict[frozenset[str], frozenset[str]] = {}
        self.tars: set[str] = set()
        """Shards with a sample that says a purged name."""

    def see(self, table: str, key: str, owners: set[str], texts: pa.Table) -> None:
        """Look at one part.

        Args:
            owners: the sources, by the first digits of their ids, that its rows or the ids in them are of.
            texts: its text, where names are looked for.
        """
        fresh, part = self._fresh, (table, key)
        self._of[part] = owners
        if any(fresh.source(source) or fresh.spans(source) for source in owners):
            self._bad.add(part)
        said = texts.num_rows and fresh.nameless(texts) is not texts
        if said or (table == faces.TRACKS.name and any(map(fresh.tracked, owners))):
            for source in owners:
                self._said[source].add(table)
            if table == shards.SAMPLES.name:
                after = fresh.nameless(texts).to_pylist()
                changed = (a for a, b in zip(texts.to_pylist(), after, strict=True) if a != b)
                self.tars |= {row["shard"] for row in changed}

    def decide(self, found: Removal) -> None:
        probes = {s.writes.name for s in self._recipe.stages if not isinstance(s, RowStage)}
        opened = {s.writes.name for s in self._recipe.stages if _opens(s)}
        for (table, key), owners in sorted(self._of.items()):
            told = any(table in self._said.get(source, ()) for source in owners)
            if table in (sources.INPUTS.name, errors.TABLE.name):
                if (table, key) in self._bad or (told and table == errors.TABLE.name):
                    found.edit.append((table, key))
            elif table == sources.SOURCES.name:
                if any(map(self._fresh.source, owners)):
                    found.drop.append((table, key))
            elif table == indexes.TABLE.name:
                continue
            elif (table, key) in self._bad:
                found.drop.append((table, key))
            elif told and (table in probes | opened or table == faces.TRACKS.name):
                found.edit.append((table, key))
            elif told or any(table in self._after(source) for source in owners):
                found.drop.append((table, key))

    def _after(self, source: str) -> frozenset[str]:
        """Tables made of those that say a name of the source, directly or not, but for those of its media."""
        tables = frozenset(self._said.get(source, ()))
        if tables not in self._reached:
            reached = set(tables)
            for stage in self._recipe.stages:
                if reached & stage.inputs(self._recipe.tables).keys() and not _opens(stage):
                    reached.add(stage.writes.name)
            self._reached[tables] = frozenset(reached | {ledger.TABLE.name}) if tables else frozenset()
        return self._reached[tables]


def _opens(stage: Stage) -> bool:
    """Whether a stage makes its table from a source's media, so that it is edited rather than made anew. `people` opens
    but the photos of a cast."""
    return isinstance(stage, RowStage) and stage.opens_media and stage.writes.name != faces.PEOPLE.name


def _texts(table: str, rows: pa.Table, fresh: Tombstones) -> tuple[set[str], pa.Table]:
    """The sources that a part's rows are of, and its text where names are looked for."""
    names = rows.schema.names
    wordy = [f.name for f in rows.schema if fresh.persons and not f.name.endswith("_id")]
    wanted = ["source_id"] if "source_id" in names else names
    whole = rows.select(list(dict.fromkeys([*wanted, *_wordy(rows.schema, wordy)])))
    if "source_id" in names:
        owners = {str(s)[:WHOLE] for s in whole["source_id"].unique().to_pylist()}
    else:
        owners = {match for row in whole.to_pylist() for match in _ID.findall(repr(row))}
    texts = whole.select([n for n in wordy if n in whole.schema.names])
    if table in (sources.SOURCES.name, sources.INPUTS.name):
        texts = texts.slice(0, 0)  # where a source lies is the user's to change; `curate purge` says so
    return owners, texts.replace_schema_metadata(None)


def _wordy(schema: pa.Schema, names: list[str]) -> list[str]:
    return [n for n in names if "string" in str(schema.field(n).type)]


def _named(name: str, fresh: Tombstones) -> bool:
    """Whether a file's or a member's name says an id of a purged source, or of one that has to be made anew."""
    return any(fresh.source(match) or fresh.spans(match) for match in _ID.findall(name))


def _members(dataset: Dataset, path: str) -> Iterator[str]:
    with dataset.open(path) as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            yield member.name


def _replies(dataset: Dataset, dropped: set[tuple[str, str]], fresh: Tombstones) -> Iterator[str]:
    """Kept answers of a captioner that no caption which stays was made of: they do not say whose they are."""
    paths = dataset.tree(REPLIES.rstrip("/"))
    if not paths:
        return
    known: set[str] = set()
    for key in dataset.keys(captions.TABLE.name):
        if (captions.TABLE.name, key) not in dropped:
            rows = dataset.read_part(captions.TABLE, key, _LAYERS)
            known |= {text for column in rows.columns for text in column.to_pylist() if isinstance(text, str)}
    for path in paths:
        try:
            text = json.loads(dataset.read(path))["reply"]["text"]
            told = json.loads(text) if text.lstrip().startswith("{") else {"text": text.strip()}
            mine = any(told.get(name) in known for name in _LAYERS if isinstance(told.get(name), str))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text, mine = "", False
        if not mine or fresh.spoken(text) != text:
            yield path


def _edit(dataset: Dataset, parts: Sequence[tuple[str, str]], fresh: Tombstones) -> None:
    """Write parts again without what must go, under the same keys."""
    for table, keys in _by_table(parts).items():
        for key, rows in dataset.parts(table):
            if key in keys:
                dataset.write(dataset.part(table, key), encode(rows.schema, [_edited(table, rows, fresh)]))
    dataset.settle()


def _edited(table: str, rows: pa.Table, fresh: Tombstones) -> pa.Table:
    """A part's rows without what must go."""
    if table == sources.INPUTS.name:
        listed = [
            hidden(fresh.owner(row["source_id"])) if fresh.source(row["source_id"]) else row for row in rows.to_pylist()
        ]
        return pa.Table.from_pylist(listed, schema=rows.schema)
    if table == errors.TABLE.name:
        stay = [not (fresh.source(s) or fresh.spans(s)) for s in map(str, rows["source_id"].to_pylist())]
        return fresh.nameless(rows.filter(pa.array(stay, pa.bool_())))
    rows = fresh.nameless(rows)
    if table == faces.TRACKS.name:
        return stripped(rows, [t for t in rows["track_id"].to_pylist() if fresh.track(str(t))])
    return rows


def _by_table(parts: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for table, key in parts:
        found[table].add(key)
    return dict(sorted(found.items()))


def _repack(dataset: Dataset, path: str, fresh: Tombstones) -> None:
    """A tar without the members of what must go, and its line in an index of the format of wids beside it."""
    out = io.BytesIO()
    with (
        dataset.open(path) as file,
        tarfile.open(fileobj=file) as tar,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as left,
    ):
        for member in tar:
            if not _named(member.name, fresh):
                left.addfile(member, tar.extractfile(member) if member.isfile() else None)
    dataset.write(path, out.getvalue())
    index = f"{path.rsplit('/', 1)[0]}/index.json"
    if not dataset.exists(index):
        return
    told = json.loads(dataset.read(index))
    for line in told.get("shardlist", ()):
        if line.get("url") == path.rsplit("/", 1)[-1]:
            keys = {name.split(".", 1)[0] for name in _members(dataset, path)}
            line |= {"nsamples": len(keys), "filesize": len(out.getvalue())}
            line |= {"sha256": hashlib.sha256(out.getvalue()).hexdigest()}
    dataset.write(index, json.dumps(told, indent=1).encode())


# -- recipes ----------------------------------------------------------------------------------------------------------


def without(recipe: Recipe, tombstones: Tombstones) -> Recipe:
    """The recipe without corrections, names and pairs of tracks that speak of what was purged."""
    if not tombstones:
        return recipe
    before = recipe.dump()
    stages = {name: {k: _left(v, tombstones) for k, v in given.items()} for name, given in before["stages"].items()}
    after = tombstones.told({**before, "stages": {}}) | {"name": before["name"], "stages": stages}
    if after == before:
        return recipe
    return parse(yaml.safe_dump(after, sort_keys=False, allow_unicode=True), recipe.name)


def _left(value: Any, tombstones: Tombstones) -> Any:
    """A parameter without the entries of its mappings and lists that speak of what was purged."""

    def speaks(text: Any) -> bool:
        if not isinstance(text, str):
            return False
        named = tombstones.path(text) or any(map(tombstones.source, _ID.findall(text)))
        return named or tombstones.clip(text.rsplit("-", 1)[0]) or SOMEBODY in tombstones.spoken(text) != text

    if isinstance(value, Mapping):
        return {k: _left(v, tombstones) for k, v in value.items() if not speaks(k) and not speaks(v)}
    if isinstance(value, list):
        # A list within a list is a pair or a group: without one of them it says nothing.
        inner = [v for v in value if not (isinstance(v, list) and any(map(speaks, v)))]
        return [_left(v, tombstones) for v in inner if not speaks(v)]
    return value

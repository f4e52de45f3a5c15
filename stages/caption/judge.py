"""The stage `verify`: which captions may be believed, over the whole set.

Each caption is held against its span, its family, its source and the set. What stands at another's span is put back
(`text_from`); what is wrong and was not repaired did not pass, and stays out of the shards.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import Field

from curate.stage import Row, TableStage, Workspace
from schemas import Table, caption_checks
from schemas.tree import LEVELS
from stages.caption import copies, grounded, swaps
from stages.caption.placing import Told, Vectors, events, place
from stages.caption.verify import Context, check

AT_ONCE = 20_000
"""Captions whose sources are held at once: 200 MB with their vectors. A source is never divided."""
ITS_OWN, PLAINER = 0.002, 3.0
"""Share of its mass on its own span, and how many times that of the next, from which the best of a source's copies is
taken for the original. Captions of spans without speech or text have little."""


class Verify(TableStage):
    """Says of each caption whether it may be believed. About 0.5 ms a caption."""

    name: ClassVar[str] = "verify"
    version: ClassVar[int] = 3
    writes: ClassVar[Table] = caption_checks.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "captions": ("source_id", "node_id", "text", "model", "flags"),
        "tree": ("source_id", "node_id", "parent_id", "level", "start_s", "end_s", "facts"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "caption_vectors": ("source_id", "node_id", "model", "vector", "facts_vector")
    }

    language: str = Field("en", pattern=r"^[a-z]{2}$")
    """What captions are written in, as ISO 639-1 has it."""
    near: float = Field(0.9, gt=0.5, le=1)
    """Share of word triples in common from which two captions are one; 1: only equal ones. Below 0.8 captions of like
    scenes are taken for copies."""
    most_mixing: float = Field(0.0, ge=0, le=1)
    """Most of its sentences that may tell of another event."""

    def run(self, inputs: Mapping[str, ds.Dataset], work: Workspace) -> Iterator[pa.Table]:
        copied = self._copied(inputs["captions"])
        for sources in _batches(inputs["captions"]):
            tables = {
                table: inputs[table].to_table(columns=list(columns), filter=pc.field("source_id").isin(sources))
                for table, columns in self.inputs(inputs.keys()).items()
            }
            nodes = {row["node_id"]: row | {"facts": json.loads(row["facts"])} for row in tables["tree"].to_pylist()}
            vectors = _vectors(tables["caption_vectors"]) if "caption_vectors" in tables else {}
            told: defaultdict[str, list[Told]] = defaultdict(list)
            for caption in tables["captions"].to_pylist():
                node = nodes.get(caption["node_id"])
                if node is not None:
                    told[caption["source_id"]].append(Told(node, caption, vectors.get(caption["node_id"])))
            found = [row for source in sources for row in self._judged(told[source], copied)]
            yield pa.Table.from_pylist(found, self.writes.schema)

    def _copied(self, captions: ds.Dataset) -> dict[str, tuple[int, int]]:
        """Of each caption that stands more than once in the set, by node_id, the number of its group and that group's
        size. Grounded captions of equal facts are equal, and no copies."""
        names: list[str] = []
        signatures: list[np.ndarray] = []
        for batch in captions.to_batches(columns=["node_id", "text", "model"]):
            for row in batch.to_pylist():
                mark = copies.signature(row["text"]) if row["text"] and row["model"] != grounded.MODEL else None
                if mark is not None:
                    names.append(row["node_id"])
                    signatures.append(mark)
        if not names:
            return {}
        group = copies.groups(np.stack(signatures), self.near)
        size = np.bincount(group)
        return {name: (int(g), int(size[g])) for name, g in zip(names, group, strict=True) if size[g] > 1}

    def _judged(self, told: Sequence[Told], copied: Mapping[str, tuple[int, int]]) -> Iterator[Row]:
        """The rows of one source."""
        by_name = {one.name: one for one in told}
        for level in LEVELS[:-1]:
            place([one for one in told if one.node["level"] == level])
        cast = tuple(dict.fromkeys(c["name"] for one in told for c in one.node["facts"].get("characters", [])))
        mixing = _mixing(by_name)
        elsewhere = {by_name[name].placed.name for name, (share, _) in mixing.items() if share}
        originals = _originals(by_name, copied, elsewhere)
        for one in told:
            parent, mine = by_name.get(one.node["parent_id"]), one.placed
            context = Context(parent.placed.text if parent else None, (), cast, self.language)
            wrong = [*mine.caption["flags"], *check(one.node, mine.caption, context), *one.flags]
            share, sentence = mixing.get(one.name, (None, ""))
            told_from_facts = mine.caption["model"] == grounded.MODEL
            if share is not None and share > self.most_mixing and not told_from_facts:
                wrong.append(f"mixing: {sentence.strip()[:80]!r} is of another event")
            if mine.name in copied and mine.name not in originals:
                wrong.append(f"duplicate: it stands {copied[mine.name][1]} times in the set")
            moved = mine is not one
            yield {
                "source_id": one.node["source_id"],
                "node_id": one.name,
                "passed": not wrong,
                "flags": [*dict.fromkeys(wrong), *([f"shifted: its caption stood at {mine.name}"] if moved else [])],
                "text_from": mine.name if moved else None,
                "aligned": None if np.isnan(one.own) else one.own,
                "mixing": share,
            }


def _originals(
    by_name: Mapping[str, Told], copied: Mapping[str, tuple[int, int]], elsewhere: Collection[str]
) -> set[str]:
    """Of the source's captions that stand more than once those that plainly are of their span, those whose copies all
    tell of other events, and those that repeat nothing but the span that they are all of."""
    groups: defaultdict[int, list[Told]] = defaultdict(list)
    for name, one in by_name.items():
        if name in copied:
            groups[copied[name][0]].append(one)
    found = set()
    for group in groups.values():
        ranked = sorted((one for one in group if not np.isnan(one.own)), key=lambda one: one.own, reverse=True)
        if ranked and (len(ranked) == 1 or ranked[0].own > PLAINER * ranked[1].own) and ranked[0].own > ITS_OWN:
            found.add(ranked[0].name)
        at_home = [one.name for one in group if one.name not in elsewhere]
        if len(at_home) == 1 and len(group) == copied[at_home[0]][1]:
            found.add(at_home[0])
        spans = {(one.node["start_s"], one.node["end_s"]) for one in group}
        if len(spans) == 1 and len(group) == copied[group[0].name][1]:
            found |= {one.name for one in group}
    return found


def _mixing(by_name: Mapping[str, Told]) -> dict[str, tuple[float | None, str]]:
    """By node, the share of its sentences that are another event's, and the first of these."""
    inside = {name: event for name, event in events(by_name).items() if by_name[name].placed.text}
    numbers = {event: n for n, event in enumerate(dict.fromkeys(inside.values()))}
    told = []
    for name, event in inside.items():
        one = by_name[name]
        within = one.node["parent_id"] if name != event else None
        told.append(swaps.Told(one.placed.text, numbers[event], one.placed.bag, one.facts, name, within))
    return dict(zip(inside, swaps.mixed(told), strict=True))


def _batches(captions: ds.Dataset) -> Iterator[list[str]]:
    """Sources, in the order of the table, of about `AT_ONCE` captions together."""
    counts: dict[str, int] = {}
    for batch in captions.to_batches(columns=["source_id"]):
        counted = pc.value_counts(batch.column(0))
        for source, count in zip(*(counted.field(n).to_pylist() for n in (0, 1)), strict=True):
            counts[source] = counts.get(source, 0) + count
    sources: list[str] = []
    held = 0
    for source, count in counts.items():
        if sources and held + count > AT_ONCE:
            yield sources
            sources, held = [], 0
        sources.append(source)
        held += count
    if sources:
        yield sources


def _vectors(table: pa.Table) -> dict[str, Vectors]:
    """By node; without those that lack one of the two."""
    table = table.filter(pc.and_(pc.is_valid(table["vector"]), pc.is_valid(table["facts_vector"])))
    if not table.num_rows:
        return {}
    columns = []
    for name in ("vector", "facts_vector"):
        lists = table[name].combine_chunks()
        ends = np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
        columns.append(np.split(pc.list_flatten(lists).to_numpy(zero_copy_only=False), ends[:-1]))
    ids, models = table["node_id"].to_pylist(), table["model"].to_pylist()
    return {name: Vectors(*found) for name, *found in zip(ids, models, *columns, strict=True)}

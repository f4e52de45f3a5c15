"""Turns a recipe and what a dataset already holds into the tasks that are left to do.

Each task is named by its key, a hash of its stage and inputs. Planning is comparing keys with the parts in place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate import keys
from curate.analyze import intervals
from curate.recipe import Recipe
from curate.stage import FrameProbe, Row, RowStage, Stage, TableStage
from curate.work import Task
from curate.work.source import DECODER_VERSION, interval_part

INGEST_VERSION = 1
"""Raised when probing the same file would give another row."""

LONGEST_LOOKBACK_S = 4.0
"""An interval is decoded from the split before it on, 5 s earlier or more; a sample may be up to a second wide. A probe
that looks back further has its sources decoded in one piece."""

INGESTED = ("path", "fingerprint", "user")
"""Columns of `inputs` that name the task which identifies a path."""

LOCATION = ("path", "paths", "fingerprint")
"""Columns of `sources` that say where a source lies, not what it is: a moved file is not done again."""


@dataclass(frozen=True)
class Segment:
    """Stages that run in one pass: row stages over the same sources, or a single table or group stage."""

    stages: tuple[Stage, ...]

    @property
    def over_sources(self) -> bool:
        return by_source(self.stages[0])


def by_source(stage: Stage) -> bool:
    """Whether the stage has one task per source."""
    return isinstance(stage, FrameProbe) or (isinstance(stage, RowStage) and stage.by == "source_id")


def segments(recipe: Recipe) -> list[Segment]:
    """The recipe's stages in order, those that can share a task together."""
    found: list[list[Stage]] = []
    for stage in recipe.stages:
        if found and by_source(stage) and by_source(found[-1][0]):
            found[-1].append(stage)
        else:
            found.append([stage])
    return [Segment(tuple(stages)) for stages in found]


def ingest_key(path: str, fingerprint: str, user: str) -> str:
    """Key of the task that identifies one path."""
    return keys.digest(["ingest", INGEST_VERSION, path, fingerprint, user])


def decode_key(source_id: str) -> str:
    """Key of a source's row in `decodes`."""
    return keys.digest(["decode", DECODER_VERSION, source_id])


@dataclass
class State:
    """What the planner knows so far: the sources, and which keys hold which table's rows."""

    sources: Sequence[Row]
    tables: Collection[str] = ()
    """The tables of the recipe."""
    source_keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """By table written per source: the key of each source's part."""
    global_keys: dict[str, list[str]] = field(default_factory=dict)
    """By other table: the keys of its parts."""
    slices: dict[tuple[str, tuple[str, ...], str], dict[str, str]] = field(default_factory=dict)
    """By (table, columns, group column): the digest of each group's rows."""

    def table_keys(self, table: str) -> list[str]:
        """All parts of a table that belong to this plan."""
        if table in self.global_keys:
            return self.global_keys[table]
        return sorted(self.source_keys[table].values())

    def source_digest(self, source: Row, columns: Sequence[str]) -> str:
        """Digest of what a stage sees of a source's own row, wherever the source lies."""
        names = columns or source.keys()
        return keys.digest({name: source[name] for name in names if name not in LOCATION})


def needed_slices(stage: Stage, state: State) -> list[tuple[str, tuple[str, ...], str]]:
    """The group digests that must be known before the stage's tasks can be named."""
    if not isinstance(stage, RowStage):
        return []
    reads = stage.inputs(state.tables).items()
    wanted = [(table, columns, stage.by) for table, columns in reads if table in state.global_keys]
    return [w for w in wanted if w not in state.slices]


def source_tasks(
    segment: Segment, state: State, present: Mapping[str, set[str]], interval_s: float
) -> Iterator[list[Task]]:
    """For each source the tasks left to do: at most one, preceded by those of its intervals where it is long.

    Args:
        present: keys in place, by table; `decodes` and every table that the segment writes.
    """
    for stage in segment.stages:
        state.source_keys[stage.writes.name] = {}
    probing = any(isinstance(s, FrameProbe) for s in segment.stages)
    stage_keys = {s.name: keys.stage_digest(s) for s in segment.stages}
    if any(isinstance(s, FrameProbe) and s.lookback_s > LONGEST_LOOKBACK_S for s in segment.stages):
        interval_s = math.inf
    if probing:
        state.source_keys["decodes"] = {}
    for source in state.sources:
        probes: dict[str, Task] = {}
        steps: list[Task] = []
        source_id = source["source_id"]
        decode = decode_key(source_id)
        undecoded = probing and decode not in present["decodes"]
        if probing:
            state.source_keys["decodes"][source_id] = decode
        # A key says what a part was made from, not what that came to: what was made from a failure is made anew.
        renewed = {"decodes"} if undecoded else set()
        stale: list[list[str]] = []
        for stage in segment.stages:
            inputs, digests = _inputs(stage, source, state)
            key = keys.task_key(stage_keys[stage.name], digests)
            state.source_keys[stage.writes.name][source_id] = key
            table = stage.writes.name
            if key in present[table]:
                if not (undecoded if isinstance(stage, FrameProbe) else renewed & inputs.keys()):
                    continue
                stale.append([table, key])
            renewed.add(table)
            if isinstance(stage, FrameProbe):
                probes[stage.name] = {"key": key}
            else:
                steps.append({"stage": stage.name, "key": key, "inputs": inputs})
        if probes or steps or undecoded:
            tasks = list(_one_source(source, probes, steps, decode if probes or undecoded else None, interval_s))
            tasks[-1]["stale"] = stale
            yield tasks


def _one_source(
    source: Row, probes: dict[str, Task], steps: list[Task], decode: str | None, interval_s: float
) -> Iterator[Task]:
    parts = intervals(source, interval_s) if probes else []
    if len(parts) > 1:
        base = source["time_base_num"] / source["time_base_den"]
        for number, part in enumerate(parts):
            start_s = (part.start_pts - source["start_pts"]) * base if part.start_pts is not None else None
            yield {
                "kind": "interval", "source": source, "probes": probes, "interval": part.dump(),
                "number": number, "start_s": start_s,
            }  # fmt: skip
    yield {
        "kind": "source", "source": source, "probes": probes, "steps": steps, "decode": decode,
        "intervals": len(parts),
    }  # fmt: skip


def interval_done(task: Task) -> list[str]:
    """The files whose presence means that an interval's task is done."""
    return [interval_part(probe["key"], task["number"]) for probe in task["probes"].values()]


def _inputs(stage: Stage, source: Row, state: State) -> tuple[dict[str, Any], dict[str, str]]:
    """Where a source's input rows are, and the digests that stand for them in the task's key."""
    source_id = source["source_id"]
    if isinstance(stage, FrameProbe):
        return {}, {"decode": decode_key(source_id)}
    where: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for table, columns in stage.inputs(state.tables).items():
        if table == "sources":
            where[table], digests[table] = {}, state.source_digest(source, columns)
        elif table in state.source_keys:
            key = state.source_keys[table][source_id]
            where[table], digests[table] = {"key": key}, key
        else:
            where[table] = {"keys": state.global_keys[table]}
            digests[table] = state.slices[table, columns, "source_id"].get(source_id, "none")
    return where, digests


def table_task(stage: TableStage, state: State, source_parts: Sequence[str]) -> Task:
    """The one task of a table stage. `source_parts` are the keys of the `sources` table's parts."""
    inputs: dict[str, list[str]] = {}
    digests: dict[str, str] = {}
    for table, columns in stage.inputs(state.tables).items():
        if table == "sources":
            inputs[table] = list(source_parts)
            digests[table] = keys.digest([state.source_digest(s, columns) for s in state.sources])
        else:
            inputs[table] = state.table_keys(table)
            digests[table] = keys.digest(inputs[table])
    key = keys.task_key(keys.stage_digest(stage), digests)
    state.global_keys[stage.writes.name] = [key]
    return {"kind": "table", "stage": stage.name, "key": key, "inputs": inputs}


def group_tasks(stage: RowStage, state: State) -> Iterator[Task]:
    """The tasks of a row stage whose groups are not sources, one per value of its column `by`."""
    stage_key = keys.stage_digest(stage)
    reads = stage.inputs(state.tables)
    slices = {table: state.slices[table, columns, stage.by] for table, columns in reads.items()}
    groups = sorted({group for found in slices.values() for group in found})
    where = {table: {"keys": state.global_keys[table]} for table in reads}
    state.global_keys[stage.writes.name] = []
    for group in groups:
        digests = {table: found.get(group, "none") for table, found in slices.items()}
        key = keys.task_key(stage_key, digests)
        state.global_keys[stage.writes.name].append(key)
        yield {"kind": "group", "group": group, "step": {"stage": stage.name, "key": key, "inputs": where}}

"""The main job: from inputs to a finished dataset, by doing whatever is not there yet.

Run again with nothing changed, it finds nothing to do. Killed anywhere, it is completed by the next run, because the
only state is the parts in place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import distributed
import pyarrow as pa
import pyarrow.compute as pc

from curate import check, cluster, ledger, mending, packing, packs, plan, purge, tombstones, work
from curate.books import states, write_recipe, write_summary
from curate.cluster import Driver
from curate.dataset import Dataset, to_arrow
from curate.history import recorded
from curate.keys import digest, rows_digest
from curate.ledger import Step
from curate.listing import Listing, listing
from curate.place import LOCAL, Place
from curate.progress import Reporter
from curate.recipe import Recipe
from curate.roll import Roll, distinct
from curate.stage import FrameProbe, RowStage, TableStage
from curate.tombstones import PURGED
from curate.work import JobError, Receipt, Task
from schemas import errors, sources


@dataclass
class Summary:
    """What a run came to."""

    tasks: int = 0
    """Tasks that had to be done; 0 when everything was there."""
    funnel: list[Step] = field(default_factory=list)
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind (source, clip): how many stand in each state."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Worker seconds by stage, of this run."""
    wall_s: float = 0.0
    passed_over: int = 0

    @property
    def failed(self) -> int:
        return sum(by_state.get("failed", 0) for by_state in self.states.values())


def run(
    recipe: Recipe,
    inputs: Sequence[str],
    dataset_url: str,
    reporter: Reporter,
    place: Place = LOCAL,
    retry_failed: bool = False,
) -> Summary:
    """Bring a dataset up to date with a recipe over the inputs and all sources that it already has.

    Raises:
        InputError, RecipeError, DatasetBusyError, ClusterError: nothing was started.
        JobError, AuditError: the job could not be finished; what is done stays done.
    """
    began = time.monotonic()
    dataset = Dataset(dataset_url)
    found = listing(inputs)
    with dataset.locked(), recorded(dataset, recipe.name) as record:
        dataset.sweep()
        redone = mending.mend(dataset, recipe, found, reporter.say)
        stones = tombstones.load(dataset)
        recipe = purge.without(recipe, stones)
        purge.settle(dataset, recipe, stones)
        job = _Job(recipe, dataset, reporter, place)
        with job:
            if retry_failed:
                redone = _forget_failures(dataset, recipe, found)
            write_recipe(dataset, recipe)
            job.ingest(found)
            while not job.segments() or mending.outdated(dataset, recipe, job.state, redone):
                purge.settle(dataset, recipe, tombstones.load(dataset))
            summary = job.close_books()
        record.tasks, record.states, record.seconds = summary.tasks, summary.states, summary.seconds
        record.funnel = [vars(step) for step in summary.funnel]
    summary.wall_s = time.monotonic() - began
    summary.passed_over = found.passed_over
    return summary


class _Job:
    """One run. The cluster is started when the first task turns up, so a run with nothing to do is quick."""

    def __init__(self, recipe: Recipe, dataset: Dataset, reporter: Reporter, place: Place) -> None:
        self.recipe, self.dataset, self.reporter = recipe, dataset, reporter
        self._place = place
        self._connection: Any = None
        self._client: distributed.Client | None = None
        self._text = work.dump(recipe)
        self._tasks = 0
        self.roll = Roll(sources.SOURCES.schema.empty_table())
        self.state = plan.State(self.roll, recipe.tables)
        self.source_parts: list[str] = []

    def __enter__(self) -> _Job:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._connection is not None:
            self._connection.__exit__(*error)

    @property
    def client(self) -> distributed.Client:
        if self._client is None:
            self._connection = cluster.connect(self._place, self.reporter.warn)
            self._client = self._connection.__enter__()
            self.reporter.say(f"Dask dashboard: {self._client.dashboard_link}")
        return self._client

    # -- sources -------------------------------------------------------------------------------------------------

    def ingest(self, found: Listing) -> None:
        """Identify the paths that are new or changed, and bring `sources` up to date."""
        present = self.dataset.keys("inputs")
        keys = {file.path: plan.ingest_key(file.path, file.fingerprint, file.user) for file in found.files.values()}
        new = [file for file in found.files.values() if keys[file.path] not in present]
        tasks = ([{"kind": "ingest", "key": keys[file.path], **vars(file)}] for file in new)
        self._drive("probe", tasks, len(new), tables=[sources.INPUTS.name])
        # First, for Arrow holds a tenth of a megabyte for each file of a table that it reads.
        self._compact([sources.INPUTS.name])
        rows = self.dataset.scan(sources.INPUTS).to_table()
        named = list(zip(*(rows[column].to_pylist() for column in plan.INGESTED), strict=True))
        looked_at = {path for path, fingerprint, _ in named if fingerprint}
        known = [plan.ingest_key(*row) for row in named]
        current = [
            keys.get(path, key) == key and (bool(fingerprint) or path not in looked_at)
            for key, (path, fingerprint, _) in zip(known, named, strict=True)
        ]
        self.roll = distinct(rows.filter(pa.array(current, pa.bool_())))
        self._write_sources()
        stale = [key for key, stays in zip(known, current, strict=True) if not stays]
        self.dataset.drop_parts("inputs", stale)

    def _write_sources(self) -> None:
        """`sources`, and the errors of those that are none."""
        key = digest(["sources", sources.SOURCES.version, rows_digest(self.roll)])
        self.source_parts = [key]
        present = self.dataset.keys("sources")
        if key not in present:
            problems = [
                {
                    "source_id": r["source_id"],
                    "path": r["path"],
                    "stage": "probe",
                    "error": "MediaError",
                    "message": r["failure"],
                }
                for r in self.roll.where(~pc.field("failure").is_null())
                if r["failure"] != PURGED
            ]
            self.dataset.write_part(errors.TABLE, key, to_arrow(errors.TABLE, problems), {})
            self.dataset.write_part(sources.SOURCES, key, self.roll.table, {})
        self.dataset.drop_parts("sources", present - {key})

    # -- stages --------------------------------------------------------------------------------------------------

    def segments(self) -> bool:
        """Do what is missing of all stages; False: a purged person was found, whose takes have to go first."""
        self.state = plan.State(self.roll, self.recipe.tables)
        stones = bool(tombstones.load(self.dataset))
        for segment in plan.segments(self.recipe):
            self.segment(segment)
            if stones and tombstones.load(self.dataset).pending:
                return False
        return True

    def segment(self, segment: plan.Segment) -> None:
        """Do what is missing of the segment's stages, then drop the parts that no longer belong to the plan."""
        usable = plan.State(
            self.roll.where(pc.field("failure").is_null()),
            self.state.tables,
            self.state.source_keys,
            self.state.global_keys,
            self.state.slices,
        )
        self._slices(segment, usable)
        tables = [s.writes.name for s in segment.stages]
        if any(isinstance(s, FrameProbe) for s in segment.stages):
            tables.append("decodes")
        present = {table: self.dataset.keys(table) for table in tables}
        name = " + ".join(s.name for s in segment.stages)
        if segment.over_sources:
            # Planned twice: first to count, then one by one, for a hundred thousand tasks are 300 MB.
            total, video_s = 0, 0.0
            stale: dict[str, set[str]] = {}
            for tasks in plan.source_tasks(segment, usable, present, self.recipe.limits.interval_s):
                total, video_s = total + 1, video_s + tasks[-1]["source"]["duration_s"]
                for table, key in tasks[-1]["stale"]:
                    stale.setdefault(table, set()).add(key)
            for table, keys in stale.items():  # first, so that a run that is killed meanwhile leaves none of them
                self.dataset.drop_parts(table, keys)
            self._forget_errors(tables, usable, present)
            pending = map(
                self._without_done_intervals,
                plan.source_tasks(segment, usable, present, self.recipe.limits.interval_s),
            )
            idle = not total
            # Not the errors: what a try filed that was killed since, the next one takes back, and finds it loose.
            self._drive(name, pending, total, video_s, _common_resources(segment), tables=tables)
        else:
            stage = segment.stages[0]
            if isinstance(stage, TableStage):
                task = plan.table_task(stage, usable, self.source_parts)
                tasks = [] if task["key"] in present[stage.writes.name] else [task]
            else:
                assert isinstance(stage, RowStage)  # noqa: S101 - for the type checker
                tasks = [
                    t for t in plan.group_tasks(stage, usable) if t["step"]["key"] not in present[stage.writes.name]
                ]
            idle = not tasks
            self._forget_errors(tables, usable, present)
            self._drive(name, [[t] for t in tasks], len(tasks), resources=dict(stage.resources))
        for table in tables:
            # Nobody else writes here: where there was nothing to do, what was there is there.
            there = present[table] if idle else self.dataset.keys(table)
            self.dataset.drop_parts(table, there - set(usable.table_keys(table)))
        self._compact(tables)

    def _forget_errors(self, tables: Sequence[str], state: plan.State, present: Mapping[str, set[str]]) -> None:
        """Drop what earlier runs filed of tasks that are done anew: it may be packed, and workers leave packs alone."""
        missing = {key for table in tables for key in state.table_keys(table) if key not in present[table]}
        if missing:
            self.dataset.drop_parts(errors.TABLE.name, missing & self.dataset.keys(errors.TABLE.name))

    def _compact(self, tables: Sequence[str]) -> None:
        """Have the workers gather the loose parts of tables that have too many, and merge small packs."""
        found = self._views(tables)
        if shares := self._shares(found):
            self._drive("pack tables", ([task] for task in shares), len(shares), counted=False)
            found = self._views(tables)
        merges = _merges(found)
        self._drive("merge packs", ([task] for task in merges), len(merges), counted=False)

    def _upkeep(self, tables: Sequence[str]) -> list[Task]:
        """The same while tasks write to the tables, that a run of days which is killed leaves few files."""
        found = self._views(tables)
        return self._shares(found) or _merges(found)

    def _views(self, tables: Sequence[str]) -> dict[str, packs.View]:
        return {table: packs.view(self.dataset, table) for table in tables}

    def _shares(self, found: Mapping[str, packs.View]) -> list[Task]:
        crowded = [table for table, view in found.items() if packing.crowded(view)]
        shares = [(table, share) for table in crowded for share in packing.shares(self.dataset, table)]
        return [{"kind": "pack", "table": table, "first": first, "last": last} for table, (first, last) in shares]

    def _slices(self, segment: plan.Segment, state: plan.State) -> None:
        wanted = [need for stage in segment.stages for need in plan.needed_slices(stage, state)]
        for table, columns, by in dict.fromkeys(wanted):
            task = {"kind": "digests", "table": table, "columns": list(columns), "by": by}
            task["keys"] = state.global_keys[table]
            if by not in columns and columns:
                task["columns"] = [by, *columns]
            # In this process: it is bookkeeping over a table that one task has just written, not a task of its own.
            receipt = work.perform(self.dataset.url, self._text, [task])[0]
            state.slices[table, columns, by] = receipt.digests or {}

    def _without_done_intervals(self, tasks: list[Task]) -> list[Task]:
        return [
            t
            for t in tasks
            if t["kind"] != "interval" or not all(self.dataset.exists(p) for p in plan.interval_done(t))
        ]

    def _drive(
        self,
        name: str,
        pending: Iterable[list[Task]],
        total: int,
        video_s: float = 0.0,
        resources: dict[str, float] | None = None,
        counted: bool = True,
        tables: Sequence[str] = (),
    ) -> None:
        """Have the workers do tasks.

        Args:
            tables: those that they write, which are kept from growing into too many files meanwhile.
        """
        if not total:
            return
        self._tasks += total if counted else 0
        if resources:
            cluster.require_resources(self.client, name, resources)
        client = self.client
        self.reporter.step(name, total, video_s)

        def done(task: Task, receipt: Receipt) -> None:
            source = task.get("source", {})
            name = work.task_name(source.get("source_id", ""), task.get("interval", {}).get("start_pts"))
            if task["kind"] == "interval":
                self.reporter.advance(receipt, name, 0, receipt.video_s)
            else:
                whole = source.get("duration_s", 0.0) if task.get("intervals", 0) <= 1 else 0.0
                self.reporter.advance(receipt, name, 1, whole if video_s else 0.0)

        attempts = self.recipe.limits.attempts
        heard, upkeep = self.reporter.heard, partial(self._upkeep, tables)
        Driver(client, self.dataset.url, self._text, attempts, done, resources or {}, heard, upkeep).run(pending)

    # -- the end -------------------------------------------------------------------------------------------------

    def close_books(self) -> Summary:
        """Drop what belongs to no task of the plan, write the ledger, audit it, and sum up."""
        state = self.state
        tables = {t: state.table_keys(t) for t in [*state.source_keys, *state.global_keys]}
        expected = {key for keys in tables.values() for key in keys} | set(self.source_parts)
        self.dataset.drop_parts("errors", self.dataset.keys("errors") - expected)
        self._compact(["errors"])
        self.dataset.settle()  # what a task wrote over a packed part must not stay beside it
        self.dataset.sweep()  # what a worker was writing when it was killed
        tables["errors"] = sorted(self.dataset.keys("errors"))
        self._drop_files(tables)
        writers = {stage.writes.name: stage.name for stage in self.recipe.stages}
        book = ledger.build(self.dataset, state.sources, tables, writers)
        ledger.audit(self.dataset, book, tables)
        ledger.write(self.dataset, book)
        summary = Summary(self._tasks, ledger.funnel(self.dataset, book, tables), states(book), self.reporter.seconds)
        write_summary(self.dataset, summary.funnel, summary.states)
        return summary

    def _drop_files(self, tables: dict[str, list[str]]) -> None:
        """Clips, shards and intervals that no row of the current tables names."""
        named: set[str] = set()
        for table, column in check.FILES.items():
            if table.name in tables:
                rows = self.dataset.scan(table, tables[table.name]).to_table(columns=[column])
                named |= {str(path) for path in rows[column].to_pylist()}
        for path in [path for folder in check.FOLDERS for path in self.dataset.tree(folder)]:
            if path not in named:
                self.dataset.remove(path)
        for path in self.dataset.tree("intervals"):
            self.dataset.remove(path)


def _merges(found: Mapping[str, packs.View]) -> list[Task]:
    return [{"kind": "merge", "table": table} for table, view in found.items() if packing.mergeable(view)]


def _common_resources(segment: plan.Segment) -> dict[str, float]:
    """What a worker needs to run every stage of the segment: the largest wish for each resource."""
    wanted: dict[str, float] = {}
    for stage in segment.stages:
        for name, amount in stage.resources.items():
            wanted[name] = max(amount, wanted.get(name, 0.0))
    return wanted


def _forget_failures(dataset: Dataset, recipe: Recipe, found: Listing) -> mending.Redone:
    """Drop the parts of tasks that filed errors, so that they are done again. The part goes first: an error without
    its part is done again, a part without its error would be taken for a success.

    Args:
        found: the run's inputs. Those that failed are added, or they would be forgotten where they are not named again.
    """
    tables = ["inputs", "sources", "decodes", *(s.writes.name for s in recipe.stages)]
    failed = dataset.keys("errors")
    # A source that is readable now changes the keys of what is made of all; one that a stage failed on does not.
    if dataset.scan(errors.TABLE).count_rows(filter=pc.field("stage") != "probe"):
        for stage in recipe.stages:
            if not plan.by_source(stage):
                dataset.drop_parts(stage.writes.name, dataset.keys(stage.writes.name))
    again = {table: dataset.keys(table) & failed for table in tables}
    going = {(t, k): mending.Before(dataset.seal(t, k), failed=True) for t, keys in again.items() for k in keys}
    redone = mending.record(dataset, going)
    for table, keys in again.items():
        dataset.drop_parts(table, keys)
    bad = dataset.scan(sources.INPUTS).to_table(filter=~pc.field("failure").is_null()).to_pylist()
    bad = [row for row in bad if row["failure"] != PURGED]
    dataset.drop_parts("inputs", [plan.ingest_key(row["path"], row["fingerprint"], row["user"]) for row in bad])
    for row in bad:
        for file in listing([row["path"]]).files.values():
            found.files.setdefault(file.path, replace(file, user=row["user"]))
    dataset.drop_parts("errors", failed)
    return redone


__all__ = ["JobError", "Summary", "run", "states"]

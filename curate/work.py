"""What a Dask worker does with a task: reads its input rows, runs its stages, commits their rows, sends a receipt.

Only receipts go back to the client; rows go from the worker into the dataset.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from curate import __version__, keys, recipe
from curate.analyze import STORAGE_ERRNOS, Interval, failure_of, join, run_rows
from curate.dataset import Dataset, encode_part, to_arrow
from curate.folder import fetched
from curate.sandbox import ChildDiedError, ChildRaisedError, Sandbox, Tables, for_this_thread
from curate.stage import Row, RowStage, Stage, TableStage
from curate.workspace import open_workspace
from schemas import Table, errors, sources

DECODER_VERSION = 1
"""Raised when the same file would decode to other frames or views."""

Task = dict[str, Any]


class JobError(Exception):
    """The whole job cannot go on: the dataset cannot be written, or a table stage failed."""


class QuarantinedError(Exception):
    """A source killed its decoding process as often as it may."""


@dataclass
class Receipt:
    """What one task came to."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows written by table."""
    failed: int = 0
    video_s: float = 0.0
    """Seconds of video decoded for analysis."""
    digests: dict[str, str] | None = None


def perform(dataset_url: str, recipe_text: str, tasks: Sequence[Task]) -> list[Receipt]:
    """Do a batch of tasks, one after the other.

    Raises:
        JobError: the dataset cannot be written, or a table stage failed.
    """
    worker = _Worker(Dataset(dataset_url), _recipe(recipe_text))
    receipts = []
    for task in tasks:
        try:
            receipts.append(getattr(worker, task["kind"])(task))
        except OSError as error:
            if error.errno in STORAGE_ERRNOS:
                raise JobError(f"{dataset_url}: {os.strerror(error.errno)}; free space and run it again") from error
            raise JobError(f"{dataset_url}: {error}; mend it and run the same command again") from error
    return receipts


@lru_cache(maxsize=8)
def _recipe(text: str) -> recipe.Recipe:
    return recipe.parse(text, "recipe")


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"longtake": __version__}
    for package in ("av", "numpy", "opencv-python-headless", "pyarrow", "scenedetect-headless"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class _Worker:
    """The kinds of task, one method each."""

    def __init__(self, dataset: Dataset, plan: recipe.Recipe) -> None:
        self.dataset = dataset
        self.recipe = plan
        self.stages: dict[str, Stage] = {s.name: s for s in plan.stages}

    # -- ingest ------------------------------------------------------------------------------------------------

    def ingest(self, task: Task) -> Receipt:
        """Identify one path: its content's hash, and what it holds."""
        started = time.monotonic()
        row: Row = {k: task[k] for k in ("path", "fingerprint", "user")} | {"failure": None}
        row["source_id"] = keys.digest(["unreadable", task["path"]])
        row["bytes"] = task["bytes"]
        try:
            if task["failure"]:
                raise ValueError(task["failure"])
            with fetched(task["path"]) as local:
                row["source_id"] = _content_id(local)
                if not row["bytes"]:
                    raise ValueError("the file is empty")
                row |= self._in_child("probe", {"path": local}, deadline_s=600 + row["bytes"] / 1e6)[0]["probe"]
        except (OSError, ValueError, ChildRaisedError, QuarantinedError) as error:
            row["failure"] = str(error)
        self.dataset.write_part(sources.INPUTS, task["key"], to_arrow(sources.INPUTS, [row]), self._provenance())
        return Receipt({"probe": time.monotonic() - started}, {"inputs": 1}, failed=int(row["failure"] is not None))

    def quarantine(self, task: Task) -> Receipt:
        """File a task that kills its workers as failed, so that the run and the next one can end."""
        lost, failure = task["task"], failure_of(QuarantinedError(task["message"]))
        if lost["kind"] == "ingest":
            return self.ingest(lost | {"failure": task["message"]})
        source, receipt = lost["source"], Receipt(failed=1)
        problem = [self._error(source, "decode" if lost["decode"] else lost["steps"][0]["stage"], failure)]
        for name, probe in lost["probes"].items():
            self._commit(self.stages[name].writes, probe["key"], self.stages[name].writes.schema.empty_table(), [])
        for step in lost["steps"]:
            table = self.stages[step["stage"]].writes
            self._commit(table, step["key"], table.schema.empty_table(), problem, step["stage"])
            problem = []
        if lost["decode"]:
            empty = {
                "source_id": source["source_id"],
                "frames": 0,
                "corrupt_frames": 0,
                "decode_errors": 0,
                "end_s": 0.0,
            }
            self._commit(sources.DECODES, lost["decode"], to_arrow(sources.DECODES, [empty]), problem)
        return receipt

    # -- one source through the analysis and the row stages that follow it ---------------------------------------

    def interval(self, task: Task) -> Receipt:
        """Analyse one interval of a long source, for `source` to join."""
        started = time.monotonic()
        receipt = Receipt()
        try:
            header, tables = self._analyze(task["source"], task["probes"], task["interval"])
        except (ChildRaisedError, QuarantinedError, OSError) as error:
            header, tables = {"failed": _failure(error)}, {}
        if "decode" in header:
            receipt.video_s = header["decode"]["end_s"] - (task["start_s"] or 0.0)
        for name, probe in task["probes"].items():
            table = self.stages[name].writes
            part = encode_part(table, [tables.get(table.name, table.schema.empty_table())], header)
            self.dataset.write(interval_part(probe["key"], task["number"]), part)
        receipt.seconds["analyze"] = time.monotonic() - started
        return receipt

    def source(self, task: Task) -> Receipt:
        """Analyse a source, then run the row stages that follow, committing each one's rows as they come."""
        receipt = Receipt()
        made: Tables = {}
        if task["probes"] or task["decode"]:
            made |= self._analysis(task, receipt)
        for step in task["steps"]:
            made[self.stages[step["stage"]].writes.name] = self._row_step(step, task["source"], made, receipt)
        return receipt

    def group(self, task: Task) -> Receipt:
        """Run a row stage on one group of a table that is not split by source."""
        receipt = Receipt()
        self._row_step(task["step"], {"source_id": "", "path": None, "group": task["group"]}, {}, receipt)
        return receipt

    def _analysis(self, task: Task, receipt: Receipt) -> Tables:
        started = time.monotonic()
        source, probes = task["source"], task["probes"]
        failed: dict[str, Any] = {}
        tables: Tables = {}
        decode = {"source_id": source["source_id"], "frames": 0, "corrupt_frames": 0, "decode_errors": 0, "end_s": 0.0}
        try:
            if task["intervals"] > 1:
                header, tables = self._joined(task)
            else:
                header, tables = self._analyze(source, probes, Interval().dump())
                receipt.video_s = header["decode"]["end_s"]
            decode, failed = header["decode"], header["failures"]
        except (ChildRaisedError, QuarantinedError, OSError) as error:
            _raise_if_storage(error)
            failed = {"decode": _failure(error)}
        problems = [self._error(source, name, failure) for name, failure in failed.items()]
        receipt.failed += len(problems)
        made: Tables = {}
        for name, probe in probes.items():
            table = self.stages[name].writes
            made[table.name] = tables.get(table.name, table.schema.empty_table())
            self._commit(table, probe["key"], made[table.name], [p for p in problems if p["stage"] == name], name)
            receipt.rows[table.name] = made[table.name].num_rows
        made["decodes"] = to_arrow(sources.DECODES, [decode])
        self._commit(sources.DECODES, task["decode"], made["decodes"], [p for p in problems if p["stage"] == "decode"])
        for number in range(task["intervals"] if task["intervals"] > 1 else 0):
            for probe in probes.values():
                self.dataset.remove(interval_part(probe["key"], number))
        receipt.seconds["analyze"] = time.monotonic() - started
        return made

    def _analyze(self, source: Row, probes: Mapping[str, Any], interval: Mapping[str, Any]) -> tuple[Row, Tables]:
        parameters = {name: self.stages[name].model_dump(mode="json") for name in probes}
        header = {"source": source, "probes": parameters, "interval": interval}
        return self._in_child("analyze", header, deadline_s=_deadline(source))

    def _joined(self, task: Task) -> tuple[Row, Tables]:
        """The intervals' parts as one, with their counts added up."""
        tables: Tables = {}
        header: Row = {}
        for name, probe in task["probes"].items():
            table = self.stages[name].writes
            parts, headers = [], []
            for number in range(task["intervals"]):
                with self.dataset.fs.open(self.dataset.path(interval_part(probe["key"], number)), "rb") as file:
                    part = pq.read_table(file)
                headers.append(json.loads(part.schema.metadata[b"longtake"]))
                parts.append(part.replace_schema_metadata(None))
            if any("failed" in h for h in headers):  # damage that a decode from the start may get past
                return self._analyze(task["source"], task["probes"], Interval().dump())
            decodes = [h["decode"] for h in headers]
            tables[table.name] = join(parts, [d["frames"] for d in decodes], table)
            failures = {n: f for h in headers for n, f in h["failures"].items()}
            if name in failures:
                tables[table.name] = table.schema.empty_table()
            header = {"decode": _sum_decodes(decodes), "failures": failures}
        return header, tables

    # -- row stages ----------------------------------------------------------------------------------------------

    def _row_step(self, step: Task, source: Row, made: Tables, receipt: Receipt) -> pa.Table:
        stage = self.stages[step["stage"]]
        assert isinstance(stage, RowStage)  # noqa: S101 - for the type checker; the planner sends no other kind
        started = time.monotonic()
        inputs = {name: self._input(stage, name, step["inputs"][name], source, made) for name in stage.reads}
        failures: list[Row] = []
        try:
            rows, failures = self._run(stage, inputs, source)
        except (ChildDiedError, JobError):
            raise
        except Exception as error:
            _raise_if_storage(error)
            rows, failures = stage.writes.schema.empty_table(), [{"clip_id": None, **_failure(error)}]
        problems = [self._error(source, stage.name, failure) for failure in failures]
        self._commit(stage.writes, step["key"], rows, problems, stage.name)
        receipt.failed += len(problems)
        receipt.rows[stage.writes.name] = rows.num_rows
        receipt.seconds[stage.name] = time.monotonic() - started
        return rows

    def _run(self, stage: RowStage, inputs: Tables, source: Row) -> tuple[pa.Table, list[Row]]:
        if not stage.opens_media:
            with open_workspace(self.dataset.url) as work:
                return run_rows(stage, inputs, work)
        header = {"stage": stage.name, "parameters": stage.model_dump(mode="json"), "dataset": self.dataset.url}
        answer, tables = self._in_child("stage", header, inputs, _deadline(source))
        return tables["rows"], answer["failures"]

    def _input(self, stage: RowStage, name: str, where: Any, source: Row, made: Tables) -> pa.Table:
        """The rows of one input table that belong to the group, in the columns that the stage asked for."""
        columns = list(stage.reads[name])
        table = self._table(name)
        if name == "sources":
            rows = to_arrow(table, [source])
            return rows.select(columns) if columns else rows
        if name in made:
            return made[name].select(columns) if columns else made[name]
        if "key" in where:
            return self.dataset.read_part(table, where["key"], columns)
        group = source["group"] if stage.by != "source_id" else source["source_id"]
        return self.dataset.scan(table, where["keys"]).to_table(
            columns=columns or None, filter=pc.field(stage.by) == group
        )

    # -- table stages --------------------------------------------------------------------------------------------

    def table(self, task: Task) -> Receipt:
        """Run a table stage over whole tables."""
        stage = self.stages[task["stage"]]
        assert isinstance(stage, TableStage)  # noqa: S101 - for the type checker; the planner sends no other kind
        started = time.monotonic()
        inputs = {name: self.dataset.scan(self._table(name), task["inputs"][name]) for name in stage.reads}
        count = 0

        def counted(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
            nonlocal count
            for batch in batches:
                count += batch.num_rows
                yield batch

        try:
            with open_workspace(self.dataset.url) as work:
                part = encode_part(stage.writes, counted(stage.run(inputs, work)), self._provenance(stage.name))
        except OSError:
            raise
        except Exception as error:
            raise JobError(
                f"stage {stage.name!r} failed on the whole table: {type(error).__name__}: {error}"
            ) from error
        self.dataset.write(self.dataset.part(stage.writes.name, task["key"]), part)
        return Receipt({stage.name: time.monotonic() - started}, {stage.writes.name: count})

    def digests(self, task: Task) -> Receipt:
        """Digests of a table's rows by group, by which the planner names the tasks that read it."""
        table = self.dataset.scan(self._table(task["table"]), task["keys"]).to_table(columns=task["columns"] or None)
        return Receipt(digests=keys.group_digests(table, task["by"]))

    # -- common --------------------------------------------------------------------------------------------------

    def _table(self, name: str) -> Table:
        engine = {"sources": sources.SOURCES, "decodes": sources.DECODES, "errors": errors.TABLE}
        stage = self.recipe.writer(name)
        return engine[name] if stage is None else stage.writes

    def _commit(self, table: Table, key: str, rows: pa.Table, problems: list[Row], stage: str | None = None) -> None:
        """Errors first, the part last: a part that is there has its errors there too."""
        if problems:
            self.dataset.write_part(errors.TABLE, key, to_arrow(errors.TABLE, problems), self._provenance(stage))
        else:
            self.dataset.drop_part(errors.TABLE.name, key)  # of a try that was killed before its part was in place
        self.dataset.write_part(table, key, rows, self._provenance(stage))

    def _provenance(self, stage: str | None = None) -> dict[str, Any]:
        made_by = self.stages.get(stage or "")
        parameters = made_by.model_dump(mode="json") if made_by else None
        return {
            "recipe": self.recipe.name,
            "stage": stage,
            "stage_version": made_by.version if made_by else None,
            "parameters": parameters,
            "versions": _versions(),
        }

    def _error(self, source: Row, stage: str, failure: Mapping[str, Any]) -> Row:
        return {"clip_id": None, "source_id": source["source_id"], "path": source["path"], "stage": stage, **failure}

    def _in_child(
        self, what: str, header: Row, tables: Tables | None = None, deadline_s: float = float("inf")
    ) -> tuple[Row, Tables]:
        """Work in this thread's child, tried again in a new one where it dies.

        Raises:
            QuarantinedError: it died each time.
        """
        limits = self.recipe.limits
        sandbox: Sandbox = for_this_thread(limits.memory_gib, limits.stall_s)
        for attempt in range(1, limits.attempts + 1):
            try:
                return sandbox.call(what, header, tables, deadline_s)
            except ChildDiedError as error:
                if attempt == limits.attempts:
                    message = f"the decoding process {error}, {attempt} times out of {attempt}"
                    raise QuarantinedError(f"{message}; the file is damaged or hostile") from None
        raise AssertionError("attempts is at least 1")


def interval_part(key: str, number: int) -> str:
    """Where an interval's rows wait to be joined."""
    return f"intervals/{key}/{number:05d}.parquet"


def _content_id(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[: keys.LENGTH]


def _deadline(source: Row) -> float:
    """Seconds a source may take: ten minutes and thirty times its length, several times what 8K needs on one core."""
    return 600 + 30 * float(source.get("duration_s") or 0)


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, ChildRaisedError):
        return {"error": error.kind, "message": str(error), "traceback": error.trace}
    return failure_of(error)


def _raise_if_storage(error: Exception) -> None:
    number = error.number if isinstance(error, ChildRaisedError) else getattr(error, "errno", None)
    if number in STORAGE_ERRNOS:
        raise OSError(number, os.strerror(number)) from error


def _sum_decodes(decodes: Sequence[Row]) -> Row:
    total = dict(decodes[-1])
    for column in ("frames", "corrupt_frames", "decode_errors"):
        total[column] = sum(d[column] for d in decodes)
    total["end_s"] = max(d["end_s"] for d in decodes)
    total["stopped_early"] = next((d["stopped_early"] for d in decodes if d["stopped_early"]), None)
    return total


def dump(plan: recipe.Recipe) -> str:
    """A recipe as the text that `perform` takes."""
    return yaml.safe_dump(plan.dump(), sort_keys=False, allow_unicode=True)

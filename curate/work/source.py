"""The tasks of one source: the analysis of its intervals or of the whole, and the row stages that follow it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.analyze import Interval, failure_of, join
from curate.dataset import to_arrow
from curate.parts import PROVENANCE, DamagedError, encode_part
from curate.sandbox import Tables
from curate.stage import Row
from curate.work.context import (
    Context,
    QuarantinedError,
    Receipt,
    Task,
    deadline,
    failure,
    problem,
    raise_if_storage,
    task_name,
    teller,
)
from curate.work.ingest import ingest
from curate.work.rows import row_step
from curate.work.unchanged import read_unchanged
from schemas import sources

DECODER_VERSION = 1
"""Raised when the same file would decode to other frames or views."""


def interval_part(key: str, number: int) -> str:
    """Where an interval's rows wait to be joined."""
    return f"intervals/{key}/{number:05d}.parquet"


def interval(context: Context, task: Task) -> Receipt:
    """Analyse one interval of a long source, for `source` to join."""
    started = time.monotonic()
    receipt = Receipt()
    try:
        header, tables = _analyze(context, task["source"], task["probes"], task["interval"], task["start_s"] or 0.0)
        receipt.video_s = max(0.0, header["decode"]["end_s"] - (task["start_s"] or 0.0))
    except Exception as error:
        raise_if_storage(error)
        header, tables = {"failed": failure(error)}, {}
    for name, probe in task["probes"].items():
        table = context.stage(name).writes
        part = encode_part(table, [tables.get(table.name, table.schema.empty_table())], header)
        context.dataset.write(interval_part(probe["key"], task["number"]), part)
    receipt.seconds["analyze"] = time.monotonic() - started
    return receipt


def source(context: Context, task: Task) -> Receipt:
    """Analyse a source, then run the row stages that follow, committing each one's rows as they come."""
    receipt = Receipt()
    made: Tables = {}
    if task["decode"]:
        made |= _analysis(context, task, receipt)
    for step in task["steps"]:
        made[context.stage(step["stage"]).writes.name] = row_step(context, step, task["source"], made, receipt)
    return receipt


def quarantine(context: Context, task: Task) -> Receipt:
    """File a task that kills its workers as failed, so that this run and the next can end."""
    lost, why = task["task"], task["message"]
    if lost["kind"] == "ingest":
        return ingest(context, lost | {"failure": why})
    culprit = "decode" if lost["decode"] else lost["steps"][0]["stage"]
    filed = [problem(lost["source"], culprit, failure_of(QuarantinedError(why)))]
    for name, probe in lost["probes"].items():
        table = context.stage(name).writes
        context.commit(table, probe["key"], table.schema.empty_table(), [], name)
    for step in lost["steps"]:
        table = context.stage(step["stage"]).writes
        mine = filed if step["stage"] == culprit else []
        context.commit(table, step["key"], table.schema.empty_table(), mine, step["stage"])
    if lost["decode"]:
        context.commit(sources.DECODES, lost["decode"], to_arrow(sources.DECODES, [_undecoded(lost["source"])]), filed)
    return Receipt(failed=1)


def _analysis(context: Context, task: Task, receipt: Receipt) -> Tables:
    """Decode a source for its probes, or join its intervals, and commit what they found and what failed."""
    started = time.monotonic()
    row, probes = task["source"], task["probes"]
    failed: dict[str, Any] = {}
    tables: Tables = {}
    decode = _undecoded(row)
    try:
        if task["intervals"] > 1:
            header, tables = _joined(context, task)
        else:
            header, tables = _analyze(context, row, probes, Interval().dump())
            receipt.video_s = header["decode"]["end_s"]
        decode, failed = header["decode"], header["failures"]
    except Exception as error:  # whatever it is, it is about this source
        raise_if_storage(error)
        failed = {"decode": failure(error)}
    problems = [problem(row, name, why) for name, why in failed.items()]
    receipt.failed += len(problems)
    made: Tables = {}
    for name, probe in probes.items():
        table = context.stage(name).writes
        made[table.name] = tables.get(table.name, table.schema.empty_table())
        context.commit(table, probe["key"], made[table.name], [p for p in problems if p["stage"] == name], name)
        receipt.rows[table.name] = made[table.name].num_rows
    made["decodes"] = to_arrow(sources.DECODES, [decode])
    context.commit(sources.DECODES, task["decode"], made["decodes"], [p for p in problems if p["stage"] == "decode"])
    for number in range(task["intervals"] if task["intervals"] > 1 else 0):
        for probe in probes.values():
            context.dataset.remove(interval_part(probe["key"], number))
    receipt.seconds["analyze"] = time.monotonic() - started
    return made


def _analyze(
    context: Context, row: Row, probes: Mapping[str, Any], span: Mapping[str, Any], from_s: float = 0.0
) -> tuple[Row, Tables]:
    parameters = {name: context.stage(name).model_dump(mode="json") for name in probes}
    header = {"source": row, "probes": parameters, "interval": span}
    tell = teller(task_name(row["source_id"], span["start_pts"]), from_s)
    told, tables = read_unchanged(
        row, lambda: context.in_child("analyze", header, deadline_s=deadline(row), progress=tell)
    )
    if context.purged:
        written = {table.name: table for table in (context.stage(name).writes for name in probes)}
        tables = {n: context.purged.outside(written[n], rows, row["source_id"]) for n, rows in tables.items()}
    return told, tables


def _joined(context: Context, task: Task) -> tuple[Row, Tables]:
    """The intervals' parts as one, with their counts added up."""
    tables: Tables = {}
    header: Row = {}
    for name, probe in task["probes"].items():
        table = context.stage(name).writes
        try:
            found = [_interval_rows(context, probe["key"], number) for number in range(task["intervals"])]
        except DamagedError:
            return _analyze(context, task["source"], task["probes"], Interval().dump())
        headers = [told for told, _ in found]
        if any("failed" in told for told in headers):  # damage that a decode from the start may get past
            return _analyze(context, task["source"], task["probes"], Interval().dump())
        decodes = [told["decode"] for told in headers]
        failures = {n: why for told in headers for n, why in told["failures"].items()}
        tables[table.name] = join([rows for _, rows in found], [d["frames"] for d in decodes], table)
        if name in failures:
            tables[table.name] = table.schema.empty_table()
        header = {"decode": _sum_decodes(decodes), "failures": failures}
    return header, tables


def _interval_rows(context: Context, key: str, number: int) -> tuple[Row, pa.Table]:
    part = pq.read_table(pa.BufferReader(context.dataset.read_parquet(interval_part(key, number))))
    return json.loads(part.schema.metadata[PROVENANCE]), part.replace_schema_metadata(None)


def _undecoded(row: Row) -> Row:
    """The row of `decodes` of a source of which nothing could be decoded."""
    return {"source_id": row["source_id"], "frames": 0, "corrupt_frames": 0, "decode_errors": 0, "end_s": 0.0}


def _sum_decodes(decodes: Sequence[Row]) -> Row:
    total = dict(decodes[-1])
    for column in ("frames", "corrupt_frames", "decode_errors"):
        total[column] = sum(d[column] for d in decodes)
    total["end_s"] = max(d["end_s"] for d in decodes)
    total["stopped_early"] = next((d["stopped_early"] for d in decodes if d["stopped_early"]), None)
    return total

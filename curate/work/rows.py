"""The tasks of row stages: the input rows of one group, the stage's run in this process or in the child, the commit."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.analyze import run_rows
from curate.dataset import to_arrow
from curate.sandbox import Tables
from curate.stage import Row, RowStage
from curate.work.context import Context, Receipt, Task, deadline, failure, problem, raise_if_storage
from curate.work.unchanged import read_unchanged
from curate.work.withhold import withheld
from curate.workspace import open_workspace


def group(context: Context, task: Task) -> Receipt:
    """Run a row stage on one group of a table that is not split by source."""
    receipt = Receipt()
    row_step(context, task["step"], {"source_id": "", "path": None, "group": task["group"]}, {}, receipt)
    return receipt


def row_step(context: Context, step: Task, source: Row, made: Tables, receipt: Receipt) -> pa.Table:
    """Run one row stage on one group and commit its rows. What it raises fails the group, not the job."""
    stage = context.stage(step["stage"])
    assert isinstance(stage, RowStage)  # noqa: S101 - for the type checker; the planner sends no other kind
    started = time.monotonic()
    reads = stage.inputs(context.recipe.tables)
    inputs = {n: _input(context, stage, n, list(c), step["inputs"][n], source, made) for n, c in reads.items()}
    try:
        rows, failures = _run(context, stage, inputs, source)
    except Exception as error:
        raise_if_storage(error)
        rows, failures = stage.writes.schema.empty_table(), [{"clip_id": None, **failure(error)}]
    if context.purged:
        rows = withheld(context.dataset, context.purged, stage.writes, rows, source["source_id"], step["inputs"], made)
    problems = [problem(source, stage.name, why) for why in failures]
    context.commit(stage.writes, step["key"], rows, problems, stage.name)
    receipt.failed += len(problems)
    receipt.rows[stage.writes.name] = rows.num_rows
    receipt.seconds[stage.name] = time.monotonic() - started
    return rows


def _run(context: Context, stage: RowStage, inputs: Tables, source: Row) -> tuple[pa.Table, list[Row]]:
    if not stage.opens_media:
        with open_workspace(context.dataset.url) as work:
            return run_rows(stage, inputs, work)
    header = {"stage": stage.name, "parameters": stage.model_dump(mode="json"), "dataset": context.dataset.url}

    def in_child() -> tuple[Row, Tables]:
        return context.in_child("stage", header, inputs, deadline(source))

    answer, tables = read_unchanged(source, in_child) if _reads_source(stage) else in_child()
    return tables["rows"], answer["failures"]


def _reads_source(stage: RowStage) -> bool:
    """Whether the stage opens its source, not only files of the dataset."""
    columns = stage.reads.get("sources")
    return stage.by == "source_id" and columns is not None and (not columns or "path" in columns)


def _input(
    context: Context, stage: RowStage, name: str, columns: list[str], where: Any, source: Row, made: Tables
) -> pa.Table:
    """The rows of one input table that belong to the group, in the columns that the stage asked for."""
    table = context.table(name)
    if name == "sources":
        rows = to_arrow(table, [source])
        return rows.select(columns) if columns else rows
    if name in made:
        return made[name].select(columns) if columns else made[name]
    if "key" in where:
        return context.dataset.read_part(table, where["key"], columns)
    mine = source["group"] if stage.by != "source_id" else source["source_id"]
    whole = context.dataset.scan(table, where["keys"])
    return whole.to_table(columns=columns or None, filter=pc.field(stage.by) == mine)

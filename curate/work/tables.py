"""The tasks over whole tables: table stages, digests by which row tasks that read their output are named, packing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from curate import keys, packing
from curate.parts import encode_part
from curate.stage import TableStage
from curate.work.context import Context, JobError, Receipt, Task
from curate.workspace import open_workspace


def table(context: Context, task: Task) -> Receipt:
    """Run a table stage over whole tables.

    Raises:
        JobError: it raised. There is no input to blame, so the job cannot go on.
    """
    stage = context.stage(task["stage"])
    assert isinstance(stage, TableStage)  # noqa: S101 - for the type checker; the planner sends no other kind
    started = time.monotonic()
    reads = stage.inputs(context.recipe.tables)
    inputs = {name: context.dataset.scan(context.table(name), task["inputs"][name]) for name in reads}
    count = 0

    def counted(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            yield context.purged.nameless(batch)

    try:
        with open_workspace(context.dataset.url) as work:
            part = encode_part(stage.writes, counted(stage.run(inputs, work)), context.provenance(stage.name))
    except OSError:
        raise
    except Exception as error:
        raise JobError(f"stage {stage.name!r} failed on the whole table: {type(error).__name__}: {error}") from error
    context.dataset.write(context.dataset.part(stage.writes.name, task["key"]), part)
    return Receipt({stage.name: time.monotonic() - started}, {stage.writes.name: count})


def digests(context: Context, task: Task) -> Receipt:
    """Digests of a table's rows by group."""
    whole = context.dataset.scan(context.table(task["table"]), task["keys"])
    rows = whole.to_table(columns=task["columns"] or None)
    return Receipt(digests=keys.group_digests(rows, task["by"]))


def pack(context: Context, task: Task) -> Receipt:
    """Gather a share of a table's loose parts, of which no other task is writing any."""
    packing.gather(context.dataset, task["table"], task["first"], task["last"])
    return Receipt()


def merge(context: Context, task: Task) -> Receipt:
    """Put a table's small packs together."""
    packing.merge(context.dataset, task["table"])
    return Receipt()

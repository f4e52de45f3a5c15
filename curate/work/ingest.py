"""The task that identifies one path: its content's hash, and what it holds."""

from __future__ import annotations

import time

from curate import keys
from curate.dataset import to_arrow
from curate.folder import fetched
from curate.stage import Row
from curate.tombstones import HIDDEN, PURGED
from curate.work.context import Context, Receipt, Task, raise_if_storage
from curate.work.unchanged import SourceChangedError, content_id, read_unchanged
from schemas import sources


def ingest(context: Context, task: Task) -> Receipt:
    """Write a path's row of `inputs`. Whatever is wrong with it becomes the row's `failure`."""
    started = time.monotonic()
    row: Row = {k: task[k] for k in ("path", "fingerprint", "user", "bytes", "failure")}
    row["source_id"] = keys.digest(["unreadable", task["path"]])
    if not row["failure"]:
        try:
            row |= read_unchanged(row | {"source_id": None}, lambda: _identified(context, row))
        except SourceChangedError as error:
            row["failure"] = str(error)
        except Exception as error:  # whatever a filesystem or a decoder raises, it is about this path
            raise_if_storage(error)
            row["failure"] = str(error) or type(error).__name__
    if context.purged.source(row["source_id"]):
        row = hidden(context.purged.owner(row["source_id"]))
    context.dataset.write_part(sources.INPUTS, task["key"], to_arrow(sources.INPUTS, [row]), context.provenance())
    return Receipt(
        {"probe": time.monotonic() - started}, {"inputs": 1}, failed=int(row["failure"] not in (None, PURGED))
    )


def hidden(mark: str) -> Row:
    """What `inputs` says of a path of a purged source: that it need not be looked at again, and nothing of it."""
    return {"path": HIDDEN, "source_id": mark, "fingerprint": "", "user": "{}", "failure": PURGED}


def _identified(context: Context, row: Row) -> Row:
    """What is known of a path once it has been read."""
    if not row["bytes"]:
        # Before it is opened: the system's own files (/proc) have no size, and some of them never end.
        raise ValueError("the file is empty")
    with fetched(row["path"]) as local:
        found: Row = {"source_id": content_id(local)}
        try:
            # Reading the packets of a file goes at the speed of the disk; 1 MB/s is a very slow one.
            found |= context.in_child("probe", {"path": local}, deadline_s=600 + row["bytes"] / 1e6)[0]["probe"]
        except Exception as error:  # whatever a decoder raises, it is about this content
            raise_if_storage(error)
            found["failure"] = str(error) or type(error).__name__
    return found

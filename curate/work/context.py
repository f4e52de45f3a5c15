"""What every kind of task needs: the dataset, the stages, the child process, and how rows and errors are committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from curate import __version__, recipe, tombstones
from curate.analyze import failure_of
from curate.dataset import Dataset, to_arrow
from curate.folder import STORAGE_ERRNOS, storage_fault
from curate.remote import StoreError
from curate.sandbox import ChildDiedError, ChildRaisedError, Tables, for_this_thread
from curate.stage import DamagedError, Row, Stage
from schemas import Table, errors, sources

Task = dict[str, Any]

PROGRESS = "longtake-progress"
"""Dask topic on which workers tell which batches they have begun, and how far they are in long tasks."""

TELL_EVERY_S = 2.0
"""Seconds between two such messages of a worker: a thousand workers then send the scheduler 500 a second."""

VERSIONED = ("av", "numpy", "opencv-python-headless", "pyarrow", "scenedetect-headless")
"""Packages whose versions are written with every part, as another one may give other rows."""


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


@dataclass(frozen=True)
class Context:
    """A dataset and the recipe that is run on it."""

    dataset: Dataset
    recipe: recipe.Recipe

    @cached_property
    def purged(self) -> tombstones.Tombstones:
        """What was taken out of the dataset."""
        return tombstones.load(self.dataset)

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.recipe.stages if stage.name == name)

    def table(self, name: str) -> Table:
        """A table by name, whether a stage or the engine writes it."""
        engine = {"sources": sources.SOURCES, "decodes": sources.DECODES, "errors": errors.TABLE}
        stage = self.recipe.writer(name)
        return engine[name] if stage is None else stage.writes

    def commit(self, table: Table, key: str, rows: pa.Table, problems: Sequence[Row], stage: str | None = None) -> None:
        """Errors first, the part last: a part that is there has its errors there too."""
        provenance = self.provenance(stage)
        if problems:
            problems = [self.purged.told(row) | {"path": row["path"]} for row in problems]
            self.dataset.write_part(errors.TABLE, key, to_arrow(errors.TABLE, problems), provenance)
        else:
            # Of a try in this run that was killed before its part was in place; so it is loose.
            self.dataset.remove(self.dataset.part(errors.TABLE.name, key))
        self.dataset.write_part(table, key, rows, provenance)

    def provenance(self, stage: str | None = None) -> dict[str, Any]:
        """What is written with a part: recipe, stage, parameters and versions."""
        made_by = self.stage(stage) if stage else None
        return {
            "recipe": self.recipe.name,
            "stage": stage,
            "stage_version": made_by.version if made_by else None,
            "parameters": made_by.model_dump(mode="json") if made_by else None,
            "versions": _versions(),
        }

    def in_child(
        self,
        what: str,
        header: Row,
        tables: Tables | None = None,
        deadline_s: float = float("inf"),
        progress: Callable[[float], None] | None = None,
    ) -> tuple[Row, Tables]:
        """Work in this thread's child, tried again in a new one where it dies.

        Args:
            progress: told now and then how far the child is in the source, seconds.

        Raises:
            QuarantinedError: it died each time.
        """
        limits = self.recipe.limits
        sandbox = for_this_thread(limits.memory_gib, limits.stall_s)
        for attempt in range(1, limits.attempts + 1):
            try:
                return sandbox.call(what, header, tables, deadline_s, progress)
            except ChildDiedError as error:
                if attempt == limits.attempts:
                    message = f"the decoding process {error}, {attempt} times out of {attempt}"
                    raise QuarantinedError(f"{message}; the file is damaged or hostile{_cure(error)}") from None
        raise AssertionError("attempts is at least 1")


def _cure(error: ChildDiedError) -> str:
    """What to try with a file that is neither, but larger than most."""
    return ", or needs a higher limits.memory_gib" if "memory" in str(error) else ""


def task_name(source_id: str, start_pts: int | None) -> str:
    """What a source's analysis, or that of its interval from `start_pts` on, is called while it runs."""
    return f"{source_id} {start_pts}"


def tell_begun(ticket: str) -> None:
    """Say that a worker has a batch in hand, and wait until that is known: what comes next may end the process."""
    import distributed

    worker = distributed.get_worker()
    distributed.utils.sync(worker.loop, worker.scheduler.log_event, topic=PROGRESS, msg={"began": ticket})


def teller(task: str, from_s: float) -> Callable[[float], None]:
    """Tells whoever watches the run how many seconds of video the task has behind it."""
    from distributed import get_worker  # half a second, which verbs that hand nothing over need not wait

    try:
        worker = get_worker()
    except ValueError:  # not on a Dask worker
        return lambda video_s: None
    said = time.monotonic()

    def tell(video_s: float) -> None:
        nonlocal said
        if time.monotonic() - said >= TELL_EVERY_S:
            said = time.monotonic()
            worker.log_event(PROGRESS, {"task": task, "video_s": max(0.0, video_s - from_s)})

    return tell


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"longtake": __version__}
    for package in VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def problem(source: Row, stage: str, failure: Mapping[str, Any]) -> Row:
    """A row of `errors`."""
    return {"clip_id": None, "source_id": source["source_id"], "path": source["path"], "stage": stage, **failure}


def failure(error: Exception) -> dict[str, Any]:
    """An exception, of this process or of the child, as the columns of `errors` that describe it."""
    if isinstance(error, ChildRaisedError):
        return {"error": error.kind, "message": str(error), "traceback": error.trace}
    return failure_of(error)


def raise_if_storage(error: Exception) -> None:
    """A full or read-only disk, a store that does not answer, or a damaged file of the dataset, is no input's fault:
    it must stop the job.

    Raises:
        OSError: with the errno that the error stands for.
        DamagedError: the error itself.
    """
    if isinstance(error, DamagedError):
        raise error
    number = error.number if isinstance(error, ChildRaisedError) else storage_fault(error)
    if number == StoreError.NUMBER:
        raise StoreError(str(error)) from None
    if number is not None and number in STORAGE_ERRNOS:
        raise OSError(number, os.strerror(number)) from error


def deadline(source: Row) -> float:
    """Seconds a source may take: ten minutes and thirty times its length, several times what 8K needs on one core."""
    return 600 + 30 * float(source.get("duration_s") or 0)

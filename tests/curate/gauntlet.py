"""One file through what a run does with it, in this process and the product's own child: what came of it.

`whole` does the engine's own tasks, planned by its own planner, without Dask: probe, decode, every frame probe, the row
stages that follow, and each take cut to the frame. `quick` has the child do the parts that touch the file's bytes, at a
tenth of the cost: probe, decode in as many intervals as the engine would, one take cut. What the child meets is seen as
it is raised.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np

from curate import plan, recipe, work
from curate.analyze import intervals, join
from curate.dataset import Dataset, to_arrow
from curate.listing import look
from curate.sandbox import ChildRaisedError, Tables, for_this_thread
from curate.stage import FrameProbe, Row, TableStage
from curate.work.context import Context, QuarantinedError
from schemas import Table, boundaries, clips, decisions, errors, media, signals, sources

RECIPE = """
name: gauntlet
limits: {{memory_gib: {memory_gib}, stall_s: {stall_s}, attempts: 1, interval_s: 10}}
stages:
  signals: {{}}
  flow: {{}}
  vectors: {{}}
  picture: {{}}
  stills: {{}}
  hashes: {{}}
  cuts: {{unsure: [0.5, 0.5]}}
  takes: {{min_s: 0.1}}
  motion: {{}}
  motion_seconds: {{}}
  quality: {{}}
  select: {{}}
  clips: {{preset: ultrafast}}
"""
"""Everything that opens media and costs milliseconds; networks see pictures that these have seen."""

QUICK, CUT = ("signals", "vectors"), ("signals", "vectors", "flow", "picture")
"""Of the frame probes those whose arithmetic depends most on what the file says of sizes, times and kinds: without the
cut of a take, and with it."""
MOST_SPANS = 3
DEADLINE_S = 300.0
"""What a request of `quick` may take; the engine gives ten minutes and more."""

MEANT = frozenset({"MediaError", "VerificationError", "CannotCopyError"})
"""The exceptions with which the product refuses a file: their messages say what is wrong with it."""


@dataclass(frozen=True)
class Event:
    """Something that went wrong."""

    kind: str
    """refused: with a message that is meant; unclear: an exception that nobody meant; crash, memory, hang: the child's
    end; parent: raised in this process; wrong: a result that contradicts itself."""
    stage: str
    error: str
    message: str
    trace: str = ""

    def __str__(self) -> str:
        return f"{self.stage}: {self.error}: {self.message}"


@dataclass
class Outcome:
    """What came of a file."""

    events: list[Event] = field(default_factory=list)
    frames: int = 0
    takes: int = 0
    written: int = 0
    copied: int = 0
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """The worst that happened; `result` if there are rows and nothing went wrong."""
        order = ("parent", "wrong", "unclear", "crash", "hang", "memory", "refused")
        return next((kind for kind in order if any(e.kind == kind for e in self.events)), "result")


@dataclass(frozen=True)
class _Watched(Context):
    """A context that sees what the child raises."""

    raised: list[Event] = field(default_factory=list)

    def in_child(
        self,
        what: str,
        header: Row,
        tables: Tables | None = None,
        deadline_s: float = float("inf"),
        progress: Callable[[float], None] | None = None,
    ) -> tuple[Row, Tables]:
        stage = header.get("stage", what)
        try:
            answer, made = super().in_child(what, header, tables, deadline_s, progress)
        except ChildRaisedError as error:
            kind = "refused" if error.kind in MEANT else "unclear"
            self.raised.append(Event(kind, stage, error.kind, str(error), error.trace))
            raise
        except QuarantinedError as error:
            self.raised.append(Event(_death(str(error)), stage, "QuarantinedError", str(error)))
            raise
        failures = answer.get("failures") or []
        for why in failures.values() if isinstance(failures, dict) else failures:
            kind = "refused" if why["error"] in MEANT else "unclear"
            self.raised.append(Event(kind, stage, why["error"], why["message"], why["traceback"]))
        return answer, made


def _death(message: str) -> str:
    if "memory" in message:
        return "memory"
    return "hang" if "progress" in message or "deadline" in message else "crash"


class Gauntlet:
    """Runs files one after the other; a child that lives is used for the next.

    Args:
        folder: for the datasets, each removed by whoever asked for it.
    """

    def __init__(self, folder: Path, memory_gib: float = 1.0, stall_s: float = 10.0) -> None:
        self._folder = folder
        self._recipe = recipe.parse(RECIPE.format(memory_gib=memory_gib, stall_s=stall_s), "gauntlet")
        self._limits = (memory_gib, stall_s)

    def close(self) -> None:
        for_this_thread(*self._limits).close()

    def whole(self, path: Path, name: str) -> Outcome:
        """A file through everything; its dataset is the subfolder `name`."""
        return self._watched(self._whole, path, name)

    def quick(self, path: Path, name: str, cut: bool = True) -> Outcome:
        """A file through what reads it; where `cut`, a clip of it is written into the subfolder `name`."""
        return self._watched(partial(self._quick, cut=cut), path, name)

    def _watched(self, run: Callable[[_Watched, Path, Outcome], None], path: Path, name: str) -> Outcome:
        outcome = Outcome()
        started = time.monotonic()
        context = _Watched(Dataset(str(self._folder / name)), self._recipe)
        try:
            run(context, path, outcome)
        except (ChildRaisedError, QuarantinedError):
            pass  # seen by the context
        except Exception as error:  # what the engine's own process raises would end the whole job
            outcome.events.append(Event("parent", "engine", type(error).__name__, str(error)[:500], _trace(error)))
        outcome.events += context.raised
        outcome.seconds = time.monotonic() - started
        return outcome

    def _quick(self, context: _Watched, path: Path, outcome: Outcome, cut: bool) -> None:
        source = {"source_id": "s" * 32, "path": str(path), "paths": [str(path)], "user": "{}"}
        source |= context.in_child("probe", {"path": str(path)}, deadline_s=DEADLINE_S)[0]["probe"]
        table = to_arrow(sources.SOURCES, [source])
        outcome.events += [Event("wrong", "probe", "", fault) for fault in source_faults(source)]
        spans = intervals(source, self._recipe.limits.interval_s)
        probes = {name: context.stage(name).model_dump(mode="json") for name in (CUT if cut else QUICK)}
        answers = []
        for span in spans[:MOST_SPANS]:
            header = {"source": source, "probes": probes, "interval": span.dump()}
            answers.append(context.in_child("analyze", header, deadline_s=DEADLINE_S))
        made = [tables["signals"] for _, tables in answers]
        counts = [answer["decode"]["frames"] for answer, _ in answers]
        found = join(made, counts, signals.TABLE)
        to_arrow(sources.DECODES, [answer["decode"] for answer, _ in answers])
        decode = answers[0][0]["decode"] | {"frames": sum(counts)}
        outcome.frames = decode["frames"]
        rows = found.select(["frame", "pts", "t_s"]).to_pylist()
        failed = {stage for answer, _ in answers for stage in answer["failures"]}
        outcome.events += [Event("wrong", "rows", "", fault) for fault in frame_faults(decode, rows, failed)]
        if failed or len(rows) < 3 or not cut:
            return
        first, last = len(rows) // 4, len(rows) - 1
        take = dict.fromkeys(clips.TABLE.schema.names) | {
            "clip_id": "c", "source_id": source["source_id"], "start_frame": first, "end_frame": last,
            "start_pts": rows[first]["pts"], "end_pts": rows[last]["pts"], "start_s": rows[first]["t_s"],
            "end_s": rows[last]["t_s"], "duration_s": rows[last]["t_s"] - rows[first]["t_s"], "frames": last - first,
            "long_enough": True, "detectors": "", "longest_frame_s": 0.0, "still": [],
        }  # fmt: skip
        outcome.takes = 1
        decided = {"clip_id": "c", "source_id": source["source_id"], "kept": True, "reasons": []}
        stage = context.stage("clips")
        tables = {
            "clips": to_arrow(clips.TABLE, [take]),
            "decisions": to_arrow(decisions.TABLE, [decided]).select(["clip_id", "kept"]),
            "sources": table.select(list(stage.reads["sources"])),
            "decodes": to_arrow(sources.DECODES, [decode]).select(list(stage.reads["decodes"])),
        }
        header = {"stage": "clips", "parameters": stage.model_dump(mode="json"), "dataset": context.dataset.url}
        answer, written = context.in_child("stage", header, tables, DEADLINE_S)
        for row in written["rows"].to_pylist():
            outcome.written, outcome.copied = 1, int(row["mode"] == "smart")
            faults = clip_faults(Path(context.dataset.path(row["path"])), row, take)
            outcome.events += [Event("wrong", "clips", "", fault) for fault in faults]
        if not outcome.written and not answer["failures"]:
            outcome.events.append(Event("wrong", "clips", "", "the take has neither a file nor an error"))

    def _whole(self, context: _Watched, path: Path, outcome: Outcome) -> None:
        task = vars(look(str(path)))
        work.KINDS["ingest"](context, {"kind": "ingest", "key": "k", **task})
        (row,) = context.dataset.scan(sources.INPUTS).to_table().to_pylist()
        if row["failure"]:
            if not context.raised:
                kind = "refused" if row["failure"] == "the file is empty" else "unclear"
                outcome.events.append(Event(kind, "probe", "", row["failure"]))
            return
        source = row | {"paths": [row["path"]]}
        outcome.events += [Event("wrong", "probe", "", fault) for fault in source_faults(source)]
        key = "sources"
        context.dataset.write_part(sources.SOURCES, key, to_arrow(sources.SOURCES, [source]), {})
        state = plan.State([source], self._recipe.tables)
        for segment in plan.segments(self._recipe):
            names = [stage.writes.name for stage in segment.stages]
            present: Mapping[str, set[str]] = {table: set() for table in (*names, "decodes")}
            if segment.over_sources:
                for stage in segment.stages:
                    for need in plan.needed_slices(stage, state):
                        state.slices[need] = {source["source_id"]: "x"}
                for tasks in plan.source_tasks(segment, state, present, self._recipe.limits.interval_s):
                    for each in tasks:
                        work.KINDS[each["kind"]](context, each)
            else:
                assert isinstance(segment.stages[0], TableStage)
                table = plan.table_task(segment.stages[0], state, [key])
                work.KINDS["table"](context, table)
        self._judge(context, source, outcome)

    def _judge(self, context: _Watched, source: Row, outcome: Outcome) -> None:
        def rows(table: Table) -> list[Row]:
            return context.dataset.scan(table).to_table().to_pylist()

        (decode,) = rows(sources.DECODES)
        found, wrong = rows(signals.TABLE), rows(errors.TABLE)
        failed = {(row["stage"], row["clip_id"]) for row in wrong}
        whole = {stage for stage, clip in failed if clip is None}
        outcome.frames = decode["frames"]
        faults = list(frame_faults(decode, found, whole))
        for stage in self._recipe.stages:
            if isinstance(stage, FrameProbe) and stage.name not in whole and "decode" not in whole:
                outcome.frames += 0 * context.dataset.scan(stage.writes).count_rows()  # that it can be read
        takes = rows(clips.TABLE)
        outcome.takes = len(takes)
        if not whole:
            faults += take_faults(decode, found, rows(boundaries.TABLE), takes)
        made = {row["clip_id"]: row for row in rows(media.TABLE)}
        outcome.written = len(made)
        outcome.copied = sum(row["mode"] == "smart" for row in made.values())
        if "clips" not in whole:
            due = {row["clip_id"] for row in rows(decisions.TABLE) if row["kept"]}
            lost = due - set(made) - {clip for stage, clip in failed if stage == "clips"}
            faults += [f"take {clip} has neither a file nor an error" for clip in sorted(lost)]
        by_id = {row["clip_id"]: row for row in takes}
        for clip_id, row in made.items():
            faults += clip_faults(Path(context.dataset.path(row["path"])), row, by_id[clip_id])
        outcome.events += [Event("wrong", "rows", "", fault) for fault in faults]


def source_faults(row: Row) -> Iterator[str]:
    """What contradicts itself in a row of `sources`."""
    if min(row["width"], row["height"], row["packets"], row["time_base_num"], row["time_base_den"]) < 1:
        yield "a size, count or time base below 1"
    if not (math.isfinite(row["duration_s"]) and row["duration_s"] >= 0):
        yield f"duration of {row['duration_s']} s"
    if row["fps"] is not None and not (math.isfinite(row["fps"]) and row["fps"] > 0):
        yield f"frame rate of {row['fps']}"
    splits = row["split_pts"]
    if not splits or splits[0] != row["start_pts"] or any(b <= a for a, b in itertools.pairwise(splits)):
        yield f"splits {splits[:5]}"
    if row["rotation"] not in (0, 90, 180, 270):
        yield f"rotation of {row['rotation']}"
    for name in ("audio_rate", "audio_channels"):
        if row[name] is not None and row[name] < 0:
            yield f"{name} of {row[name]}"


def frame_faults(decode: Row, found: list[Row], failed: set[str]) -> Iterator[str]:
    """What contradicts itself in a source's frames."""
    if failed & {"signals", "decode"}:
        return
    if [row["frame"] for row in found] != list(range(decode["frames"])):
        yield f"{decode['frames']} frames decoded, {len(found)} rows"
    stamps = [row["pts"] for row in found]
    if any(b <= a for a, b in itertools.pairwise(stamps)):
        yield "timestamps that do not rise"
    times = np.array([row["t_s"] for row in found])
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        yield "times that do not rise"


def take_faults(decode: Row, found: list[Row], edges: list[Row], takes: list[Row]) -> Iterator[str]:
    """What contradicts itself in a source's boundaries and takes."""
    frames = decode["frames"]
    if sum(row["kind"] == "end" for row in edges) != 1:
        yield "no one end among the boundaries"
    if any(not 0 <= row["start_frame"] <= row["end_frame"] <= frames for row in edges):
        yield "a boundary outside the film"
    last = 0
    for row in sorted(takes, key=lambda take: take["start_frame"]):
        if not last <= row["start_frame"] < row["end_frame"] <= frames:
            yield f"take {row['start_frame']}..{row['end_frame']} of {frames} frames, after one up to {last}"
            return
        last = row["end_frame"]
        if row["frames"] != row["end_frame"] - row["start_frame"] or row["start_pts"] >= row["end_pts"]:
            yield "a take of other frames, or of no time"
        if row["start_pts"] != found[row["start_frame"]]["pts"]:
            yield "a take that starts beside its frame"
        if not (math.isfinite(row["duration_s"]) and row["duration_s"] >= 0):
            yield f"a take of {row['duration_s']} s"


def clip_faults(path: Path, row: Row, take: Row) -> Iterator[str]:
    """What a clip's file is, against its row and its take, by a plain decode."""
    if row["frames"] != take["frames"] or row["bytes"] != path.stat().st_size:
        yield f"a clip of {row['frames']} frames, of a take of {take['frames']}"
    try:
        with av.open(str(path)) as box:
            counted = sum(1 for _ in box.decode(video=0))
    except av.error.FFmpegError as error:
        yield f"a clip that does not decode: {error}"
        return
    if counted != row["frames"]:
        yield f"a clip that says {row['frames']} frames and decodes to {counted} ({row['mode']})"


def _trace(error: Exception) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def files(folder: Path) -> set[str]:
    """All files below a folder, relative to it."""
    return {os.path.relpath(os.path.join(top, name), folder) for top, _, names in os.walk(folder) for name in names}

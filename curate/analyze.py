"""The one decode of a source feeding all its probes, and the running of a row stage: the work done in a child.

A probe or a clip that raises takes only itself out; its neighbours go on.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate import plugins
from curate.dataset import to_arrow
from curate.folder import storage_fault
from curate.media.container import MediaError
from curate.media.frame import Frame
from curate.media.video import Decode, Timing
from curate.stage import Failure, FrameProbe, ProbeRun, Row, RowStage, Workspace
from schemas import Table

CHUNK = 4096
"""Rows gathered before they become an Arrow chunk: it bounds the memory that rows take as Python objects."""


@dataclass(frozen=True)
class Interval:
    """A part of a source: its frames with start_pts <= pts < end_pts, decoded from lead_pts on."""

    start_pts: int | None = None
    end_pts: int | None = None
    lead_pts: int | None = None

    def dump(self) -> dict[str, int | None]:
        return asdict(self)


def intervals(source: Row, length_s: float) -> list[Interval]:
    """Split a source into intervals of about `length_s` seconds at its keyframes.

    One interval, the whole, unless the source is longer than twice that and its timestamps allow it. Each interval
    decodes from the split before its own on, so that probes have their lookback and open GOPs their references.
    """
    splits: list[int] = source["split_pts"] or []
    if not source["seekable"] or source["duration_s"] <= 2 * length_s:
        return [Interval()]
    ticks = length_s * source["time_base_den"] / source["time_base_num"]
    chosen = [splits[0]]
    leads: list[int | None] = [None]
    for lead, split in itertools.pairwise(splits):
        if split - chosen[-1] >= ticks:
            chosen.append(split)
            leads.append(lead)
    ends = [*chosen[1:], None]
    return [
        Interval(start if n else None, end, lead)
        for n, (start, end, lead) in enumerate(zip(chosen, ends, leads, strict=True))
    ]


@dataclass
class _Pass:
    """One probe's pass and the rows it has given so far."""

    probe: FrameProbe
    run: ProbeRun | None
    rows: list[Row] = field(default_factory=list)
    chunks: list[pa.Table] = field(default_factory=list)
    failure: dict[str, Any] | None = None

    def see(self, frame: Frame, number: int | None, source_id: str) -> None:
        if self.run is None:
            return
        try:
            row = self.run.update(frame)
        except MemoryError:
            raise  # the child's limit, not the probe's fault
        except Exception as error:
            self.fail(error)
            return
        if row is not None and number is not None:
            self.rows.append({"source_id": source_id, "frame": number, "pts": frame.pts, "t_s": frame.t_s, **row})
            if len(self.rows) >= CHUNK:
                self.flush()

    def fail(self, error: Exception) -> None:
        self.run, self.failure = None, failure_of(error)
        self.rows, self.chunks = [], []

    def flush(self) -> None:
        try:
            self.chunks.append(to_arrow(self.probe.writes, self.rows))
            self.rows = []
        except (ValueError, TypeError, pa.ArrowException) as error:
            self.fail(error)

    def table(self) -> pa.Table:
        self.flush()
        return pa.concat_tables([self.probe.writes.schema.empty_table(), *self.chunks])


def analyze(
    path: str,
    source: Row,
    probes: Mapping[str, Mapping[str, Any]],
    interval: Mapping[str, int | None],
    progress: Callable[[float], None],
) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Decode a source, or an interval of it, once for all the probes (parameters by stage name).

    Returns:
        A header with `decode` (a row of `decodes`) and `failures` by probe, and each probe's rows by table name.
        Frame numbers count from the interval's first frame.

    Raises:
        MediaError: not one picture could be decoded.
    """
    span = Interval(**interval)
    passes = [_start(name, parameters, source) for name, parameters in probes.items()]
    vectors = any(each.probe.vectors for each in passes)
    decode = Decode(path, Timing.of(source), span.start_pts, span.end_pts, span.lead_pts, vectors=vectors)
    end_s = 0.0
    for frame in decode:
        inside = span.start_pts is None or frame.pts >= span.start_pts
        for each in passes:
            each.see(frame, decode.frames - 1 if inside else None, source["source_id"])
        end_s = frame.t_s
        progress(frame.t_s)
    if not decode.frames and span == Interval():
        raise MediaError("not one picture could be decoded; the file is damaged")
    tables = {each.probe.writes.name: each.table() for each in passes}
    row = {
        "source_id": source["source_id"],
        "frames": decode.frames,
        "corrupt_frames": decode.corrupt_frames,
        "decode_errors": decode.decode_errors,
        "stopped_early": decode.stopped_early,
        "end_s": end_s,
    }
    return {"decode": row, "failures": {e.probe.name: e.failure for e in passes if e.failure}}, tables


def _start(name: str, parameters: Mapping[str, Any], source: Row) -> _Pass:
    probe = plugins.stage_class(name).model_validate(parameters)
    assert isinstance(probe, FrameProbe)  # noqa: S101 - for the type checker; the engine sends no other kind
    try:
        return _Pass(probe, probe.start(source))
    except Exception as error:
        return _Pass(probe, None, failure=failure_of(error))


def join(parts: Sequence[pa.Table], frames: Sequence[int], table: Table) -> pa.Table:
    """The rows of a source's intervals as one table, frame numbers counted through.

    Args:
        parts: each interval's rows, in order.
        frames: how many frames each interval has.
    """
    first, joined = 0, []
    place = table.schema.get_field_index("frame")
    for part, count in zip(parts, frames, strict=True):
        shifted = pc.add(part.column(place), pa.scalar(first, pa.int64()))
        joined.append(part.set_column(place, table.schema.field(place), shifted))
        first += count
    return pa.concat_tables(joined)


def run_rows(stage: RowStage, inputs: Mapping[str, pa.Table], work: Workspace) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Run a row stage on one group: its rows, and the failures of single clips."""
    rows: list[Row] = []
    failures: list[dict[str, Any]] = []
    for result in stage.run(inputs, work):
        if isinstance(result, Failure):
            if storage_fault(result.error):
                raise result.error
            failures.append({"clip_id": result.clip_id, **failure_of(result.error)})
        else:
            rows.append(result)
    return to_arrow(stage.writes, rows), failures


def failure_of(error: BaseException) -> dict[str, Any]:
    """An exception as the columns of `errors` that describe it."""
    return {
        "error": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
    }

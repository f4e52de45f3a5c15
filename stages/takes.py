"""Takes: the spans between boundaries, drawn in a little where a boundary is, as clips to be scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, clips


class Takes(RowStage):
    """Every maximal span free of boundaries. Short ones are rows too; `select` says that they are out, and why."""

    name: ClassVar[str] = "takes"
    writes: ClassVar[Table] = clips.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "signals": ("source_id", "pts", "t_s"),
        "boundaries": ("start_frame", "end_frame"),
    }

    min_s: float = Field(10.0, gt=0)
    """Shortest long take, seconds: LVD-2M's."""
    erode_frames: int = Field(3, ge=0)
    """Frames given up on either side of a boundary, but not at the ends of the file: Step-Video-T2V's three, which
    clears blended frames and a cut that is off by one."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        pts = inputs["signals"].column("pts").to_numpy()
        times = inputs["signals"].column("t_s").to_numpy()
        if not len(pts):
            return
        source_id = inputs["signals"].column("source_id")[0].as_py()
        step = int(np.median(np.diff(pts))) if len(pts) > 1 else 1
        step_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        for start, end in self._spans(inputs["boundaries"], len(pts)):
            end_pts = int(pts[end]) if end < len(pts) else int(pts[-1]) + step
            end_s = float(times[end]) if end < len(pts) else float(times[-1]) + step_s
            start_s = float(times[start])
            yield {
                "clip_id": f"{source_id[:16]}-{start:07d}-{end:07d}",
                "source_id": source_id,
                "start_frame": start,
                "end_frame": end,
                "start_pts": int(pts[start]),
                "end_pts": end_pts,
                "start_s": start_s,
                "end_s": end_s,
                "duration_s": end_s - start_s,
                "frames": end - start,
                "long_enough": end_s - start_s >= self.min_s,
            }

    def _spans(self, boundaries: pa.Table, frames: int) -> Iterator[tuple[int, int]]:
        """(first frame, one past the last) of each take; a shot that erosion eats up is none."""
        starts: list[int] = boundaries.column("start_frame").to_numpy().tolist()
        ends: list[int] = boundaries.column("end_frame").to_numpy().tolist()
        begin, drawn_in = 0, 0
        for start, end in [*sorted(zip(starts, ends, strict=True)), (frames, frames)]:
            outer = self.erode_frames if start < frames else 0
            if begin + drawn_in < start - outer:
                yield begin + drawn_in, start - outer
            begin, drawn_in = max(begin, end), self.erode_frames

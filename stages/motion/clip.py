"""The stage `motion`: a clip's motion, and what the camera does in it and when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, motion
from stages.motion.pairs import Pairs
from stages.motion.segments import Limits, Path, Segment, segments
from stages.runs import runs


class Motion(RowStage):
    """Sums up a clip's motion from the sample pairs that lie wholly inside it."""

    name: ClassVar[str] = "motion"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = motion.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "motion_series": (),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"vector_series": ()}

    static_below_w_s: float = Field(0.004, ge=0)
    """A pair with less mean flow stands still, frame widths per second: DIS sees about half of it in the noise of a
    tripod shot."""
    camera_from_w_s: float = Field(0.012, gt=0)
    """The camera moves from this shift on, frame widths per second: a pan that takes 80 s to cross a frame."""
    zoom_from_s: float = Field(0.02, gt=0)
    """The camera zooms from this change of scale on, natural logarithm per second: 2 % a second."""
    roll_from_s: float = Field(0.03, gt=0)
    """The camera rolls from this turn on, radians per second: under 2 degrees a second, the edge no faster than in the
    slowest zoom and the slowest pan."""
    shake_from_w_s: float = Field(0.02, gt=0)
    """A camera whose speed swings by this is handheld, frame widths per second: the noise of a tripod shot is below
    0.008."""
    held_from: float = Field(0.12, gt=0, le=1)
    """Share of the picture's middle that stays in its place while the rest moves, from which on a camera follows it: a
    standing person who is half the picture high fills as much. A passer-by at the camera's speed fills less."""
    steady: float = Field(0.7, gt=0, le=1)
    """Share of a clip in which the camera must do one thing for `camera` to say so; else it says `moving`."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        flow = Pairs.of(inputs["motion_series"])
        vectors = Pairs.of(inputs["vector_series"]) if "vector_series" in inputs else None
        for clip in inputs["clips"].to_pylist():
            span = clip["start_s"], clip["end_s"]
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "backend": "opencv-dis-fast"}
            row |= self._score(flow.inside(*span))
            if vectors is not None:
                vector_row = _vectors(vectors.inside(*span))
                row |= vector_row | {"unmeasured": _joined(row.get("unmeasured"), vector_row.get("unmeasured"))}
            yield row

    def _score(self, pairs: Pairs) -> Row:
        speed = pairs["flow_mean_w_s"]
        if not np.isfinite(speed).any():
            return {"pairs": 0, "unmeasured": "no two samples lie inside the clip"}
        slow = speed < self.static_below_w_s
        row: Row = {
            "pairs": len(speed),
            "mean_w_s": np.nanmean(speed),
            "p95_w_s": np.nanpercentile(speed, 95),
            "static_share": slow.mean(),
            "flow_px_520x960_2fps": _mean(pairs["flow_px_520x960"]),
            **_dead(slow, pairs),
        }
        known = np.isfinite(pairs["camera_x_w_s"])
        if not known.any():
            return row | {"unmeasured": "no camera could be fitted: too little texture, or nothing that moves alike"}
        path = Path.of(pairs)
        found = segments(pairs, path, self._limits)
        return row | {
            "camera_w_s": np.hypot(pairs["camera_x_w_s"], pairs["camera_y_w_s"])[known].mean(),
            "subject_w_s": pairs["subject_w_s"][known].mean(),
            "jitter_w_s": path.rms(-np.inf, np.inf),
            "camera": self._named(found),
            "segments": [asdict(segment) for segment in found],
        }

    @property
    def _limits(self) -> Limits:
        return Limits(self.camera_from_w_s, self.zoom_from_s, self.roll_from_s, self.shake_from_w_s, self.held_from)

    def _named(self, found: list[Segment]) -> str:
        """The one kind that lasts for most of the clip."""
        lasting: dict[str, float] = defaultdict(float)
        for segment in found:
            lasting[segment.kind] += segment.end_s - segment.start_s
        longest = max(lasting, key=lambda kind: lasting[kind])
        return longest if lasting[longest] >= self.steady * sum(lasting.values()) else "moving"


def _dead(slow: np.ndarray, pairs: Pairs) -> Row:
    """The longest stretch in which nothing moves."""
    stretches = [(pairs["previous_s"][first], pairs["t_s"][end - 1]) for first, end in runs(slow, 0)]
    if not stretches:
        return {"dead_s": 0.0}
    start_s, end_s = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    return {"dead_s": end_s - start_s, "dead_start_s": start_s}


def _vectors(pairs: Pairs) -> Row:
    speed, intra = pairs["vectors_mean_w_s"], pairs["intra_share"]
    row: Row = {"intra_share": _mean(intra), "vectors_w_s": _mean(speed)}
    if row["vectors_w_s"] is not None:
        return row
    reasons = Counter(filter(None, pairs.reasons)).most_common(1)
    return row | {
        "unmeasured": f"vectors: {reasons[0][0]}" if reasons else "vectors: no two samples lie inside the clip"
    }


def _mean(values: np.ndarray) -> float | None:
    """Of those that are known."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _joined(*reasons: str | None) -> str | None:
    return "; ".join(filter(None, reasons)) or None

"""The stage `motion_seconds`: a clip's motion second by second, for people to see where it is dead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from curate.stage import Row, RowStage, Workspace
from schemas import Table, motion
from stages.motion.pairs import EPSILON_S, Pairs


class MotionSeconds(RowStage):
    """A row for every second of every clip: each pair inside the clip counts by how much of it lies in the second."""

    name: ClassVar[str] = "motion_seconds"
    writes: ClassVar[Table] = motion.SECONDS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "motion_series": (),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {"vector_series": ()}

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        flow = Pairs.of(inputs["motion_series"])
        vectors = Pairs.of(inputs["vector_series"]) if "vector_series" in inputs else None
        for clip in inputs["clips"].to_pylist():
            span = clip["start_s"], clip["end_s"]
            inside = flow.inside(*span)
            beside = vectors.inside(*span) if vectors is not None else None
            for second in range(math.ceil(span[1] - span[0] - EPSILON_S)):
                start_s = span[0] + second
                end_s = min(start_s + 1, span[1])
                yield {
                    "clip_id": clip["clip_id"],
                    "source_id": clip["source_id"],
                    "second": second,
                    "start_s": start_s,
                    "end_s": end_s,
                    **_measured(inside, beside, start_s, end_s),
                }


def _measured(flow: Pairs, vectors: Pairs | None, start_s: float, end_s: float) -> Row:
    speed = _mean(flow, flow["flow_mean_w_s"], start_s, end_s)
    if speed is None:
        return {"unmeasured": "no two samples of the clip lie around this second"}
    shift = np.hypot(flow["camera_x_w_s"], flow["camera_y_w_s"])
    row: Row = {
        "flow_w_s": speed,
        "camera_w_s": _mean(flow, shift, start_s, end_s),
        "subject_w_s": _mean(flow, flow["subject_w_s"], start_s, end_s),
    }
    reasons = [] if row["camera_w_s"] is not None else ["no camera could be fitted"]
    if vectors is not None:
        row["vectors_w_s"] = _mean(vectors, vectors["vectors_mean_w_s"], start_s, end_s)
        if row["vectors_w_s"] is None:
            reasons.append("no motion vectors")
    return row | {"unmeasured": "; ".join(reasons) or None}


def _mean(pairs: Pairs, values: np.ndarray, start_s: float, end_s: float) -> float | None:
    """Mean of a second's pairs by the time that they have in it; None where there is none."""
    first = int(np.searchsorted(pairs["t_s"], start_s + EPSILON_S))
    end = int(np.searchsorted(pairs["previous_s"], end_s - EPSILON_S))
    chosen = slice(first, max(first, end))
    inside = np.minimum(pairs["t_s"][chosen], end_s) - np.maximum(pairs["previous_s"][chosen], start_s)
    known = np.isfinite(values[chosen])
    return float(np.average(values[chosen][known], weights=inside[known])) if known.any() else None

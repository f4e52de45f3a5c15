"""Takes: the spans between boundaries, drawn in a little where a boundary is, each with its certificate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, clips
from stages.runs import runs

HARD = ("cut", "jump", "gap")
FROZEN, STILL = 0.02, 0.35
"""Mean colour difference (0 to 255) to the frame before of a repeated picture, and of one in which nothing moves: x264
leaves up to 0.3 in stills of a tripod shot, and a walker a tenth of the picture high makes 0.5."""
COUNTED = 0.1
"""Probability from which on a doubt lowers a take's confidence: of 46 500 weaker ones on the films of the fit 134 were
transitions, and all of them together would leave no confidence in any take of some minutes."""
STRETCH_S = 1.0
"""Shortest still stretch that is marked, seconds."""
REFRESHED = 3
"""Frames in a row that may differ within a still stretch: a key frame renews the picture's noise."""
COMBED = 0.03
"""Share of combed pixels of an interlaced picture: progressive takes stay below 0.021, woven ones exceed 0.05."""
SOME, MOST = 0.1, 0.55
"""Shares of combed pictures: of telecined film that moves throughout 40 % are; of interlaced video nearly all."""


class Takes(RowStage):
    """Every maximal span free of boundaries. Short ones are rows too; `select` says that they are out, and why."""

    name: ClassVar[str] = "takes"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = clips.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "signals": ("source_id", "pts", "t_s", "diff", "combing"),
        "boundaries": ("start_frame", "end_frame", "start_s", "kind", "accepted", "probability", "detector", "why"),
    }

    min_s: float = Field(10.0, gt=0)
    """Shortest long take, seconds: LVD-2M's."""
    max_s: float | None = Field(None, gt=0)
    """Longest take, seconds; longer ones become equal parts. By default they stay whole: length is what is sought."""
    erode_hard: int = Field(0, ge=0)
    """Frames given up on either side of a hard cut. None is needed: on the films of the fit each was found at its very
    frame. And a take that starts with the shot starts with its key frame, so that it can be copied."""
    erode_gradual: int = Field(1, ge=0)
    """Frames given up on either side of a dissolve or fade, where one frame more may still be mixed."""
    erode_wipe: int = Field(2, ge=0)
    """The same for a wipe, which begins at the very edge of the picture: on held-out films up to two late. Nothing
    is given up at the ends of the file."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        seen = inputs["signals"]
        if not len(seen):
            return
        source_id = seen.column("source_id")[0].as_py()
        signals = {name: seen.column(name).to_numpy() for name in ("pts", "t_s", "combing")}
        signals["change"] = pc.list_element(seen.column("diff"), 0).to_numpy()
        rows = inputs["boundaries"].to_pylist()
        end = next((row for row in rows if row["kind"] == "end"), None)
        if end is None:  # nobody has looked for boundaries: `cuts` failed
            return
        pts, times = _with_end(signals["pts"], 1), _with_end(signals["t_s"], 0)
        for first, last in self._spans([r for r in rows if r["accepted"]], times):
            start_s, end_s = float(times[first]), float(times[last])
            yield {
                "clip_id": f"{source_id[:16]}-{first:07d}-{last:07d}",
                "source_id": source_id,
                "start_frame": first,
                "end_frame": last,
                "start_pts": int(pts[first]),
                "end_pts": int(pts[last]),
                "start_s": start_s,
                "end_s": end_s,
                "duration_s": end_s - start_s,
                "frames": last - first,
                "long_enough": end_s - start_s >= self.min_s,
                "detectors": end["detector"],
                **_doubts([r for r in rows if not r["accepted"] and first < r["start_frame"] < last]),
                "longest_frame_s": float(np.diff(times[first : last + 1]).max()),
                "scan": _scan(signals["combing"][first:last]),
                "still": list(_still(signals["change"], times, first, last)),
            }

    def _spans(self, boundaries: list[Row], times: np.ndarray) -> Iterator[tuple[int, int]]:
        """(first frame, one past the last) of each take; a shot that erosion eats up is none."""
        first = 0
        for edge in sorted(boundaries, key=lambda row: (row["start_frame"], row["end_frame"])):
            given_up = self._given_up(edge["kind"])
            last = edge["start_frame"] - given_up
            if first < last:
                yield from self._parts(first, last, times)
            first = max(first, edge["end_frame"] + given_up)

    def _given_up(self, kind: str) -> int:
        if kind == "end":
            return 0
        if kind in HARD:
            return self.erode_hard
        return self.erode_wipe if kind == "wipe" else self.erode_gradual

    def _parts(self, first: int, last: int, times: np.ndarray) -> Iterator[tuple[int, int]]:
        """The span, or equal parts of it where it is longer than the longest take."""
        length = times[last] - times[first]
        parts = 1 if self.max_s is None else int(np.ceil(length / self.max_s - 1e-9))
        marks = times[first] + length * np.arange(1, parts) / parts
        edges = [first, *(first + np.searchsorted(times[first:last], marks)).tolist(), last]
        yield from ((a, b) for a, b in itertools.pairwise(edges) if a < b)


def _with_end(values: np.ndarray, alone: int) -> np.ndarray:
    """Times of the frames and of the end of the last, which stands as long as most; `alone` if it is the only one."""
    step = np.median(np.diff(values)) if len(values) > 1 else alone
    return np.append(values, values[-1] + (round(step) if values.dtype.kind == "i" else step))


def _doubts(turned_down: list[Row]) -> Row:
    """What speaks against the take: the likeliest boundary that was not accepted, and all of them together."""
    likely = [row for row in turned_down if row["probability"] is not None]
    counted = [row["probability"] for row in likely if row["probability"] >= COUNTED]
    found: Row = {"confidence": float(np.prod([1 - probability for probability in counted])), "doubt": 0.0}
    found |= dict.fromkeys(("doubt_kind", "doubt_why", "doubt_frame", "doubt_s"))
    if likely:
        worst = max(likely, key=lambda row: row["probability"])
        found |= {"doubt": worst["probability"], "doubt_kind": worst["kind"], "doubt_why": worst["why"]}
        found |= {"doubt_frame": worst["start_frame"], "doubt_s": worst["start_s"]}
    return found


def _scan(combing: np.ndarray) -> str | None:
    """What the bursts of measured pictures show: two of five combed in telecined film, most in interlaced video."""
    measured = combing[~np.isnan(combing)]
    if not len(measured):
        return None
    share = float((measured > COMBED).mean())
    if share < SOME:
        return "progressive"
    return "telecine" if share < MOST else "interlaced"


def _still(change: np.ndarray, times: np.ndarray, first: int, last: int) -> Iterator[Row]:
    """Frozen and still stretches of a take."""
    for kind, level, floor in (("frozen", FROZEN, -1.0), ("still", STILL, FROZEN)):
        calm = change[first + 1 : last] <= level
        for start, end in runs(calm, REFRESHED):
            start_s, end_s = float(times[first + start]), float(times[first + end + 1])
            inside = change[first + 1 + start : first + 1 + end]
            if end_s - start_s >= STRETCH_S and np.median(inside) > floor:
                yield {"start_s": start_s, "end_s": end_s, "kind": kind}

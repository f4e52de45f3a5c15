"""Motion: optical flow between sampled frames of the shared decode, and what it says about a clip.

`Flow` is the probe, `Motion` the score. Speeds are in frame widths per second, so 360p and 4K, 24 and 60 fps compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row, RowStage, Workspace
from schemas import Table, motion

FLOW_PX = 320
"""Long side of the pictures that flow is measured on: DIS finds shifts of a tenth of the width there in 5 ms."""

GRID_PX = 8
"""Distance of the flow vectors that the camera is fitted to: DIS's own patch size."""

FIT_PX = 1.0
"""A vector is explained by the camera when it is off by no more than this, px at `FLOW_PX`."""


class Flow(FrameProbe):
    """Dense inverse search flow (Kroeger et al., 2016) between samples, and a camera fitted to it."""

    name: ClassVar[str] = "flow"
    writes: ClassVar[Table] = motion.SERIES

    fps: float = Field(2.0, ge=1.0, le=60)
    """Samples per second: LVD-2M's."""

    @property
    def lookback_s(self) -> float:
        return 2 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _FlowRun(self.fps)


class _FlowRun:
    def __init__(self, fps: float) -> None:
        self._sampler = Sampler(fps)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._last: tuple[float, np.ndarray] | None = None

    def update(self, frame: Frame) -> Row | None:
        if not self._sampler.takes(frame.t_s):
            return None
        luma = frame.luma(FLOW_PX)
        last, self._last = self._last, (frame.t_s, luma)
        if last is None or last[1].shape != luma.shape:
            return {}
        if min(luma.shape) < 16:  # DIS needs two patches each way
            return {}
        # No array to write into: DIS would take what is in it for a first guess.
        flow = self._dis.calc(last[1], luma, None)  # type: ignore[call-overload]
        return {"previous_s": last[0], **_measure(flow, frame.t_s - last[0])}


def _measure(flow: np.ndarray, seconds: float) -> Row:
    """A pair's columns out of its flow (rows, columns, 2) in px."""
    width = flow.shape[1]
    unit = 1 / (width * seconds)
    lengths = np.hypot(flow[..., 0], flow[..., 1])
    row: Row = {"flow_mean_w_s": lengths.mean() * unit, "flow_p95_w_s": np.percentile(lengths, 95) * unit}
    return row | _camera(flow, unit, seconds)


def _camera(flow: np.ndarray, unit: float, seconds: float) -> Row:
    """Similarity transform (shift, zoom, roll) fitted to the flow by RANSAC, and the flow that it leaves."""
    rows, columns = flow.shape[:2]
    ys, xs = np.mgrid[GRID_PX // 2 : rows : GRID_PX, GRID_PX // 2 : columns : GRID_PX]
    centre = np.array([columns / 2, rows / 2])
    points = np.stack([xs.ravel(), ys.ravel()], 1) - centre
    vectors = flow[ys.ravel(), xs.ravel()]
    fit, inliers = cv2.estimateAffinePartial2D(
        points.astype(np.float32), (points + vectors).astype(np.float32), ransacReprojThreshold=FIT_PX
    )
    if fit is None:
        return {}
    explained = points @ fit[:, :2].T + fit[:, 2] - points
    left = np.hypot(*(vectors - explained).T)
    return {
        "camera_x_w_s": fit[0, 2] * unit,
        "camera_y_w_s": fit[1, 2] * unit,
        "camera_zoom_s": math.log(max(1e-6, math.hypot(fit[0, 0], fit[1, 0]))) / seconds,
        "camera_roll_s": math.atan2(fit[1, 0], fit[0, 0]) / seconds,
        "camera_fit": float(inliers.mean()),
        "subject_w_s": left.mean() * unit,
    }


class Motion(RowStage):
    """Sums up a clip's motion from the sample pairs that lie wholly inside it."""

    name: ClassVar[str] = "motion"
    writes: ClassVar[Table] = motion.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s"),
        "motion_series": (),
    }

    static_below_w_s: float = Field(0.004, ge=0)
    """A pair with less mean flow stands still, frame widths per second: DIS sees about half of it in the noise of a
    tripod shot."""
    camera_from_w_s: float = Field(0.012, gt=0)
    """The camera moves from this fitted speed on, frame widths per second: a pan that takes 80 s to cross a frame."""
    zoom_from_s: float = Field(0.02, gt=0)
    """The camera zooms from this change of scale on, natural logarithm per second: 2 % a second."""
    steady: float = Field(0.7, gt=0, le=1)
    """Share of a clip's camera movement that must point one way for a pan, tilt or zoom to be named."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        series = inputs["motion_series"]
        pairs = series.filter(pc.is_valid(series["previous_s"]))
        columns = {n: pairs.column(n).to_numpy(zero_copy_only=False) for n in pairs.column_names if n != "source_id"}
        for clip in inputs["clips"].to_pylist():
            inside = (columns["previous_s"] >= clip["start_s"] - 1e-9) & (columns["t_s"] < clip["end_s"] - 1e-9)
            chosen = {n: values[inside] for n, values in columns.items()}
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "backend": "opencv-dis-fast"}
            yield row | self._score(chosen)

    def _score(self, pairs: Mapping[str, np.ndarray]) -> Row:
        speed = pairs["flow_mean_w_s"]
        if not len(speed):
            return {"pairs": 0, "unmeasured": "no two samples lie inside the clip"}
        fitted = ~np.isnan(pairs["camera_x_w_s"].astype(float))
        row: Row = {
            "pairs": len(speed),
            "mean_w_s": float(speed.mean()),
            "p95_w_s": float(np.percentile(speed, 95)),
            "static_share": float((speed < self.static_below_w_s).mean()),
        }
        if not fitted.any():
            return row | {"unmeasured": "no camera could be fitted to the flow"}
        x, y, zoom = (pairs[n][fitted].astype(float) for n in ("camera_x_w_s", "camera_y_w_s", "camera_zoom_s"))
        return row | {
            "camera_w_s": float(np.hypot(x, y).mean()),
            "subject_w_s": float(pairs["subject_w_s"][fitted].mean()),
            "camera": self._camera(x, y, zoom),
        }

    def _camera(self, x: np.ndarray, y: np.ndarray, zoom: np.ndarray) -> str:
        """The one name that fits most of the clip, or `moving`. A camera panning left moves the picture right."""
        shift = float(np.hypot(x, y).mean())
        zooming = float(np.abs(zoom).mean())
        if shift < self.camera_from_w_s and zooming < self.zoom_from_s:
            return "static"
        if zooming >= self.zoom_from_s and zooming / 2 >= shift:
            # A zoom of z per second moves the frame's edge, half a width out, by z/2 widths per second.
            return _named(zoom, self.steady, "zoom in", "zoom out")
        if shift < self.camera_from_w_s:
            return "moving"
        across = np.abs(x).sum() >= np.abs(y).sum()
        if np.hypot(x.mean(), y.mean()) < self.steady * shift:
            return "moving"
        return (
            _named(x, self.steady, "pan left", "pan right")
            if across
            else _named(y, self.steady, "tilt up", "tilt down")
        )


def _named(series: np.ndarray, steady: float, positive: str, negative: str) -> str:
    total, net = float(np.abs(series).sum()), float(series.sum())
    if abs(net) < steady * total:
        return "moving"
    return positive if net > 0 else negative

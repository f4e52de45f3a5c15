"""The probe `flow`: dense optical flow between samples of the shared decode, the camera's path, and what is left.

Speeds are in frame widths per second, so that 360p and 4K, 24 and 60 fps compare.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from curate.media.frame import ANALYSIS_PX, Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, motion
from stages.motion.camera import Camera, Track, closed, places_of

FLOW_PX = 320
"""Long side of the pictures that flow is measured on: 5 ms a pair."""

LVD_SIZE, LVD_GAP_S = (520, 960), 0.5
"""Rows and columns that LVD-2M brings pictures to, and how far apart they are (arXiv:2410.10816, 3.1)."""

HELD = 0.3
"""A place is held still in a moving picture when it moves by less than this share of what the camera does there."""

TEXTURE = 3.0
"""A place has texture from this mean gradient on, grey levels a pixel (Sobel, by eighths): what flow says of a wall is
a guess from its surroundings."""

CELL_PX = 8
"""Cells in which held places are looked for: DIS's own patch size."""


class Flow(FrameProbe):
    """Dense inverse search flow (Kroeger et al., 2016) between samples, led by the camera's path between them."""

    name: ClassVar[str] = "flow"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = motion.SERIES

    fps: float = Field(2.0, ge=1.0, le=60)
    """Samples per second: LVD-2M's."""
    track_fps: float = Field(12.0, ge=1.0, le=60)
    """Steps per second of the camera's path: handheld shake is at 1 to 5 Hz. A source with fewer frames has fewer."""

    @property
    def lookback_s(self) -> float:
        return 2 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _Pass(self)


class _Pass:
    def __init__(self, parameters: Flow) -> None:
        self._samples, self._steps = Sampler(parameters.fps), Sampler(parameters.track_fps)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._track = Track()
        self._last: tuple[float, np.ndarray] | None = None
        self._camera: Camera | None = Camera()
        self._path: list[Row] = []

    def update(self, frame: Frame) -> Row | None:
        sample, step = self._samples.takes(frame.t_s), self._steps.takes(frame.t_s)
        if sample or step:
            self._follow(frame)
        if not sample:
            return None
        camera, self._camera = self._camera, Camera()
        path, self._path = self._path, []
        luma = frame.luma(FLOW_PX)
        last, self._last = self._last, (frame.t_s, luma)
        if last is None or last[1].shape != luma.shape:
            return {}
        if min(luma.shape) < 16:  # DIS needs two patches each way
            return {}
        if camera is not None:
            camera = closed(last[1], luma, camera)
        flow = self._flow(last[1], luma, camera)
        row = {"previous_s": last[0], "steps": path, **measured(flow, frame.t_s - last[0])}
        return row | (_camera(camera, flow, last[1], frame.t_s - last[0]) if camera is not None else {})

    def _follow(self, frame: Frame) -> None:
        """One step of the camera's path. A step that is not known leaves the camera unknown up to the next sample."""
        step = self._track.step(frame.luma(ANALYSIS_PX))
        if step is None or self._camera is None:
            self._camera = None
            return
        self._camera = self._camera.then(step)
        self._path.append({"t_s": frame.t_s, "x": step.shift.real, "y": step.shift.imag})

    def _flow(self, before: np.ndarray, now: np.ndarray, camera: Camera | None) -> np.ndarray:
        """Flow (rows, columns, 2) in frame widths; what the camera leaves behind moves as the camera says."""
        rows, columns = before.shape
        if camera is None:
            # No array to write into: DIS would take what is in it for a first guess.
            return self._dis.calc(before, now, None) / columns  # type: ignore[call-overload]
        xs, ys = places_of(rows, columns)
        x, y = camera.moves(xs, ys)
        gone = (np.abs(xs + x) > 0.5) | (np.abs(ys + y) > rows / columns / 2)
        first = np.stack([x, y], axis=-1)
        flow = self._dis.calc(before, now, first * np.float32(columns)) / columns
        flow[gone] = first[gone]
        return flow


def lengths_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lengths of vectors. OpenCV's `magnitude` and `mean` differ in the last bit by where in memory their input lies,
    and a source decoded in intervals must give the same rows."""
    return np.sqrt(x * x + y * y)


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))


def measured(flow: np.ndarray, seconds: float) -> Row:
    """How much there is in a flow (rows, columns, 2), in frame widths, over so many seconds."""
    rows, columns = flow.shape[:2]
    lengths = lengths_of(flow[..., 0], flow[..., 1])
    # LVD-2M's picture has another shape, so a height is worth other pixels there than a width.
    theirs = lengths_of(flow[..., 0] * LVD_SIZE[1], flow[..., 1] * (LVD_SIZE[0] * columns / rows))
    return {
        "flow_mean_w_s": _mean(lengths) / seconds,
        "flow_p95_w_s": np.percentile(lengths, 95) / seconds,
        "flow_px_520x960": _mean(theirs) * LVD_GAP_S / seconds,
    }


def _camera(camera: Camera, flow: np.ndarray, luma: np.ndarray, seconds: float) -> Row:
    rows, columns = luma.shape
    x, y = camera.moves(*places_of(rows, columns))
    left = lengths_of(flow[..., 0] - x, flow[..., 1] - y)
    return {
        "camera_x_w_s": camera.shift.real / seconds,
        "camera_y_w_s": camera.shift.imag / seconds,
        "camera_zoom_s": camera.zoom / seconds,
        "camera_roll_s": camera.roll / seconds,
        "camera_fit": camera.fit,
        "subject_w_s": _mean(left) / seconds,
        "held_share": _held(flow, lengths_of(x, y), luma),
    }


def _held(flow: np.ndarray, moves: np.ndarray, luma: np.ndarray) -> float:
    """Share of the picture's middle that stays in its place while the camera moves the rest, of what has texture.

    The middle is the inner six tenths each way: a logo or a bar at the edge is not what a camera follows.
    """
    across, down = cv2.Sobel(luma, cv2.CV_16S, 1, 0), cv2.Sobel(luma, cv2.CV_16S, 0, 1)
    gradient = cv2.add(cv2.convertScaleAbs(across, alpha=0.125), cv2.convertScaleAbs(down, alpha=0.125))
    size = (luma.shape[1] // CELL_PX, luma.shape[0] // CELL_PX)
    texture = cv2.resize(gradient, size, interpolation=cv2.INTER_AREA) >= TEXTURE
    lengths = cv2.resize(lengths_of(flow[..., 0], flow[..., 1]), size, interpolation=cv2.INTER_AREA)
    still = lengths < HELD * cv2.resize(moves, size, interpolation=cv2.INTER_AREA)
    middle = np.s_[size[1] // 5 : size[1] - size[1] // 5, size[0] // 5 : size[0] - size[0] // 5]
    seen = np.count_nonzero(texture[middle])
    return float(np.count_nonzero((still & texture)[middle]) / seen) if seen else 0.0

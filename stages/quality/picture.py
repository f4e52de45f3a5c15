"""The probe: what each sampled picture of the shared decode shows by itself, and against the sample before."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, quality
from schemas.quality import GRID, PROFILE
from stages.quality.edges import edges_of
from stages.quality.fine import bands_of, blockiness, combed_share, native_share, noise
from stages.quality.light import blown_share, borders_of, colourfulness, hue_of, inside, light_of

SHARP_PX = 640
"""Long side on which sharpness is measured: sizes above it compare, and sensor noise is averaged away."""
STEP = 4
"""The grids and profiles count quarters of a grey level: compressed stills differ by less than one."""


class Picture(FrameProbe):
    """Measures sampled frames. About 5 ms a sample."""

    name: ClassVar[str] = "picture"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = quality.SERIES

    fps: float = Field(2.0, ge=1.0, le=60)
    """Samples per second, as for motion."""
    hue_share: float = Field(0.25, gt=0, le=1)
    """Share of the picture that must be saturated in one hue for that hue to be named."""
    fine_fps: float = Field(0.5, gt=0, le=60)
    """Samples per second in which noise, blockiness and the native size are measured: they need the full-size picture
    and hardly change within a take. More than `fps` is as much as `fps`."""

    @property
    def lookback_s(self) -> float:
        return 2 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _Pass(self)


class _Pass:
    def __init__(self, parameters: Picture) -> None:
        self._hue_share = parameters.hue_share
        self._sampler = Sampler(parameters.fps)
        self._fine = Sampler(min(parameters.fps, parameters.fine_fps))
        self._last: np.ndarray | None = None

    def update(self, frame: Frame) -> Row | None:
        # Both see every frame: a sampler tells the first frame of its cell by the frame before.
        takes, takes_fine = self._sampler.takes(frame.t_s), self._fine.takes(frame.t_s)
        if not takes:
            return None
        luma, bgr = frame.luma(SHARP_PX), frame.bgr
        borders, straight = borders_of(luma)
        inner, colour = inside(luma, borders, straight), inside(bgr, borders, straight)
        last, self._last = self._last, luma
        hsv = cv2.cvtColor(colour, cv2.COLOR_BGR2HSV)
        return {
            **light_of(inner),
            **_detail(inner),
            **edges_of(inner, SHARP_PX / max(luma.shape)),
            "saturation": cv2.mean(hsv)[1],
            "blown_share": blown_share(colour),
            "colourfulness": colourfulness(colour),
            "hue": hue_of(hsv, self._hue_share),
            **dict(zip(("border_left", "border_right", "border_top", "border_bottom"), borders, strict=True)),
            "border_straight": straight,
            **(_change(luma, last) if last is not None and last.shape == luma.shape else {}),
            **_fine(frame.coded_luma, takes_fine),
        }


def _detail(luma: np.ndarray) -> Row:
    """Sharpness, and where in the picture detail is."""
    laplacian = cv2.Laplacian(luma, cv2.CV_16S)
    strength = cv2.convertScaleAbs(laplacian)
    columns = cv2.reduce(strength, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    rows = cv2.reduce(strength, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)
    return {
        "sharpness": max(0.0, cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size - cv2.mean(laplacian)[0] ** 2),
        "flat_share": 1 - cv2.countNonZero(strength) / strength.size,
        "detail_columns": _bytes(columns, (PROFILE[0], 1)),
        "detail_rows": _bytes(rows, (1, PROFILE[1])),
    }


def _change(now: np.ndarray, last: np.ndarray) -> Row:
    """How the picture differs from the sample before, in all and in cells of a grid."""
    difference = cv2.absdiff(now, last)
    return {"difference": cv2.mean(difference)[0], "changed": _bytes(difference, GRID)}


def _fine(plane: np.ndarray, takes_all: bool) -> Row:
    """What only the full-size picture shows."""
    bands = bands_of(plane)
    if bands is None:
        return {}
    row: Row = {"combed_share": combed_share(bands)}
    if takes_all:
        row |= {"noise": noise(bands), "blockiness": blockiness(bands), "native_share": native_share(plane)}
    return row


def _bytes(image: np.ndarray, size: tuple[int, int]) -> bytes:
    """The image by area at (columns, rows), a byte each, `STEP` to a grey level."""
    return cv2.resize(cv2.convertScaleAbs(image, alpha=STEP), size, interpolation=cv2.INTER_AREA).tobytes()

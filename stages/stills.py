"""Stills: one picture a second kept as JPEG from the shared decode.

Stages that look at single pictures (text, safety, embeddings, captions) and the report read these, so that the video
is decoded once however many models look at it.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, stills


class Stills(FrameProbe):
    """Keeps sampled pictures. About 4 ms and 40 kB a picture."""

    name: ClassVar[str] = "stills"
    writes: ClassVar[Table] = stills.TABLE

    fps: float = Field(1.0, gt=0, le=60)
    """Pictures per second: captioners are shown one or two, and a subtitle stands for a second at least."""
    long_side: int = Field(640, ge=64, le=4096)
    """Aimed long side, px: what text detectors and image encoders take. A smaller source is not enlarged."""
    quality: int = Field(85, ge=1, le=100)
    """JPEG quality, 1 to 100; at 85 text of 8 px is still read."""

    @property
    def lookback_s(self) -> float:
        return 2 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _Pass(self)


class _Pass:
    def __init__(self, parameters: Stills) -> None:
        self._sampler = Sampler(parameters.fps)
        self._long_side = parameters.long_side
        self._how = [cv2.IMWRITE_JPEG_QUALITY, parameters.quality]

    def update(self, frame: Frame) -> Row | None:
        if not self._sampler.takes(frame.t_s):
            return None
        picture = frame.picture(self._long_side)
        height, width = picture.shape[:2]
        return {"width": width, "height": height, "jpeg": cv2.imencode(".jpg", picture, self._how)[1].tobytes()}


def opened(jpeg: bytes) -> np.ndarray:
    """A still as (rows, columns, 3) uint8 in BGR order."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a still of the dataset is no JPEG: the part is damaged; delete it and run again")
    return picture

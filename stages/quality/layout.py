"""How a clip's picture is laid out: bars, sides filled with its own blur, windows on a screen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from curate.stage import Row
from schemas.quality import GRID
from stages.quality.light import STRAIGHT
from stages.quality.picture import STEP

SOME = 90
"""Percentile of the samples by which the straightness of an edge is judged: not every scene is lit up to the bars."""
THIN = 0.004
"""Borders up to this share of a side are the blanking of old recorders or a scaler's edge; no bars."""

FILL_LEAST, FILL_MOST = 0.06, 0.42
"""Width of one filled side, share of the picture's: what stands upright in a picture 4:3 to 21:9 leaves."""
SEAM = 4.0
"""Detail of the seam against the most in the filled sides: seams of real takes have 8 and more, columns of untouched
ones seldom twice what lies outside them."""
RICHER = 1.3
"""Detail of the middle against that of the filled sides, least: out of focus itself it has twice as much."""
FILL_FLOOR = 0.5
"""Detail of the sides, grey levels of the Laplacian, that counts as none."""

STILL_LEVEL = 0.5
"""Greatest change of a cell, grey levels in any pair of samples, that stands still: noise of a camera makes more."""
DRAWN_PX, SOFT_PX = 0.2, 0.35
"""Edges (`blur_px`) up to the first width are drawn, from the second on they came through a lens: letters and lines on
a screen have 0.1, the sharpest real takes 0.26 and more."""
BUSY = 50
"""A cell belongs to the window that changes in this percentile of the pairs of samples."""
WINDOWED = 0.2
"""Likeness to a screen from which on what moves in it is taken for a window."""


def borders(columns: Mapping[str, np.ndarray]) -> Row:
    """Columns `border_share` and `crop`: black in all samples, with a straight edge in some."""
    straight = np.stack(list(columns["border_straight"])).astype(float)
    kept = []
    for place, side in enumerate(("left", "right", "top", "bottom")):
        widths = columns[f"border_{side}"].astype(float)
        least = float(widths.min())
        at_least = straight[widths <= least + THIN, place]
        kept.append(least if least > THIN and np.percentile(at_least, SOME) >= STRAIGHT else 0.0)
    left, right, top, bottom = kept
    return {
        "border_share": 1 - (1 - left - right) * (1 - top - bottom),
        "crop": [left, top, 1 - right, 1 - bottom],
    }


def fill(columns: Mapping[str, np.ndarray]) -> Row:
    """Column `fill_share`: share of the picture's area that fills both sides, or above and below, with nothing but
    blur up to a seam at the same distance from either edge."""
    series = [columns["detail_columns"], columns["detail_rows"]]
    profiles = [np.mean([np.frombuffer(each, np.uint8) for each in samples], axis=0) / STEP for samples in series]
    return {"fill_share": max(_fill(profile) for profile in profiles)}


def _fill(profile: np.ndarray) -> float:
    """Share of a profile (mean detail by column or row) that is filling on both sides; 0 where there is no seam."""
    count = len(profile)
    found, clearest = 0.0, SEAM
    for width in range(round(FILL_LEAST * count), round(FILL_MOST * count)):
        sides = profile[: width - 1], profile[::-1][: width - 1]
        seams = [float(line[width - 1 : width + 2].max()) for line in (profile, profile[::-1])]
        outside = max(float(side.max()) for side in sides)
        middle = float(np.median(profile[width + 2 : count - width - 2]))
        clear = min(seams) / max(outside, FILL_FLOOR)
        if clear > clearest and middle > RICHER * max(float(np.median(side)) for side in sides):
            found, clearest = 2 * width / count, clear
    return found


def screen(columns: Mapping[str, np.ndarray], crop: list[float], blur_px: float | None) -> Row:
    """Columns `still_share`, `window` and `screen`. A screen's still parts are the same to the last bit but for what
    the codec does, and its lines and letters are sharper than any lens draws them."""
    changed = [np.frombuffer(cells, np.uint8) for cells in columns["changed"][1:] if cells is not None]
    if not changed:
        return {}
    most = np.max(changed, axis=0).reshape(GRID[1], GRID[0]) / STEP
    across, down = ((np.arange(count) + 0.5) / count for count in GRID)
    inner = ((down > crop[1]) & (down < crop[3]))[:, None] & ((across > crop[0]) & (across < crop[2]))[None]
    moving = inner & (most > STILL_LEVEL)
    share = 1 - float(moving.sum() / max(1, inner.sum()))
    row: Row = {"still_share": share}
    if blur_px is None:
        return row
    row["screen"] = share * float(np.clip((SOFT_PX - blur_px) / (SOFT_PX - DRAWN_PX), 0, 1))
    # Not what changed at all: a key frame renews letters, and a pointer crosses the screen.
    busy = np.argwhere((np.percentile(changed, BUSY, axis=0).reshape(most.shape) / STEP > STILL_LEVEL) & moving)
    if row["screen"] >= WINDOWED and len(busy):
        (y0, x0), (y1, x1) = busy.min(0), busy.max(0) + 1
        row["window"] = [float(x0 / GRID[0]), float(y0 / GRID[1]), float(x1 / GRID[0]), float(y1 / GRID[1])]
    return row

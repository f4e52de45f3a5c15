"""From the stored signals to the channels that the classifier reads: a row of numbers a frame, comparable across films.

Differences become logarithms; half-way pictures are judged relative to how far the ends differ; and displacement is
judged against the same place's displacement shortly before and after, so that what moves all the time counts for little
and what jumps once stands out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from schemas.signals import BETWEEN, CELLS, DISTANCES, SPLIT

AROUND = (3, 12, 30)
"""Frames before and after with which a cell's displacement is compared."""
FRAME_S = (1 / 60, 1 / 24)
"""Shortest and longest time a frame stands, seconds, in the films of the fit; others count as the nearer of them."""
STILL = 1.5
"""Grey levels added to both sides of a ratio, so that a compressed still does not look like a transition."""

MIRRORED = (slice(-sum(CELLS), -CELLS[1]), slice(-CELLS[1], None))
"""The channels that turn round when the picture is mirrored: the columns' displacement, and the rows'."""


def channels(signals: Mapping[str, np.ndarray]) -> np.ndarray:
    """The classifier's input.

    Args:
        signals: columns of `signals` as arrays, frames first: `luma`, `contrast`, `delta_*` (frames,), `diff`, `blend`,
            `step`, `split` (frames, their distances), `displaced` and
            `unexplained` (frames, cells) in quarters of a level, `moved` (frames,), `t_s` (frames,).

    Returns:
        (frames, channels) float32. The last `CELLS[0] + CELLS[1]` are the columns' and the rows' displacement.
    """
    diff, blend, step, split = (signals[name].astype(np.float32) for name in ("diff", "blend", "step", "split"))
    luma, contrast = signals["luma"].astype(np.float32), signals["contrast"].astype(np.float32)
    ends = diff[:, [DISTANCES.index(distance) for distance in BETWEEN]] + STILL
    wide = diff[:, [DISTANCES.index(distance) for distance in SPLIT]] + STILL
    deltas = np.stack([signals[f"delta_{name}"] for name in ("hue", "sat", "lum")], axis=1).astype(np.float32)
    grid = signals["displaced"].astype(np.float32) / 4
    cells = grid.reshape(len(grid), CELLS[1], CELLS[0])
    left = signals["unexplained"].astype(np.float32) / 4
    frame_s = np.diff(signals["t_s"], prepend=signals["t_s"][0]).astype(np.float32)
    return np.concatenate(
        [
            _log(diff),
            _log(blend),
            blend / ends,
            step / ends,
            split / wide,
            _log(deltas),
            luma[:, None] / 128 - 1,
            np.minimum(luma, 255 - luma)[:, None] ** 0.5 / 8,
            contrast[:, None] / 64,
            _log(np.quantile(grid, (0.25, 0.5, 0.9), axis=1).T),
            *(_novelty(grid, frames) for frames in AROUND),
            _log(np.quantile(left, (0.5, 0.9), axis=1).T),
            *(_novelty(left, frames) for frames in AROUND),
            np.log(1e-3 + signals["moved"].astype(np.float32))[:, None] / 3,
            np.log(np.clip(frame_s, *FRAME_S) * 25)[:, None],
            _log(cells.mean(axis=1)),
            _log(cells.mean(axis=2)),
        ],
        axis=1,
        dtype=np.float32,
    )


def _log(values: np.ndarray) -> np.ndarray:
    return np.log1p(values, dtype=np.float32)


def _novelty(grid: np.ndarray, frames: int) -> np.ndarray:
    """How much of the displacement exceeds the greatest of its own cell within `frames` before and after.

    Returns:
        (frames, 3): the mean excess (log), the share of cells with any, and the excess relative to the displacement.
    """
    others = _greatest_of_others(grid, frames)
    excess = np.maximum(grid - others, 0)
    mean = excess.mean(axis=1)
    return np.stack([np.log1p(mean), (excess > STILL).mean(axis=1), mean / (grid.mean(axis=1) + STILL)], axis=1)


def _greatest_of_others(grid: np.ndarray, frames: int) -> np.ndarray:
    """The maximum over `frames` rows before and after each row, itself left out: (rows, cells)."""
    padded = np.pad(grid, ((frames, frames), (0, 0)))
    return np.maximum(_running_max(padded[: -frames - 1], frames), _running_max(padded[frames + 1 :], frames))


def _running_max(values: np.ndarray, length: int) -> np.ndarray:
    """The maximum of each `length` consecutive rows, in log2(length) passes."""
    reach = 1
    while reach * 2 <= length:
        values = np.maximum(values[:-reach], values[reach:])
        reach *= 2
    rest = length - reach
    return np.maximum(values[:-rest], values[rest:]) if rest else values

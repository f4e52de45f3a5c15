"""What only the full-size coded picture shows: sensor noise, the codec's grid, detail that enlarging did not bring."""

from __future__ import annotations

import cv2
import numpy as np

BANDS, BAND_ROWS = 6, 34
"""Bands of rows that are looked at, and rows in each: four lines of an 8-pixel grid, and blocks for the noise."""
GRID = 8
"""Distance of the grid's lines, px: the transform block of JPEG, MPEG-1, -2 and -4, half of H.264's macroblock."""
MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Immerkaer's: the difference of two Laplacians, blind to edges and slopes."""
BLOCK = 16
"""Side of the blocks that noise is measured in, px."""
CALM = 20
"""Percentile of the blocks that stands for the noise: those with least texture."""
DARK, BRIGHT = 24, 232
"""Blocks beyond these mean levels are left out: noise is clipped there."""
COMBED_LEAST, COMBED_RATIO = 2, 1.5
"""A combed block's lines differ by so many grey levels, and by so many times what those of the same field do."""
LINES = 32
"""Rows, and columns, whose spectrum is taken."""
BINS = 30
"""Into how many bins its frequencies are gathered."""
COARSE = (1, 4)
"""The bins of the coarse structure: a tenth of the frequencies, without the lowest, which are the light."""
FALL_DB = 24.0
"""How far below the coarse structure detail may lie: native takes have it up to 0.75 and more, enlarged ones not."""
LEAST_POWER = 1.0
"""Least power of the coarse structure, grey levels squared: below it the picture is one colour."""
LEAST_SIDE = 64
"""Least side of a picture, px, whose fine structure can be told."""


def bands_of(plane: np.ndarray) -> list[np.ndarray] | None:
    """The bands of a luma plane (rows, columns), from top to bottom; None where it is too small to tell anything."""
    rows, columns = plane.shape
    if min(rows, columns) < LEAST_SIDE:
        return None
    starts = np.linspace(0, (rows - BAND_ROWS) // GRID, BANDS).astype(int) * GRID
    return [np.ascontiguousarray(plane[start : start + BAND_ROWS]) for start in starts]


def combed_share(bands: list[np.ndarray]) -> float:
    """Share of blocks in which a line differs more from the next line than from the next but one, as where fields of
    two times are woven. Noise and texture differ alike from both."""
    combed, blocks = 0, 0
    for band in bands:
        size = (band.shape[1] // BLOCK, (BAND_ROWS - 2) // BLOCK)
        width = size[0] * BLOCK
        next_one, next_but_one = cv2.absdiff(band[:-2], band[1:-1]), cv2.absdiff(band[:-2], band[2:])
        one, two = (
            cv2.resize(each[:, :width], size, interpolation=cv2.INTER_AREA).astype(np.float32)
            for each in (next_one, next_but_one)
        )
        combed += int(np.count_nonzero((one > COMBED_LEAST) & (one > COMBED_RATIO * two)))
        blocks += one.size
    return combed / blocks


def noise(bands: list[np.ndarray]) -> float | None:
    """Standard deviation of the noise, grey levels: Immerkaer's (1996) mask, in the calmest blocks; null where all is
    black or white."""
    levels, strengths = [], []
    for band in bands:
        size = (band.shape[1] // BLOCK, band.shape[0] // BLOCK)
        inside = band[1:-1, : size[0] * BLOCK]
        across = cv2.filter2D(band, cv2.CV_16S, MASK)[1:-1, : size[0] * BLOCK]
        levels.append(cv2.resize(inside, size, interpolation=cv2.INTER_AREA))
        strengths.append(cv2.resize(cv2.convertScaleAbs(across).astype(np.float32), size, interpolation=cv2.INTER_AREA))
    level, strength = np.concatenate(levels).ravel(), np.concatenate(strengths).ravel()
    strength = strength[(level > DARK) & (level < BRIGHT)]
    if len(strength) < BANDS:
        return None
    return float(np.percentile(strength, CALM) * np.sqrt(np.pi / 2) / 6)


def blockiness(bands: list[np.ndarray]) -> float:
    """By how many grey levels steps across the grid's lines exceed the steps beside them, as a mean of both ways.

    After Muijs and Kirenko (2005): a step counts against those to either side of it, so texture counts for nothing.
    """
    across = np.zeros(bands[0].shape[1] - 1)
    down = np.zeros(bands[0].shape[0] - 1)
    for band in bands:
        across += cv2.reduce(cv2.absdiff(band[:, 1:], band[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
        down += cv2.reduce(cv2.absdiff(band[1:], band[:-1]), 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[:, 0]
    return float(np.mean([_on_grid(steps / len(bands)) for steps in (across, down)]))


def _on_grid(steps: np.ndarray) -> float:
    """Mean excess of the steps that cross a line of the grid over their neighbours; not below 0."""
    lines = np.arange(GRID - 1, len(steps) - 1, GRID)
    beside = (steps[lines - 1] + steps[lines + 1]) / 2
    return max(0.0, float(np.mean(steps[lines] - beside)))


def native_share(plane: np.ndarray) -> float | None:
    """Share of the sampling rate up to which the picture has detail, the better of its two directions; 0 to 1.

    A picture enlarged k times has nothing beyond 1/k of what its size could carry; one that is merely soft looks the
    same. Null where there is no structure at all.
    """
    found = [_bandwidth(lines) for lines in (plane, plane.T)]
    measured = [share for share in found if share is not None]
    return max(measured) if measured else None


def _bandwidth(plane: np.ndarray) -> float | None:
    """Share of the frequencies, from 0 on, whose power is less than `FALL_DB` below that of the coarse structure."""
    lines = plane[np.linspace(0, len(plane) - 1, LINES).astype(int)].astype(np.float32)
    lines -= lines.mean(1, keepdims=True)
    spectrum = cv2.dft(lines * np.hanning(lines.shape[1]).astype(np.float32), flags=cv2.DFT_ROWS)
    squares = cv2.reduce(cv2.multiply(spectrum, spectrum), 0, cv2.REDUCE_SUM)[0]
    # Packed as re(0), re(1), im(1), re(2), ...: pairs from the second on are one frequency each.
    power = squares[1 : 1 + 2 * ((lines.shape[1] - 1) // 2)].reshape(-1, 2).sum(1)
    edges = np.linspace(0, len(power), BINS + 1).astype(int)
    bins = np.add.reduceat(power, edges[:-1]) / np.diff(edges) / (LINES * lines.shape[1])
    coarse = bins[COARSE[0] : COARSE[1]].mean()
    if coarse < LEAST_POWER:
        return None
    there = bins > coarse * 10 ** (-FALL_DB / 10)
    return float(np.flatnonzero(there).max() + 1) / BINS

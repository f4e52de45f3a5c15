"""Stills of a source that show different views: what stands still in all of them is not of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa

from stages import looks
from stages.stills import opened

BLOCK = 32
"""Side of the blocks by which views are compared, px."""
ALIKE = 0.35
"""Median over blocks of how far the edges of two stills agree (-1 to 1) above which they are one view. A camera on
legs gives 0.7 to 0.99 on the real takes, one in a hand 0 to 0.5. The median leaves out a large logo itself."""
MOST_VIEWS, MOST_STILLS = 16, 48
"""Views that are looked at closely, and stills of a source or clip that are compared for them: more only take time."""


class Stills:
    """The stills of a source, opened when they are looked at."""

    def __init__(self, jpegs: pa.ChunkedArray) -> None:
        self._jpegs = jpegs
        self._size: tuple[int, int] | None = None
        self._outlines: dict[int, np.ndarray] = {}

    def edges(self, number: int) -> np.ndarray:
        """Slopes along x and y of each colour, grey levels per px: (rows, columns, 6) float32."""
        return _slopes(self._picture(number).astype(np.float32))

    def over_time(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Mean grey level and standard deviation of the colours over stills, each (rows, columns) float32."""
        first = self._picture(numbers[0]).astype(np.float32)
        total, squares = np.zeros_like(first), np.zeros_like(first)
        for number in numbers:
            picture = self._picture(number).astype(np.float32)
            total, squares = total + picture, squares + picture**2
        mean = total / len(numbers)
        return mean.mean(-1), np.sqrt(np.maximum(squares / len(numbers) - mean**2, 0).mean(-1))

    def extremes(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest grey level of each place over stills, each (rows, columns) float32."""
        darkest = lightest = self._picture(numbers[0]).mean(-1, dtype=np.float32)
        for number in numbers[1:]:
            grey = self._picture(number).mean(-1, dtype=np.float32)
            darkest, lightest = np.minimum(darkest, grey), np.maximum(lightest, grey)
        return darkest, lightest

    def views(self, numbers: Sequence[int]) -> list[int]:
        """Stills that show different views, by their edges."""
        found: list[int] = []
        for number in looks.spread(numbers, MOST_STILLS):
            if all(_agreement(self._outline(number), self._outline(other)) < ALIKE for other in found):
                found.append(number)
            if len(found) == MOST_VIEWS:
                break
        return found

    def _outline(self, number: int) -> np.ndarray:
        if number not in self._outlines:
            grey = cv2.cvtColor(self._picture(number), cv2.COLOR_BGR2GRAY)
            self._outlines[number] = _slopes(grey.astype(np.float32)).astype(np.float16)
        return self._outlines[number]

    def _picture(self, number: int) -> np.ndarray:
        picture = opened(self._jpegs[number].as_py())
        self._size = self._size or (picture.shape[1], picture.shape[0])  # a broadcast may change it on the way
        return picture if picture.shape[1::-1] == self._size else cv2.resize(picture, self._size)


def _slopes(picture: np.ndarray) -> np.ndarray:
    calm = cv2.GaussianBlur(picture, (0, 0), 0.8)
    both = [cv2.Sobel(calm, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0)]
    return np.concatenate([slope.reshape(*slope.shape[:2], -1) for slope in both], -1)


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Median over blocks with edges of their correlation, -1 to 1; 1 where there is no edge to tell by."""
    rows, columns = one.shape[0] // BLOCK, one.shape[1] // BLOCK

    def summed(values: np.ndarray) -> np.ndarray:
        cut = values[: rows * BLOCK, : columns * BLOCK].sum(-1, dtype=np.float32)
        return cut.reshape(rows, BLOCK, columns, BLOCK).sum((1, 3))

    one, other = one.astype(np.float32), other.astype(np.float32)
    energy = np.maximum(summed(one * one), summed(other * other))
    there = energy > 2 * BLOCK * BLOCK
    if np.count_nonzero(there) < 4:
        return 1.0
    return float(np.median(summed(one * other)[there] / energy[there]))

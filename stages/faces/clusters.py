"""Tracks made into people: average linkage over the whole source, with pairs that cannot be one person.

Tuned for precision: a person in two parts costs less than two people in one (names are best where the pair F1 already
falls: StoryTeller, arXiv:2411.07076, and M3-Agent's users complain of people who collapse into one). Average linkage
does not chain as single linkage does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Merge:
    """Two groups of tracks, by their numbers, that became one."""

    why: str
    one: tuple[int, ...]
    other: tuple[int, ...]
    distance: float
    nearest: tuple[int, int]
    between: float


def distances(embeddings: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, n) of embeddings (n, dimensions)."""
    squares = (embeddings**2).sum(1)
    product = squares[:, None] + squares[None] - 2 * embeddings @ embeddings.T
    apart: np.ndarray = np.sqrt(np.maximum(product, 0))
    np.fill_diagonal(apart, 0)
    return apart


def sharing(times: Sequence[Collection[float]]) -> np.ndarray:
    """Which tracks were seen in one still, by the times of each: (n, n) bool, a track itself not."""
    by_time: dict[float, list[int]] = {}
    for number, seen in enumerate(times):
        for t_s in seen:
            by_time.setdefault(t_s, []).append(number)
    shared = np.zeros((len(times), len(times)), bool)
    for there in by_time.values():
        shared[np.ix_(there, there)] = True
    np.fill_diagonal(shared, False)
    return shared


def grouped(apart: np.ndarray, cannot: np.ndarray, most: float) -> tuple[list[list[int]], list[Merge]]:
    """Groups of numbers, and the merges that made them, in order.

    Args:
        apart: distances (n, n).
        cannot: (n, n) bool, pairs that may never be in one group, directly or through others.
        most: mean distance of two groups up to which they become one.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    count = len(apart)
    if count < 2:
        return [[n] for n in range(count)], []
    # One barred pair lifts the mean distance of two groups (n²/4 pairs at most) above every threshold.
    wall = (1 + max(most, float(apart.max()))) * count**2
    barred = np.where(cannot | cannot.T, wall, apart)
    groups: dict[int, list[int]] = {n: [n] for n in range(count)}
    merges = []
    for step, (a, b, distance, _) in enumerate(linkage(squareform(barred, checks=False), "average")):
        if distance > most:
            break
        one, other = groups.pop(int(a)), groups.pop(int(b))
        merges.append(merge("alike", apart, one, other))
        groups[count + step] = sorted([*one, *other])
    return sorted(groups.values()), merges


def merge(why: str, apart: np.ndarray, one: Sequence[int], other: Sequence[int]) -> Merge:
    """The evidence for making one group of two."""
    block = apart[np.ix_(one, other)]
    row, place = np.unravel_index(int(block.argmin()), block.shape)
    nearest = (one[int(row)], other[int(place)])
    return Merge(why, tuple(one), tuple(other), float(block.mean()), nearest, float(block.min()))

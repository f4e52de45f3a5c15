"""Captions that stand more than once in the whole set, equal or nearly so.

A service that failed silently wrote one caption 4 000 times into LVD-2M. Copies are found by MinHash (Broder 1997) in
bands.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np

from stages.caption.checks.passage import normal

HASHES, BANDS = 32, 8
"""MinHashes of a text, and bands of them: texts with 0.9 of their word triples in common share a band in 99.98 % of
cases, with 0.5 in 40 %."""
LEAST_WORDS = 8
"""Shorter captions may be equal by chance."""
_ODD = np.random.default_rng(20).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def signature(text: str) -> np.ndarray | None:
    """MinHashes (HASHES) uint32 of a caption's word triples; None for one that is too short to judge."""
    words = normal(text).split()
    if len(words) < LEAST_WORDS:
        return None
    codes = np.array([crc32(word.encode()) for word in words], np.uint64)
    triples = (codes[:-2] * _MIX + codes[1:-1]) * _MIX + codes[2:]
    triples ^= triples >> np.uint64(29)
    return ((triples[:, None] * _ODD) >> np.uint64(32)).min(0).astype(np.uint32)


def groups(signatures: np.ndarray, near: float) -> np.ndarray:
    """The group of each of (texts, HASHES) signatures: equal numbers for texts that are nearly equal.

    Args:
        near: share of equal MinHashes, an estimate of the texts' Jaccard index, from which two are one.
    """
    group = np.arange(len(signatures))
    width = HASHES // BANDS
    for band in range(BANDS):
        keys = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width]).view(f"V{4 * width}").ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        others = first[inverse]
        rows = np.flatnonzero(others != np.arange(len(signatures)))
        alike = (signatures[rows] == signatures[others[rows]]).mean(1) >= near
        group = _joined(group, rows[alike], others)
    return group


def _joined(group: np.ndarray, rows: Iterable[int], others: np.ndarray) -> np.ndarray:
    """Union by the least number."""

    def root(n: int) -> int:
        while group[n] != n:
            group[n] = group[group[n]]
            n = int(group[n])
        return n

    for n in rows:
        a, b = root(int(n)), root(int(others[n]))
        if a != b:
            group[max(a, b)] = min(a, b)
    while (group[group] != group).any():
        group = group[group]
    return group

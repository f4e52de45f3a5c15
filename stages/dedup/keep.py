"""Which clips are kept: of clips that are copies of each other the best, the longer one where one holds the other."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Copy:
    """Clip `copy` shows what clip `of` shows, and where."""

    copy: int
    of: int
    kind: str
    similarity: float
    mirrored: bool | None = None
    speed: float | None = None
    start_s: float | None = None
    end_s: float | None = None


def kept(ranks: Sequence[int] | np.ndarray, copies: Sequence[Copy]) -> dict[int, Copy]:
    """The clips that are not kept, each with the kept clip that it is a copy of.

    A clip waits for those that hold it and are not held by it, so that a whole take is asked before its part; of
    those that wait for none the best is kept, and its copies are not.

    Args:
        ranks: place of each clip in the order of quality, 0 is best.
        copies: what is a copy of what; both ways where each holds the other.
    """
    holds: dict[int, dict[int, Copy]] = defaultdict(dict)
    for copy in copies:
        holds[copy.of][copy.copy] = copy
    waits: dict[int, int] = defaultdict(int)
    for of, held in holds.items():
        for clip in held:
            waits[clip] += of not in holds.get(clip, {})
    left = {clip for of, held in holds.items() for clip in (of, *held)}
    free = [(int(ranks[clip]), clip) for clip in left if not waits[clip]]
    heapq.heapify(free)
    ring = iter(sorted((int(ranks[clip]), clip) for clip in left))  # for clips that hold each other in a ring
    found: dict[int, Copy] = {}
    while left:
        _, best = heapq.heappop(free) if free else next(ring)
        if best not in left:
            continue
        mine = sorted(clip for clip in holds.get(best, {}) if clip in left)
        found |= {clip: holds[best][clip] for clip in mine}
        left.difference_update([best, *mine])
        for done in (best, *mine):
            for clip in holds.get(done, {}):
                waits[clip] -= done not in holds.get(clip, {})
                if not waits[clip] and clip in left:
                    heapq.heappush(free, (int(ranks[clip]), clip))
    return found

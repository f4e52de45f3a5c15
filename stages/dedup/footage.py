"""The same footage: candidates by their hashes, each proven by laying the two clips over each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.dedup.align import Track, match
from stages.dedup.candidates import candidates
from stages.dedup.keep import Copy, kept
from stages.dedup.samples import Samples

ROUNDS = 8
"""How often a kept clip is compared with the one that its copies are copies of now."""
HELD = 200_000
"""Samples whose thumbnails are kept ready, 1 kB each."""


@dataclass
class Footage:
    """Finds the clips that are the same footage as a better one."""

    samples: Samples
    similar: float
    still_similar: float
    moves_alike: float
    share: float
    overlap_s: float
    _tracks: OrderedDict[int, Track] = field(default_factory=OrderedDict)
    _held: int = 0

    def kept(self, ranks: Sequence[int] | np.ndarray) -> dict[int, Copy]:
        """The clips that are copies, each with the kept clip that it is one of."""
        found = candidates(self.samples)
        copies: list[Copy] = []
        asked: set[tuple[int, int]] = set()
        pairs = zip(
            *(part.tolist() for part in (found.a, found.b, found.view, found.mirror, found.a_is_cropped)), strict=True
        )
        for a, b, view, mirror, a_is_cropped in pairs:
            asked.add((a, b))
            copies += self._compared(a, b, view, mirror, a_is_cropped)
        result = kept(ranks, copies)
        # In a crowd of copies not all pairs are candidates. Whoever holds or is held by a copy is asked about the
        # clip kept for it.
        for _ in range(ROUNDS):
            more: list[Copy] = []
            for a, b, mirror in sorted(set(_untried(copies, result, asked))):
                asked.add((a, b))
                more += self._compared(a, b, 0, mirror, False)
            if not more:
                break
            copies += more
            result = kept(ranks, copies)
        return result

    def _track(self, clip: int) -> Track:
        track = self._tracks.get(clip)
        if track is None:
            mine = self.samples.of(clip)
            parts = (self.samples.times[mine], self.samples.thumbnails[mine], self.samples.flat[mine])
            track = self._tracks[clip] = Track.of(*parts)
            self._held += len(track.times)
            while self._held > HELD and len(self._tracks) > 2:
                self._held -= len(self._tracks.popitem(last=False)[1].times)
        return track

    def _compared(self, a: int, b: int, view: int, mirror: bool, a_is_cropped: bool) -> list[Copy]:
        """The copies that two clips are of each other: none, one, or both."""
        tracks = self._track(a), self._track(b)
        found = match(*tracks, view, mirror, a_is_cropped)
        if found is None or found.moves < self.moves_alike:
            return []
        if found.similarity < (self.still_similar if found.still else self.similar):
            return []
        mine_s = found.end_s - found.first_s
        if mine_s < self.overlap_s:
            return []
        shares = [mine_s / tracks[0].lasts_s, found.speed * mine_s / tracks[1].lasts_s]
        holds = [share >= self.share for share in shares]
        kind = "same footage" if all(holds) else "sub-span"
        there = found.speed * found.first_s + found.offset_s, found.speed * found.end_s + found.offset_s
        what = kind, found.similarity, mirror
        copies = []
        if holds[0]:
            copies.append(Copy(a, b, *what, found.speed, *there))
        if holds[1]:
            copies.append(Copy(b, a, *what, 1 / found.speed, found.first_s, found.end_s))
        return copies


def _untried(
    copies: Iterable[Copy], result: dict[int, Copy], asked: set[tuple[int, int]]
) -> Iterable[tuple[int, int, bool]]:
    """Pairs (a < b) not compared yet of a clip and the clip that was kept for a copy of it."""
    for copy in copies:
        for clip, other in ((copy.copy, copy.of), (copy.of, copy.copy)):
            instead = result.get(other)
            if clip in result or instead is None or instead.of == clip:
                continue
            a, b = sorted((clip, instead.of))
            if (a, b) not in asked:
                yield a, b, bool(copy.mirrored) != bool(instead.mirrored)

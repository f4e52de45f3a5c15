"""Faces followed through the stills of a take: by their boxes, and where these do not tell, by their embeddings.

A track is never wrong for want of a cut: if the face at one end is another than at the other end, it is parted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from stages.faces.detect import overlap
from stages.faces.look import Bounds, Look

OVER = 0.3
"""Intersection over union from which a box follows another: SORT's (Bewley et al., arXiv:1602.00763)."""
NEAR, GROWN = 1.5, 1.6
"""Where boxes do not overlap enough, sides by which a face may have moved from still to still, and the factor by which
it may have grown: a walker's head moves its own width in half a second."""
MISSED = 3
"""Stills that a face may be missed in, turned away or covered, and still be the same track."""
SAME = 0.5
"""Distance up to which the embedding says that a face that moved is the same: dlib's network tells pairs of LFW apart
at 0.6; here a mistake costs more than a second track does."""
OTHER = 0.65
"""Distance from which two looks of a track are of two people: looks at one person within a take differ by up to 0.6."""
EVERY_S = 2.0
"""A track is embedded once for so many seconds at most: within two seconds a face hardly becomes another."""


@dataclass
class Track:
    """A face's looks, in order of time. Only the best of each `EVERY_S` and the last keep their picture."""

    looks: list[Look]
    last: int
    """Number of the still that it was seen in last."""
    chosen: list[Look] = field(default_factory=list)
    """The looks that are embedded."""
    _best: Look | None = None

    def add(self, look: Look, number: int) -> None:
        """One look more, in still `number`."""
        before, best = self.looks[-1], self._best or self.looks[0]
        if before is not best:
            before.chip = None
        if look.t_s // EVERY_S != best.t_s // EVERY_S:
            self._best = look
        elif look.quality > best.quality:
            best.chip, self._best = None, look
        self.looks.append(look)
        self.last = number


def followed(stills: Iterable[Sequence[Look]], bounds: Bounds) -> list[Track]:
    """Tracks of a take out of the looks in each of its stills, in order of their beginning."""
    done: list[Track] = []
    going: list[Track] = []
    for number, looks in enumerate(stills):
        done += [track for track in going if number - track.last > MISSED]
        going = [track for track in going if number - track.last <= MISSED]
        free = list(looks)
        for track, look in _by_box(going, free):
            track.add(look, number)
        for track, look in _by_embedding([track for track in going if track.last < number], free, bounds):
            track.add(look, number)
        going += [Track([look], number) for look in free]
    return sorted([*done, *going], key=lambda track: track.looks[0].t_s)


def _by_box(going: Sequence[Track], free: list[Look]) -> Iterator[tuple[Track, Look]]:
    """Pairs whose boxes overlap, the best first; each look that is given away leaves `free`."""
    last = [(track, track.looks[-1]) for track in going]
    pairs = [(overlap(seen.box, look.box)[0], track, look) for track, seen in last for look in free]
    taken: list[Track] = []
    for over, track, look in sorted(pairs, key=lambda pair: -pair[0]):
        if over >= OVER and look in free and not any(track is other for other in taken):
            taken.append(track)
            free.remove(look)
            yield track, look


def _by_embedding(going: Sequence[Track], free: list[Look], bounds: Bounds) -> Iterator[tuple[Track, Look]]:
    """Pairs that moved too far for their boxes, and look the same; each look that is given away leaves `free`."""
    for track in going:
        last = track.looks[-1]
        able = [look for look in free if _near(last, look) and not bounds.fault(last) and not bounds.fault(look)]
        nearest = min(able, key=lambda look: distance(last, look), default=None)
        if nearest is not None and distance(last, nearest) < SAME:
            free.remove(nearest)
            yield track, nearest


def _near(one: Look, other: Look) -> bool:
    sides = one.box.side, other.box.side
    moved = np.hypot(*np.subtract(one.box.centre, other.box.centre))
    return bool(moved < NEAR * max(sides) and max(sides) < GROWN * min(sides))


def distance(one: Look, other: Look) -> float:
    """Of two looks' embeddings."""
    return float(np.linalg.norm(one.embedding - other.embedding))


def parted(track: Track, bounds: Bounds, most: int) -> list[Track]:
    """The track with its looks to embed chosen; as several where these are of several people.

    It is parted where its box jumps most between the two looks that differ.
    """
    track.chosen = _chosen(track.looks, bounds, most)
    for one, other in pairwise(track.chosen):
        if distance(one, other) > OTHER:
            first, last = track.looks.index(one), track.looks.index(other)
            steps = [overlap(track.looks[n].box, track.looks[n + 1].box)[0] for n in range(first, last)]
            cut = first + 1 + int(np.argmin(steps))
            ends = Track(track.looks[:cut], track.last), Track(track.looks[cut:], track.last)
            return [part for end in ends for part in parted(end, bounds, most)]
    return [track]


def _chosen(looks: Sequence[Look], bounds: Bounds, most: int) -> list[Look]:
    """The best look in each of equal parts of the track's time, in order; none that will not do."""
    good = [look for look in looks if look.chip is not None and bounds.fault(look) is None]
    if not good:
        return []
    parts = min(most, len(good), max(2, 1 + int((good[-1].t_s - good[0].t_s) / EVERY_S)))
    edges = [len(good) * n // parts for n in range(parts + 1)]
    return [max(good[a:b], key=lambda look: look.quality) for a, b in pairwise(edges)]

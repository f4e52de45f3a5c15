"""Whether two clips show the same footage: thumbnails laid over each other along a line in time, offset and speed.

The line is found by Hough voting: each sample of one clip votes, with its likest samples of the other, for the
offsets it would have at every speed. Along the line the pictures must agree, and so must what moves in them: pictures
of a camera that stands still agree at any time, so what does not change is taken away and the rest is correlated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stages.dedup.views import VIEWS, mirrored

SPEEDS = np.exp(np.linspace(np.log(0.78), np.log(1 / 0.78), 101))
"""Speeds that are tried, half a per cent apart: footage is sold on at 0.8 to 1.25 times its speed."""
NUDGES = (-0.16, -0.08, -0.04, 0.04, 0.08, 0.16)
"""Offsets tried around the line found, seconds, each from the best so far."""
ANCHORS = 160
"""Samples that vote, spread over the clip."""
BIN_S = 0.25
"""Width of an offset's bin, seconds: a sample."""
SPREAD_S = 0.6
"""Distance from the voted line up to which a sample's likest picture counts for the fit of the line, seconds."""
STILL = 0.7
"""Root mean square change of a thumbnail cell, levels of 255, up to which nothing moves: rounding makes 0.3, and a
walker a tenth of the picture high 1.5."""
PLAIN, HOPELESS = 0.95, 0.4
"""Similarity from which on a match needs no better line or view, and below which none would help: wholly other
footage reaches 0.5 under the best view, copies 0.7 under the wrong one."""
ALL_VIEWS_OF = 24
"""Aligned samples on which the best view is chosen."""


@dataclass(frozen=True)
class Track:
    """A clip's samples in float, ready to be compared."""

    times: np.ndarray
    pictures: np.ndarray
    """(n, 256) float32, mean of each taken away."""
    flat: np.ndarray

    @cached_property
    def step_s(self) -> float:
        """Mean time between samples, seconds; 0 of a single one."""
        return float(self.times[-1] - self.times[0]) / max(1, len(self.times) - 1)

    @property
    def lasts_s(self) -> float:
        """From the first sample to the end of the last, seconds."""
        return float(self.times[-1] - self.times[0]) + self.step_s

    @classmethod
    def of(cls, times: np.ndarray, thumbnails: np.ndarray, flat: np.ndarray) -> Track:
        pictures = thumbnails.astype(np.float32)
        return cls(times, pictures - pictures.mean(1, keepdims=True), flat)

    def seen(self, view: int, mirror: bool) -> Track:
        """The same, cropped to a view, mirrored."""
        pictures = self.pictures @ VIEWS[view].T if view else self.pictures
        pictures = mirrored(pictures) if mirror else pictures
        return Track(self.times, pictures - pictures.mean(1, keepdims=True), self.flat)


@dataclass(frozen=True)
class Match:
    """Clip a laid over clip b: a's time t is b's time `speed` * t + `offset_s`."""

    speed: float
    offset_s: float
    similarity: float
    """Mean correlation of the aligned pictures, -1 to 1."""
    moves: float
    """Correlation of what changes in them, -1 to 1; 1 where nothing changes in either."""
    still: bool
    """Whether nothing changes in either."""
    first_s: float
    """Where in a the overlap begins."""
    end_s: float


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows brought to unit length; rows of zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def match(a: Track, b: Track, view: int, mirror: bool, a_is_cropped: bool) -> Match | None:
    """The best overlap of two clips, given how a copy found by its hashes shows its original; None: there is none.

    Args:
        view: the crop that makes the original's thumbnails the copy's.
        a_is_cropped: whether a is that copy.
    """
    if mirror:
        b = b.seen(0, True)
    seen = (a, b.seen(view, False)) if a_is_cropped else (a.seen(view, False), b)
    # Most copies begin where the original does; and where nothing moves, any other line would be an accident.
    best = _along(*seen, 1.0, float(b.times[0] - a.times[0]))
    if best is not None and _worth(best) >= PLAIN:
        return best
    for likeness in _likenesses(*seen):
        if best is not None and _worth(best) >= PLAIN:
            break
        for line in _lines(*likeness, b.times):
            best = _better(best, _nudged(*seen, *line))
    if best is None or best.similarity < HOPELESS:
        return best
    return best if best.similarity >= PLAIN else _best_view(a, b, best)


def _nudged(a: Track, b: Track, speed: float, offset: float) -> Match | None:
    """The overlap along a line, or along one a little beside it that is better."""
    best = _along(a, b, speed, offset)
    for step in NUDGES:
        if best is None or _worth(best) < HOPELESS:
            break
        best = _better(best, _along(a, b, speed, best.offset_s + step))
    return best


def _better(best: Match | None, found: Match | None) -> Match | None:
    if best is None or found is None:
        return best or found
    return found if _worth(found) > _worth(best) else best


def _worth(found: Match) -> float:
    """How good an overlap is: its weaker side counts, and of two as good ones that at the original speed."""
    return min(found.similarity, found.moves) + 0.1 * found.similarity - 0.1 * abs(math.log(found.speed))


def _likenesses(a: Track, b: Track) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Times of some samples of a, and how like they are to each of b's: by the pictures, then by their changes."""
    sound = np.flatnonzero(~a.flat)
    if not len(sound) or b.flat.all():
        return
    some = sound[np.unique(np.linspace(0, len(sound) - 1, ANCHORS).astype(int))]
    for first, second in ((a.pictures, b.pictures), (_changes(a), _changes(b))):
        like = unit(first[some]) @ unit(second).T
        like[:, b.flat] = -1
        yield a.times[some], like


def _changes(track: Track) -> np.ndarray:
    """Pictures less what the clip shows on average, flat ones aside."""
    sound = track.pictures[~track.flat]
    return track.pictures - sound.mean(0) if len(sound) else track.pictures


def _lines(a_s: np.ndarray, like: np.ndarray, b_s: np.ndarray) -> Iterator[tuple[float, float]]:
    """(speed, offset in seconds) that most samples agree on, weighted by how like they are: at the original speed, at
    any, and the latter fitted to those near it."""
    picked = np.argpartition(-like, min(2, like.shape[1] - 1), axis=1)[:, :3]
    weights = np.take_along_axis(like, picked, 1)
    sound = weights > 0.5
    if not sound.any():
        return
    at_a = np.broadcast_to(a_s[:, None], picked.shape)[sound]
    at_b = b_s[picked][sound]
    weights = weights[sound] ** 4
    offsets = at_b[None] - SPEEDS[:, None] * at_a[None]
    lowest = offsets.min()
    bins = ((offsets - lowest) / BIN_S).astype(np.int64)
    width = int(bins.max()) + 2
    flat = (bins + width * np.arange(len(SPEEDS))[:, None]).ravel()
    votes = np.bincount(flat, np.tile(weights, len(SPEEDS)), width * len(SPEEDS)).reshape(len(SPEEDS), width)
    votes[:, 1:] += votes[:, :-1].copy()  # a line may run along the edge of two bins
    middle = len(SPEEDS) // 2
    yield 1.0, float(lowest + votes[middle].argmax() * BIN_S)
    speed_n, offset_n = np.unravel_index(votes.argmax(), votes.shape)
    speed, offset = float(SPEEDS[speed_n]), float(lowest + offset_n * BIN_S)
    yield speed, offset
    for _ in range(2):
        near = np.abs(at_b - speed * at_a - offset) < SPREAD_S
        spread = np.ptp(at_a[near]) if near.any() else 0.0
        if near.sum() < 4 or spread < 2.0:
            break
        fitted = np.polyfit(at_a[near] - at_a[near].mean(), at_b[near], 1, w=np.sqrt(weights[near]))
        if not SPEEDS[0] <= fitted[0] <= SPEEDS[-1]:
            break
        speed, offset = float(fitted[0]), float(fitted[1] - fitted[0] * at_a[near].mean())
    yield speed, offset


def _overlap(a: Track, b: Track, speed: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a that lie in the overlap, and b's pictures at their times, between its samples where need be."""
    step_s = max(a.step_s, b.step_s)
    wanted = speed * a.times + offset
    inside = np.flatnonzero((wanted >= b.times[0] - step_s / 2) & (wanted <= b.times[-1] + step_s / 2))
    after = np.clip(np.searchsorted(b.times, wanted[inside]), 1, max(1, len(b.times) - 1))
    if len(b.times) == 1:
        return inside, b.pictures[np.zeros(len(inside), int)]
    before = after - 1
    share = (wanted[inside] - b.times[before]) / np.maximum(b.times[after] - b.times[before], 1e-9)
    share = np.clip(share, 0, 1)[:, None].astype(np.float32)
    return inside, b.pictures[before] * (1 - share) + b.pictures[after] * share


def _along(a: Track, b: Track, speed: float, offset: float) -> Match | None:
    inside, other = _overlap(a, b, speed, offset)
    if not len(inside):
        return None
    mine = a.pictures[inside]
    first_s, end_s = float(a.times[inside[0]]), float(a.times[inside[-1]]) + a.step_s
    similarity = float((unit(mine) * unit(other)).sum(1).mean())
    mine, other = mine - mine.mean(0), other - other.mean(0)
    energies = [float((changes**2).mean()) for changes in (mine, other)]
    still = max(energies) < STILL**2
    moves = 1.0 if still else float((mine * other).mean() / np.sqrt(max(1e-12, energies[0] * energies[1])))
    return Match(speed, offset, similarity, moves, still, first_s, end_s)


def _best_view(a: Track, b: Track, found: Match) -> Match:
    """The match under the view, of either clip, under which the aligned pictures agree best."""
    inside, _ = _overlap(a, b, found.speed, found.offset_s)
    some = Track(*(part[inside[:: max(1, len(inside) // ALL_VIEWS_OF)]] for part in (a.times, a.pictures, a.flat)))
    _, other = _overlap(some, b, found.speed, found.offset_s)
    mine = some.pictures
    scores = []
    for view in range(len(VIEWS)):
        for of_a in (False, True) if view else (False,):
            first, second = (mine @ VIEWS[view].T, other) if of_a else (mine, other @ VIEWS[view].T)
            first, second = (side - side.mean(1, keepdims=True) for side in (first, second))
            scores.append((float((unit(first) * unit(second)).sum(1).mean()), view, of_a))
    _, view, of_a = max(scores)
    seen = (a.seen(view, False), b) if of_a else (a, b.seen(view, False))
    again = _along(*seen, found.speed, found.offset_s)
    return _better(found, again) or found

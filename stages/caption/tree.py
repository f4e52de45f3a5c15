"""Where the nodes of a source's tree begin and end: at cuts where there are any, else where the picture changes most.

TDC splits a video where neighbouring frames are least alike; here the same is done under limits of length, which makes
it a shortest path over the places where a span may end. No span ends inside a spoken line (StoryTeller).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

UNEVEN = 0.5
"""What a span costs that is half as long, or half as long again, as it should be; ending where nothing changes costs
1. So places are chosen by what they show, and lengths only keep them apart."""
TOO_LONG = 4.0
"""What each further length of `most` costs beyond it: more than any place to end, less than a spoken line."""
BY_MEANING = 0.95
"""Likeness below which a place is said to have been chosen by meaning: neighbouring samples of one still view have
0.97 and more."""


@dataclass(frozen=True)
class Lengths:
    """How long the spans of a level may be, seconds."""

    least: float
    aim: float
    most: float


@dataclass(frozen=True)
class Take:
    """A row of `clips`."""

    clip_id: str
    start_s: float
    end_s: float
    kept: bool


@dataclass(frozen=True)
class Node:
    """A span of the tree."""

    level: str
    start_s: float
    end_s: float
    split: str
    takes: tuple[Take, ...]
    parent: Node | None = None

    @property
    def kept(self) -> bool:
        return any(take.kept for take in self.takes)


@dataclass(frozen=True)
class Views:
    """What a source looks like over time: feature vectors (samples, dimensions) at ascending times."""

    times: np.ndarray
    features: np.ndarray

    def alike(self, places: np.ndarray, reach_s: float) -> np.ndarray:
        """How alike the picture is before and after each place: cosine, 0 to 1, of the mean features within `reach_s`;
        1 where one side has no sample."""
        if not len(self.times):
            return np.ones(len(places))
        summed = np.concatenate([np.zeros((1, self.features.shape[1])), np.cumsum(self.features, 0, dtype=float)])
        before, at, after = (np.searchsorted(self.times, places + d - 1e-6) for d in (-reach_s, 0.0, reach_s))
        left, right = summed[at] - summed[before], summed[after] - summed[at]
        scale = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        cosine = (left * right).sum(1) / np.maximum(scale, 1e-9)
        return np.where(scale > 1e-9, np.clip(cosine, 0, 1), 1.0)


def partition(places: np.ndarray, alike: np.ndarray, lengths: Lengths) -> list[int]:
    """Which places to end at, so that their likeness and the unevenness of the spans are least.

    Spans are never shorter than `least` (but for a whole that is), and longer than `most` only where no place allows
    otherwise.

    Args:
        places: ascending times, the start and the end of the whole among them.
        alike: 0 to 1 for each; those of the ends do not matter.

    Returns:
        Numbers of the chosen places: the first, those between, the last.
    """
    count = len(places)
    cost, via = np.full(count, np.inf), np.zeros(count, int)
    cost[0] = 0.0
    ends = alike.astype(float).copy()
    ends[-1] = 0.0
    first = 0
    for n in range(1, count):
        while places[n] - places[first] > 2 * lengths.most and np.isfinite(cost[first + 1 : n]).any():
            first += 1
        length = places[n] - places[first:n]
        uneven = UNEVEN * np.minimum(np.abs(length / lengths.aim - 1) * 2, 4) ** 2
        over = TOO_LONG * np.maximum(0.0, length / lengths.most - 1)
        ways = cost[first:n] + uneven + over + ends[n]
        if first > 0 or n < count - 1:
            ways[length < lengths.least - 1e-6] = np.inf
        else:
            ways[1:][length[1:] < lengths.least - 1e-6] = np.inf  # the whole may be shorter
        best = int(np.argmin(ways))
        cost[n], via[n] = ways[best], first + best
    chosen = [count - 1]
    while chosen[-1] > 0:
        chosen.append(int(via[chosen[-1]]))
    return chosen[::-1]


def tree(
    takes: Sequence[Take],
    end_s: float,
    views: Views,
    spoken: Sequence[tuple[float, float]],
    clip: Lengths,
    shot: Lengths,
    event: Lengths,
) -> Iterator[Node]:
    """Every node, parents before their children, in order of time on each level.

    Args:
        takes: of the source, in order; not empty.
        end_s: where the source ends.
        spoken: (start, end) of each spoken line.
    """
    end_s = max(end_s, takes[-1].end_s)
    story = Node("story", 0.0, end_s, "start", tuple(takes))
    yield story
    starts = [0.0, *(take.start_s for take in takes[1:]), end_s]
    shots: list[Node] = []
    for number, take in enumerate(takes):
        start, end = starts[number], starts[number + 1]
        parts = list(_split(start, end, views, spoken, shot)) if end - start > shot.most else [(start, end, "")]
        for n, (from_s, to_s, split) in enumerate(parts):
            shots.append(Node("shot", from_s, to_s, split if n else "cut" if number else "start", (take,)))
    for first, last, split in _grouped(shots, views, event):
        inside = shots[first:last]
        parent = Node("event", inside[0].start_s, inside[-1].end_s, split, _takes(inside), story)
        yield parent
        for one in inside:
            mine = Node("shot", one.start_s, one.end_s, one.split, one.takes, parent)
            yield mine
            for n, (start, end, again) in enumerate(_split(one.start_s, one.end_s, views, spoken, clip)):
                yield Node("clip", start, end, again if n else one.split, one.takes, mine)


def _takes(shots: Sequence[Node]) -> tuple[Take, ...]:
    return tuple(dict.fromkeys(take for shot in shots for take in shot.takes))


def _split(
    start_s: float, end_s: float, views: Views, spoken: Sequence[tuple[float, float]], lengths: Lengths
) -> Iterator[tuple[float, float, str]]:
    """(start, end, why it begins there) of the parts of one picture that nothing cuts."""
    if end_s - start_s < 2 * lengths.least:
        yield start_s, end_s, "start"
        return
    inner = views.times if len(views.times) else np.arange(start_s + 0.5, end_s, 0.5)
    inner = inner[(inner >= start_s + lengths.least) & (inner <= end_s - lengths.least)]
    for from_s, to_s in spoken:
        inner = inner[(inner <= from_s) | (inner >= to_s)]
    places = np.concatenate([[start_s], inner, [end_s]])
    alike = views.alike(places, lengths.least / 2)
    chosen = partition(places, alike, lengths)
    for one, other in pairwise(chosen):
        yield float(places[one]), float(places[other]), "meaning" if alike[one] < BY_MEANING else "length"


def _grouped(shots: Sequence[Node], views: Views, lengths: Lengths) -> Iterator[tuple[int, int, str]]:
    """(first, one past the last, why it begins there) of the shots of each event."""
    places = np.array([*(shot.start_s for shot in shots), shots[-1].end_s])
    alike = views.alike(places, lengths.least / 2)
    chosen = partition(places, alike, lengths)
    for one, other in pairwise(chosen):
        yield one, other, "start" if one == 0 else "meaning" if alike[one] < BY_MEANING else "length"

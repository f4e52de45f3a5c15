"""Pairs of clips that may be copies: samples whose hashes share a band of bits and differ in few.

Locality-sensitive hashing by bands (multi-index hashing, Norouzi et al., 2012). Each sample is looked up as it is,
mirrored, and cropped in the usual ways, so a copy need not look like its original to be found by its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.dedup.samples import Samples
from stages.dedup.views import VIEWS
from stages.hashes import BASIS, BITS, MIRROR, hashed

BAND = 16
"""Bits of a band. There are four; the first has the lowest frequencies, which a crop hardly changes."""
NEAR = 10
"""Bits in which the hashes of a copy's sample and the original's may differ: of 276 real copies all were found, and no
other pair was; at 8 three were missed, at 14 there were 120 wrong pairs."""
CROWD = 64
"""Samples of a bucket that each is paired with. In a fuller bucket, of a picture that many clips share, they are its
neighbours in the order of the whole hash."""
CHUNK = 2_000_000
"""Sample pairs in memory at once."""
VOTES = 2
"""Sample pairs that make two clips a candidate."""
BLOCK = 100_000
"""Thumbnails turned into a view's hashes at once."""
_CODES = 4 * len(VIEWS)


@dataclass(frozen=True)
class Candidates:
    """Pairs of clips to compare, a < b by number, under the view that most samples voted for. (pairs,) each."""

    a: np.ndarray
    b: np.ndarray
    view: np.ndarray
    mirror: np.ndarray
    a_is_cropped: np.ndarray


def candidates(samples: Samples) -> Candidates:
    """All pairs of clips with enough samples alike."""
    sound = np.flatnonzero(~samples.flat)
    owner = samples.clips()[sound].astype(np.int64)
    clips = len(samples.starts) - 1
    index = [_Band(*_distinct(samples.hashes[sound], owner), turn) for turn in range(0, BITS, BAND)]
    tally = np.empty((2, 0), np.int64)
    for view in range(len(VIEWS)):
        hashes, owners = _distinct(samples.hashes[sound] if not view else _seen(samples, sound, view), owner)
        for mirror in (False, True):
            looked_up = hashes ^ MIRROR if mirror else hashes
            for band in index:
                pairs = band.near(looked_up, owners, both_ways=view > 0)
                tally = _tally(tally, (_code(*pair, view, mirror, clips) for pair in pairs))
    return _chosen(tally, clips)


def _seen(samples: Samples, sound: np.ndarray, view: int) -> np.ndarray:
    """The hashes of all samples under a view."""
    basis = BASIS @ VIEWS[view]
    parts = [hashed(samples.thumbnails[sound[n : n + BLOCK]], basis) for n in range(0, len(sound), BLOCK)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _distinct(hashes: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each hash of a clip once: a picture that stands still is one picture."""
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    new = np.append(True, (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1]))[: len(hashes)]
    return hashes[new], owner[new]


class _Band:
    """Samples sorted by their hashes, a band of which has been turned to the front."""

    def __init__(self, hashes: np.ndarray, owner: np.ndarray, turn: int) -> None:
        self._turn = np.uint64(turn)
        self._hashes, self._owner = self._sorted(hashes, owner)

    def _sorted(self, hashes: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turned and in order."""
        if self._turn:
            hashes = (hashes << self._turn) | (hashes >> (np.uint64(BITS) - self._turn))
        order = np.argsort(hashes)
        return hashes[order], owner[order]

    def near(self, hashes: np.ndarray, owner: np.ndarray, both_ways: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(clip looked up, clip found) of pairs of samples that share the band and differ in few bits, in chunks.

        Args:
            both_ways: whether a pair counts from either side, because the two were not hashed in the same way.
        """
        hashes, owner = self._sorted(hashes, owner)
        rest = np.uint64((1 << (BITS - BAND)) - 1)
        first = np.searchsorted(self._hashes, hashes & ~rest, "left")
        last = np.searchsorted(self._hashes, hashes | rest, "right")
        crowded = last - first > CROWD
        middle = np.searchsorted(self._hashes, hashes[crowded])
        first[crowded] = np.maximum(first[crowded], middle - CROWD // 2)
        last[crowded] = np.minimum(last[crowded], middle + CROWD // 2)
        ends = np.cumsum(last - first)
        start = 0
        while start < len(hashes):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK, "right")))
            counts = last[start:stop] - first[start:stop]
            asks = np.repeat(np.arange(start, stop), counts)
            answers = np.arange(len(asks)) + np.repeat(first[start:stop] - (np.cumsum(counts) - counts), counts)
            near = np.bitwise_count(hashes[asks] ^ self._hashes[answers]) <= NEAR
            asked, found = owner[asks[near]], self._owner[answers[near]]
            wanted = asked != found if both_ways else asked < found
            yield asked[wanted], found[wanted]
            start = stop


def _code(asked: np.ndarray, found: np.ndarray, view: int, mirror: bool, clips: int) -> np.ndarray:
    """Pair, view, mirror and which of the two is the cropped one, in one number."""
    pair = np.minimum(asked, found) * clips + np.maximum(asked, found)
    a_is_cropped = (found < asked) & (view > 0)
    return pair * _CODES + view * 4 + mirror * 2 + a_is_cropped


def _tally(tally: np.ndarray, codes: Iterable[np.ndarray]) -> np.ndarray:
    """Codes and how often each was met, (2, codes), with more of them counted in."""
    parts = [tally]
    for chunk in codes:
        parts.append(np.stack(np.unique(chunk, return_counts=True)))
        if sum(part.shape[1] for part in parts) > CHUNK + 2 * tally.shape[1]:
            tally = _summed(parts)
            parts = [tally]
    return _summed(parts)


def _summed(parts: Sequence[np.ndarray]) -> np.ndarray:
    codes, counts = np.concatenate(parts, axis=1)
    order = np.argsort(codes, kind="stable")
    codes, counts = codes[order], counts[order]
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])[: len(codes)])
    return np.stack([codes[starts], np.add.reduceat(counts, starts)]) if len(starts) else np.empty((2, 0), np.int64)


def _chosen(tally: np.ndarray, clips: int) -> Candidates:
    """The pairs with enough votes, each under the code with most of them."""
    codes, counts = tally
    pairs = codes // _CODES
    order = np.lexsort((codes, -counts, pairs))
    codes, counts, pairs = codes[order], counts[order], pairs[order]
    starts = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)])
    total = np.add.reduceat(counts, starts) if len(starts) else np.empty(0, np.int64)
    best = codes[starts[total >= VOTES]]
    pair, code = best // _CODES, best % _CODES
    return Candidates(pair // clips, pair % clips, code // 4, (code // 2 % 2).astype(bool), (code % 2).astype(bool))

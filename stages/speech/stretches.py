"""Stretches of one voice: speech cut at pauses, where the segmentation network hears another speaker, and at overlap.

The network sees ten seconds at a time, and its speakers have numbers within such a window only. Across a pause it may
take two people for one, so a stretch ends at every pause; whose it is the embeddings of stretches decide over the whole
source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SEAM_S = 2.0
"""How far from the ends of their windows two neighbours are joined: the network is worse at its edges."""
PAUSE_S = 0.15
"""Silence that ends a stretch, seconds: closures of stops are shorter, pauses between speakers mostly longer."""
NEAR_S = 0.25
"""How far from speech by Silero's account the segmentation network is believed: further off it hears music."""
LONGEST_S = 4.0
"""Longer stretches are embedded in equal parts: a change of speaker that was overheard then spoils one part only."""
SHORTEST_S = 0.2
"""Shorter stretches are dropped: Silero's own least is 0.25 s with its padding."""


@dataclass(frozen=True)
class Stretch:
    """Speech of one voice without a pause.

    Attributes:
        start, end: frames.
        alone: (end - start,) bool: where nobody else speaks.
    """

    start: int
    end: int
    alone: np.ndarray


def joined(windows: np.ndarray, starts: Sequence[int], frames: int, frame_s: float) -> tuple[np.ndarray, list[int]]:
    """Windows as one course of time, each up to the quietest place that it shares with the next.

    Args:
        windows: (windows, frames of a window, local speakers) bool.
        starts: first frame of each.

    Returns:
        Who speaks, (frames, local speakers) bool, and the frames where a new window's numbers begin.
    """
    length, seam = windows.shape[1], round(SEAM_S / frame_s)
    whole = np.zeros((frames, windows.shape[2]), bool)
    cuts = [0]
    for n, start in enumerate(starts):
        end = min(start + length, frames)
        if n + 1 < len(starts):
            low, high = min(starts[n + 1] + seam, end - 1), max(end - seam, starts[n + 1] + seam + 1)
            shared = windows[n, low - start : high - start].sum(1)
            ahead = windows[n + 1, low - starts[n + 1] : high - starts[n + 1]].sum(1)
            busy = shared[: len(ahead)] + ahead[: len(shared)]
            quiet = np.flatnonzero(busy == busy.min())
            end = low + int(quiet[np.abs(quiet - len(busy) / 2).argmin()])
        whole[cuts[-1] : end] = windows[n, cuts[-1] - start : end - start]
        cuts.append(end)
    return whole, cuts[1:-1]


def stretches(active: np.ndarray, cuts: Sequence[int], frame_s: float) -> list[Stretch]:
    """The stretches of each local speaker in order of time; the long ones in equal parts.

    Args:
        active: (frames, local speakers) bool.
        cuts: frames where the speakers' numbers change their meaning.
    """
    found = []
    single = active.sum(1) == 1
    bounds = [0, *cuts, len(active)]
    for first, last in pairwise(bounds):
        for local in range(active.shape[1]):
            for start, end in runs(active[first:last, local], round(PAUSE_S / frame_s)):
                if (end - start) * frame_s < SHORTEST_S:
                    continue
                parts = max(1, int(np.ceil((end - start) * frame_s / LONGEST_S)))
                edges = np.linspace(first + start, first + end, parts + 1).round().astype(int)
                found += [Stretch(int(a), int(b), single[a:b]) for a, b in pairwise(edges)]
    return sorted(found, key=lambda s: (s.start, s.end))


def runs(on: np.ndarray, pause: int = 0) -> list[tuple[int, int]]:
    """(start, end) of the runs of true, those joined that lie up to `pause` apart."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    found: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if found and start - found[-1][1] <= pause:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def heard(active: np.ndarray, spoken: np.ndarray, frame_s: float) -> np.ndarray:
    """Who speaks where there is speech: what the segmentation network hears up to `NEAR_S` from speech, for it keeps
    time better, and somebody where it hears nobody for all of a pause-free stretch of speech.

    Args:
        active: (frames, local speakers) bool, from the segmentation network.
        spoken: (frames,) bool, from the voice activity detector.
    """
    near = np.convolve(spoken, np.ones(2 * round(NEAR_S / frame_s) + 1), "same") > 0
    found = active & near[:, None]
    for start, end in runs(spoken, round(PAUSE_S / frame_s)):
        if not found[start:end].any():
            found[start:end, 0] = True
    return found

"""What speaks for a voice being a person's: who is seen while it sounds, against when others speak.

A film shows its speaker more often than not, but not always, and often shows whoever listens. So what counts is not
how long somebody is seen with a voice, as StoryTeller's and M3-Agent's votes have it, but how much more often than with
other voices: a leading actor who is on screen half of the time is no evidence for every voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SHOWN = 0.8
"""How often a film shows who speaks, of the time that anybody's face is seen. In dialogue shot and reverse shot cut to
the listener for about a fifth; documentaries show their speakers less, and the ratio below then only gets smaller."""
COUNTED_S = 1.0
"""Seconds of a line that weigh as one observation: a longer line is more of the same shot, so its weight grows with the
square root of its length, up to `MOST` observations."""
MOST = 2.0
PRIOR = 4.0
"""Observations that the share of others' lines with a person on screen is smoothed with: towards that person's share
of all speech."""
LEAST_SHARE = 0.02
"""No share is taken for less than this or for more than 1 less it: one line cannot rule anybody out."""


@dataclass(frozen=True)
class Line:
    """A spoken line, who sounds (None: not told apart) and how much of it each person is seen."""

    start_s: float
    end_s: float
    voice: int | None
    seen: dict[str, float] = field(default_factory=dict)
    """Share of the line by person id."""
    anybody: float = 0.0
    """Share of the line in which any face that can be recognised is seen."""

    @property
    def weight(self) -> float:
        return min(MOST, float(np.sqrt(max(self.end_s - self.start_s, 0.0) / COUNTED_S)))


def ratios(lines: Sequence[Line], voices: Sequence[int], people: Sequence[str]) -> np.ndarray:
    """(voices, people) log-likelihood ratios that the voice is the person's and not anybody else's.

    Lines without a face that can be recognised say nothing.
    """
    told = [line for line in lines if line.voice is not None and line.anybody > 0]
    if not told:
        return np.zeros((len(voices), len(people)))
    weight = np.array([line.weight * line.anybody for line in told])
    seen = np.array([[min(1.0, line.seen.get(p, 0.0) / line.anybody) for p in people] for line in told])
    mine = np.array([[line.voice == voice for line in told] for voice in voices], float) * weight
    overall = (weight @ seen) / weight.sum()
    others = weight - mine
    share = (others @ seen + PRIOR * overall) / (others.sum(1, keepdims=True) + PRIOR)
    share = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)
    shown, not_shown = mine @ seen, mine @ (1 - seen)
    return shown * np.log(SHOWN / share) + not_shown * np.log((1 - SHOWN) / (1 - share))

"""Global decoding: each line's character, of its voice's over the whole source and of who is seen while it is said.

After StoryTeller (arXiv:2411.07076): there a model scores each name in each segment, and a voice's lines take the name
of the highest product; a line is left as it was where it speaks against that. Here the voice's name is given, and each
line weighs it against what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.characters.evidence import SHOWN, Line

Row = dict[str, Any]
SURE, UNSURE, MARGIN = 0.98, 0.5, 3.0
"""Probability that a line is of its own voice: at best, at no margin to the next voice, and its growth with that."""
NEAR_S, NEIGHBOUR = 0.6, 0.7
"""How near the lines beside one without a voice must be to tell who says it, seconds, and how well they do."""
HIDDEN = 0.4
"""Likelihood of what is seen for somebody whose face is not known: neither for nor against."""
FLOOR = 1e-3
"""No witness gives less: StoryTeller's product, made robust against one that is wrong."""
EVEN = 0.5
"""Probability of a character from which a line is given to it."""


@dataclass(frozen=True)
class Decoder:
    """The lines of a source, and who is known."""

    lines: Sequence[Line]
    speech: Sequence[Row]
    """Their rows."""
    heard: Sequence[Row | None]
    """Of each line its voice's character."""
    faces: Mapping[str, Row]
    """The character of each person who is seen."""
    count: int
    """Of all characters."""

    def decoded(self, number: int) -> tuple[Row | None, float | None, str | None]:
        """A line's character, how sure, and what decided: the likelihood of who is heard times that of who is seen."""
        line, row, mine = self.lines[number], self.speech[number], self.heard[number]
        if row["speaker"]:
            return (mine, 1.0, "subtitle") if mine else (None, None, None)
        by = "voice" if mine else "neighbour"
        mine = mine or self._neighbour(number)
        own = _own(row) if by == "voice" else NEIGHBOUR
        rows = {one["character_id"]: one for one in [*self.faces.values(), *([mine] if mine else [])]}
        likely: dict[str, float] = {}
        for name, one in rows.items():
            voice = own if one is mine else (1 - own) / max(1, self.count - 1) if mine else 1 / max(1, self.count)
            seen = max((line.seen.get(who, 0.0) for who in one["people"]), default=0.0)
            known = line.anybody and one["people"]
            looks = 1 - SHOWN + (2 * SHOWN - 1) * min(1.0, seen / line.anybody) if known else HIDDEN
            likely[name] = max(FLOOR, voice) * max(FLOOR, looks)
        if not likely or not (mine or line.anybody):
            return None, None, None
        best = max(likely, key=lambda name: likely[name])
        # Anybody who was only heard may say a line without a voice, too.
        others = 0 if mine else HIDDEN * max(0, self.count - len(rows)) / max(1, self.count)
        confidence = likely[best] / (sum(likely.values()) + others)
        if confidence < EVEN:
            return None, None, None
        return rows[best], confidence, by if rows[best] is mine else "seen"

    def _neighbour(self, number: int) -> Row | None:
        """Who speaks right before or after a line that is too short for a voice of its own, the nearer of the two."""
        line, near = self.lines[number], []
        for other in (number - 1, number + 1):
            if 0 <= other < len(self.heard) and self.heard[other] is not None:
                between = self.lines[other]
                gap = max(between.start_s - line.end_s, line.start_s - between.end_s)
                near.append((gap, other))
        gap, other = min(near, default=(NEAR_S + 1, 0))
        return self.heard[other] if gap <= NEAR_S else None


def _own(row: Row) -> float:
    return SURE if row["voice_margin"] is None else min(SURE, UNSURE + MARGIN * max(0.0, row["voice_margin"]))

"""Whether a caption contradicts its parent's, or is another's over again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from stages.caption.checks.passage import Passage, normal

NEAR = 0.9
"""Share of words in common (Jaccard) from which two captions are one."""
LEAST_WORDS = 8
"""Shorter captions may be equal by chance."""

_SIDES = {
    "where": (
        r"\b(?:indoors|inside (?:a|the) (?:house|room|building|kitchen|office|shop))\b",
        r"\b(?:outdoors|outside in the|open air)\b",
    ),
    "hour": (
        r"\b(?:at night|night-?time|in the dark of night|moonlit)\b",
        r"\b(?:daylight|daytime|midday|in the sunshine|sunlit)\b",
    ),
    "colour": (
        r"\b(?:black[- ]and[- ]white (?:film|video|shot|picture|scene|footage)|in black and white)\b",
        r"\b(?:colou?rful|vibrant colou?rs|vivid colou?rs)\b",
    ),
    "people": (
        r"\b(?:no people|nobody|no one|no person|without (?:any )?people|deserted|uninhabited)\b",
        r"\b(?:a|the|one|two|three|several|many|some) (?:\w+ )?"
        r"(?:man|men|woman|women|person|people|boy|girl|child|children|crowd|workers?)\b",
    ),
    "camera": (
        r"\bcamera (?:stands|stays|remains|is) (?:completely |perfectly )?(?:still|static|fixed|stationary) "
        r"(?:throughout|the whole|for the whole|all the)\b",
        r"\bcamera (?:\w+ly )?(?:pans|tilts|zooms|tracks)\b",
    ),
    "sound": (
        r"\b(?:without (?:a )?sound|no sound|completely silent|in silence)\b",
        r"\b(?:music plays|can be heard|is audible|a voice says)\b",
    ),
}
SIDES = {name: (re.compile(one), re.compile(other)) for name, (one, other) in _SIDES.items()}
_THROUGHOUT = re.compile(r"\b(?:throughout|entire(?:ly)?|the whole|at all times|never|always|from beginning to end)\b")


def contradicts(passage: Passage, parent: str, level: str) -> Iterator[str]:
    """What the caption says and its parent's rules out. A parent of several shots rules out only what it says of all
    of itself."""
    above = Passage.of(parent).lower
    if level != "clip" and not _THROUGHOUT.search(above):
        return
    for name, above_one, above_other in _taken(above):
        one, other = SIDES[name]
        here_one, here_other = one.search(passage.lower), other.search(passage.lower)
        if above_one and here_other and not here_one:
            yield f"parent: {here_other[0]!r}, but {above_one[0]!r} above ({name})"
        elif above_other and here_one and not here_other and name != "people":
            yield f"parent: {here_one[0]!r}, but {above_other[0]!r} above ({name})"


@lru_cache(maxsize=256)
def _taken(text: str) -> list[tuple[str, re.Match[str] | None, re.Match[str] | None]]:
    """The sides that a text takes: one, or the other."""
    found = [(name, one.search(text), other.search(text)) for name, (one, other) in SIDES.items()]
    return [(name, one, other) for name, one, other in found if bool(one) != bool(other)]


def repeats(text: str, siblings: Sequence[str]) -> Iterator[str]:
    if not siblings:
        return
    mine = normal(text)
    words = set(mine.split())
    if len(mine.split()) < LEAST_WORDS:
        return
    for sibling in siblings:
        other = normal(sibling)
        theirs = set(other.split())
        if other == mine or len(words & theirs) >= NEAR * len(words | theirs):
            yield "duplicate: of the caption of a span beside it"
            return

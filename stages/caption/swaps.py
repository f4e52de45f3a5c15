"""Event mixing: sentences of a caption that tell of another event of the same source.

ELV-Halluc (arXiv:2508.21496) finds that captioners of long videos move what is true of one event to another, and probes
it by swapping events' elements. Here each sentence is held against the words of all events: those that only another
event's captions and facts have speak against it, those that its own event has (its own text left out) for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.caption.checks.passage import Passage
from stages.caption.wording import stems

LEAST_WORDS = 3
"""Telling words that only the other event has before a sentence is its: two may coincide."""
AGAINST = 0.5
"""Share of a sentence's telling words that the other event has before it is said to be its."""
MOST_OWN = 0.3
"""Share that its own event may have yet."""


@dataclass(frozen=True)
class Told:
    """A caption, with the number of the event that it lies in."""

    text: str
    event: int
    bag: frozenset[str]
    """Stems of its text."""
    facts: frozenset[str]
    """Stems of what was measured in its span."""


def mixed(captions: Sequence[Told]) -> list[tuple[float | None, str]]:
    """Of each caption the share of its sentences that fit another event better, and the first of these.

    The share is None where there is one event only.
    """
    if len({told.event for told in captions}) < 2:
        return [(None, "")] * len(captions)
    where: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for told in captions:
        for stem in told.bag:
            where[stem][told.event] += 1
        for stem in told.facts:
            where[stem][told.event] += 1
    return [_mixed(told, where) for told in captions]


def _mixed(told: Told, where: Mapping[str, Counter[int]]) -> tuple[float | None, str]:
    foreign = {stem for stem in told.bag if where[stem][told.event] <= 1 and stem not in told.facts}
    foreign = {stem for stem in foreign if len(where[stem]) > 1}
    sentences = Passage.of(told.text).sentences
    if len(foreign) < LEAST_WORDS:
        return 0.0, ""
    found = [sentence for sentence in sentences if _of_another(stems(sentence), foreign, told.event, where)]
    return len(found) / max(1, len(sentences)), found[0] if found else ""


def _of_another(bag: frozenset[str], foreign: set[str], event: int, where: Mapping[str, Counter[int]]) -> bool:
    strange = bag & foreign
    if len(strange) < LEAST_WORDS:
        return False
    own = len(bag - foreign) - sum(len(where[stem]) <= 1 for stem in bag - foreign)
    votes = Counter(other for stem in strange for other in where[stem] if other != event and len(where[stem]) <= 2)
    best = max(votes.values(), default=0)
    return best >= max(LEAST_WORDS, AGAINST * len(bag)) and own <= MOST_OWN * len(bag)

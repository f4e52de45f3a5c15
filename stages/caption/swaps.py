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

LEAST_WORDS = 2
"""Telling words that only one other event has before a sentence is its."""
AGAINST = 3.0
"""How many of them stand against one that its own event has."""


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
    strange: dict[str, list[int]] = {}
    own = set()
    for stem in told.bag:
        others = [event for event in where[stem] if event != told.event]
        if len(others) > 1:
            continue  # a word of many events tells of none
        if stem in told.facts or where[stem][told.event] > 1:
            own.add(stem)
        elif others:
            strange[stem] = others
    if len(strange) < LEAST_WORDS:
        return 0.0, ""
    sentences = Passage.of(told.text).sentences
    found = [sentence for sentence in sentences if _of_another(stems(sentence), strange, own)]
    return len(found) / max(1, len(sentences)), found[0] if found else ""


def _of_another(bag: frozenset[str], strange: Mapping[str, list[int]], own: set[str]) -> bool:
    votes = Counter(event for stem in bag & strange.keys() for event in strange[stem])
    best = max(votes.values(), default=0)
    return best >= LEAST_WORDS and best >= AGAINST * len(bag & own)

"""Event mixing: sentences of a caption that tell of another event of the same source.

ELV-Halluc (arXiv:2508.21496) finds that captioners of long videos move what is true of one event to another, and probes
it by swapping events' elements. Here each sentence is held against every other event of its source: the log-likelihood
ratio of its telling words under that event and under its own, as naive Bayes has it. A word's rate in an event is the
share of its captions and facts that have it; the caption itself is left out, so that it does not speak for itself.

Three things keep honest sentences. Rates are mixed with the word's rate in the rest of the source (Jelinek and
Mercer's smoothing), so what is said of many events speaks for none. What was measured in the caption's own span never
speaks against it. And a word that the spans beside it and in it have is its own, though the rest of its event lacks it.
The caption above is no such witness: it was made of this one. For the same reason sentences that were found are taken
from the witnesses, and what repeats them is judged again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.caption.checks.passage import Passage
from stages.caption.wording import stems

AGAINST = 3.0
"""Nats from which a sentence is another event's: one in twenty. Of sentences that are of their event 0.1 % come as
high; 4 would find 1 % less of what is mixed."""
LEAST_WORDS, TELLING = 2, 0.7
"""Words, and nats of each (one of two), that must speak for the other event: one word alone may be a name, or a thing
that is in both."""
REST = 0.8
"""Weight of the rest of the source in a word's rate. Zhai and Lafferty (ACM TOIS 22, 2004) find 0.7 best for texts of a
sentence's length; at 0.8 a turn of phrase that chance has put into one event only speaks less for it."""
PRIOR = 0.5
"""Pseudo-captions with and without a word: Jeffreys' prior of a rate."""
FAMILY = 2.0
"""Captions that an event's rate counts for beside those of the nearest spans, which are four or five."""


@dataclass(frozen=True)
class Told:
    """A caption, with the number of the event that it lies in."""

    text: str
    event: int
    bag: frozenset[str]
    """Stems of its text."""
    facts: frozenset[str]
    """Stems of what was measured in its span."""
    name: str
    within: str | None
    """The span of its event that it is a part of; None for the event itself."""


def mixed(captions: Sequence[Told]) -> list[tuple[float | None, str]]:
    """Of each caption the share of its sentences that fit another event better, and the first of these.

    The share is None where there is one event only.
    """
    of: defaultdict[int, list[int]] = defaultdict(list)
    for n, told in enumerate(captions):
        of[told.event].append(n)
    if len(of) < 2:
        return [(None, "")] * len(captions)
    witnesses = _Witnesses(captions)
    found: dict[int, list[str]] = {}
    for together in of.values():
        strange = witnesses.strange(together)
        again = witnesses.without(strange, together)
        found |= strange | witnesses.strange(again)
    return [
        (len(found[n]) / len(Passage.of(told.text).sentences), found[n][0]) if n in found else (0.0, "")
        for n, told in enumerate(captions)
    ]


class _Witnesses:
    """How many captions and facts of each event, and captions of each family, have each stem."""

    def __init__(self, captions: Sequence[Told]) -> None:
        self._captions = captions
        self._bags = [told.bag for told in captions]
        distinct = dict.fromkeys(stem for told in captions for bag in (told.bag, told.facts) for stem in bag)
        self._number = {stem: n for n, stem in enumerate(distinct)}
        events = 1 + max(told.event for told in captions)
        self._counts, self._sizes = np.zeros((len(self._number), events)), np.zeros(events)
        self._parts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._many: Counter[str] = Counter()
        for told in captions:
            for bag in (told.bag, told.facts):
                if bag:
                    self._counts[self._numbers(bag), told.event] += 1
                    self._sizes[told.event] += 1
            if told.within is not None:
                self._parts[told.within].update(told.bag)
                self._many[told.within] += 1

    def strange(self, chosen: Sequence[int]) -> dict[int, list[str]]:
        """Of the chosen captions, all of one event, those with sentences of another, and these."""
        words = {n: list(self._captions[n].bag) for n in chosen if self._captions[n].bag}
        if not words:
            return {}
        begins = np.cumsum([0, *(len(bag) for bag in words.values())])
        against = self._against(words)
        most = np.add.reduceat(np.maximum(against, 0), begins[:-1]).max(1)  # no sentence has more than its caption
        found = {}
        for k, n in enumerate(words):
            if most[k] <= AGAINST:
                continue
            ratios = dict(zip(words[n], against[begins[k] : begins[k + 1]], strict=True))
            strange = [s for s in Passage.of(self._captions[n].text).sentences if _of_another(stems(s), ratios)]
            if strange:
                found[n] = strange
        return found

    def without(self, found: Mapping[int, Sequence[str]], together: Sequence[int]) -> list[int]:
        """Takes the sentences that were found from the witnesses.

        Returns:
            Those of the captions together that share words with them, and are to be judged again.
        """
        taken: set[str] = set()
        for n, strange in found.items():
            told = self._captions[n]
            kept = [stems(s) for s in Passage.of(told.text).sentences if s not in strange]
            self._bags[n] = frozenset().union(*kept) & told.bag
            gone = told.bag - self._bags[n]
            self._counts[self._numbers(gone), told.event] -= 1
            if told.within is not None:
                self._parts[told.within].subtract(gone)
            taken |= gone
        return [n for n in together if n not in found and len(self._captions[n].bag & taken) >= LEAST_WORDS]

    def _numbers(self, bag: Iterable[str]) -> list[int]:
        return [self._number[stem] for stem in bag]

    def _against(self, words: Mapping[int, Sequence[str]]) -> np.ndarray:
        """(words of all, events) log-likelihood ratios of each caption's words, one caption after the other."""
        told = [self._captions[n] for n in words]
        event = told[0].event
        itself = np.array([stem in self._bags[n] for n, bag in words.items() for stem in bag])
        measured = np.array([stem in one.facts for one, bag in zip(told, words.values(), strict=True) for stem in bag])
        counts = self._counts[[self._number[stem] for bag in words.values() for stem in bag]]
        sizes = self._sizes
        own = (counts[:, event] - itself + PRIOR) / (sizes[event] - 1 + 2 * PRIOR)
        own = np.maximum(own, self._near(words, own))
        rest = counts.sum(1, keepdims=True) - counts
        rest -= np.where(np.arange(len(sizes)) == event, 0, itself[:, None])
        rest = (rest + PRIOR) / (sizes.sum() - 1 - sizes + 2 * PRIOR)
        other = (counts + PRIOR) / (sizes + 2 * PRIOR)
        ratio = np.log(((1 - REST) * other + REST * rest) / ((1 - REST) * own[:, None] + REST * rest))
        ratio[:, event] = 0
        return np.where(measured[:, None], np.minimum(ratio, 0), ratio)

    def _near(self, words: Mapping[int, Sequence[str]], own: np.ndarray) -> np.ndarray:
        """Rates in the captions of the spans beside each and in it, with its event's for where they are few."""
        have: list[int] = []
        of: list[int] = []
        for n, bag in words.items():
            told, mine = self._captions[n], self._bags[n]
            inside: Mapping[str, int] = self._parts.get(told.name, {})
            have += [inside.get(stem, 0) for stem in bag]
            of += [self._many[told.name]] * len(bag)
            if told.within is not None:
                beside, start = self._parts[told.within], len(have) - len(bag)
                for k, stem in enumerate(bag, start):
                    have[k] += beside[stem] - (stem in mine)
                    of[k] += self._many[told.within] - 1
        return (np.array(have) + FAMILY * own) / (np.array(of) + FAMILY)


def _of_another(bag: Iterable[str], ratios: Mapping[str, np.ndarray]) -> bool:
    """Whether one other event has a sentence's words, together and more than one of them."""
    rows = [ratios[stem] for stem in bag if stem in ratios]
    if len(rows) < LEAST_WORDS:
        return False
    table = np.stack(rows)
    return bool(((table.sum(0) > AGAINST) & ((table > TELLING).sum(0) >= LEAST_WORDS)).any())

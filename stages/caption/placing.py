"""A source's captions as `verify` holds them: each at its span, and put at the span where it belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from curate.stage import Row
from schemas.tree import LEVELS
from stages.caption import grounded, wording
from stages.caption.align import align, discriminant


class Vectors(NamedTuple):
    """A row of `caption_vectors`."""

    model: str
    caption: np.ndarray
    facts: np.ndarray


class Told:
    """A span with the caption that was written for it, and the one that belongs there."""

    def __init__(self, node: Row, caption: Row, vectors: Vectors | None) -> None:
        """
        Args:
            node: of `tree`, with `facts` as an object.
            caption: of `captions`.
        """
        self.node, self.caption, self.vectors = node, caption, vectors
        self.placed = self
        """Whose caption belongs at this span: another's where they were shifted."""
        self.own = float("nan")
        """Share of the caption's mass that lies on its own span; NaN without evidence."""
        self.flags: list[str] = []

    @property
    def name(self) -> str:
        return str(self.node["node_id"])

    @property
    def text(self) -> str:
        return self.caption["text"] or ""

    @cached_property
    def bag(self) -> frozenset[str]:
        """Telling words of the caption."""
        return wording.stems(self.text)

    @cached_property
    def facts(self) -> frozenset[str]:
        """Telling words of what was heard, read and recognised in the span."""
        return wording.stems(wording.lines(self.node["facts"]))

    @cached_property
    def measured(self) -> frozenset[str]:
        """Telling words of all that was measured in the span."""
        return self.facts | wording.stems(grounded.words(self.node["facts"], self.node["level"]))


def events(by_name: Mapping[str, Told]) -> dict[str, str]:
    """The event that each node lies in, or is; the story lies in none."""
    found: dict[str, str] = {}
    for name, one in by_name.items():
        above: Told | None = one
        for _ in LEVELS:
            if above is None or above.node["level"] == "event":
                break
            above = by_name.get(above.node["parent_id"])
        if above is not None and above.node["level"] == "event":
            found[name] = above.name
    return found


def place(told: Sequence[Told]) -> None:
    """Put the captions of one level of a source where they belong, in order of time."""
    ordered = sorted(told, key=lambda one: one.node["start_s"])
    if len(ordered) < 2:
        return
    found = align(likeness(ordered))
    at = np.full(len(ordered), -1)
    for span, source in enumerate(found.source.tolist()):
        if source >= 0:
            at[source] = span
    for n, one in enumerate(ordered):
        one.own = float(found.own[n])
        source = int(found.source[n])
        if source >= 0:
            one.placed = ordered[source]
        elif not one.text:
            continue  # that it is missing is told anyway
        elif found.nowhere[n]:
            one.flags.append("misaligned: it fits no span of its source")
        else:
            one.flags.append(f"misaligned: it belongs to {ordered[at[n]].name}, and no caption belongs here")


def likeness(told: Sequence[Told]) -> np.ndarray:
    """(captions, spans) how alike each caption and the words for each span's facts are; NaN where a text is missing.

    Norton takes the mean of a coarse and a fine likeness too: names, speech and text on screen that a caption repeats
    are what one vector of the whole text washes out. Here each is in its own deviations, and weighs what it tells in
    this source: captions that say measured words are found by them, others by their meaning.
    """
    bags = [*(one.bag for one in told), *(one.measured for one in told)]
    words = wording.vectors(bags, wording.rarity(bags))
    found = _scaled(words[: len(told)] @ words[len(told) :].T)
    embedded = [n for n, one in enumerate(told) if one.vectors is not None]
    vectors = [one.vectors for one in told if one.vectors is not None]
    if len(vectors) > 1 and len({(v.model, len(v.caption), len(v.facts)) for v in vectors}) == 1:
        both = np.ix_(embedded, embedded)
        meant = _scaled(_centred([v.caption for v in vectors]) @ _centred([v.facts for v in vectors]).T)
        weights = discriminant(found[both], meant)
        found *= weights[0]
        found[both] += weights[1] * meant
    found[[not one.text for one in told]] = np.nan
    return found


def _centred(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors of what sets each apart from the mean: sentences for facts begin alike."""
    stacked = np.stack(vectors)
    stacked = stacked - stacked.mean(0)
    return stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-6)


def _scaled(values: np.ndarray) -> np.ndarray:
    """In deviations of pairs that do not belong together."""
    apart = values[~np.eye(len(values), dtype=bool)]
    return (values - apart.mean()) / max(float(apart.std()), 1e-3)

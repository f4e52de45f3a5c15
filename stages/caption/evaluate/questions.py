"""Questions made from a source's timestamped captions and facts, each with a key that is right by construction.

What a person could argue about is not asked: where a caption fits two nodes, or a fact lasts for only part of its node.
Kinds as in InfiniBench, ALLVB and MLVU: order, count, who, when, what. The same rows give the same questions.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.caption.evaluate.words import jaccard, ngrams, sentences, words

Row = Mapping[str, Any]
Told = tuple[Row, str, str, str, list[str], str, str]
"""A node, the kind, the question, the right and the wrong answers, and the open form with its answer."""
UNKNOWN = "I don't know"
CHOICES = 4
"""Options beside "I don't know": those of MovieQA."""
ALIKE = 0.4
"""Jaccard index of word pairs from which two captions may mean the same, and neither is asked about."""
CAMERA = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll")
"""Kinds of camera movement that exclude each other."""
WHOLE = 0.8
"""Share of its node that a camera movement lasts for it to be the node's."""
PER_KIND = 20
"""Questions of a kind about one source."""


@dataclass(frozen=True)
class Question:
    """A question of one source."""

    question_id: str
    source_id: str
    node_id: str
    """The node whose caption or facts hold the answer."""
    kind: str
    question: str
    options: tuple[str, ...]
    """The last is "I don't know"."""
    answer: int
    """Index of the right one."""
    open_question: str
    """To be answered without options."""
    open_answer: str


def build(rows: Sequence[Row], seed: int = 0) -> list[Question]:
    """Questions about the sources whose rows of `captions` these are."""
    sources = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["source_id"], r["start_s"], r["end_s"])):
        sources[row["source_id"]].append(row)
    speakers = {s for of in sources.values() for row in of for s in _speakers(row)}
    found = []
    for of in sources.values():
        shots = [row for row in of if row["level"] == "shot"]
        for kind in (_when(shots), _order(shots), _count(of), _who(shots, speakers), _what(shots)):
            made = [question for told in kind if (question := _question(told, seed))]
            found += _sample(made, seed)
    return found


def _question(told: Told, seed: int) -> Question | None:
    """None: there is no wrong answer."""
    row, kind, asked, right, wrong, free, answer = told
    name = hashlib.sha256(json.dumps([seed, row["node_id"], kind, asked, right]).encode()).hexdigest()[:16]
    draw = random.Random(name)  # noqa: S311 - the same question has the same options in the same order
    others = sorted(set(wrong) - {right})
    if not others:
        return None
    options = [right, *draw.sample(others, min(CHOICES - 1, len(others)))]
    draw.shuffle(options)
    place = options.index(right)
    return Question(name, row["source_id"], row["node_id"], kind, asked, (*options, UNKNOWN), place, free, answer)


def _sample(questions: list[Question], seed: int) -> list[Question]:
    by_kind = defaultdict(list)
    for question in questions:
        by_kind[question.kind].append(question)
    return [
        question
        for kind, of in by_kind.items()
        for question in random.Random(f"{seed} {kind}").sample(of, min(PER_KIND, len(of)))  # noqa: S311
    ]


def _told(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Rows with a first sentence that is no other's of the source."""
    firsts = [(row, (sentences(row["text"] or "") or [""])[0]) for row in rows]
    pairs = [set(ngrams(words(first), 2)) for _, first in firsts]
    return [
        told
        for i, told in enumerate(firsts)
        if pairs[i] and all(i == j or jaccard(pairs[i], other) < ALIKE for j, other in enumerate(pairs))
    ]


def _when(rows: Sequence[Row]) -> Iterator[Told]:
    told = _told(rows)
    for row, first in told:
        wrong = [_span(other) for other in rows if other["node_id"] != row["node_id"]]
        asked = f"When is this: {first}"
        yield row, "when", asked, _span(row), wrong, f"{asked} Name a second.", _span(row)


def _order(rows: Sequence[Row]) -> Iterator[Told]:
    told = _told(rows)
    for at in range(len(told) - 1):
        row, first = told[at]
        later = [text for _, text in told[at + 1 : at + CHOICES]]
        asked = "Which of these comes first in the video?"
        yield row, "order", asked, first, later, f"{asked} {' / '.join(sorted([first, *later]))}", first


def _count(rows: Sequence[Row]) -> Iterator[Told]:
    for row in rows:
        shots = _facts(row).get("shots")
        if row["level"] in ("event", "story") and isinstance(shots, int):
            asked = f"How many shots are there {_between(row)}?"
            wrong = [str(n) for n in range(max(1, shots - 2), shots + 4) if n != shots]
            yield row, "count", asked, str(shots), wrong, asked, str(shots)


def _who(rows: Sequence[Row], speakers: set[str]) -> Iterator[Told]:
    said = defaultdict(set)
    for row in rows:
        for line in _facts(row).get("speech", ()):
            said[" ".join(words(line["text"]))].add(line["speaker"])
    for row in rows:
        for line in _facts(row).get("speech", ()):
            line_by = said[" ".join(words(line["text"]))]
            if line["speaker"] and line_by == {line["speaker"]} and words(line["text"]):
                asked = f"Who says “{line['text']}”?"
                yield row, "who", asked, line["speaker"], sorted(speakers), asked, line["speaker"]


def _what(rows: Sequence[Row]) -> Iterator[Told]:
    texts = {text["text"] for row in rows for text in _facts(row).get("text", ())}
    for row in rows:
        facts = _facts(row)
        kinds = {segment["kind"] for segment in facts.get("camera", ())}
        lasts = sum(segment["end_s"] - segment["start_s"] for segment in facts.get("camera", ()))
        if len(kinds) == 1 and kinds <= set(CAMERA) and lasts >= WHOLE * (row["end_s"] - row["start_s"]):
            (kind,) = kinds
            asked = f"What does the camera do {_between(row)}?"
            yield row, "what", asked, kind, list(CAMERA), asked, kind
        mine = {text["text"] for text in facts.get("text", ())}
        if len(mine) == 1:
            (text,) = mine
            wrong = [other for other in texts if not (set(words(other)) & set(words(text)))]
            asked = f"What can be read on the screen {_between(row)}?"
            yield row, "what", asked, text, wrong, asked, text


def _facts(row: Row) -> dict[str, Any]:
    return dict(json.loads(row["facts"]))


def _speakers(row: Row) -> set[str]:
    return {line["speaker"] for line in _facts(row).get("speech", ()) if line["speaker"]}


def _span(row: Row) -> str:
    return f"{row['start_s']:.1f} to {row['end_s']:.1f} s"


def _between(row: Row) -> str:
    return f"from {row['start_s']:.1f} to {row['end_s']:.1f} s"

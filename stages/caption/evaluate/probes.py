"""Swap probes: does a video's account mix its own events?

A statement from a shot's caption, put at the shot's time, is true (GT). Put there from another shot of the same video
it is false, and only who mixes events takes it (in-video); from another video anybody should refuse it (out-video). A
pair is right where the true statement is taken and the false one is not. ELV-Halluc: the SAH ratio is (OutAcc -
InAcc)/(1 - InAcc). What is asked may know the captions of all levels but that of shots, or it would read the answer
off.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.caption.evaluate.ask import Answerer, Asked, timeline
from stages.caption.evaluate.intervals import wilson
from stages.caption.evaluate.words import jaccard, ngrams, sentences, words

Row = Mapping[str, Any]
ALIKE = 0.4
"""Jaccard index of word pairs from which a swapped sentence may be true as well."""
TRUE, FALSE, UNKNOWN = OPTIONS = ("yes", "no", "I don't know")


@dataclass(frozen=True)
class Probe:
    """A true statement about a node, and false ones; None where no other caption is different enough."""

    source_id: str
    node_id: str
    start_s: float
    end_s: float
    truth: str
    in_video: str | None
    out_video: str | None


def build(rows: Sequence[Row], seed: int = 0) -> list[Probe]:
    """A probe for each shot with a caption."""
    told = [(row, sentences(row["text"])[0]) for row in rows if row["level"] == "shot" and sentences(row["text"] or "")]
    told.sort(key=lambda pair: (pair[0]["source_id"], pair[0]["start_s"]))
    own: dict[str, list[str]] = defaultdict(list)
    for row, text in told:
        own[row["source_id"]].append(text)
    found = []
    for row, text in told:
        source = row["source_id"]
        draw = random.Random(f"{seed} {row['node_id']}")  # noqa: S311 - seeded on purpose
        others = [other for name, of in own.items() if name != source for other in of]
        out = [other for other in others if _differs(other, own[source])]
        within = [other for other in own[source] if other != text and _differs(other, [text])]
        found.append(
            Probe(
                source,
                row["node_id"],
                row["start_s"],
                row["end_s"],
                text,
                draw.choice(within) if within else None,
                draw.choice(out) if out else None,
            )
        )
    return found


def run(probes: Sequence[Probe], rows: Sequence[Row], answerer: Answerer) -> dict[str, Any]:
    """InAcc, OutAcc and the SAH ratio, over probes with both swaps."""
    probes = [probe for probe in probes if probe.in_video is not None and probe.out_video is not None]
    sources = {p.source_id for p in probes}
    known = {s: timeline([r for r in rows if r["source_id"] == s and r["level"] != "shot"]) for s in sources}
    asked = [
        Asked(f"From {p.start_s:.1f} to {p.end_s:.1f} s, is this true: {statement}", OPTIONS, known[p.source_id])
        for p in probes
        for statement in (p.truth, p.in_video, p.out_video)
    ]
    said = [_option(reply) for reply in answerer(asked)]
    triples = list(zip(said[::3], said[1::3], said[2::3], strict=True))
    within = wilson(sum(t == TRUE and i == FALSE for t, i, _ in triples), len(triples))
    out = wilson(sum(t == TRUE and o == FALSE for t, _, o in triples), len(triples))
    return {
        "probes": len(triples),
        "in_accuracy": within,
        "out_accuracy": out,
        "sah": sah(within["share"], out["share"]),
    }


def sah(within: float | None, out: float | None) -> float | None:
    """(OutAcc - InAcc)/(1 - InAcc); null where nothing was asked, or nothing in the video was wrong."""
    return None if within is None or out is None or within == 1 else (out - within) / (1 - within)


def _option(reply: str | None) -> str:
    told = words(reply or "")[:1]
    return TRUE if told in (["yes"], ["a"]) else FALSE if told in (["no"], ["b"]) else UNKNOWN


def _differs(text: str, others: Sequence[str]) -> bool:
    pairs = set(ngrams(words(text), 2))
    return bool(pairs) and all(jaccard(pairs, set(ngrams(words(other), 2))) < ALIKE for other in others)


HELD = 0.6
"""Share of a statement's words in the line at its time from which the lexical reader says yes."""


def lexical(asked: Sequence[Asked]) -> list[str | None]:
    """The weak reader for probes: yes where one line that covers the time holds most of the statement's words."""
    return [_lexical(one) for one in asked]


def _lexical(one: Asked) -> str:
    head, _, statement = one.question.partition(", is this true: ")
    start, end = (float(word) for word in head.split() if word[0].isdigit())
    wanted, held = set(words(statement)), 0.0
    for line in one.lines:
        span, _, text = line.partition("] ")
        low, high = (float(n) for n in span.strip("[").removesuffix(" s").split("-"))
        if low <= start and end <= high:
            held = max(held, len(wanted & set(words(text))) / max(len(wanted), 1))
    return TRUE if held >= HELD else FALSE

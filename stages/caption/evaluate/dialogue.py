"""Whether captions give spoken lines to who spoke them, and name who is there.

Of the measures that need neither people nor a model, the share of quoted lines given to the right speaker goes best
with how many questions about a film its captions answer (Spearman .84 over StoryTeller's released captions), then name
recall.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.caption.evaluate.intervals import wilson
from stages.caption.evaluate.words import contains, ngrams, sentences, words

QUOTE = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»')
MARK = re.compile(r"\x00(\d+)\x00")
MATCHED = 0.5
"""Share of a quote's word pairs that must stand in a line for the quote to be that line."""
SHORTEST_NAME = 3
"""Letters of a part of a name that may stand for the whole."""

LEAST_S = 0.5
"""How long somebody must speak or be seen in a span to be expected in its caption: as in the facts of captions."""

Row = Mapping[str, Any]


def names(cast: Sequence[str]) -> dict[str, list[str]]:
    """The forms of each name in a text: the whole, and each part that is no other's; underscores are spaces."""
    full = {name: words(name.replace("_", " ")) for name in cast}
    forms = {}
    for name, parts in full.items():
        others = {part for other, theirs in full.items() if other != name for part in theirs}
        short = [part for part in parts if part not in others and len(part) >= SHORTEST_NAME]
        forms[name] = [" ".join(parts), *short]
    return forms


PARTS = ("attribution", "precision", "lines", "names", "present")


def score(
    captions: Sequence[Row], lines: Sequence[Row], cast: Sequence[str] = (), shown: Sequence[Row] = ()
) -> dict[str, Any]:
    """What captions of one source say of who speaks.

    Args:
        captions: rows with start_s, end_s and text (null: none).
        lines: each with start_s, end_s, speaker (null: not known) and text (null: not known); a quote is sought in
            lines that its caption's span touches.
        cast: names besides those of the speakers.
        shown: who is seen when: start_s, end_s, name.

    Returns:
        Shares with their intervals. `attribution`: of the quotes of lines, those whose sentence names the right
        speaker, the first that it names. `precision`: of those whose sentence names anybody, the same. `lines`: of the
        lines with text and speaker, those that a caption quotes with the right speaker: what is not quoted counts, too.
        `names`: of the cast, who is named anywhere. `present`: of those who speak or are seen in a caption's span for
        `LEAST_S`, who is named in that caption.
    """
    forms = names(sorted({line["speaker"] for line in lines if line["speaker"]} | set(cast)))
    texts = [row["text"] for row in captions if row["text"]]
    quoted = told_of = right = there = named_there = 0
    known = [line for line in lines if line["text"] and line["speaker"]]
    rightly: set[int] = set()
    for row in captions:
        heard = [(n, x) for n, x in enumerate(known) if _shared(x, row) > 0]
        for quote, told in _quotes(row["text"] or ""):
            line = _line(quote, [x for _, x in heard])
            if line is None:
                continue
            speaker = _speaker(told, forms)
            quoted += 1
            told_of += speaker is not None
            if speaker == line["speaker"]:
                right += 1
                rightly |= {n for n, x in heard if x is line}
        for who in _present(row, lines, shown):
            there += 1
            named_there += any(contains(row["text"] or "", form) for form in forms.get(who, names([who])[who]))
    named = sum(any(contains(text, form) for text in texts for form in of) for of in forms.values())
    return {
        "attribution": wilson(right, quoted),
        "precision": wilson(right, told_of),
        "lines": wilson(len(rightly), len(known)),
        "names": wilson(named, len(forms)),
        "present": wilson(named_there, there),
    }


def _present(caption: Row, lines: Sequence[Row], shown: Sequence[Row]) -> list[str]:
    """Names of those who speak or are seen in a caption's span long enough."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for of, name in ((lines, "speaker"), (shown, "name")):
        here: defaultdict[str, float] = defaultdict(float)
        for row in of:
            if row[name]:
                here[row[name]] += max(0.0, _shared(row, caption))
        for who, how_long in here.items():
            seconds[who] = max(seconds[who], how_long)
    return [who for who, how_long in seconds.items() if how_long >= LEAST_S]


def _shared(one: Row, other: Row) -> float:
    return float(min(one["end_s"], other["end_s"]) - max(one["start_s"], other["start_s"]))


def total(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all sources; a share is null where there was nothing to count, such as no quote that is in a line."""
    return {part: wilson(sum(s[part]["right"] for s in scores), sum(s[part]["of"] for s in scores)) for part in PARTS}


def _quotes(text: str) -> Iterator[tuple[str, str]]:
    """Each quote, and the words of its sentence outside quotes; of the next where it has none: `"Go!" Biden says.`"""
    found = ["".join(groups) for groups in QUOTE.findall(text)]
    # A full stop in a quote ends a sentence only where the quote ends with it.
    marked = re.sub(r"\x00", " ", text)
    for number, quote in enumerate(found):
        stop = quote[-1] if quote[-1] in ".!?…" else ""
        marked = QUOTE.sub(f"\x00{number}\x00{stop}", marked, count=1)
    told = sentences(marked)
    outside = [MARK.sub(" ", sentence) for sentence in told] + [""]
    for at, sentence in enumerate(told):
        around = outside[at] if words(outside[at]) else outside[at + 1]
        yield from ((found[int(number)], around) for number in MARK.findall(sentence))


def _line(quote: str, lines: Sequence[Row]) -> Row | None:
    shares = [(_contained(quote, line["text"]), line) for line in lines]
    share, line = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    return line if share >= MATCHED else None


def _contained(quote: str, line: str) -> float:
    n = min(len(words(quote)), 2)
    mine = set(ngrams(words(quote), n)) if n else set()
    return len(mine & set(ngrams(words(line), n))) / len(mine) if mine else 0.0


def _speaker(sentence: str, forms: Mapping[str, Sequence[str]]) -> str | None:
    """The first of the cast that a sentence names."""
    text = f" {' '.join(words(sentence))} "
    places = [(at, name) for name, of in forms.items() for form in of if (at := text.find(f" {form} ")) >= 0]
    return min(places)[1] if places else None

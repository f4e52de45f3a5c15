"""What is said, by recognition, where no subtitles say it: what every transcriber is given and gives, and what of it is
dropped or doubted.

Whisper is known to write phrases over and over, and thanks to nobody, where there is music or silence. Four things keep
that out: it is shown only where somebody speaks, in spans that begin and end in pauses; the two rules by which its
authors reject a decoding are applied to what it wrote; what it is unsure of is marked weak; and a word that lies where
nobody speaks is nobody's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from curate.stage import Row
from stages.speech.diarization import Turn
from stages.speech.sound import Sound

MOST_COMPRESSED = 2.4
"""Length of a text over that of its zlib form above which it is a loop: `compression_ratio_threshold` of Whisper's
`transcribe`, of faster-whisper and of transformers."""
NO_SPEECH, LEAST_LOGPROB = 0.6, -1.0
"""Probability of no speech above which, and mean log probability of the tokens below which, a decoding is of silence:
their `no_speech_threshold` and `logprob_threshold`."""
SURE = 0.37
"""Mean probability of a line's words below which its text is weak: the exponential of `logprob_threshold`, below which
Whisper's authors take a decoding for failed."""
STRAY_S = 0.5
"""How far from anybody's speech a word may lie and still be said then: aligned words are off by a few tenths."""
MOST_LETTERS = 1000
"""Of a line's text: nobody says more in the ten seconds of a line."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Span:
    """What a transcriber is shown at once, seconds of the source, and who speaks in it: numbers of turns."""

    start_s: float
    end_s: float
    turns: tuple[int, ...]


@dataclass(frozen=True)
class Word:
    """A word as it is written, with its space before it if it has one; seconds of the source.

    Attributes:
        sure: its probability; None: not told.
    """

    text: str
    start_s: float
    end_s: float
    sure: float | None = None


@dataclass(frozen=True)
class Told:
    """What a transcriber makes of spans.

    Attributes:
        words: for each span, in order.
        language: ISO 639-1; None: not told, or not sure.
        language_sure: its probability; None: not told.
    """

    words: list[list[Word]] = field(default_factory=list)
    language: str | None = None
    language_sure: float | None = None


class Transcriber(Protocol):
    """Writes down what is said.

    Attributes:
        name: what a row's `origin` says.
        weak: whether all its text must be doubted.
        longest_s: the longest span that it can be shown.
        joins: whether it is shown several turns at once; else a span is one turn.
    """

    name: str
    weak: bool
    longest_s: float
    joins: bool

    def __call__(self, sound: Sound, spans: Sequence[Span], progress: Progress) -> Told:
        """The words in each span."""


def spans(turns: Sequence[Turn], chosen: Sequence[int], longest_s: float, joins: bool, margin_s: float) -> list[Span]:
    """Where the chosen turns speak, in spans for a transcriber.

    Turns are joined as long as the span stays within `longest_s`, so that it knows what was said before; a span begins
    and ends in a pause wherever there is one, up to `margin_s` before and after speech. What is longer by itself is
    parted equally.
    """
    found: list[Span] = []
    for number in sorted(chosen, key=lambda n: (turns[n].start_s, turns[n].end_s)):
        turn, last = turns[number], found[-1] if found else None
        end_s = max(turn.end_s, last.end_s) if last else turn.end_s
        if joins and last and (turn.start_s < last.end_s or end_s - last.start_s <= longest_s - 2 * margin_s):
            found[-1] = Span(last.start_s, end_s, (*last.turns, number))
        else:
            found.append(Span(turn.start_s, turn.end_s, (number,)))
    padded = []
    for n, span in enumerate(found):
        before = (span.start_s - found[n - 1].end_s) / 2 if n and joins else margin_s
        after = (found[n + 1].start_s - span.end_s) / 2 if n + 1 < len(found) and joins else margin_s
        start_s = max(0.0, span.start_s - max(0.0, min(margin_s, before)))
        padded.append(Span(start_s, span.end_s + max(0.0, min(margin_s, after)), span.turns))
    return [part for span in padded for part in _parted(span, longest_s)]


def _parted(span: Span, longest_s: float) -> Iterator[Span]:
    parts = max(1, int(-(-(span.end_s - span.start_s) // longest_s)))
    step = (span.end_s - span.start_s) / parts
    for n in range(parts):
        yield Span(span.start_s + n * step, span.start_s + (n + 1) * step, span.turns)


def believable(text: str, no_speech: float | None = None, logprob: float | None = None) -> bool:
    """Whether a decoding is neither a loop nor of silence, by the rules that Whisper's authors reject it by."""
    data = text.encode()
    if data and len(data) / len(zlib.compress(data)) > MOST_COMPRESSED:
        return False
    return no_speech is None or logprob is None or no_speech <= NO_SPEECH or logprob >= LEAST_LOGPROB


def assigned(turns: Sequence[Turn], spans: Sequence[Span], words: Sequence[Sequence[Word]]) -> dict[int, list[Word]]:
    """Each word given to the turn in which it is said, by number.

    That is the turn of its span that it overlaps most; of several that hold all of it, the one that said the word
    before, for people finish their words. A word that lies outside is given to the nearest turn, if one is near.
    """
    found: dict[int, list[Word]] = {}
    for span, said in zip(spans, words, strict=True):
        before = None
        for word in said:
            shared = {n: _shared(turns[n], word) for n in span.turns}
            most = max(shared.values(), default=0.0)
            near = [n for n in span.turns if shared[n] >= most - 1e-6]
            if most <= 0:
                near = sorted(span.turns, key=lambda n: _away(turns[n], word))[:1]
                if not near or _away(turns[near[0]], word) > STRAY_S:
                    continue
            owner = before if before in near else near[0]
            assert owner is not None  # noqa: S101 - for the type checker
            found.setdefault(owner, []).append(word)
            before = owner
    return found


def _shared(turn: Turn, word: Word) -> float:
    return min(turn.end_s, word.end_s) - max(turn.start_s, word.start_s)


def _away(turn: Turn, word: Word) -> float:
    return max(turn.start_s - word.end_s, word.start_s - turn.end_s, 0.0)


def line(turn: Turn, words: Sequence[Word], weak: bool) -> Row:
    """The columns of a turn's row that tell what is said in it. Times of words lie within the turn and in order."""
    rows: list[Row] = []
    at = turn.start_s
    for word in sorted(words, key=lambda w: w.start_s):
        start_s = min(max(word.start_s, at), turn.end_s)
        at = min(max(word.end_s, start_s), turn.end_s)
        rows.append({"text": word.text.strip(), "start_s": start_s, "end_s": at})
    sure = [word.sure for word in words if word.sure is not None]
    known = sum(sure) / len(sure) if sure else None
    text = "".join(word.text for word in words).strip()[:MOST_LETTERS]
    return {"text": text, "words": rows, "text_confidence": known, "weak": weak or (known is not None and known < SURE)}

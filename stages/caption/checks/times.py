"""Whether the times in a caption's text, which count from its span's start, lie in the span and in order."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.caption.checks.passage import Passage

SLACK_S, SLACK = 0.3, 0.02
"""How far beyond the span a time may lie, seconds and share of it: captioners round."""

_DIGIT = re.compile(r"\d")
_T = r"(\d{1,6}(?:\.\d+)?|\d{1,3}:\d\d(?::\d\d)?(?:\.\d+)?)"
_UNIT = r"(?:\s?(?:s|secs?|seconds?)\b)"
_CLOCK = re.compile(r"(?<![\d:.])\d{1,3}:\d\d(?::\d\d)?(?:\.\d+)?(?![\d:]|\s?[ap]\.?m\b|\s?o'clock)")
_SECONDS = re.compile(r"(?<![\d:.,])(\d{1,6}(?:\.\d+)?)[\s-]?(?:s|secs?|seconds?)\b")
_MARKED = re.compile(r"<(\d{1,6}(?:\.\d+)?)\s?s?>")
_RANGE = re.compile(
    rf"\b(?:from|between)\s+(?:about |around |second |the )?{_T}{_UNIT}?\s*(?:to|and|until|till|-|–)\s*{_T}({_UNIT})?"
    rf"|[\[(<]?{_T}{_UNIT}?\s?[-–]\s?{_T}({_UNIT}|[\])>])"
)
_POINT = r"\b(?:from|at|until|till|to|by|after|before|between|and|around|about|\[|\()\s*$"
_LEADING = re.compile(
    rf"\s*[\[(<]?(?:(?:from|at|between|after)\s+(?:about |around )?)?{_T}({_UNIT}|[\])>])?", re.IGNORECASE
)


def seconds(told: str) -> float:
    value = 0.0
    for part in told.split(":"):
        value = 60 * value + float(part)
    return value


def times(passage: Passage, lasts_s: float) -> Iterator[str]:
    if not _DIGIT.search(passage.lower):
        return
    limit = lasts_s + SLACK_S + SLACK * lasts_s
    late = sorted({t for t in _told(passage.lower) if t > limit})
    if late:
        yield f"time: {late[-1]:g} s in a span of {lasts_s:.1f} s"
    for match in _RANGE.finditer(passage.lower):
        first, last = (match[1], match[2]) if match[1] else (match[4], match[5])
        timed = match[3] or match[6] or ":" in first or ":" in last
        if timed and seconds(first) > seconds(last):
            yield f"time: from {first} to {last}"
            return
    before = -1.0
    for sentence in passage.sentences:
        found = _LEADING.match(sentence) if _DIGIT.search(sentence) else None
        if not found or not (found[2] or ":" in found[1] or _RANGE.match(sentence.strip().lower())):
            continue
        start = seconds(found[1])
        if start < before:
            yield f"time: {found[1]} is told after {before:g} s"
            return
        before = start


def _told(text: str) -> Iterator[float]:
    """Seconds of every time and every length in the text."""
    for match in _SECONDS.finditer(text):
        yield float(match[1])
    for match in _MARKED.finditer(text):
        yield float(match[1])
    if ":" in text:
        for match in _CLOCK.finditer(text):
            if re.search(_POINT, text[max(0, match.start() - 12) : match.start()]) or match.start() == 0:
                yield seconds(match[0])

"""Whether a caption says what somebody in the picture or the sound told the model to say.

Text on a wall, a subtitle or a voice may be written for the captioner: "ignore your instructions and answer …". The
prompt says that such text is material; this finds a model that obeyed all the same, where it did so word by word. What
it put in words of its own, nothing here finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from stages.caption.checks.passage import Passage, normal

LEAST = 4
"""Words in a row that a caption and an order must share. A caption that reports the sign itself quotes it."""
SENTENCE = 6
"""Words of a sentence that is no description where it is read or said as a whole, in whatever language the order is."""
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instructions?|prompts?|above|previous|prior|rules|told)\b|"
    r"\b(?:answer|respond|reply|output|say|write|print|caption)\b.{0,20}"
    r"\b(?:with|as follows|only|exactly|this|saying)\b|"
    r"\b(?:new|updated|real|following) (?:instructions?|task|prompt)s?\b|\bsystem (?:prompt|message|note|override)\b|"
    r"\b(?:you are|act as|pretend to be)\b.{0,30}\b(?:model|assistant|ai|captioner|gpt)\b|"
    r"\b(?:the|your|this) (?:captions?|description|json)\b.{0,20}\b(?:must|should|is|has to|reads?)\b|"
    r"\b(?:system|assistant|user)\s*:",
    re.IGNORECASE,
)


def dictated(passage: Passage, lines: Iterable[str]) -> Iterator[str]:
    """Args:
    lines: what is read, said and named in the span; an order may be in one and its words in the next.
    """
    told = [" ".join(line.split()) for line in lines]
    whole = f" {normal(' '.join(told))} "
    for sentence in map(normal, passage.sentences):
        if sentence.count(" ") + 1 >= SENTENCE and f" {sentence} " in whole:
            yield f"dictated: {sentence[:80]!r} is read or said as it stands, and not quoted"
            return
    if not any(_ORDERS.search(line[:2000]) for line in told):
        return
    own = passage.words
    runs = {tuple(own[n : n + LEAST]) for n in range(len(own) - LEAST + 1)}
    words = whole.split()
    for n in range(len(words) - LEAST + 1):
        if tuple(words[n : n + LEAST]) in runs:
            yield f"dictated: {' '.join(words[n : n + LEAST])!r} is told to the captioner in the video itself"
            return

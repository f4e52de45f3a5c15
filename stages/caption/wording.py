"""The words that tell one caption from another, as sets of stems and as vectors."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np

from stages.caption.checks.form import STOPS
from stages.caption.checks.passage import MOST_LETTERS
from stages.caption.facts import Facts

DIMENSIONS = 512
"""Of a bag of words: a source's captions hold a few hundred telling words, and two of 20 words each then share a
place by chance once."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_PLAIN = frozenset(
    """camera shot video scene picture second text read continuous single part show seen there which over some other
    then until between take place say
    ask voice frame view image clip visible appear begin end start one two three""".split()
)
"""Words of any caption, as stems."""


def stems(text: str) -> frozenset[str]:
    """The telling words of a text without their endings."""
    found = {_stem(word) for word in _WORD.findall(text[:MOST_LETTERS].lower()) if word not in STOPS["en"]}
    return frozenset(found - _PLAIN)


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    """Porter's first step, roughly: plural, past and gerund lose their ending."""
    for ending in ("ing", "edly", "ed", "ies", "es", "s", "ly", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            cut = word[: -len(ending)]
            cut = cut + "y" if ending == "ies" else cut
            return cut[:-1] if ending in ("ing", "ed") and len(cut) > 3 and cut[-1] == cut[-2] not in "lsz" else cut
    return word


def lines(facts: Facts) -> str:
    """What is told of a span that captions may say in the same words: speech, text on screen and names."""
    told = [line["text"] for name in ("speech", "text") for line in facts.get(name, [])]
    told += [line["speaker"] for line in facts.get("speech", []) if line["speaker"]]
    return " ".join([*told, *(character["name"] for character in facts.get("characters", []))])


def rarity(bags: Sequence[frozenset[str]]) -> dict[str, float]:
    """Inverse document frequency of each stem; 0 where all have it."""
    counts = Counter(stem for bag in bags for stem in bag)
    return {stem: math.log(len(bags) / count) for stem, count in counts.items()}


@lru_cache(maxsize=65536)
def _place(stem: str) -> tuple[int, float]:
    code = crc32(stem.encode())
    return code % DIMENSIONS, 1.0 if code & 0x10000 else -1.0


def vectors(bags: Sequence[frozenset[str]], rare: Mapping[str, float]) -> np.ndarray:
    """Unit vectors (bags, `DIMENSIONS`) float32, each stem weighed by its rarity (feature hashing, Weinberger et al.,
    arXiv:0902.2206); zeros where a bag has nothing telling."""
    places = [_place(stem) for bag in bags for stem in bag]
    signed = [rare.get(stem, 0.0) for bag in bags for stem in bag] * np.array([sign for _, sign in places])
    row = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags]) * DIMENSIONS
    cells = np.bincount(row + np.array([place for place, _ in places], int), signed, len(bags) * DIMENSIONS)
    found = cells.reshape(len(bags), DIMENSIONS).astype(np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)

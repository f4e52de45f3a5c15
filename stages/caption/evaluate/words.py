"""Captions as words and word sequences, in any script that puts spaces between words."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"\w+(?:['’]\w+)*")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"”’»]*\s+")


def words(text: str) -> list[str]:
    """Its words in lower case, without punctuation, compatibility forms made one."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` words, in order."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def sentences(text: str) -> list[str]:
    """Its sentences, in order."""
    return [part.strip() for part in SENTENCE_END.split(text) if part.strip()]


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    """Shared share of two sets, 0 to 1; 0 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 0.0


def contains(text: str, phrase: str) -> bool:
    """Whether the phrase's words stand in the text, one after the other."""
    return bool(words(phrase)) and f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "

"""How alike two captions are: CIDEr, METEOR and ROUGE-L, by the libraries of the extra `eval`.

METEOR is nltk's. Its synonyms need WordNet's data, which no package on PyPI ships and nothing here downloads: where
nltk finds them they are used (`meteor_wordnet`), elsewhere words match exactly or by their Porter stem (`meteor_stem`),
which is lower. Neither is the Java METEOR 1.5 of published SODA_c tables: do not compare with those.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from stages.caption.evaluate.words import words

NO_REFERENCE = "\x00"
"""Stands for the reference of a caption that has none: a word in no caption, where ActivityNet's takes random
letters."""


class _NoSynonyms:
    """What nltk's METEOR asks for synonyms, where there is no WordNet."""

    def synsets(self, _word: str) -> list[Any]:
        return []


@lru_cache(maxsize=1)
def _synonyms() -> tuple[Any, str]:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _NoSynonyms(), "meteor_stem"
    return wordnet, "meteor_wordnet"


def meteor_name() -> str:
    """Which METEOR runs here."""
    return _synonyms()[1]


@lru_cache(maxsize=100_000)
def meteor(candidate: str, reference: str) -> float:
    """METEOR of one caption against one reference, 0 to 1."""
    from nltk.translate.meteor_score import single_meteor_score

    hypothesis, told = words(candidate), words(reference)
    return float(single_meteor_score(told, hypothesis, wordnet=_synonyms()[0])) if hypothesis and told else 0.0


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common run of words, in order, 0 to 1."""
    return float(_rouge().score(reference, candidate)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """rouge_score's own tokeniser drops all that is not a to z."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def corpus(pairs: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """CIDEr (document frequencies from all references of the corpus; needs two), METEOR and ROUGE-L over pairs of
    caption and reference. A caption without a reference counts 0."""
    from pycocoevalcap.cider.cider import Cider

    told = {
        i: [" ".join(words(r)) or NO_REFERENCE if r is not None else NO_REFERENCE] for i, (_, r) in enumerate(pairs)
    }
    said = {i: [" ".join(words(c))] for i, (c, _) in enumerate(pairs)}
    if not pairs:
        return {"pairs": 0, "cider": None, meteor_name(): None, "rouge_l": None}
    return {
        "pairs": len(pairs),
        "cider": float(Cider().compute_score(told, said)[0]) if len(pairs) > 1 else None,
        meteor_name(): fmean(meteor(c, r) if r else 0.0 for c, r in pairs),
        "rouge_l": fmean(rouge_l(c, r) if r else 0.0 for c, r in pairs),
    }

"""Which language a text is in, where nothing that came with it says so.

By py3langid (Lui and Baldwin's langid.py; BSD), whose model of 97 languages is in its package. On the 150 lines of its
test, ten in each of 15 languages and as short as subtitles are, it is right on 93 % and sure (0.5 and more) of 73 %,
all of them rightly; of three lines together it is always right. fastText's lid.176 was right on 97 % and sure of 93 %,
with one mistake, but is under CC BY-SA; lingua was right on 95 %, in 1.1 GB of memory. A source's lines are judged
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

SURE = 0.5
"""Probability from which the language is said; see above."""
MOST_LETTERS = 20_000
"""Of a source's text: more would not change the answer."""


def told(texts: Iterable[str]) -> tuple[str | None, float | None]:
    """(ISO 639-1, its probability) of what the lines are in together; None where that is not sure, or nothing is
    said in words."""
    text = " ".join(texts)[:MOST_LETTERS]
    if not any(letter.isalpha() for letter in text):
        return None, None
    language, sure = _identifier().classify(text)
    return (str(language) if sure >= SURE else None), float(sure)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """The model of the package, loaded once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

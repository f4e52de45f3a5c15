"""A caption's text, taken apart once for all checks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

MOST_LETTERS = 20_000
"""Of a caption that are looked at: ten times the longest that a captioner is asked for."""

_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|«([^»]*)»|(?<!\w)[\'‘]([^\'’"]{3,120})[\'’](?!\w)')
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
END = ".!?…"
"""What ends a sentence."""
_END = re.compile(rf"(?<=[{END}])[\"”’)]*\s+|\n+")


@dataclass(frozen=True)
class Passage:
    """A caption that can be asked about its words, sentences and quotes."""

    text: str

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(text: str) -> Passage:
        """Cut to `MOST_LETTERS`, as what a stranger's server wrote has any length. The last are kept: a parent is
        looked at once a child."""
        return Passage(text[:MOST_LETTERS])

    @cached_property
    def plain(self) -> str:
        """Without what is quoted: the caption's own words. A quote is another word each time, and ends a sentence if
        what is quoted does."""
        count = 0

        def masked(quote: re.Match[str]) -> str:
            nonlocal count
            count += 1
            said = next(group for group in quote.groups() if group is not None)
            return f'"q{count}q{said[-1:] if said[-1:] in END else ""}"'

        return _QUOTED.sub(masked, self.text)

    @cached_property
    def lower(self) -> str:
        return self.plain.lower()

    @cached_property
    def quotes(self) -> list[tuple[str, str]]:
        """Each quote, with the own words just before it in its sentence, lower case."""
        found = []
        for match in _QUOTED.finditer(self.text):
            before = re.split(r"[.!?]\s", self.text[max(0, match.start() - 80) : match.start()])[-1]
            found.append((next(g for g in match.groups() if g is not None), before.lower()))
        return found

    @cached_property
    def words(self) -> list[str]:
        """Own words, lower case."""
        return _WORD.findall(self.lower)

    @cached_property
    def sentences(self) -> list[str]:
        """Own sentences."""
        return [part for part in _END.split(self.plain) if part.strip()]


def normal(text: str) -> str:
    """Words in lower case with one space between: equal for captions that differ in case and punctuation only."""
    return " ".join(_WORD.findall(text[:MOST_LETTERS].lower()))


def letters(text: str) -> str:
    """Letters and digits only, case folded: equal for lines that are read alike."""
    return "".join(c for c in text.casefold() if c.isalnum())

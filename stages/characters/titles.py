"""Names in what is written: whether a line on screen is a name, by letters that a reader may have mistaken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

LETTERS_A_MISTAKE = 6
"""Letters of a name for each that may be missing, added or wrong: readers of print err in 1 to 5 letters of a hundred,
and two names of a cast that are nearer to each other than that are both nobody's."""
FEWEST_LETTERS = 4
"""Of a form of a name that is sought on screen: shorter ones are words, too."""
_TITLE = re.compile(r"^(?:[^\W\d_]{1,4}\.\s*)+", re.UNICODE)
"""Dr., Prof., Sen.: forms of address before a name."""
_ROLE = re.compile(r"\s*[,;|/(•·–—]|\s+-\s")
"""What parts a name from what somebody is. Not a colon: that is how subtitles say who speaks."""


def letters(text: str) -> str:
    """The letters and digits of a text, small, without accents: all that a name on screen is told by."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if c.isalnum())


def mistakes(one: str, other: str, most: int) -> int:
    """Letters to add, take away or change to make one of the other (Levenshtein), or most + 1 where it is more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for n, a in enumerate(one, 1):
        last, row[0] = row[0], n
        for m, b in enumerate(other, 1):
            last, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, last + (a != b))
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def titled(line: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """The one name that a line begins with, alone or before a role: `ANN LEE`, `Dr. Ann Lee, surgeon`.

    Args:
        names: further forms of each name.
    """
    head = letters(_TITLE.sub("", _ROLE.split(line.strip(), maxsplit=1)[0]))
    found: list[tuple[int, str]] = []
    for name, aliases in names.items():
        for form in map(letters, (name, *aliases)):
            most = len(form) // LETTERS_A_MISTAKE
            if len(form) >= FEWEST_LETTERS and (wrong := mistakes(head, form, most)) <= most:
                found.append((wrong, name))
    if len({name for _, name in found}) != 1:
        return None
    return found[0][1]


def same(one: str, other: str) -> bool:
    """Whether two readings are of one line."""
    one, other = letters(one), letters(other)
    most = max(len(one), len(other)) // LETTERS_A_MISTAKE
    return mistakes(one, other, most) <= most

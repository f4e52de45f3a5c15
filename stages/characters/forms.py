"""Names in what is said: whoever says "I'm Ann" is Ann, and whoever says "Thanks, Ann" is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

INTRODUCES, ADDRESSES, ANSWERS = 4.0, -2.0, 1.0
"""Log-likelihood ratios: for a self-introduction, against the speaker of a form of address, for whoever speaks next."""
_SELF = r"\b(?:i'?m|i am|my name is|my name's|this is|call me)\s+{name}\b"
_CALLED = (
    r"(?:^|[.!?…]\s*)(?:hey|hi|hello|thanks|thank you|please|ok|okay|yes|no|well|oh|come on|sorry|listen|look)?,?\s*"
    r"{name}\s*[,!?.…]|,\s*{name}\s*[.!?…,]?\s*$"
)


def spoken(name: str) -> list[str]:
    """The forms in which a name is said: whole, and its first and last word where these have three letters."""
    words = re.split(r"[\s_]+", name.strip())
    forms = [" ".join(words), *(word for word in (words[0], words[-1]) if len(word) > 2)]
    return [re.escape(form) for form in dict.fromkeys(forms) if form]


def introduced(text: str, name: str) -> bool:
    """Whether the speaker says that this is their name."""
    return any(re.search(_SELF.format(name=form), text, re.IGNORECASE) for form in spoken(name))


def addressed(text: str, name: str) -> bool:
    """Whether the speaker calls somebody by the name."""
    said = any(re.search(_CALLED.format(name=form), text, re.IGNORECASE) for form in spoken(name))
    return said and not introduced(text, name)


def evidence(lines: Sequence[tuple[int, str]], names: Mapping[str, int]) -> list[tuple[int, int, float, str]]:
    """(voice, number of the name's person, ratio, the words) of each name that is said.

    Args:
        lines: (voice, text) in order of time; only texts that can be trusted.
        names: number of the person by name. A form that two of them share is nobody's.
    """
    shared = [form.casefold() for name in names for form in spoken(name)]
    found = []
    for place, (voice, text) in enumerate(lines):
        for name, person in names.items():
            own = [form for form in spoken(name) if shared.count(form.casefold()) == 1]
            if not own or not re.search("|".join(rf"\b{form}\b" for form in own), text, re.IGNORECASE):
                continue
            if introduced(text, name):
                found.append((voice, person, INTRODUCES, text))
            elif addressed(text, name):
                found.append((voice, person, ADDRESSES, text))
                following = next((other for other, _ in lines[place + 1 : place + 2] if other != voice), None)
                if following is not None:
                    found.append((following, person, ANSWERS, f"after: {text}"))
    return found

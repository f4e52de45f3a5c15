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


def spoken(name: str, aliases: Sequence[str] = ()) -> list[str]:
    """The forms in which a name is said: whole, its first and last word where these have three letters, and aliases."""
    words = re.split(r"[\s_]+", name.strip())
    forms = [" ".join(words), *(word for word in (words[0], words[-1]) if len(word) > 2), *aliases]
    return [re.escape(form) for form in dict.fromkeys(forms) if form]


def introduced(text: str, forms: Sequence[str]) -> bool:
    """Whether the speaker says that one of the forms (of `spoken`) is their name."""
    return any(re.search(_SELF.format(name=form), text, re.IGNORECASE) for form in forms)


def addressed(text: str, forms: Sequence[str]) -> bool:
    """Whether the speaker calls somebody by one of the forms."""
    said = any(re.search(_CALLED.format(name=form), text, re.IGNORECASE) for form in forms)
    return said and not introduced(text, forms)


def evidence(lines: Sequence[tuple[int, str]], names: Mapping[str, Sequence[str]]) -> list[tuple[int, str, float, str]]:
    """(voice, name, ratio, the words) of each name that is said.

    Args:
        lines: (voice, text) in order of time; only texts that can be trusted.
        names: aliases by name. A form that two of them share is nobody's.
    """
    owners: dict[str, set[str]] = {}
    for name, aliases in names.items():
        for form in spoken(name, aliases):
            owners.setdefault(form.casefold(), set()).add(name)
    found = []
    for place, (voice, text) in enumerate(lines):
        for name, aliases in names.items():
            own = [form for form in spoken(name, aliases) if len(owners[form.casefold()]) == 1]
            if not own or not re.search("|".join(rf"\b{form}\b" for form in own), text, re.IGNORECASE):
                continue
            if introduced(text, own):
                found.append((voice, name, INTRODUCES, text))
            elif addressed(text, own):
                found.append((voice, name, ADDRESSES, text))
                following = next((other for other, _ in lines[place + 1 : place + 2] if other != voice), None)
                if following is not None:
                    found.append((following, name, ANSWERS, f"after: {text}"))
    return found

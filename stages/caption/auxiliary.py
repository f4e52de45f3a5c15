"""What is known of a span beside its pictures, as prompt text: delimited data, cut to a budget of tokens by priority.

After Video-RAG (Luo et al., arXiv:2411.13093): speech, text on screen and what was detected go into the prompt. What
it is part of stands first (LongVLM). No prompt grows with the length of the source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Facts = Mapping[str, Any]

PRIORITY = tuple("characters speech voices text camera movement light light_change colour hue begins".split())
"""First what no picture shows, then what a small one does not, then what it does."""


def tokens(text: str) -> int:
    """At most how many tokens a text is: a third of its UTF-8 bytes. English has 4 to 5 bytes a token, Chinese 3."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


def cut(text: str, most: int) -> str:
    """The start of a text within a budget of tokens; what is left out is marked."""
    if tokens(text) <= most:
        return text
    return text.encode("utf-8", "replace")[: max(0, 3 * most - 3)].decode("utf-8", "ignore") + "…" if most > 0 else ""


def data(name: str, value: Any) -> str:
    """A line of data: JSON that cannot close the tag it stands in, so that nothing in it reads as the prompt's own."""
    told = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<data {name}>{told}</data>"


def block(facts: Facts, start_s: float, most: int) -> str:
    """Lines of data of what was measured, within `most` tokens; the first in PRIORITY stay longest. Times count from
    `start_s`, where the span starts."""
    lines = []
    for name, value in _lines(facts, start_s):
        line = data(name, value)
        if (most := most - tokens(line + "\n")) < 0:
            break
        lines.append(line)
    return "\n".join(lines)


def _lines(facts: Facts, start_s: float) -> Iterator[tuple[str, Any]]:
    for name in PRIORITY:
        value = facts.get(name)
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            yield name, _from(start_s, item)


def _from(start_s: float, item: Any) -> Any:
    """A fact whose times count from a span's start."""
    if not isinstance(item, dict):
        return item
    return {name: round(value - start_s, 1) if name.endswith("_s") else value for name, value in item.items()}


def told(text: str, name: str, most: int) -> str:
    """A text as a line of data within `most` tokens; nothing for no text."""
    room = most if text else 0
    while tokens(line := data(name, cut(text, room))) > most and room > 0:
        room -= tokens(line) - most
    return line if room > 0 else ""

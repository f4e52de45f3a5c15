"""The checks of one caption against its span, fast and without a model: the stage `caption` asks again for what fails
here, and the stage `verify` holds the whole set against them.

Each flag is `check: why`. What was not measured contradicts nothing, and names are judged only where a cast is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.stage import Row
from stages.caption import grounded
from stages.caption.checks import dictated, family, form, measured, names, times
from stages.caption.checks.passage import Passage


@dataclass(frozen=True)
class Context:
    """What else is known beside a node's own row."""

    parent_text: str | None = None
    """Its parent's caption, if there is one already."""
    siblings: tuple[str, ...] = ()
    """Captions of other spans of the same parent."""
    cast: tuple[str, ...] = ()
    """Names of all who are known to be in the source, beside those in the node's facts."""
    language: str = "en"
    """What captions are written in, as ISO 639-1 has it; other languages than those known are not checked."""


def check(node: Row, row: Row, context: Context) -> list[str]:
    """What is wrong with a caption, each as `check: why`; empty: nothing was found.

    Args:
        node: of `tree`, with `facts` as an object.
        row: of `captions`; only `text` and `model` are looked at.
    """
    text, level, facts = row.get("text"), node["level"], node["facts"]
    if not text or not text.strip():
        return ["empty: no caption"]
    passage = Passage.of(text)
    told = row.get("model") == grounded.MODEL
    flags = [*form.length(passage, level), *form.truncated(passage), *form.refused(passage)]
    flags += form.by_frames(passage)
    if level in ("clip", "shot") or facts.get("shots") == 1:
        flags += form.cut_wording(passage)
    flags += form.language(passage, context.language)
    flags += times.times(passage, node["end_s"] - node["start_s"])
    flags += measured.measured(passage, facts, level)
    if not told:  # sentences from equal facts are equal, and their speakers are who was measured
        flags += form.loops(passage)
        flags += dictated.dictated(passage, [*_lines(facts), *_cast(facts, context), *_quoted(context)])
        flags += names.names(passage, _cast(facts, context), _lines(facts))
        flags += family.repeats(text, context.siblings)
        if context.parent_text:
            flags += family.contradicts(passage, context.parent_text, level)
    return flags


def _cast(facts: Mapping[str, Any], context: Context) -> list[str]:
    seen = [character["name"] for character in facts.get("characters", [])]
    return [*context.cast, *seen, *(line["speaker"] for line in facts.get("speech", []) if line["speaker"] and seen)]


def _quoted(context: Context) -> list[str]:
    """What is read or said in the whole that the caption is a part of, where that caption quotes it."""
    return [quote for quote, _ in Passage.of(context.parent_text or "").quotes]


def _lines(facts: Mapping[str, Any]) -> list[str]:
    return [line["text"] for name in ("speech", "text") for line in facts.get(name, [])]

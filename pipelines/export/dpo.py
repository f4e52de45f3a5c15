"""Preference pairs against mixing events: a caption, and the same with something out of another span of its video.

After ELV-Halluc, whose pairs make a captioner less prone to what it calls semantic aggregation hallucination.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from curate.stage import Row
from pipelines.export.folder import Out
from pipelines.export.taken import ExportError, Taken, line

ASPECTS = {
    "object": ("subjects",),
    "action": ("actions",),
    "visual detail": ("setting", "camera", "light", "style"),
    "declarative content": ("text_on_screen", "sound"),
}
"""ELV-Halluc's four aspects, each with the columns of `captions` that hold it."""

ASK = "Describe what happens in this video from {start} s to {end} s."


def dpo(taken: Taken, out: Out, prompts: int) -> int:
    """`pairs.jsonl`: prompt, chosen, rejected, and of what the pair is made. Times are the source's."""
    rows = []
    for _, group in groupby(
        sorted(taken.spans, key=lambda s: (s["source_id"], s["level"], s["start_s"])),
        lambda s: (s["source_id"], s["level"]),
    ):
        spans = list(group)
        for place, span in enumerate(spans):
            # The next span first, and round again: the likelier a mistake, the more it teaches.
            others = spans[place + 1 :] + spans[:place]
            for aspect, rejected, other in swapped(span, others):
                rows.append(
                    {
                        "video": span["path"],
                        "prompt": ASK.format(start=f"{span['start_s']:.1f}", end=f"{span['end_s']:.1f}"),
                        "chosen": line(span["text"]),
                        "rejected": rejected,
                        "aspect": aspect,
                        "level": span["level"],
                        "node_id": span["node_id"],
                        "swapped_with": other["node_id"],
                    }
                )
    if not rows:
        raise ExportError("no two captions of a source differ in anything that could be swapped")
    out.lines("pairs.jsonl", rows)
    return len(rows)


def swapped(span: Row, others: list[Row]) -> Iterator[tuple[str, str, Row]]:
    """For each aspect where it can be: the caption with something of another span in place of its own, and which span.

    What is swapped in stands nowhere in the span's own caption, so that the rejected text is false and not just odd.
    """
    text = line(span["text"])
    for aspect, columns in ASPECTS.items():
        found = next((made for other in others if (made := _exchange(text, span, other, columns))), None)
        if found is None and aspect == "declarative content":
            found = next((made for other in others if (made := _sentence(text, other))), None)
        if found:
            yield aspect, *found


def _exchange(text: str, span: Row, other: Row, columns: tuple[str, ...]) -> tuple[str, Row] | None:
    """The first phrase of one of the columns that the text holds, exchanged for the other span's."""
    for column in columns:
        for own in _phrases(span[column]):
            held = re.search(rf"\b{re.escape(own)}\b", text, re.IGNORECASE)
            for theirs in _phrases(other[column]) if held else ():
                if held and theirs.lower() not in text.lower():
                    first = theirs[0].upper() if held[0][0].isupper() else theirs[0]
                    return f"{text[: held.start()]}{first}{theirs[1:]}{text[held.end() :]}", other
    return None


def _sentence(text: str, other: Row) -> tuple[str, Row] | None:
    """The last sentence exchanged for one that only the other span's caption has."""
    own = _sentences(text)
    theirs = [s for s in _sentences(line(other["text"])) if s not in text]
    return (" ".join([*own[:-1], theirs[-1]]), other) if theirs else None


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?]) +", text)


def _phrases(value: str | list[str] | None) -> list[str]:
    listed = [value] if isinstance(value, str) else value or []
    return [phrase for v in listed if (phrase := line(v or "").rstrip("."))]

"""What the text in a clip's stills means: how much there is, whether subtitles are burnt in, what is written.

No language is known here: a line is a box with letters. Subtitles are told by their place, and by coming and going.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, text

LOW, HIGH = 0.6, 0.22
"""Subtitles stand below 60 % of the height or, where something else is there, in the top 22 %."""
OFF_CENTRE = 0.12
"""Share of the width by which a subtitle's middle may be off the picture's."""
REACH = 1.3
"""Heights of a line by which lines of one band may be apart: subtitles have one line or two."""
SAME = 0.6
"""How alike (difflib's ratio) two readings of one line are at least: a reader that errs in a third of it."""
MOST_LINES = 100
"""Lines stored for a clip."""


@dataclass(frozen=True)
class Line:
    """A line of text in one still; its box in shares of the picture."""

    look: int
    t_s: float
    x0: float
    y0: float
    x1: float
    y1: float
    letters: str

    @property
    def middle(self) -> float:
        """Of its height."""
        return (self.y0 + self.y1) / 2


class Text(RowStage):
    """Sums up what `ocr` read."""

    name: ClassVar[str] = "text"
    writes: ClassVar[Table] = text.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {"clips": ("clip_id", "source_id"), "ocr": ()}

    least_confidence: float = Field(0.7, ge=0, le=1)
    """Sureness from which a line counts: Open-Sora 2.0's (its report, section on filters). On the real takes scenery
    read as two letters or more stays below it."""
    least_letters: int = Field(2, ge=1)
    """Letters and digits that a line has at least: single ones are read into drawings and wheels at 0.9."""
    least_looks: int = Field(3, ge=2)
    """Stills that must have been searched to say that text comes and goes."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        by_clip: dict[str, list[Row]] = {}
        for still in inputs["ocr"].to_pylist():
            by_clip.setdefault(still["clip_id"], []).append(still)
        for clip in inputs["clips"].to_pylist():
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "looks": 0}
            seen = by_clip.get(clip["clip_id"], [])
            stills = sorted((still for still in seen if still["t_s"] is not None), key=lambda still: still["t_s"])
            if stills:
                yield row | self._score(stills)
            else:
                yield row | {"unmeasured": seen[0]["unmeasured"] if seen else "not looked at: reading failed"}

    def _score(self, stills: Sequence[Row]) -> Row:
        lines = list(self._counted(stills))
        areas = np.zeros(len(stills))
        for line in lines:
            areas[line.look] += (line.x1 - line.x0) * (line.y1 - line.y0)
        areas = np.minimum(areas, 1)
        row: Row = {
            "looks": len(stills),
            "area_share": float(areas.mean()),
            "area_share_max": float(areas.max()),
            "text_share": float((areas > 0).mean()),
            "lines": list(_once(lines))[:MOST_LINES],
        }
        if len(stills) < self.least_looks:
            return row | {"unmeasured": f"{len(stills)} stills do not tell subtitles, which come and go"}
        band = subtitle_band(lines, len(stills))
        if not band:
            return row | {"subtitle_share": 0.0}
        box = [min(b.x0 for b in band), min(b.y0 for b in band), max(b.x1 for b in band), max(b.y1 for b in band)]
        return row | {"subtitle_share": len({line.look for line in band}) / len(stills), "subtitle_box": box}

    def _counted(self, stills: Sequence[Row]) -> Iterator[Line]:
        for look, still in enumerate(stills):
            for box, letters, sure in zip(still["boxes"], still["texts"], still["confidences"], strict=True):
                if sure >= self.least_confidence and sum(c.isalnum() for c in letters) >= self.least_letters:
                    yield Line(look, still["t_s"], box[0], box[1], box[2], box[3], letters)


def subtitle_band(lines: Iterable[Line], looks: int) -> list[Line]:
    """The lines of the band in which text comes and goes, low or high in the middle; none where there is none.

    Text that stands there for the whole clip is a title or a watermark; text that wanders is of the scene.
    """
    apt = [line for line in lines if _in_place(line)]
    levels = {round(line.middle, 2) for line in apt}  # at most a hundred, however long the clip
    bands = [[line for line in apt if abs(line.middle - level) < REACH * (line.y1 - line.y0)] for level in levels]
    return max((band for band in bands if _comes_and_goes(band, looks)), key=len, default=[])


def _comes_and_goes(band: Sequence[Line], looks: int) -> bool:
    """Whether lines follow each other, or one is there for a part of the stills, but for more than one."""
    shown, different = len({line.look for line in band}), len(list(_once(band)))
    return different > 1 or 1 < shown < looks


def _in_place(line: Line) -> bool:
    low_or_high = line.middle > LOW or line.middle < HIGH
    return low_or_high and abs((line.x0 + line.x1) / 2 - 0.5) < OFF_CENTRE and line.x1 - line.x0 > line.y1 - line.y0


def alike(one: str, other: str) -> bool:
    """Whether two readings may be of the same line."""
    one, other = ("".join(s.split()).casefold() for s in (one, other))
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= SAME


def _once(lines: Iterable[Line]) -> Iterator[Row]:
    """Each line once, with the times it was first and last seen; the longest reading stands for it."""
    found: list[Row] = []
    for line in lines:
        known = next((row for row in found if alike(row["text"], line.letters)), None)
        if known is None:
            if len(found) < MOST_LINES:
                found.append({"text": line.letters, "first_s": line.t_s, "last_s": line.t_s})
            continue
        known["last_s"] = line.t_s
        known["text"] = max(known["text"], line.letters, key=len)
    yield from found

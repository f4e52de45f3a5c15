"""Repair instead of loss: the part of a clip's picture that is free of borders, subtitles and an edge's watermark.

Nothing is painted over or made up: what lies at the edge is cut off, where enough is left. `clips` does the cutting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, crop

Box = tuple[float, float, float, float]


class Crop(RowStage):
    """Finds what to keep of each clip's picture."""

    name: ClassVar[str] = "crop"
    writes: ClassVar[Table] = crop.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id"),
        "sources": ("width", "height"),
        "quality": ("clip_id", "crop"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("clip_id", "subtitle_box"),
        "overlay": ("clip_id", "boxes"),
    }

    min_area: float = Field(0.6, gt=0, le=1)
    """Share of the picture's area inside its borders that must be left: Seedance 1.5 drops a clip below 60 %."""
    aspect: tuple[float, float] = (1 / 3, 3.0)
    """Least and greatest width over height of what is left: Open-Sora 2.0 drops clips beyond."""
    margin: float = Field(0.01, ge=0, le=0.1)
    """Cut off beyond a box of text or a logo, share of the side: its outline and the codec's ringing."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        (source,) = inputs["sources"].to_pylist()
        borders = {row["clip_id"]: row["crop"] for row in inputs["quality"].to_pylist()}
        bands = {row["clip_id"]: row["subtitle_box"] for row in _rows(inputs, "text")}
        marks = {row["clip_id"]: row["boxes"] for row in _rows(inputs, "overlay")}
        for clip in inputs["clips"].to_pylist():
            name = clip["clip_id"]
            row: Row = {"clip_id": name, "source_id": clip["source_id"]}
            inner = borders.get(name)
            if inner is None:
                yield row | {"unmeasured": "the borders of the clip were not measured"}
            else:
                (x0, y0, x1, y1), subtitles = inner, bands.get(name)
                flaws = [("subtitles", (0.0, subtitles[1], 1.0, subtitles[3]))] if subtitles else []
                flaws += [("watermark", (m[0], m[1], m[2], m[3])) for m in marks.get(name) or []]
                yield row | self._kept((x0, y0, x1, y1), flaws, source["width"], source["height"])

    def _kept(self, inner: Box, flaws: list[tuple[str, Box]], width: int, height: int) -> Row:
        reasons = [] if inner == (0, 0, 1, 1) else ["borders"]
        box, left_in = inner, []
        for why, flaw in flaws:
            apart = flaw[0] >= box[2] or flaw[2] <= box[0] or flaw[1] >= box[3] or flaw[3] <= box[1]
            if apart:
                reasons.append(why)
                continue
            smaller = max(self._without(box, flaw), key=_area)
            if _area(smaller) >= self.min_area * _area(inner) and self._usable(smaller, width / height):
                box = smaller
                reasons.append(why)
            else:
                left_in.append(why)
        pixels = _even(box, width, height)
        reasons, left_in = list(dict.fromkeys(reasons)), list(dict.fromkeys(left_in))
        if pixels is None or not self._usable(box, width / height):
            return {"left_in": left_in, "unmeasured": "too little or too odd a shape would be left"}
        x0, y0, x1, y1 = pixels
        row: Row = {"width": x1 - x0, "height": y1 - y0, "reasons": reasons, "left_in": left_in}
        row |= {"area_share": (x1 - x0) * (y1 - y0) / (width * height)}
        return row | {"box": [x0 / width, y0 / height, x1 / width, y1 / height]}

    def _without(self, box: Box, flaw: Box) -> list[Box]:
        """The four boxes left of, above, right of and below a flaw."""
        (x0, y0, x1, y1), m = box, self.margin
        return [
            (x0, y0, max(x0, flaw[0] - m), y1),
            (x0, y0, x1, max(y0, flaw[1] - m)),
            (min(x1, flaw[2] + m), y0, x1, y1),
            (x0, min(y1, flaw[3] + m), x1, y1),
        ]

    def _usable(self, box: Box, aspect: float) -> bool:
        wide, high = box[2] - box[0], box[3] - box[1]
        return high > 0 and self.aspect[0] <= wide / high * aspect <= self.aspect[1]


def _rows(inputs: Mapping[str, pa.Table], table: str) -> list[Row]:
    return inputs[table].to_pylist() if table in inputs else []


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _even(box: Box, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The box in whole px inside it, all four even, as 4:2:0 needs; None where less than 16 px are left."""
    x0, y0 = (-int(-round(v * side, 3) // 2) * 2 for v, side in ((box[0], width), (box[1], height)))
    x1, y1 = (int(round(v * side, 3) // 2) * 2 for v, side in ((box[2], width), (box[3], height)))
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 16 else None

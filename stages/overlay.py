"""Logos and watermarks over a clip: what stands still while the picture moves, and text that never moves.

Told from stills: views are chosen that differ from each other; in them the edges of scenery point anywhere, those of a
logo always the same way. So a half-transparent logo is found as well. Words that lie faintly over the picture are read
in what the stills have in common (`faint`), its thin strokes alone only where nothing else is found. Where all stills
show one view, only text in the outer zone can be told from scenery; else the answer is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, overlay
from stages import faint, looks
from stages.text import alike
from stages.views import MOST_STILLS, MOST_VIEWS, Stills

LEVELS = (1000.0, 300.0, 100.0, 40.0)
"""Evidence at which a region is cut out: a strong logo is cut out before weak edges around it are joined to it."""
FAINTEST = 1.5
"""Edge strength of the faintest logo, grey levels per px: white at 30 % over grey has 3 to 6."""
EDGE = 0.006
"""Share of the sides within which nothing begins or ends that is a logo: borders and a codec's edge do."""
SHORTEST, LARGEST = 0.035, 0.3
"""Long side of the smallest logo, share of the picture's width; area of the box of the largest. A larger still area is
a frame around a picture, not a mark on it."""

BLUNT = 0.15
"""Least ratio of a region's edge energy across its main direction to that along it: letters and shapes have edges all
ways (0.3 and more), a curtain's fold or a door frame has one."""

LETTERS = 3
"""Letters and digits that a word has at least to be a mark: fewer are read into scenery."""

SAME_LINE = 0.7
"""Share of the sure readings at a place that are of one line where the text does not change. One subtitle of a long
clip has half of them at most."""
LONGER = 2.0
"""Times as long a line as what was read in the mean of the stills, from which on that is a part of it."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """A logo: its box in shares of the picture, how it was told, and the evidence (mean square edge of all views over
    what chance gives)."""

    box: Box
    kind: str
    evidence: float
    direction: np.ndarray
    """The mean edges in the box, (rows, columns, channels); none of text."""


class Overlay(RowStage):
    """Finds logos and watermarks. One or two seconds a clip, and 1.7 s more of reading where nothing is found."""

    name: ClassVar[str] = "overlay"
    version: ClassVar[int] = 3
    writes: ClassVar[Table] = overlay.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": looks.CLIP,
        "stills": ("t_s", "jpeg"),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "screening": looks.SCREENING,
        "ocr": ("clip_id", "t_s", "boxes", "texts", "confidences"),
    }

    least_views: int = Field(6, ge=3, le=MOST_VIEWS)
    """Views that are needed: with fewer, edges of scenery agree by chance."""
    least_evidence: float = Field(15.0, gt=1)
    """How far the edges of a region exceed what views that have nothing in common would give (1)."""
    consistent: float = Field(0.3, ge=0, le=1)
    """Share of a region's edge energy that at least four views of five show. An object that stands still for half of
    the clip has none."""
    text_stands: float = Field(0.8, gt=0, le=1)
    """Share of the searched stills in which text stands at the same place to be a mark."""
    text_confidence: float = Field(0.8, ge=0, le=1)
    """Sureness of the reader from which such text counts."""
    outer: float = Field(0.2, gt=0, le=0.5)
    """Where the camera stands still, text is a mark only if it lies wholly within this share of the picture's upper or
    lower edge: cosmos-curate's filter for artificial text takes corners of 10 %, in which few logos fit wholly."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        times = inputs["stills"].column("t_s").to_numpy()
        stills = Stills(inputs["stills"].column("jpeg"))
        read: dict[str, list[Row]] = {}
        for still in inputs["ocr"].to_pylist() if "ocr" in inputs else []:
            if still["t_s"] is not None:
                read.setdefault(still["clip_id"], []).append(still)
        clips = list(looks.looked_at(inputs))
        everywhere = stills.views(range(len(times))) if any(why is None for _, why in clips) else []
        whole = self._marks(stills, everywhere)
        for clip, why_not in clips:
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"], "views": 0}
            numbers = looks.inside(times, clip)
            if why_not or not numbers:
                yield row | {"unmeasured": why_not or "no still lies inside the clip"}
                continue
            views = everywhere if len(numbers) == len(times) else stills.views(numbers)
            marks = [mark for mark in whole if _shown(mark, stills, views)]
            marks += [] if views is everywhere else self._marks(stills, views)
            told_from = max(len(views), len(everywhere))
            moving = told_from >= self.least_views
            searched = read.get(clip["clip_id"], [])
            marks += self._faint(stills, numbers, views)
            marks = [mark for mark in marks if not _changes(mark, searched)]
            if not marks:
                strokes = self._faint(stills, numbers, views, strokes=True)
                marks = [mark for mark in strokes if not _changes(mark, searched)]
            marks += self._texts(searched, len(views) >= self.least_views)
            row["views"] = told_from
            yield row | _answer(marks, moving, self.least_views)
            work.progress(clip["end_s"])

    def _marks(self, stills: Stills, views: Sequence[int]) -> list[Mark]:
        """What stands still in all of the views."""
        if len(views) < self.least_views:
            return []
        edges = np.stack([stills.edges(n) for n in views])
        mean = edges.mean(0)
        strength = np.sqrt((mean**2).sum(-1))
        along = np.einsum("nyxc,yxc->nyx", edges, mean) / np.maximum(strength, 1e-3)
        often = np.maximum(np.percentile(along, 20, axis=0), 0).astype(np.float32)
        chance = edges.var(0, ddof=1).sum(-1) / len(views)
        return list(self._regions(mean, strength, often, chance))

    def _regions(self, mean: np.ndarray, strength: np.ndarray, often: np.ndarray, chance: np.ndarray) -> Iterator[Mark]:
        height, width = shape = strength.shape
        side = max(5, round(0.02 * max(height, width)) | 1)
        energy = _smooth(strength**2, side)
        evidence = energy / (_smooth(chance, side) + 0.02)
        steady = _smooth(often**2, side) > self.consistent * energy
        fit = steady & (energy > FAINTEST**2)
        pixels = (strength > FAINTEST) & (strength**2 > 9 * chance) & (often > 0)
        taken = np.zeros((height, width), bool)
        for level in (*(level for level in LEVELS if level > self.least_evidence), self.least_evidence):
            for region in _closed(fit & (evidence > level), side):
                if taken[region].any() or not _shaped(mean, region & pixels):
                    continue
                # Its fainter parts belong to it, but not whatever stands still a little.
                certainty = float(evidence[region & pixels].mean())
                fainter = fit & (evidence > max(self.least_evidence, 0.1 * certainty))
                grown = next((g for g in _closed(fainter, side) if g[region].any()), region)
                box = next((b for b in map(_box, (grown & pixels, region & pixels)) if _like_a_logo(b, shape)), None)
                taken |= region
                if box:
                    y0, y1, x0, x1 = (
                        round(v) for v in (box[1] * height, box[3] * height, box[0] * width, box[2] * width)
                    )
                    yield Mark(box, "still", certainty, mean[y0:y1, x0:x1])

    def _faint(
        self, stills: Stills, numbers: Sequence[int], views: Sequence[int], strokes: bool = False
    ) -> Iterator[Mark]:
        """Words read in what the views have in common or, where there are too few, all stills of the one view."""
        moving = len(views) >= self.least_views
        chosen = views if moving else looks.spread(numbers, MOST_STILLS)
        if len(chosen) < 3:
            return
        least = self.text_confidence
        lines = faint.read_strokes(stills, chosen, least) if strokes else faint.read(stills, chosen, moving, least)
        for box, letters, sure in lines:
            if sum(c.isalnum() for c in letters) >= LETTERS and (moving or self._outside(box)):
                yield Mark(box, "text", sure, np.empty((0, 0, 0), np.float32))

    def _outside(self, box: Box) -> bool:
        return box[3] < self.outer or box[1] > 1 - self.outer

    def _texts(self, read: Sequence[Row], moving: bool) -> list[Mark]:
        """Lines that stand at one place, and read alike, in nearly all stills that were searched."""
        found: list[Mark] = []
        if len(read) < 3:
            return found
        for still in (read[len(read) // 3], read[2 * len(read) // 3]):
            for box, letters, sure in _sure_lines(still, self.text_confidence):
                stands = [
                    any(alike(letters, other) and _overlap(box, place) > 0.6 for place, other, _ in _sure_lines(row, 0))
                    for row in read
                ]
                new = all(_overlap(box, mark.box) < 0.5 for mark in found)
                if np.mean(stands) >= self.text_stands and (moving or self._outside(box)) and new:
                    found.append(Mark(box, "text", sure, np.empty((0, 0, 0), np.float32)))
        return found


def _sure_lines(still: Row, sure: float) -> Iterator[tuple[Box, str, float]]:
    """Lines of at least three letters and digits, of which the reader is sure."""
    for box, letters, confidence in zip(still["boxes"], still["texts"], still["confidences"], strict=True):
        if confidence >= sure and sum(c.isalnum() for c in letters) >= LETTERS:
            yield (box[0], box[1], box[2], box[3]), letters, confidence


def _changes(mark: Mark, read: Sequence[Row]) -> bool:
    """Whether it lies in text that changes: subtitles have outlines at much the same place whatever they say.

    A mark over a picture that moves is misread now and then, so a few readings of another line are no change. What is
    read of a subtitle in the mean of the stills is a part of a longer line; if that line stands, `_texts` finds it.
    """
    lines = [line for still in read for line in _sure_lines(still, 0.7) if _within(mark.box, line[0]) > 0.5]
    if mark.kind == "text" and any(box[2] - box[0] > LONGER * (mark.box[2] - mark.box[0]) for box, _, _ in lines):
        return True
    letters = [letters for _, letters, _ in lines]
    most_alike = max((sum(alike(one, other) for other in letters) for one in letters), default=0)
    return most_alike < SAME_LINE * len(letters)


def _smooth(values: np.ndarray, side: int) -> np.ndarray:
    return cv2.boxFilter(values.astype(np.float32), -1, (side, side), borderType=cv2.BORDER_REFLECT)


def _closed(apt: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """The connected regions of a mask, gaps of up to `side` px between letters closed."""
    kernel = np.ones((2 * side + 1, 2 * side + 1), np.uint8)
    count, labels = cv2.connectedComponents(cv2.morphologyEx(apt.astype(np.uint8), cv2.MORPH_CLOSE, kernel))
    for number in range(1, count):
        yield labels == number


def _box(region: np.ndarray) -> Box:
    rows, columns = np.nonzero(region)
    height, width = region.shape
    return columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height


def _shaped(mean: np.ndarray, region: np.ndarray) -> bool:
    """Whether there are enough edges in a region, and more than one straight one."""
    if np.count_nonzero(region) < 1e-4 * region.size:
        return False
    half = mean.shape[-1] // 2
    x, y = mean[region][:, :half], mean[region][:, half:]
    tensor = np.array([[(x * x).sum(), (x * y).sum()], [(x * y).sum(), (y * y).sum()]])
    least, most = np.linalg.eigvalsh(tensor)
    return bool(least > BLUNT * most)


def _like_a_logo(box: Box, shape: tuple[int, int]) -> bool:
    """Of a logo's size, and clear of the edges of a picture of (rows, columns)."""
    x0, y0, x1, y1 = box
    aspect = shape[0] / shape[1]
    if min(x0, y0) < EDGE or max(x1, y1) > 1 - EDGE:
        return False
    long, short = max(x1 - x0, (y1 - y0) * aspect), min(x1 - x0, (y1 - y0) * aspect)
    return long >= SHORTEST and short >= SHORTEST / 4 and (x1 - x0) * (y1 - y0) <= LARGEST


def _shown(mark: Mark, stills: Stills, views: Sequence[int]) -> bool:
    """Whether a logo of the whole source is seen in most of these views."""
    wanted = mark.direction
    energy = float((wanted**2).sum())
    seen = 0
    for number in views:
        edges = stills.edges(number)
        top, left = round(mark.box[1] * edges.shape[0]), round(mark.box[0] * edges.shape[1])
        here = edges[top : top + wanted.shape[0], left : left + wanted.shape[1]]
        seen += float((here * wanted).sum()) > 0.4 * energy
    return seen > len(views) / 2


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union."""
    wide, high = (min(one[n + 2], other[n + 2]) - max(one[n], other[n]) for n in (0, 1))
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def _answer(marks: Sequence[Mark], moving: bool, least_views: int) -> Row:
    """The row's columns: each mark once, and the area that they cover together."""
    once: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.kind, -mark.evidence)):
        if not any(_within(mark.box, known.box) > 0.5 for known in once):
            once.append(mark)
    if not once and not moving:
        return {"unmeasured": f"fewer than {least_views} views: what stands still cannot be told from the scenery"}
    covered = np.zeros((200, 200), bool)
    for mark in once:
        x0, y0, x1, y1 = mark.box
        covered[int(y0 * 200) : int(np.ceil(y1 * 200)), int(x0 * 200) : int(np.ceil(x1 * 200))] = True
    return {
        "watermark_share": float(covered.mean()),
        "boxes": [list(mark.box) for mark in once],
        "kinds": [mark.kind for mark in once],
    }


def _within(box: Box, other: Box) -> float:
    """Share of a box that lies in another."""
    wide, high = (min(box[n + 2], other[n + 2]) - max(box[n], other[n]) for n in (0, 1))
    return max(0.0, wide) * max(0.0, high) / ((box[2] - box[0]) * (box[3] - box[1]))

"""What was measured in a span of a source, as the facts that captions are built from and held against.

A fact that was not measured, or lies between two words, is not there. Times are seconds of the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.stage import Row
from stages.caption.tree import Node
from stages.caption.who import Who
from stages.motion.pairs import Pairs

Facts = dict[str, Any]

MOST_LINES = 40
"""Lines of text or speech that a span's facts hold: a story's are in its children's."""
SURE_LINE = 0.9
"""Sureness of the reader from which a line is quoted: between that of `text`, 0.5, and this it misreads letters."""
STANDS_W_S, STANDS_S = 0.005, 0.01
"""Camera shift (frame widths per second) and zoom (scale's logarithm per second) up to which it plainly stands still:
half of what `motion` takes for a pan or a zoom."""
FOLLOWED = 0.35
"""Share of followed corners that must do as the camera is said to: where an arm fills the picture it is 0.3, on real
pans and tilts 0.4 and more."""
HEARD_S = 0.5
"""How long somebody must speak within a span to be counted among its voices, seconds: two words."""
FEW_SAMPLES = 3
"""Samples below which light and colour are not told."""


@dataclass(frozen=True)
class Words:
    """From which measurements on a word is said; see the parameters of the stage `tree`."""

    dark_below: float
    bright_above: float
    grey_below: float
    muted_below: float
    colourful_above: float
    calm_below_w_s: float
    lively_above_w_s: float
    light_change: float


class Measured:
    """All that was measured of a source, ready to be asked for a span."""

    def __init__(self, inputs: Mapping[str, pa.Table], words: Words) -> None:
        self._words = words
        self._sound = inputs["sources"].column("audio_codec")[0].as_py() is not None
        self._pairs = Pairs.of(inputs["motion_series"]).columns
        self._pictures = {
            name: inputs["picture_series"].column(name).to_numpy(zero_copy_only=False)
            for name in ("t_s", "luma", "colourfulness", "hue")
        }
        self._segments = {row["clip_id"]: row["segments"] or [] for row in inputs["motion"].to_pylist()}
        self._still = {row["clip_id"]: row["still"] for row in inputs["clips"].to_pylist()}
        self._begins = {row["end_s"]: row["kind"] for row in inputs["boundaries"].to_pylist() if row["accepted"]}
        heard = inputs["speech"].to_pylist() if "speech" in inputs else []
        self._speech = [line for line in heard if line["kind"] == "speech"]
        self._who = Who(inputs)
        self._read = _sure_lines(inputs["ocr"]) if "ocr" in inputs else []

    @property
    def spoken(self) -> list[tuple[float, float]]:
        """(start, end) of each spoken line, whether or not it is known what is said."""
        return [(line["start_s"], line["end_s"]) for line in self._speech]

    def of(self, node: Node) -> Facts:
        """The facts of a node."""
        seconds = node.end_s - node.start_s
        facts: Facts = {
            "start_s": node.start_s,
            "seconds": round(seconds, 1 if seconds >= 1 else 2),
            "sound": self._sound,
        }
        if node.level in ("event", "story"):
            facts["shots"] = sum(bool(take.clip_id) for take in node.takes)
        if len(node.takes) == 1:
            (take,) = node.takes
            facts["camera"] = [s for s in _inside(self._segments.get(take.clip_id, []), node) if self._plain(s)]
            facts["still"] = [
                [s["start_s"], s["end_s"]]
                for s in _inside(self._still.get(take.clip_id, []), node)
                if s["kind"] == "frozen"
            ]
            facts["begins"] = self._begins.get(node.start_s)
        facts["movement"] = self._movement(node)
        facts |= self._look(node)
        facts["text"] = _shown(self._read, node)
        heard = [x for x in self._speech if min(x["end_s"], node.end_s) - max(x["start_s"], node.start_s) > 0]
        facts["voices"] = len({x["voice"] for x in heard if x["voice"] is not None and _long(x, node)}) or None
        lines = [line for line in heard if line["text"] and not line["weak"]]
        facts["speech"] = [
            {k: line[k] for k in ("start_s", "end_s", "text")} | {"speaker": self._who.says(line)}
            for line in lines[:MOST_LINES]
        ]
        facts["characters"] = self._who.there(node)
        return {name: value for name, value in facts.items() if value not in (None, [])}

    def _plain(self, segment: Row) -> bool:
        """Whether nobody would say that the camera does something else: not so where it all but moves, nor where few
        of the corners followed what is said of it, for then what is before it may have moved."""
        inside = self._within(segment["start_s"], segment["end_s"])
        if not inside.any():
            return False
        x, y, zoom, fit = (self._pairs[f"camera_{name}"][inside] for name in ("x_w_s", "y_w_s", "zoom_s", "fit"))
        if segment["kind"] == "static":
            return bool(np.nanmedian(np.hypot(x, y)) <= STANDS_W_S and np.nanmedian(np.abs(zoom)) <= STANDS_S)
        return segment["kind"] == "handheld shake" or bool(np.nanmedian(fit) >= FOLLOWED)

    def _within(self, start_s: float, end_s: float) -> np.ndarray:
        """Which sample pairs lie between two times."""
        return (self._pairs["previous_s"] >= start_s - 1e-6) & (self._pairs["t_s"] <= end_s + 1e-6)

    def _movement(self, node: Node) -> str | None:
        moved = self._pairs["subject_w_s"][self._within(node.start_s, node.end_s)]
        known = ~np.isnan(moved)
        words = ("little", "some", "much")
        if known.sum() < 2 or known.mean() < 0.5:
            return None
        moved = moved[known]
        return _grade(float(moved.mean()), self._words.calm_below_w_s, self._words.lively_above_w_s, words)

    def _look(self, node: Node) -> Facts:
        first, end = np.searchsorted(self._pictures["t_s"], [node.start_s - 1e-6, node.end_s - 1e-6])
        luma = self._pictures["luma"][first:end].astype(float)
        if len(luma) < FEW_SAMPLES:
            return {}
        words = self._words
        facts: Facts = {
            "light": _grade(float(luma.mean()), words.dark_below, words.bright_above, ("dark", None, "bright"))
        }
        third = max(1, len(luma) // 3)
        change = float(np.median(luma[-third:]) - np.median(luma[:third]))
        if len(node.takes) == 1 and abs(change) >= words.light_change:
            facts["light_change"] = "brightens" if change > 0 else "darkens"
        colour = float(self._pictures["colourfulness"][first:end].mean())
        if colour < words.grey_below:
            return facts | {"colour": "black-and-white"}
        facts["colour"] = _grade(colour, words.muted_below, words.colourful_above, ("muted", None, "colourful"))
        hue, votes = Counter(self._pictures["hue"][first:end].tolist()).most_common(1)[0]
        return facts | {"hue": hue if votes > len(luma) / 2 else None}


def _long(line: Row, node: Node) -> bool:
    """Whether enough of a line lies in the span for its voice to be said to be heard there."""
    return min(line["end_s"], node.end_s) - max(line["start_s"], node.start_s) >= HEARD_S


def _grade(value: float, low: float, high: float, words: tuple[str | None, str | None, str | None]) -> str | None:
    return words[0] if value < low else words[2] if value > high else words[1]


def _inside(stretches: Sequence[Row], node: Node) -> list[Row]:
    """Stretches cut to the node, those of less than half a second left out: they belong to its neighbours."""
    cut = [
        {"kind": s["kind"], "start_s": max(s["start_s"], node.start_s), "end_s": min(s["end_s"], node.end_s)}
        for s in stretches
    ]
    return [s for s in cut if s["end_s"] - s["start_s"] >= 0.5]


@dataclass(frozen=True)
class _Line:
    t_s: float
    text: str


def _sure_lines(ocr: pa.Table) -> list[_Line]:
    found = []
    for still in ocr.to_pylist():
        if still["t_s"] is None:
            continue
        for text, sure in zip(still["texts"], still["confidences"], strict=True):
            if sure >= SURE_LINE and sum(c.isalnum() for c in text) >= 3:
                found.append(_Line(still["t_s"], text))
    return found


def _shown(read: Sequence[_Line], node: Node) -> list[Row]:
    """Each line that is read in the span, with the times it was first and last read."""
    found: dict[str, Row] = {}
    for line in read:
        if node.start_s <= line.t_s < node.end_s:
            known = found.setdefault(
                "".join(line.text.split()).casefold(), {"text": line.text, "first_s": line.t_s, "last_s": line.t_s}
            )
            known["last_s"] = line.t_s
    return list(found.values())[:MOST_LINES]

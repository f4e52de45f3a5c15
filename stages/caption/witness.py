"""Two scorers of a caption, after SeViCES: how sure the model was, and how far what it says agrees with what was
measured. Where they differ the span is worth a second look."""

from __future__ import annotations

import json
import re
from typing import Any

from curate.stage import Row

CAMERA = {
    "pan left": r"\bpan(?:s|ning)?\b[^.]{0,20}\bleft",
    "pan right": r"\bpan(?:s|ning)?\b[^.]{0,20}\bright",
    "tilt up": r"\btilt(?:s|ing)?\b[^.]{0,20}\bup",
    "tilt down": r"\btilt(?:s|ing)?\b[^.]{0,20}\bdown",
    "zoom in": r"\bzoom(?:s|ing)?\b[^.]{0,10}\bin\b",
    "zoom out": r"\bzoom(?:s|ing)?\b[^.]{0,10}\bout\b",
    "static": r"\b(?:static|fixed)\b[^.]{0,20}\bcamera|\bcamera\b[^.]{0,30}\b(?:still|static|stationary|fixed)",
    "handheld shake": r"\bhand-?held\b|\bshak(?:y|es|ing)\b",
    "tracking": r"\bcamera\b[^.]{0,20}\b(?:follows|tracks)\b|\btracking shot\b",
}
LIGHT = {"dark": r"\b(?:dark|dim|dimly)\b", "bright": r"\b(?:bright|brightly)\b"}
GREY = r"\bblack[- ]and[- ]white\b|\bmonochrome\b|\bgr[ae]yscale\b"


def agreement(row: Row, facts: dict[str, Any]) -> float | None:
    """Share of a caption's statements that can be checked and agree with the facts, 0 to 1; None: there are none.

    Statements are: kinds of camera motion, dark or bright, black-and-white, and each text that it says it read.
    """
    words = " ".join(str(row[name] or "") for name in ("text", "camera", "light", "style")).lower()
    marks: list[bool] = []
    if facts.get("camera"):
        kinds = {part["kind"] for part in facts["camera"]}
        marks += [kind in kinds for kind, pattern in CAMERA.items() if re.search(pattern, words)]
    if facts.get("light"):
        marks += [word == facts["light"] for word, pattern in LIGHT.items() if re.search(pattern, words)]
    if facts.get("colour") and re.search(GREY, words):
        marks.append(facts["colour"] == "black-and-white")
    if facts.get("text"):
        seen = "".join(filter(str.isalnum, " ".join(line["text"] for line in facts["text"]).lower()))
        marks += ["".join(filter(str.isalnum, text.lower())) in seen for text in row["text_on_screen"] or ()]
    return sum(marks) / len(marks) if marks else None


def disagreement(row: Row, node: Row, confidence: float | None) -> float | None:
    """How far the two scorers differ, 0 to 1; None where one of them has nothing to say."""
    agreed = agreement(row, json.loads(node["facts"]))
    return None if agreed is None or confidence is None else abs(confidence - agreed)

"""Grounded captions: sentences built only from what was measured, so nothing in them is made up.

They need no model. What was not measured, or lies between two words, is left unsaid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from curate.stage import Row, RowStage, Workspace
from schemas import Table, captions

Facts = dict[str, Any]

CAMERA = {
    "static": "The camera stands still",
    "pan left": "The camera pans to the left",
    "pan right": "The camera pans to the right",
    "tilt up": "The camera tilts up",
    "tilt down": "The camera tilts down",
    "zoom in": "The camera moves or zooms in",
    "zoom out": "The camera moves or zooms out",
    "roll": "The camera rolls about its axis",
    "tracking": "The camera follows what is in the middle of the picture",
    "handheld shake": "The camera is shaken as if held by hand",
    "moving": "The camera moves about",
}


class Caption(RowStage):
    """Writes a caption for each kept clip from its motion, light, colour and sound."""

    name: ClassVar[str] = "caption"
    writes: ClassVar[Table] = captions.TABLE
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "clips": ("clip_id", "source_id", "start_s", "end_s", "duration_s"),
        "decisions": ("clip_id", "kept"),
        "motion": (),
        "quality": (),
        "sources": ("audio_codec",),
    }

    dark_below: float = Field(60.0, ge=0, le=255)
    """Mean luma below which a picture is called dark: a quarter of the scale."""
    bright_above: float = Field(150.0, ge=0, le=255)
    """Mean luma above which it is called bright."""
    grey_below: float = Field(8.0, ge=0)
    """Colourfulness below which it is called black-and-white: half of what Hasler and Suesstrunk's viewers called
    slightly colourful."""
    muted_below: float = Field(20.0, ge=0)
    """Colourfulness below which colours are muted: theirs for slightly colourful is 15, moderately 33."""
    colourful_above: float = Field(50.0, ge=0)
    """Colourfulness above which it is colourful: theirs for quite colourful is 59, averagely 45."""
    calm_below_w_s: float = Field(0.01, ge=0)
    """Subject motion below which little moves, frame widths per second."""
    lively_above_w_s: float = Field(0.06, ge=0)
    """Subject motion above which there is much movement: LVD-2M's mean over its kept clips is 0.1 camera included."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row]:
        kept = {row["clip_id"] for row in inputs["decisions"].to_pylist() if row["kept"]}
        scores = {name: {r["clip_id"]: r for r in inputs[name].to_pylist()} for name in ("motion", "quality")}
        sound = inputs["sources"].column("audio_codec")[0].as_py() is not None
        for clip in inputs["clips"].to_pylist():
            clip_id = clip["clip_id"]
            if clip_id not in kept:
                continue
            facts = self.facts(clip, scores["motion"].get(clip_id, {}), scores["quality"].get(clip_id, {}), sound)
            yield {
                "source_id": clip["source_id"],
                "clip_id": clip_id,
                "level": "clip",
                "start_s": clip["start_s"],
                "end_s": clip["end_s"],
                "text": sentences(facts),
                "facts": json.dumps(facts, sort_keys=True),
                "model": "grounded",
            }

    def facts(self, clip: Row, motion: Row, quality: Row, sound: bool) -> Facts:
        """What can be said of a clip; a fact that was not measured is not there."""
        facts: Facts = {"seconds": round(clip["duration_s"], 1), "sound": sound}
        if motion.get("camera"):
            facts["camera"] = motion["camera"]
        if motion.get("subject_w_s") is not None:
            facts["movement"] = _grade(
                motion["subject_w_s"], self.calm_below_w_s, self.lively_above_w_s, ("little", "some", "much")
            )
        if quality.get("luma") is not None:
            facts["light"] = _grade(quality["luma"], self.dark_below, self.bright_above, ("dark", None, "bright"))
        if quality.get("colourfulness") is not None:
            grey = quality["colourfulness"] < self.grey_below
            words = ("muted", None, "colourful")
            colour = _grade(quality["colourfulness"], self.muted_below, self.colourful_above, words)
            facts["colour"] = "black-and-white" if grey else colour
            facts["hue"] = None if grey else quality.get("hue")
        return {name: value for name, value in facts.items() if value is not None}


def _grade(value: float, low: float, high: float, words: tuple[str | None, str | None, str | None]) -> str | None:
    return words[0] if value < low else words[2] if value > high else words[1]


def sentences(facts: Facts) -> str:
    """The facts as fluent English."""
    parts = [f"A single continuous take of {facts['seconds']:g} seconds{'' if facts['sound'] else ', without sound'}."]
    moving = {
        "little": "little of the scene moves by itself",
        "some": "there is some movement in the scene",
        "much": "there is a lot of movement in the scene",
    }.get(facts.get("movement", ""))
    camera = CAMERA.get(facts.get("camera", ""))
    if camera and moving:
        contrast = facts["camera"] == "static" and facts["movement"] != "little"
        parts.append(f"{camera}{' while' if contrast else ' and'} {moving}.")
    elif camera or moving:
        parts.append(f"{camera or moving}."[0].upper() + f"{camera or moving}."[1:])
    looks = [word for word in (facts.get("light"), facts.get("colour")) if word]
    if looks or facts.get("hue"):
        look = f"The picture is {' and '.join(looks)}" if looks else "The picture is"
        hue = facts.get("hue")
        parts.append(f"{look}{', ' if looks else ' '}mostly {hue}." if hue else f"{look}.")
    return " ".join(parts)

"""What is said of a take, from when on: the caption tree of our .json, or the text that any sample has.

The times are a take's; prompts are snapped to the blocks of a window's latent frames, for a block is made under one
prompt.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.longtune.config import CaptionsConfig
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.data.takes import BadTakeError
from pipelines.longtune.methods.method import Prompt

LEVELS = ("clip", "shot", "event", "story")
_LONGEST = 1 << 24  # bytes of a .json or .txt; real ones are some thousand


@dataclass(frozen=True)
class Said:
    """A caption, in force from `start_s` of its take on, until the next."""

    start_s: float
    text: str


def metadata(data: bytes) -> dict[str, Any]:
    """The sample's .json. Raises `BadTakeError` if it is no JSON object."""
    try:
        values = json.loads(data) if len(data) <= _LONGEST else None
    except (ValueError, RecursionError) as error:
        raise BadTakeError("has a .json that cannot be read") from error
    if not isinstance(values, dict):
        raise BadTakeError("has a .json that is no object")
    return values


def said(values: Mapping[str, Any], text: bytes | None, level: str) -> list[Said]:
    """The captions of one level, by time; the first is in force from the take's start.

    Args:
        values: the sample's .json.
        text: its .txt.
        level: as in `CaptionsConfig`. A level `text` without a .txt is the shots' captions together.

    Raises:
        BadTakeError: there is none.
    """
    if level == "text":
        if text is None:
            text = "\n".join(node.text for node in _nodes(values, "shot")).encode()
        try:
            words = text.decode().strip() if len(text) <= _LONGEST else ""
        except UnicodeDecodeError as error:
            raise BadTakeError("has a .txt that is not UTF-8") from error
        if not words:
            raise BadTakeError("has no caption in .txt or .json")
        return [Said(0.0, words)]
    nodes = _nodes(values, level)
    if not nodes:
        raise BadTakeError(f"has no caption of level {level} in its .json; set data.captions.level: text")
    return [Said(0.0, nodes[0].text), *nodes[1:]]


def _nodes(values: Mapping[str, Any], level: str) -> list[Said]:
    found = []
    nodes = values.get("captions", [])
    for node in nodes if isinstance(nodes, list) else []:
        if not isinstance(node, dict) or node.get("level") != level:
            continue
        text, start_s = node.get("text"), node.get("start_s")
        if isinstance(text, str) and text.strip() and isinstance(start_s, int | float) and math.isfinite(start_s):
            found.append(Said(float(start_s), text.strip()))
    return sorted(found, key=lambda node: node.start_s)


def prompts(captions: Sequence[Said], start_s: float, fps: float, block: int) -> list[Prompt]:
    """The captions as prompts of the latent frames that begin at `start_s` of the take, to the take's end.

    Latent frame 0 is the picture at `start_s`, latent frame i the four pictures from number 4i - 3 on. A caption begins
    at the block whose beginning is nearest its own; of two that begin at one block the later stays.
    """
    chosen: dict[int, str] = {}
    for caption in captions:
        picture = max(0.0, (caption.start_s - start_s) * fps)
        about = int((picture + FRAMES_PER_LATENT - 1) / FRAMES_PER_LATENT / block)  # the last to begin before it
        nearest = min((about, about + 1), key=lambda n: abs(_first_picture(n * block) - picture))
        chosen[nearest * block] = caption.text
    found: list[Prompt] = []
    for frame, text in sorted(chosen.items()):
        if not found or found[-1].text != text:
            found.append(Prompt(frame, text))
    return found


def _first_picture(latent: int) -> int:
    return max(0, FRAMES_PER_LATENT * (latent - 1) + 1)


def target(
    timeline: Sequence[Prompt], frames: Sequence[int], config: CaptionsConfig, rng: random.Random
) -> tuple[str, list[bool], list[Prompt]]:
    """The caption that a window trains, the frames it is in force over, and the timeline.

    Every frame counts alike: a caption is drawn with the chance of its share of the window.

    Args:
        timeline: the prompts, the first from frame 0.
        frames: the window's frames that may be trained, rising; at least one.
        config: without `switches` the caption in force longest is the only one, over all frames.
        rng: draws the caption, and whether it is dropped.
    """
    active = [max(i for i, prompt in enumerate(timeline) if prompt.frame <= frame or i == 0) for frame in frames]
    if config.switches:
        index = active[rng.randrange(len(active))]
        counts = [number == index for number in active]
        kept = list(timeline)
    else:
        index = max(sorted(set(active)), key=active.count)
        counts = [True] * len(frames)
        kept = [Prompt(0, timeline[index].text)]
    text = timeline[index].text
    return ("" if rng.random() < config.drop else text), counts, kept

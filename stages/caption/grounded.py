"""The grounded captioner: fluent sentences built only from measured facts, at all four scales. It needs no model.

What was not measured is left unsaid. Times in a caption count from its node's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.stage import Row
from stages.caption.facts import Facts

MODEL = "grounded"

CAMERA = {
    "static": "stands still",
    "pan left": "pans to the left",
    "pan right": "pans to the right",
    "tilt up": "tilts up",
    "tilt down": "tilts down",
    "zoom in": "moves or zooms in",
    "zoom out": "moves or zooms out",
    "roll": "rolls about its axis",
    "tracking": "follows what is in the middle of the picture",
    "handheld shake": "shakes as if held by hand",
    "moving": "moves about",
}
MOVES = {
    "little": "most of the picture hardly moves by itself",
    "some": "there is some movement in the scene",
    "much": "there is a lot of movement in the scene",
}
LOOKS = {"muted": "muted in colour"}
MOST_PARTS, MOST_QUOTES = 12, 4
"""Children that a parent's caption tells one by one, and lines that a caption quotes: beyond them it counts."""
UNKNOWN = 0.2
"""Share of a span in which what the camera does may be unknown without a word on it."""
LONGEST_QUOTE = 120
"""Letters of a line that are quoted."""


def words(facts: Facts, level: str = "shot") -> str:
    """The facts of a span of one take as English sentences."""
    return " ".join([_opening(level, facts), *_pictured(facts), *_written(facts), *_there(facts), *_said(facts)])


def caption(node: Row, facts: Facts, parts: Sequence[Row]) -> Row:
    """The columns of a node's row in `captions` that its text makes.

    Args:
        node: of `tree`.
        parts: rows of `captions` of the nodes that it is made of.
    """
    level = node["level"]
    several = facts.get("shots", 1) > 1
    text = (
        " ".join([_opening(level, facts), *_pictured(facts), *_told(parts, node)]) if several else words(facts, level)
    )
    return {
        "text": text,
        "raw": text,
        "prompt": _prompt(facts),
        "short": _short(facts),
        "camera": _camera(facts) or None,
        "light": _looks(facts) or None,
        "subjects": [person["name"] for person in facts.get("characters", []) if person["seen"]],
        "text_on_screen": [line["text"] for line in facts.get("text", [])],
        "sound": None if facts["sound"] else "none",
        "model": MODEL,
        "attempts": 0,
        "flags": [],
    }


def _opening(level: str, facts: Facts) -> str:
    silent = "" if facts["sound"] else ", without a sound track"
    lasts = _seconds(facts["seconds"])
    if facts.get("shots", 1) > 1:
        return f"{'A video' if level == 'story' else 'A part'} of {lasts} with {facts['shots']} shots{silent}."
    if level == "clip":
        return f"{lasts[0].upper()}{lasts[1:]} of one continuous shot{silent}."
    return f"A single continuous shot of {lasts}{silent}."


def _pictured(facts: Facts) -> list[str]:
    turns, moving = _turns(facts), MOVES.get(facts.get("movement", ""))
    parts = []
    if len(turns) == 1 and moving:
        contrast = facts["camera"][0]["kind"] == "static" and facts["movement"] != "little"
        parts.append(f"The camera {_camera(facts)}{' while' if contrast else ' and'} {moving}.")
    else:
        parts += [f"The camera {_camera(facts)}."] if turns else []
        parts += [f"{moving[0].upper()}{moving[1:]}."] if moving else []
    looks = _looks(facts)
    parts += [f"The picture is {looks}."] if looks else []
    parts += [f"It {facts['light_change']} over the shot."] if "light_change" in facts else []
    frozen = [f"from {s - facts['start_s']:.1f} to {e - facts['start_s']:.1f} s" for s, e in facts.get("still", [])]
    return [*parts, *([f"One picture stands {_joined(frozen[:MOST_QUOTES])}."] if frozen else [])]


def _turns(facts: Facts) -> list[Row]:
    """What the camera does in turn; what is not known between two equal turns is taken for the same."""
    turns: list[Row] = []
    for segment in facts.get("camera", []):
        if turns and segment["kind"] == turns[-1]["kind"]:
            turns[-1] = turns[-1] | {"end_s": segment["end_s"]}
        else:
            turns.append(segment)
    return turns[:MOST_PARTS]


def _camera(facts: Facts) -> str:
    """What the camera does, with the times at which that changes, from the span's start."""
    turns = _turns(facts)
    if not turns:
        return ""
    start_s, end_s = facts["start_s"], facts["start_s"] + facts["seconds"]
    ends = [start_s, *(turn["end_s"] for turn in turns)]
    begins = [*(turn["start_s"] for turn in turns), end_s]
    if sum(begin - end for begin, end in zip(begins, ends, strict=True)) <= UNKNOWN * facts["seconds"]:
        until = [f" until {turn['start_s'] - start_s:.1f} s" for turn in turns[1:]]
        return ", then ".join(f"{CAMERA[t['kind']]}{u}" for t, u in zip(turns, [*until, ""], strict=True))
    times = [f"{turn['start_s'] - start_s:.1f} to {turn['end_s'] - start_s:.1f} s" for turn in turns]
    return ", then ".join(f"{CAMERA[t['kind']]} from {time}" for t, time in zip(turns, times, strict=True))


def _looks(facts: Facts) -> str:
    looks = [str(LOOKS.get(facts[name], facts[name])) for name in ("light", "colour") if name in facts]
    hue = f"mostly {facts['hue']}" if facts.get("hue") else ""
    return ", ".join(part for part in (" and ".join(looks), hue) if part)


def _written(facts: Facts) -> list[str]:
    lines = [_quoted(line["text"]) for line in facts.get("text", [])]
    if not lines:
        return []
    more = f" and {len(lines) - MOST_QUOTES} more" if len(lines) > MOST_QUOTES else ""
    return [f"Text can be read in the picture: {', '.join(lines[:MOST_QUOTES])}{more}."]


def _there(facts: Facts) -> list[str]:
    """Who is seen, and who speaks but is not quoted."""
    people = facts.get("characters", [])
    quoted = {line["speaker"] for line in facts.get("speech", [])[:MOST_QUOTES]}
    seen = [person["name"] for person in people if person["seen"]][:MOST_PARTS]
    speaks = [person["name"] for person in people if person["speaks"] and person["name"] not in quoted][:MOST_PARTS]
    if len(seen) == 1 and seen == speaks:
        return [f"{seen[0]} can be seen and speaks."]
    found = [f"{_joined(seen)} can be seen."] if seen else []
    return [*found, *([f"{_joined(speaks)} {'speaks' if len(speaks) == 1 else 'speak'}."] if speaks else [])]


def _said(facts: Facts) -> list[str]:
    found = []
    for line in facts.get("speech", [])[:MOST_QUOTES]:
        who = line["speaker"] or "A voice"
        found.append(f"{who} says: {_quoted(line['text'])}.")
    voices = facts.get("voices")
    named = sum(person["speaks"] for person in facts.get("characters", []))
    if voices and voices > named and not found:  # what they say is not known, or not well enough to be told
        found.append("One voice is heard." if voices == 1 else f"{voices} voices are heard.")
    return found


def _quoted(text: str) -> str:
    flat = " ".join(text.split()).replace('"', "'")
    return f'"{flat if len(flat) <= LONGEST_QUOTE else flat[: LONGEST_QUOTE - 1] + "…"}"'


def _told(parts: Sequence[Row], node: Row) -> list[str]:
    """The parts of a span with their times from its start; the longest ones where there are too many."""
    longest = sorted(parts, key=lambda part: part["start_s"] - part["end_s"])[:MOST_PARTS]
    told = [
        f"From {part['start_s'] - node['start_s']:.1f} to {part['end_s'] - node['start_s']:.1f} s: "
        f"{_within(part['short'])}"
        for part in sorted(longest, key=lambda part: part["start_s"])
        if part["short"]
    ]
    left = len(parts) - len(told)
    if left > 0:
        told.append(f"{left} shorter {'part is' if left == 1 else 'parts are'} not told here.")
    return told


def _within(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}" if sentence[1:2].islower() or sentence[1:2] == " " else sentence


def _short(facts: Facts) -> str:
    """One sentence."""
    if facts.get("shots", 1) > 1:
        looks = _looks(facts)
        return f"{facts['shots']} shots in {_seconds(facts['seconds'])}{', ' + looks if looks else ''}."
    return f"{_scene(facts)}{_kinds(facts)}."


def _prompt(facts: Facts) -> str:
    """As a user would ask a generator for it: no numbers, what is to be seen first."""
    if facts.get("shots", 1) > 1:
        return f"{_scene(facts)} in several shots."
    moving = {
        "little": ", most of which hardly moves",
        "much": " with a lot of movement",
        "some": " with some movement",
    }
    motion = moving.get(facts.get("movement", ""), "")
    read = [_quoted(line["text"]) for line in facts.get("text", [])[:1]]
    text = f" The text {read[0]} can be read." if read else ""
    return f"{_scene(facts)}{motion}, in one continuous take{_kinds(facts)}.{text}"


def _scene(facts: Facts) -> str:
    looks = [facts[name] for name in ("light", "colour") if name in facts]
    hue = f"mostly {facts['hue']}" if facts.get("hue") else None
    described = ", ".join([*looks, *([hue] if hue else [])]).replace("muted", "muted-colour")
    return f"A {described} scene" if described else "A scene"


def _kinds(facts: Facts) -> str:
    """What the camera does for most of the span."""
    seconds: dict[str, float] = {"": 0.0}
    for segment in facts.get("camera", []):
        seconds[segment["kind"]] = seconds.get(segment["kind"], 0.0) + segment["end_s"] - segment["start_s"]
    kind, longest = max(seconds.items(), key=lambda item: item[1])
    if longest < 0.5 * facts["seconds"]:
        return ""
    return f"; the camera {CAMERA[kind]}{'' if longest >= (1 - UNKNOWN) * facts['seconds'] else ' for most of it'}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _seconds(value: float) -> str:
    return f"{value:g} second{'' if value == 1 else 's'}"


def dumped(facts: Facts) -> dict[str, Any]:
    """The facts as they are stored: seconds rounded to the millisecond."""
    return {name: _rounded(value) for name, value in facts.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else value

"""Faults planted into the captions of a made-up source, each with the row that would repair it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from scenario import STRANGERS, Scenario, scenario


@dataclass(frozen=True)
class Fault:
    """What was done to a node's caption."""

    kind: str
    text_from: str | None = None
    """Where its own caption stands now; None: nowhere, or it was spoilt."""


def planted(seed: int, source: str = "made") -> tuple[Scenario, dict[str, Fault]]:
    """A source of about 500 nodes with about 110 faults, no node with two."""
    made, rng = scenario(seed, source), random.Random(seed + 1000)
    rows = {row["node_id"]: row for row in made.captions}
    clips = [row["node_id"] for row in made.captions if row["level"] == "clip"]
    faults: dict[str, Fault] = {}
    for where, shift, lost in ((30, 1, False), (100, -2, False), (180, 3, False), (250, 1, True), (320, -2, True)):
        faults |= _shifted(rng, rows, clips, where, shift, lost)
    free = [name for name in rows if name not in faults and rows[name]["level"] != "story"]
    rng.shuffle(free)
    texts = {name: rows[name]["text"] for name in rows}
    for kind, count in COUNTS.items():
        for name in list(free):
            if sum(f.kind == kind for f in faults.values()) == count:
                break
            changed = _spoilt(kind, rng, made, name, texts)
            if changed and changed != texts[name]:
                rows[name]["text"] = changed
                faults[name] = Fault(kind)
                free.remove(name)
    return made, faults


COUNTS = {
    "duplicated": 12,
    "looped": 10,
    "mixed": 12,
    "name": 10,
    "time": 10,
    "cut off": 6,
    "refused": 6,
    "measured": 8,
}


def _shifted(rng: random.Random, rows: dict, clips: list[str], where: int, shift: int, lost: bool) -> dict[str, Fault]:
    """A run of 10 to 20 clips whose captions stand `shift` further on; those that fall out at one end come in at the
    other, or are lost and the first that stayed stands there again."""
    run = clips[where : where + rng.randint(10, 20)]
    texts = [rows[name]["text"] for name in run]
    faults = {}
    for n, name in enumerate(run):
        source = n - shift
        if lost and not 0 <= source < len(run):
            rows[name]["text"] = None
        else:
            rows[name]["text"] = texts[source % len(run)]
    for n, name in enumerate(run):
        if lost and not 0 <= n + shift < len(run):
            faults[name] = Fault("shifted, lost")
        else:
            faults[name] = Fault("shifted", run[(n + shift) % len(run)])
    return faults


def _spoilt(kind: str, rng: random.Random, made: Scenario, name: str, texts: dict[str, str]) -> str | None:
    text = texts[name]
    sentences = re.split(r"(?<=\.)\s", text)
    node = next(node for node in made.tree if node["node_id"] == name)
    if kind == "duplicated":
        others = [other for other in texts if f"-{node['level']}-" in other and other != name]
        return texts[rng.choice(others)]
    if kind == "looped":
        looped = (f"{text} {sentences[0]}", f"{text[:-1]}{' and then again' * 5}.", " ".join(sentences[:2] * 3))
        return rng.choice(looped)
    if kind == "mixed":
        return _mixed(rng, made, name, texts, sentences)
    if kind == "name":
        facts = json.loads(node["facts"])
        names = [c["name"] for c in facts.get("characters", []) if c["name"] in text]
        return re.sub(rf"\b{names[0]}\b", rng.choice(STRANGERS), text) if names else None
    if kind == "time":
        return next(_badly_timed(rng, text, node["end_s"] - node["start_s"]), None)
    if kind == "cut off":
        return text[: rng.randint(len(text) // 2, len(text) - 6)].rstrip(" .")
    if kind == "refused":
        return rng.choice(
            [
                "I'm sorry, but I cannot describe this video.",
                "As an AI language model, I am unable to view the frames.",
                "No images were provided, so please upload them again.",
            ]
        )
    return _contradicted(text, json.loads(node["facts"]))


def _mixed(rng: random.Random, made: Scenario, name: str, texts: dict[str, str], sentences: list[str]) -> str | None:
    level = next(row["level"] for row in made.captions if row["node_id"] == name)
    others = [n for n in texts if f"-{level}-" in n and made.event.get(n) != made.event.get(name)]
    strange = re.split(r"(?<=\.)\s", texts[rng.choice(others)] or "")
    told = [s for s in strange if len(s.split()) >= 8 and "other people" not in s and " s " not in s]
    if not told or len(sentences) < 2:
        return None
    changed = list(sentences)
    changed[rng.randrange(len(changed))] = told[0]
    return " ".join(changed)


def _badly_timed(rng: random.Random, text: str, lasts: float) -> Iterator[str]:
    for match in re.finditer(r"(From|Between 1.0 and|At) (\d+\.\d) s", text):
        late = f"{match[1]} {lasts * rng.uniform(1.2, 3) + 1:.1f} s"
        yield text[: match.start()] + late + text[match.end() :]
    times = re.findall(r"From (\d+:\d\d\.\d) on", text)
    if len(times) > 2:
        yield text.replace(times[0], "x").replace(times[-1], times[0]).replace("x", times[-1])


def _contradicted(text: str, facts: dict) -> str | None:
    kinds = {segment["kind"] for segment in facts.get("camera", [])}
    if kinds == {"static"} and "camera" not in text.lower() and "static" not in text:
        return f"{text} The camera pans quickly to the right."
    if kinds and kinds <= {"pan left", "pan right", "tilt up"} and "pans" not in text and "tilts" not in text:
        return f"{text} The camera remains static."
    if facts.get("light") == "dark" and "dark" not in text:
        return f"{text} The scene is bright."
    if "text" in facts and '"' not in text:
        return f'{text} A banner reads "GRAND CIRCUS TONIGHT".'
    return None

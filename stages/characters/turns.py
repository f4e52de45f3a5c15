"""Turns: what one character says without anybody else between, pauses for breath included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Row = dict[str, Any]
PAUSE_S = 1.0
"""Longest silence within a turn: in talk nine pauses of ten within a speaker's turn are shorter (Heldner and Edlund,
Journal of Phonetics 38, 2010)."""
EDGE_S = 0.5
"""How far a turn reaches into the silence before and after, of which its neighbour has the other half: speech begins
and ends below what a detector hears, by up to half a second in the recordings that this was looked at on."""


def turns(dialogue: Sequence[Row]) -> Iterator[Row]:
    """{start, end, character, on_screen, confidence} in order: `confidence` is the least of its lines'.

    Args:
        dialogue: rows of the table, in order. Lines that nobody can be given are turns of their own, by null.
    """
    found: list[Row] = []
    for line in dialogue:
        last = found[-1] if found else None
        if last and last["character"] == line["label"] and line["start_s"] - last["end"] <= PAUSE_S:
            last["end"] = max(last["end"], line["end_s"])
            last["on_screen"] += [who for who in line["seen"] if who not in last["on_screen"]]
            last["confidence"] = min(
                (c for c in (last["confidence"], line["confidence"]) if c is not None), default=None
            )
            continue
        turn = {"start": line["start_s"], "end": line["end_s"], "character": line["label"]}
        found.append(turn | {"on_screen": list(line["seen"]), "confidence": line["confidence"]})
    spoken = [(turn["start"], turn["end"]) for turn in found]
    for number, turn in enumerate(found):
        before = max((end for _, end in spoken[:number]), default=0.0)
        after = min((start for start, _ in spoken[number + 1 :]), default=float("inf"))
        left, right = turn["start"] - before, after - turn["end"]
        turn["start"] = round(max(0.0, turn["start"] - min(EDGE_S, max(0.0, left / 2))), 3)
        turn["end"] = round(turn["end"] + min(EDGE_S, max(0.0, right / 2)), 3)
        yield turn

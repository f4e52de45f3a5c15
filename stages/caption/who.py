"""Who of those with a name is seen and heard in a span."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from stages.caption.tree import Node
from stages.cover import Cover

Row = dict[str, Any]
SEEN_S, SPOKEN_S = 0.5, 0.5
"""How long somebody is seen or speaks within a span before a caption of it says so, seconds."""
SURE = 0.8
"""Probability of its speaker from which a line is said to be his: what is less sure is nobody's in a caption."""


class Who:
    """The named people of a source: by faces and the cast, by voices, by its own subtitles."""

    def __init__(self, inputs: Mapping[str, pa.Table]) -> None:
        owner = {
            person: row["name"]
            for row in (inputs["characters"].to_pylist() if "characters" in inputs else [])
            for person in row["people"]
        }
        seen: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for face in inputs["faces"].to_pylist() if "faces" in inputs else []:
            if name := owner.get(face["person_id"]) or face["name"]:
                seen[called(name)].append((face["start_s"], face["end_s"]))
        speaks: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._lines: dict[tuple[float, float], str] = {}
        for line in inputs["dialogue"].to_pylist() if "dialogue" in inputs else []:
            if line["name"] and (line["confidence"] or 0) >= SURE:
                self._lines[line["start_s"], line["end_s"]] = called(line["name"])
                speaks[called(line["name"])].append((line["start_s"], line["end_s"]))
        self._there = {name: (Cover(seen[name]), Cover(speaks[name])) for name in [*seen, *speaks]}

    def says(self, line: Row) -> str | None:
        """The name of who says a row of `speech`."""
        return self._lines.get((line["start_s"], line["end_s"])) or line["speaker"]

    def there(self, node: Node) -> list[Row]:
        """{name, seen, speaks} of everybody who is seen or speaks in the node, who is there longest first."""
        found = []
        for name, covers in self._there.items():
            seen, speaks = (cover.seconds(node.start_s, node.end_s) for cover in covers)
            row = {"name": name, "seen": seen >= SEEN_S, "speaks": speaks >= SPOKEN_S}
            if row["seen"] or row["speaks"]:
                found.append((seen + speaks, row))
        return [row for _, row in sorted(found, key=lambda pair: -pair[0])]


def called(name: str) -> str:
    """A name as a text has it: the file names of a cast, `ada_byron`, become Ada Byron."""
    plain = " ".join(name.replace("_", " ").split())
    return plain.title() if plain == plain.lower() else plain
